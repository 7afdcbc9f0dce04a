"""A field that leaves a node declares its kind, and a sum names the people behind it."""

from typing import Annotated

import numpy as np
import pytest

from cohortium.errors import NodeFailed
from cohortium.quantities import Array, Count, Counts, SumOver, Sums, Table


class Means(Sums):
    n: Counts
    total: Annotated[Array, SumOver("n")]
    cells: Table


def test_a_field_without_a_kind_cannot_be_declared():
    with pytest.raises(TypeError, match="exactly one kind"):
        type("Bare", (Sums,), {"__annotations__": {"n": Count, "x": Array}})


def test_a_sum_must_name_a_count_of_its_record():
    with pytest.raises(TypeError, match="not a Count"):
        type("Orphan", (Sums,), {"__annotations__": {"x": Annotated[float, SumOver("n")]}})
    with pytest.raises(TypeError, match="not a Count"):
        type("Wrong", (Sums,), {"__annotations__": {"t": Table, "x": Annotated[float, SumOver("t")]}})


def test_the_count_must_have_the_leading_shape_of_the_sum():
    Means(n=np.ones(3), total=np.ones((3, 2)), cells=np.ones(1))
    with pytest.raises(NodeFailed, match="does not start with"):
        Means(n=np.ones(3), total=np.ones((2, 3)), cells=np.ones(1))


def test_values_become_float64_and_travel_as_arrays():
    record = Means(n=np.array([4]), total=np.array([[1]]), cells=np.array([2, 3]))
    arrays = record.arrays()
    assert list(arrays) == ["n", "total", "cells"]
    assert all(a.dtype == np.float64 for a in arrays.values())
    again = Means.from_arrays(arrays)
    np.testing.assert_array_equal(again.cells, [2, 3])


def test_missing_and_undeclared_fields_are_named():
    with pytest.raises(NodeFailed, match="cells, extra"):
        Means.from_arrays({"n": np.ones(1), "total": np.ones(1), "extra": np.ones(1)})
