"""Real numbers as integers modulo a power of two, so that a sum is exact and does not depend on its order.

Three encodings, in little-endian words ("limbs") of 64 bits, two's complement:

P128  two limbs per entry, 72 fractional bits. What everything uses unless it says otherwise. Every float64 of at least
      2^-20 in size is encoded without rounding; a smaller one to within 2^-73. K cohorts may hand over |x| <= 2^54 / K.
C64   one limb, no fractional bits: counts in bulk, exact.
P64   one limb, a public number of fractional bits per entry: bulk vectors whose bounds everybody knows beforehand.

Encoded vectors have shape (entries, limbs): the bytes of a vector are its entries one after another. Limbs are added
*with* carry: without, the total would tell how many carries there were.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cohortium.quantities import Array

LIMB: Final = np.dtype("<u8")
Limbs = NDArray[np.uint64]

FRACTION_BITS: Final = 72
# 2^54 with 72 fractional bits is 2^126: totals stay one bit clear of the sign.
RANGE: Final = 2.0**54
# What can be summed over as many as 1,024 cohorts: a statistic that may run away checks against this.
LARGEST: Final = RANGE / 1024
RANGE_64: Final = 2.0**62

# Entries worked on at once, so that intermediate arrays stay in the processor's cache.
BLOCK: Final = 1 << 13

_MANTISSA_BITS, _EXPONENT_BIAS = 52, 1023
_MANTISSA, _EXPONENT = np.uint64((1 << 52) - 1), np.uint64(0x7FF)
_IMPLICIT = np.uint64(1 << 52)
# |x| 2^72 = mantissa * 2^(exponent field - this), as a 53-bit integer mantissa has its last bit at 2^(field - 1075).
_UNIT = np.uint64(_EXPONENT_BIAS + _MANTISSA_BITS - FRACTION_BITS)
_0, _1, _52, _63, _64 = (np.uint64(i) for i in (0, 1, 52, 63, 64))


class OutOfRange(ValueError):
    """A value that cannot be encoded. Says at which entry, never which value."""

    def __init__(self, entry: int, *, finite: bool) -> None:
        super().__init__(f"entry {entry} is {'too large' if finite else 'not finite'}")
        self.entry, self.finite = entry, finite


def blocks(entries: int) -> Iterator[slice]:
    """Consecutive slices that cover `entries`, each small enough for the cache."""
    return (slice(start, min(start + BLOCK, entries)) for start in range(0, entries, BLOCK))


def encode(values: ArrayLike, cohorts: int = 1) -> Limbs:
    """P128: round-half-away(x 2^72) mod 2^128, shape (n,) -> (n, 2), the low limb first.

    Raises OutOfRange unless every |x| <= 2^54 / `cohorts`: that many such vectors add up without wrapping.
    """
    flat = np.ascontiguousarray(values, dtype=np.float64).ravel()
    limbs = np.empty((flat.size, 2), dtype=LIMB)
    for part in blocks(flat.size):
        _check_range(flat[part], RANGE / cohorts, part.start)
        _encode(flat[part], limbs[part])
    return limbs


def _encode(values: Array, limbs: Limbs) -> None:
    # Shifts by 64 or more give 0 in numpy, and unsigned differences below zero wrap to such shifts: no branches needed.
    bits = values.view(np.uint64)
    field = (bits >> _52) & _EXPONENT
    mantissa = (bits & _MANTISSA) | _IMPLICIT  # wrong for subnormals and 0 only, which round to 0 anyway
    left, right = field - _UNIT, _UNIT - field
    low: Limbs = mantissa << left
    high: Limbs = np.bitwise_or(mantissa >> (_64 - left), mantissa << (left - _64))
    inexact = field < _UNIT
    if inexact.any():
        rounded = (mantissa + (_1 << (right - _1))) >> right
        low, high = np.where(inexact, rounded, low), np.where(inexact, _0, high)
    sign = bits >> _63
    flip = _0 - sign
    low ^= flip
    high ^= flip
    low += sign
    limbs[:, 0], limbs[:, 1] = low, high + (sign & (low == _0))


def decode(limbs: Limbs) -> Array:
    """The float64 nearest to each P128 entry (ties to even), shape (n, 2) -> (n,)."""
    values = np.empty(limbs.shape[0], dtype=np.float64)
    for part in blocks(values.size):
        values[part] = _decode(limbs[part, 0], limbs[part, 1])
    return values


def _decode(low: Limbs, high: Limbs) -> Array:
    sign = high >> _63
    flip = _0 - sign
    low = (low ^ flip) + sign
    high = (high ^ flip) + (sign & (low == _0))
    # Bring the leading one to the top two bits of one word; what falls off below survives as a sticky last bit, so that
    # the one rounding, from 64-bit integer to float64, is that of the whole 128-bit integer.
    length = (high.astype(np.float64).view(np.uint64) >> _52) - np.uint64(_EXPONENT_BIAS - 1)
    shift = np.where(high == _0, _64, _64 - np.minimum(length, _64))
    sticky = (low << shift) != _0
    top = (high << shift) | (low >> (_64 - shift)) | sticky
    unit = (np.uint64(_EXPONENT_BIAS + 64 - FRACTION_BITS) - shift) << _52
    magnitude = top.astype(np.float64) * unit.view(np.float64)
    return np.asarray(np.where(sign == _1, -magnitude, magnitude) + 0.0)


def is_whole(limbs: Limbs) -> NDArray[np.bool_]:
    """Which P128 entries are whole numbers, to the last of their 72 fractional bits: decoded, a float64 may hide it."""
    return np.asarray((limbs[:, 0] == _0) & (limbs[:, 1] << np.uint64(128 - FRACTION_BITS) == _0))


def add(a: Limbs, b: Limbs) -> Limbs:
    """The sum of two encoded vectors of the same encoding, modulo 2^64 or 2^128."""
    total = a.copy()
    accumulate(total, b)
    return total


def accumulate(total: Limbs, addend: Limbs) -> None:
    """Add `addend` to `total` in place, the carry of the low limb included."""
    _same_shape(total, addend)
    for part in blocks(len(total)):
        low = total[part, 0] + addend[part, 0]
        if total.shape[1] == 2:
            total[part, 1] += addend[part, 1] + (low < addend[part, 0])
        total[part, 0] = low


def deduct(total: Limbs, subtrahend: Limbs) -> None:
    """Take `subtrahend` from `total` in place, the borrow of the low limb included."""
    _same_shape(total, subtrahend)
    for part in blocks(len(total)):
        low = total[part, 0] - subtrahend[part, 0]
        if total.shape[1] == 2:
            total[part, 1] -= subtrahend[part, 1] + (total[part, 0] < subtrahend[part, 0])
        total[part, 0] = low


def negate(a: Limbs) -> Limbs:
    """The vector that adds up to zero with `a`."""
    result = np.zeros_like(a)
    deduct(result, a)
    return result


def encode_counts(values: ArrayLike, cohorts: int = 1) -> Limbs:
    """C64: whole numbers as they are, shape (n,) -> (n, 1). Raises OutOfRange beyond 2^62 / `cohorts`, ValueError."""
    flat = np.asarray(values, dtype=np.float64).ravel()
    if np.any(flat != np.rint(flat)):
        raise ValueError("a count is not a whole number")
    return encode_scaled(flat, np.zeros(flat.size, dtype=np.int64), cohorts)


def decode_counts(limbs: Limbs) -> Array:
    """What `encode_counts` encoded, or the sum of several such vectors; exact to 2^53, then rounded to nearest."""
    return limbs[:, 0].view(np.int64).astype(np.float64)


def fraction_bits(bounds: ArrayLike, cohorts: int) -> NDArray[np.int64]:
    """P64: fractional bits per entry, from *public* bounds |x| <= `bounds` of each, so that `cohorts` of them fit.

    Never take the bounds from data: the scale travels in the clear.
    """
    bounds = np.asarray(bounds, dtype=np.float64)
    if not np.all(np.isfinite(bounds) & (bounds > 0)):
        raise ValueError("bounds must be finite and positive")
    mantissa, exponent = np.frexp(bounds)
    ceiling = exponent - (mantissa == 0.5)  # ceil(log2(bound))
    return np.asarray(62 - (cohorts - 1).bit_length() - ceiling, dtype=np.int64)


def encode_scaled(values: ArrayLike, fraction: NDArray[np.int64], cohorts: int = 1) -> Limbs:
    """P64: round(x 2^fraction) mod 2^64, ties to even, shape (n,) -> (n, 1).

    Raises OutOfRange unless |x 2^fraction| <= 2^62 / `cohorts`.
    """
    flat = np.asarray(values, dtype=np.float64).ravel()
    with np.errstate(over="ignore"):
        scaled = np.rint(np.ldexp(flat, fraction))
    _check_range(scaled, RANGE_64 / cohorts, 0)
    return scaled.astype(np.int64).view(LIMB).reshape(-1, 1)


def decode_scaled(limbs: Limbs, fraction: NDArray[np.int64]) -> Array:
    """The float64 nearest to each P64 entry."""
    return np.asarray(np.ldexp(decode_counts(limbs), -fraction))


def _check_range(values: Array, limit: float, offset: int) -> None:
    outside = ~(np.abs(values) <= limit)  # negated, so that NaN is outside too
    if outside.any():
        entry = int(np.argmax(outside))
        raise OutOfRange(offset + entry, finite=bool(np.isfinite(values[entry])))


def _same_shape(a: Limbs, b: Limbs) -> None:
    if a.shape != b.shape or a.dtype != LIMB or b.dtype != LIMB:
        raise ValueError("encoded vectors differ in shape or type")
