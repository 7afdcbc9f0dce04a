"""What every regression asks for and returns, as statisticians are used to read it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from algorithms.numerics.design import INTERCEPT, Design, compile_design, refuse_specials
from algorithms.numerics.families import Family
from algorithms.numerics.newton import Fit
from algorithms.numerics.outcome import check_outcome
from algorithms.numerics.preparation import Plan, Preparation
from cohortium import report
from cohortium.analysis import Confidence, Params
from cohortium.errors import CannotEstimate, InvalidQuestion
from cohortium.formula import Formula
from cohortium.quantities import Array
from cohortium.result import CohortEffect, Estimate, Result, wald

if TYPE_CHECKING:
    import altair


class RegressionParams(Params):
    """What to fit, and how."""

    formula: Formula = Field(
        description="Outcome and covariates: `bmi ~ age + sex`, `visits ~ age + offset(log(years))`."
    )
    cohort_effect: CohortEffect = Field(
        "stratified", description="stratified: an intercept per cohort; common: one for all, as if pooled."
    )
    confidence: float = Confidence
    max_iterations: int = Field(25, ge=1, le=100, description="Most Newton steps before giving up.")

    @property
    def profiled(self) -> bool:
        """Whether every cohort has an intercept of its own."""
        return self.cohort_effect == "stratified"

    @property
    def distribution(self) -> Family:
        """How the outcome is distributed."""
        raise NotImplementedError

    @cached_property
    def design(self) -> Design:
        """The compiled formula."""
        return compile_design(self.formula, self.dictionary, intercept_column=not self.profiled)

    def check(self) -> None:
        """Raises FormulaError or InvalidQuestion for what a regression cannot take."""
        refuse_specials(self.formula, "offset")
        check_outcome(self.formula, self.dictionary, self.distribution.name)
        if self.profiled and not self.formula.intercept:
            raise InvalidQuestion(
                "cohort_effect='stratified' gives every cohort its own intercept, so the formula cannot leave the "
                "intercept out. Remove `0` or `-1`, or ask for cohort_effect='common'."
            )
        _ = self.design  # compiled now, so that its errors come before any node is asked


class RegressionResult(Result):
    """A fitted regression."""

    formula: str = Field(description="The formula as it was asked.")
    family: str = Field(description="Distribution of the outcome.")
    link: str = Field(description="Link between the mean of the outcome and the covariates.")
    coefficients: dict[str, Estimate] = Field(description="Estimates by term, on the scale of the link.")
    covariance: tuple[tuple[float, ...], ...] = Field(description="Covariance matrix, in the order of `coefficients`.")
    confidence: float = Field(description="Level of the confidence intervals.")
    ratio: str | None = Field(None, description="What exp(estimate) is: odds ratio, rate ratio, or nothing.")
    events: int | None = Field(None, description="People with the event (binomial).")
    missing: dict[str, int | None] = Field(default={}, description="People without a value, by variable.")
    parameters: int = Field(description="Estimated parameters of the mean, cohort intercepts included.")
    df_residual: int = Field(description="Residual degrees of freedom: people less parameters.")
    df_null: int = Field(description="Residual degrees of freedom of the null model.")
    deviance: float = Field(description="Deviance; for gaussian the residual sum of squares.")
    null_deviance: float = Field(description="Deviance with the intercept(s) and offset alone.")
    log_likelihood: float = Field(description="Log-likelihood with all its constants.")
    aic: float = Field(description="Akaike's criterion; a gaussian variance is not counted as a parameter.")
    bic: float = Field(description="Schwarz's criterion, counting people and parameters as for AIC.")
    dispersion: float = Field(description="Dispersion in the standard errors: the residual variance, or 1.")
    pearson_chi2: float = Field(description="Pearson's statistic; over `df_residual` it measures overdispersion.")
    condition_number: float = Field(
        description="Of the standardised, weighted design; above 30 coefficients are shaky."
    )
    iterations: int = Field(description="Newton steps.")
    decrement: float = Field(description="Squared distance to the optimum in standard errors before the last step.")
    dropped: tuple[str, ...] = Field((), description="Columns left out because nobody has that level.")

    def tables(self) -> list[report.Table]:
        """The coefficients; exp(estimate) where that has a name; the people without a value."""
        level = f"{100 * self.confidence:g}% CI"
        columns = ("term", "estimate", "std. error", "statistic", "p", f"{level} low", f"{level} high")
        rows = tuple(
            (name, e.estimate, e.std_error, e.statistic, e.p_value, e.ci_low, e.ci_high)
            for name, e in self.coefficients.items()
        )
        tables = [report.Table("Coefficients", columns, rows)]
        if self.ratio and self.effects:
            tables.append(self._ratios(self.ratio, level))
        if any(count is None or count > 0 for count in self.missing.values()):
            tables.append(report.Table("Missing values", ("variable", "missing"), tuple(self.missing.items())))
        return tables

    @property
    def effects(self) -> dict[str, Estimate]:
        """The coefficients without the intercept, whose exponent is a baseline, not a ratio."""
        return {name: e for name, e in self.coefficients.items() if name != INTERCEPT}

    def _ratios(self, ratio: str, level: str) -> report.Table:
        rows = tuple(
            (name, _exp(e.estimate), _exp(e.ci_low), _exp(e.ci_high), e.p_value) for name, e in self.effects.items()
        )
        columns = ("term", ratio, f"{level} low", f"{level} high", "p")
        return report.Table(f"{ratio[0].upper()}{ratio[1:]}s", columns, rows)

    def chart(self) -> altair.TopLevelMixin | None:
        """A forest plot of the coefficients, as ratios where they have a name."""
        from algorithms.numerics import charts  # noqa: PLC0415 - drawing is the one thing that needs altair

        shown = self.effects or self.coefficients
        return charts.forest(shown, self.ratio) if shown else None


def regression_result(fit: Fit, total: Preparation, planned: Plan, params: RegressionParams) -> RegressionResult:
    """Back from the standardised scale to the one of the data."""
    family, kept = params.distribution, planned.kept
    n, gaussian = round(total.n), family.name == "gaussian"
    parameters = len(kept) + (round(total.contributing) if params.profiled else 0)
    square = planned.scaling.outcome_unit**2
    deviance, null_deviance = (2.0 * (total.saturated - t.log_likelihood) * square for t in (fit.terms, fit.start))
    if gaussian and deviance <= 1e-26 * total.n * max(square, planned.scaling.outcome_centre**2):
        raise CannotEstimate(
            "The covariates determine the outcome exactly (or it is constant): there is no error to estimate."
        )
    dispersion = deviance / (n - parameters) if gaussian else 1.0
    names = [params.design.columns[k] for k in kept]
    estimates, transform = _back(fit.coefficients, planned, with_intercept=INTERCEPT in names)
    covariance = transform @ fit.inverse @ transform.T * (dispersion / square)
    log_likelihood = _log_likelihood(fit, total, deviance, gaussian=gaussian)
    return RegressionResult(
        n=n,
        n_excluded=_whole(float(total.excluded)),
        cohort_effect=params.cohort_effect,
        formula=str(params.formula),
        family=family.name,
        link=family.link,
        coefficients=wald(names, estimates, covariance, params.confidence, n - parameters if gaussian else np.inf),
        covariance=tuple(tuple(map(float, row)) for row in covariance),
        confidence=params.confidence,
        ratio=family.ratio,
        events=round(total.outcome) if family.name == "binomial" else None,
        missing={name: _whole(m) for name, m in zip(params.design.variables, total.missing, strict=True)},
        parameters=parameters,
        df_residual=n - parameters,
        df_null=n - (round(total.contributing) if params.profiled else int(params.formula.intercept)),
        deviance=deviance,
        null_deviance=null_deviance,
        log_likelihood=log_likelihood,
        aic=-2.0 * log_likelihood + 2.0 * parameters,
        bic=-2.0 * log_likelihood + parameters * math.log(n),
        dispersion=dispersion,
        pearson_chi2=fit.terms.pearson * square,
        condition_number=fit.condition_number,
        iterations=fit.iterations,
        decrement=fit.decrement,
        dropped=planned.dropped,
        warnings=tuple(_warnings(total, planned, params.design.variables)),
    )


def _back(coefficients: Array, planned: Plan, *, with_intercept: bool) -> tuple[Array, Array]:
    """Coefficients on the scale of the data, and the matrix T with estimates = T g (+ the outcome's centre)."""
    kept, scaling = planned.kept, planned.scaling
    stretch = scaling.outcome_unit * scaling.per_unit[kept]
    transform = np.diag(stretch)
    if with_intercept:
        transform[0, 1:] = -scaling.centre[kept][1:] * stretch[1:]
    estimates = transform @ coefficients
    if with_intercept:
        estimates[0] += scaling.outcome_centre
    return estimates, transform


def _log_likelihood(fit: Fit, total: Preparation, deviance: float, *, gaussian: bool) -> float:
    if gaussian:
        return -0.5 * total.n * (math.log(2.0 * math.pi * deviance / total.n) + 1.0)
    return fit.terms.log_likelihood + total.constant


def _warnings(total: Preparation, planned: Plan, variables: Sequence[str]) -> list[str]:
    found = []
    if planned.dropped:
        found.append(f"Nobody has the level of {', '.join(planned.dropped)}: left out.")
    if total.silent:
        cohorts = "In 1 cohort" if total.silent == 1 else f"In {total.silent:g} cohorts"
        found.append(
            f"{cohorts} the outcome does not vary; beside an intercept of its own it tells nothing and is not counted."
        )
    withheld = [name for name, count in zip(variables, total.missing, strict=True) if np.isnan(count)]
    if withheld:
        found.append(f"How many people lack {', '.join(withheld)} is withheld: a cohort's number is small.")
    return found


def _whole(count: float) -> int | None:
    return None if np.isnan(count) else round(count)


def _exp(value: float) -> float:
    return math.exp(value) if value < 709.0 else math.inf
