"""Histograms against numpy on the pooled records."""

import numpy as np
import pandas as pd
import pytest
from datasets import named, split
from hypothesis import given, settings
from hypothesis import strategies as st

from cohortium.dictionary import Category, Dictionary, Variable
from cohortium.errors import InvalidQuestion, UnknownName
from node.disclosure import Policy
from simulation import network

EXAMPLES = [{"variable": "age"}, {"variable": "bmi", "by": "sex", "breaks": [15, 18.5, 25, 30]}, {"variable": "arm"}]


def people(n, seed):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "x": np.round(rng.gamma(2, 3, n), 1),
            "arm": rng.choice(["a", "b", "c"], n),
            "ill": rng.random(n) < 0.4,
        }
    )
    frame.loc[rng.random(n) < 0.1, "x"] = np.nan
    return frame


KNOWN = Dictionary(
    name="d",
    version="1",
    variables={
        "x": Variable(type="number", minimum=0, maximum=60, precision=0.1, unit="mmol/L"),
        "arm": Variable(type="category", categories=tuple(Category(value=v) for v in ("a", "b", "c", "none"))),
        "ill": Variable(type="boolean"),
        "free": Variable(type="number"),
        "person": Variable(type="identifier"),
    },
)


@settings(max_examples=40)
@given(
    seed=st.integers(0, 10**6),
    cohorts=st.integers(1, 13),
    n=st.integers(1, 200),
    breaks=st.lists(st.integers(-5, 30).map(lambda k: k / 2), unique=True, min_size=2).map(sorted),
    bins=st.integers(1, 50),
)
def test_same_as_numpy_for_any_split(seed, cohorts, n, breaks, bins):
    frame = people(n, seed)
    where = np.random.default_rng(seed).integers(0, cohorts, n)
    study = network(named([frame[where == k] for k in range(cohorts)]), KNOWN).study()
    result = study.histogram(variable="x", by="arm", breaks=breaks).result()
    for arm in ("a", "b", "c", "none"):
        x = frame.loc[frame["arm"] == arm, "x"].dropna()
        counts, _ = np.histogram(x, breaks)
        assert [b.count for b in result[arm]] == counts.tolist()
        assert result.outside[arm] == ((x < breaks[0]).sum(), (x > breaks[-1]).sum())
        if len(x):
            np.testing.assert_allclose([b.density for b in result[arm]], counts / np.diff(breaks) / len(x))
    equal = study.histogram(variable="x", bins=bins).result()
    edges = [b.low for b in equal["all"]] + [equal["all"][-1].high]
    assert list(equal.counts) == np.histogram(frame["x"].dropna(), edges)[0].tolist()
    width = np.ceil(np.round(600 / bins, 9)) / 10
    assert len(edges) <= bins + 1
    np.testing.assert_allclose(edges, np.arange(len(edges)) * width)
    assert edges[-2] < 60 <= edges[-1] + 1e-9
    assert (equal.n, equal.n_excluded, equal.rounds) == (frame["x"].notna().sum(), frame["x"].isna().sum(), 1)


def test_a_limit_is_the_number_that_people_write():
    frame = pd.DataFrame({"x": [0.3, 0.6, 0.7, 0.2, 3.0]})
    known = Dictionary(name="d", version="1", variables={"x": Variable(type="number", minimum=0, maximum=3)})
    result = network({"c": frame}, known).study().histogram(variable="x", bins=30).result()
    assert {b.label: b.count for b in result["all"] if b.count} == {
        "[0.2, 0.3)": 1,
        "[0.3, 0.4)": 1,
        "[0.6, 0.7)": 1,
        "[0.7, 0.8)": 1,
        "[2.9, 3]": 1,
    }


def test_whole_numbers_have_bins_of_as_many_values():
    frame = pd.DataFrame({"k": list(range(21, 81)) * 3})
    result = network(split(frame, "mod3")).study().histogram(variable="k").result()
    assert set(result.counts) == {9}
    assert (len(result.counts), result["all"][0].label) == (20, "[21, 24)")


def test_numbers_without_a_precision_have_bins_of_equal_width(ask):
    frame = pd.DataFrame({"x": np.random.default_rng(1).random(500)})
    result = ask("histogram", split(frame, "mod3"), variable="x", bins=7)
    counts, edges = np.histogram(frame["x"], 7)
    assert result.counts == tuple(counts)
    assert result.outside == {"all": (0, 0)}
    np.testing.assert_allclose([b.low for b in result["all"]], edges[:-1])


def test_levels(ask):
    frame = people(120, 1)
    result = ask("histogram", split(frame, "mod3"), dictionary=KNOWN, variable="arm", by="ill")
    for ill in (False, True):
        counts = frame.loc[frame["ill"] == ill, "arm"].value_counts()
        found = {b.label: b.count for b in result["yes" if ill else "no"]}
        assert found == {level: counts.get(level, 0) for level in ("a", "b", "c", "none")}
    assert "mmol" not in result.summary()
    assert result.chart().to_dict()


def test_withheld_cells_are_said_and_no_total_gives_them_away(ask):
    frame = pd.DataFrame({"x": [1.0] * 40 + [7.0] * 3 + [13.0] * 30})
    result = ask("histogram", split(frame, "mod3"), dictionary=KNOWN, policy=Policy(), variable="x", bins=10)
    assert result.counts[:3] == (40, None, None), "how many there are is told elsewhere"
    assert result.n == 40
    assert {b.share for b in result["all"]} == {None}
    assert any("Withheld" in w for w in result.warnings)
    assert "withheld" in result.summary()
    assert result.chart().to_dict()


def test_cohorts_without_the_variable_or_without_people(ask):
    frame = people(90, 2)
    frames = split(frame, "mod3") | {"empty": frame.head(0), "other": frame.drop(columns="x")}
    result = ask("histogram", frames, dictionary=KNOWN, variable="x")
    assert result.n == frame["x"].notna().sum()
    assert result.n_excluded == 90 + frame["x"].isna().sum()
    assert any("4 of 5 cohorts" in w for w in result.warnings)
    nobody = ask("histogram", {"empty": frame.head(0)}, dictionary=KNOWN, variable="x")
    assert (nobody.n, set(nobody.counts)) == (0, {0})
    assert nobody.summary()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"variable": "free"}, "declares no range.*or give `breaks`"),
        ({"variable": "person"}, "identifier"),
        ({"variable": "x", "by": "x"}, "given twice"),
        ({"variable": "x", "by": "free"}, "does not divide people"),
        ({"variable": "arm", "breaks": [1, 2]}, "leave `breaks` out"),
        ({"variable": "x", "breaks": [1]}, "at least two"),
        ({"variable": "x", "breaks": [1, 1]}, "increasing"),
        ({"variable": "x", "breaks": [1, float("inf")]}, "finite"),
        ({"variable": "x", "bins": 0}, "bins"),
    ],
)
def test_bad_input_is_named(ask, params, message):
    with pytest.raises(InvalidQuestion, match=message):
        ask("histogram", {"c": people(20, 1)}, dictionary=KNOWN, **params)


def test_an_unknown_variable_is_named(ask):
    with pytest.raises(UnknownName, match="arm"):
        ask("histogram", {"c": people(20, 1)}, dictionary=KNOWN, variable="army")
