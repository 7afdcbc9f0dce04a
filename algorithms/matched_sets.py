"""Matched cases and controls, siblings and twins: comparisons within sets."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from algorithms.numerics.chi_squared import ChiSquared
from algorithms.numerics.design import INTERCEPT
from algorithms.numerics.matched_params import MatchedParams
from algorithms.numerics.matched_result import MatchedResult
from algorithms.numerics.matched_rows import MatchedSets, SetMeat, SetPreparation, SetScale, SetTerms
from algorithms.numerics.newton import Fit, Model, Steps, maximise
from algorithms.numerics.scoring import NewtonTerms
from cohortium.analysis import Rounds, analysis, ask
from cohortium.data import Data
from cohortium.errors import CannotEstimate
from cohortium.quantities import Array
from cohortium.result import wald

_RATIOS = {"binomial": "odds ratio", "survival": "hazard ratio", "gaussian": None}
_EMPTY = {
    "binomial": "No set has people both with and without the outcome",
    "survival": "In no set is anybody at risk when another has the event",
    "gaussian": "No set has two people",
}


def preparation(data: Data, params: MatchedParams) -> SetPreparation:
    """Informative sets of one cohort, and scales."""
    return MatchedSets(data, params).prepare()


def set_terms(
    data: Data, params: MatchedParams, *, coefficients: Array, centre: Array, per_unit: Array, outcome: Array
) -> SetTerms:
    """Score and information of one cohort's sets."""
    return MatchedSets(data, params).terms(SetScale(centre, per_unit, outcome), coefficients)


def set_meat(
    data: Data, params: MatchedParams, *, coefficients: Array, centre: Array, per_unit: Array, outcome: Array
) -> SetMeat:
    """Squared scores of one cohort's sets, for a linear model."""
    return MatchedSets(data, params).meat(SetScale(centre, per_unit, outcome), coefficients)


@analysis
def matched_sets(params: MatchedParams) -> Rounds[MatchedResult]:
    """Matched sets and families: comparisons within sets.

    How does the outcome differ between people of the same set: a case and its matched controls, siblings, twins? What a
    set shares (its matching, its upbringing, half its genes) is adjusted for whether measured or not. A binary outcome
    is compared by conditional logistic regression (exact, with several cases per set, too), a number by differences
    from the set's mean or, model="between_within", together with the effect of that mean; follow-up by Cox regression
    with a baseline hazard per set. Sets must lie within a cohort. Only discordant sets tell anything: how many there
    are, and in how many of them each covariate varies, is reported, and a cohort with a few of them does not answer.

    Differences within families are free of what siblings share, but suffer more than others from errors of measurement
    and from what siblings do not share, and are biased where one sibling's exposure affects the other (Frisell 2012,
    Epidemiology 23:713). Source: Breslow & Day (1980), Statistical Methods in Cancer Research I, ch. 7; Begg & Parides
    (2003), Stat Med 22:2591; Cox (1972), JRSSB 34:187.
    """
    total = yield from ask(preparation)
    plan = _Plan.of(total, params)
    fit = yield from plan.fit()
    meat = None
    if params.kind == "gaussian":
        meat = yield from ask(set_meat, coefficients=plan.everywhere(fit.coefficients), **vars(plan.scale))
    return _result(plan, fit, meat)


