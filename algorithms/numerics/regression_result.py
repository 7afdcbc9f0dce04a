"""What every regression returns, as statisticians are used to read it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field

from algorithms.numerics.by_cohort import ByCohort, one_step, with_forests
from algorithms.numerics.by_cohort import tables as cohort_tables
from algorithms.numerics.design import INTERCEPT
from algorithms.numerics.phrases import STANDARD_ERRORS, intercepts, interval
from algorithms.numerics.ratios import exponential, ratio_table
from cohortium import report
from cohortium.exactness import Exactness, exactly, lacking
from cohortium.result import Estimate, Result

if TYPE_CHECKING:
    import altair


class TermTest(BaseModel):
    """All coefficients of a term at once."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    df: int = Field(description="Coefficients of the term.")
    test: Literal["F", "chi-squared"] = Field(description="F where a dispersion is estimated.")
    statistic: float = Field(description="The statistic of that test.")
    p_value: float = Field(description="Chance of as much or more if all of them were 0.")
    gvif: float | None = Field(
        None, description="Generalised variance inflation factor (Fox & Monette 1992): what the other terms cost it."
    )


class Comparison(BaseModel):
    """A smaller model against this one, on the same people."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    formula: str = Field(description="The smaller model.")
    test: Literal["likelihood ratio", "F"] = Field(description="F where a dispersion is estimated.")
    df: int = Field(description="Coefficients that the smaller model does not have.")
    statistic: float = Field(description="Chi-squared, or F.")
    p_value: float = Field(description="Chance of as much or more if the smaller model were true.")
    deviance: float = Field(description="Deviance of the smaller model.")
    log_likelihood: float | None = Field(description="Log-likelihood of the smaller model.")
    aic: float | None = Field(description="Akaike's criterion of the smaller model.")


class ProfileInterval(BaseModel):
    """Where a coefficient may be by the likelihood itself."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    low: float = Field(description="Lower limit.")
    high: float = Field(description="Upper limit.")


