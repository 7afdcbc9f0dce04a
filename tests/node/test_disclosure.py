"""Each rule refuses what it should, lets honest quantities through, and gives no count away."""

from typing import Annotated

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cohortium.errors import Refused
from cohortium.evidence import Evidence, Plain
from cohortium.quantities import Array, Count, Counts, Flag, SumOver, Sums, Table, TimeGrid
from node.disclosure import InvalidPolicy, Policy, check, check_per_cohort

POLICY = Policy()


class Record(Sums):
    n: Count
    score: Annotated[Array, SumOver("n")]
    information: Annotated[Array, SumOver("n", people_per_parameter=True)]
    cells: Table
    exits: TimeGrid
    events: Annotated[Array, SumOver("exits")]
    flag: Flag


class Groups(Sums):
    n: Counts
    total: Annotated[Array, SumOver("n")]


def record(**changes):
    fields = {
        "n": 100,
        "score": np.ones(2),
        "information": np.ones((2, 2)),
        "cells": np.array([0, 10, 90]),
        "exits": np.array([0, 10, 40]),
        "events": np.array([0, 1, 12]),
        "flag": 1,
        "evidence": Evidence(weights=Plain("a test")),
    }
    return Record(**(fields | changes))


def test_honest_quantities_pass_unchanged():
    np.testing.assert_array_equal(check(record(), POLICY).cells, [0, 10, 90])


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"n": 9}, "min_people"),
        ({"n": 1}, "min_people"),
        ({"information": np.ones((34, 34))}, "max_parameters_per_person"),
        ({"exits": np.array([0, 9, 40])}, "min_interval"),
        ({"flag": 2}, "declared_kinds"),
        ({"events": np.array([1, 1, 12])}, "declared_kinds"),
    ],
)
def test_what_is_refused(changes, rule):
    with pytest.raises(Refused) as caught:
        check(record(**changes), POLICY)
    assert caught.value.rule == rule


def test_an_empty_cohort_answers_with_zeros():
    zeros = {k: np.zeros_like(v) for k, v in record().arrays().items()}
    check(Record(**zeros), POLICY)  # and needs no evidence: zeros tell of nobody


def test_one_small_group_among_large_ones_is_refused():
    with pytest.raises(Refused):
        check(Groups(n=np.array([100, 9, 0]), total=np.array([5.0, 5.0, 0.0])), POLICY)


@given(st.lists(st.integers(0, 40), min_size=1, max_size=8), st.integers(1, 20))
def test_small_cells_are_withheld_and_no_others(cells, least):
    policy = Policy(min_cell=least)
    released = check(record(cells=np.array(cells, float)), policy).cells
    for cell, out in zip(cells, released, strict=True):
        assert np.isnan(out) if 0 < cell < least else out == cell


@given(st.integers(1, 9))
def test_a_refusal_reads_the_same_whatever_the_count(n):
    with pytest.raises(Refused) as caught:
        check(record(n=n), POLICY)
    with pytest.raises(Refused) as other:
        check(record(n=5), POLICY)
    assert str(caught.value) == str(other.value)


def test_own_figures_need_the_policy():
    check_per_cohort(Policy(release_per_cohort=True))
    with pytest.raises(Refused, match="pooled"):
        check_per_cohort(POLICY)


@pytest.mark.parametrize("policy", [Policy(), Policy.none(), Policy(insecure="two nodes", min_cell=3)])
def test_a_policy_can_be_written_and_read(tmp_path, policy):
    (tmp_path / "policy.toml").write_text(policy.to_toml())
    assert Policy.from_toml(tmp_path / "policy.toml") == policy


def test_an_unknown_key_stops_the_start(tmp_path):
    path = tmp_path / "policy.toml"
    path.write_text("min_peple = 3\n")
    with pytest.raises(InvalidPolicy, match="min_peple"):
        Policy.from_toml(path)
    path.write_text("min_people = 0\n")
    with pytest.raises(InvalidPolicy, match="min_people"):
        Policy.from_toml(path)