@dataclass(frozen=True)
class _Plan:
    """Scaling, and which coefficients take part (`kept`, indices among `names`)."""

    params: MatchedParams
    total: SetPreparation
    scale: SetScale
    names: list[str]
    kept: NDArray[np.intp]

    @classmethod
    def of(cls, total: SetPreparation, params: MatchedParams) -> _Plan:
        if not total.n:
            raise CannotEstimate(f"{_EMPTY[params.kind]}, so nothing can be compared within sets.")
        if params.kind == "gaussian" and not params.between and total.outcome_spread == 0:
            raise CannotEstimate("The outcome does not vary within any set.")
        spread, mean = total.spreads / total.n, total.columns / total.n
        if params.between:
            spread = np.concatenate([spread, total.between / total.n])
        else:
            _must_vary(total, params)
        intercept = params.between and params.cohort_effect == "common"
        per_unit = np.where(spread > 0, 1.0 / np.where(spread > 0, spread, 1.0), 0.0)
        unit = total.outcome_spread / total.n or abs(total.outcome) / total.n or 1.0
        scale = SetScale(mean, per_unit, np.array([total.outcome / total.n, unit]))
        kept = np.flatnonzero(spread > 0)
        if intercept:
            return cls(params, total, scale, [INTERCEPT, *params.names], np.concatenate([[0], kept + 1]))
        return cls(params, total, scale, params.names, kept)

    @property
    def intercept(self) -> bool:
        """Whether the first coefficient is an intercept."""
        return self.names[0] == INTERCEPT

    def everywhere(self, coefficients: Array) -> Array:
        """All coefficients, 0 for those left out."""
        found = np.zeros(len(self.names))
        found[self.kept] = coefficients
        return found

    @property
    def df(self) -> float:
        """People less coefficients, of a linear model."""
        own = self.total.contributing if self.params.cohort_effect == "stratified" else 0.0
        return self.total.n - len(self.kept) - (own if self.params.between else self.total.sets)

    def fit(self) -> Steps[Fit]:
        """The maximum of the likelihood, or least squares."""
        gaussian, kept = self.params.kind == "gaussian", self.kept
        if gaussian and self.df <= 0:
            raise CannotEstimate("There are as many coefficients as people to compare. Ask for fewer covariates.")

        def evaluate(coefficients: Array) -> Steps[NewtonTerms]:
            total = yield from ask(set_terms, coefficients=self.everywhere(coefficients), **vars(self.scale))
            return NewtonTerms(
                n=total.n,
                score=total.score[kept],
                information=total.information[np.ix_(kept, kept)],
                log_likelihood=total.log_likelihood,
                pearson=-2.0 * total.log_likelihood if gaussian else 0.0,
                extreme=0.0,
                not_finite=total.not_finite,
            )

        model = Model(
            [self.names[k] for k in kept],
            intercept=self.intercept,
            separable=not gaussian,
            max_iterations=self.params.max_iterations,
            scale=(lambda t: max(t.pearson / self.df, 1e-12)) if gaussian else lambda _: 1.0,
            infinite="tells in every informative set who has the outcome",
        )
        return (yield from maximise(evaluate, np.zeros(len(kept)), model))

    def back(self) -> Array:
        """What takes standardised coefficients to the scale of the data."""
        unit = self.scale.outcome[1] if self.params.kind == "gaussian" else 1.0
        stretch = np.concatenate([[1.0], self.scale.per_unit])[0 if self.intercept else 1 :]
        transform = unit * np.diag(stretch)
        if self.intercept:
            between = slice(1 + self.params.design.width, None)
            transform[0, between] = -unit * stretch[between] * self.scale.centre
        return np.asarray(transform[np.ix_(self.kept, self.kept)])


def _must_vary(total: SetPreparation, params: MatchedParams) -> None:
    nobody = np.array([c.is_indicator for c in params.design.layout], dtype=bool) & (total.columns == 0)
    names = [f"`{c}`" for c, s, out in zip(params.names, total.spreads, nobody, strict=True) if s == 0 and not out]
    if names:
        raise CannotEstimate(
            f"{', '.join(names)} does not vary within any informative set, so nothing within sets tells its effect. "
            "Leave it out, or let it change the effect of something that varies: `x + x:it`."
        )


