"""Counts, means and moments of any number of variables, in two rounds."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from algorithms.numerics.expressions import value_codes, value_levels
from algorithms.numerics.preparation import Spread
from cohortium import report
from cohortium.analysis import Params, Rounds, analysis, ask
from cohortium.data import Data
from cohortium.dictionary import Variable
from cohortium.errors import InvalidQuestion
from cohortium.quantities import Array, Count, Counts, FlagKind, SumOver, Sums, Table
from cohortium.result import Result

if TYPE_CHECKING:
    import altair


class DescribeParams(Params):
    """Which variables to describe.

    The mean of a 0/1 variable is a count of people, so such a variable is treated as the table that it is.
    """

    variables: tuple[str, ...] = Field(
        (), description="Variables to describe; none means every variable that is not an identifier."
    )

    @cached_property
    def chosen(self) -> tuple[str, ...]:
        """The variables in order, each once."""
        releasable = [name for name, v in self.dictionary.variables.items() if v.type != "identifier"]
        return tuple(dict.fromkeys(self.variables or releasable))

    @cached_property
    def numbers(self) -> tuple[str, ...]:
        """Those that have a mean of their own."""
        return tuple(name for name in self.chosen if not value_levels(self.dictionary[name]))

    @cached_property
    def categories(self) -> dict[str, tuple[str, ...]]:
        """Those whose values are counted, with their levels."""
        return {name: found for name in self.chosen if (found := value_levels(self.dictionary[name]))}

    def check(self) -> None:
        """Raises UnknownName or InvalidQuestion."""
        for name in self.variables:
            if self.dictionary[name].type == "identifier":
                raise InvalidQuestion(f"`{name}` is an identifier: it names people or groups and is never described.")
        if not self.chosen:
            raise InvalidQuestion("The dictionary has no variable that can be described.")


class Totals(Sums):
    """First round. `n`, `missing`, `sums`, `spreads` per number; `cells` per category x (levels, missing)."""

    rows: Count
    n: Counts
    missing: Table
    sums: Annotated[Array, SumOver("n")]
    spreads: Annotated[Array, SumOver("n")]
    cells: Table
    asked: Annotated[float, FlagKind()]
    collected: Annotated[Array, FlagKind()]


class Moments(Sums):
    """Second round: powers of the standardised deviations, per number, shape (numbers, 4)."""

    n: Counts
    powers: Annotated[Array, SumOver("n")]


def totals(data: Data, params: DescribeParams) -> Totals:
    """What the mean of every number and the table of every category need."""
    columns = [_spread(data, name) for name in params.numbers]
    n = np.array([float(c.n) for c in columns])
    widest = max((len(levels) for levels in params.categories.values()), default=0)
    cells = np.zeros((len(params.categories), widest + 1))
    for row, (name, levels) in zip(cells, params.categories.items(), strict=True):
        row[: len(levels)], row[-1] = _level_counts(data, name, len(levels))
    return Totals(
        rows=len(data),
        n=n,
        missing=len(data) - n,
        sums=np.array([c.sum[0] for c in columns]),
        spreads=np.array([c.spread[0] for c in columns]),
        cells=cells,
        asked=1.0,
        collected=np.array([float(name in data.columns) for name in params.chosen]),
    )


def moments(data: Data, params: DescribeParams, *, centre: Array, unit: Array) -> Moments:
    """Sums of the first four powers of (x - centre) / unit."""
    n, powers = np.zeros(len(params.numbers)), np.zeros((len(params.numbers), 4))
    for i, name in enumerate(params.numbers):
        for block in _blocks(data, name):
            z = (block[name] - centre[i]) / unit[i]
            square = z * z
            n[i] += len(block)
            powers[i] += [np.sum(z), np.sum(square), square @ z, square @ square]
    return Moments(n=n, powers=powers)


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
    counts: dict[str, int | None] = Field(default={}, description="People per category.")
    proportions: dict[str, float | None] = Field(default={}, description="Share of each category among `n`.")


_MOMENTS = ("mean", "sd", "std_error", "skewness", "kurtosis")


class DescribeResult(Result):
    """Descriptions by variable."""

    variables: dict[str, Description] = Field(description="What was asked for, by variable.")

    def __getitem__(self, name: str) -> Description:
        return self.variables[name]

    def tables(self) -> list[report.Table]:
        """Numbers first, then categories."""
        numbers = {name: d for name, d in self.variables.items() if not d.counts}
        categories = {name: d for name, d in self.variables.items() if d.counts}
        found = [_number_table(numbers)] if numbers else []
        return [*found, *([_category_table(categories)] if categories else [])]

    def chart(self) -> altair.TopLevelMixin | None:
        """How complete each variable is."""
        from algorithms.numerics import charts  # noqa: PLC0415 - drawing is the one thing that needs altair

        known = {name: d for name, d in self.variables.items() if d.n is not None and d.missing is not None}
        rows = [
            {"name": name, "share": (d.n or 0) / max((d.n or 0) + (d.missing or 0), 1)} for name, d in known.items()
        ]
        return charts.bars(rows, value="share", title="share of people with a value") if rows else None


@analysis
def describe(params: DescribeParams) -> Rounds[DescribeResult]:
    """Describe variables: counts, mean, standard deviation, shape.

    How many people have a value, and how are the values distributed? Numbers: mean, standard deviation (n - 1),
    standard error, skewness and excess kurtosis, centred on the mean before anything is squared. Categories: people
    and share per level. Small cells are withheld by the cohorts. Two rounds for any number of variables.
    Source: Chan, Golub & LeVeque (1983), The American Statistician 37:242, for the two-pass sums.
    """
    first = yield from ask(totals)
    found = {name: _category(params, name, first.cells[i]) for i, name in enumerate(params.categories)}
    if params.numbers:
        n = np.maximum(first.n, 1.0)
        mean, spread = first.sums / n, first.spreads / n
        unit = np.where(spread > 0, spread, np.where(mean != 0, np.abs(mean), 1.0))
        second = yield from ask(moments, centre=mean, unit=unit)
        for i, name in enumerate(params.numbers):
            counts, scale = (second.n[i], first.missing[i]), (mean[i], unit[i])
            found[name] = _number(params.dictionary[name], counts, scale, second.powers[i])
    return DescribeResult(
        n=round(first.rows),
        n_excluded=0,
        variables={name: found[name] for name in params.chosen},
        warnings=tuple(_warnings(params, first, found)),
    )


def _spread(data: Data, name: str) -> Spread:
    found = Spread(1)
    for block in _blocks(data, name):
        found.add(block[name][:, None])
    return found


def _blocks(data: Data, name: str) -> Iterator[Data]:
    # A variable that this cohort did not collect is missing for everybody here; the result says so.
    return data.blocks([name]) if name in data.columns else iter(())


def _level_counts(data: Data, name: str, levels: int) -> tuple[Array, int]:
    """People per level, and people without a value."""
    if name not in data.columns:
        return np.zeros(levels), len(data)
    counts = np.zeros(levels)
    for block in data.blocks([name]):
        counts += np.bincount(value_codes(block, name), minlength=levels)
    return counts, len(data) - int(counts.sum())


def _number(variable: Variable, counts: tuple[float, float], scale: tuple[float, float], powers: Array) -> Description:
    """Moments about the true mean, which rounding may have put a little beside the one that was broadcast."""
    (n, missing), (mean, unit) = counts, scale
    about = Description(type=variable.type, unit=variable.unit, n=round(n), missing=_whole(missing))
    if not n:
        return about
    off, second, third, fourth = powers / n
    m2 = max(second - off**2, 0.0)
    m3 = third - 3 * off * second + 2 * off**3
    m4 = fourth - 4 * off * third + 6 * off**2 * second - 3 * off**4
    sd = unit * math.sqrt(m2 * n / (n - 1)) if n > 1 else math.nan
    shape = (m3 / m2**1.5, m4 / m2**2 - 3) if m2 > 0 else (math.nan, math.nan)
    found = (mean + unit * off, sd, sd / math.sqrt(n), *shape)
    return about.model_copy(update=dict(zip(_MOMENTS, found, strict=True)))


def _category(params: DescribeParams, name: str, cells: Array) -> Description:
    variable, levels = params.dictionary[name], params.categories[name]
    counts = cells[: len(levels)]
    # A total beside its other cells would give a withheld cell away.
    n = None if np.isnan(counts).any() else round(counts.sum())
    shares = [None if n is None else (c / n if n else math.nan) for c in counts]
    found = Description(
        type=variable.type,
        unit=variable.unit,
        n=n,
        missing=_whole(cells[-1]),
        counts={level: _whole(c) for level, c in zip(levels, counts, strict=True)},
        proportions=dict(zip(levels, shares, strict=True)),
    )
    return found.model_copy(update=_binary_moments(counts)) if variable.is_numeric and n else found


def _binary_moments(counts: Array) -> dict[str, float]:
    """Mean and its companions of a 0/1 variable with these counts."""
    n, share = float(counts.sum()), float(counts[1] / counts.sum())
    variance = share * (1 - share)
    sd = math.sqrt(variance * n / (n - 1)) if n > 1 else math.nan
    skewness = (1 - 2 * share) / math.sqrt(variance) if variance else math.nan
    kurtosis = (1 - 6 * variance) / variance if variance else math.nan
    return dict(zip(_MOMENTS, (share, sd, sd / math.sqrt(n), skewness, kurtosis), strict=True))


def _warnings(params: DescribeParams, first: Totals, found: dict[str, Description]) -> list[str]:
    absent = [
        f"`{name}` was collected by {count:g} of {first.asked:g} cohorts; people of the others count as missing."
        for name, count in zip(params.chosen, first.collected, strict=True)
        if count < first.asked
    ]
    withheld = [name for name, d in found.items() if d.missing is None or None in d.counts.values()]
    small = f"Withheld, because a cohort's cell is small: some counts of {', '.join(withheld)}."
    return [*absent, *([small] if withheld else [])]


def _whole(count: float) -> int | None:
    return None if np.isnan(count) else round(count)


def _number_table(numbers: dict[str, Description]) -> report.Table:
    columns = ("variable", "unit", "n", "missing", "mean", "SD", "std. error", "skewness", "kurtosis")
    rows = tuple(
        (name, d.unit or "", d.n, d.missing, d.mean, d.sd, d.std_error, d.skewness, d.kurtosis)
        for name, d in numbers.items()
    )
    return report.Table("Numbers", columns, rows)


def _category_table(categories: dict[str, Description]) -> report.Table:
    rows: list[tuple[str | float | int | None, ...]] = []
    for name, d in categories.items():
        rows += [(name, level, count, d.proportions[level]) for level, count in d.counts.items()]
        rows.append((name, "(missing)", d.missing, ""))
    return report.Table("Categories", ("variable", "level", "n", "proportion"), tuple(rows))
