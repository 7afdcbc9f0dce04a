"""Linear regression with what R's summary of it shows."""

from __future__ import annotations

import math
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from scipy import special

from algorithms.numerics.climbing import Climb
from algorithms.numerics.estimation import Estimation, at_optimum, estimate, regression_result
from algorithms.numerics.families import FAMILIES
from algorithms.numerics.likelihood import Family
from algorithms.numerics.order_statistics import counts_between  # noqa: F401 - a statistic as well
from algorithms.numerics.own_fits import OwnFit
from algorithms.numerics.phrases import STANDARD_ERRORS, intercepts, interval
from algorithms.numerics.regression_by_cohort import own_regression, with_cohorts
from algorithms.numerics.regression_options import RegressionOptions
from algorithms.numerics.regression_result import RegressionResult
from algorithms.numerics.regression_sums import (  # noqa: F401 - the statistics that this analysis may ask
    cohort_intercept,
    fitted,
    newton_terms,
    preparation,
)
from algorithms.numerics.sandwich import SandwichTerms, sandwich
from algorithms.numerics.scoring import Scaling
from cohortium import report
from cohortium.analysis import Rounds, analysis, ask
from cohortium.data import Data
from cohortium.quantities import Array, SumOver

# Beyond this share of explained variance the covariates nearly tell each person's outcome.
TELLING = 0.999


class LinearParams(RegressionOptions):
    """What to fit, and how."""

    @property
    def distribution(self) -> Family:
        """Normal, with identity link."""
        return FAMILIES["gaussian"]


class OverallTest(BaseModel):
    """One test of the whole model."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    df: int = Field(description="Degrees of freedom (of the numerator).")
    statistic: float = Field(description="F, or chi-squared.")
    p_value: float = Field(description="Chance of as much or more if there were nothing to find.")


class LinearResult(RegressionResult):
    """A fitted linear regression."""

    r_squared: float = Field(
        description="Share of the variance that is explained; with an intercept per cohort, of that within cohorts."
    )
    adjusted_r_squared: float = Field(description="The same, with both variances over their degrees of freedom.")
    sigma: float = Field(description="Residual standard error.")
    f_test: OverallTest | None = Field(None, description="F test of all effects at once.")
    breusch_pagan: OverallTest | None = Field(
        None, description="Koenker's studentised Breusch-Pagan test: does the variance depend on the covariates?"
    )

    def in_words(self) -> str:
        """Model, estimator, cohort effect and standard errors."""
        weights = f", weighted by {self.weights}" if self.weights else ""
        return (
            f"{self.formula} was fitted as a linear regression by least squares{weights}"
            f"{intercepts(self.cohort_effect)}, on standardised columns, the solution refined by its residuals. Tests "
            f"(t, F) and {interval(self.confidence)} go by {STANDARD_ERRORS[self.std_errors]}."
            f"{self._compared_in_words()}"
        )

    def tables(self) -> list[report.Table]:
        """Those of every regression, and the tests of the model as a whole."""
        found = (("All effects (F)", self.f_test), ("Equal variances (Breusch-Pagan)", self.breusch_pagan))
        rows = tuple((name, t.df, t.statistic, t.p_value) for name, t in found if t is not None)
        first, *others = super().tables()
        return [
            first,
            *([report.Table("Tests of the model", ("test", "df", "statistic", "p"), rows)] if rows else []),
            *others,
        ]


class ResidualTerms(SandwichTerms):
    """The sandwich, and how squared residuals go with the covariates.

    d are squared residuals less their mean: `cross` is X'd, `squares` d'd, `between` the part of it between cohorts
    (which have an intercept of their own).
    """

    cross: Annotated[Array, SumOver("n")]
    squares: Annotated[float, SumOver("n")]
    between: Annotated[float, SumOver("n")]


def residual_terms(
    data: Data,
    params: LinearParams,
    *,
    coefficients: Array,
    centre: Array,
    per_unit: Array,
    units: Array,
    knots: Array,
    shape: float,
    inverse: Array,
    variance: float,
) -> ResidualTerms:
    """One cohort's part in robust standard errors and in the Breusch-Pagan test, whose mean square is `variance`."""
    rows = fitted(data, params, coefficients, Scaling.of(centre, per_unit, units), knots, shape=shape)
    meat = sandwich(rows, inverse, data, params.design, params.errors)
    cross, sums, squares, total, n = np.zeros(params.design.width), np.zeros(params.design.width), 0.0, 0.0, 0
    for block, working in rows:
        d = working.pearson - variance
        cross, sums = cross + block.x.T @ d, sums + block.x.sum(axis=0)
        squares, total, n = squares + float(d @ d), total + float(np.sum(d)), n + len(d)
    between = 0.0
    if params.profiled and n:
        cross, between = cross - sums * (total / n), total**2 / n
    if meat.high_leverage:
        cross, squares, between = np.zeros_like(cross), 0.0, 0.0
    return ResidualTerms(**vars(meat), cross=cross, squares=squares, between=between)


