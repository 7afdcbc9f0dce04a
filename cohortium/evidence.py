"""Who stands behind a sum: what a statistic shows to the check of its own node, and nobody else.

A count says how many people a sum is over, not whether one of them makes up most of it. So every record with a sum
carries an `Evidence` beside its fields: how concentrated the weights are, what each column of a design rests on. The
policy judges it where the data are (`node/disclosure.py`); it is no field, is never encoded, and never leaves.

A record with a sum but without evidence is refused by every node: nobody can forget it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def _nothing() -> Array:
    return np.zeros(0)


@dataclass(frozen=True)
class Plain:
    """Why no weights need to be judged: `because` says what keeps a broadcast value from choosing whom a sum is over.

    Everybody then counts alike, as in a sum of values, or in powers of deviations from a broadcast centre: whatever
    the centre is, such sums follow from those about any other.
    """

    because: str


@dataclass(frozen=True)
class Shares:
    """Of one or several sums of non-negative parts: the largest share of one person and of two, each in 0 to 1.

    `effective` is Kish's number of people, (sum)^2 / sum of squares: what they would be if all weighed the same. All
    three have the shape of the sums. A sum of 0 is nobody's: shares 0, infinitely many people.
    """

    largest: Array = field(default_factory=_nothing)
    two: Array = field(default_factory=_nothing)
    effective: Array = field(default_factory=_nothing)

    @classmethod
    def of(cls, parts: Array) -> Self:
        """Of parts with people along the first axis."""
        found = Concentration(np.shape(parts)[1:])
        found.add(parts)
        return cls(*found.totals)

    def of_those(self, chosen: NDArray[np.bool_]) -> Shares:
        """Those of some of the sums."""
        return Shares(self.largest[chosen], self.two[chosen], self.effective[chosen])

    @classmethod
    def joined(cls, *several: Shares) -> Self:
        """Those of several, one after the other."""
        columns = zip(*((s.largest, s.two, s.effective) for s in several), strict=True)
        return cls(*(np.concatenate([np.zeros(0), *map(np.ravel, column)]) for column in columns))


@dataclass(frozen=True)
class Columns:
    """What the columns of a design rest on, and its outcome.

    `names` of the columns and, last, the outcome. `carriers` per column: people whose value is not the commonest one;
    `by_outcome`, for a yes-or-no outcome: these people by outcome, shape (columns, 2); `magnitudes`: shares in the sums
    of |x| and, last, of |outcome|; `leverage`: the largest of one person in the unweighted regression on all columns
    and an intercept, or a bound above it; `events`: people with the rarer outcome; `parameters` that they must support.
    """

    names: tuple[str, ...]
    carriers: Array
    magnitudes: Shares
    leverage: float
    by_outcome: Array = field(default_factory=lambda: np.zeros((0, 2)))
    events: float = np.inf
    parameters: int = 0


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What the check is shown beside a record.

    `weights` of the sums, or why they are plain; `magnitudes`: shares in sums of |x| per group or interval;
    `leverage` of one person per group; `names` of these groups; `predictor`: the largest linear predictor, up or down;
    `columns` of the design.
    """

    weights: Shares | Plain
    magnitudes: Shares = field(default_factory=Shares)
    leverage: Array = field(default_factory=_nothing)
    names: tuple[str, ...] = ()
    predictor: float = 0.0
    columns: Columns | None = None


NOBODY = Evidence(weights=Shares())
"""The evidence of sums over nobody."""


class Concentration:
    """Adds up non-negative parts, block by block, and remembers what `Shares` needs: `shape` is that of the sums."""

    def __init__(self, shape: tuple[int, ...] = ()) -> None:
        self._shape = shape
        size = int(np.prod(shape))
        self._total, self._squares = np.zeros(size), np.zeros(size)
        self._first, self._second = np.zeros(size), np.zeros(size)

    def add(self, parts: Array) -> None:
        """Add the parts of some people, shape (people, ...); signs are dropped."""
        if not len(parts):
            return
        flat = np.abs(np.reshape(parts, (len(parts), -1)).T)
        self._total += flat.sum(axis=1)
        self._squares += np.einsum("ij,ij->i", flat, flat)
        for column, own in enumerate(flat):
            place = int(np.argmax(own))
            largest, own[place] = own[place], -np.inf
            self._meet(column, float(largest), float(np.max(own)))

    def add_by(self, codes: NDArray[np.intp], parts: Array) -> None:
        """Add one part per person to the sum that its code names."""
        if not len(parts):
            return
        own, size = np.abs(parts), len(self._total)
        self._total += np.bincount(codes, own, size)
        self._squares += np.bincount(codes, own * own, size)
        order = np.lexsort((own, codes))
        sums, begin = np.unique(codes[order], return_index=True)
        last = np.append(begin[1:], len(order)) - 1
        for place, start, end in zip(sums, begin, last, strict=True):
            self._meet(int(place), float(own[order[end]]), float(own[order[end - 1]]) if end > start else 0.0)

    def _meet(self, place: int, first: float, second: float) -> None:
        known = (self._first[place], self._second[place])
        *_, self._second[place], self._first[place] = sorted((*known, first, max(second, 0.0)))

    @property
    def totals(self) -> tuple[Array, Array, Array]:
        """Largest share, share of two, effective number."""
        some = self._total > 0
        total, squares = np.where(some, self._total, 1.0), np.where(some, self._squares, 1.0)
        # Squares of tiny parts are lost before the parts are; one person there is at least.
        number = np.maximum(total * (total / np.where(squares > 0, squares, np.inf)), 1.0)
        effective = np.where(some, number, np.inf)
        found = (np.where(some, self._first, 0.0) / total, np.where(some, self._first + self._second, 0.0) / total)
        one, two, many = (np.reshape(a, self._shape) for a in (*found, effective))
        return one, two, many

    @property
    def shares(self) -> Shares:
        """What the parts so far come to."""
        return Shares(*self.totals)
