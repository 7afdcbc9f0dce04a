"""Quantiles against numpy on the pooled records."""

from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
from datasets import flchain, named, split
from hypothesis import given, settings
from hypothesis import strategies as st

from cohortium.dictionary import Category, Dictionary, Variable
from cohortium.errors import InvalidQuestion, UnknownName
from node.disclosure import Policy
from simulation import network

EXAMPLES = [
    {"variables": ["visits"]},
    {"variables": ["age", "time"], "by": "arm", "probabilities": [0.1, 0.9], "precision": 0.01},
]
NUMPY = {
    1: "inverted_cdf",
    2: "averaged_inverted_cdf",
    3: "closest_observation",
    4: "interpolated_inverted_cdf",
    5: "hazen",
    6: "weibull",
    7: "linear",
    8: "median_unbiased",
    9: "normal_unbiased",
}
SHARES = [0.05, 0.25, 0.5, 0.75, 0.95]


def close(values, expected, rtol=1e-12):
    np.testing.assert_allclose(np.array(values, dtype=float), expected, rtol=rtol, atol=1e-12)


def number(low, high, step, kind="number"):
    return Variable(type=kind, minimum=low, maximum=high, precision=step)


def dictionary(**variables):
    return Dictionary(name="d", version="1", variables=variables)


CHAINS = dictionary(age=number(0, 120, None, "integer"), kappa=number(0, 50, None), creatinine=number(0, 30, 0.1))


class TestReferenceValues:  # numpy 2.4.6, `desc.quantile.flchain.*`
    EXPECTED: ClassVar = {
        "age": (7874, [51.0, 55.0, 63.0, 72.0, 84.0]),
        "creatinine": (6524, [0.8, 0.9, 1.0, 1.2, 1.5]),
        "kappa": (7874, [0.51, 0.96, 1.27, 1.68, 2.76]),
    }

    @pytest.mark.parametrize(("name", "rounds"), [("age", 2), ("creatinine", 2), ("kappa", 3)])
    def test_one_variable(self, ask, name, rounds):
        frames = split(flchain()[["age", name]] if name != "age" else flchain()[["age"]], "blk4@age")
        result = ask("quantiles", frames, dictionary=CHAINS, variables=[name], probabilities=SHARES, precision=0.001)
        n, expected = self.EXPECTED[name]
        close(result[name].values, expected)
        assert result[name].values == tuple(expected)  # to the last bit
        assert (result[name].n, result.n, result.n_excluded) == (n, n, 7874 - n)
        assert (result[name].widths, result.rounds) == ((0.0,) * 5, rounds)

    def test_all_in_the_same_rounds(self, ask):
        frames = split(flchain()[[*self.EXPECTED]], "blk4@age")
        result = ask(
            "quantiles", frames, dictionary=CHAINS, variables=[*self.EXPECTED], probabilities=SHARES, precision=0.001
        )
        for name, (n, expected) in self.EXPECTED.items():
            assert (result[name].n, result[name].values) == (n, tuple(expected))
        assert result.rounds == 3
        assert not result.warnings


@settings(max_examples=40)
@given(
    seed=st.integers(0, 10**6),
    cohorts=st.integers(1, 13),
    n=st.integers(1, 200),
    kind=st.integers(1, 9),
    step=st.sampled_from([0.001, 0.1, 1.0, 25.0]),
)
def test_every_type_is_that_of_numpy_for_any_split(seed, cohorts, n, kind, step):
    rng = np.random.default_rng(seed)
    steps = rng.integers(-400, 400, n)
    values = pd.Series([float(f"{k * step:.6g}") for k in steps]).where(rng.random(n) < 0.9)
    frame = pd.DataFrame({"x": values, "sex": rng.choice(["f", "m"], n)})
    known = dictionary(
        x=number(-400 * step, 400 * step, step),
        sex=Variable(type="category", categories=tuple(Category(value=v) for v in ("f", "m", "unknown"))),
    )
    where = rng.integers(0, cohorts, n)
    shares = [0.0, *np.round(rng.random(4), 3), 0.5, 1.0]
    net = network(named([frame[where == k] for k in range(cohorts)]), known)
    result = net.study().quantiles(variables=["x"], by="sex", probabilities=shares, type=kind).result()
    for sex in ("f", "m"):
        found, x = result["x", sex], frame.loc[frame["sex"] == sex, "x"].dropna()
        assert found.n == len(x)
        if len(x):
            close(found.values, np.quantile(x, sorted(set(shares)), method=NUMPY[kind]), rtol=1e-9)
            close(found.median, np.quantile(x, 0.5, method=NUMPY[kind]), rtol=1e-9)
            assert set(found.widths) == {0.0}
        else:
            assert np.isnan(found.median)
    assert result["x", "unknown"].n == 0
    assert result.n + result.n_excluded == n