def own_estimates(
    data: Data, params: LinearParams, *, coefficients: Array, centre: Array, per_unit: Array, units: Array, knots: Array
) -> OwnFit:
    """A cohort's own fit and its part in the pooled one: asked per cohort, of those that release their own figures."""
    broadcast = {"coefficients": coefficients, "centre": centre, "per_unit": per_unit, "units": units, "knots": knots}
    return own_regression(data, params, linear_regression, broadcast)


@analysis
def linear_regression(params: LinearParams) -> Rounds[LinearResult]:
    """Linear regression.

    By how much does the mean of the outcome differ per unit of a covariate, the others being equal? The model is
    y = X beta + error; least squares, with R-squared, F, variance inflation and a test of equal variances, as R's
    summary of lm and the usual diagnostics show them.

    The normal equations are solved on standardised columns and refined by the residuals of that solution, which brings
    back the digits that sums of squares lose: NIST's Longley data to 12 digits. A fit that explains more than 99.9% of
    the variance comes with a warning for whoever checks output: with it, who knows the covariates of a person nearly
    knows the outcome. It is no refusal, because the coefficients follow from the first sums; whether these may leave is
    for the cohorts' rules. Source: Chambers & Hastie (1992), Statistical Models in S, ch. 4; Breusch & Pagan (1979),
    Econometrica 47:1287; Koenker (1981), Journal of Econometrics 17:107; Fox & Monette (1992), JASA 87:178.
    """
    climb = yield from Climb.prepared(params)
    fit = yield from climb.fit(list(climb.kept))
    variance = fit.terms.pearson / climb.total.n
    residuals = yield from ask(residual_terms, **at_optimum(climb, fit), variance=variance)
    found = yield from estimate(climb, fit, residuals)
    return (yield from with_cohorts(_result(found, residuals), found, own_estimates))


def _result(found: Estimation, residuals: ResidualTerms) -> LinearResult:
    plain = regression_result(found)
    explained = 1.0 - plain.deviance / plain.null_deviance if plain.null_deviance > 0 else 0.0
    inflation = _inflation(found)
    terms = {name: test.model_copy(update={"gvif": inflation.get(name)}) for name, test in plain.terms.items()}
    telling = (
        f"The covariates explain {explained:.2%} of the variance: with them a person's outcome is nearly known. "
        "Whoever checks this output should look at it.",
    )
    shown = {**dict(plain), "terms": terms, "warnings": (*plain.warnings, *(telling if explained > TELLING else ()))}
    return LinearResult(
        **shown,
        r_squared=explained,
        adjusted_r_squared=1.0 - (1.0 - explained) * plain.df_null / plain.df_residual,
        sigma=math.sqrt(plain.dispersion),
        f_test=_f_test(found),
        breusch_pagan=_breusch_pagan(found, residuals),
    )


def _slopes(found: Estimation) -> slice:
    return slice(0 if found.params.profiled or not found.params.formula.intercept else 1, None)


def _f_test(found: Estimation) -> OverallTest | None:
    at = _slopes(found)
    estimates, covariance = found.fit.coefficients[at], found.covariance[at, at]
    df = len(estimates)
    if not df:
        return None
    statistic = float(estimates @ np.linalg.solve(covariance, estimates)) / df
    return OverallTest(df=df, statistic=statistic, p_value=float(special.fdtrc(df, found.df_tests, statistic)))


def _breusch_pagan(found: Estimation, residuals: ResidualTerms) -> OverallTest | None:
    """People times the R^2 of squared residuals on the columns; for people who all weigh the same."""
    params, kept = found.params, found.columns
    df = len(kept[_slopes(found)]) + max(found.cohort_intercepts - 1, 0)
    if params.design.weights or not params.formula.intercept or not df or residuals.squares <= 0:
        return None
    cross = residuals.cross[kept]
    statistic = found.n * (float(cross @ found.fit.inverse @ cross) + residuals.between) / residuals.squares
    return OverallTest(df=df, statistic=statistic, p_value=float(special.chdtrc(df, statistic)))


def _inflation(found: Estimation) -> dict[str, float]:
    """Generalised variance inflation per term: det(R_term) det(R_others) / det(R), R the estimates' correlations."""
    design, at = found.params.design, _slopes(found)
    columns, inverse = found.columns[at], found.fit.inverse[at, at]
    scale = np.sqrt(np.diag(inverse))
    correlation = inverse / np.outer(scale, scale)
    places = {t: [columns.index(k) for k in of if k in columns] for t, of in design.terms.items()}
    places = {term: own for term, own in places.items() if own}
    if len(places) < 2:
        return {}
    everything = np.linalg.slogdet(correlation)[1]
    found_: dict[str, float] = {}
    for term, own in places.items():
        others = [k for k in range(len(columns)) if k not in own]
        logs = (np.linalg.slogdet(correlation[np.ix_(part, part)])[1] for part in (own, others))
        found_[term] = math.exp(sum(logs) - everything)
    return found_
