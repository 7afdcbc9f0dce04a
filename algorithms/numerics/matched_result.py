"""A comparison within sets as a result."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pydantic import Field

from algorithms.numerics.chi_squared import ChiSquared
from algorithms.numerics.phrases import INTERCEPTS, STANDARD_ERRORS, interval
from cohortium import report
from cohortium.exactness import Exactness, exactly, lacking
from cohortium.result import Estimate, Result

if TYPE_CHECKING:
    import altair

_MODELS = {
    "binomial": "conditional logistic regression (exact conditional likelihood)",
    "gaussian": "least squares",
    "survival": "Cox regression with a baseline hazard per set, ties by Efron's method",
}


class MatchedResult(Result):
    """Effects within sets."""

    formula: str = Field(description="The formula as it was asked.")
    family: str = Field(description="binomial, gaussian or survival.")
    model: str = Field(description="within, or between_within.")
    sets_by: str = Field(description="The variable that says who belongs together.")
    coefficients: dict[str, Estimate] = Field(
        description="Effects: log odds or hazard ratios, or differences in means."
    )
    covariance: tuple[tuple[float, ...], ...] = Field(description="Covariance matrix, in the order of `coefficients`.")
    std_errors: str = Field(description="Kind of standard errors.")
    confidence: float = Field(description="Level of the confidence intervals.")
    ratio: str | None = Field(None, description="What exp(coefficient) is called.")
    n_sets: int = Field(description="Informative sets: `n` are the people in them.")
    varying: dict[str, int] = Field(description="Informative sets in which a column varies, per column.")
    concordant: int | None = Field(description="Sets that tell nothing; None if withheld.")
    alone: int | None = Field(description="People in those sets; None if withheld.")
    n_events: int | None = Field(None, description="Cases, or events.")
    missing: dict[str, int | None] = Field(default={}, description="People without a value, by variable.")
    log_likelihood: float | None = Field(None, description="Conditional (or partial) log-likelihood.")
    null_log_likelihood: float | None = Field(None, description="The same without covariates.")
    aic: float | None = Field(None, description="Akaike's criterion.")
    tests: dict[str, ChiSquared] = Field(default={}, description="Of no effect at all; of within = between effects.")
    sigma: float | None = Field(None, description="Residual standard deviation, of gaussian outcomes.")
    r_squared: float | None = Field(None, description="Share explained of the variance within sets (or cohorts).")
    df_residual: float | None = Field(None, description="Degrees of freedom of the t tests.")
    condition_number: float = Field(description="Of the standardised information; above 30 coefficients are shaky.")
    iterations: int = Field(description="Newton steps.")
    decrement: float = Field(description="Squared distance to the optimum in standard errors before the last step.")
    dropped: tuple[str, ...] = Field((), description="Columns left out because they do not vary.")

    def in_words(self) -> str:
        """Model, sets and standard errors."""
        if self.model == "between_within":
            how = f"a between-within model, {INTERCEPTS[self.cohort_effect or 'stratified']}"
        else:
            how = f"{_MODELS[self.family]} within sets of the same {self.sets_by}"
        errors = STANDARD_ERRORS["CR1" if self.std_errors == "cluster" else "model"]
        return (
            f"{self.formula} was estimated by {how}; {self.n_sets} sets were informative. Tests and "
            f"{interval(self.confidence)} go by {errors}."
        )

    def statement(self) -> Exactness:
        """Equal to the pooled fit, sets being within cohorts."""
        own = self.model == "between_within" and self.cohort_effect == "stratified"
        return exactly(
            f"equals the same fit to the pooled records{', an indicator of every cohort added' if own else ''}",
            iterations=self.iterations,
            decrement=self.decrement,
            excluded=lacking(self.missing) | ({} if self.alone == 0 else {"in a set that tells nothing": self.alone}),
        )

    def tables(self) -> list[report.Table]:
        """Coefficients, sets, and tests."""
        level = f"{100 * self.confidence:g}% CI"
        columns = ("term", "estimate", "std. error", "statistic", "p", f"{level} low", f"{level} high", "varying sets")
        rows = tuple(
            (name, e.estimate, e.std_error, e.statistic, e.p_value, e.ci_low, e.ci_high, self._sets_of(name))
            for name, e in self.coefficients.items()
        )
        tables = [report.Table("Coefficients", columns, rows)]
        if self.ratio:
            shown = tuple(
                (name, _exp(e.estimate), _exp(e.ci_low), _exp(e.ci_high)) for name, e in self.coefficients.items()
            )
            title = self.ratio.capitalize()
            tables.append(report.Table(f"{title}s", ("term", self.ratio, f"{level} low", f"{level} high"), shown))
        if self.tests:
            tests = tuple((name, t.statistic, t.df, t.p_value) for name, t in self.tests.items())
            tables.append(report.Table("Tests", ("test", "chi-squared", "df", "p"), tests))
        if any(count is None or count > 0 for count in self.missing.values()):
            tables.append(report.Table("Missing values", ("variable", "missing"), tuple(self.missing.items())))
        return tables

    def _sets_of(self, name: str) -> int | str:
        return self.varying.get(name.removesuffix(" (within)"), "")

    def chart(self) -> altair.TopLevelMixin | None:
        """A forest plot of the effects."""
        from algorithms.numerics import charts  # noqa: PLC0415 - drawing is the one thing that needs altair

        shown = {name: e for name, e in self.coefficients.items() if name != "(Intercept)"}
        return charts.forest(shown, self.ratio)


def _exp(value: float) -> float:
    return math.exp(value) if value < 709.0 else math.inf
