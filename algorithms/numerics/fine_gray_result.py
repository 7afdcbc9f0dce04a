"""A fitted Fine-Gray model as a result."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pydantic import Field

from algorithms.numerics.chi_squared import ChiSquared
from algorithms.numerics.phrases import BASELINES
from cohortium import report
from cohortium.exactness import Exactness, exactly, lacking
from cohortium.result import Estimate, Result

if TYPE_CHECKING:
    import altair


class FineGrayResult(Result):
    """A fitted model of the incidence of one cause."""

    formula: str = Field(description="The formula as it was asked.")
    cause: str = Field(description="The cause that is modelled.")
    other_causes: tuple[str, ...] = Field(description="The causes that compete with it.")
    ties: str = Field(description="How events at the same time were handled.")
    coefficients: dict[str, Estimate] = Field(description="Log subdistribution hazard ratios by term.")
    covariance: tuple[tuple[float, ...], ...] = Field(description="Covariance matrix, in the order of `coefficients`.")
    confidence: float = Field(description="Level of the confidence intervals.")
    std_error_type: str = Field(description="robust (sandwich), or model-based.")
    model_std_errors: dict[str, float] = Field(description="Model-based standard errors, whichever were used.")
    n_events: int = Field(description="People who had the event of the cause.")
    missing: dict[str, int | None] = Field(description="People without a value, by variable.")
    log_likelihood: float = Field(description="Log pseudo-likelihood.")
    null_log_likelihood: float = Field(description="The same without covariates.")
    tests: dict[str, ChiSquared] = Field(description="Of no effect at all: likelihood ratio and Wald test.")
    interval: float | None = Field(None, description="Width of the grid of times, if there was one.")
    condition_number: float = Field(description="Of the standardised information; above 30 coefficients are shaky.")
    iterations: int = Field(description="Newton steps.")
    decrement: float = Field(description="Squared distance to the optimum in standard errors before the last step.")
    dropped: tuple[str, ...] = Field((), description="Columns left out because nobody has that level.")

    def in_words(self) -> str:
        """Model, ties, baseline and standard errors."""
        grid = f"; times were rounded up to steps of {self.interval:g}" if self.interval else ""
        return (
            f"The subdistribution hazard of {self.cause} ({self.formula}) was modelled as by Fine and Gray, ties by "
            f"{self.ties.capitalize()}'s method, {BASELINES[self.cohort_effect or 'common']}, censoring weights by "
            f"Kaplan-Meier in the same way{grid}. Standard errors are {self.std_error_type} and take these weights as "
            f"known; intervals are {100 * self.confidence:g}% Wald intervals of the log ratio."
        )

    def statement(self) -> Exactness:
        """Equal to finegray and coxph of R's survival package."""
        told = "stratified by cohort" if self.cohort_effect == "stratified" else "their times rounded up to the grid"
        return exactly(
            f"equals finegray and coxph on the pooled records, {told}",
            tolerance=1e-7,
            iterations=self.iterations,
            decrement=self.decrement,
            excluded=lacking(self.missing),
        )

    def tables(self) -> list[report.Table]:
        """Coefficients, and the tests of the model."""
        level = f"{100 * self.confidence:g}% CI"
        columns = ("term", "estimate", "std. error", "z", "p", "subdistribution HR", f"{level} low", f"{level} high")
        rows: tuple[tuple[report.Cell, ...], ...] = tuple(
            (name, e.estimate, e.std_error, e.statistic, e.p_value, *map(_exp, (e.estimate, e.ci_low, e.ci_high)))
            for name, e in self.coefficients.items()
        )
        tests: tuple[tuple[report.Cell, ...], ...] = tuple(
            (name, test.statistic, test.df, test.p_value) for name, test in self.tests.items()
        )
        return [
            report.Table("Coefficients", columns, rows),
            report.Table("Tests of the model", ("test", "chi-squared", "df", "p"), tests),
        ]

    def chart(self) -> altair.TopLevelMixin | None:
        """A forest plot of the ratios."""
        from algorithms.numerics import charts  # noqa: PLC0415 - drawing is the one thing that needs altair

        return charts.forest(self.coefficients, "subdistribution hazard ratio")


def _exp(value: float) -> float:
    return math.exp(value) if value < 709.0 else math.inf
