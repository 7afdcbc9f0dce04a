"""Columns coded by the dictionary: round trips, every kind of violation, and nothing of the data in a message."""

import datetime
import math
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from cohortium.dictionary import Dictionary, Variable
from node.data import InvalidData, Part, encode, load

EPOCH = datetime.date(1970, 1, 1)
LEVELS = ["never", "former", "current"]


def variable(**fields):
    return Variable.model_validate(fields)


def category(*values, codes=None, **fields):
    spelled = codes or [None] * len(values)
    levels = [{"value": v, "code": c} for v, c in zip(values, spelled, strict=True)]
    return variable(type="category", categories=levels, **fields)


def dictionary(**variables):
    return Dictionary.model_validate({"name": "test", "version": "1", "variables": variables})


def coded(column, of):
    values, violations = encode(column if isinstance(column, pa.Array | pa.ChunkedArray) else pa.array(column), of)
    assert violations == []
    return values


def broken(column, of):
    _, violations = encode(column if isinstance(column, pa.Array) else pa.array(column), of)
    return {v.rule: v.rows for v in violations}


def as_text(values):
    return pa.array([None if v is None else str(v) for v in values], pa.string())


def floats(values):
    return np.array([math.nan if v is None else float(v) for v in values])


finite = st.floats(allow_nan=False, allow_infinity=False)


class TestRoundTrips:
    @given(st.lists(st.none() | finite))
    def test_numbers_are_the_same_from_floats_and_from_text(self, values):
        expected = floats(values)
        np.testing.assert_array_equal(coded(pa.array(values, pa.float64()), variable(type="number")), expected)
        np.testing.assert_array_equal(coded(as_text(values), variable(type="number")), expected)

    @given(st.lists(st.decimals(min_value=-(10**6), max_value=10**6, places=3)))
    def test_decimals_are_the_doubles_nearest_to_them(self, values):
        bmi = variable(type="number", precision=0.001)
        column = pa.array(values, pa.decimal128(12, 3))
        np.testing.assert_array_equal(coded(column, bmi), floats(values))
        np.testing.assert_array_equal(coded(as_text(values), bmi), floats(values))

    @given(st.lists(st.integers(-(10**6), 10**6)), st.sampled_from([0.1, 0.5, 0.01, 0.25, 2.0, 1 / 3]))
    def test_every_multiple_of_the_precision_is_one(self, steps, precision):
        values = [k * precision for k in steps]
        assert broken(pa.array(values, pa.float64()), variable(type="number", precision=precision)) == {}

    @given(st.lists(st.integers(-(10**6), 10**6)), st.sampled_from(["0.1", "0.05", "0.3", "0.001", "2.5", "7"]))
    def test_computed_values_are_put_on_the_lattice(self, steps, precision):
        """A body mass index of 24.299999999999997 is 24.3, for otherwise it would not be among those up to 24.3."""
        of = variable(type="number", precision=float(precision))
        written = [float(k * Decimal(precision)) for k in steps]
        np.testing.assert_array_equal(coded(pa.array(written, pa.float64()), of), written)
        for computed in (
            np.nextafter(written, np.inf),
            np.nextafter(written, -np.inf),
            [k * float(precision) for k in steps],
        ):
            np.testing.assert_array_equal(coded(pa.array(computed, pa.float64()), of), written)

    @given(st.lists(st.integers(-5000, 5000)))
    def test_single_precision_is_put_back_on_the_lattice(self, tenths):
        values = [k / 10 for k in tenths]
        column = pa.array(np.array(values, dtype=np.float32))
        np.testing.assert_array_equal(coded(column, variable(type="number", precision=0.1)), floats(values))

    @given(st.lists(st.none() | st.integers(1 - 2**53, 2**53 - 1)))
    def test_integers_are_the_same_from_every_type(self, values):
        whole = variable(type="integer")
        expected = floats(values)
        for column in (pa.array(values, pa.int64()), pa.array(expected), as_text(values)):
            np.testing.assert_array_equal(coded(column, whole), expected)

    @given(
        st.lists(st.none() | st.dates(datetime.date(1000, 1, 1))),
        st.sampled_from(["", " 00:00:00", "T13:45", " 23:59:59.5"]),
    )
    def test_dates_are_the_same_from_every_type(self, values, time):
        date = variable(type="date")
        expected = floats([None if v is None else (v - EPOCH).days for v in values])
        text = [None if v is None else v.isoformat() + time for v in values]
        np.testing.assert_array_equal(coded(pa.array(values, pa.date32()), date), expected)
        np.testing.assert_array_equal(coded(pa.array(text, pa.string()), date), expected)

    @given(
        st.lists(st.none() | st.datetimes(datetime.datetime(1700, 1, 1), datetime.datetime(2200, 1, 1))),
        st.sampled_from(["s", "us"]),
    )
    def test_a_time_of_day_is_dropped_before_1970_too(self, values, unit):
        expected = floats([None if v is None else (v.date() - EPOCH).days for v in values])
        whole_seconds = [v and v.replace(microsecond=0) for v in values]
        np.testing.assert_array_equal(
            coded(pa.array(whole_seconds, pa.timestamp(unit)), variable(type="date")), expected
        )

    @given(st.lists(st.none() | st.booleans()))
    def test_booleans_are_the_same_however_they_are_written(self, values):
        expected = floats(values)
        numbers = [None if v is None else int(v) for v in values]
        columns = [pa.array(values, pa.bool_()), pa.array(numbers, pa.int8()), pa.array(floats(values))]
        columns += [as_text(values), as_text(numbers), as_text([None if v is None else str(v).upper() for v in values])]
        for column in columns:
            np.testing.assert_array_equal(coded(column, variable(type="boolean")), expected)

    @given(st.lists(st.none() | st.sampled_from(LEVELS)))
    def test_categories_count_from_the_reference(self, values):
        expected = [-1 if v is None else LEVELS.index(v) for v in values]
        plain = pa.array(values, pa.string())
        for column in (plain, plain.dictionary_encode(), plain.cast(pa.large_string()), plain.cast(pa.string_view())):
            codes = coded(column, category(*LEVELS))
            assert codes.dtype == np.int32
            assert codes.tolist() == expected

    @given(st.lists(st.none() | st.text(max_size=3) | st.integers(-5, 5).map(str)))
    def test_identifiers_are_equal_where_the_people_are(self, values):
        same = [None if v is None or v.strip() in {"", "NA", "NaN"} else v.strip() for v in values]
        codes = coded(pa.array(values, pa.string()), variable(type="identifier"))
        assert [c == -1 for c in codes] == [v is None for v in same]
        assert len(set(zip(codes.tolist(), same, strict=True))) == len(set(same)) == len(set(codes.tolist()))
        assert set(codes.tolist()) - {-1} == set(range(len(set(same) - {None})))

    @given(st.lists(st.integers(0, 9)), st.integers(1, 5))
    def test_chunks_make_no_difference(self, values, pieces):
        split = pa.chunked_array([pa.array(part, pa.int64()) for part in np.array_split(np.array(values, int), pieces)])
        for of in (variable(type="integer"), variable(type="identifier"), category(*map(str, range(10)))):
            np.testing.assert_array_equal(coded(split, of), coded(pa.array(values, pa.int64()), of))


