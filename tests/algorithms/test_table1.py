"""Table 1 against pandas, scipy and statsmodels on the pooled records."""

import math

import numpy as np
import pandas as pd
import pytest
from datasets import diabetes, gbsg2, named, split
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.oneway import anova_oneway

from cohortium.dictionary import Category, Dictionary, Variable
from cohortium.errors import InvalidQuestion, UnknownName
from node.disclosure import Policy
from simulation import network

EXAMPLES = [
    {},
    {"variables": ["age", "arm", "smokes"], "by": "sex", "tests": True},
    {"variables": ["time", "visits"], "medians": ["time", "visits"], "by": "arm"},
    {"variables": ["arm"], "by": "sex"},
]


def close(values, expected, rtol=1e-9, atol=1e-12):
    np.testing.assert_allclose(np.array(values, dtype=float), np.array(expected, dtype=float), rtol=rtol, atol=atol)


def category(*levels):
    return Variable(type="category", categories=tuple(Category(value=v) for v in levels))


KNOWN = Dictionary(
    name="d",
    version="1",
    variables={
        "x": Variable(type="number", unit="mmol/L"),
        "y": Variable(type="number", minimum=0, maximum=300, precision=0.1),
        "arm": category("a", "b", "c"),
        "ill": Variable(type="boolean"),
        "by": category("f", "m", "u"),
        "person": Variable(type="identifier"),
    },
)


def people(n, seed, groups=("f", "m")):
    rng = np.random.default_rng(seed)
    by = rng.choice(groups, n)
    frame = pd.DataFrame(
        {
            "x": rng.normal(0, 1, n) * 1e6 + 1e8 + (by == "m") * 5e5,
            "y": np.round(rng.gamma(2, 10, n), 1),
            "arm": rng.choice(["a", "b", "c"], n, p=[0.5, 0.3, 0.2]),
            "ill": pd.array(rng.random(n) < 0.4, dtype="boolean"),
            "by": by,
        }
    )
    for name in ("x", "y", "arm", "ill", "by"):
        frame.loc[rng.random(n) < 0.06, name] = None
    return frame


class TestReferenceValues:
    def test_moments(self, ask):  # numpy 2.4.6, `desc.moments.diabetes`
        result = ask("table1", split(diabetes(), "blk3@bmi"), variables=["age", "bmi", "target"])
        found = [result[name].groups["all"] for name in ("age", "bmi", "target")]
        close([s.mean for s in found], [48.5180995475113, 26.3757918552036, 152.133484162896], rtol=1e-12)
        close([s.sd for s in found], [13.1090278220411, 4.41812156061577, 77.0930045329911], rtol=1e-12)
        assert (result.n, result.rounds, result["age"].smd, result["age"].overall) == (442, 2, None, None)

    def test_digits_survive_a_large_origin(self, ask):
        frame = diabetes()[["target"]] + 1e8  # one pass over raw squares gives 77.0768
        close(ask("table1", split(frame, "blk3"))["target"].groups["all"].sd, 77.0930045329911, rtol=1e-12)


@settings(max_examples=25)
@given(seed=st.integers(0, 10**6), cohorts=st.integers(1, 13), n=st.integers(60, 300))
def test_two_groups_are_as_pooled_for_any_split(seed, cohorts, n):
    frame = people(n, seed)
    where = np.random.default_rng(seed).integers(0, cohorts, n)
    net = network(named([frame[where == k] for k in range(cohorts)]), KNOWN)
    asked = {"variables": ["x", "y", "arm", "ill"], "by": "by", "medians": ["y"], "tests": True}
    result = net.study().table1(**asked).result()
    assert result.rounds <= 3
    known = frame.dropna(subset=["by"])
    assert (result.n, result.n_excluded) == (len(known), frame["by"].isna().sum())
    assert result.people == {"f": (known["by"] == "f").sum(), "m": (known["by"] == "m").sum(), "u": 0}
    for name in ("x", "y"):
        for by, found in {**result[name].groups, "overall": result[name].overall}.items():
            values = known[name] if by == "overall" else known.loc[known["by"] == by, name]
            check_number(found, values)
    for by, found in {**result["y"].groups, "overall": result["y"].overall}.items():
        values = (known["y"] if by == "overall" else known.loc[known["by"] == by, "y"]).dropna()
        if len(values):
            close([found.quartiles[0], found.median, found.quartiles[1]], np.quantile(values, [0.25, 0.5, 0.75]))
    f, m = (known[known["by"] == by] for by in ("f", "m"))
    welch = stats.ttest_ind(f["x"].dropna(), m["x"].dropna(), equal_var=False)
    close([result["x"].comparison.statistic, result["x"].comparison.p_value], [welch.statistic**2, welch.pvalue], 1e-7)
    table = pd.crosstab(known["by"], known["arm"])
    close(result["arm"].comparison.statistic, stats.chi2_contingency(table, correction=False).statistic)
    assert result["arm"].groups["m"].counts == table.loc["m"].to_dict()
    close(list(result["arm"].overall.proportions.values()), table.sum() / table.to_numpy().sum())
    assert result["ill"].groups["f"].missing == f["ill"].isna().sum()


