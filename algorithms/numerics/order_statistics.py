"""Order statistics over all cohorts: the k-th smallest value, by asking how many people lie below thresholds.

Every round divides the bracket of each order statistic into 64 sections of the value lattice; three rounds search
260,000 possible values, five a thousand million. Nothing is ever compared in floating point: cohorts number their
values first. The method is multisection, the parallel form of bisection.

What a cohort tells. It sorts its people into groups of neighbours, each no smaller than its policy's smallest cell,
and answers every threshold twice: counting the groups that lie wholly at or below it, and those that begin at or below
it. The groups do not depend on the question, so no choice of thresholds, in however many rounds or jobs, tells people
of one group apart, and the ends of the outermost groups are never told (Defays & Anwar 1998, J Off Stat 14:449, call
this univariate microaggregation). Where values are shared by many people both counts agree and order statistics are
exact; elsewhere they bracket it, and the bracket is reported.

An analysis takes part with `yield from order_statistics(params, ranks)`: its parameters are `OnLattices`, and its
module imports `counts_between`, which is what its nodes are asked.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from algorithms.numerics.groups import Groups
from algorithms.numerics.lattice import Lattice
from algorithms.numerics.quantile_types import position
from cohortium.analysis import Question, ask
from cohortium.data import Data
from cohortium.errors import InvalidQuestion
from cohortium.quantities import Array, Flag, FlagKind, Sums, Table

SECTIONS = 64
MAX_THRESHOLDS = 20_000


class OnLattices(Protocol):
    """Parameters that name what is to be ordered: every lattice in every group."""

    @property
    def lattices(self) -> tuple[Lattice, ...]:
        """The variables, numbered."""

    @property
    def groups(self) -> Groups:
        """Who is ordered apart."""


@dataclass(frozen=True)
class Searched:
    """Lattices and groups as they are, for an analysis that searches in several ways at once."""

    lattices: tuple[Lattice, ...]
    groups: Groups


class Sections(Sums):
    """People between thresholds, shape (lattices, groups, thresholds + 1): in groups ending, or beginning, there.

    `missing`: people without a value or a group, per lattice; `collected`: whether this cohort has that variable.
    """

    ending: Table
    beginning: Table
    missing: Table
    asked: Flag
    collected: Annotated[Array, FlagKind()]


def counts_between(data: Data, params: OnLattices, *, thresholds: Array) -> Sections:
    """One cohort's people between `thresholds`, lattice points of shape (lattices, groups, thresholds)."""
    ending, beginning = sections(data, params, thresholds)
    collected = params.groups.collected(data)
    return Sections(
        ending=ending,
        beginning=beginning,
        missing=len(data) - ending.sum(axis=(1, 2)),
        asked=1.0,
        collected=np.array([float(collected and lattice.name in data.columns) for lattice in params.lattices]),
    )


def sections(data: Data, params: OnLattices, thresholds: Array) -> tuple[Array, Array]:
    """`ending` and `beginning` of `counts_between`, for a statistic that has more to tell in the same round."""
    shape = (len(params.lattices), len(params.groups))
    if thresholds.shape[:-1] != shape or thresholds.shape[-1] > MAX_THRESHOLDS:
        raise InvalidQuestion("The thresholds do not have the shape of this question.")
    thresholds = np.sort(thresholds, axis=-1)
    ending = np.zeros((*shape, thresholds.shape[-1] + 1))
    beginning = np.zeros_like(ending)
    for i, lattice in enumerate(params.lattices):
        if data.least_group <= 1:
            for codes, values in params.groups.values(data, lattice.name):
                _count(lattice.codes(values), np.ones(len(values)), codes, thresholds[i], ending[i])
            beginning[i] = ending[i]
            continue
        for g, values in enumerate(_gathered(data, lattice, params.groups)):
            low, high, people = neighbours(values, lattice, data.least_group)
            group = np.full(len(people), g)
            _count(low, people, group, thresholds[i], beginning[i])
            _count(high, people, group, thresholds[i], ending[i])
    return ending, beginning


