"""One cohort's rows as an analysis sees them: a coded column per dictionary variable."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from cohortium.dictionary import Dictionary
from cohortium.errors import InvalidQuestion
from cohortium.quantities import Array

# Rows that are worked on at a time: a design of 10-50 columns of this many rows stays in the processor's cache, and
# memory beyond the columns themselves stays flat however many rows a cohort has.
BLOCK_ROWS = 8192
# Results of earlier rounds that are kept: two, so that two jobs side by side do not undo each other's.
KEPT = 2

T = TypeVar("T")


class Data:
    """Columns of equal length, coded by the dictionary.

    number, integer, boolean, date: float64, NaN where missing (booleans 0/1, dates in days since 1970-01-01).
    category, identifier: int32 codes, -1 where missing; category codes count the dictionary's levels from 0.
    `least_group` is the fewest people whose values may be told apart from others' (the policy's smallest cell): a
    statistic that forms groups itself forms none smaller, so that it is not refused for what it could have merged.
    `keys`, shape (rows,), tell the people apart, the same whenever their data are loaded; None if nothing does. They
    are those of the identifier `identity`.
    `numbers`, shape (rows,), are the node's own for the rows, from its ledger.
    """

    def __init__(
        self,
        dictionary: Dictionary,
        columns: Mapping[str, NDArray[np.generic]],
        rows: int,
        least_group: int = 1,
        *,
        keys: NDArray[np.int64] | None = None,
        identity: str | None = None,
        numbers: NDArray[np.uint32] | None = None,
    ) -> None:
        self.dictionary = dictionary
        self.columns = columns
        self.rows = rows
        self.least_group = least_group
        self.keys = keys
        self.identity = identity
        self.numbers = numbers
        self._complete: dict[frozenset[str], NDArray[np.bool_]] = {}
        self._kept: dict[Hashable, tuple[Any, frozenset[str | frozenset[str]]]] = {}
        self._lock = threading.Lock()
        self._read: set[str | frozenset[str]] = set()  # a column by itself, or the complete rows of several

    def __len__(self) -> int:
        return self.rows

    def __getitem__(self, name: str) -> Array:
        """A numeric column as float64 of shape (rows,); a two-level category as 0 (first level) and 1."""
        if self.dictionary[name].is_numeric:
            return self._numbers(name)
        if self.dictionary[name].is_binary:
            codes = self.codes(name)
            return np.where(codes >= 0, codes.astype(np.float64), np.nan)
        raise InvalidQuestion(f"`{name}` is a {self.dictionary[name].type}, not a number")

    def codes(self, name: str) -> NDArray[np.int32]:
        """A category or identifier as integer codes of shape (rows,), -1 where missing."""
        if self.dictionary[name].is_numeric:
            raise InvalidQuestion(f"`{name}` is a {self.dictionary[name].type}, not a category")
        return self._column(name).astype(np.int32, copy=False)

    def keys_of(self, name: str) -> NDArray[np.int64]:
        """What tells people apart by an identifier, the same whenever data are loaded (codes are not), shape (rows,).

        A whole number is its own key. Raises InvalidQuestion for an identifier that others tell apart better.
        """
        self._column(name)
        if self.keys is None or name != self.identity:
            raise InvalidQuestion(f"`{name}` is not the identifier that tells this cohort's people apart.")
        return self.keys

    def missing(self, name: str) -> NDArray[np.bool_]:
        """Which rows lack a value, shape (rows,)."""
        return np.isnan(self._numbers(name)) if self.dictionary[name].is_numeric else self.codes(name) < 0

    def complete(self, names: Iterable[str]) -> NDArray[np.bool_]:
        """Which rows have a value for every one of `names`, shape (rows,); worked out once and remembered."""
        wanted = frozenset(names)
        self._read.add(wanted)
        if wanted not in self._complete:
            mask = np.ones(self.rows, dtype=np.bool_)
            for name in wanted:
                mask &= ~self.missing(name)
            self._complete[wanted] = mask
        return self._complete[wanted]

    def recall(self, key: Hashable, work_out: Callable[[], T]) -> T:
        """What `work_out` returns, from an earlier round if that is still kept: for what each round needs again.

        `key` must name all that the result depends on beside these data. A result that is no longer kept is worked out
        again: that costs time and changes no answer.
        """
        with self._lock:
            kept = self._kept.pop(key, None)
        if kept is None:
            before = frozenset(self._read)
            self._read.clear()
            kept = work_out(), frozenset(self._read)
            self._read |= before
        with self._lock:
            self._kept[key] = kept
            while len(self._kept) > KEPT:
                del self._kept[next(iter(self._kept))]
        found: T = kept[0]
        self._read |= kept[1]  # what it was worked out of has been read again
        return found

    def watched(self) -> Data:
        """The same data, for one statistic: what that reads can be told from what others read (see `read`)."""
        watched = copy.copy(self)
        watched._read = set()
        watched.columns = _Watched(self.columns, watched._read)
        return watched

    @property
    def read(self) -> frozenset[frozenset[str]]:
        """Whose rows have been read: for each set of variables, the rows that have a value for all of them.

        A column that was read as it is, and never as part of such rows, counts as a set of its own.
        """
        complete = {names for names in self._read if isinstance(names, frozenset)}
        together: frozenset[str] = frozenset().union(*complete)
        alone = {frozenset((name,)) for name in self._read if isinstance(name, str) and name not in together}
        return frozenset(complete | alone)

    def blocks(self, names: Iterable[str], size: int = BLOCK_ROWS) -> Iterator[Data]:
        """The complete rows of `names`, in order, as Data of at most `size` rows that hold just these columns.

        An empty cohort yields no block. Blocks without a missing value are views, not copies.
        """
        wanted = sorted(set(names))
        mask = self.complete(wanted)
        for start in range(0, self.rows, size):
            rows = slice(start, min(start + size, self.rows))
            kept = mask[rows]
            count = int(np.count_nonzero(kept))
            if count:
                whole = count == len(kept)
                columns = {n: self._column(n)[rows] if whole else self._column(n)[rows][kept] for n in wanted}
                yield Data(self.dictionary, columns, count)

    def subset(self, rows: NDArray[np.bool_]) -> Data:
        """The rows of a mask, in order, as if there were no others; a column is copied when it is first read."""
        kept = int(np.count_nonzero(rows))
        columns = self.columns if kept == self.rows else _Chosen(self.columns, rows)
        numbers = None if self.numbers is None else self.numbers[rows]
        keys = None if self.keys is None else self.keys[rows]
        return Data(
            self.dictionary, columns, kept, self.least_group, keys=keys, identity=self.identity, numbers=numbers
        )

    def only(self, names: Iterable[str]) -> Data:
        """The same rows with just these columns: what a permit does not name cannot be read."""
        wanted = set(names)
        columns = {n: column for n, column in self.columns.items() if n in wanted}
        # What tells people apart is part of their identifier, and nothing else is told by it.
        keys, identity = (self.keys, self.identity) if self.identity in wanted else (None, None)
        return Data(
            self.dictionary, columns, self.rows, self.least_group, keys=keys, identity=identity, numbers=self.numbers
        )

    def _numbers(self, name: str) -> Array:
        return self._column(name).astype(np.float64, copy=False)

    def _column(self, name: str) -> NDArray[np.generic]:
        self.dictionary[name]  # an unknown name is told apart from one that this cohort did not collect
        if name not in self.columns:
            raise InvalidQuestion(f"`{name}` was not collected by this cohort")
        return self.columns[name]


class _Chosen(Mapping[str, NDArray[np.generic]]):
    """Columns with only the rows of a mask, each made when it is first asked for."""

    def __init__(self, columns: Mapping[str, NDArray[np.generic]], rows: NDArray[np.bool_]) -> None:
        self._all, self._rows = columns, rows
        self._made: dict[str, NDArray[np.generic]] = {}

    def __getitem__(self, name: str) -> NDArray[np.generic]:
        if name not in self._made:
            self._made[name] = self._all[name][self._rows]
        return self._made[name]

    def __contains__(self, name: object) -> bool:
        return name in self._all

    def __iter__(self) -> Iterator[str]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)


class _Watched(Mapping[str, NDArray[np.generic]]):
    """Columns that note which of them are read."""

    def __init__(self, columns: Mapping[str, NDArray[np.generic]], read: set[str | frozenset[str]]) -> None:
        self._all, self._read = columns, read

    def __getitem__(self, name: str) -> NDArray[np.generic]:
        self._read.add(name)
        return self._all[name]

    def __contains__(self, name: object) -> bool:
        return name in self._all

    def __iter__(self) -> Iterator[str]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)
