"""Correlations against numpy, scipy and partial regressions on the pooled records."""

import math

import numpy as np
import pandas as pd
import pytest
from datasets import diabetes, named, split, whas500
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from cohortium.analysis import find
from cohortium.dictionary import Dictionary, Variable
from cohortium.errors import CannotEstimate, Collinear, InvalidQuestion, Refused, UnknownName
from node.disclosure import Policy, check
from simulation import network

EXAMPLES = [
    {"variables": ["age", "bmi", "smokes"], "given": ["visits"]},
    {"variables": ["age", "years"], "within_cohorts": True},
    {"variables": ["visits", "arm", "age"], "method": "spearman", "precision": {"age": 5.0}},
    {"variables": ["time", "bmi"], "given": ["sex"], "method": "spearman", "breaks": {"bmi": [20.0, 25.0, 30.0]}},
]
NUMBERS = ["age", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6", "target"]


def close(values, expected, rtol=1e-9, atol=1e-12):
    np.testing.assert_allclose(values, expected, rtol=rtol, atol=atol)


class TestReferenceValues:
    def test_pearson(self, ask):  # numpy 2.4.6, diabetes split blk3@bmi
        result = ask("correlation", split(diabetes(), "blk3@bmi"), variables=NUMBERS)
        wanted = [
            [0.185084666146555, 0.335427587067073, 0.260060820150262, 0.219243139847508, -0.0751809748751462],
            [0.395410898717713, 0.249777421742412, 0.261169911164425, -0.36681097840503, 0.41380660183144],
        ]
        close(result.matrix[0][1:6], wanted[0], 1e-12)
        close(result.matrix[1][2:7], wanted[1], 1e-12)
        close(result.matrix[9][:4], [0.18788875071892, 0.586450134474689, 0.441481758562571, 0.212022481014551], 1e-12)
        close(result["s3", "s4"].r, -0.738492729258383, 1e-12)
        close(result.matrix, np.corrcoef(diabetes()[NUMBERS], rowvar=False), 1e-12)
        assert (result.n, result.rounds) == (442, 2)

    def test_spearman(self, ask):  # scipy 1.17.1, whas500 split mod4
        result = ask("correlation", split(whas500(), "mod4"), variables=["age", "sysbp"], method="spearman")
        found = result["age", "sysbp"]
        close([found.r, found.p_value], [-0.0357327637823334, 0.425297900909923], 1e-12)
        assert (result.n, result.rounds, found.bin_error) == (500, 2, None)


def people(n, seed):
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=n)
    frame = pd.DataFrame(
        {
            "x": shared + rng.normal(size=n),
            "y": 2 * shared + rng.gamma(2, 1, n),
            "w": rng.normal(size=n) * 1e6 + 1e8,
            "k": rng.integers(0, 12, n),
            "j": rng.integers(0, 5, n),
            "ill": pd.array(rng.random(n) < 0.4 + 0.1 * (shared > 0), dtype="boolean"),
        }
    )
    frame["w"] += 1e6 * frame["x"]
    frame.loc[rng.random(n) < 0.1, "x"] = np.nan
    frame.loc[rng.random(n) < 0.05, "ill"] = pd.NA
    return frame


def scattered(frame, cohorts, seed):
    """The rows at random over the cohorts; some may be empty."""
    where = np.random.default_rng(seed).integers(0, cohorts, len(frame))
    return named([frame[where == k] for k in range(cohorts)])


def residuals(frame, name, given):
    design = np.column_stack([np.ones(len(frame)), *(frame[g].astype(float) for g in given)])
    y = frame[name].to_numpy(float)
    return y - design @ np.linalg.lstsq(design, y, rcond=None)[0]


