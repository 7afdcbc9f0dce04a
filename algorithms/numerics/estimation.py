"""From the optimum to what is reported: standard errors, tests, and back to the scale of the data."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from algorithms.numerics.climbing import Climb
from algorithms.numerics.design import INTERCEPT
from algorithms.numerics.newton import Fit, Steps
from algorithms.numerics.regression_options import RegressionOptions
from algorithms.numerics.regression_result import Comparison, RegressionResult, TermTest
from algorithms.numerics.regression_sums import InterceptTerms, cohort_intercept, sandwich_terms
from algorithms.numerics.sandwich import SandwichTerms
from algorithms.numerics.scoring import NewtonTerms, ShapeTerms
from cohortium.analysis import ask, ask_each
from cohortium.errors import CannotEstimate
from cohortium.quantities import Array
from cohortium.result import Estimate, wald


@dataclass(frozen=True)
class Estimation:
    """A fit with everything that is needed to report it. `covariance` is on the standardised scale."""

    climb: Climb
    columns: list[int]
    fit: Fit
    null: NewtonTerms
    covariance: Array
    clusters: int | None = None
    intercepts: dict[str, InterceptTerms] | None = None
    comparison: Comparison | None = None

    @property
    def params(self) -> RegressionOptions:
        """What was asked."""
        return self.climb.params

    @property
    def n(self) -> int:
        """People whom the fit uses."""
        return round(self.climb.total.n)

    @property
    def cohort_intercepts(self) -> int:
        """Intercepts that cohorts have of their own."""
        return round(self.climb.total.contributing) if self.params.profiled else 0

    def parameters(self, columns: Sequence[int]) -> int:
        """Coefficients of a model with these columns, cohort intercepts included."""
        return len(columns) + self.cohort_intercepts

    @property
    def df_residual(self) -> int:
        """People less coefficients."""
        return self.n - self.parameters(self.columns)

    @property
    def df_tests(self) -> float:
        """Degrees of freedom of t and F: infinite where the variance is known from the mean."""
        if not self.params.estimates_dispersion:
            return math.inf
        return float(self.df_residual if self.clusters is None else self.clusters - 1)

    @property
    def dispersion(self) -> float:
        """What the variance is multiplied by, on the standardised scale."""
        return self.fit.terms.pearson / self.df_residual if self.params.estimates_dispersion else 1.0

    @property
    def square(self) -> float:
        """What brings squared deviations back to the unit of the outcome."""
        gaussian = self.params.distribution.name == "gaussian"
        return self.climb.planned.scaling.outcome_unit**2 if gaussian else 1.0

    def deviance(self, terms: NewtonTerms) -> float:
        """In the unit of the data."""
        if isinstance(terms, ShapeTerms):
            return 2.0 * (terms.saturated - terms.log_likelihood)
        total, scaling = self.climb.total, self.climb.planned.scaling
        saturated = total.saturated * (self.climb.weight_unit / scaling.weight_unit)
        if self.params.distribution.name == "gamma":  # which was preparing in the outcome's unit, and fitting without
            saturated += total.weight * (self.climb.weight_unit / scaling.weight_unit) * math.log(scaling.outcome_unit)
        return 2.0 * (saturated - terms.log_likelihood) * self.square

    def log_likelihood(self, terms: NewtonTerms) -> float | None:
        """With all its constants; None where there is none."""
        params, total, deviance = self.params, self.climb.total, self.deviance(terms)
        family = params.distribution
        if params.penalised or params.sampling_weights or (params.estimates_dispersion and not family.has_dispersion):
            return None
        if family.name == "gaussian":
            return -0.5 * total.n * (math.log(2.0 * math.pi * deviance / total.n) + 1.0) + total.constant
        if family.name == "gamma":
            # The dispersion that goes with the likelihood is deviance / weight, as in R; logs of y from the constants.
            shape, unit = total.weight / deviance, self.climb.planned.scaling.outcome_unit
            logs = -(total.saturated + total.weight)
            value = terms.log_likelihood - total.weight * math.log(unit)
            own = total.weight * (shape * math.log(shape) - float(special.gammaln(shape)))
            return shape * value + own + (shape - 1.0) * logs
        return terms.log_likelihood + total.constant

    def aic(self, terms: NewtonTerms, columns: Sequence[int]) -> float | None:
        """Akaike's criterion."""
        value = self.log_likelihood(terms)
        return None if value is None else -2.0 * value + 2.0 * (self.parameters(columns) + self.climb.has_shape)


