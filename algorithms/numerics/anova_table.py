"""What an analysis of variance returns."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from algorithms.numerics.analysis_of_variance import Extra, FTest, f_test, tukey
from algorithms.numerics.grouped_moments import GroupSummary, Moments, group_rows, group_table
from cohortium import report
from cohortium.exactness import Exactness, exactly, lacking
from cohortium.result import Result

if TYPE_CHECKING:
    import altair


class AnovaRow(BaseModel):
    """A term of the model."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    df: int = Field(description="Degrees of freedom.")
    sum_squares: float = Field(description="Sum of squares of the type asked for.")
    mean_square: float = Field(description="Sum of squares over degrees of freedom.")
    statistic: float = Field(description="F.")
    p_value: float = Field(description="Upper tail of F.")
    eta_squared: float = Field(description="Share of the total sum of squares.")
    partial_eta_squared: float = Field(description="Share of the sum of squares of term and residuals.")
    omega_squared: float = Field(description="Share of the variance, with less bias than eta squared.")


class TestOfGroups(BaseModel):
    """An F test over all groups."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    statistic: float = Field(description="F.")
    df: float = Field(description="Numerator degrees of freedom.")
    df_residual: float = Field(description="Denominator degrees of freedom.")
    p_value: float = Field(description="Upper tail of F.")


class PairwiseDifference(BaseModel):
    """Two groups compared while all pairs are."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    contrast: str = Field(description="Later less earlier group.")
    estimate: float = Field(description="Difference between the means.")
    ci_low: float = Field(description="Lower simultaneous confidence limit.")
    ci_high: float = Field(description="Upper simultaneous confidence limit.")
    p_value: float = Field(description="Adjusted for all pairs (studentised range).")


class AnovaResult(Result):
    """An analysis of variance."""

    formula: str = Field(description="The formula as it was asked.")
    sums_of_squares: str = Field(description="Type of the sums of squares.")
    terms: dict[str, AnovaRow] = Field(description="The terms, by name.")
    df_residual: int = Field(description="Residual degrees of freedom.")
    residual_sum_squares: float = Field(description="Residual sum of squares.")
    total_sum_squares: float = Field(description="Sum of squares about the grand mean.")
    residual_sd: float = Field(description="Residual standard deviation.")
    r_squared: float = Field(description="Share of the total sum of squares that the model explains.")
    groups: dict[str, GroupSummary] = Field(description="The groups (of several factors: their combinations).")
    welch: TestOfGroups | None = Field(None, description="Equal means without equal variances (one factor).")
    levene: TestOfGroups | None = Field(None, description="Equal variances, if that was asked.")
    tukey: tuple[PairwiseDifference, ...] = Field((), description="All pairs of groups (one factor).")
    confidence: float = Field(description="Level of the confidence limits.")
    missing: dict[str, int | None] = Field(default={}, description="People without a value, by variable.")

    def in_words(self) -> str:
        """Model, sums of squares and further tests."""
        further = ["Welch's test without equal variances"] if self.welch else []
        further += ["Levene's test of equal variances"] if self.levene else []
        further += ["all pairs of groups by Tukey-Kramer"] if self.tukey else []
        also = f" Also given: {', '.join(further)}." if further else ""
        return (
            f"{self.formula} was tested by analysis of variance with type {self.sums_of_squares} sums of squares over "
            f"all cohorts together, from linear models on the cell means.{also}"
        )

    def statement(self) -> Exactness:
        """Equal to the pooled analysis."""
        return exactly(excluded=lacking(self.missing))

    def tables(self) -> list[report.Table]:
        """The analysis of variance, the groups, tests of all groups, pairs."""
        columns = ("term", "df", "sum of squares", "mean square", "F", "p", "eta²", "partial eta²", "omega²")
        rows = [(name, *(getattr(row, field) for field in AnovaRow.model_fields)) for name, row in self.terms.items()]
        residual = (self.df_residual, self.residual_sum_squares, self.residual_sum_squares / self.df_residual)
        found = [report.Table(f"Type {self.sums_of_squares}", columns, (*rows, ("residuals", *residual, *5 * ("",))))]
        found.append(group_table(self.groups, self.confidence))
        tests = {"Welch (means)": self.welch, "Levene (variances)": self.levene}
        shown = tuple((name, t.statistic, t.df, t.df_residual, t.p_value) for name, t in tests.items() if t)
        if shown:
            found.append(report.Table("All groups", ("test", "F", "df", "residual df", "p"), shown))
        if self.tukey:
            level = f"{100 * self.confidence:g}% CI"
            pairs = tuple((t.contrast, t.estimate, t.ci_low, t.ci_high, t.p_value) for t in self.tukey)
            found.append(report.Table("Tukey", ("pair", "difference", f"{level} low", f"{level} high", "p"), pairs))
        return found

    def chart(self) -> altair.TopLevelMixin | None:
        """The means with their intervals."""
        from algorithms.numerics import comparison_charts  # noqa: PLC0415 - drawing alone needs altair

        return comparison_charts.means(group_rows(self.groups), title="mean")


def anova_row(extra: Extra, error: Extra, total: float) -> AnovaRow:
    """A term with its F test and effect sizes."""
    if not extra.df:
        return AnovaRow(df=0, sum_squares=0.0, **dict.fromkeys(list(AnovaRow.model_fields)[2:], math.nan))
    noise = error.squares / error.df
    test = f_test(extra.squares / extra.df / noise, extra.df, error.df)
    return AnovaRow(
        df=extra.df,
        sum_squares=extra.squares,
        mean_square=extra.squares / extra.df,
        statistic=test.statistic,
        p_value=test.p_value,
        eta_squared=extra.squares / total,
        partial_eta_squared=extra.squares / (extra.squares + error.squares),
        omega_squared=(extra.squares - extra.df * noise) / (total + noise),
    )


def pairwise(
    moments: Moments, error: Extra, groups: tuple[str, ...], confidence: float
) -> tuple[PairwiseDifference, ...]:
    """Tukey's comparison of every pair."""
    return tuple(
        PairwiseDifference(
            contrast=f"{groups[d.second]} - {groups[d.first]}",
            estimate=d.estimate,
            ci_low=d.low,
            ci_high=d.high,
            p_value=d.p_value,
        )
        for d in tukey(moments, error, confidence)
    )


def test_of_groups(found: FTest | None) -> TestOfGroups | None:
    """The test as part of a result."""
    return None if found is None else TestOfGroups(**vars(found))
