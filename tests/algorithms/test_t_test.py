"""t tests against scipy on the pooled records."""

import math

import numpy as np
import pandas as pd
import pytest
from datasets import diabetes, named, split
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from cohortium.dictionary import Category, Dictionary, Variable
from cohortium.errors import CannotEstimate, FormulaError, InvalidQuestion, Refused, UnknownName
from node.disclosure import Policy
from simulation import network

EXAMPLES = [
    {"formula": "bmi ~ sex"},
    {"formula": "log(years) ~ smokes", "equal_variances": True, "alternative": "less"},
    {"formula": "age ~ 1", "mu": 45.0},
    {"formula": "bmi ~ cut(age, [50])", "alternative": "greater"},
    {"paired": ["age", "bmi"]},
]


def close(values, expected, rtol=1e-9, atol=1e-12):
    np.testing.assert_allclose(values, expected, rtol=rtol, atol=atol)


def by_sex():
    frame = diabetes()
    frame["sex"] = frame["sex"].astype(int).astype(str)
    return split(frame, "blk3@bmi")


class TestReferenceValues:
    """scipy 1.17.1 on the pooled records of `diabetes`, split blk3@bmi."""

    def test_student(self, ask):
        result = ask("t_test", by_sex(), formula="target ~ sex", equal_variances=True)
        close([result.difference.statistic, result.difference.p_value], [-0.904114755024471, 0.366429294651983], 1e-12)
        assert (result.df, result.rounds, result.contrast) == (440, 2, "1 - 2")

    def test_welch_is_the_default(self, ask):
        result = ask("t_test", by_sex(), formula="target ~ sex")
        found = [result.difference.statistic, result.difference.p_value, result.df]
        close(found, [-0.902222445339038, 0.367444979308397, 429.002808922199], 1e-12)


def people(n, seed):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "x": rng.gamma(2, 3, n) * 1e6 + 1e8,
            "y": rng.normal(5, 2, n),
            "z": rng.normal(5.5, 2, n),
            "ill": rng.random(n) < 0.4,
        }
    )
    frame["ill"] = frame["ill"].astype("boolean")
    frame.loc[rng.random(n) < 0.1, ["x", "y"]] = np.nan
    frame.loc[rng.random(n) < 0.1, "ill"] = pd.NA
    return frame


def scattered(frame, cohorts, seed):
    """The rows at random over the cohorts; some may be empty, or lack a group."""
    where = np.random.default_rng(seed).integers(0, cohorts, len(frame))
    return named([frame[where == k] for k in range(cohorts)])


@settings(max_examples=20)
@given(seed=st.integers(0, 10**6), cohorts=st.integers(1, 13), n=st.integers(30, 300))
def test_same_as_pooled_for_any_split(seed, cohorts, n):
    frame = people(n, seed)
    study = network(scattered(frame, cohorts, seed)).study()
    kept = frame.dropna(subset=["x", "ill"])
    no, yes = (kept.loc[kept["ill"] == v, "x"] for v in (False, True))
    for equal in (False, True):
        for alternative in ("two-sided", "less", "greater"):
            params = {"formula": "x ~ ill", "equal_variances": equal, "alternative": alternative, "confidence": 0.9}
            found = study.t_test(**params).result()
            wanted = stats.ttest_ind(no, yes, equal_var=equal, alternative=alternative)
            interval = wanted.confidence_interval(0.9)
            close([found.difference.statistic, found.difference.p_value], [wanted.statistic, wanted.pvalue])
            close([found.df, found.difference.ci_low], [wanted.df, interval.low])
            close(found.difference.ci_high, interval.high)
    assert (found.n, found.n_excluded) == (len(kept), n - len(kept))
    close([found.groups["no"].mean, found.groups["yes"].sd], [no.mean(), yes.std()])
    pairs = frame.dropna(subset=["y", "z"])
    found, wanted = study.t_test(paired=["y", "z"]).result(), stats.ttest_rel(pairs["y"], pairs["z"])
    close(
        [found.difference.statistic, found.difference.p_value, found.df], [wanted.statistic, wanted.pvalue, wanted.df]
    )
    assert found.n == len(pairs)
    found, wanted = study.t_test(formula="z ~ 1", mu=5.2).result(), stats.ttest_1samp(frame["z"], 5.2)
    close(
        [found.difference.statistic, found.difference.p_value, found.df], [wanted.statistic, wanted.pvalue, wanted.df]
    )
    close([found.difference.ci_low, found.difference.ci_high], wanted.confidence_interval())


def test_effect_sizes_by_their_definitions(ask):
    frame = people(60, 3).dropna()
    result = ask("t_test", split(frame, "mod3"), formula="x ~ ill")
    a, b = (frame.loc[frame["ill"] == v, "x"] for v in (False, True))
    m, n = len(a), len(b)
    pooled = math.sqrt(((m - 1) * a.var() + (n - 1) * b.var()) / (m + n - 2))
    d = (a.mean() - b.mean()) / pooled
    half = (m + n - 2) / 2
    g = d * math.gamma(half) / math.gamma(half - 0.5) / math.sqrt(half)
    error = math.sqrt(1 / m + 1 / n + g * g / (2 * (m + n)))
    close([result.sd, result.cohens_d, result.hedges_g], [pooled, d, g])
    close([result.hedges_g_low, result.hedges_g_high], [g - 1.959963984540054 * error, g + 1.959963984540054 * error])
    paired = ask("t_test", split(frame, "mod3"), paired=["y", "z"])
    differences = frame["y"] - frame["z"]
    close(paired.cohens_d, differences.mean() / differences.std())
    assert list(paired.groups) == ["y", "z", "y - z"]