def estimate(climb: Climb, fit: Fit, meat: SandwichTerms | None = None) -> Steps[Estimation]:
    """Everything that is asked for beside the coefficients; `meat` if that is known. Raises CannotEstimate."""
    columns = list(climb.kept)
    found = Estimation(climb, columns, fit, (yield from climb.null(fit, columns)), fit.inverse)
    _must_have_error(found)
    found = replace(found, covariance=fit.inverse * found.dispersion)
    if climb.params.errors != "model":
        if meat is None:
            meat = yield from ask(sandwich_terms, **at_optimum(climb, fit))
        found = _robust(found, meat)
    if climb.params.cohort_effect == "dummies":
        broadcast = climb.broadcast(columns, fit.coefficients[: len(columns)])
        each = yield from ask_each(cohort_intercept, **broadcast)
        found = replace(found, intercepts={cohort: terms for cohort, terms in sorted(each.items()) if terms.n})
    if climb.params.compare is not None:
        compared = yield from compare_with(found, found.params.smaller, str(climb.params.compare))
        found = replace(found, comparison=compared)
    return found


def _must_have_error(found: Estimation) -> None:
    scaling, n = found.climb.planned.scaling, found.climb.total.n
    scale = max(found.square, scaling.outcome_centre**2)
    if found.params.distribution.has_dispersion and found.deviance(found.fit.terms) <= 1e-26 * n * scale:
        raise CannotEstimate(
            "The covariates determine the outcome exactly (or it is constant): there is no error to estimate."
        )


def at_optimum(climb: Climb, fit: Fit) -> dict[str, float | Array]:
    """What is broadcast with a question about the final coefficients: these, and their inverse information."""
    width, at = climb.params.design.width, _places(climb)
    inverse = np.zeros((width + climb.has_shape,) * 2)
    inverse[np.ix_(at, at)] = fit.inverse * climb.weight_unit
    shape = float(fit.coefficients[-1]) if climb.has_shape else 0.0
    return {**climb.broadcast(climb.kept, fit.coefficients[: len(climb.kept)]), "shape": shape, "inverse": inverse}


def _places(climb: Climb) -> list[int]:
    """Where the parameters are among all columns of the design, the second parameter behind them."""
    return [*map(int, climb.kept), *([climb.params.design.width] if climb.has_shape else [])]


def _robust(found: Estimation, total: SandwichTerms) -> Estimation:
    fit, at, unit = found.fit, _places(found.climb), found.climb.weight_unit
    if total.high_leverage:
        raise CannotEstimate(
            f"{found.params.errors} divides by what is left beside a person's leverage, and somebody's is above 0.5. "
            "Ask for HC0 or HC1, or for fewer covariates."
        )
    n, p, groups = found.n, found.n - found.df_residual, total.clusters
    if found.params.errors == "CR1" and groups < 2:
        raise CannotEstimate("There is one cluster only, so nothing tells how much clusters differ.")
    few = {"HC1": n / (n - p), "CR1": groups / max(groups - 1, 1) * (n - 1) / (n - p)}.get(found.params.errors, 1.0)
    covariance = fit.inverse @ (unit**2 * total.meat[np.ix_(at, at)]) @ fit.inverse * few
    return replace(found, covariance=covariance, clusters=round(groups) if found.params.formula.clusters else None)


