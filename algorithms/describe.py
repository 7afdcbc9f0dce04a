"""Counts, means, moments and private extremes of any number of variables."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
from pydantic import Field

from algorithms.numerics.descriptions import (
    Description,
    category,
    category_table,
    extremes,
    extremes_table,
    number,
    number_table,
)
from algorithms.numerics.expressions import value_codes, value_levels
from algorithms.numerics.groups import Groups, tally
from algorithms.numerics.lattice import Lattice
from algorithms.numerics.order_statistics import (
    Multisection,
    counts_between,
    first_thresholds,
    sections,
)
from algorithms.numerics.preparation import Spread
from algorithms.numerics.standing_out import StandingOut, together
from algorithms.numerics.withholding import withhold
from cohortium import report
from cohortium.analysis import Params, Rounds, analysis, ask
from cohortium.data import Data
from cohortium.errors import InvalidQuestion
from cohortium.evidence import Evidence
from cohortium.exactness import Exactness, exactly, lacking
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
    extremes: int = Field(
        0,
        ge=0,
        le=1000,
        description="Report the m-th smallest and the m-th largest value in place of minimum and maximum, which are "
        "somebody's own; 10 is usual, 0 reports neither.",
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

    @cached_property
    def lattices(self) -> tuple[Lattice, ...]:
        """The numbers whose extremes can be searched for."""
        return tuple(Lattice.of(self.dictionary, name) for name in self.numbers if name not in self.unordered)

    @cached_property
    def unordered(self) -> tuple[str, ...]:
        """The numbers whose possible values the dictionary does not declare, or that are not wanted in order."""
        declared = [self.dictionary[name] for name in self.numbers]
        known = [None not in (v.minimum, v.maximum, v.lattice_step) for v in declared]
        return tuple(name for name, k in zip(self.numbers, known, strict=True) if not (k and self.extremes))

    @cached_property
    def groups(self) -> Groups:
        """Everybody is described together."""
        return Groups(self.dictionary)

    def check(self) -> None:
        """Raises UnknownName or InvalidQuestion."""
        for name in self.variables:
            if self.dictionary[name].type == "identifier":
                raise InvalidQuestion(f"`{name}` is an identifier: it names people or groups and is never described.")
        if not self.chosen:
            raise InvalidQuestion("The dictionary has no variable that can be described.")
        _ = self.lattices


class Totals(Sums):
    """First round. `n`, `missing`, `sums`, `spreads` per number; `cells` per category x (levels, missing).

    `ending` and `beginning` as in `Sections`, for the first thresholds of the extremes.
    """

    rows: Count
    n: Counts
    missing: Table
    sums: Annotated[Array, SumOver("n")]
    spreads: Annotated[Array, SumOver("n")]
    cells: Table
    asked: Annotated[float, FlagKind()]
    collected: Annotated[Array, FlagKind()]
    ending: Table
    beginning: Table


class Moments(Sums):
    """Second round: powers of the standardised deviations, per number, shape (numbers, 4); the search goes on."""

    n: Counts
    powers: Annotated[Array, SumOver("n")]
    ending: Table
    beginning: Table


def totals(data: Data, params: DescribeParams) -> Totals:
    """What the mean of every number and the table of every category need."""
    columns = [_spread(data, name) for name in params.numbers]
    n = np.array([float(c.n) for c in columns])
    widest = max((len(levels) for levels in params.categories.values()), default=0)
    cells = np.zeros((len(params.categories), widest + 1))
    for row, (name, levels) in zip(cells, params.categories.items(), strict=True):
        counts, row[-1] = _level_counts(data, name, len(levels))
        row[: len(levels)] = withhold(counts, data.least_group)
    ending, beginning = sections(data, params, first_thresholds(params))
    return Totals(
        rows=len(data),
        n=n,
        missing=len(data) - n,
        sums=np.array([c.sum[0] for c in columns]),
        spreads=np.array([c.spread[0] for c in columns]),
        cells=cells,
        asked=1.0,
        collected=np.array([float(name in data.columns) for name in params.chosen]),
        ending=ending,
        beginning=beginning,
        evidence=_evidence(data, params),
    )


def moments(data: Data, params: DescribeParams, *, centre: Array, unit: Array, thresholds: Array) -> Moments:
    """Sums of the first four powers of (x - centre) / unit, and people between thresholds."""
    ending, beginning = sections(data, params, thresholds)
    n, powers = np.zeros(len(params.numbers)), np.zeros((len(params.numbers), 4))
    for i, name in enumerate(params.numbers):
        for block in _blocks(data, name):
            z = (block[name] - centre[i]) / unit[i]
            square = z * z
            n[i] += len(block)
            powers[i] += [np.sum(z), np.sum(square), square @ z, square @ square]
    return Moments(n=n, powers=powers, ending=ending, beginning=beginning, evidence=_evidence(data, params))


class DescribeResult(Result):
    """Descriptions by variable."""

    complete_cases: ClassVar[bool] = False

    variables: dict[str, Description] = Field(description="What was asked for, by variable.")
    extremes: int = Field(0, description="The m of the m-th smallest and largest value; 0 if neither was asked for.")

    def __getitem__(self, name: str) -> Description:
        return self.variables[name]

    def in_words(self) -> str:
        """What is shown of each variable."""
        return (
            f"{', '.join(self.variables)} were described over all cohorts together: mean, standard deviation (n - 1), "
            "skewness and excess kurtosis of numbers (two passes), people and shares of categories. Each variable uses "
            "everybody who has a value of it."
        )

    def statement(self) -> Exactness:
        """Equal to the pooled description."""
        return exactly(excluded=lacking({name: found.missing for name, found in self.variables.items()}))

    def tables(self) -> list[report.Table]:
        """Numbers first, then categories."""
        numbers = {name: d for name, d in self.variables.items() if not d.counts}
        categories = {name: d for name, d in self.variables.items() if d.counts}
        found = [number_table(numbers)] if numbers else []
        if any(d.exact_extremes is not None for d in numbers.values()):
            found.append(extremes_table(numbers, self.extremes))
        return [*found, *([category_table(categories)] if categories else [])]

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
    """Describe variables: counts, mean, standard deviation, shape, extremes.

    How many people have a value, and how are the values distributed? Numbers: mean, standard deviation (n - 1),
    standard error, skewness and excess kurtosis, centred on the mean before anything is squared. Categories: people
    and share per level. Small cells are withheld by the cohorts. Two rounds for any number of variables.

    With `extremes=10` also the 10th smallest and the 10th largest value, for numbers whose range and precision the
    dictionary declares; three rounds, or up to five. Where cohorts may not tell small groups apart, they are bounds:
    at least so many people have that value or less (more).
    Source: Chan, Golub & LeVeque (1983), The American Statistician 37:242, for the two-pass sums.
    """
    first = yield from ask(totals)
    found = {
        name: category(params.dictionary[name], params.categories[name], first.cells[i])
        for i, name in enumerate(params.categories)
    }
    search = Multisection(params, lambda n: (params.extremes, n - params.extremes + 1))
    if params.numbers:
        search.learn(np.asarray(first.ending), np.asarray(first.beginning))
        n = np.maximum(first.n, 1.0)
        mean, spread = first.sums / n, first.spreads / n
        unit = np.where(spread > 0, spread, np.where(mean != 0, np.abs(mean), 1.0))
        second = yield from ask(moments, centre=mean, unit=unit, thresholds=search.thresholds)
        search.learn(np.asarray(second.ending), np.asarray(second.beginning))
        while not search.is_done:
            more = yield from ask(counts_between, thresholds=search.thresholds)
            search.learn(np.asarray(more.ending), np.asarray(more.beginning))
        for i, name in enumerate(params.numbers):
            counts, scale = (second.n[i], first.missing[i]), (mean[i], unit[i])
            found[name] = number(params.dictionary[name], counts, scale, second.powers[i])
        for (column,) in search.columns:
            found[column.lattice.name] = found[column.lattice.name].model_copy(update=extremes(column))
    return DescribeResult(
        n=round(first.rows),
        n_excluded=0,
        variables={name: found[name] for name in params.chosen},
        extremes=params.extremes,
        warnings=tuple(_warnings(params, first, found)),
    )


def _evidence(data: Data, params: DescribeParams) -> Evidence:
    """Whether one person makes up the sums of a number."""
    found = []
    for name in params.numbers:
        found.append(StandingOut())
        for block in _blocks(data, name):
            found[-1].add(block[name])
    return together([(name, standing) for name, standing in zip(params.numbers, found, strict=True)])


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
        counts += tally(value_codes(block, name), levels)
    return counts, len(data) - int(counts.sum())


def _warnings(params: DescribeParams, first: Totals, found: dict[str, Description]) -> list[str]:
    absent = [
        f"`{name}` was collected by {count:g} of {first.asked:g} cohorts; people of the others count as missing."
        for name, count in zip(params.chosen, first.collected, strict=True)
        if count < first.asked
    ]
    withheld = [name for name, d in found.items() if d.missing is None or None in d.counts.values()]
    small = f"Withheld, because a cohort's cell is small: some counts of {', '.join(withheld)}."
    return [*absent, *([small] if withheld else []), *(_about_extremes(params, found) if params.extremes else [])]


def _about_extremes(params: DescribeParams, found: dict[str, Description]) -> list[str]:
    m, bounds = params.extremes, [name for name, d in found.items() if d.exact_extremes is False]
    few = [x.name for x in params.lattices if found[x.name].low is None]
    said = []
    if bounds:
        said.append(
            f"The extremes of {', '.join(bounds)} are bounds, because cohorts do not tell small groups apart: at least "
            f"{m} people have the lower value or less, and {m} the higher value or more."
        )
    if few:
        said.append(f"No extremes of {', '.join(few)}: too few people have a value.")
    if params.unordered:
        said.append(f"No extremes of {', '.join(params.unordered)}: the dictionary lacks a range or a precision.")
    return said
