"""What a test on ranks found."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from cohortium import report
from cohortium.exactness import Exactness, approximately, exactly, lacking
from cohortium.result import Result

if TYPE_CHECKING:
    import altair


class RankedGroup(BaseModel):
    """One group. Quantiles are None where values were put in bins."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    n: int = Field(description="People.")
    mean_rank: float = Field(description="Mean of their ranks among all.")
    u: float | None = Field(None, description="Pairs in which this group has the larger value, ties half (two groups).")
    p5: float | None = Field(None, description="5th percentile (type 7).")
    p25: float | None = Field(None, description="First quartile.")
    p50: float | None = Field(None, description="Median.")
    p75: float | None = Field(None, description="Third quartile.")
    p95: float | None = Field(None, description="95th percentile.")


class DunnDifference(BaseModel):
    """Two groups compared by their mean ranks among all groups."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    contrast: str = Field(description="Later less earlier group.")
    statistic: float = Field(description="z.")
    p_value: float = Field(description="Two-sided, for this pair alone.")
    p_adjusted: float = Field(description="Adjusted for all pairs (Holm).")


class RankTestResult(Result):
    """A test on ranks."""

    test: str = Field(description="Mann-Whitney or Kruskal-Wallis.")
    formula: str = Field(description="The formula as it was asked.")
    statistic: float = Field(description="z (Mann-Whitney) or H (Kruskal-Wallis), corrected for ties.")
    df: int | None = Field(None, description="Degrees of freedom of H.")
    p_value: float = Field(description="Two-sided p-value.")
    auc: float | None = Field(None, description="Probability that somebody of the second group has the larger value.")
    auc_se: float | None = Field(None, description="Its standard error (DeLong).")
    auc_low: float | None = Field(None, description="Lower confidence limit.")
    auc_high: float | None = Field(None, description="Upper confidence limit.")
    auc_error: float | None = Field(None, description="Most that the bins can have moved `auc`; 0 if exact.")
    epsilon_squared: float | None = Field(None, description="H / (n - 1): share of the variance of the ranks.")
    ties: float = Field(description="Ties, from 0 (none) to 1 (all have the same value).")
    exact: bool = Field(description="Whether the ranks are those of the recorded values, not of bins.")
    groups: dict[str, RankedGroup] = Field(description="The groups, by name.")
    dunn: tuple[DunnDifference, ...] = Field((), description="All pairs of groups, if that was asked.")
    confidence: float = Field(description="Level of the confidence limits.")
    missing: dict[str, int | None] = Field(default={}, description="People without a value, by variable.")

    def in_words(self) -> str:
        """Test, ties and bins."""
        test = "Mann-Whitney (Wilcoxon rank-sum) test" if self.auc is not None else "Kruskal-Wallis test"
        pairs = " Pairs of groups were compared by Dunn's test with Holm's adjustment." if self.dunn else ""
        area = " The area under the curve has DeLong's interval." if self.auc is not None else ""
        return f"{self.formula} was tested by a {test}, corrected for ties, over all cohorts together.{area}{pairs}"

    def statement(self) -> Exactness:
        """Equal to the ranks of the pooled values, unless these were put in bins."""
        left = lacking(self.missing)
        if self.exact:
            return exactly(excluded=left)
        why = "values were ranked in bins, whose people are tied"
        return approximately(f"{why}; the difference is that of the AUC", within=self.auc_error, excluded=left)

    def tables(self) -> list[report.Table]:
        """The groups, and pairs where they were asked."""
        first = next(iter(self.groups.values()))
        fields = [f for f in ("n", "mean_rank", "u", "p25", "p50", "p75") if getattr(first, f) is not None]
        names = {"mean_rank": "mean rank", "u": "U", "p25": "quartile 1", "p50": "median", "p75": "quartile 3"}
        rows = tuple((name, *(getattr(g, f) for f in fields)) for name, g in self.groups.items())
        found = [report.Table("Groups", ("group", *(names.get(f, f) for f in fields)), rows)]
        if self.dunn:
            pairs = tuple((d.contrast, d.statistic, d.p_value, d.p_adjusted) for d in self.dunn)
            found.append(report.Table("Pairs (Dunn)", ("pair", "z", "p", "p (Holm)"), pairs))
        return found

    def chart(self) -> altair.TopLevelMixin | None:
        """Median, quartiles and the middle 90 % per group."""
        from algorithms.numerics import comparison_charts  # noqa: PLC0415 - drawing alone needs altair

        shown = [{"group": name, **g.model_dump()} for name, g in self.groups.items() if g.p50 is not None]
        return comparison_charts.boxes(shown, title="median, quartiles, middle 90 %") if shown else None
