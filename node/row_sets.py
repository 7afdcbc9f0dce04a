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
# Knuth's multiplicative hash: the bin of a row is the top bits of its number times this, modulo 2^32.
_SPREAD, _SHIFT = np.uint32(2654435761), np.uint32(32 - 7)


@dataclass(frozen=True, eq=False)
class RowSet:
    """Some of the rows that a ledger has numbered: which they are, and how many of them lie in each bin."""

    rows: BitMap
    sketch: NDArray[np.int32]  # (BINS,)

    @classmethod
    def of(cls, numbers: NDArray[np.uint32]) -> RowSet:
        """The set of these rows, shape (rows,)."""
        sketch = np.bincount((numbers * _SPREAD) >> _SHIFT, minlength=BINS).astype(np.int32)
        ordered = numbers if np.all(numbers[1:] > numbers[:-1]) else np.sort(numbers)
        return cls(BitMap(array("I", ordered.tobytes())), sketch)  # from an array 20 times as fast as from numpy's

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


def distances(sketches: NDArray[np.int32], sketch: NDArray[np.int32]) -> NDArray[np.int64]:
    """Fewest rows by which each of the sets with `sketches`, shape (sets, BINS), can differ from that of `sketch`.

    A row that is in just one of two sets changes the difference in its bin by one, so no pair differs by fewer rows.
    """
    least: NDArray[np.int64] = np.abs(sketches - sketch).sum(axis=-1, dtype=np.int64)
    return least