def test_pitfall_one_pass_variance(ask):
    """With an origin of 1e8 a raw sum of squares keeps no digit of the variance."""
    frame = diabetes()
    frame["target"] += 1e8
    frame["sex"] = frame["sex"].astype(int).astype(str)
    result = ask("t_test", split(frame, "blk3@bmi"), formula="target ~ sex")
    close([result.difference.statistic, result.df], [-0.902222445339038, 429.002808922199], 1e-10)


def test_the_order_of_the_groups_is_the_dictionarys(ask):
    levels = tuple(Category(value=v) for v in ("old", "new"))
    variables = {"drug": Variable(type="category", categories=levels), "x": Variable(type="number")}
    dictionary = Dictionary(name="d", version="1", variables=variables)
    frame = pd.DataFrame({"drug": ["new", "old"] * 10, "x": np.arange(20.0)})
    only_new = frame[frame["drug"] == "new"]
    result = ask("t_test", named([only_new, frame]), dictionary=dictionary, formula="x ~ drug")
    assert result.contrast == "old - new"
    wanted = stats.ttest_ind(frame["x"][frame["drug"] == "old"], [*only_new["x"]] * 2, equal_var=False)
    close(result.difference.statistic, wanted.statistic)


def test_small_groups_at_a_cohort_are_refused():
    frame = pd.DataFrame({"g": ["a"] * 40 + ["b"] * 5, "x": np.arange(45.0)})
    frames = named([frame, frame.assign(g=["a"] * 20 + ["b"] * 25), frame.assign(g="a")])
    study = network(frames, policy=Policy()).study()
    with pytest.raises(Refused, match="min_people"):
        study.t_test(formula="x ~ g").result()
    fine = network({k: frames[k] for k in ("c1", "c2")}, policy=Policy()).study()
    assert fine.t_test(formula="x ~ g").result().n == 90  # nobody of a group at a cohort is fine


def test_withheld_missing_counts_are_none(ask):
    frame = pd.DataFrame({"g": ["a", "b"] * 40, "x": [np.nan] * 3 + list(np.arange(77.0))})
    result = ask("t_test", split(frame, "mod2"), policy=Policy(), formula="x ~ g")
    assert (result.n_excluded, result.missing) == (None, {"x": None, "g": 0})
    assert "withheld" in result.warnings[0]


class TestBadInput:
    def frames(self):
        rng = np.random.default_rng(1)
        frame = pd.DataFrame({"x": rng.normal(size=30), "three": ["a", "b", "c"] * 10, "two": ["a", "b"] * 15})
        frame["ill"] = [True, False] * 15
        frame["flat"] = 3.3
        frame["shifted"] = frame["x"] + 1.7
        return split(frame, "mod3")

    @pytest.mark.parametrize(
        ("params", "error", "words"),
        [
            ({}, InvalidQuestion, "either"),
            ({"formula": "x ~ two", "paired": ["x", "flat"]}, InvalidQuestion, "either"),
            ({"paired": ["x"]}, InvalidQuestion, "two different"),
            ({"paired": ["x", "x"]}, InvalidQuestion, "two different"),
            ({"paired": ["x", "nope"]}, UnknownName, "nope"),
            ({"formula": "x ~ three"}, FormulaError, "anova"),
            ({"formula": "x ~ two + ill"}, InvalidQuestion, "one variable"),
            ({"formula": "x ~ flat"}, FormulaError, "cut"),
            ({"formula": "ill ~ two"}, FormulaError, "proportion"),
            ({"formula": "two ~ ill"}, FormulaError, "proportion"),
            ({"formula": "three ~ ill"}, FormulaError, "number"),
            ({"formula": "~ ill"}, FormulaError, "no outcome"),
            ({"formula": "x ~ two + strata(ill)"}, FormulaError, "strata"),
            ({"formula": "flat ~ two"}, CannotEstimate, "same value"),
            ({"paired": ["x", "shifted"]}, CannotEstimate, "same difference"),
        ],
    )
    def test_is_named_with_what_to_do(self, ask, params, error, words):
        with pytest.raises(error, match=words):
            ask("t_test", self.frames(), **params)

    def test_a_group_of_one(self, ask):
        frame = pd.DataFrame({"x": [1.0, 2.0, 3.0, 4.0], "g": ["a", "a", "a", "b"]})
        with pytest.raises(CannotEstimate, match="`b` has 1 people"):
            ask("t_test", split(frame, "mod2"), formula="x ~ g")

    def test_nobody(self, ask):
        frame = pd.DataFrame({"x": [np.nan] * 4, "g": ["a", "b"] * 2})
        with pytest.raises(CannotEstimate, match="0 people"):
            ask("t_test", split(frame, "mod2"), formula="x ~ g")