def test_not_the_mean_of_medians():  # METHODS 7.2
    frames = named([pd.DataFrame({"x": [1, 2, 3, 40, 50, 60, 70]}), pd.DataFrame({"x": [27, 28, 29]})])
    result = network(frames).study().quantiles(variables=["x"]).result()
    assert result["x"].median == 28.5
    assert result["x"].iqr == np.subtract(*np.quantile([1, 2, 3, 40, 50, 60, 70, 27, 28, 29], [0.75, 0.25]))


def test_large_origins_and_thousands_of_millions_of_values():
    x = np.random.default_rng(1).integers(0, 10**9, 400)
    frame = pd.DataFrame({"x": x * 1.0, "y": x * 1e6 + 1e8})
    known = dictionary(x=number(0, 10**9, 1.0), y=number(1e8, 1e15 + 1e8, 1e6))
    result = network(split(frame, "mod3"), known).study().quantiles(variables=["x", "y"]).result()
    assert result["x"].median == np.median(x)
    assert result["y"].median == np.median(frame["y"])
    assert result.rounds == 5


class TestUnderThePolicyOfACohort:
    def test_common_values_are_exact(self, ask):
        rng = np.random.default_rng(5)
        frame = pd.DataFrame({"age": rng.integers(40, 70, 6000)})
        result = ask(
            "quantiles", split(frame, "mod3"), policy=Policy(budget_refuse=10), variables=["age"], probabilities=SHARES
        )
        assert result["age"].values == tuple(np.quantile(frame["age"], SHARES))
        assert result["age"].widths == (0.0,) * 5

    @settings(max_examples=25)
    @given(seed=st.integers(0, 10**6), cohorts=st.integers(1, 7), n=st.integers(300, 900))
    def test_rare_values_are_bracketed_and_said_to_be(self, seed, cohorts, n):
        rng = np.random.default_rng(seed)
        frame = pd.DataFrame({"x": np.round(rng.gamma(2, 3, n), 3)})
        frames = named([frame.iloc[k::cohorts] for k in range(cohorts)])
        net = network(frames, dictionary(x=number(0, 200, 0.001)), Policy(budget_refuse=10))
        result = net.study().quantiles(variables=["x"], probabilities=[0.1, 0.5, 0.9], type=1).result()
        exact = np.quantile(frame["x"], [0.1, 0.5, 0.9], method="inverted_cdf")
        for value, width, true in zip(result["x"].values, result["x"].widths, exact, strict=True):
            assert abs(value - true) <= width + 1e-9
        assert result["x"].widths[1] < 3  # of a range of some 40
        assert any("Not exact" in w and "bracket" in w for w in result.warnings)
        assert len(result.tables()) == 2

    def test_a_group_too_small_in_one_cohort_is_withheld_alone(self, ask):
        frame = pd.DataFrame({"x": np.tile(np.arange(10), 12), "sex": ["f"] * 60 + ["m"] * 60})
        few = pd.concat([frame, frame[frame["sex"] == "m"].head(4), frame.head(0)])
        result = ask(
            "quantiles",
            named([frame, few.iloc[60:], few[few["sex"] == "m"].tail(4)]),
            policy=Policy(budget_refuse=10),
            variables=["x"],
            by="sex",
        )
        assert result["x", "f"].median == 4.5
        assert (result["x", "m"].n, result["x", "m"].median, result["x", "m"].values) == (None, None, (None,) * 3)
        assert any("Withheld" in w and "x (m)" in w for w in result.warnings)
        assert "withheld" in result.summary()