def check_number(found, values):
    assert (found.n, found.missing) == (values.notna().sum(), values.isna().sum())
    if found.n > 1:
        close([found.mean, found.sd], [values.mean(), values.std()])


def two(frame):
    """The same people with groups f and m only."""
    levels = {**KNOWN.variables, "by": category("f", "m")}
    dictionary = KNOWN.model_copy(update={"variables": levels})
    return network(split(frame, "mod3"), dictionary).study()


class TestStandardisedDifferences:
    FRAME = people(400, 8)

    def test_of_numbers_and_proportions(self):
        result = two(self.FRAME).table1(variables=["x", "ill", "arm"], by="by").result()
        f, m = (self.FRAME[self.FRAME["by"] == by] for by in ("f", "m"))
        unit = math.sqrt((f["x"].var() + m["x"].var()) / 2)
        close(result["x"].smd, (m["x"].mean() - f["x"].mean()) / unit)
        p, q = f["ill"].dropna().mean(), m["ill"].dropna().mean()
        close(result["ill"].smd, (q - p) / math.sqrt((p * (1 - p) + q * (1 - q)) / 2))
        shares = [g["arm"].value_counts(normalize=True).sort_index().to_numpy() for g in (f, m)]
        # Whichever level is left out, the distance is the same.
        for left in ([0, 1], [1, 2], [0, 2]):
            t, c = shares[1][left], shares[0][left]
            S = (np.diag(t) - np.outer(t, t) + np.diag(c) - np.outer(c, c)) / 2
            close(result["arm"].smd, math.sqrt((t - c) @ np.linalg.inv(S) @ (t - c)))

    def test_of_three_groups_is_the_mean_over_pairs(self, ask):
        frame = people(400, 9, groups=("f", "m", "u"))
        result = ask("table1", split(frame, "mod3"), dictionary=KNOWN, variables=["x"], by="by", tests=True)
        groups = [frame.loc[frame["by"] == by, "x"].dropna() for by in ("f", "m", "u")]
        apart = [
            abs(a.mean() - b.mean()) / math.sqrt((a.var() + b.var()) / 2)
            for i, a in enumerate(groups)
            for b in groups[i + 1 :]
        ]
        close(result["x"].smd, np.mean(apart))
        oracle = anova_oneway(groups, use_var="unequal", welch_correction=True)
        close(
            [result["x"].comparison.statistic, result["x"].comparison.p_value], [oracle.statistic, oracle.pvalue], 1e-7
        )

    def test_a_level_that_nobody_has_and_a_constant(self):
        frame = self.FRAME.assign(arm=self.FRAME["arm"].replace("c", "a"), x=1.0)
        result = two(frame).table1(variables=["x", "arm"], by="by").result()
        f, m = ((frame.loc[frame["by"] == by, "arm"].dropna() == "b").mean() for by in ("f", "m"))
        close(result["arm"].smd, abs(m - f) / math.sqrt((f * (1 - f) + m * (1 - m)) / 2))
        assert result["x"].smd == 0
        assert result.chart().to_dict()


def test_real_patients(ask):
    frame = gbsg2()
    result = ask("table1", split(frame, "blk4@age"), by="horTh", medians=["age", "pnodes"])
    pooled = frame.groupby("horTh")
    close([result["age"].groups[g].mean for g in ("no", "yes")], pooled["age"].mean())
    close([result["pnodes"].groups[g].median for g in ("no", "yes")], pooled["pnodes"].median())
    close(result["pnodes"].overall.median, frame["pnodes"].median())
    assert 2 <= result.rounds <= 5
    text = result.summary()
    assert "SMD" in text
    assert "tgrade: II, n (%)" in text
    assert "median [IQR]" in text


