"""A table of two categorical variables with its tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from algorithms.numerics.contingency import Fisher, Measure, Test
from algorithms.numerics.crosstab_tables import association_table, counts_table, measures_table, share_rows
from algorithms.numerics.mantel_haenszel import CommonOddsRatio
from cohortium import report
from cohortium.exactness import Exactness, exactly, lacking
from cohortium.result import Result

if TYPE_CHECKING:
    import altair


class CrosstabResult(Result):
    """The table with its tests; what needs a withheld cell is None."""

    complete_cases: ClassVar[bool] = False

    rows: str = Field(description="Variable of the rows.")
    columns: str = Field(description="Variable of the columns.")
    row_levels: tuple[str, ...] = Field(description="Levels of the rows.")
    column_levels: tuple[str, ...] = Field(description="Levels of the columns.")
    counts: tuple[tuple[int | None, ...], ...] = Field(description="People per row and column.")
    expected: tuple[tuple[float, ...], ...] | None = Field(description="People expected if they were independent.")
    strata: dict[str, tuple[tuple[int | None, ...], ...]] = Field(description="The table of every stratum.")
    confidence: float = Field(description="Level of the confidence limits.")
    chi_squared: Test | None = Field(description="Pearson's test, without correction.")
    chi_squared_yates: Test | None = Field(description="The same with Yates's correction (two by two).")
    likelihood_ratio: Test | None = Field(description="Likelihood-ratio test.")
    fisher: Fisher | None = Field(description="Fisher's test.")
    trend: Test | None = Field(description="Cochran-Armitage test for trend.")
    cramer_v: float | None = Field(description="Cramér's V.")
    measures: dict[str, Measure] = Field(
        description="Odds ratio, risk ratio and risk difference: second row against first, second column the event."
    )
    mantel_haenszel: CommonOddsRatio | None = Field(description="The common odds ratio over strata (two by two).")

    def in_words(self) -> str:
        """Tests and measures."""
        said = f"{self.rows} was cross-tabulated with {self.columns} over all cohorts"
        fisher = f" ({self.fisher.draws} tables drawn at random)" if self.fisher and self.fisher.draws else ""
        tests = f"; Pearson's chi-squared and Fisher's test{fisher} were used" if self.chi_squared else ""
        by = "each cohort's strata apart" if self.cohort_effect == "stratified" else "strata added up over cohorts"
        common = f" Strata were combined by Mantel & Haenszel (1959), {by}." if self.mantel_haenszel else ""
        return f"{said}{tests}. {100 * self.confidence:g}% intervals are given.{common}"

    def statement(self) -> Exactness:
        """Counts are counts, where they are not withheld; a simulated test is as exact as its draws are many."""
        left = lacking({"a variable": self.n_excluded})
        return exactly("equals the table of the pooled records", tolerance=0.0, excluded=left)

    def tables(self) -> list[report.Table]:
        """Counts, tests, measures; then the strata."""
        named = (self.rows, self.row_levels, self.column_levels)
        found = [counts_table(f"{self.rows} by {self.columns}", *named, self.counts)]
        tests = {
            "Pearson chi-squared": self.chi_squared,
            "with Yates's correction": self.chi_squared_yates,
            "likelihood ratio": self.likelihood_ratio,
            "trend (Cochran-Armitage)": self.trend,
        }
        found += association_table(tests, self.fisher, self.mantel_haenszel)
        found += measures_table(self._compared(), self.measures, self.fisher, self.mantel_haenszel, self.confidence)
        return found + [counts_table(f"Stratum {name}", *named, table) for name, table in self.strata.items()]

    def _compared(self) -> str:
        (*_, group), (*_, event) = self.row_levels, self.column_levels
        return f"Association: {group} against {self.row_levels[0]}, event {event}"

    def chart(self) -> altair.TopLevelMixin | None:
        """How the columns are divided within each row."""
        from algorithms.numerics import description_charts  # noqa: PLC0415 - altair, only to draw

        rows = share_rows(self.row_levels, self.column_levels, self.counts)
        return description_charts.shares(rows, group=self.rows, level=self.columns) if rows else None
