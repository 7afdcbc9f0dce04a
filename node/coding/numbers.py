"""Numbers, whole numbers and dates: float64, checked against range and precision."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Collection
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cohortium.dictionary import Variable
from node.coding.coder import MISSING, Coder, plain

# How far, relatively, a value may be from a multiple of the precision: it is then put there, so that order statistics
# can compare exactly. Computed doubles and single-precision files are a little off.
_TOLERANCE, _SINGLE_TOLERANCE = 1e-9, 1e-6
_LARGEST_EXACT_INTEGER = 2.0**53
_NUMBER = r"^[+-]?((\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|(?i:inf|infinity|nan))$"
_DATE = r"^\d{4}-\d{2}-\d{2}([ T]\d{2}:\d{2}(:\d{2}(\.\d+)?)?)?$"
_EPOCH = datetime.date(1970, 1, 1)

Rows = NDArray[np.bool_]


class NumberCoder(Coder):
    """number and integer: float64."""

    dtype = np.float64
    wrong = "not a number"

    def __init__(self, variable: Variable, missing: Collection[str] = MISSING) -> None:
        super().__init__(variable, missing)
        codes = (self._code(code) for code in self.missing)
        self._missing_codes = [code for code in codes if code is not None]

    def add(self, chunk: pa.Array) -> None:  # noqa: D102 - as above
        values = self._read(plain(chunk)).to_numpy(zero_copy_only=False)
        values = np.array(values, dtype=np.float64)  # a copy that is ours to mark
        for code in self._missing_codes:
            values[values == code] = np.nan
        if self.variable.precision:
            tolerance = _SINGLE_TOLERANCE if pa.types.is_float32(chunk.type) else _TOLERANCE
            _put_on_lattice(values, self.variable.precision, tolerance)
        self._check(values)
        self._append(values)

    def _read(self, chunk: pa.Array) -> pa.Array:
        """The chunk as an array that converts to floats; whatever is no number is counted and becomes null."""
        kind = chunk.type
        if pa.types.is_large_string(kind):
            return self._read_text(chunk)
        if pa.types.is_decimal(kind):  # Arrow's own conversion is off by a rounding, that of text is not
            return self._parse(chunk.cast(pa.large_string()))
        whole = pa.types.is_integer(kind) or (pa.types.is_boolean(kind) and self.variable.type == "integer")
        if whole or pa.types.is_floating(kind):
            return chunk.cast(pa.float64(), safe=False)
        return self._all_wrong(chunk)

    def _read_text(self, text: pa.Array) -> pa.Array:
        # The fast way first: most chunks hold nothing but numbers, and matching a pattern costs far more than parsing.
        parsed = self._parsed(text)
        if parsed is None:
            text = self._without_missing(text)
            parsed = self._parsed(text)
        return self._read_wrong_text(text) if parsed is None else parsed

    def _read_wrong_text(self, text: pa.Array) -> pa.Array:
        readable = self._readable(text)
        self._violated(self.wrong, pc.sum(pc.invert(readable)).as_py() or 0)
        return self._parse(pc.if_else(readable, self._essence(text), None))

    def _parsed(self, text: pa.Array) -> pa.Array | None:
        try:
            return self._parse(text)
        except pa.ArrowInvalid:  # its message quotes a value, so it goes no further
            return None

    def _parse(self, text: pa.Array) -> pa.Array:
        return text.cast(pa.float64())

    def _readable(self, text: pa.Array) -> pa.Array:
        return pc.match_substring_regex(text, _NUMBER)

    def _essence(self, text: pa.Array) -> pa.Array:
        """The part of a readable text that is parsed."""
        return text

    def _code(self, code: str) -> float | None:
        """A missing code as a number; None if it is a word, which only text can hold."""
        try:
            return float(code)
        except ValueError:
            return None

    def _without_missing(self, text: pa.Array) -> pa.Array:
        text = pc.utf8_trim_whitespace(text)
        codes = pa.array(sorted(self.missing), type=text.type)
        return pc.if_else(pc.is_in(text, value_set=codes), None, text)

    def _all_wrong(self, chunk: pa.Array) -> pa.Array:
        self._violated(self.wrong, len(chunk) - chunk.null_count)
        return pa.nulls(len(chunk), pa.float64())

    def _check(self, values: NDArray[np.float64]) -> None:
        """Count what breaks a rule, one rule per row, and blank it."""
        for rule, broken in self._rules():
            with np.errstate(invalid="ignore", over="ignore"):
                rows = broken(values)
            self._violated(rule, int(np.count_nonzero(rows)))
            values[rows] = np.nan

    def _rules(self) -> list[tuple[str, Callable[[NDArray[np.float64]], Rows]]]:
        v, unit = self.variable, f" (unit {self.variable.unit})" if self.variable.unit else ""
        rules: list[tuple[str, Callable[[NDArray[np.float64]], Rows]]] = [("not finite", np.isinf)]
        if v.type == "integer":
            rules.append(("not a whole number", lambda x: abs(x - np.rint(x)) > 0))
            rules.append(
                ("beyond ±2^53, where whole numbers are no longer exact", lambda x: abs(x) >= _LARGEST_EXACT_INTEGER)
            )
        if (low := v.minimum) is not None:
            rules.append((f"below the minimum {self._shown(low)}{unit}", lambda x: x < low))
        if (high := v.maximum) is not None:
            rules.append((f"above the maximum {self._shown(high)}{unit}", lambda x: x > high))
        if (step := v.precision) is not None:
            rule = f"not a multiple of the precision {step:.15g}{unit}"
            rules.append((rule, lambda x: abs(x - _multiples(x, step)) > 0))
        return rules

    def _shown(self, bound: float) -> str:
        return f"{bound:.15g}"


class DateCoder(NumberCoder):
    """date: float64, days since 1970-01-01. A time of day is dropped; a time zone makes the date ambiguous."""

    wrong = "not a date (YYYY-MM-DD, without a time zone)"

    def _read(self, chunk: pa.Array) -> pa.Array:
        kind = chunk.type
        if pa.types.is_large_string(kind):
            return self._read_text(chunk)
        if pa.types.is_date(kind) or (pa.types.is_timestamp(kind) and kind.tz is None):
            # Through numpy, which rounds dates before 1970 down to the day and not towards 1970.
            days = chunk.to_numpy(zero_copy_only=False).astype("datetime64[D]")
            return pa.array(days, type=pa.date32()).cast(pa.int32())
        return self._all_wrong(chunk)

    def _parse(self, text: pa.Array) -> pa.Array:
        return text.cast(pa.date32()).cast(pa.int32())

    def _readable(self, text: pa.Array) -> pa.Array:
        written = self._essence(text)
        days = pc.strptime(written, format="%Y-%m-%d", unit="s", error_is_null=True)
        # strptime turns 30 February into 1 March, so the date has to read the same when written again.
        same = pc.equal(pc.strftime(days, format="%Y-%m-%d"), written)
        return pc.and_(pc.match_substring_regex(text, _DATE), pc.fill_null(same, False))

    def _essence(self, text: pa.Array) -> pa.Array:
        return pc.utf8_slice_codeunits(text, 0, 10)

    def _code(self, code: str) -> float | None:
        try:
            return float((datetime.date.fromisoformat(code) - _EPOCH).days)
        except ValueError:
            return None  # a number is no date, and must not be read as days since 1970

    def _shown(self, bound: float) -> str:
        try:
            return (_EPOCH + datetime.timedelta(days=bound)).isoformat()
        except OverflowError:
            return super()._shown(bound)


def _multiples(values: NDArray[np.float64], step: float) -> NDArray[np.float64]:
    """The multiples of `step` nearest to `values`, each as the double nearest to it: 243 steps of 0.1 are 24.3."""
    exact = Fraction(repr(step))
    return np.rint(values / step) * exact.numerator / exact.denominator


def _put_on_lattice(values: NDArray[np.float64], step: float, tolerance: float) -> None:
    with np.errstate(invalid="ignore", over="ignore"):
        nearest = _multiples(values, step)
        near = np.abs(values - nearest) <= tolerance * np.maximum(step, np.abs(values))
    np.copyto(values, nearest, where=near)
