"""What tables with known totals keep to themselves."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from algorithms.numerics.withholding import withhold

TABLES = arrays(
    np.float64,
    st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(1, 3)),
    elements=st.integers(0, 40).map(float),
)


@given(cells=TABLES, total=st.booleans())
def test_no_total_has_just_one_unknown_part(cells, total):
    shown = withhold(cells, 10, total=total)
    hidden = np.isnan(shown)
    assert hidden[(cells > 0) & (cells < 10)].all()
    assert np.array_equal(shown[~hidden], cells[~hidden])
    if len(cells) > 1:
        assert not (hidden.sum(axis=0) == 1).any()
    if total and cells.size > 1:
        assert hidden.sum() != 1


@given(cells=TABLES)
def test_nothing_is_withheld_without_need(cells):
    assert np.array_equal(withhold(cells, 1, total=True), cells)
    large = np.where(cells < 10, 0, cells)
    assert np.array_equal(withhold(large, 10, total=True), large)


def test_another_cell_with_people_goes_first():
    shown = withhold(np.array([[[3.0, 50.0]], [[0.0, 20.0]], [[12.0, 30.0]], [[40.0, 10.0]]]), 10, total=False)
    assert np.isnan(shown[:, 0, 0]).tolist() == [True, False, True, False]
    assert not np.isnan(shown[:, 0, 1]).any()
