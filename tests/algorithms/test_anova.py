"""Analysis of variance against scipy and statsmodels on the pooled records."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import statsmodels.formula.api as smf
from datasets import anes96, named, split
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.oneway import anova_oneway

from cohortium.dictionary import Category, Dictionary, Variable
from cohortium.errors import CannotEstimate, FormulaError, InvalidQuestion, Refused
from node.disclosure import Policy
from simulation import network

EXAMPLES = [
    {"formula": "bmi ~ arm", "levene": "mean"},
    {"formula": "visits ~ arm", "levene": "median"},
    {"formula": "bmi ~ arm * sex"},
    {"formula": "log(years) ~ arm + cut(age, [40, 60])", "sums_of_squares": "I"},
    {"formula": "bmi ~ smokes * sex", "sums_of_squares": "III"},
]


def close(values, expected, rtol=1e-9, atol=1e-12):
    np.testing.assert_allclose(values, expected, rtol=rtol, atol=atol)


def test_reference_value(ask):  # scipy 1.17.1 on anes96, split blk4@income
    result = ask("anova", split(anes96(), "blk4@income"), formula="age ~ schooling")
    row = result.terms["schooling"]
    close([row.statistic, row.p_value], [13.1198029064449, 2.69401882239047e-14], 1e-12)
    assert [g.n for g in result.groups.values()] == [13, 52, 248, 187, 90, 227, 127]
    assert (result.rounds, row.df, result.df_residual) == (2, 6, 937)


def people(n, seed):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "arm": rng.choice(["a", "b", "c"], n, p=[0.2, 0.3, 0.5]),
            "sex": rng.choice(["female", "male"], n, p=[0.7, 0.3]),
            "y": rng.integers(0, 40, n),
        }
    )
    effect = (frame["arm"] == "b") * 0.6 + (frame["sex"] == "male") * (frame["arm"] == "c") * 0.8
    frame["x"] = rng.normal(5, 1 + 0.5 * (frame["arm"] == "c"), n) + effect
    frame.loc[rng.random(n) < 0.1, ["x", "y"]] = np.nan
    frame.loc[rng.random(n) < 0.05, "sex"] = None
    return frame


def scattered(frame, cohorts, seed):
    """The rows at random over the cohorts; some may be empty, or lack a level."""
    where = np.random.default_rng(seed).integers(0, cohorts, len(frame))
    return named([frame[where == k] for k in range(cohorts)])


@settings(max_examples=7)
@given(seed=st.integers(0, 10**6), cohorts=st.integers(1, 13), n=st.integers(60, 300))
def test_one_way_same_as_pooled_for_any_split(seed, cohorts, n):
    frame = people(n, seed)
    study = network(scattered(frame, cohorts, seed)).study()
    found = study.anova(formula="x ~ arm", levene="mean").result()
    groups = [g.to_numpy() for _, g in frame.dropna(subset=["x"]).groupby("arm")["x"]]
    wanted = stats.f_oneway(*groups)
    row = found.terms["arm"]
    close([row.statistic, row.p_value], [wanted.statistic, wanted.pvalue])
    welch = anova_oneway(groups, use_var="unequal")
    close(
        [found.welch.statistic, found.welch.df_residual, found.welch.p_value],
        [welch.statistic, welch.df_denom, welch.pvalue],
    )
    mean = stats.levene(*groups, center="mean")
    close([found.levene.statistic, found.levene.p_value], [mean.statistic, mean.pvalue])
    every = stats.tukey_hsd(*groups)
    interval = every.confidence_interval()
    for pair, (a, b) in zip(found.tukey, [(0, 1), (0, 2), (1, 2)], strict=True):
        close(pair.estimate, every.statistic[b, a])
        close(
            [pair.p_value, pair.ci_low, pair.ci_high],
            [every.pvalue[b, a], interval.low[b, a], interval.high[b, a]],
            1e-6,
        )
    close([found.groups["c"].mean, found.groups["c"].sd], [groups[2].mean(), groups[2].std(ddof=1)])
    median = study.anova(formula="y ~ arm", levene="median").result()
    whole = [g.to_numpy() for _, g in frame.dropna(subset=["y"]).groupby("arm")["y"]]
    forsythe = stats.levene(*whole, center="median")
    close([median.levene.statistic, median.levene.p_value], [forsythe.statistic, forsythe.pvalue])
    assert (found.rounds, median.rounds) == (3, 3)


def nested(frame, kind):
    """Sum of squares and degrees of freedom per term, as what it takes from the residuals of the model without it."""
    first = ("1", "arm") if kind == "I" else ("sex", "arm + sex")
    steps = {"arm": first, "sex": ("arm", "arm + sex"), "arm:sex": ("arm + sex", "arm * sex")}
    fits = {m: smf.ols(f"x ~ {m}", frame).fit() for m in {m for pair in steps.values() for m in pair}}
    rank = {m: np.linalg.matrix_rank(fit.model.exog) for m, fit in fits.items()}
    return [(fits[a].ssr - fits[b].ssr, rank[b] - rank[a]) for a, b in steps.values()], fits["arm * sex"].ssr


@settings(max_examples=12)
@given(seed=st.integers(0, 10**6), cohorts=st.integers(1, 13), n=st.integers(80, 300))
@example(seed=531343, cohorts=5, n=80)  # nobody of arm a is male
def test_two_way_of_every_type_for_any_split(seed, cohorts, n):
    frame = people(n, seed)
    study = network(scattered(frame, cohorts, seed)).study()
    whole = frame.dropna().groupby(["arm", "sex"]).ngroups == 6
    for kind, number in {"I": 1, "II": 2, "III": 3}.items():
        if kind == "III" and not whole:
            with pytest.raises(CannotEstimate, match="type III is not defined"):
                study.anova(formula="x ~ arm * sex", sums_of_squares=kind).result()
            continue
        found = study.anova(formula="x ~ arm * sex", sums_of_squares=kind).result()
        rows = list(found.terms.values())
        if kind != "III":
            terms, residual = nested(frame.dropna(), kind)
            close([r.sum_squares for r in rows], [squares for squares, _ in terms], 1e-8, 1e-8)
            assert [r.df for r in rows] == [df for _, df in terms]
            close(found.residual_sum_squares, residual)
        if whole:  # of a combination that nobody has, statsmodels counts a parameter that is not there
            fit = smf.ols("x ~ C(arm, Sum) * C(sex, Sum)", frame).fit()
            wanted = sm.stats.anova_lm(fit, typ=number).drop(index="Intercept", errors="ignore")
            close([r.sum_squares for r in rows], wanted["sum_sq"].to_numpy()[:3], 1e-8)
            close([r.statistic for r in rows], wanted["F"].to_numpy()[:3], 1e-8)
            close([r.p_value for r in rows], wanted["PR(>F)"].to_numpy()[:3], 1e-7)
            close([found.r_squared, found.residual_sd**2], [fit.rsquared, fit.scale])
    additive = study.anova(formula="x ~ arm + sex").result()
    wanted = sm.stats.anova_lm(smf.ols("x ~ arm + sex", frame).fit(), typ=2)
    close([r.sum_squares for r in additive.terms.values()], wanted["sum_sq"].to_numpy()[:2], 1e-8)
    close(additive.residual_sum_squares, wanted["sum_sq"]["Residual"])


def test_effect_sizes_by_their_definitions(ask):
    frame = people(120, 2)
    result = ask("anova", split(frame, "mod3"), formula="x ~ arm + sex")
    row, error, df = result.terms["arm"], result.residual_sum_squares, result.df_residual
    values = frame.dropna()["x"]
    total = ((values - values.mean()) ** 2).sum()
    close(result.total_sum_squares, total)
    close(
        [row.eta_squared, row.partial_eta_squared],
        [row.sum_squares / total, row.sum_squares / (row.sum_squares + error)],
    )
    close(row.omega_squared, (row.sum_squares - row.df * error / df) / (total + error / df))


@pytest.mark.parametrize(("stretch", "shift"), [(1e6, 1e8), (1e-6, 0), (1, 1e8)])
def test_pitfall_one_pass_variance(ask, stretch, shift):
    frame = people(200, 4)
    moved = frame.assign(x=(frame["x"] * 1024).round() / 1024 * stretch + shift)
    kept = moved.dropna(subset=["x", "sex"])
    fit = smf.ols("x ~ arm * sex", kept.assign(x=(kept["x"] - shift) / stretch)).fit()
    found = ask("anova", split(moved, "mod3"), formula="x ~ arm * sex")
    wanted = sm.stats.anova_lm(fit, typ=2)["F"].to_numpy()[:3]
    # Of a number near 1e8 a double keeps 8 decimals.
    close([r.statistic for r in found.terms.values()], wanted, 1e-9 if shift != 1e8 or stretch > 1 else 1e-6)


def test_empty_cells_of_a_design(ask):
    """Nobody is `c` and male: type II goes on with one degree of freedom less, type III is not defined."""
    frame = people(200, 5).dropna()
    frame = frame[~((frame["arm"] == "c") & (frame["sex"] == "male"))]
    frames = split(frame, "mod3")
    result = ask("anova", frames, formula="x ~ arm * sex")
    assert [r.df for r in result.terms.values()] == [2, 1, 1]
    fit, smaller = (smf.ols(f, frame).fit() for f in ("x ~ C(arm + sex)", "x ~ arm + sex"))
    close(result.terms["arm:sex"].sum_squares, smaller.ssr - fit.ssr, 1e-8)
    assert "c:male" in result.warnings[0]
    with pytest.raises(CannotEstimate, match="type II"):
        ask("anova", frames, formula="x ~ arm * sex", sums_of_squares="III")


def test_levels_are_the_dictionarys_wherever_they_are_missing(ask):
    levels = tuple(Category(value=v) for v in ("c", "b", "a", "never"))
    variables = {"arm": Variable(type="category", categories=levels), "x": Variable(type="number")}
    dictionary = Dictionary(name="d", version="1", variables=variables)
    frame = people(150, 6)[["arm", "x"]].dropna()
    frames = named([frame[frame["arm"] == v] for v in ("a", "b", "c")] + [frame.iloc[:0]])
    result = ask("anova", frames, dictionary=dictionary, formula="x ~ arm")
    wanted = stats.f_oneway(*(g for _, g in frame.groupby("arm")["x"]))
    close(result.terms["arm"].statistic, wanted.statistic)
    assert list(result.groups) == ["c", "b", "a"]
    assert result.tukey[0].contrast == "b - c"
    assert "never" in result.warnings[0]


class TestDisclosure:
    def frames(self):
        rng = np.random.default_rng(8)
        frame = pd.DataFrame({"g": ["a", "b", "c"] * 60, "x": rng.integers(0, 30, 180)})
        return split(frame, "mod3")

    def test_small_groups_are_refused(self):
        frames = self.frames()
        frames["c0"] = pd.DataFrame({"g": ["a"] * 30 + ["b"] * 4, "x": [1] * 34})
        with pytest.raises(Refused, match="min_people"):
            network(frames, policy=Policy()).study().anova(formula="x ~ g").result()

    def test_withheld_cells_leave_the_medians_unknown(self):
        study = network(self.frames(), policy=Policy()).study()
        result = study.anova(formula="x ~ g", levene="median").result()
        assert result.levene is None
        assert any("No test of equal variances" in w for w in result.warnings)

    def test_attack_a_centre_that_singles_somebody_out(self):
        """A distance from a centre just above the smallest value would be the value of one person."""
        from cohortium.analysis import find
        from node.disclosure import check

        data = next(iter(network(self.frames()).service.nodes.values())).data
        params = find("anova").params.bind({"formula": "x ~ g", "levene": "mean"}, data.dictionary)
        honest = find("anova").statistic("distances")(data, params, centre=np.full(3, 15.0), unit=1.0)
        assert check(honest, Policy()).below.sum() > 0
        low = np.full(3, np.sort(data["x"])[0] + 0.5)
        with pytest.raises(Refused, match="below"):
            check(find("anova").statistic("distances")(data, params, centre=low, unit=1.0), Policy())


class TestBadInput:
    @pytest.mark.parametrize(
        ("params", "error", "words"),
        [
            ({"formula": "x ~ 1"}, InvalidQuestion, "factor"),
            ({"formula": "x ~ 0 + arm"}, InvalidQuestion, "intercept"),
            ({"formula": "x ~ y"}, FormulaError, "cut"),
            ({"formula": "sex ~ arm"}, FormulaError, "proportion"),
            ({"formula": "x ~ arm + offset(y)"}, FormulaError, "offset"),
            ({"formula": "x ~ arm:sex", "sums_of_squares": "III"}, InvalidQuestion, "main effect"),
            ({"formula": "log(y) ~ arm", "levene": "median"}, InvalidQuestion, "plain variable"),
            ({"formula": "x ~ arm", "levene": "median"}, InvalidQuestion, "precision"),
        ],
    )
    def test_is_named_with_what_to_do(self, ask, params, error, words):
        with pytest.raises(error, match=words):
            ask("anova", split(people(60, 1), "mod3"), **params)

    def test_nothing_to_compare(self, ask):
        frame = pd.DataFrame({"g": ["a", "b"] * 10, "flat": [2.5, 3.5] * 10, "none": [np.nan] * 20})
        with pytest.raises(CannotEstimate, match="no spread"):
            ask("anova", split(frame, "mod3"), formula="flat ~ g")
        with pytest.raises(CannotEstimate, match="two groups"):
            ask("anova", split(frame, "mod3"), formula="none ~ g")
        lone = pd.DataFrame({"g": list("abcd"), "h": list("efgh"), "x": [1.0, 2.0, 4.0, 9.0]})
        with pytest.raises(CannotEstimate, match="no spread"):
            ask("anova", split(lone, "mod2"), formula="x ~ g")