def _result(plan: _Plan, fit: Fit, meat: SetMeat | None) -> MatchedResult:
    params, total = plan.params, plan.total
    names, gaussian = [plan.names[k] for k in plan.kept], params.kind == "gaussian"
    back, covariance, df = plan.back(), fit.inverse, math.inf
    sigma = r_squared = None
    if meat is not None:
        covariance, df = fit.inverse * fit.terms.pearson / plan.df, plan.df
        sigma = math.sqrt(fit.terms.pearson / plan.df) * plan.scale.outcome[1]
        r_squared = 1.0 - fit.terms.pearson / meat.total
        if params.clustered:
            covariance, df = _clustered(plan, fit, meat), total.sets - 1.0
    estimates, covariance = back @ fit.coefficients, back @ covariance @ back.T
    if plan.intercept:
        estimates[0] += plan.scale.outcome[0]
    return MatchedResult(
        n=round(total.n),
        n_excluded=_whole(float(total.excluded)),
        cohort_effect=params.cohort_effect if params.between else None,
        formula=str(params.formula),
        family=params.kind,
        model=params.model,
        sets_by=params.sets,
        coefficients=wald(names, estimates, covariance, params.confidence, df),
        covariance=tuple(tuple(map(float, row)) for row in covariance),
        std_errors="cluster" if params.clustered else "model",
        confidence=params.confidence,
        ratio=_RATIOS[params.kind],
        n_sets=round(total.sets),
        varying={c: round(v) for c, v in zip(params.design.columns, total.varying, strict=True)},
        concordant=_whole(float(total.concordant)),
        alone=_whole(float(total.alone)),
        n_events=None if gaussian else round(total.cases),
        missing={name: _whole(m) for name, m in zip(params.design.variables, total.missing, strict=True)},
        log_likelihood=None if gaussian else fit.terms.log_likelihood,
        null_log_likelihood=None if gaussian else fit.start.log_likelihood,
        aic=None if gaussian else -2.0 * fit.terms.log_likelihood + 2.0 * len(names),
        tests=_tests(plan, fit, estimates, covariance),
        sigma=sigma,
        r_squared=r_squared,
        df_residual=df if gaussian else None,
        condition_number=fit.condition_number,
        iterations=fit.iterations,
        decrement=fit.decrement,
        dropped=tuple(name for k, name in enumerate(plan.names) if k not in plan.kept),
        warnings=tuple(_warnings(plan)),
    )


def _clustered(plan: _Plan, fit: Fit, meat: SetMeat) -> Array:
    sets, n, p = plan.total.sets, plan.total.n, len(plan.kept)
    if sets < 2:
        raise CannotEstimate("There is one set only, so nothing tells how much sets differ.")
    few = sets / (sets - 1) * (n - 1) / (n - p)
    return np.asarray(fit.inverse @ meat.meat[np.ix_(plan.kept, plan.kept)] @ fit.inverse * few)


def _tests(plan: _Plan, fit: Fit, estimates: Array, covariance: Array) -> dict[str, ChiSquared]:
    start, df = fit.start, len(estimates)
    if plan.params.kind != "gaussian":
        score = float(start.score @ np.linalg.solve(start.information, start.score))
        return {
            "likelihood ratio": ChiSquared.of(2.0 * (fit.terms.log_likelihood - start.log_likelihood), df),
            "score": ChiSquared.of(score, df),
            "Wald": ChiSquared.of(_quadratic(estimates, covariance), df),
        }
    if not plan.params.between:
        return {}
    places = {plan.names[k]: i for i, k in enumerate(plan.kept)}
    pairs = [(places.get(f"{c} (within)"), places.get(f"{c} (between)")) for c in plan.params.design.columns]
    contrast = np.zeros((0, df))
    for within, between in pairs:
        if within is not None and between is not None:
            row = np.zeros(df)
            row[within], row[between] = 1.0, -1.0
            contrast = np.vstack([contrast, row])
    if not len(contrast):
        return {}
    statistic = _quadratic(contrast @ estimates, contrast @ covariance @ contrast.T)
    return {"within = between": ChiSquared.of(statistic, len(contrast))}


def _quadratic(estimates: Array, covariance: Array) -> float:
    errors = np.sqrt(np.diag(covariance))
    scaled = estimates / errors
    return float(scaled @ np.linalg.solve(covariance / np.outer(errors, errors), scaled))


def _warnings(plan: _Plan) -> list[str]:
    total, found = plan.total, []
    left = [name for k, name in enumerate(plan.names) if k not in plan.kept]
    if left:
        found.append(f"{', '.join(left)} does not vary and was left out.")
    few = [c for c, v in zip(plan.params.design.columns, total.varying, strict=True) if 0 < v < 10]
    if few:
        found.append(f"Fewer than ten informative sets differ in {', '.join(few)}.")
    withheld = [name for name, m in zip(plan.params.design.variables, total.missing, strict=True) if np.isnan(m)]
    if withheld:
        found.append(f"How many people lack {', '.join(withheld)} is withheld: a cohort's number is small.")
    return found


def _whole(count: float | Array) -> int | None:
    return None if math.isnan(float(count)) else round(float(count))