def first_thresholds(params: OnLattices) -> Array:
    """What is asked first, for it needs no answer: every lattice in equal sections."""
    parts = [_divide(-1, lattice.points, SECTIONS) for lattice in params.lattices for _ in range(len(params.groups))]
    return _padded(parts, [lattice.points for lattice in params.lattices], len(params.groups))


@dataclass(frozen=True)
class OrderStatistic:
    """The k-th smallest value: it lies between `low` and `high`, and is exact where these are equal.

    Otherwise `value` is interpolated linearly between them, by the people whom each is known to have below it.
    """

    low: float
    high: float
    share: float = 0.0

    @property
    def value(self) -> float:
        """The value, or the best guess."""
        return self.low + self.share * (self.high - self.low)


@dataclass
class Column:
    """The search for several order statistics of one variable in one group."""

    lattice: Lattice
    n: float = np.nan
    ranks: tuple[int, ...] = ()
    # People in groups that end, or begin, at or below the points asked so far.
    _at: Array = field(default_factory=lambda: np.array([-1.0]))
    _ending: Array = field(default_factory=lambda: np.zeros(1))
    _beginning: Array = field(default_factory=lambda: np.zeros(1))

    @property
    def withheld(self) -> bool:
        """Whether some cohort has too few people here to say anything."""
        return bool(np.isnan(self.n))

    def learn(self, thresholds: Array, ending: Array, beginning: Array) -> None:
        """Take in the people between thresholds."""
        below, begun = np.cumsum(ending), np.cumsum(beginning)
        self.n = float(below[-1] + 0 * begun[-1])
        at = np.concatenate([self._at, thresholds, [self.lattice.points]])
        _, first = np.unique(at, return_index=True)
        self._at = at[first]
        self._ending = np.concatenate([self._ending, below])[first]
        self._beginning = np.concatenate([self._beginning, begun])[first]

    def next_thresholds(self) -> Array:
        """Where to look next; nowhere if all is found."""
        wanted: list[Array] = []
        for rank in () if self.withheld else self.ranks:
            brackets = {self._bracket(rank, counts) for counts in (self._ending, self._beginning)}
            wanted += [_divide(*bracket, SECTIONS // len(brackets)) for bracket in sorted(brackets)]
        return np.unique(np.concatenate(wanted)) if wanted else np.zeros(0)

    def found(self, rank: int) -> OrderStatistic:
        """The `rank`-th smallest value, as far as it can be told."""
        upper = int(np.searchsorted(self._ending, rank))
        lower = int(np.searchsorted(self._beginning, rank))
        low, high = self.lattice.value(self._at[lower]), self.lattice.value(self._at[upper])
        below, within = self._ending[upper - 1], self._beginning[lower]
        return OrderStatistic(low, high, float((rank - below - 0.5) / (within - below)))

    def quantile(self, probability: float, kind: int) -> OrderStatistic:
        """The quantile of type `kind`, between the same quantiles of the bounds; its ranks must be among `ranks`."""
        lower, upper, weight = position(round(self.n), probability, kind)
        a, b = self.found(lower), self.found(upper)
        low, high, value = (
            x if x == y or not weight else y if weight == 1 else (1 - weight) * x + weight * y
            for x, y in ((a.low, b.low), (a.high, b.high), (a.value, b.value))
        )
        return OrderStatistic(low, high, (value - low) / (high - low) if high > low else 0.0)

    def _bracket(self, rank: int, counts: Array) -> tuple[int, int]:
        """Points, the first with fewer than `rank` people at or below it, the second with at least so many."""
        last = int(np.searchsorted(counts, rank))
        return int(self._at[last - 1]), int(self._at[last])


class Multisection:
    """The search for order statistics of every lattice in every group, all in the same rounds.

    `ranks` says which are wanted, by the number of people who have a value.
    """

    def __init__(self, params: OnLattices, ranks: Callable[[int], Sequence[int]]) -> None:
        self._groups, self._ranks = len(params.groups), ranks
        self._lattices = params.lattices
        self.columns = [[Column(lattice) for _ in range(self._groups)] for lattice in params.lattices]
        self._asked = first_thresholds(params)
        self._started = False

    @property
    def thresholds(self) -> Array:
        """What to ask next."""
        return self._asked

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to ask."""
        return self._started and self._asked.shape[-1] == 0

    def learn(self, ending: Array, beginning: Array) -> None:
        """Take in the sum of the cohorts' answers to `thresholds`."""
        for i, g in np.ndindex(len(self._lattices), self._groups):
            column = self.columns[i][g]
            column.learn(self._asked[i, g], ending[i, g], beginning[i, g])
            if not self._started and not column.withheld:
                n = round(column.n)
                column.ranks = tuple(sorted({k for k in self._ranks(n) if 1 <= k <= n}))
        self._started = True
        parts = [column.next_thresholds() for row in self.columns for column in row]
        self._asked = _padded(parts, [lattice.points for lattice in self._lattices], self._groups)


def order_statistics(
    params: OnLattices, ranks: Callable[[int], Sequence[int]]
) -> Generator[Question, Any, tuple[list[list[Column]], Sections]]:
    """Search for the order statistics `ranks(n)`; a column per lattice and group knows what was found.

    With them comes the last answer, for what else it holds.
    """
    search = Multisection(params, ranks)
    while not search.is_done:
        total = yield from ask(counts_between, thresholds=search.thresholds)
        search.learn(np.asarray(total.ending), np.asarray(total.beginning))
    return search.columns, total


def _gathered(data: Data, lattice: Lattice, groups: Groups) -> list[Array]:
    """All values of each group."""
    parts: list[list[Array]] = [[np.zeros(0)] for _ in range(len(groups))]
    for codes, values in groups.values(data, lattice.name):
        for g in np.unique(codes):
            parts[g].append(values[codes == g])
    return [np.concatenate(part) for part in parts]


def neighbours(values: Array, lattice: Lattice, least: int) -> tuple[Array, Array, Array]:
    """Lattice points at which groups of at least `least` neighbours begin and end, and their people.

    Whoever shares a value shares a group. The outermost groups reach to the ends of the lattice, unless they are of
    one value.
    """
    distinct, counts = np.unique(values, return_counts=True)
    if not len(distinct):
        return np.zeros(0), np.zeros(0), np.zeros(0)
    last = _ends(np.cumsum(counts), least)
    first = np.concatenate([[0], last[:-1] + 1])
    people = np.add.reduceat(counts, first).astype(np.float64)
    low, high = lattice.codes(distinct[first]), lattice.codes(distinct[last])
    if first[0] != last[0] or people[0] < least:
        low[0] = 0
    if first[-1] != last[-1] or people[-1] < least:
        high[-1] = lattice.points
    return low, high, people


def _ends(below: NDArray[np.intp], least: int) -> NDArray[np.intp]:
    """Positions at which groups end, given the people at or below each distinct value."""
    following = np.searchsorted(below, below + least)
    ends, at = [], int(np.searchsorted(below, least))
    while at < len(below):
        ends.append(at)
        at = int(following[at])
    # Whoever is left over, being too few for a group, joins the last one.
    return np.array([*ends[:-1], len(below) - 1])


def _count(points: Array, people: Array, groups: NDArray[np.intp], thresholds: Array, cells: Array) -> None:
    """Add people, by group, to the cells (groups, thresholds + 1) that their points fall into."""
    for g in np.unique(groups):
        here = groups == g
        cell = np.searchsorted(thresholds[g], points[here])
        cells[g] += np.bincount(cell, weights=people[here], minlength=cells.shape[1])


def _divide(low: int, high: int, parts: int) -> Array:
    """At most `parts` - 1 lattice points that divide what lies after `low`, up to `high`, into equal parts."""
    return (
        np.unique(np.linspace(low, high, parts + 1).astype(np.int64)[1:-1]).astype(np.float64)
        if high - low > parts
        else np.arange(low + 1, high, dtype=np.float64)
    )


def _padded(parts: Sequence[Array], last: Sequence[int], groups: int) -> Array:
    """Thresholds of all columns as one array (lattices, groups, thresholds); the end of the lattice fills it up."""
    width = max((len(part) for part in parts), default=0)
    filled = np.repeat(np.array(last, dtype=np.float64), groups)[:, None] * np.ones(width)
    for row, part in zip(filled, parts, strict=True):
        row[: len(part)] = part
    return filled.reshape(len(last), groups, width)