class RegressionResult(Result):
    """A fitted regression."""

    formula: str = Field(description="The formula as it was asked.")
    family: str = Field(description="Distribution of the outcome.")
    link: str = Field(description="Link between the mean of the outcome and the covariates.")
    penalty: str | None = Field(None, description="Penalty of the likelihood, if it had one.")
    weights: str | None = Field(None, description="Variable that weighs the rows, and how.")
    coefficients: dict[str, Estimate] = Field(description="Estimates by term, on the scale of the link.")
    covariance: tuple[tuple[float, ...], ...] = Field(description="Covariance matrix, in the order of `coefficients`.")
    std_errors: str = Field("model", description="Kind of the standard errors.")
    confidence: float = Field(description="Level of the confidence intervals.")
    ratio: str | None = Field(None, description="What exp(estimate) is: odds ratio, rate ratio, or nothing.")
    knots: dict[str, tuple[float, ...]] = Field(default={}, description="Where the knots of splines were placed.")
    terms: dict[str, TermTest] = Field(default={}, description="Wald test per term, of all its coefficients at once.")
    comparison: Comparison | None = Field(None, description="Test against a smaller model.")
    drop1: dict[str, Comparison] = Field(default={}, description="Tests against the model without each term.")
    profile: dict[str, ProfileInterval] = Field(
        default={}, description="Profile-likelihood intervals by term, on the scale of the link."
    )
    events: int | None = Field(None, description="People with the event (binomial).")
    clusters: int | None = Field(None, description="Clusters that the standard errors are robust to.")
    missing: dict[str, int | None] = Field(default={}, description="People without a value, by variable.")
    parameters: int = Field(description="Estimated parameters, cohort intercepts included, dispersions not.")
    df_residual: int = Field(description="Residual degrees of freedom: people less parameters of the mean.")
    df_null: int = Field(description="Residual degrees of freedom of the null model.")
    deviance: float = Field(description="Deviance; for gaussian the residual sum of squares.")
    null_deviance: float = Field(description="Deviance with the intercept(s) and offset alone.")
    log_likelihood: float | None = Field(
        description="Log-likelihood with all its constants; None where there is none (quasi, sampling weights)."
    )
    aic: float | None = Field(description="Akaike's criterion; a dispersion is not counted as a parameter.")
    bic: float | None = Field(description="Schwarz's criterion, counting people and parameters as for AIC.")
    dispersion: float = Field(description="Dispersion in the standard errors: the residual variance, or 1.")
    alpha: Estimate | None = Field(
        None,
        description="Overdispersion of a negative binomial: the variance is mu + alpha mu^2. R's theta is 1 / alpha.",
    )
    pearson_chi2: float = Field(description="Pearson's statistic; over `df_residual` it measures overdispersion.")
    condition_number: float = Field(
        description="Of the standardised, weighted design; above 30 coefficients are shaky."
    )
    iterations: int = Field(description="Newton steps.")
    decrement: float = Field(description="Squared distance to the optimum in standard errors before the last step.")
    dropped: tuple[str, ...] = Field((), description="Columns left out because nobody has that level.")
    by_cohort: dict[str, ByCohort] = Field(default={}, description="Cohort by cohort, by term, where that was allowed.")

    def in_words(self) -> str:
        """Model, estimator, cohort effect and standard errors."""
        how = (
            "penalised maximum likelihood (Firth 1993, Biometrika 80:27)"
            if self.penalty
            else "maximum likelihood by Newton's method"
        )
        weights = f", weighted by {self.weights}" if self.weights else ""
        return (
            f"{self.formula} was fitted as a generalised linear model ({self.family.replace('_', ' ')}, {self.link} "
            f"link) by {how}{weights}{intercepts(self.cohort_effect)}. Tests and {interval(self.confidence)} go by "
            f"{STANDARD_ERRORS[self.std_errors]}.{self._compared_in_words()}{self._more_in_words()}"
        )

    def _compared_in_words(self) -> str:
        if self.comparison is None:
            return ""
        return f" It was compared with {self.comparison.formula} on the same people ({self.comparison.test} test)."

    def _more_in_words(self) -> str:
        test = next((c.test for c in self.drop1.values()), "")
        dropped = f" Each term was tested against the model without it ({test} test)." if test else ""
        intervals = " Profile-likelihood intervals are by Venzon & Moolgavkar (1988, Applied Statistics 37:87)."
        return dropped + (intervals if self.profile else "")

    def statement(self) -> Exactness:
        """Equal to the pooled fit with the same intercepts."""
        basis = "equals the same fit to the pooled records"
        if self.cohort_effect in {"stratified", "dummies"}:
            basis += ", an indicator of every cohort added"
        least_squares = (self.family, self.link) == ("gaussian", "identity")
        return exactly(
            basis + ("" if least_squares else one_step(self.by_cohort)),
            iterations=self.iterations,
            decrement=self.decrement,
            excluded=lacking(self.missing),
        )

    def tables(self) -> list[report.Table]:
        """The coefficients; exp(estimate) where that has a name; tests of terms and models; missing values."""
        level = f"{100 * self.confidence:g}% CI"
        columns = ("term", "estimate", "std. error", "statistic", "p", f"{level} low", f"{level} high")
        tables = [report.Table("Coefficients", columns, tuple(_row(*named) for named in self.coefficients.items()))]
        if self.ratio and self.effects:
            tables.append(ratio_table(self.ratio, self.effects, self.confidence))
        if self.alpha is not None:
            tables.append(report.Table("Overdispersion", columns, (_row("alpha", self.alpha),)))
        if any(test.df > 1 or test.gvif for test in self.terms.values()):
            tables.append(self._tests())
        if self.profile:
            tables.append(self._profiled(level))
        if self.comparison is not None:
            tables.append(self._compared(self.comparison))
        if self.drop1:
            tables.append(self._dropped())
        if self.knots:
            rows = tuple((spline, ", ".join(f"{k:g}" for k in knots)) for spline, knots in self.knots.items())
            tables.append(report.Table("Knots", ("spline", "at"), rows))
        tables += cohort_tables(self.by_cohort, self.confidence)
        if any(count is None or count > 0 for count in self.missing.values()):
            tables.append(report.Table("Missing values", ("variable", "missing"), tuple(self.missing.items())))
        return tables

    @property
    def effects(self) -> dict[str, Estimate]:
        """The coefficients without intercepts, whose exponent is a baseline, not a ratio."""
        return {n: e for n, e in self.coefficients.items() if n != INTERCEPT and not n.startswith("(Intercept)[")}

    def _tests(self) -> report.Table:
        tests = list(self.terms.items())
        inflated = ("GVIF",) if any(t.gvif is not None for _, t in tests) else ()
        rows = tuple((name, t.df, t.statistic, t.p_value, *((t.gvif,) if inflated else ())) for name, t in tests)
        return report.Table("Wald tests of terms", ("term", "df", tests[0][1].test, "p", *inflated), rows)

    def _profiled(self, level: str) -> report.Table:
        ratios = (self.ratio, f"{self.ratio} low", f"{self.ratio} high") if self.ratio else ()
        rows = tuple(
            (name, e.estimate, i.low, i.high, *(map(exponential, (e.estimate, i.low, i.high)) if ratios else ()))
            for name, i in self.profile.items()
            if (e := self.coefficients[name])
        )
        columns = ("term", "estimate", f"{level} low", f"{level} high", *ratios)
        return report.Table("Profile-likelihood intervals", columns, rows)

    def _dropped(self) -> report.Table:
        test = next(iter(self.drop1.values())).test
        rows: list[tuple[report.Cell, ...]] = [("(none)", "", self.deviance, _cell(self.aic), "", "")]
        rows += [(name, c.df, c.deviance, _cell(c.aic), c.statistic, c.p_value) for name, c in self.drop1.items()]
        return report.Table("Without each term", ("term", "df", "deviance", "AIC", test, "p"), tuple(rows))

    def _compared(self, c: Comparison) -> report.Table:
        columns = ("model", "deviance", "log likelihood", "AIC", "df", c.test, "p")
        rows = (
            (c.formula, c.deviance, c.log_likelihood, c.aic, None, None, None),
            (self.formula, self.deviance, self.log_likelihood, self.aic, c.df, c.statistic, c.p_value),
        )
        shown = tuple(tuple("" if value is None else value for value in row) for row in rows)
        return report.Table("Comparison on the same people", columns, shown)

    def chart(self) -> altair.TopLevelMixin | None:
        """A forest plot of the coefficients, as ratios where they have a name."""
        from algorithms.numerics import charts  # noqa: PLC0415 - drawing is the one thing that needs altair

        shown = self.effects or self.coefficients
        chart = charts.forest(shown, self.ratio) if shown else None
        return with_forests(chart, self.by_cohort, self.coefficients, self.ratio) if chart else None


def _row(name: str, e: Estimate) -> tuple[str | float, ...]:
    return (name, e.estimate, e.std_error, e.statistic, e.p_value, e.ci_low, e.ci_high)


def _cell(value: float | None) -> float | str:
    return "" if value is None else value
