"""A cohort's rows in blocks: complete cases once, the same whatever the block size."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cohortium.data import Data
from cohortium.dictionary import Category, Dictionary, Variable
from cohortium.errors import InvalidQuestion, UnknownName

DICTIONARY = Dictionary(
    name="d",
    version="1",
    variables={
        "x": Variable(type="number"),
        "flag": Variable(type="boolean"),
        "sex": Variable(type="category", categories=(Category(value="f"), Category(value="m"))),
        "grade": Variable(type="category", categories=tuple(Category(value=v) for v in "abc")),
        "absent": Variable(type="number"),
    },
)


def make(x, grade):
    columns = {
        "x": np.asarray(x, float),
        "flag": np.asarray(x, float) > 0,
        "sex": np.asarray(grade, np.int32) % 2,
        "grade": np.asarray(grade, np.int32),
    }
    columns["sex"] = np.where(columns["grade"] < 0, -1, columns["sex"]).astype(np.int32)
    columns["flag"] = columns["flag"].astype(float)
    return Data(DICTIONARY, columns, len(columns["x"]))


@given(
    st.lists(st.tuples(st.floats(-5, 5) | st.just(float("nan")), st.integers(-1, 2)), max_size=30),
    st.integers(1, 40),
)
def test_blocks_are_the_complete_rows_in_order(rows, size):
    data = make([r[0] for r in rows], [r[1] for r in rows])
    expected = [r for r in rows if r[0] == r[0] and r[1] >= 0]
    blocks = list(data.blocks(["x", "grade"], size))
    assert all(0 < len(b) <= size for b in blocks)
    assert [v for b in blocks for v in b["x"]] == [r[0] for r in expected]
    assert [v for b in blocks for v in b.codes("grade")] == [r[1] for r in expected]


def test_columns_by_type():
    data = make([1.0, np.nan, -1.0], [0, -1, 1])
    np.testing.assert_array_equal(data["sex"], [0, np.nan, 1])
    np.testing.assert_array_equal(data.missing("grade"), [False, True, False])
    np.testing.assert_array_equal(data.complete(["x", "sex"]), [True, False, True])
    with pytest.raises(InvalidQuestion, match="not a number"):
        data["grade"]
    with pytest.raises(InvalidQuestion, match="not a category"):
        data.codes("x")


def test_absent_and_unknown_are_told_apart():
    data = make([1.0], [0])
    with pytest.raises(InvalidQuestion, match="not collected"):
        data["absent"]
    with pytest.raises(UnknownName, match="no variable `y`"):
        data["y"]


def test_an_empty_cohort_has_no_blocks():
    assert list(make([], []).blocks(["x"])) == []


def test_fewer_columns_are_as_well_protected():
    whole = Data(DICTIONARY, {"x": np.ones(20), "flag": np.ones(20)}, 20, least_group=10)
    part = whole.only(["x"])
    assert (list(part.columns), part.rows, part.least_group) == (["x"], 20, 10)
