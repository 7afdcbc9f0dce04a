"""Two-stage meta-analysis: every cohort makes its own estimate; their mean and spread are found from sums."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import Annotated

import numpy as np
from pydantic import Field

from algorithms.glm import GlmParams
from algorithms.numerics.cohort_estimates import (
    RATIOS,
    Effect,
    coefficient,
    means,
    remembered,
    two_by_two,
)
from algorithms.numerics.design import INTERCEPT, refuse_specials
from algorithms.numerics.families import CanonicalName
from algorithms.numerics.grouped_moments import whole
from algorithms.numerics.grouping import Comparison, Grouping, comparison, factors_of
from algorithms.numerics.meta_result import MetaAnalysisResult
from algorithms.numerics.meta_summaries import (
    Estimator,
    Prediction,
    choose,
    cohort_effects,
    heterogeneity,
    leave_one_out,
    left_out,
    pooled_models,
    predictions,
    warnings_of,
)
from algorithms.numerics.newton import Steps
from algorithms.numerics.outcome import check_outcome
from algorithms.numerics.own_fits import REASONS, CohortEstimate
from algorithms.numerics.random_effects import NODES, Evaluate, PowerSums, pool, pool_known, power_sums
from cohortium.analysis import Confidence, Params, Rounds, analysis, ask, ask_each
from cohortium.data import Data
from cohortium.errors import CannotEstimate, InvalidQuestion, Refused, UnknownName
from cohortium.formula import Formula
from cohortium.quantities import Array, Count, Counts, Flag, FlagKind, SumOver, Sums, Table


class MetaAnalysisParams(Params):
    """What every cohort estimates, and how the estimates are pooled."""

    formula: Formula = Field(
        description="What each cohort fits: `bmi ~ age + sex`; for a contrast of two groups `ill ~ treated`."
    )
    effect: Effect = Field(
        "coefficient",
        description="coefficient: of the cohort's own regression. Second against first group of a two-by-two table: "
        "log_rr, log_or, risk_difference. Second less first mean: mean_difference, or smd (Hedges' g).",
    )
    family: CanonicalName | None = Field(
        None, description="For a coefficient: gaussian (the default), binomial or poisson."
    )
    term: str | None = Field(None, description="Which coefficient, as results name it: `age`, `sex[male]`, `age:dose`.")
    method: Estimator = Field("reml", description="Variance between cohorts: reml, or dl (DerSimonian-Laird).")
    knapp_hartung: bool = Field(True, description="Test and interval by Hartung and Knapp (t) instead of normal.")
    prediction: Prediction = Field(
        "hartung-knapp",
        description="Prediction interval: hartung-knapp (t with k - 1), higgins (t with k - 2), or normal.",
    )
    per_cohort: bool = Field(
        False, description="Also show each cohort's estimate, a forest plot and leave-one-out; cohorts may refuse."
    )
    confidence: float = Confidence

    @cached_property
    def model(self) -> GlmParams:
        """The regression that a cohort fits alone."""
        values = {"formula": self.formula, "family": self.family or "gaussian", "cohort_effect": "common"}
        return GlmParams.bind(values, self.dictionary)

    @cached_property
    def grouping(self) -> Grouping:
        """The two groups of a contrast."""
        return Grouping(factors_of(self.formula), self.formula, self.dictionary)

    @cached_property
    def comparison(self) -> Comparison:
        """Outcome and groups of a difference between means."""
        return comparison(self.formula, self.grouping, self.dictionary)

    @property
    def is_table(self) -> bool:
        """Whether the effect comes from a two-by-two table."""
        return self.effect in ("log_rr", "log_or", "risk_difference")

    @property
    def variables(self) -> tuple[str, ...]:
        """What a row must have to be used."""
        return tuple(name.name for name in self.formula.names)

    @cached_property
    def position(self) -> int:
        """Which of the model's parameters is pooled. Raises UnknownName."""
        if self.effect != "coefficient":
            return 1
        columns = self.model.design.columns
        slopes = [name for name in columns if name != INTERCEPT]
        if self.term is None and len(slopes) != 1:
            raise InvalidQuestion(f"Say which `term` to pool: {', '.join(columns)}.")
        term = slopes[0] if self.term is None else self.term
        if term not in columns:
            raise UnknownName.of("term", term, columns)
        return columns.index(term)

    @property
    def chosen(self) -> str:
        """What is pooled, in words."""
        if self.effect == "coefficient":
            return self.model.design.columns[self.position]
        low, high = self.grouping.names
        return f"{self.grouping.factors[0]}: {high} against {low}"

    def check(self) -> None:
        """Raises FormulaError or InvalidQuestion for what has no such effect."""
        if self.effect != "coefficient":
            self._check_contrast()
        _ = self.position

    def _check_contrast(self) -> None:
        refuse_specials(self.formula)
        if self.term is not None or self.family is not None:
            raise InvalidQuestion("`term` and `family` go with effect='coefficient'.")
        if len(self.grouping.factors) != 1 or len(self.grouping.names) != 2 or not self.formula.intercept:
            raise InvalidQuestion(f"effect='{self.effect}' takes one factor of two levels after the `~`.")
        if self.is_table:
            check_outcome(self.formula, self.dictionary, "binomial")
        else:
            _ = self.comparison