class TestSpelling:
    @pytest.mark.parametrize(
        "column", [["0", "1", None], [0, 1, None], [0.0, 1.0, None], [False, True, None], ["0.0", " 1 ", ""]]
    )
    @pytest.mark.parametrize("codes", [("0", "1"), ("0.0", "1.0"), ("false", "true")])
    def test_1_and_true_are_the_same_code(self, column, codes):
        assert coded(column, category("no", "yes", codes=codes)).tolist() == [0, 1, -1]

    def test_leading_zeros_are_kept(self):
        assert coded(["007", "7", "7.0"], category("007", "7")).tolist() == [0, 1, 1]
        assert broken(["07"], category("007", "7")) == {"with a category that the dictionary does not declare": 1}
        assert coded(["007", "7", "7.0"], variable(type="identifier")).tolist() != [0, 0, 0]

    def test_codes_that_only_differ_in_their_form_are_told_apart(self):
        assert coded(["1", "1.0"], category("one", "uno", codes=("1", "1.0"))).tolist() == [0, 1]

    def test_case_matters(self):
        assert broken(["Never"], category(*LEVELS)) == {"with a category that the dictionary does not declare": 1}

    def test_an_identifier_is_the_same_as_number_and_as_text(self):
        column = pa.chunked_array([["7", "x", "8"]])
        people = dictionary(who={"type": "identifier"})
        parts = [
            Part(["who"], [pa.record_batch({"who": c})])
            for c in (*column.chunks, pa.array([7, 8]), pa.array([8.0, None]))
        ]
        codes = load(parts, people).codes("who")
        assert codes[0] == codes[3]
        assert codes[2] == codes[4] == codes[5]
        assert codes[6] == -1
        assert len(set(codes.tolist())) == 4


class TestMissing:
    BMI = variable(type="number", minimum=10, maximum=80, missing=(-9, 999, "unknown"))

    @pytest.mark.parametrize(
        "column",
        [
            [-9, 999, None],
            [-9.0, 999.0, math.nan],
            ["-9", "999", "unknown"],
            ["-9.0", " 999 ", ""],
            ["NA", "NaN", None],
        ],
    )
    def test_codes_and_empty_cells_are_missing(self, column):
        assert np.isnan(coded(column, self.BMI)).all()

    def test_in_every_type(self):
        assert coded(["1900-01-01", None], variable(type="date", missing=("1900-01-01",))).tolist() == pytest.approx(
            [math.nan] * 2, nan_ok=True
        )
        assert coded(
            [datetime.date(1900, 1, 1)], variable(type="date", missing=("1900-01-01",))
        ).tolist() == pytest.approx([math.nan], nan_ok=True)
        assert coded(["9", "never", None, "NA"], category(*LEVELS, missing=(9,))).tolist() == [-1, 0, -1, -1]
        assert coded([9, 1, None], variable(type="boolean", missing=(9,))).tolist() == pytest.approx(
            [math.nan, 1, math.nan], nan_ok=True
        )
        assert coded([-9, 1, None], variable(type="identifier", missing=(-9,))).tolist() == [-1, 0, -1]
        assert coded(["-9", "a", "NA"], variable(type="identifier", missing=(-9,))).tolist() == [-1, 0, -1]

    def test_a_number_is_no_date_even_as_a_code(self):
        before = variable(type="date", missing=(-9,))
        assert coded([EPOCH - datetime.timedelta(days=9)], before).tolist() == [-9.0]

    def test_a_level_called_na_is_a_level(self):
        assert coded(["NA", "EU"], category("NA", "EU")).tolist() == [0, 1]
        with pytest.raises(ValidationError, match="both a category and `missing`"):
            category("NA", "EU", missing=("NA",))

    def test_own_spellings_of_a_cohort(self):
        table = pa.table({"bmi": ["25", "n.b."], "smoking": ["never", "n.b."]})
        known = dictionary(bmi=self.BMI, smoking=category(*LEVELS))
        data = load(table, known, missing=["n.b."])
        assert data.missing("bmi").tolist() == data.missing("smoking").tolist() == [False, True]


