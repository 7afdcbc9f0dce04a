"""Rank tests against scipy on the pooled records."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from datasets import named, split, whas500
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from cohortium.dictionary import Category, Dictionary, Variable
from cohortium.errors import CannotEstimate, FormulaError, InvalidQuestion
from node.disclosure import Policy
from simulation import network

EXAMPLES = [
    {"formula": "visits ~ sex"},
    {"formula": "time ~ arm", "dunn": True},
    {"formula": "arm ~ smokes", "continuity": False},
    {"formula": "bmi ~ cut(age, [50])", "precision": {"bmi": 0.5}},
    {"formula": "bmi ~ arm", "breaks": {"bmi": [20.0, 25.0]}},
]


def close(values, expected, rtol=1e-9, atol=1e-12):
    np.testing.assert_allclose(values, expected, rtol=rtol, atol=atol)


def test_reference_value(ask):  # scipy 1.17.1 on whas500, split mod4
    result = ask("rank_test", split(whas500(), "mod4"), formula="age ~ gender")
    close([result.groups["1"].u, result.p_value], [39798.0, 5.94303693035314e-10], 1e-12)
    assert (result.rounds, result.exact, result.auc_error) == (1, True, 0)
    by_gender = whas500().groupby("gender")["age"]
    assert [g.p50 for g in result.groups.values()] == list(by_gender.median())
    close([g.p25 for g in result.groups.values()], list(by_gender.quantile(0.25)))


def people(n, seed):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "k": rng.integers(-3, 30, n) // rng.integers(1, 3, n),
            "t": (rng.gamma(2, 2, n)).round(1),
            "arm": rng.choice(["a", "b", "c"], n),
            "ill": pd.array(rng.random(n) < 0.4, dtype="boolean"),
        }
    )
    frame["pain"] = np.array(["mild", "none", "severe"])[rng.integers(0, 3, n)]
    frame.loc[rng.random(n) < 0.1, "arm"] = None
    frame.loc[rng.random(n) < 0.1, "t"] = np.nan
    return frame


def declared(frame):
    """A dictionary with the precision of `t` and the order of `pain`."""
    arms, pains = ((tuple(Category(value=v) for v in names)) for names in (("a", "b", "c"), ("none", "mild", "severe")))
    variables = {
        "k": Variable(type="integer", minimum=-3, maximum=30),
        "t": Variable(type="number", minimum=0, maximum=60, precision=0.1),
        "arm": Variable(type="category", categories=arms),
        "ill": Variable(type="boolean"),
        "pain": Variable(type="category", categories=pains),
    }
    return Dictionary(name="d", version="1", variables=variables)


def scattered(frame, cohorts, seed):
    """The rows at random over the cohorts; some may be empty, or lack a group."""
    where = np.random.default_rng(seed).integers(0, cohorts, len(frame))
    return named([frame[where == k] for k in range(cohorts)])


@settings(max_examples=20)
@given(seed=st.integers(0, 10**6), cohorts=st.integers(1, 13), n=st.integers(30, 300))
def test_same_as_pooled_for_any_split(seed, cohorts, n):
    frame = people(n, seed)
    study = network(scattered(frame, cohorts, seed), declared(frame)).study()
    no, yes = (frame.loc[frame["ill"] == v, "t"].dropna() for v in (False, True))
    for continuity in (True, False):
        found = study.rank_test(formula="t ~ ill", continuity=continuity).result()
        wanted = stats.mannwhitneyu(no, yes, method="asymptotic", use_continuity=continuity)
        close([found.groups["no"].u, found.p_value], [wanted.statistic, wanted.pvalue])
    close(found.auc, np.mean([(b > a) + 0.5 * (b == a) for a in no for b in yes]))
    ranks = pd.Series(stats.rankdata([*no, *yes]))
    close(found.groups["yes"].mean_rank, ranks[len(no) :].mean())
    close([found.groups["no"].p50, found.groups["no"].p95], no.quantile([0.5, 0.95]))
    assert (found.n, found.n_excluded) == (len(no) + len(yes), n - len(no) - len(yes))
    for outcome, values in {"k": frame["k"], "pain": frame["pain"].map({"none": 0, "mild": 1, "severe": 2})}.items():
        found = study.rank_test(formula=f"{outcome} ~ arm").result()
        wanted = stats.kruskal(*(g for _, g in values.groupby(frame["arm"])))
        close([found.statistic, found.p_value, found.df], [wanted.statistic, wanted.pvalue, 2])
        close(found.epsilon_squared, wanted.statistic / (found.n - 1))


@settings(max_examples=15)
@given(seed=st.integers(0, 10**6))
def test_delong_by_everybodys_placement(seed):
    frame = people(60, seed)
    found = network(split(frame, "mod3"), declared(frame)).study().rank_test(formula="k ~ ill").result()
    a, b = (frame.loc[frame["ill"] == v, "k"].to_numpy() for v in (False, True))
    wins = (b[:, None] > a) + 0.5 * (b[:, None] == a)
    error = math.sqrt(np.var(wins.mean(axis=1), ddof=1) / len(b) + np.var(wins.mean(axis=0), ddof=1) / len(a))
    close([found.auc, found.auc_se], [wins.mean(), error])
    close(found.auc_high, min(wins.mean() + 1.959963984540054 * error, 1))


def test_dunn_by_its_definition(ask):
    frame = people(150, 5)
    result = ask("rank_test", split(frame, "mod3"), dictionary=declared(frame), formula="k ~ arm", dunn=True)
    kept = frame.dropna(subset=["arm"])
    ranks = pd.Series(stats.rankdata(kept["k"]), index=kept.index).groupby(kept["arm"])
    n, sizes, means = len(kept), ranks.size(), ranks.mean()
    _, t = np.unique(kept["k"], return_counts=True)
    variance = n * (n + 1) / 12 - (t**3 - t).sum() / (12 * (n - 1))
    pairs = [
        (f"{b} - {a}", (means[b] - means[a]) / math.sqrt(variance * (1 / sizes[a] + 1 / sizes[b])))
        for a, b in itertools.combinations("abc", 2)
    ]
    assert [d.contrast for d in result.dunn] == [name for name, _ in pairs]
    close([d.statistic for d in result.dunn], [z for _, z in pairs])
    p = np.array([2 * stats.norm.sf(abs(z)) for _, z in pairs])
    close([d.p_value for d in result.dunn], p)
    order = np.sort(p)
    holm = dict(zip(order, np.minimum(np.maximum.accumulate(order * [3, 2, 1]), 1), strict=True))
    close([d.p_adjusted for d in result.dunn], [holm[x] for x in p])


def test_pitfall_an_unrelated_order_of_levels(ask):
    """Categories are ranked in the dictionary's order, not alphabetically."""
    frame = people(120, 7)
    exact = ask("rank_test", split(frame, "mod3"), dictionary=declared(frame), formula="pain ~ ill")
    alphabetical = ask("rank_test", split(frame, "mod3"), formula="pain ~ ill")
    assert exact.auc != alphabetical.auc


