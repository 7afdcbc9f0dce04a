"""Descriptions against numpy, scipy and pandas on the pooled records."""

import numpy as np
import pandas as pd
import pytest
from datasets import diabetes, named, split
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from cohortium.dictionary import Category, Dictionary, Variable
from cohortium.errors import InvalidQuestion, Refused, UnknownName
from node.disclosure import Policy
from simulation import network

EXAMPLES = [{}, {"variables": ["age", "arm"]}, {"variables": ["smokes"]}, {"extremes": 10}]
NUMBERS = ["age", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6", "target"]


def close(values, expected, rtol=1e-9, atol=1e-12):
    np.testing.assert_allclose(values, expected, rtol=rtol, atol=atol)


class TestReferenceValues:
    def test_moments(self, ask):  # numpy 2.4.6 and scipy 1.17.1 on the pooled records
        result = ask("describe", split(diabetes(), "blk3@bmi"), variables=NUMBERS)
        found = [result[name] for name in NUMBERS]
        close(
            [d.mean for d in found],
            [
                48.5180995475113,
                26.3757918552036,
                94.6470135746606,
                189.140271493213,
                115.439140271493,
                49.7884615384615,
                4.07024886877828,
                4.64141085972851,
                91.2601809954751,
                152.133484162896,
            ],
            rtol=1e-12,
        )
        close(
            [d.sd for d in found],
            [
                13.1090278220411,
                4.41812156061577,
                13.831283419783,
                34.6080516750431,
                30.4130809692765,
                12.9342021548633,
                1.29044989660828,
                0.522390561069491,
                11.4963347393342,
                77.0930045329911,
            ],
            rtol=1e-12,
        )
        close(
            [found[1].skewness, found[1].kurtosis, found[9].skewness, found[9].kurtosis],
            [0.596116655621437, 0.0804781286681302, 0.439066399324773, -0.886643605568139],
        )
        assert (result.n, result.rounds, found[0].n, found[0].missing) == (442, 2, 442, 0)

    def test_digits_survive_a_large_origin(self, ask):
        frame = diabetes()[["target"]] + 1e8  # one pass over raw squares gives 77.0768
        result = ask("describe", split(frame, "blk3"))
        close(result["target"].sd, 77.0930045329911, rtol=1e-12)
        close(result["target"].skewness, 0.439066399324773, rtol=1e-7)


def people(n, seed):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "x": rng.gamma(2, 3, n),
            "tiny": rng.normal(0, 1e-9, n),
            "huge": rng.normal(1e12, 1e9, n),
            "arm": rng.choice(["a", "b", "c"], n),
            "ill": rng.integers(0, 2, n),
            "smokes": pd.array(rng.random(n) < 0.3, dtype="boolean"),
        }
    )
    frame.loc[rng.random(n) < 0.1, ["x", "arm", "smokes"]] = None
    return frame


@settings(max_examples=25)
@given(seed=st.integers(0, 10**6), cohorts=st.integers(1, 7), n=st.integers(20, 300))
def test_same_as_pooled_for_any_split(seed, cohorts, n):
    frame = people(n, seed)
    where = np.random.default_rng(seed).integers(0, cohorts, n)
    result = network(named([frame[where == k] for k in range(cohorts)])).study().describe().result()
    for name in ("x", "tiny", "huge"):
        found, values = result[name], frame[name].dropna()
        assert (found.n, found.missing) == (len(values), frame[name].isna().sum())
        close([found.mean, found.sd], [values.mean(), values.std(ddof=1)], rtol=1e-9, atol=0)
        close([found.skewness, found.kurtosis], [stats.skew(values), stats.kurtosis(values)], rtol=1e-6, atol=1e-9)
        close(found.std_error, stats.sem(values))
    counts = frame["arm"].value_counts()
    assert result["arm"].counts == {level: counts.get(level, 0) for level in sorted(frame["arm"].dropna().unique())}
    assert result["arm"].missing == frame["arm"].isna().sum()
    close(sum(result["arm"].proportions.values()), 1.0)


def test_a_yes_no_variable_is_a_table_with_moments(ask):
    frame = people(200, 1)
    result = ask("describe", split(frame, "mod3"), variables=["smokes", "ill"])
    smokes, ill = frame["smokes"].dropna().astype(float), frame["ill"]
    assert result["smokes"].counts == {"no": int((smokes == 0).sum()), "yes": int(smokes.sum())}
    assert result["ill"].counts == {"0": int((ill == 0).sum()), "1": int(ill.sum())}
    for name, values in {"smokes": smokes, "ill": ill}.items():
        found = result[name]
        close([found.mean, found.sd, found.std_error], [values.mean(), values.std(), stats.sem(values)])
        close([found.skewness, found.kurtosis], [stats.skew(values), stats.kurtosis(values)])
    assert result.rounds == 1


def test_small_cells_are_withheld_and_said_to_be(ask):
    frame = pd.DataFrame({"arm": ["a"] * 47 + ["b"] * 3, "x": [np.nan] * 4 + [1.0] * 40 + [2.0] * 6})
    frames = named([frame, frame.assign(arm="a", x=3.0)])
    result = ask("describe", frames, policy=Policy())
    assert result["arm"].counts == {"a": None, "b": None}, "47 of the 50 people are not the other three"
    assert result["arm"].n is None
    assert result["arm"].proportions == {"a": None, "b": None}
    assert (result["x"].missing, result["x"].n) == (None, 96)
    assert any("Withheld" in w and "arm" in w for w in result.warnings)
    assert "withheld" in result.summary()


