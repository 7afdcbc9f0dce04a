"""What tables whose margins are known keep to themselves."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from algorithms.numerics.withholding import withhold, withhold_strata

LEAST = 10
TABLES = st.integers(1, 3).flatmap(
    lambda axes: arrays(
        np.float64,
        st.tuples(*[st.integers(1, 4)] * axes),
        elements=st.sampled_from([0, 0, 1, 4, 9, 10, 12, 40]).map(float),
    )
)


@given(TABLES)
def test_the_withheld_cells_of_a_line_are_of_enough_people_or_all_of_it(cells):
    shown = withhold(cells, LEAST)
    hidden = np.isnan(shown)
    assert hidden[(cells > 0) & (cells < LEAST)].all()
    assert np.array_equal(shown[~hidden], cells[~hidden])
    for axis in range(cells.ndim):
        people = np.where(hidden, cells, 0).sum(axis=axis)
        assert np.all(~hidden.any(axis=axis) | (people >= LEAST) | hidden.all(axis=axis))


@given(TABLES)
def test_nothing_is_withheld_without_need(cells):
    assert np.array_equal(withhold(cells, 1), cells)
    large = np.where(cells < LEAST, 0, cells)
    assert np.array_equal(withhold(large, LEAST), large)


@given(arrays(np.float64, (3, 2, 2), elements=st.integers(0, 30).map(float)))
def test_a_sum_over_strata_that_is_withheld_cannot_be_added_up_from_them(strata):
    table, each = withhold_strata(strata, LEAST)
    hidden = np.isnan(each)
    assert hidden[:, np.isnan(table)].all()
    told = ~np.isnan(table)
    people = np.where(hidden, strata, 0).sum(axis=0)
    assert np.all(~hidden.any(axis=0)[told] | (people[told] >= LEAST))


@pytest.mark.parametrize(
    ("cells", "withheld"),
    [
        ([50, 3, 12, 40], [0, 1, 1, 0]),  # the smallest other one follows
        ([50, 3, 9, 40], [0, 1, 1, 0]),  # two small ones are enough people together
        ([50, 3, 4, 40], [0, 1, 1, 1]),  # and here they are not
        ([0, 7], [1, 1]),  # everybody is in the cell that is not 0
        ([0, 70], [0, 0]),
    ],
)
def test_examples(cells, withheld):
    assert np.isnan(withhold(np.array(cells, dtype=float), LEAST)).tolist() == [bool(w) for w in withheld]
