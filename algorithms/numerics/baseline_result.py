"""Table 1 as a result."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from algorithms.numerics.baseline import Row
from algorithms.numerics.baseline_table import printed
from cohortium import report
from cohortium.exactness import Exactness, exactly, lacking
from cohortium.result import Result

if TYPE_CHECKING:
    import altair


class Table1Result(Result):
    """Every variable, group beside group."""

    complete_cases: ClassVar[bool] = False

    by: str | None = Field(description="The variable that makes the groups.")
    people: dict[str, int | None] = Field(description="People per group.")
    variables: dict[str, Row] = Field(description="What was asked for, by variable.")

    def __getitem__(self, name: str) -> Row:
        return self.variables[name]

    def in_words(self) -> str:
        """What is shown of each variable."""
        by = f" by {self.by}" if self.by else ""
        return (
            f"Baseline characteristics of all cohorts together are given{by}: mean and standard deviation (n - 1) of "
            "numbers, median and quartiles (exact order statistics, definition 7) where shown, people and shares of "
            "categories, and standardised mean differences (Austin 2009). Each variable uses everybody who has a "
            "value of it; missing values are counted. Small cells are withheld by the cohorts."
        )

    def statement(self) -> Exactness:
        """Equal to the pooled table, where nothing is withheld."""
        return exactly(excluded=lacking({self.by: self.n_excluded}) if self.by else {})

    def tables(self) -> list[report.Table]:
        """Table 1 as it is printed."""
        return [printed(self.variables, self.people, self.by)]

    def chart(self) -> altair.TopLevelMixin | None:
        """Sizes of the standardised mean differences; a tenth is a common limit."""
        from algorithms.numerics import description_charts  # noqa: PLC0415 - altair, only to draw

        found = {name: row.smd for name, row in self.variables.items() if row.smd is not None}
        rows = [{"name": name, "value": abs(d)} for name, d in found.items() if math.isfinite(d)]
        title = "standardised mean difference (absolute)"
        return description_charts.differences(rows, title=title, limit=0.1) if rows else None