@settings(max_examples=20)
@given(seed=st.integers(0, 10**6), cohorts=st.integers(1, 13), n=st.integers(30, 300))
def test_same_as_pooled_for_any_split(seed, cohorts, n):
    frame = people(n, seed)
    frames = scattered(frame, cohorts, seed)
    study, kept = network(frames).study(), frame.dropna(subset=["x", "ill"]).astype({"ill": float})
    found = study.correlation(variables=["x", "y", "w", "ill"]).result()
    close(found.matrix, np.corrcoef(kept[["x", "y", "w", "ill"]], rowvar=False), 1e-9)
    wanted = stats.pearsonr(kept["x"], kept["w"])
    pair = found["x", "w"]
    close([pair.r, pair.p_value], [wanted.statistic, wanted.pvalue])
    close([pair.ci_low, pair.ci_high], wanted.confidence_interval())
    assert (found.n, found.n_excluded) == (len(kept), n - len(kept))

    partial = study.correlation(variables=["x", "w"], given=["y", "ill"]).result()
    x, w = (residuals(kept, name, ["y", "ill"]) for name in ("x", "w"))
    close([partial.matrix[0][1], partial.df], [np.corrcoef(x, w)[0, 1], len(kept) - 4])

    ranks = study.correlation(variables=["k", "j"], method="spearman").result()
    wanted = stats.spearmanr(frame["k"], frame["j"])
    close([ranks["k", "j"].r, ranks["k", "j"].p_value], [wanted.statistic, wanted.pvalue])
    error = math.sqrt((1 + wanted.statistic**2 / 2) / (n - 3))
    close(ranks["k", "j"].ci_high, math.tanh(math.atanh(wanted.statistic) + 1.959963984540054 * error))


@settings(max_examples=15)
@given(seed=st.integers(0, 10**6), cohorts=st.integers(2, 7))
def test_within_cohorts_is_the_correlation_given_an_indicator_per_cohort(seed, cohorts):
    frame = people(200, seed)
    frame["c"] = np.random.default_rng(seed).integers(0, cohorts, len(frame))
    # What differs between cohorts would otherwise be all that shows.
    frame["x"] += 100 * frame["c"]
    frame["y"] -= 70 * frame["c"]
    frames = named([g.drop(columns="c") for _, g in frame.groupby("c")])
    found = network(frames).study().correlation(variables=["x", "y", "w"], given=["k"], within_cohorts=True).result()
    kept = frame.dropna(subset=["x"])
    kept = kept.assign(**{f"c{v}": (kept["c"] == v).astype(float) for v in kept["c"].unique()})
    dummies = [name for name in kept.columns if name[0] == "c" and len(name) > 1]
    parts = [residuals(kept, name, ["k", *dummies]) for name in ("x", "y", "w")]
    close(found.matrix, np.corrcoef(parts), 1e-8)
    assert found.df == len(kept) - 2 - len(dummies)  # k, and an intercept per cohort


