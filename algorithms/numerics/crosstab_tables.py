"""Cross-tabulations as people read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from algorithms.numerics.contingency import Fisher, Measure, Test
from algorithms.numerics.groups import Groups, whole
from algorithms.numerics.mantel_haenszel import CommonOddsRatio
from cohortium import report
from cohortium.quantities import Array

Counts = Sequence[Sequence[int | None]]


def people(table: Array) -> tuple[tuple[int | None, ...], ...]:
    """The cells as whole numbers; None where withheld."""
    return tuple(tuple(whole(cell) for cell in row) for row in table)


def strata_tables(groups: Groups, strata: Array) -> dict[str, tuple[tuple[int | None, ...], ...]]:
    """The table of every stratum by name; none if there is one stratum only, which is everybody."""
    tables = dict(zip(groups.names, map(people, strata), strict=True))
    return tables if groups.variables else {}


def expected_people(table: Array) -> tuple[tuple[float, ...], ...]:
    """The cells as they would be if rows and columns were independent."""
    return tuple(map(tuple, (np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()).tolist()))


def counts_table(
    title: str, name: str, row_levels: Sequence[str], column_levels: Sequence[str], counts: Counts
) -> report.Table:
    """Counts with their totals; a total of which a part is withheld is withheld too."""
    rows = [(level, *row, _sum(row)) for level, row in zip(row_levels, counts, strict=True)]
    columns = list(zip(*counts, strict=True))
    total = ("total", *(_sum(column) for column in columns), _sum([cell for row in counts for cell in row]))
    return report.Table(title, (name, *column_levels, "total"), (*rows, total))


def association_table(
    tests: Mapping[str, Test | None], fisher: Fisher | None, common: CommonOddsRatio | None
) -> list[report.Table]:
    """The tests that there are."""
    found = {name: test for name, test in tests.items() if test}
    over_strata = {
        "Cochran-Mantel-Haenszel": common.test if common else None,
        "the same, corrected": common.test_corrected if common else None,
        "Breslow-Day (same odds ratio)": common.breslow_day if common else None,
        "Tarone (same odds ratio)": common.tarone if common else None,
    }
    found |= {name: test for name, test in over_strata.items() if test}
    rows: list[tuple[report.Cell, ...]] = [(name, t.statistic, t.df, t.p_value) for name, t in found.items()]
    if fisher:
        rows.append((f"Fisher, {fisher.draws} draws" if fisher.draws else "Fisher, exact", "", "", fisher.p_value))
    return [report.Table("Tests", ("test", "statistic", "df", "p"), tuple(rows))] if rows else []


def measures_table(
    title: str,
    measures: Mapping[str, Measure],
    fisher: Fisher | None,
    common: CommonOddsRatio | None,
    confidence: float,
) -> list[report.Table]:
    """The measures that there are, with their confidence limits."""
    rows: list[tuple[report.Cell, ...]] = [(name, m.estimate, m.ci_low, m.ci_high) for name, m in measures.items()]
    if fisher and fisher.odds_ratio is not None:
        rows.append(("odds ratio, conditional (Fisher)", fisher.odds_ratio, fisher.ci_low, fisher.ci_high))
    if common:
        pooled = common.odds_ratio
        name = f"odds ratio, Mantel-Haenszel ({common.strata} strata)"
        rows.append((name, pooled.estimate, pooled.ci_low, pooled.ci_high))
    level = f"{100 * confidence:g}% CI"
    heading = ("measure", "estimate", f"{level} low", f"{level} high")
    return [report.Table(title, heading, tuple(rows))] if rows else []


def share_rows(row_levels: Sequence[str], column_levels: Sequence[str], counts: Counts) -> list[dict[str, Any]]:
    """How the columns are divided within each row of which all is known, for a chart."""
    rows: list[dict[str, Any]] = []
    for group, row in zip(row_levels, counts, strict=True):
        total = _sum(row)
        if total:
            rows += [
                {"group": group, "level": level, "share": (cell or 0) / total, "place": place}
                for place, (level, cell) in enumerate(zip(column_levels, row, strict=True))
            ]
    return rows


def _sum(cells: Sequence[int | None]) -> int | None:
    known = [cell for cell in cells if cell is not None]
    return sum(known) if len(known) == len(cells) else None