class TestNobodyIsFollowedByChoiceOfThresholds:
    """A coordinator that asks what it likes learns of groups of ten, never of one person."""

    VALUES = np.concatenate([np.random.default_rng(3).integers(100, 400, 300), [612, 999]])

    def answers(self, policy):
        from algorithms.numerics.order_statistics import counts_between
        from algorithms.quantiles import QuantilesParams

        known = dictionary(x=number(0, 1000, None, "integer"))
        node = network({"c": pd.DataFrame({"x": self.VALUES})}, known, policy).service.nodes["c"]
        params = QuantilesParams.bind({"variables": ["x"]}, known)
        for t in range(1000):
            yield counts_between(node.data, params, thresholds=np.array([[[t, t + 1]]], dtype=float))

    def test_no_cell_is_small_whatever_is_asked(self):
        for answer in self.answers(Policy()):
            for cells in (answer.ending, answer.beginning):
                assert all(c == 0 or c >= 10 for c in cells.ravel())

    def test_nor_is_a_difference_between_two_questions(self):
        below = [(a.ending[0, 0, 0], a.beginning[0, 0, 0]) for a in self.answers(Policy())]
        steps = np.diff(np.array(below), axis=0).ravel()
        assert all(s == 0 or s >= 10 for s in steps)

    def test_and_the_outliers_do_not_show(self):
        ending = [a.ending[0, 0, 2] for a in self.answers(Policy())]
        beginning = [a.beginning[0, 0, 2] for a in self.answers(Policy())]
        assert len(set(ending[400:999])) == 1  # the last group reaches to the end of the lattice
        assert len(set(beginning[400:999])) == 1

    def test_without_a_policy_the_same_attack_finds_them(self):
        ending = [a.ending[0, 0, 2] for a in self.answers(None)]
        assert ending[600] == 2
        assert ending[700] == 1


def test_cohorts_without_the_variable_or_without_people(ask):
    frame = pd.DataFrame({"x": np.arange(90), "sex": ["f", "m"] * 45})
    frames = split(frame, "mod3") | {"empty": frame.head(0), "other": frame.drop(columns="x")}
    result = ask("quantiles", frames, variables=["x"], by="sex")
    assert result["x", "f"].median == 44.0
    assert result.n_excluded == 90
    assert any("`x` was collected by 4 of 5 cohorts" in w for w in result.warnings)


def test_dates_and_given_lattices(ask):
    days = pd.Series(pd.date_range("1950-03-01", periods=99))
    frame = pd.DataFrame({"born": days, "x": np.arange(99) / 100})
    known = dictionary(
        born=Variable(type="date", minimum=-10000, maximum=20000), x=Variable(type="number", minimum=0, maximum=5)
    )
    result = ask("quantiles", split(frame, "mod3"), dictionary=known, variables=["born", "x"], precision=0.01)
    assert result["born"].median == (days[49] - pd.Timestamp("1970-01-01")).days
    assert result["x"].median == 0.49


class TestBadInput:
    FRAMES = named([pd.DataFrame({"x": [0.5, 1.5, 2.5], "sex": ["f", "m", "f"], "ok": [True, False, True]})] * 3)

    def test_no_precision_says_what_to_declare(self, ask):
        with pytest.raises(InvalidQuestion, match=r"declares no `precision` for `x`.*Declare it there, or give"):
            ask("quantiles", self.FRAMES, variables=["x"])
        known = dictionary(x=Variable(type="number"), sex=Variable(type="identifier"), ok=Variable(type="boolean"))
        with pytest.raises(InvalidQuestion, match="`minimum`, `maximum`, `precision`"):
            ask("quantiles", self.FRAMES, dictionary=known, variables=["x"])

    @pytest.mark.parametrize(
        ("params", "message"),
        [
            ({"variables": ["sex"]}, "`sex` is a category"),
            ({"variables": ["ok"]}, "`ok` is a boolean"),
            ({"variables": []}, "variables"),
            ({"variables": ["x"], "by": "x", "precision": 0.1}, "given twice"),
            ({"variables": ["x"], "probabilities": [1.2], "precision": 0.1}, "between 0 and 1"),
            ({"variables": ["x"], "type": 10, "precision": 0.1}, "type"),
            ({"variables": ["x"], "precision": 1e-12}, "coarser `precision`"),
        ],
    )
    def test_is_named(self, ask, params, message):
        with pytest.raises(InvalidQuestion, match=message):
            ask("quantiles", self.FRAMES, **params)

    def test_a_number_does_not_divide_people(self, ask):
        with pytest.raises(InvalidQuestion, match="does not divide people"):
            ask(
                "quantiles",
                self.FRAMES,
                variables=["x"],
                by="x2",
                precision=0.5,
                dictionary=dictionary(x=number(0, 3, 0.5), x2=number(0, 3, 0.5)),
            )
        with pytest.raises(UnknownName, match="bmj"):
            ask("quantiles", self.FRAMES, variables=["bmj"])
