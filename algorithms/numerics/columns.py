"""What the columns of a design rest on: worked out once per cohort and design, for the check of its node.

Whatever a model asks is a sum over columns, so a column that sets one person apart makes every sum tell that person's
values: a 0/1 column that is 1 for one person, a power so high that one value outweighs all others, a combination of
columns that is 0 for everybody else. The first shows in the people who differ from the commonest value, the second in
the shares, the third in the leverage (Belsley, Kuh & Welsch 1980, *Regression Diagnostics*, 2.1).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np

from algorithms.numerics.design import Design
from cohortium.data import BLOCK_ROWS, Data
from cohortium.evidence import Columns, Concentration, Shares
from cohortium.formula import Surv
from cohortium.quantities import Array

# A direction of the standardised columns with less of its own than this, relative to the largest, is rounding.
_NEGLIGIBLE = 1e-10
# A bound on the leverage that is below what any policy may ask for needs no second pass over the rows.
_SMALL = 0.1

_KEPT: WeakKeyDictionary[Data, WeakKeyDictionary[Design, tuple[tuple[str, ...], Columns]]] = WeakKeyDictionary()


def columns_of(
    data: Data, design: Design, *, variables: Sequence[str] = (), parameters: int = 0, events: float | None = None
) -> Columns:
    """What the design's columns rest on in one cohort; `variables` that a row must have, if more than the design's.

    `parameters` of the model if they are not one per column; `events` if they are not those of a yes-or-no outcome.
    """
    used = tuple(variables) or design.variables
    kept = _KEPT.setdefault(data, WeakKeyDictionary())
    found = kept.get(design)
    if found is None or found[0] != used:
        found = kept[design] = (used, _found(_Rows(data, design, used), parameters or design.width, events))
    return found[1]


@dataclass(frozen=True)
class _Rows:
    """The rows of a cohort that a design uses, block by block: columns (width, rows), and the outcome if it has one."""

    data: Data
    design: Design
    variables: tuple[str, ...]

    def __iter__(self) -> Iterator[tuple[Array, Array | None]]:
        workspace = np.empty((self.design.width, min(BLOCK_ROWS, len(self.data))))
        response = self.design.formula.response
        numeric = response is not None and not isinstance(response, Surv)
        for block in self.data.blocks(self.variables):
            yield self.design.matrix(block, out=workspace).T, self.design.response(block) if numeric else None


@dataclass
class _Pass:
    """What one pass over the rows adds up; columns are taken relative to those of the first row."""

    width: int

    def __post_init__(self) -> None:
        w = self.width
        self.n, self.ones = 0, 0
        self.common = self.origin = np.zeros(w)
        self.low, self.high = np.zeros(w), np.zeros(w)
        self.carriers, self.carriers_of_ones = np.zeros(w), np.zeros(w)
        self.sums, self.products = np.zeros(w), np.zeros((w, w))
        self.magnitudes, self.outcome = Concentration((w,)), Concentration()
        self.binary = True

    def add(self, x: Array, y: Array | None) -> None:
        if not self.n:
            # Whoever is common among all is common here: fewer people than a policy asks for differ.
            self.common = np.partition(x, (x.shape[1] - 1) // 2, axis=1)[:, (x.shape[1] - 1) // 2].copy()
            self.origin = self.low = self.high = self.common
        self.n += x.shape[1]
        self.magnitudes.add(x.T)
        differ = x != self.common[:, None]
        self.carriers += np.count_nonzero(differ, axis=1)
        self.low, self.high = np.minimum(self.low, x.min(axis=1)), np.maximum(self.high, x.max(axis=1))
        if y is not None:
            self._add_outcome(y, differ)
        shifted = x - self.origin[:, None]
        self.sums = self.sums + shifted.sum(axis=1)
        self.products += shifted @ shifted.T

    def _add_outcome(self, y: Array, differ: Array) -> None:
        self.outcome.add(y)
        self.binary = self.binary and bool(np.all((y == 0) | (y == 1)))
        if self.binary:
            self.ones += int(np.count_nonzero(y))
            self.carriers_of_ones += np.count_nonzero(differ[:, y != 0], axis=1)


def _found(rows: _Rows, parameters: int, events: float | None) -> Columns:
    total, outcomes = _Pass(rows.design.width), False
    for x, y in rows:
        total.add(x, y)
        outcomes = y is not None
    yes_or_no = outcomes and total.binary
    shares = [total.magnitudes.shares]
    if outcomes and not total.binary:
        shares.append(total.outcome.shares)
    ones = total.carriers_of_ones
    rarer = float(min(total.ones, total.n - total.ones)) if yes_or_no else np.inf
    return Columns(
        names=(*rows.design.columns, "the outcome"),
        carriers=total.carriers,
        by_outcome=np.column_stack([total.carriers - ones, ones]) if yes_or_no else np.zeros((0, 2)),
        magnitudes=Shares.joined(*shares),
        leverage=_leverage(rows, total) if total.n else 0.0,
        events=(rarer if events is None else events) if total.n else np.inf,
        parameters=parameters,
    )


def _leverage(rows: _Rows, total: _Pass) -> float:
    """The largest leverage, or a bound above it if that is small."""
    mean = total.sums / total.n
    squares = total.products - total.n * np.outer(mean, mean)
    spread = np.sqrt(np.maximum(np.diag(squares), 0.0))
    # What does not vary here beside the intercept but for rounding has no direction of its own.
    varies = spread > 1e-9 * np.sqrt(total.n) * np.maximum(np.abs(total.low), np.abs(total.high))
    if not varies.any():
        return 1.0 / total.n
    spread, centre = spread[varies], (mean + total.origin)[varies]
    size, directions = np.linalg.eigh(squares[np.ix_(varies, varies)] / np.outer(spread, spread))
    real = size > _NEGLIGIBLE * size[-1]
    whitened = (directions[:, real] / np.sqrt(size[real])) / spread[:, None]
    farthest = np.maximum(total.high[varies] - centre, centre - total.low[varies]) / spread
    bound = float(1.0 / total.n + farthest @ farthest / size[real][0])
    if bound <= _SMALL:
        return bound
    largest = 0.0
    for x, _ in rows:
        along = whitened.T @ (x[varies] - centre[:, None])
        largest = max(largest, float(np.max(np.einsum("ij,ij->j", along, along))))
    return largest + 1.0 / total.n
