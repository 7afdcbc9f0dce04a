"""One way to write a thing as bytes, for whatever is hashed, signed or made into a key.

Two different things never have the same bytes, so what was said of one cannot be passed off as said of the other.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from cohortium.quantities import Array


def framed(*parts: bytes) -> bytes:
    """The parts, each behind its length as 8 bytes, so that no other parts run together to the same bytes."""
    return b"".join(len(part).to_bytes(8, "big") + part for part in parts)


def digest(*parts: bytes) -> str:
    """SHA-256 of the framed parts, in hexadecimal."""
    return hashlib.sha256(framed(*parts)).hexdigest()


def canonical_json(value: Any) -> bytes:
    """A JSON value as its one form: keys sorted, ASCII, no white space.

    Whole numbers have no point; other numbers have the shortest digits that read back to the same float64, always with
    a point or an exponent, so 1 and 1.0 stay apart. Raises ValueError for what JSON cannot say (NaN, keys that are
    not text, other types).
    """
    _check(value)
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode("ascii")


def _check(value: Any) -> None:
    match value:
        case None | bool() | int() | str():
            return
        case float():
            if not math.isfinite(value):
                raise ValueError("a number is not finite")
        case list() | tuple():
            for item in value:
                _check(item)
        case dict():
            for key, item in value.items():
                if not isinstance(key, str):
                    raise ValueError("a key is not text")
                _check(item)
        case _:
            raise ValueError(f"{type(value).__name__} has no canonical form")


def array_parts(arrays: Mapping[str, Array]) -> tuple[bytes, ...]:
    """Named float64 arrays to their last bit, by name: name, shape and little-endian bytes of each."""
    parts: list[bytes] = []
    for name, values in sorted(arrays.items()):
        exact = np.asarray(values, dtype="<f8")
        parts += [name.encode(), canonical_json(exact.shape), exact.tobytes()]
    return tuple(parts)
