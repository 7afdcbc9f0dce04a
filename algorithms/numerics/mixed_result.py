"""What a linear mixed model found."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field

from algorithms.numerics.design import INTERCEPT
from algorithms.numerics.phrases import intercepts
from cohortium import report
from cohortium.exactness import POOLED, Exactness, exactly, lacking
from cohortium.result import Estimate, Result

if TYPE_CHECKING:
    import altair

COHORT = "cohort"
# A standard deviation below this share of what the data can just tell from 0 is 0.
SINGULAR = 1e-3


class VarianceComponent(BaseModel):
    """How much one random effect varies, and its correlations with the random effects before it."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    group: str = Field(description="What has the effect: the grouping variable, `cohort`, or `residual`.")
    term: str = Field(description="The column whose effect varies.")
    variance: float = Field(description="Variance of the effects.")
    std_dev: float = Field(description="Standard deviation of the effects.")
    correlations: tuple[float | None, ...] = Field(
        (), description="With the earlier terms of the group; None where a variance is 0."
    )


class VarianceTest(BaseModel):
    """Whether a random term is needed: likelihood ratio against the model without it."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    term: str = Field(description="The term that was taken out.")
    statistic: float = Field(description="Twice the difference in log-likelihood.")
    distribution: str = Field(description="What the statistic follows if the term is not needed.")
    p_value: float = Field(description="Probability of so large a statistic if the term is not needed.")


class MixedResult(Result):
    """A fitted linear mixed model."""

    formula: str = Field(description="The formula as it was asked.")
    method: Literal["REML", "ML"] = Field(description="Restricted or full maximum likelihood.")
    coefficients: dict[str, Estimate] = Field(description="Fixed effects by term, tested by t with `df`.")
    df: dict[str, float] = Field(description="Satterthwaite's degrees of freedom by term.")
    covariance: tuple[tuple[float, ...], ...] = Field(description="Covariance matrix, in the order of `coefficients`.")
    confidence: float = Field(description="Level of the confidence intervals.")
    group: str | None = Field(None, description="The variable whose values are the clusters.")
    clusters: int | None = Field(None, description="Clusters that the analysis used, each within one cohort.")
    variance_components: tuple[VarianceComponent, ...] = Field(description="Random effects, and the residual.")
    icc: dict[str, float] = Field(
        default={},
        description="Correlation between two rows of the same group (given equal covariates), where only intercepts "
        "are random; rows of a cluster share its cohort too.",
    )
    variance_tests: tuple[VarianceTest, ...] = Field(description="Likelihood-ratio tests, the simplest model first.")
    singular: bool = Field(description="Whether a variance is 0 or a correlation 1: more than the data can tell.")
    missing: dict[str, int | None] = Field(default={}, description="Rows without a value, by variable.")
    parameters: int = Field(description="Estimated parameters: fixed effects, cohort intercepts, (co)variances.")
    deviance: float = Field(description="Minus twice the log-likelihood; under REML the REML criterion.")
    log_likelihood: float = Field(description="Log-likelihood (under REML the restricted one) with all its constants.")
    aic: float = Field(description="Akaike's criterion; under REML only for models with the same covariates.")
    bic: float = Field(description="Schwarz's criterion, counting rows.")
    iterations: int = Field(description="Newton steps towards the variances of the whole model.")
    decrement: float = Field(description="Decrease in deviance that the last step promised.")
    dropped: tuple[str, ...] = Field((), description="Columns left out because nobody has that level.")

    def in_words(self) -> str:
        """Model, estimator, cohort effect and tests."""
        method = "restricted maximum likelihood (REML)" if self.method == "REML" else "maximum likelihood"
        return (
            f"{self.formula} was fitted as a linear mixed model by {method}{intercepts(self.cohort_effect)}. "
            "Coefficients were tested by t with Satterthwaite's degrees of freedom, variances by likelihood-ratio "
            "tests against mixtures of chi-squared distributions."
        )

    def statement(self) -> Exactness:
        """Equal to the pooled fit; variances are where the likelihood is flat, so fewer of their digits are."""
        return exactly(
            f"{POOLED}, if no cluster is in two cohorts",
            tolerance=1e-6,
            iterations=self.iterations,
            decrement=self.decrement,
            excluded=lacking(self.missing),
        )

    def tables(self) -> list[report.Table]:
        """The fixed effects, the variances, their tests, and the rows without a value."""
        level = f"{100 * self.confidence:g}% CI"
        columns = ("term", "estimate", "std. error", "df", "t", "p", f"{level} low", f"{level} high")
        rows = tuple(
            (n, e.estimate, e.std_error, self.df[n], e.statistic, e.p_value, e.ci_low, e.ci_high)
            for n, e in self.coefficients.items()
        )
        tables = [report.Table("Fixed effects", columns, rows), self._variances()]
        tests = tuple((t.term, t.statistic, t.distribution, t.p_value) for t in self.variance_tests)
        tables.append(report.Table("Random terms", ("without", "chi-square", "distribution", "p"), tests))
        if self.icc:
            tables.append(report.Table("Intraclass correlation", ("same", "ICC"), tuple(self.icc.items())))
        if any(count is None or count > 0 for count in self.missing.values()):
            tables.append(report.Table("Missing values", ("variable", "missing"), tuple(self.missing.items())))
        return tables

    def _variances(self) -> report.Table:
        width = max(len(c.correlations) for c in self.variance_components)
        headings = ["correlation", *("" for _ in range(width - 1))][:width]
        rows: list[tuple[report.Cell, ...]] = [
            (
                c.group,
                c.term,
                c.variance,
                c.std_dev,
                *(math.nan if r is None else r for r in c.correlations),
                *[""] * (width - len(c.correlations)),
            )
            for c in self.variance_components
        ]
        return report.Table("Variances", ("group", "term", "variance", "std. dev.", *headings), tuple(rows))

    def chart(self) -> altair.TopLevelMixin | None:
        """A forest plot of the fixed effects."""
        from algorithms.numerics import charts  # noqa: PLC0415 - drawing is the one thing that needs altair

        shown = {name: e for name, e in self.coefficients.items() if name != INTERCEPT} or self.coefficients
        return charts.forest(shown, None) if shown else None
