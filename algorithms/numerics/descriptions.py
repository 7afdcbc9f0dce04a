"""One variable described: from the sums of all cohorts to what people read."""

from __future__ import annotations

import math

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from algorithms.numerics.groups import whole
from algorithms.numerics.moments import from_powers, of_binary
from algorithms.numerics.order_statistics import Column
from cohortium import report
from cohortium.dictionary import Variable
from cohortium.quantities import Array


class Description(BaseModel):
    """One variable. What a disclosure rule withholds is None; what is not defined for so few values is NaN."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    type: str = Field(description="Its type in the dictionary.")
    unit: str | None = Field(None, description="Unit of measurement.")
    n: int | None = Field(description="People with a value.")
    missing: int | None = Field(description="People without one.")
    mean: float | None = Field(None, description="Mean; for a yes/no variable the proportion of yes.")
    sd: float | None = Field(None, description="Standard deviation (n - 1).")
    std_error: float | None = Field(None, description="Standard error of the mean.")
    skewness: float | None = Field(None, description="Third standardised moment m3 / m2^1.5.")
    kurtosis: float | None = Field(None, description="Excess kurtosis m4 / m2^2 - 3.")
    low: float | None = Field(None, description="The m-th smallest value, or the least bound on it that may be told.")
    high: float | None = Field(None, description="The m-th largest value, or the greatest such bound.")
    exact_extremes: bool | None = Field(None, description="Whether `low` and `high` are those very values.")
    counts: dict[str, int | None] = Field(default={}, description="People per category.")
    proportions: dict[str, float | None] = Field(default={}, description="Share of each category among `n`.")


def number(variable: Variable, counts: tuple[float, float], scale: tuple[float, float], powers: Array) -> Description:
    """A number, from people with and without a value, mean and unit, and the sums of powers."""
    n, missing = counts
    about = Description(type=variable.type, unit=variable.unit, n=round(n), missing=whole(missing))
    return about.model_copy(update=from_powers(n, *scale, powers)) if n else about


def extremes(column: Column) -> dict[str, float | bool]:
    """What is known of the m-th smallest and largest: the bounds that at least m people are known to reach."""
    if not column.ranks:
        return {}
    low, high = column.found(column.ranks[0]), column.found(column.ranks[-1])
    if low.high > high.low:
        return {}
    return {"low": low.high, "high": high.low, "exact_extremes": low.low == low.high and high.low == high.high}


def category(variable: Variable, levels: tuple[str, ...], cells: Array) -> Description:
    """A category, from its cells (levels, missing)."""
    counts = cells[: len(levels)]
    # A total beside its other cells would give a withheld cell away.
    n = None if np.isnan(counts).any() else round(counts.sum())
    shares = [None if n is None else (c / n if n else math.nan) for c in counts]
    found = Description(
        type=variable.type,
        unit=variable.unit,
        n=n,
        missing=whole(cells[-1]),
        counts={level: whole(c) for level, c in zip(levels, counts, strict=True)},
        proportions=dict(zip(levels, shares, strict=True)),
    )
    return found.model_copy(update=of_binary(counts)) if variable.is_numeric and n else found


def number_table(numbers: dict[str, Description]) -> report.Table:
    """Numbers with their moments."""
    columns = ("variable", "unit", "n", "missing", "mean", "SD", "std. error", "skewness", "kurtosis")
    rows = tuple(
        (name, d.unit or "", d.n, d.missing, d.mean, d.sd, d.std_error, d.skewness, d.kurtosis)
        for name, d in numbers.items()
    )
    return report.Table("Numbers", columns, rows)


def extremes_table(numbers: dict[str, Description], m: int) -> report.Table:
    """The `m`-th smallest and largest values, of the numbers that have them."""
    rows = tuple(
        (name, d.unit or "", d.low, d.high, "yes" if d.exact_extremes else "bounds")
        for name, d in numbers.items()
        if d.exact_extremes is not None
    )
    heading = ("variable", "unit", f"{_ordinal(m)} smallest", f"{_ordinal(m)} largest", "exact")
    return report.Table("Extremes", heading, rows)


def _ordinal(m: int) -> str:
    ending = {1: "st", 2: "nd", 3: "rd"}.get(m % 10, "th") if m % 100 not in {11, 12, 13} else "th"
    return f"{m}{ending}"


def category_table(categories: dict[str, Description]) -> report.Table:
    """Categories, a row per level."""
    rows: list[tuple[report.Cell, ...]] = []
    for name, d in categories.items():
        rows += [(name, level, count, d.proportions[level]) for level, count in d.counts.items()]
        rows.append((name, "(missing)", d.missing, ""))
    return report.Table("Categories", ("variable", "level", "n", "proportion"), tuple(rows))
