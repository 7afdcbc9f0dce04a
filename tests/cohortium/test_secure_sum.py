"""Adding up: order-free, withheld cells stay withheld, and a strange answer is named."""

import itertools
from typing import Annotated

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cohortium.errors import NodeFailed
from cohortium.quantities import Array, Count, SumOver, Sums, Table
from cohortium.secure_sum import add_up, decode, encode


class Record(Sums):
    n: Count
    total: Annotated[Array, SumOver("n")]
    cells: Table


def record(n=10.0, total=(1.0,), cells=(20.0, 30.0)):
    return encode(Record(n=n, total=np.array(total), cells=np.array(cells)))


@given(st.lists(st.floats(-1e12, 1e12), min_size=2, max_size=5))
def test_the_total_depends_neither_on_order_nor_on_names(values):
    totals = {
        add_up(Record, {f"c{i}": record(total=(v,)) for i, v in enumerate(order)}).total[0].hex()
        for order in itertools.permutations(values)
    }
    assert len(totals) == 1


def test_a_withheld_cell_makes_its_total_unknown_and_no_other():
    total = add_up(Record, {"a": record(cells=(np.nan, 30)), "b": record(cells=(20, 30))})
    np.testing.assert_array_equal(total.cells, [np.nan, 60])
    assert record(cells=(np.nan, 30))["cells"][0] == 0, "the withheld count itself must not travel"


def test_encode_and_decode_are_inverse():
    arrays = record(cells=(np.nan, 30))
    np.testing.assert_array_equal(decode(Record, arrays).cells, [np.nan, 30])


def test_only_tables_can_withhold():
    with pytest.raises(NodeFailed, match="`total` is not finite"):
        record(total=(np.nan,))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"total": np.ones(2)}, "another layout"),
        ({"total": np.array([np.inf])}, "`total` is not finite"),
        ({"n": np.array(9.5)}, "fractions"),
        ({"n": np.array(-1.0)}, "below zero"),
        ({"cells": np.array([0.5, 1])}, "fractions"),
    ],
)
def test_a_strange_answer_is_named(change, words):
    with pytest.raises(NodeFailed, match=words) as caught:
        add_up(Record, {"a": record(), "b": record() | change})
    assert caught.value.cohort == "b"
