"""Categories, booleans and identifiers: values that are recognised by how they are spelled."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection
from hashlib import blake2b

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cohortium.dictionary import Variable
from node.coding.coder import MISSING, Coder, grow, plain, spelling

_WHOLE = r"^(0|-?[1-9]\d{0,17})$"
NO_KEY = -(2**63)
_BLOCK = 65536


class CategoryCoder(Coder):
    """category: int32 positions in the dictionary's levels, -1 where missing."""

    dtype: type[np.float64] | type[np.int32] = np.int32
    wrong = "with a category that the dictionary does not declare"

    def __init__(self, variable: Variable, missing: Collection[str] = MISSING) -> None:
        super().__init__(variable, missing)
        self._positions = positions(self._spellings())
        # What a level is called is never taken for an empty cell, unless the dictionary itself says so.
        declared = {str(code) for code in variable.missing}
        self.missing -= {*self._spellings()} - {*declared, *map(spelling, declared)}

    def _spellings(self) -> list[str]:
        return self.variable.codes

    def add(self, chunk: pa.Array) -> None:  # noqa: D102 - as above
        self._append(self._codes(plain(chunk)))

    def _codes(self, chunk: pa.Array) -> NDArray[np.int32]:
        if not _is_spelled(chunk.type):
            self._violated(self.wrong, len(chunk) - chunk.null_count)
            return np.full(len(chunk), -1, dtype=np.int32)
        encoded = chunk.dictionary_encode()
        codes = np.array([*map(self._position, encoded.dictionary.to_pylist()), -1], dtype=np.int32)
        rows: NDArray[np.int32] = codes[encoded.indices.fill_null(len(codes) - 1).to_numpy(zero_copy_only=False)]
        unknown = rows == -2
        self._violated(self.wrong, int(np.count_nonzero(unknown)))
        rows[unknown] = -1
        return rows

    def _position(self, value: object) -> int:
        """The level's position, -1 for missing, -2 for a value that is neither."""
        text = str(value).strip()
        if (isinstance(value, float) and math.isnan(value)) or text in self.missing or spelling(text) in self.missing:
            return -1
        return self._positions.get(text, self._positions.get(spelling(text), -2))


class BooleanCoder(CategoryCoder):
    """boolean: float64 0 and 1, NaN where missing."""

    dtype: type[np.float64] | type[np.int32] = np.float64
    wrong = "neither true nor false (1 or 0)"

    def _spellings(self) -> list[str]:
        return ["0", "1"]

    def add(self, chunk: pa.Array) -> None:  # noqa: D102 - as above
        codes = self._codes(plain(chunk))
        self._append(np.where(codes >= 0, codes.astype(np.float64), np.nan))


class IdentifierCoder(Coder):
    """identifier: int32 codes from 0, -1 where missing; equal codes mean the same person, family or clinic.

    Only a key per row is kept: the number itself, or for text 64 bits of BLAKE2b (ten million of them share a key by
    chance with probability 3e-6). 7, 7.0 and "7" are the same identifier, "007" is another.
    """

    dtype = np.int32
    wrong = "neither text nor a number"

    def __init__(self, variable: Variable, missing: Collection[str] = MISSING) -> None:
        super().__init__(variable, missing)
        self._keys = np.empty(0, dtype=np.int64)
        self._missing_keys = np.array([_key(code) for code in self.missing], dtype=np.int64)

    def add(self, chunk: pa.Array) -> None:  # noqa: D102 - as above
        chunk = plain(chunk)
        if not _is_spelled(chunk.type):
            self._violated(self.wrong, len(chunk) - chunk.null_count)
            chunk = pa.nulls(len(chunk), pa.large_string())
        keys = _keys(chunk)
        keys[np.isin(keys, self._missing_keys)] = NO_KEY
        grow(self._keys, keys)

    @property
    def keys(self) -> NDArray[np.int64]:
        """The key of each row, the same whenever the data are loaded; `NO_KEY` where missing."""
        return self._keys

    def column(self) -> NDArray[np.generic]:  # noqa: D102 - as above
        # Numbered along the sorted keys, in blocks: np.unique would take several times the memory. The key for missing
        # is the smallest, so counting from -2 gives it -1.
        order = np.argsort(self._keys)
        codes = np.empty(len(order), dtype=np.int32)
        code, last = (-2 if np.any(self._keys == NO_KEY) else -1), None
        for start in range(0, len(order), _BLOCK):
            rows = order[start : start + _BLOCK]
            keys = self._keys[rows]
            is_new = np.append(last is None or keys[0] != last, keys[1:] != keys[:-1])
            codes[rows] = code + np.cumsum(is_new)
            code, last = codes[rows[-1]], keys[-1]
        return codes


def positions(spellings: list[str]) -> dict[str, int]:
    """Position of each spelling, also by its common form, unless two of them share that form."""
    common = Counter(map(spelling, spellings))
    by_form = {spelling(s): i for i, s in enumerate(spellings) if common[spelling(s)] == 1}
    return by_form | {s: i for i, s in enumerate(spellings)}


def _keys(chunk: pa.Array) -> NDArray[np.int64]:
    if pa.types.is_floating(chunk.type):
        chunk = pc.if_else(pc.is_nan(chunk), None, chunk)
    if not pa.types.is_large_string(chunk.type):
        try:  # pandas writes whole numbers with a missing one among them as 7.0
            return _filled(chunk.cast(pa.int64()))
        except pa.ArrowInvalid:
            chunk = chunk.cast(pa.large_string())
    text = pc.utf8_trim_whitespace(chunk)
    whole = pc.fill_null(pc.match_substring_regex(text, _WHOLE), True)
    keys = _filled(pc.if_else(whole, text, None).cast(pa.int64()))
    others = ~whole.to_numpy(zero_copy_only=False)
    keys[others] = _digests(text.filter(pc.invert(whole)).to_pylist())
    return keys


def _digests(values: list[str]) -> NDArray[np.int64]:
    joined = b"".join([blake2b(value.encode(), digest_size=8).digest() for value in values])
    return np.frombuffer(joined, dtype="<i8")


def _key(value: str) -> int:
    return int(value) if re.fullmatch(_WHOLE, value) else int(_digests([value])[0])


def _filled(numbers: pa.Array) -> NDArray[np.int64]:
    filled: NDArray[np.int64] = numbers.fill_null(NO_KEY).to_numpy(zero_copy_only=False).copy()
    return filled


def _is_spelled(kind: pa.DataType) -> bool:
    tests = (pa.types.is_large_string, pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_null)
    return any(test(kind) for test in (*tests, pa.types.is_decimal))


def _whole_where_possible(chunk: pa.Array) -> pa.Array:
    """Identifiers as int64 if they are whole numbers (a missing one makes pandas write 7.0), else as text."""
    if pa.types.is_large_string(chunk.type):
        return chunk
    if pa.types.is_floating(chunk.type):
        chunk = pc.if_else(pc.is_nan(chunk), None, chunk)
    try:
        return chunk.cast(pa.int64())
    except pa.ArrowInvalid:
        return chunk.cast(pa.large_string())