class OwnEffects(Sums):
    """First round: the cohorts' estimates and standard errors, added up, and how many have one.

    `estimates` and `errors` are as long as a cohort's model has parameters, by which a policy judges its people; all
    but the one that is pooled are 0. `cells` are the people of each group (by outcome) that the effect is made of.
    """

    n: Count
    excluded: Table
    missing: Table
    cells: Counts
    estimates: Annotated[Array, SumOver("n", people_per_parameter=True)]
    errors: Annotated[Array, SumOver("n", people_per_parameter=True)]
    contributing: Flag
    reasons: Annotated[Array, FlagKind()]


class Weighted(Sums):
    """Sums of powers of weight and estimate at several variances between cohorts, and of log(v + tau2)."""

    n: Count
    powers: Annotated[Array, SumOver("n")]
    logs: Annotated[Array, SumOver("n")]


def own_effects(data: Data, params: MetaAnalysisParams) -> OwnEffects:
    """Whether this cohort has an estimate, and of what size: a scale for the sums that follow."""
    own, used = _own(data, params), np.count_nonzero(data.complete(params.variables))
    counted = own.reason is None
    # As long as a cohort's model has parameters.
    values = np.zeros((2, params.model.design.width if params.effect == "coefficient" else 2))
    values[:, params.position] = own.estimate, np.sqrt(own.variance)
    return OwnEffects(
        n=own.n * counted,
        excluded=np.array(float(len(data) - used)),
        missing=np.array([float(np.count_nonzero(data.missing(name))) for name in params.variables]),
        cells=_cells(data, params) * counted,
        estimates=values[0],
        errors=values[1],
        contributing=float(counted),
        reasons=np.array([float(own.reason == reason) for reason in REASONS]),
    )


def weighted(data: Data, params: MetaAnalysisParams, *, tau2: Array, centre: float, unit: float) -> Weighted:
    """Addends of the weighted sums of one cohort, its estimate taken as (y - centre) / unit."""
    if tau2.ndim != 1 or len(tau2) > NODES or np.any(tau2 < 0) or unit <= 0:
        raise Refused("A variance that was broadcast is not one.", rule="broadcast")
    own = _own(data, params)
    if own.reason is not None:
        return Weighted(n=0, powers=np.zeros((len(tau2), 3, 3)), logs=np.zeros(len(tau2)))
    estimate, variance = np.array([(own.estimate - centre) / unit]), np.array([own.variance / unit**2])
    powers, logs = power_sums(estimate, variance, tau2)
    return Weighted(n=own.n, powers=powers, logs=logs)