class TestUnderThePolicyOfACohort:
    def frames(self):
        """The first cohort has four people of group u, and three of arm c in group f."""
        rng = np.random.default_rng(1)
        frame = pd.DataFrame({"by": ["f"] * 60 + ["m"] * 60, "arm": ["a", "b"] * 60, "x": rng.normal(0, 1, 120)})
        few = pd.DataFrame({"by": ["u"] * 4 + ["f"] * 3, "arm": ["a"] * 4 + ["c"] * 3, "x": 0.5})
        return named([pd.concat([frame, few]), frame, frame])

    def test_what_is_small_is_withheld_variable_by_variable(self, ask):
        result = ask(
            "table1", self.frames(), dictionary=KNOWN, policy=Policy(), variables=["x", "arm"], by="by", tests=True
        )
        assert result.people == {"f": 183, "m": 180, "u": None}
        x, arm = result["x"].groups, result["arm"].groups
        assert (x["f"].n, x["u"].n, x["u"].mean) == (183, None, None)
        pooled = pd.concat(self.frames().values())
        close(x["f"].mean, pooled.loc[pooled["by"] == "f", "x"].mean())
        # Margins are told elsewhere: beside the seven, as many go as make ten, in every line.
        assert arm["f"].counts == {"a": None, "b": None, "c": None}
        assert (arm["f"].n, arm["f"].missing) == (None, None)  # either would tell the withheld cell
        assert arm["m"].counts == {"a": None, "b": 90, "c": None}
        assert result["x"].overall.mean is None
        assert (result["x"].smd, result["x"].comparison, result["arm"].smd) == (None, None, None)
        assert any("Withheld" in w and "x, arm" in w for w in result.warnings)
        assert "withheld" in result.summary()

    def test_medians_are_bracketed(self, ask):
        frame = people(900, 2)
        result = ask(
            "table1", split(frame, "mod3"), dictionary=KNOWN, policy=Policy(), variables=["y"], medians=["y"], by="by"
        )
        exact = frame.loc[frame["by"] == "f", "y"].median()
        assert abs(result["y"].groups["f"].median - exact) < 2
        assert not result["y"].groups["f"].exact_quantiles
        assert any("Quartiles of y are interpolated" in w for w in result.warnings)

    def test_a_policy_whose_rules_differ_never_gives_a_mean_of_fewer(self, ask):
        frames = self.frames() | {"c3": self.frames()["c1"].iloc[50:75]}  # ten of f, fifteen of m
        policy = Policy(min_people=12, min_cell=5)
        result = ask("table1", frames, dictionary=KNOWN, policy=policy, variables=["x"], by="by")
        assert (result["x"].groups["f"].n, result["x"].groups["f"].mean) == (None, None)
        pooled = pd.concat(frames.values())
        close(result["x"].groups["m"].mean, pooled.loc[pooled["by"] == "m", "x"].mean())


def test_cohorts_without_a_variable_or_without_people(ask):
    frame = people(120, 4)
    frames = split(frame, "mod3") | {"empty": frame.head(0), "other": frame.drop(columns="x")}
    result = ask("table1", frames, dictionary=KNOWN, variables=["x", "arm"], by="by")
    close(result["x"].groups["f"].mean, frame.loc[frame["by"] == "f", "x"].mean())
    assert result["x"].groups["f"].missing == 2 * (frame["by"] == "f").sum() - result["x"].groups["f"].n
    assert any("`x` was collected by 4 of 5 cohorts" in w for w in result.warnings)
    nobody = ask(
        "table1", {"empty": frame.head(0)}, dictionary=KNOWN, variables=["x", "y", "arm"], medians=["y"], by="by"
    )
    assert (nobody.n, nobody["x"].groups["f"].n, nobody["x"].smd) == (0, 0, None)
    assert nobody.summary()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"variables": ["x"], "by": "y"}, "`y` is a number and does not divide people"),
        ({"variables": ["person"]}, "identifier"),
        ({"variables": ["by"], "by": "by"}, "given twice"),
        ({"variables": ["x"], "medians": ["y"]}, "`medians` has `y`"),
        (
            {"variables": ["x"], "medians": ["x"]},
            "no `minimum`, `maximum`, `precision` for `x`.*them there: which",
        ),
    ],
)
def test_bad_input_is_named(ask, params, message):
    with pytest.raises(InvalidQuestion, match=message):
        ask("table1", {"c": people(30, 1)}, dictionary=KNOWN, **params)


def test_an_unknown_variable_is_named(ask):
    with pytest.raises(UnknownName, match="arm"):
        ask("table1", {"c": people(30, 1)}, dictionary=KNOWN, variables=["army"])
