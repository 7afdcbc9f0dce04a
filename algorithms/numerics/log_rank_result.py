"""What a comparison of survival between groups found."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from algorithms.numerics.chi_squared import ChiSquared
from algorithms.numerics.pairwise import Pair
from cohortium import report
from cohortium.exactness import POOLED, Exactness, exactly, lacking
from cohortium.result import Estimate, Result

if TYPE_CHECKING:
    import altair


class Group(BaseModel):
    """One group of the comparison."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    n: int = Field(description="People followed.")
    observed: int = Field(description="People who had the event.")
    expected: float = Field(description="How many would have, had the groups the same hazard.")
    rmst: float | None = Field(None, description="Mean survival time restricted to the horizon.")
    rmst_se: float | None = Field(None, description="Its standard error.")


class LogRankResult(Result):
    """A comparison of survival between groups."""

    formula: str = Field(description="The formula as it was asked.")
    groups: dict[str, Group] = Field(description="The groups, by name.")
    test: ChiSquared = Field(description="Log-rank test of no difference.")
    variance: tuple[tuple[float, ...], ...] = Field(
        description="Covariance of observed less expected, by the order of `groups`."
    )
    pairs: dict[str, Pair] = Field(description="Every two groups, as if there were no others; none of more than 12.")
    horizon: float | None = Field(None, description="End of the restricted mean.")
    rmst_differences: dict[str, Estimate] | None = Field(
        None, description="Restricted mean survival time of each group less that of the first."
    )
    missing: dict[str, int | None] = Field(default={}, description="People without a value, by variable.")
    no_follow_up: int | None = Field(description="People whose follow-up has no length.")
    backwards: int | None = Field(None, description="Rows left out because they stop before they start.")

    def in_words(self) -> str:
        """Test, strata and restricted means."""
        within = "within cohorts" if self.cohort_effect == "stratified" else "over all cohorts on a grid of times"
        means = ""
        if self.horizon is not None:
            means = f" Restricted mean survival times to {self.horizon:g} were compared from Kaplan-Meier curves."
        return f"{self.formula} was compared by a log-rank test {within}.{means}"

    def statement(self) -> Exactness:
        """Equal to the pooled test, stratified by cohort or on the grid of times."""
        by = ", stratified by cohort" if self.cohort_effect == "stratified" else ", times rounded up to the grid"
        left = {"no follow-up": self.no_follow_up, "stop before start": self.backwards}
        none = {reason: count for reason, count in left.items() if count != 0}
        return exactly(f"{POOLED}{by}", excluded=lacking(self.missing) | none)

    def tables(self) -> list[report.Table]:
        """Groups, the test, and the differences in restricted mean survival."""
        restricted = (f"mean to {self.horizon:g}", "std. error") if self.horizon is not None else ()
        rows = tuple(
            (name, g.n, g.observed, g.expected, *((g.rmst, g.rmst_se) if restricted else ()))
            for name, g in self.groups.items()
        )
        t = self.test
        tables = [
            report.Table("Groups", ("group", "people", "observed", "expected", *restricted), rows),
            report.Table("Log-rank test", ("chi-squared", "df", "p"), ((t.statistic, t.df, t.p_value),)),
        ]
        if len(self.pairs) > 1:
            pairs: tuple[tuple[report.Cell, ...], ...] = tuple(
                (name, p.test.statistic, p.test.p_value, p.p_adjusted, *_ratio(p.log_hazard_ratio))
                for name, p in self.pairs.items()
            )
            headings = ("groups", "chi-squared", "p", "p (Holm)", "hazard ratio (Peto)", "CI low", "CI high")
            tables.append(report.Table("Every two groups", headings, pairs))
        if self.rmst_differences is not None:
            columns = ("difference", "estimate", "std. error", "z", "p", "CI low", "CI high")
            estimates = tuple((name, *e.model_dump().values()) for name, e in self.rmst_differences.items())
            tables.append(report.Table("Restricted mean survival", columns, estimates))
        return tables

    def chart(self) -> altair.TopLevelMixin | None:
        """The differences in restricted mean survival, or else Peto's hazard ratios of every two groups."""
        from algorithms.numerics import charts  # noqa: PLC0415 - drawing is the one thing that needs altair

        if self.rmst_differences:
            return charts.forest(self.rmst_differences, None)
        ratios = {name: pair.log_hazard_ratio for name, pair in self.pairs.items()}
        return charts.forest(ratios, "hazard ratio (Peto)") if ratios else None


def _ratio(estimate: Estimate) -> tuple[float, float, float]:
    low, middle, high = (math.exp(min(v, 700.0)) for v in (estimate.ci_low, estimate.estimate, estimate.ci_high))
    return middle, low, high
