"""Table 1 as it is printed."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from algorithms.numerics.baseline import Row, Summary, total
from cohortium import report


def printed(rows: Mapping[str, Row], people: Mapping[str, int | None], by: str | None) -> report.Table:
    """Table 1 as it is printed: a line per number, per level of a category, and for missing values."""
    groups = list(people)
    tested = any(row.comparison for row in rows.values())
    extra = (*(("SMD",) if len(groups) > 1 else ()), *(("test", "p") if tested else ()))
    heading = (by or "variable", *groups, *(("overall",) if by else ()), *extra)
    everybody = (_words(total(list(people.values()))),) if by else ()
    lines: list[tuple[report.Cell, ...]] = [("people", *map(_words, people.values()), *everybody, *("",) * len(extra))]
    for name, row in rows.items():
        summaries = [*row.groups.values(), *([row.overall] if by and row.overall else [])]
        compared = _compared(row, tested=tested, several=len(groups) > 1)
        blank = ("",) * len(compared)
        unit = f" ({row.unit})" if row.unit else ""
        for i, (label, show) in enumerate(_lines(row)):
            lines.append((f"{name}{unit}{label}", *map(show, summaries), *(blank if i else compared)))
        if any(s.missing != 0 for s in summaries):
            lines.append((f"{name}: missing", *(_words(s.missing) for s in summaries), *blank))
    return report.Table("Table 1", heading, tuple(lines))


def _lines(row: Row) -> list[tuple[str, Callable[[Summary], report.Cell]]]:
    first = next(iter(row.groups.values()))
    if not first.counts:
        means: tuple[str, Callable[[Summary], report.Cell]] = (", mean (SD)", _mean)
        wanted = any(s.median is not None for s in row.groups.values())
        return [means, (", median [IQR]", _median)] if wanted else [means]

    def share(level: str) -> Callable[[Summary], report.Cell]:
        return lambda s: _share(s.counts[level], s.proportions[level])

    return [(f": {level}, n (%)", share(level)) for level in first.counts]


def _compared(row: Row, *, tested: bool, several: bool) -> tuple[report.Cell, ...]:
    difference = ("" if row.smd is None else f"{row.smd:.3f}",) if several else ()
    if not tested:
        return difference
    found = row.comparison
    return (*difference, found.test if found else "", found.p_value if found else "")


def _words(count: int | None) -> str | None:
    return None if count is None else str(count)


def _mean(s: Summary) -> report.Cell:
    return None if s.mean is None and s.n is None else "-" if s.mean is None else f"{s.mean:.4g} ({s.sd:.3g})"


def _median(s: Summary) -> report.Cell:
    if s.median is None or s.quartiles is None:
        return None if s.n is None else "-"
    return f"{s.median:.4g} [{s.quartiles[0]:.4g}, {s.quartiles[1]:.4g}]"


def _share(count: int | None, proportion: float | None) -> str | None:
    return None if count is None else str(count) if proportion is None else f"{count} ({100 * proportion:.1f})"
