"""Shares are those of the people, however they come in blocks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from cohortium.evidence import Concentration, Shares
from cohortium.quantities import Count, Sums

PARTS = arrays.arrays(float, st.tuples(st.integers(1, 40), st.integers(1, 3)), elements=st.floats(-1e6, 1e6))


def by_hand(parts):
    """Of one sum: largest share, share of two, Kish's effective number."""
    own = sorted(np.abs(parts), reverse=True)
    total = sum(own)
    if not total:
        return 0.0, 0.0, np.inf
    scaled = np.array(own) / total
    return own[0] / total, sum(own[:2]) / total, 1 / float(scaled @ scaled)


@given(PARTS, st.integers(1, 40))
def test_blocks_add_up_to_the_shares_of_all(parts, size):
    found = Concentration((parts.shape[1],))
    for start in range(0, len(parts), size):
        found.add(parts[start : start + size])
    for k, column in enumerate(parts.T):
        expected = by_hand(column)
        if expected[2] < np.inf and np.abs(column).max() > 1e-100:
            got = [found.shares.largest[k], found.shares.two[k], found.shares.effective[k]]
            np.testing.assert_allclose(got, expected, rtol=1e-9)


@given(arrays.arrays(float, st.integers(1, 60), elements=st.floats(0.001, 1e6)), st.integers(1, 4), st.integers(1, 60))
def test_sums_by_group_are_those_of_the_groups_members(parts, groups, size):
    codes = np.arange(len(parts)) * 7 % groups
    found = Concentration((groups,))
    for start in range(0, len(parts), size):
        found.add_by(codes[start : start + size], parts[start : start + size])
    for g in range(groups):
        got = [found.shares.largest[g], found.shares.two[g], found.shares.effective[g]]
        np.testing.assert_allclose(got, by_hand(parts[codes == g]), rtol=1e-9)


def test_a_sum_of_nothing_is_nobodys():
    shares = Shares.of(np.zeros((3, 1)))
    assert (shares.largest[0], shares.two[0], shares.effective[0]) == (0, 0, np.inf)
    assert Shares.of(np.zeros((0, 2))).largest.tolist() == [0, 0]


def test_one_person_is_all_of_it():
    assert Shares.of(np.array([5.0])).largest == pytest.approx(1)
    assert Shares.of(np.array([5.0])).two == pytest.approx(1)


def test_evidence_is_no_field_and_takes_no_part_in_what_leaves():
    class Record(Sums):
        n: Count

    record = Record(n=3, evidence=object())
    assert set(record.kinds) == {"n"}
    assert set(record.arrays()) == {"n"}
    assert record == Record(n=3)
    assert "evidence=" not in repr(record)