def test_too_few_values_at_a_cohort_are_refused(ask):
    frames = named([pd.DataFrame({"x": [1.0] * 3 + [np.nan] * 40}), pd.DataFrame({"x": np.arange(50.0)})])
    with pytest.raises(Refused, match="min_people"):
        ask("describe", frames, policy=Policy())


def test_an_empty_cohort_a_lone_value_and_a_constant(ask):
    frame = pd.DataFrame({"x": [2.0, 2.0, 2.0], "lone": [5.0, np.nan, np.nan], "none": [np.nan] * 3})
    result = ask("describe", named([frame, frame.iloc[:0]]))
    assert (result["x"].mean, result["x"].sd) == (2.0, 0.0)
    assert np.isnan(result["x"].skewness)
    assert (result["lone"].n, result["lone"].mean) == (1, 5.0)
    assert np.isnan(result["lone"].sd)
    assert (result["none"].n, result["none"].missing) == (0, 3)
    assert result.summary()
    assert result.chart() is not None


def test_what_a_cohort_did_not_collect_counts_as_missing_and_is_said(ask):
    frame = people(90, 3)
    frames = split(frame, "mod3")
    frames["c1"] = frames["c1"].drop(columns=["x", "arm"])
    result = ask("describe", frames)
    assert result["x"].n + result["x"].missing == result["arm"].n + result["arm"].missing == 90
    assert any("`x` was collected by 2 of 3 cohorts" in w for w in result.warnings)


def test_identifiers_are_never_described(ask):
    variables = {"person": Variable(type="identifier"), "x": Variable(type="number")}
    dictionary = Dictionary(name="d", version="1", variables=variables)
    frames = named([pd.DataFrame({"person": ["p", "q"], "x": [1.0, 2.0]})])
    assert list(ask("describe", frames, dictionary=dictionary).variables) == ["x"]
    with pytest.raises(InvalidQuestion, match="identifier"):
        ask("describe", frames, dictionary=dictionary, variables=["person"])
    with pytest.raises(UnknownName, match="y"):
        ask("describe", frames, dictionary=dictionary, variables=["y"])


def test_levels_come_from_the_dictionary(ask):
    levels = tuple(Category(value=v) for v in ("low", "high", "unknown"))
    dictionary = Dictionary(name="d", version="1", variables={"risk": Variable(type="category", categories=levels)})
    result = ask("describe", named([pd.DataFrame({"risk": ["high", "low"]})] * 2), dictionary=dictionary)
    assert result["risk"].counts == {"low": 2, "high": 2, "unknown": 0}


class TestExtremes:
    def frame(self, n=900, seed=4):
        rng = np.random.default_rng(seed)
        return pd.DataFrame({"sbp": rng.integers(80, 220, n), "hb": np.round(rng.normal(9, 1, n), 1)})

    KNOWN = Dictionary(
        name="d",
        version="1",
        variables={
            "sbp": Variable(type="integer", minimum=0, maximum=300),
            "hb": Variable(type="number", minimum=0, maximum=20, precision=0.1),
        },
    )

    @settings(max_examples=20)
    @given(seed=st.integers(0, 10**6), cohorts=st.integers(1, 13), m=st.sampled_from([1, 2, 10, 30]))
    def test_are_the_mth_smallest_and_largest(self, seed, cohorts, m):
        frame = self.frame(n=200, seed=seed)
        where = np.random.default_rng(seed).integers(0, cohorts, len(frame))
        net = network(named([frame[where == k] for k in range(cohorts)]), self.KNOWN)
        result = net.study().describe(extremes=m).result()
        for name in ("sbp", "hb"):
            values = np.sort(frame[name])
            assert (result[name].low, result[name].high) == (values[m - 1], values[-m])
            assert result[name].exact_extremes
        assert result.rounds <= 3
        assert not result.warnings

    def test_cost_nothing_when_not_asked_for(self, ask):
        result = ask("describe", split(self.frame(), "mod3"), dictionary=self.KNOWN)
        assert (result.rounds, result["sbp"].low, result["sbp"].high) == (2, None, None)
        assert "smallest" not in result.summary()

    def test_are_bounds_where_cohorts_keep_ten_together(self, ask):
        frame = self.frame()
        result = ask("describe", split(frame, "mod3"), dictionary=self.KNOWN, policy=Policy(), extremes=10)
        for name in ("sbp", "hb"):
            found = result[name]
            assert not found.exact_extremes
            assert (frame[name] <= found.low).sum() >= 10
            assert (frame[name] >= found.high).sum() >= 10
            assert found.low >= np.sort(frame[name])[9]
        assert any("are bounds" in w for w in result.warnings)
        assert "10th smallest" in result.summary()

    def test_of_few_people_or_without_a_lattice_are_said_to_be_lacking(self, ask):
        frame = pd.DataFrame({"few": [1, 2, 3], "free": [0.5, 1.5, 2.5]})
        result = ask("describe", split(frame, "mod3"), extremes=10)
        assert any("No extremes of few" in w for w in result.warnings)
        assert any("No extremes of free" in w and "precision" in w for w in result.warnings)
