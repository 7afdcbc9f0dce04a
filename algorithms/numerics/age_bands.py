"""Which age bands a cohort can show apart, when small cells must not be told, and merging them.

A cohort's finest bands follow from its own counts and never from what is asked. It answers for unions of these only, so
nothing smaller can be had by asking for different unions and subtracting.
"""

from __future__ import annotations

from bisect import bisect
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from cohortium.quantities import Array

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class LexisTable:
    """One cohort's follow-up by slice (a group within a period) and age band, all of shape (slices, bands).

    `first` and `last` count people by the first and the last band in which a slice sees them, so that somebody who
    passes through several bands is one person of their union.
    """

    first: Array
    last: Array
    events: Array
    person_years: Array

    def without(self, slices: Mask) -> LexisTable:
        """The same with nobody in some slices."""
        kept = ~slices[:, None]
        return LexisTable(self.first * kept, self.last * kept, self.events * kept, self.person_years * kept)

    def people(self, starts: NDArray[np.intp]) -> Array:
        """People of the unions of bands that begin at `starts`, shape (slices, unions)."""
        ends = np.append(starts[1:], self.first.shape[1]) - 1
        come, gone = np.cumsum(self.first, axis=1), np.cumsum(self.last, axis=1)
        return come[:, ends] - (gone - self.last)[:, starts]


def too_small(table: LexisTable, least: int) -> Mask:
    """The slices that are too small to be shown even as one band, shape (slices,)."""
    return _small(table.people(np.array([0])), table.events.sum(axis=1, keepdims=True), least)[:, 0]


def own_boundaries(table: LexisTable, least: int) -> Mask:
    """Which boundaries between bands this cohort can show, shape (bands - 1,), for slices that are not `too_small`.

    They are tried in an order that is the same for every cohort, the middle first and then the middles of what lies
    between, so that cohorts of like people keep the same; one is kept if it leaves no small cell on either side.
    """
    bands = table.first.shape[1]
    kept = [0, bands]
    for boundary in _middles(0, bands):
        at = bisect(kept, boundary)
        if not (_has_small(table, least, kept[at - 1], boundary) or _has_small(table, least, boundary, kept[at])):
            kept.insert(at, boundary)
    return np.isin(np.arange(1, bands), kept)


def _middles(low: int, high: int) -> Iterator[int]:
    """The whole numbers between two others: the middle, then the middles of the halves, and so on."""
    waiting = deque([(low, high)])
    while waiting:
        a, b = waiting.popleft()
        if b - a > 1:
            middle = (a + b) // 2
            yield middle
            waiting += [(a, middle), (middle, b)]


def _has_small(table: LexisTable, least: int, start: int, end: int) -> bool:
    within = slice(start, end)
    people = table.first[:, :end].sum(axis=1) - table.last[:, :start].sum(axis=1)
    return bool(_small(people, table.events[:, within].sum(axis=1), least).any())


def _small(people: Array, events: Array, least: int) -> Mask:
    return ((people > 0) & (people < least)) | ((events > 0) & (events < least))


def beginnings(kept: Array) -> NDArray[np.intp]:
    """The bands at which unions begin, from the boundaries that are kept (bands - 1,)."""
    return np.flatnonzero(np.concatenate([[True], kept > 0]))


def unions(cells: Array, starts: NDArray[np.intp]) -> Array:
    """Cells (..., bands) added up within unions, shape (..., unions)."""
    return np.add.reduceat(cells, starts, axis=-1)


def labels(edges: tuple[float, ...], starts: NDArray[np.intp]) -> list[str]:
    """Names of unions: `50-54` for whole years, `90+` for the last if it has no end."""
    ages = [*(edges[i] for i in starts), edges[-1]]
    return [_label(low, high) for low, high in pairwise(ages)]


def _label(low: float, high: float) -> str:
    if np.isinf(high):
        return f"{low:g}+"
    whole = float(low).is_integer() and float(high).is_integer()
    return f"{low:g}" if whole and high == low + 1 else f"{low:g}-{high - 1:g}" if whole else f"[{low:g}, {high:g})"