def compare_with(found: Estimation, smaller: Collection[int], name: str) -> Steps[Comparison]:
    """A model with some of the columns, fitted to the very same people: its other columns are held at 0."""
    columns = [k for k in found.columns if k in smaller]
    df = len(found.columns) - len(columns)
    if not df:
        raise CannotEstimate("Nobody has the levels in which the two models differ: they are the same.")
    fit = yield from found.climb.fit(columns)
    deviance, larger = found.deviance(fit.terms), found.deviance(found.fit.terms)
    if found.params.estimates_dispersion:
        statistic = max((deviance - larger) / df / (found.dispersion * found.square), 0.0)
        p_value = float(special.fdtrc(df, found.df_residual, statistic))
    else:
        statistic = max(2.0 * (found.fit.terms.log_likelihood - fit.terms.log_likelihood), 0.0)
        p_value = float(special.chdtrc(df, statistic))
    return Comparison(
        formula=name,
        test="F" if found.params.estimates_dispersion else "likelihood ratio",
        df=df,
        statistic=statistic,
        p_value=p_value,
        deviance=deviance,
        log_likelihood=found.log_likelihood(fit.terms),
        aic=found.aic(fit.terms, columns),
    )


def regression_result(found: Estimation) -> RegressionResult:
    """The result on the scale of the data."""
    climb, params, fit = found.climb, found.params, found.fit
    family, terms, total = params.distribution, fit.terms, climb.total
    names, estimates, covariance = _back(found)
    alpha = None
    if climb.has_shape:
        alpha = _alpha(estimates[-1], covariance[-1, -1], params.confidence)
        names, estimates, covariance = names[:-1], estimates[:-1], covariance[:-1, :-1]
    log_likelihood, parameters = found.log_likelihood(terms), found.parameters(found.columns) + climb.has_shape
    return RegressionResult(
        n=found.n,
        n_excluded=_whole(float(total.excluded)),
        cohort_effect=params.cohort_effect,
        formula=str(params.formula),
        family=family.name,
        link=family.link,
        penalty="firth" if params.penalised else None,
        weights=_weights(params),
        coefficients=wald(names, estimates, covariance, params.confidence, found.df_tests),
        covariance=tuple(tuple(map(float, row)) for row in covariance),
        std_errors=params.errors,
        confidence=params.confidence,
        ratio=family.ratio,
        knots=_knots(climb),
        terms=_term_tests(found, names, estimates, covariance),
        comparison=found.comparison,
        events=round(total.outcome) if family.name == "binomial" and not params.weights else None,
        clusters=found.clusters,
        missing={name: _whole(m) for name, m in zip(params.design.variables, total.missing, strict=True)},
        parameters=parameters,
        df_residual=found.df_residual,
        df_null=found.n - (found.cohort_intercepts if params.profiled else int(params.formula.intercept)),
        deviance=found.deviance(terms),
        null_deviance=found.deviance(found.null),
        log_likelihood=log_likelihood,
        aic=found.aic(terms, found.columns),
        bic=None if log_likelihood is None else -2.0 * log_likelihood + parameters * math.log(found.n),
        dispersion=found.dispersion * found.square,
        alpha=alpha,
        pearson_chi2=terms.pearson * found.square,
        condition_number=fit.condition_number,
        iterations=fit.iterations,
        decrement=fit.decrement,
        dropped=climb.planned.dropped,
        warnings=tuple(_warnings(found)),
    )


def _back(found: Estimation) -> tuple[list[str], Array, Array]:
    """Names, estimates and covariance on the scale of the data: estimates = T g + shift, covariance = T C T'."""
    climb, scaling, columns = found.climb, found.climb.planned.scaling, found.columns
    names = climb.names(columns)
    stretch = np.ones(len(names))
    stretch[: len(columns)] = scaling.predictor_unit * scaling.per_unit[columns]
    transform, shift = np.diag(stretch), np.zeros(len(names))
    log = found.params.distribution.link == "log"
    moved = math.log(scaling.outcome_unit) if log else scaling.outcome_centre
    if INTERCEPT in names:
        transform[0, 1 : len(columns)] = -scaling.centre[columns][1:] * stretch[1 : len(columns)]
        shift[0] = moved
    if found.intercepts is None:
        return names, transform @ found.fit.coefficients + shift, transform @ found.covariance @ transform.T
    # An intercept per cohort, where all covariates are 0: a_k = (its own optimum) given the slopes g, whose variance is
    # 1 / weight beside that of -centre' g.
    own = list(found.intercepts.values())
    centres = np.array([terms.centre[columns] for terms in own]).reshape(len(own), len(columns))
    joint = np.vstack([-scaling.predictor_unit * centres, transform])
    covariance = joint @ found.covariance @ joint.T
    for k, terms in enumerate(own):
        variance = found.dispersion / (terms.weight * climb.weight_unit)
        covariance[k, k] += scaling.predictor_unit**2 * variance
    intercepts = [scaling.predictor_unit * terms.intercept + moved for terms in own]
    estimates = np.concatenate([intercepts, transform @ found.fit.coefficients])
    return [*(f"{INTERCEPT}[{cohort}]" for cohort in found.intercepts), *names], estimates, covariance


