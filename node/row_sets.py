"""Sets of rows, and a sketch of each by which most pairs are told apart without comparing row by row."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

BINS = 128
# Rows with neighbouring numbers lie in one bin: counting them takes one search per so many rows, not one per row.
NEIGHBOURS = 64


@dataclass(frozen=True, eq=False)
class RowSet:
    """Some of the rows that a ledger has numbered: which they are, and how many of them lie in each bin."""

    rows: BitMap
    sketch: NDArray[np.int32]  # (BINS,)

    @classmethod
    def of(cls, numbers: NDArray[np.uint32]) -> RowSet:
        """The set of these rows, shape (rows,)."""
        ordered = numbers if np.all(numbers[1:] > numbers[:-1]) else np.sort(numbers)
        return cls(BitMap(array("I", ordered.tobytes())), _sketch(ordered))  # 20 times as fast as from numpy's array

    @classmethod
    def from_bytes(cls, content: bytes, sketch: bytes) -> RowSet:
        """The set that `content` and `sketch` were made of."""
        return cls(BitMap.deserialize(content), np.frombuffer(sketch, dtype=np.int32))

    @cached_property
    def content(self) -> bytes:
        """The set as bytes, the same for equal sets."""
        return self.rows.serialize()

    @cached_property
    def digest(self) -> bytes:
        """BLAKE2b of the content: equal sets, and no others, have the same."""
        return blake2b(self.content, digest_size=16).digest()


def _sketch(ordered: NDArray[np.uint32]) -> NDArray[np.int32]:
    rounds = (int(ordered[-1]) // (BINS * NEIGHBOURS) + 1) if len(ordered) else 0
    edges = np.arange(0, rounds * BINS * NEIGHBOURS + 1, NEIGHBOURS)
    counts = np.diff(np.searchsorted(ordered, edges)).reshape(rounds, BINS)
    sketch: NDArray[np.int32] = counts.sum(axis=0, dtype=np.int32)
    return sketch


def distances(sketches: NDArray[np.int32], sketch: NDArray[np.int32]) -> NDArray[np.int64]:
    """Fewest rows by which each of the sets with `sketches`, shape (sets, BINS), can differ from that of `sketch`.

    A row that is in just one of two sets changes the difference in its bin by one, so no pair differs by fewer rows.
    """
    least: NDArray[np.int64] = np.abs(sketches - sketch).sum(axis=-1, dtype=np.int64)
    return least