def test_a_value_just_below_a_step_is_on_it(ask):
    frame = pd.DataFrame({"t": [0.1 * 3, 0.3, 0.7 + 0.1, 0.8] * 5, "ill": [True, False] * 10})
    result = ask("rank_test", split(frame, "mod2"), dictionary=declared(frame), formula="t ~ ill")
    assert (result.auc, result.ties > 0.2) == (0.5, True)


def test_bins_bound_what_they_change(ask):
    frame = people(300, 3)
    exact = ask("rank_test", split(frame, "mod3"), dictionary=declared(frame), formula="t ~ ill")
    for merged in ({"precision": {"t": 2.0}}, {"breaks": {"t": [2.0, 4.0, 8.0]}}):
        binned = ask("rank_test", split(frame, "mod3"), dictionary=declared(frame), formula="t ~ ill", **merged)
        assert 0 < abs(binned.auc - exact.auc) <= binned.auc_error
        assert not binned.exact
        assert binned.groups["no"].p50 is None
        assert "bins" in binned.warnings[0]
    cuts = np.searchsorted([2.0, 4.0, 8.0], frame["t"], side="left")
    kept = frame["t"].notna()
    wanted = stats.mannwhitneyu(*(cuts[kept & (frame["ill"] == v)] for v in (False, True)), method="asymptotic")
    close(binned.p_value, wanted.pvalue)
    assert binned.chart() is None


def test_withheld_cells_ask_for_wider_bins():
    study = network(split(whas500(), "mod4"), policy=Policy()).study()
    with pytest.raises(CannotEstimate, match=r"withhold.*breaks"):
        study.rank_test(formula="age ~ gender").result()
    result = study.rank_test(formula="age ~ gender", breaks={"age": [68.0, 80.0]}).result()
    exact = network(split(whas500(), "mod4")).study().rank_test(formula="age ~ gender").result()
    assert abs(result.auc - exact.auc) <= result.auc_error < 0.2


def test_groups_of_nobody(ask):
    frame = people(90, 8)
    only = frame.assign(arm=np.where(frame["arm"] == "b", "a", frame["arm"]))
    result = ask("rank_test", split(only, "mod3"), dictionary=declared(only), formula="k ~ arm")
    assert (list(result.groups), result.test, result.df) == (["a", "c"], "Kruskal-Wallis", 1)
    assert "`b`" in result.warnings[0] or "b" in result.warnings[0]


class TestBadInput:
    @pytest.mark.parametrize(
        ("params", "error", "words"),
        [
            ({"formula": "k ~ 1"}, InvalidQuestion, "one factor"),
            ({"formula": "k ~ arm + ill"}, InvalidQuestion, "one factor"),
            ({"formula": "k ~ t"}, FormulaError, "cut"),
            ({"formula": "log(k) ~ ill"}, InvalidQuestion, "one variable"),
            ({"formula": "t ~ ill", "precision": {"k": 1.0}}, InvalidQuestion, "not among"),
            ({"formula": "t ~ ill", "precision": {"t": 1.0}, "breaks": {"t": [1.0]}}, InvalidQuestion, "not both"),
            ({"formula": "pain ~ ill", "breaks": {"pain": [1.0]}}, InvalidQuestion, "category"),
            ({"formula": "k ~ strata(ill)"}, FormulaError, "strata"),
        ],
    )
    def test_is_named_with_what_to_do(self, ask, params, error, words):
        frame = people(60, 1)
        with pytest.raises(error, match=words):
            ask("rank_test", split(frame, "mod3"), dictionary=declared(frame), **params)

    def test_no_precision_declared(self, ask):
        frame = people(60, 1)
        with pytest.raises(InvalidQuestion, match=r"precision=\{'t': 0.1\}"):
            ask("rank_test", split(frame, "mod3"), formula="t ~ ill")

    def test_nothing_to_rank(self, ask):
        frame = pd.DataFrame({"k": [3] * 20, "g": ["a", "b"] * 10, "none": [None, 1] * 10})
        with pytest.raises(CannotEstimate, match="same value"):
            ask("rank_test", split(frame, "mod3"), formula="k ~ g")
        with pytest.raises(CannotEstimate, match="two groups"):
            ask("rank_test", split(frame, "mod3"), formula="none ~ g")
