"""Rows that belong together, such as the visits of a person or the people of a clinic, in blocks of whole clusters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohortium.data import BLOCK_ROWS, Data
from cohortium.dictionary import Dictionary
from cohortium.formula import Formula, Name
from cohortium.quantities import Array

GROUPING = frozenset({"identifier", "category", "integer"})


def check_group(name: Name, formula: Formula, dictionary: Dictionary) -> None:
    """Raises FormulaError when the values of a variable cannot say which rows belong together."""
    kind = dictionary[name.name].type
    if kind not in GROUPING:
        raise formula.error(f"`{name}` is a {kind}; rows are grouped by an identifier, a category or an integer.", name)


@dataclass(frozen=True)
class ClusterBlock:
    """Complete rows sorted by cluster: `starts` has the first row of each cluster."""

    rows: Data
    starts: NDArray[np.intp]

    @property
    def of(self) -> NDArray[np.intp]:
        """The cluster of each row, shape (rows,)."""
        return np.repeat(np.arange(len(self.starts)), np.diff(self.starts, append=len(self.rows)))

    def has_ties(self, name: str) -> bool:
        """Whether neighbouring rows of a cluster have the same value of `name`."""
        values = self.rows[name]
        same = values[1:] == values[:-1]
        same[self.starts[1:] - 1] = False
        return bool(np.any(same))

    def without_columns(self) -> ClusterBlock:
        """The same division into clusters, holding on to no data."""
        return ClusterBlock(Data(self.rows.dictionary, {}, len(self.rows)), self.starts)

    @property
    def sizes(self) -> Array:
        """Rows per cluster, shape (clusters,)."""
        return np.diff(self.starts, append=len(self.rows)).astype(np.float64)

    def sums(self, values: Array) -> Array:
        """Sums per cluster: (..., rows) to (..., clusters)."""
        return np.asarray(np.add.reduceat(values, self.starts, axis=-1))


class Clusters:
    """The complete rows of `names`, sorted by `group` and, within it, by `order`.

    Each row is its own cluster where there is no group. Beside the data this holds one number per row and cluster.
    """

    def __init__(self, data: Data, names: tuple[str, ...], group: str | None, order: str | None = None) -> None:
        self._data, self._names = data, sorted({*names, *(n for n in (group, order) if n)})
        self._rows = np.flatnonzero(data.complete(self._names))
        if group is None:
            self._starts = np.arange(len(self._rows))
        else:
            values = _values(data, group)[self._rows]
            keys = (values,) if order is None else (_values(data, order)[self._rows], values)
            # The node's own order of rows breaks ties, so that the answer is the same every time.
            sorting = np.lexsort(keys)
            self._rows, values = self._rows[sorting], values[sorting]
            self._starts = np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1]])[: len(values)])
        self.count = len(self._starts)

    @classmethod
    def of(cls, data: Data, names: tuple[str, ...], group: str, order: str | None = None) -> Clusters:
        """The clusters, from an earlier round if they are still kept."""
        return data.recall(("clusters", names, group, order), lambda: cls(data, names, group, order))

    def __len__(self) -> int:
        return len(self._rows)

    def blocks(self, size: int = BLOCK_ROWS) -> Iterator[ClusterBlock]:
        """Whole clusters, as many as fit into `size` rows (at least one)."""
        ends = np.append(self._starts[1:], len(self._rows))
        first = 0
        while first < self.count:
            begin = self._starts[first]
            last = max(int(np.searchsorted(ends, begin + size, side="right")), first + 1)
            chosen = self._rows[begin : ends[last - 1]]
            columns = {name: self._data.columns[name][chosen] for name in self._names}
            yield ClusterBlock(Data(self._data.dictionary, columns, len(chosen)), self._starts[first:last] - begin)
            first = last


def _values(data: Data, name: str) -> NDArray[np.generic]:
    return data[name] if data.dictionary[name].is_numeric else data.codes(name)
