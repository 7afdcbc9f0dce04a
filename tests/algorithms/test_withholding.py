"""What tables with known totals keep to themselves."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from algorithms.numerics.withholding import withhold, withhold_lines

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


@given(cells=TABLES, total=st.booleans())
def test_what_a_total_leaves_open_comes_to_enough_people_or_is_the_whole_line(cells, total):
    shown = withhold(cells, 10, total=total)
    lines = [shown[:, *place] for place in np.ndindex(cells.shape[1:])] if len(cells) > 1 else []
    whole = [cells[:, *place] for place in np.ndindex(cells.shape[1:])] if len(cells) > 1 else []
    if total and cells.size > 1:
        lines, whole = [*lines, shown], [*whole, cells]
    for told, line in zip(lines, whole, strict=True):
        hidden = np.isnan(told)
        assert not hidden.any() or hidden.all() or (hidden.sum() > 1 and line[hidden].sum() >= 10)


def test_levels_by_group_cannot_be_told_from_the_totals_of_either():
    cells = np.array([[3.0, 40.0, 50.0], [60.0, 70.0, 80.0], [90.0, 15.0, 20.0]])
    lines = []
    for axis in (0, 1):
        for place in range(3):
            line = np.zeros(cells.shape, dtype=bool)
            line[(slice(None), place) if axis else place] = True
            lines.append(line)
    hidden = np.isnan(withhold_lines(cells, 10, lines))
    assert hidden[0, 0]
    assert all(np.count_nonzero(hidden & line) != 1 for line in lines)