def _term_tests(found: Estimation, names: list[str], estimates: Array, covariance: Array) -> dict[str, TermTest]:
    """All coefficients of a term at once: b' C^-1 b, over its degrees of freedom if the dispersion is estimated."""
    design, place = found.params.design, {name: k for k, name in enumerate(names)}
    tests = {}
    for term, columns in design.terms.items():
        at = [place[design.columns[k]] for k in columns if k in set(found.columns)]
        if term == INTERCEPT or not at:
            continue
        # On the scale of correlations, where no unit is left that could spoil the solution.
        scale = np.sqrt(np.diag(covariance)[at])
        z, correlation = estimates[at] / scale, covariance[np.ix_(at, at)] / np.outer(scale, scale)
        statistic = float(z @ np.linalg.lstsq(correlation, z)[0])
        if math.isfinite(found.df_tests):
            statistic /= len(at)
            p_value = float(special.fdtrc(len(at), found.df_tests, statistic))
            tests[term] = TermTest(df=len(at), test="F", statistic=statistic, p_value=p_value)
        else:
            p_value = float(special.chdtrc(len(at), statistic))
            tests[term] = TermTest(df=len(at), test="chi-squared", statistic=statistic, p_value=p_value)
    return tests


def _alpha(logarithm: float, variance: float, level: float) -> Estimate:
    """The overdispersion: its interval is symmetric in log(alpha), in which the likelihood is near to quadratic."""
    error, alpha = math.sqrt(variance), math.exp(logarithm)
    z = float(special.ndtri(0.5 + level / 2))
    return Estimate(
        estimate=alpha,
        std_error=alpha * error,
        statistic=1.0 / error,
        p_value=float(2.0 * special.ndtr(-1.0 / error)),
        ci_low=math.exp(logarithm - z * error),
        ci_high=math.exp(logarithm + z * error),
    )


def _knots(climb: Climb) -> dict[str, tuple[float, ...]]:
    found = zip(climb.params.splines, climb.knots, strict=True)
    return {str(spline): tuple(map(float, row[: spline.count])) for spline, row in found}


def _weights(params: RegressionOptions) -> str | None:
    if params.sampling_weights:
        return f"{params.sampling_weights} (sampling, mean 1)"
    return f"{params.weights} (prior)" if params.weights else None


def _warnings(found: Estimation) -> list[str]:
    total, planned, words = found.climb.total, found.climb.planned, []
    if planned.dropped:
        words.append(f"Nobody has the level of {', '.join(planned.dropped)}: left out.")
    if total.silent:
        cohorts = "In 1 cohort" if total.silent == 1 else f"In {total.silent:g} cohorts"
        words.append(
            f"{cohorts} the outcome does not vary; beside an intercept of its own it tells nothing and is not counted."
        )
    variables = found.params.design.variables
    withheld = [name for name, count in zip(variables, total.missing, strict=True) if np.isnan(count)]
    if withheld:
        words.append(f"How many people lack {', '.join(withheld)} is withheld: a cohort's number is small.")
    if found.clusters is not None and found.clusters < 30:
        words.append(f"Standard errors by cluster are too small when clusters are few; here are {found.clusters}.")
    if found.params.penalised:
        words.append(
            "Firth's penalty keeps the estimates finite (Firth 1993); the deviance is that of the plain likelihood at "
            "these estimates. Standard errors and intervals are Wald's, which in small samples are rough."
        )
    if found.comparison is not None and found.params.errors != "model":
        words.append("The comparison of models goes by the likelihood; it is not robust as the standard errors are.")
    return words


def _whole(count: float) -> int | None:
    return None if np.isnan(count) else round(count)