SENTINEL = 31337.75
ON_RANGE = variable(type="number", minimum=10, maximum=80, unit="kg/m2")


@pytest.mark.parametrize(
    ("column", "of", "rule"),
    [
        ([25, SENTINEL], ON_RANGE, "above the maximum 80 (unit kg/m2)"),
        ([25, -SENTINEL], ON_RANGE, "below the minimum 10 (unit kg/m2)"),
        (["25", "31337.75"], ON_RANGE, "above the maximum 80 (unit kg/m2)"),
        (["25", "x31337.75"], ON_RANGE, "not a number"),
        (["25", "31337,75"], ON_RANGE, "not a number"),
        ([b"31337.75", None], ON_RANGE, "not a number"),
        ([[31337.75], None], ON_RANGE, "not a number"),
        ([datetime.date(3133, 7, 5), None], ON_RANGE, "not a number"),
        ([True, None], ON_RANGE, "not a number"),
        ([25, math.inf], ON_RANGE, "not finite"),
        (["25", "-inf"], ON_RANGE, "not finite"),
        ([25, SENTINEL], variable(type="integer"), "not a whole number"),
        ([25, 2**53], variable(type="integer"), "beyond ±2^53, where whole numbers are no longer exact"),
        (
            [25, SENTINEL],
            variable(type="number", precision=0.5, unit="m"),
            "not a multiple of the precision 0.5 (unit m)",
        ),
        (["never", "31337.75"], category(*LEVELS), "with a category that the dictionary does not declare"),
        ([b"31337.75", None], category(*LEVELS), "with a category that the dictionary does not declare"),
        ([1, SENTINEL], variable(type="boolean"), "neither true nor false (1 or 0)"),
        (["true", "31337.75"], variable(type="boolean"), "neither true nor false (1 or 0)"),
        (["yes", "true"], variable(type="boolean"), "neither true nor false (1 or 0)"),
        (["2020-01-01", "31337.75"], variable(type="date"), "not a date (YYYY-MM-DD, without a time zone)"),
        (["2020-01-01", "2021-02-29"], variable(type="date"), "not a date (YYYY-MM-DD, without a time zone)"),
        (["2020-01-01", "01-02-2020"], variable(type="date"), "not a date (YYYY-MM-DD, without a time zone)"),
        ([31337, None], variable(type="date"), "not a date (YYYY-MM-DD, without a time zone)"),
        (["2020-01-01", "2030-01-01"], variable(type="date", maximum=20000), "above the maximum 2024-10-04"),
        (["2020-01-01", "1969-12-31"], variable(type="date", minimum=0), "below the minimum 1970-01-01"),
        ([[31337.75], None], variable(type="identifier"), "neither text nor a number"),
    ],
)
def test_each_violation_is_counted_and_tells_no_value(column, of, rule):
    values, violations = encode(pa.array(column), of)
    assert [(v.rule, v.rows) for v in violations] == [(rule, 1)]
    assert "31337" not in repr(violations)
    with pytest.raises(InvalidData) as caught:
        load(pa.table({"x": column}), dictionary(x=of))
    assert f"x: 1 row {rule}" in caught.value.message
    assert "31337" not in str(caught.value)
    assert values[0 if np.count_nonzero(~np.isnan(values.astype(float))) == 2 else 1] != 31337  # coded as missing


def test_a_time_zone_makes_a_date_ambiguous():
    column = pa.array([datetime.datetime(2020, 1, 1)], pa.timestamp("us", tz="UTC"))
    assert broken(column, variable(type="date")) == {"not a date (YYYY-MM-DD, without a time zone)": 1}


def test_a_row_is_counted_under_one_rule():
    of = variable(type="integer", minimum=0, maximum=10, precision=2)
    assert broken([0.5, 99.5, -1, 11, 3, 4], of) == {
        "not a whole number": 2,
        "below the minimum 0": 1,
        "above the maximum 10": 1,
        "not a multiple of the precision 2": 1,
    }
