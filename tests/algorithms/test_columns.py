"""What a column rests on: the same as by hand, and enough to refuse every way of setting one person apart."""

import numpy as np
import pandas as pd
import pytest
from datasets import named
from hypothesis import given, settings
from hypothesis import strategies as st

from algorithms.numerics.columns import columns_of
from cohortium.analysis import find
from cohortium.errors import Refused
from node.disclosure import Policy
from simulation import network


def people(n=60, seed=0):
    rng = np.random.default_rng(seed)
    age = np.r_[99.0, rng.integers(20, 70, n - 1)]
    return pd.DataFrame(
        {"age": age, "bmi": rng.normal(25, 4, n), "sex": rng.choice(["f", "m"], n), "ill": rng.random(n) < 0.4}
    )


def found(frame, formula):
    node = network({"c0": frame}).service.nodes["c0"]
    params = find("glm").params.bind({"formula": formula, "cohort_effect": "common"}, node.dictionary)
    matrix = np.vstack([params.design.matrix(b).copy() for b in node.data.blocks(params.design.variables)])
    return columns_of(node.data, params.design), matrix


@settings(max_examples=20)
@given(st.integers(0, 10**6), st.integers(8, 80))
def test_by_hand(seed, n):
    columns, x = found(people(n, seed), "bmi ~ age + sex + age:sex")
    commonest = [max(np.unique(c, return_counts=True)[1]) for c in x.T]
    sparse = np.array([n - c < n / 2 for c in commonest])
    np.testing.assert_array_equal(columns.carriers[sparse], n - np.array(commonest)[sparse])
    assert np.all(columns.carriers[~sparse] >= n / 2 - 1)
    hat = np.diag(x @ np.linalg.pinv(x))
    assert columns.leverage >= hat.max() - 1e-9
    if columns.leverage > 0.1:
        assert columns.leverage == pytest.approx(hat.max(), rel=1e-6)
    shares = np.abs(x).max(axis=0) / np.abs(x).sum(axis=0)
    np.testing.assert_allclose(columns.magnitudes.largest[:-1], shares, rtol=1e-9)


WAYS = [
    "cut(age, [98])",
    "bmi:cut(age, [98])",
    "age^80",
    "exp(age)",
    "cut(age, [45]) + cut(age, [45, 98])",
    "rcs(age, [97, 98, 98.5])",
]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("cohort_effect", ["common", "stratified"])
def test_no_formula_sets_the_oldest_apart(way, cohort_effect):
    frames = named([people(200, seed) for seed in range(3)])
    study = network(frames, policy=Policy()).study()
    with pytest.raises(Refused, match=r"\(m(in|ax)_"):
        study.glm(formula=f"bmi ~ {way}", family="gaussian", cohort_effect=cohort_effect).result(progress=False)


def test_a_combination_of_columns_is_found_by_its_leverage():
    """Two columns that differ for one person only, each of many: their difference is that person."""
    frame = people(200)
    frame["a"] = np.r_[1.0, np.tile([0.0, 1.0], 100)[:199]]
    frame["b"] = frame["a"].where(frame.index > 0, 0.0)
    columns, _ = found(frame, "bmi ~ a + b")
    assert columns.carriers[1:].min() > 50
    assert columns.leverage == pytest.approx(1.0)


def test_honest_columns_pass():
    frames = named([people(300, seed).iloc[1:] for seed in range(3)])
    study = network(frames, policy=Policy()).study()
    assert study.glm(formula="ill ~ rcs(age, 3) + sex + bmi", family="binomial").result(progress=False).n == 897
