"""What every coder does: code chunk after chunk, and count the rows that contradict the dictionary.

A coder keeps the coded column and no more than one chunk of the original. What it reports is a rule and a number of
rows: the values that broke the rule are never kept, so they cannot end up in a message or a log.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cohortium.dictionary import Variable

# How files spell an empty cell (R writes NA, others NaN), unless the dictionary has a category that is spelled so.
MISSING = ("NA", "NaN")


class Coder(ABC):
    """Codes one variable. `add` every chunk in order, then read `column` and `violations` (rows per rule)."""

    dtype: type[np.float64] | type[np.int32]

    def __init__(self, variable: Variable, missing: Collection[str] = MISSING) -> None:
        self.variable = variable
        codes = [str(code) for code in ("", *missing, *variable.missing)]
        self.missing = {*codes, *map(spelling, codes)}
        self.violations: Counter[str] = Counter()
        self._column = np.empty(0, dtype=self.dtype)

    @abstractmethod
    def add(self, chunk: pa.Array) -> None:
        """Code the next rows."""

    def column(self) -> NDArray[np.generic]:
        """All rows so far: float64 with NaN, or int32 with -1, where missing (see `cohortium.data`)."""
        return self._column

    def _append(self, rows: NDArray[np.generic]) -> None:
        grow(self._column, rows)

    def _violated(self, rule: str, rows: int) -> None:
        if rows:
            self.violations[rule] += rows


def grow(column: NDArray[np.generic], rows: NDArray[np.generic]) -> None:
    """Append in place: a large block is remapped, not copied, so a column never takes its memory twice."""
    start = len(column)
    column.resize(start + len(rows), refcheck=False)
    column[start:] = rows


def spelling(text: str) -> str:
    """One spelling for 1, 1.0, "1" and True; codes with leading zeros, such as "007", stay what they are."""
    text = text.strip()
    if text.lower() in {"true", "false"}:
        return "1" if text.lower() == "true" else "0"
    number = re.fullmatch(r"(-?(?:0|[1-9]\d*))\.(\d*?)0*", text)
    if number:
        return f"{number[1]}.{number[2]}" if number[2] else number[1]
    return text


def plain(chunk: pa.Array) -> pa.Array:
    """The chunk without Arrow's many ways to hold text: dictionaries are decoded, text is `large_string`."""
    if pa.types.is_dictionary(chunk.type):
        chunk = chunk.dictionary_decode()
    if pa.types.is_string(chunk.type) or pa.types.is_string_view(chunk.type):
        return chunk.cast(pa.large_string())
    return chunk.cast(pa.float64()) if pa.types.is_float16(chunk.type) else chunk