def test_pitfall_cohort_level_confounding(ask):
    """Two cohorts with a negative association within each and a positive one between them."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=200)
    frame = pd.DataFrame({"x": x, "y": rng.normal(size=200) - x})
    frames = named([frame, frame + 10])
    assert ask("correlation", frames, variables=["x", "y"]).matrix[0][1] > 0.9
    assert ask("correlation", frames, variables=["x", "y"], within_cohorts=True).matrix[0][1] < -0.6


@pytest.mark.parametrize("edges", [[2.0, 5.0, 8.0], [1.0, 3.0, 4.0, 6.0, 9.0]])
def test_bins_bound_what_they_change(ask, edges):
    frame = people(400, 9)
    frame["j"] = frame["k"] + frame["j"]
    frames = split(frame, "mod3")
    result = ask("correlation", frames, variables=["k", "j"], method="spearman", breaks={"k": edges})
    binned, exact = result["k", "j"], stats.spearmanr(frame["k"], frame["j"]).statistic
    wanted = stats.spearmanr(np.searchsorted(edges, frame["k"]), frame["j"]).statistic
    close(binned.r, wanted)
    assert 0 < abs(binned.r - exact) <= binned.bin_error
    assert "bins" in result.warnings[0]
    finest = ask(
        "correlation", frames, variables=["k", "j"], method="spearman", breaks={"k": [v + 0.5 for v in range(12)]}
    )
    close(finest["k", "j"].r, exact)


def test_recorded_steps_are_ranked_exactly(ask):
    rng = np.random.default_rng(4)
    frame = pd.DataFrame({"a": (rng.integers(0, 400, 300) / 10).round(1), "b": rng.integers(-50, 50, 300)})
    variables = {
        "a": Variable(type="number", minimum=0, maximum=40, precision=0.1),
        "b": Variable(type="integer", minimum=-50, maximum=50),
    }
    dictionary = Dictionary(name="d", version="1", variables=variables)
    result = ask("correlation", split(frame, "mod5"), dictionary=dictionary, variables=["a", "b"], method="spearman")
    close(result["a", "b"].r, stats.spearmanr(frame["a"], frame["b"]).statistic, 1e-12)
    inferred = ask("correlation", split(frame, "mod5"), variables=["a", "b"], method="spearman", precision={"a": 0.1})
    close(inferred["a", "b"].r, result["a", "b"].r, 1e-12)


class TestDisclosure:
    def test_withheld_cells_ask_for_wider_bins(self):
        study = network(split(whas500(), "mod4"), policy=Policy()).study()
        with pytest.raises(CannotEstimate, match=r"withhold.*breaks"):
            study.correlation(variables=["age", "sysbp"], method="spearman").result()
        wide = {"age": [60.0, 72.0, 80.0], "sysbp": [120.0, 140.0, 165.0]}
        result = study.correlation(variables=["age", "sysbp"], method="spearman", breaks=wide).result()
        frame = whas500()
        a, b = (np.searchsorted(wide[name], frame[name], side="left") for name in wide)
        close(result["age", "sysbp"].r, stats.spearmanr(a, b).statistic)
        exact = stats.spearmanr(frame["age"], frame["sysbp"]).statistic
        assert abs(result["age", "sysbp"].r - exact) <= result["age", "sysbp"].bin_error

    def test_few_people_with_a_value_of_a_binary_variable_are_refused(self):
        frame = pd.DataFrame({"x": np.arange(100.0), "ill": [True] * 4 + [False] * 96})
        study = network(named([frame, frame, frame]), policy=Policy()).study()
        with pytest.raises(Refused, match="pairs"):
            study.correlation(variables=["x", "ill"]).result()

    @pytest.fixture
    def data(self):
        return next(iter(network(split(whas500(), "mod2")).service.nodes.values())).data

    def ask_ranks(self, data, ranks):
        params = find("correlation").params.bind({"variables": ["age", "sysbp"], "method": "spearman"}, data.dictionary)
        wide = np.zeros((2, params.points))
        for row, values, lattice in zip(wide, ranks, params.lattices, strict=True):
            row[: lattice.points] = [values(lattice.value(k)) for k in range(lattice.points)]
            row[lattice.points :] = row[lattice.points - 1]
        return check(find("correlation").statistic("rank_products")(data, params, ranks=wide), Policy())

    def test_attack_ranks_that_single_somebody_out(self, data):
        """A step just below the largest age would make a cross-product the blood pressure of the oldest."""
        oldest = np.sort(data["age"])[-2]
        self.ask_ranks(data, [lambda v: v / 200 - 0.4, lambda v: v / 400 - 0.4])
        with pytest.raises(Refused, match="carrying"):
            self.ask_ranks(data, [lambda v: float(v > oldest), lambda v: v / 400])

    def test_attack_ranks_that_count_a_corner(self, data):
        """Steps at the ninetieth percentiles would count the few who are both."""
        age, pressure = (np.quantile(data[name], 0.93) for name in ("age", "sysbp"))
        both = np.sum((data["age"] > age) & (data["sysbp"] > pressure))
        assert 0 < both < 10
        with pytest.raises(Refused, match="carrying"):
            self.ask_ranks(data, [lambda v: float(v > age), lambda v: float(v > pressure)])

    def test_attack_ranks_out_of_order(self, data):
        with pytest.raises(Refused, match="order"):
            self.ask_ranks(data, [lambda v: float(v == 83), lambda v: v / 400])


class TestBadInput:
    @pytest.mark.parametrize(
        ("params", "error", "words"),
        [
            ({"variables": ["x"]}, InvalidQuestion, "variables"),
            ({"variables": ["x", "nope"]}, UnknownName, "nope"),
            ({"variables": ["x", "y"], "given": ["x"]}, InvalidQuestion, "twice"),
            ({"variables": ["x", "three"]}, InvalidQuestion, "not numbers"),
            ({"variables": ["x", "flat"]}, CannotEstimate, "`flat` has one value only"),
            ({"variables": ["x", "y"], "given": ["y2"]}, Collinear, "combinations"),
            ({"variables": ["x", "y"], "given": ["z", "z2"]}, Collinear, "combinations"),
            ({"variables": ["x", "z"], "method": "spearman"}, InvalidQuestion, "precision"),
            ({"variables": ["k", "flat"], "method": "spearman"}, InvalidQuestion, "precision"),
            ({"variables": ["k", "flatk"], "method": "spearman"}, CannotEstimate, "one value"),
            ({"variables": ["x", "y"], "precision": {"x": 1.0}}, InvalidQuestion, "not among"),
            (
                {"variables": ["k", "x"], "method": "spearman", "breaks": {"x": [2.0, 1.0]}},
                InvalidQuestion,
                "increasing",
            ),
            ({"variables": ["k", "x"], "method": "spearman", "precision": {"x": -1.0}}, InvalidQuestion, "positive"),
            ({"variables": ["k", "x"], "method": "spearman", "precision": {"x": 1e-9}}, InvalidQuestion, "too many"),
            ({"variables": ["k", "flatk"], "method": "spearman", "within_cohorts": True}, InvalidQuestion, "pearson"),
        ],
    )
    def test_is_named_with_what_to_do(self, ask, params, error, words):
        rng = np.random.default_rng(1)
        frame = pd.DataFrame({"x": rng.normal(size=40), "y": rng.normal(size=40), "z": rng.normal(size=40)})
        frame = frame.assign(y2=frame["y"] * 2, z2=1 - frame["z"], flat=0.1, k=rng.integers(0, 5, 40), flatk=7)
        frame["three"] = rng.choice(["a", "b", "c"], 40)
        with pytest.raises(error, match=words):
            ask("correlation", split(frame, "mod3"), **params)

    def test_too_few_people(self, ask):
        frame = pd.DataFrame({"x": [1.0, 2.0, np.nan], "y": [2.0, 1.0, 3.0]})
        with pytest.raises(CannotEstimate, match="too few"):
            ask("correlation", split(frame, "mod2"), variables=["x", "y"])

    def test_a_variable_that_differs_only_between_cohorts(self, ask):
        frame = pd.DataFrame({"x": np.arange(10.0), "site": 1.5})
        frames = named([frame, frame.assign(site=2.5)])
        with pytest.raises(CannotEstimate, match="`site` has the same value for everybody of a cohort"):
            ask("correlation", frames, variables=["x", "site"], within_cohorts=True)


def test_perfect_correlation(ask):
    frame = pd.DataFrame({"x": np.arange(20.0), "y": 3 - np.arange(20.0)})
    result = ask("correlation", split(frame, "mod3"), variables=["x", "y"])
    assert (result["x", "y"].r, result["y", "x"].p_value) == (pytest.approx(-1, abs=1e-14), pytest.approx(0, abs=1e-50))
    assert result.summary()