@analysis
def meta_analysis(params: MetaAnalysisParams) -> Rounds[MetaAnalysisResult]:
    """Meta-analysis: the mean effect over cohorts and how much cohorts differ.

    Is an effect the same everywhere, and if not, by how much does it vary? Every cohort estimates it on its own people:
    a coefficient of its own regression, a contrast of two groups. Common-effect and random-effects means (REML or
    DerSimonian-Laird), Hartung-Knapp intervals, Cochran's Q, tau2 with its Q-profile interval, I2, a prediction
    interval. Cohorts without a usable estimate are counted by reason and left out; nothing is added to empty cells.

    Only sums over cohorts are asked for, six or seven rounds. Sums of few cohorts say much, though: who sees these can
    work out the estimates of a handful of cohorts (not whose they are). With `per_cohort`, one round asks for each
    cohort's estimate, which a cohort answers if its policy allows; it adds a forest plot and leave-one-out.
    Source: Viechtbauer (2005), J Educ Behav Stat 30:261 and (2007), Stat Med 26:37; DerSimonian & Laird (1986), Control
    Clin Trials 7:177; Hartung & Knapp (2001), Stat Med 20:3875; Higgins et al. (2009), JRSS A 172:137.
    """
    each = (yield from ask_each(own_effects)) if params.per_cohort else {}
    first = _total(each) if each else (yield from ask(own_effects))
    cohorts = round(first.contributing)
    if not cohorts:
        raise CannotEstimate(f"No cohort has an estimate of this effect. {left_out(first.reasons)}")
    estimates = _estimates(params, each)
    if each:
        known = [e for e in estimates.values() if e.reason is None]
        pooled = pool_known([e.estimate for e in known], [e.variance for e in known], params.confidence)
    else:
        centre, unit = (float(sums[params.position]) / cohorts for sums in (first.estimates, first.errors))
        found = yield from pool(_at_cohorts(centre, unit), cohorts, params.confidence)
        pooled = replace(found, centre=centre, unit=unit)
    models = pooled_models(pooled, params.method, params.confidence)
    name, chosen = choose(models, params.method, knapp_hartung=params.knapp_hartung)
    intervals = predictions(models, pooled, params.method, params.confidence)
    counts = tuple(tuple(map(round, row)) for row in first.cells) if params.is_table else None
    ratio = params.model.distribution.ratio if params.effect == "coefficient" else RATIOS.get(params.effect)
    return MetaAnalysisResult(
        n=round(first.n),
        n_excluded=whole(float(first.excluded)),
        formula=str(params.formula),
        effect=params.effect,
        term=params.chosen,
        family=params.model.family if params.effect == "coefficient" else None,
        contributing=cohorts,
        left_out={reason: round(count) for reason, count in zip(REASONS, first.reasons, strict=True) if count},
        method=name,
        pooled=chosen,
        ratio=ratio,
        models=models,
        heterogeneity=heterogeneity(pooled, params.method),
        prediction_method=params.prediction,
        prediction=intervals.get(params.prediction),
        predictions=intervals,
        table=counts,
        cohort_effects=cohort_effects(estimates, pooled, params.method, params.confidence),
        leave_one_out=leave_one_out(estimates, params.method, params.confidence, knapp_hartung=params.knapp_hartung),
        confidence=params.confidence,
        missing={name: whole(float(m)) for name, m in zip(params.variables, first.missing, strict=True)},
        warnings=tuple(warnings_of(cohorts, first.reasons, params.variables, first.missing)),
    )


def _own(data: Data, params: MetaAnalysisParams) -> CohortEstimate:
    def compute() -> CohortEstimate:
        if params.effect == "coefficient":
            return coefficient(data, params.model, params.chosen)
        if params.is_table:
            return two_by_two(_cells(data, params), params.effect)
        return means(data, params.comparison, params.effect)

    return remembered(data, params.model_dump_json(), compute)


def _cells(data: Data, params: MetaAnalysisParams) -> Array:
    """People per group, and of a table per outcome; none where the effect is a coefficient."""
    if params.effect == "coefficient":
        return np.zeros(0)
    wide = 2 if params.is_table else 1
    found = np.zeros(2 * wide)
    for block in data.blocks(params.variables):
        event = block[str(params.formula.response)].astype(np.intp) if params.is_table else 0
        found += np.bincount(wide * params.grouping.codes(block) + event, minlength=len(found))
    return found.reshape(2, wide)


def _total(each: Mapping[str, OwnEffects]) -> OwnEffects:
    records = [record.arrays() for record in each.values()]
    return OwnEffects.from_arrays({name: np.sum([r[name] for r in records], axis=0) for name in records[0]})


def _estimates(params: MetaAnalysisParams, each: Mapping[str, OwnEffects]) -> dict[str, CohortEstimate]:
    at, found = params.position, {}
    for cohort, own in each.items():
        reason = next((r for r, flag in zip(REASONS, own.reasons, strict=True) if flag), None)
        found[cohort] = CohortEstimate(round(own.n), float(own.estimates[at]), float(own.errors[at]) ** 2, reason)
    return found


def _at_cohorts(centre: float, unit: float) -> Evaluate:
    def evaluate(tau2: Array) -> Steps[PowerSums]:
        sums = yield from ask(weighted, tau2=tau2, centre=centre, unit=unit)
        return PowerSums(tau2, sums.powers, sums.logs)

    return evaluate
