"""Cross-tabulations against scipy and statsmodels on the pooled records."""

import math

import numpy as np
import pandas as pd
import pytest
from datasets import named, split, ucb
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.contingency_tables import StratifiedTable, Table2x2
from statsmodels.stats.proportion import confint_proportions_2indep

from cohortium.errors import InvalidQuestion, UnknownName
from node.disclosure import Policy
from simulation import network

EXAMPLES = [
    {"rows": "sex", "columns": "smokes", "strata": ["arm"]},
    {"rows": "sex", "columns": "smokes", "strata": ["arm"], "cohort_effect": "common"},
    {"rows": "arm", "columns": "sex", "draws": 500},
]
DEPARTMENTS = ("AB", "CD", "EF")


def close(values, expected, rtol=1e-9, atol=1e-12):
    np.testing.assert_allclose(np.array(values, dtype=float), np.array(expected, dtype=float), rtol=rtol, atol=atol)


def by_department():
    frame = ucb()
    return named([frame[frame["Dept"].isin(list(pair))] for pair in DEPARTMENTS])


class TestReferenceValues:
    def test_chi_squared(self, ask):  # scipy 1.17.1, `desc.chi2.ucb`
        result = ask("crosstab", split(ucb(), "mod3"), rows="Gender", columns="Admit")
        assert result.counts == ((557, 1278), (1198, 1493))
        close([result.chi_squared.statistic, result.chi_squared.p_value], [92.2052804115276, 7.81360038899472e-22])
        close(
            [result.chi_squared_yates.statistic, result.chi_squared_yates.p_value],
            [91.6095978581212, 1.05579680878284e-21],
        )
        close(result.fisher.p_value, 4.83590317933735e-22)
        close(result.measures["odds ratio"].estimate, 0.543159438918803)
        assert (result.n, result.n_excluded, result.chi_squared.df) == (4526, 0, 1)

    EXPECTED = (1.10534266150222, 0.0809889096562209, 1.52460666044344, 1.4269462285867, 18.8255137052361)
    TARONE = 18.8255012520528

    def check(self, found):
        close(
            [
                found.odds_ratio.estimate,
                found.log_std_error,
                found.test.statistic,
                found.test_corrected.statistic,
                found.breslow_day.statistic,
                found.tarone.statistic,
            ],
            [*self.EXPECTED, self.TARONE],
        )
        assert (found.strata, found.tarone.df) == (6, 5)

    @pytest.mark.parametrize("cohort_effect", ["stratified", "common"])
    def test_strata_within_cohorts(self, ask, cohort_effect):  # statsmodels 0.15.0, `desc.cmh.ucb`
        result = ask(
            "crosstab",
            by_department(),
            rows="Gender",
            columns="Admit",
            strata=["Dept"],
            cohort_effect=cohort_effect,
        )
        self.check(result.mantel_haenszel)
        assert result.rounds == (2 if cohort_effect == "stratified" else 1)

    def test_strata_spread_over_cohorts_are_added_up_first(self, ask):
        asked = {"rows": "Gender", "columns": "Admit", "strata": ["Dept"]}
        common = ask("crosstab", split(ucb(), "mod3"), cohort_effect="common", **asked)
        self.check(common.mantel_haenszel)
        apart = ask("crosstab", split(ucb(), "mod3"), **asked)
        assert apart.mantel_haenszel.strata == 18
        assert abs(apart.mantel_haenszel.test.statistic / self.EXPECTED[2] - 1) > 1e-3
        assert apart.strata == common.strata

    def test_cohorts_are_strata(self, ask):
        result = ask("crosstab", by_department(), rows="Gender", columns="Admit")
        tables = [pd.crosstab(f["Gender"], f["Admit"]).to_numpy() for f in by_department().values()]
        found, oracle = result.mantel_haenszel, StratifiedTable(tables)
        close(found.odds_ratio.estimate, oracle.oddsratio_pooled)
        close([found.odds_ratio.ci_low, found.odds_ratio.ci_high], oracle.oddsratio_pooled_confint())


def people(n, seed, rows=2, columns=2, strata=3):
    rng = np.random.default_rng(seed)
    row = rng.integers(0, rows, n)
    column = np.where(rng.random(n) < 0.3, np.minimum(row, columns - 1), rng.integers(0, columns, n))
    frame = pd.DataFrame({"r": row, "c": column, "s": rng.integers(0, strata, n)}).astype(str)
    # Every level is somewhere, so that the inferred dictionary has it.
    return frame.mask(rng.random(frame.shape) < 0.05)


def random_cohorts(frame, cohorts, seed):
    where = np.random.default_rng(seed).integers(0, cohorts, len(frame))
    return named([frame[where == k] for k in range(cohorts)])


@settings(max_examples=30)
@given(seed=st.integers(0, 10**6), cohorts=st.integers(1, 13), n=st.integers(60, 400))
def test_two_by_two_is_as_pooled_for_any_split(seed, cohorts, n):
    frame = people(n, seed)
    frames = random_cohorts(frame, cohorts, seed)
    study = network(frames).study()
    result = study.crosstab(rows="r", columns="c", strata=["s"], cohort_effect="common", confidence=0.9).result()
    complete = frame.dropna()
    table = pd.crosstab(complete["r"], complete["c"]).to_numpy()
    assume(table.shape == (2, 2) and table.min() > 0)
    assert result.counts == tuple(map(tuple, table.tolist()))
    assert (result.n, result.n_excluded) == (len(complete), n - len(complete))
    close(result.chi_squared.statistic, stats.chi2_contingency(table, correction=False).statistic)
    close(result.chi_squared_yates.statistic, stats.chi2_contingency(table).statistic)
    close(
        result.likelihood_ratio.p_value,
        stats.chi2_contingency(table, correction=False, lambda_="log-likelihood").pvalue,
    )
    close(result.expected, stats.contingency.expected_freq(table))
    close(result.cramer_v, stats.contingency.association(table, correction=False))
    close(result.fisher.p_value, stats.fisher_exact(table).pvalue)
    oracle = Table2x2(table[::-1, ::-1])  # second row against first, second column the event
    odds, risk, difference = (result.measures[m] for m in ("odds ratio", "risk ratio", "risk difference"))
    close([odds.ci_low, odds.ci_high], oracle.oddsratio_confint(alpha=0.1))
    close([risk.estimate, risk.ci_low, risk.ci_high], [oracle.riskratio, *oracle.riskratio_confint(alpha=0.1)])
    (a, b), (c, d) = table
    close(difference.estimate, d / (c + d) - b / (a + b))
    close(
        [difference.ci_low, difference.ci_high],
        confint_proportions_2indep(d, c + d, b, a + b, method="wald", compare="diff", alpha=0.1),
    )
    check_strata(result.mantel_haenszel, [pd.crosstab(g["r"], g["c"]).to_numpy() for _, g in complete.groupby("s")])
    apart = study.crosstab(rows="r", columns="c", strata=["s"]).result()
    tables = [pd.crosstab(g["r"], g["c"]).to_numpy() for f in frames.values() for _, g in f.dropna().groupby("s")]
    check_strata(apart.mantel_haenszel, tables)


def check_strata(found, tables):
    tables = [t for t in tables if t.shape == (2, 2)]
    if found is None:
        assert not tables or StratifiedTable(tables).oddsratio_pooled in (0, np.inf)
        return
    oracle = StratifiedTable(tables)
    assert found.strata == len(tables)
    close(found.odds_ratio.estimate, oracle.oddsratio_pooled)
    close(found.log_std_error, oracle.logodds_pooled_se)
    close(found.test.statistic, oracle.test_null_odds(correction=False).statistic)
    off, variance = (sum(t) for t in zip(*map(hypergeometric, tables), strict=True))
    close(found.test_corrected.statistic, max(abs(off) - 0.5, 0) ** 2 / variance)
    if len(tables) > 1 and abs(found.odds_ratio.estimate - 1) > 1e-6:  # statsmodels divides by 1 - OR
        close(found.breslow_day.statistic, oracle.test_equal_odds(adjust=False).statistic, rtol=1e-7)
        close(found.tarone.statistic, oracle.test_equal_odds(adjust=True).statistic, rtol=1e-7)


def hypergeometric(table):
    """Distance of a cell from its mean, and its variance, given the margins."""
    law = stats.hypergeom(table.sum(), table[0].sum(), table[:, 0].sum())
    return table[0, 0] - law.mean(), law.var()


@settings(max_examples=20)
@given(
    seed=st.integers(0, 10**6),
    cohorts=st.integers(1, 7),
    shape=st.tuples(st.integers(2, 5), st.integers(2, 5)).filter(lambda s: s != (2, 2)),
)
def test_larger_tables_are_as_pooled_for_any_split(seed, cohorts, shape):
    frame = people(300, seed, *shape)
    result = network(random_cohorts(frame, cohorts, seed)).study().crosstab(rows="r", columns="c", draws=2000).result()
    pooled = pd.crosstab(frame["r"], frame["c"])
    table = pooled.to_numpy()
    assume(table.shape == shape)
    close(result.counts, table)
    expected = stats.chi2_contingency(table, correction=False)
    close([result.chi_squared.statistic, result.chi_squared.df], [expected.statistic, expected.dof])
    assert result.chi_squared_yates is None
    assert result.mantel_haenszel is None
    assert result.fisher.draws == 2000
    assert abs(result.fisher.p_value - expected.pvalue) < 0.1
    if 2 in shape:
        long = table if shape[1] == 2 else table.T
        score = np.repeat(np.arange(len(long)), long.sum(axis=1))
        event = np.concatenate([np.repeat([0, 1], row) for row in long])
        close(result.trend.statistic, len(event) * np.corrcoef(score, event)[0, 1] ** 2)  # Agresti 2013, 5.3.5
    else:
        assert result.trend is None


def test_the_trend_of_prop_trend_test(ask):
    # R 4.2.2: smokers <- c(83, 90, 129, 70); patients <- c(86, 93, 136, 82); prop.trend.test(smokers, patients)
    frame = pd.DataFrame(
        [(g, e) for g, n, s in zip("abcd", (86, 93, 136, 82), (83, 90, 129, 70), strict=True)
         for e in ["yes"] * s + ["no"] * (n - s)], columns=["group", "smokes"]
    )  # fmt: skip
    result = ask("crosstab", split(frame, "mod3"), rows="group", columns="smokes")
    close([result.trend.statistic, result.trend.p_value], [8.2249, 0.004132], rtol=1e-4)
    again = ask("crosstab", split(frame, "mod3"), rows="group", columns="smokes", scores=[0, 0, 0, 1])
    assert again.trend.statistic > result.trend.statistic


def test_fisher_by_simulation_is_that_of_enumeration(ask):
    # Job satisfaction (Agresti 2002, p. 57): fisher.test in R gives p = 0.7827.
    table = np.array([[1, 2, 1, 0], [3, 3, 6, 1], [10, 10, 14, 9], [6, 7, 12, 11]])
    rows = [(f"i{i}", f"s{j}") for i in range(4) for j in range(4) for _ in range(table[i, j])]
    frames = split(pd.DataFrame(rows, columns=["income", "satisfied"]), "mod3")
    result = ask("crosstab", frames, rows="income", columns="satisfied", draws=200_000)
    assert abs(result.fisher.p_value - 0.7827) < 0.004
    again = ask("crosstab", frames, rows="income", columns="satisfied", draws=200_000)
    assert again.fisher == result.fisher
    other = ask("crosstab", frames, rows="income", columns="satisfied", draws=200_000, seed=2)
    assert other.fisher != result.fisher
    assert any("below 5" in w for w in result.warnings)


def test_fisher_estimates_the_conditional_odds_ratio(ask):
    # Fisher's tea tasting. R's fisher.test, which solves to a few digits: 6.408309, limits 0.2117329 and 621.9337505.
    frame = pd.DataFrame(
        {"guess": ["milk"] * 4 + ["tea"] * 4, "truth": ["milk"] * 3 + ["tea"] + ["milk"] + ["tea"] * 3}
    )
    found = ask("crosstab", split(frame, "mod3"), rows="guess", columns="truth").fisher
    close([found.odds_ratio, found.ci_low], [6.408309, 0.2117329], rtol=2e-5)
    oracle = stats.contingency.odds_ratio([[3, 1], [1, 3]])
    close([found.p_value, found.odds_ratio], [0.485714285714286, oracle.statistic])
    close([found.ci_low, found.ci_high], list(oracle.confidence_interval(0.95)))


class TestUnderThePolicyOfACohort:
    def frames(self, small):
        """Three cohorts whose tables are large, but for a cell of the first."""
        large = pd.DataFrame({"r": ["a", "a", "b", "b"] * 30, "c": ["n", "y"] * 60, "s": ["u", "v"] * 60})
        few = large[~((large["r"] == "b") & (large["c"] == "y"))]
        rare = pd.DataFrame({"r": ["b"] * small, "c": ["y"] * small, "s": ["v"] * small})
        return named([pd.concat([few, rare]), large, large])

    def test_withheld_cells_take_the_tests_along_but_not_the_odds_ratio_over_strata(self, ask):
        result = ask("crosstab", self.frames(4), policy=Policy(), rows="r", columns="c")
        assert None in result.counts[1]
        assert (result.chi_squared, result.fisher, result.cramer_v, result.measures) == (None, None, None, {})
        assert any("Withheld" in w and "Mantel-Haenszel" in w for w in result.warnings)
        tables = [pd.crosstab(f["r"], f["c"]).to_numpy() for f in self.frames(4).values()]
        close(result.mantel_haenszel.odds_ratio.estimate, StratifiedTable(tables).oddsratio_pooled)
        assert "withheld" in result.summary()
        assert result.chart() is None or result.chart().to_dict()

    def test_strata_that_are_withheld_cannot_be_added_up_first(self, ask):
        result = ask(
            "crosstab", self.frames(4), policy=Policy(), rows="r", columns="c", strata=["s"], cohort_effect="common"
        )
        assert result.mantel_haenszel is None
        assert any("cohort_effect='stratified'" in w for w in result.warnings)

    @pytest.mark.parametrize("small", [1, 4, 9])
    def test_no_total_gives_a_cell_away(self, small):
        """One cell of a cohort is small: what it tells leaves two unknowns at least, whatever is subtracted."""
        from algorithms.crosstab import CrosstabParams, cells

        for strata in ([], ["s"]):
            net = network(self.frames(small), policy=Policy())
            node = net.service.nodes["c0"]
            told = cells(
                node.data, CrosstabParams.bind({"rows": "r", "columns": "c", "strata": strata}, node.dictionary)
            )
            released = np.asarray(told.strata)
            assert np.isnan(released).sum() >= 2
            for margin in np.ndindex(2, 2):
                assert np.isnan(released[(slice(None), *margin)]).sum() != 1 or len(released) == 1

    def test_a_cohort_of_few_is_left_out_of_the_odds_ratio_and_said(self, ask):
        frames = self.frames(30) | {"few": self.frames(30)["c1"].head(6)}
        result = ask("crosstab", frames, policy=Policy(), rows="r", columns="c")
        assert result.mantel_haenszel.strata == 3
        assert any("1 cohorts have too few people" in w for w in result.warnings)

    def test_an_odds_ratio_that_singles_out_is_refused(self):
        from algorithms.crosstab import CrosstabParams, homogeneity
        from cohortium.errors import Refused

        node = network(self.frames(30)).service.nodes["c0"]
        params = CrosstabParams.bind({"rows": "r", "columns": "c"}, node.dictionary)
        for odds_ratio in (1e5, 1e-5, -1.0, math.inf):
            with pytest.raises(Refused, match="single out"):
                homogeneity(node.data, params, odds_ratio=odds_ratio)


class TestOddTables:
    def frame(self, *cells):
        rows = [
            (r, c)
            for (r, c), n in zip([("a", "n"), ("a", "y"), ("b", "n"), ("b", "y")], cells, strict=True)
            for _ in range(n)
        ]
        return pd.DataFrame(rows, columns=["r", "c"])

    def levels(self):
        from cohortium.dictionary import Category, Dictionary, Variable

        pair = {"r": ("a", "b"), "c": ("n", "y")}
        return Dictionary(
            name="d",
            version="1",
            variables={
                k: Variable(type="category", categories=tuple(Category(value=x) for x in v)) for k, v in pair.items()
            },
        )

    def test_an_empty_cell(self, ask):
        result = ask(
            "crosstab", split(self.frame(20, 0, 15, 9), "mod3"), dictionary=self.levels(), rows="r", columns="c"
        )
        assert result.measures["odds ratio"].estimate == math.inf
        assert math.isnan(result.measures["odds ratio"].ci_low)
        assert result.chi_squared.p_value < 0.05
        assert any("no confidence interval" in w for w in result.warnings)
        assert result.mantel_haenszel is None

    def test_an_empty_row_an_empty_table(self, ask):
        one = ask("crosstab", split(self.frame(20, 9, 0, 0), "mod3"), dictionary=self.levels(), rows="r", columns="c")
        assert (one.chi_squared, one.fisher, one.measures) == (None, None, {})
        assert any("nothing to test" in w for w in one.warnings)
        none = ask("crosstab", {"c": self.frame(0, 0, 0, 0)}, dictionary=self.levels(), rows="r", columns="c")
        assert none.n == 0
        assert none.summary()
        assert none.chart() is None

    def test_a_level_that_nobody_has_is_left_out_of_the_tests(self, ask):
        frame = people(200, 1, rows=3)
        few = split(frame[frame["r"] != "1"], "mod3") | {"empty": frame.head(0)}
        levels = network({"all": frame}).service.dictionary()
        result = ask("crosstab", few, dictionary=levels, rows="r", columns="c")
        table = pd.crosstab(*(frame.loc[frame["r"].isin(["0", "2"]), k] for k in ("r", "c"))).to_numpy()
        close(result.chi_squared.statistic, stats.chi2_contingency(table, correction=False).statistic)
        assert result.counts[1] == (0, 0)
        assert any("nobody" in w for w in result.warnings)

    def test_a_cohort_without_a_variable(self, ask):
        frame = people(200, 2)
        frames = split(frame, "mod3") | {"other": frame.drop(columns="c")}
        result = ask("crosstab", frames, rows="r", columns="c")
        assert result.n == len(frame[["r", "c"]].dropna())
        assert any("3 of 4 cohorts" in w for w in result.warnings)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"rows": "r", "columns": "r"}, "`r` is given twice"),
        ({"rows": "r", "columns": "c", "strata": ["c"]}, "given twice"),
        ({"rows": "r", "columns": "x"}, "`x` is a number and does not divide people"),
        ({"rows": "r", "columns": "c", "scores": [1, 2]}, "`scores` are for a trend"),
        ({"rows": "many", "columns": "c", "scores": [1, 2]}, "Give 3 `scores`"),
        ({"rows": "many", "columns": "c", "scores": [1, 1, 1]}, "differ"),
        ({"rows": "r", "columns": "c", "cohort_effect": "random"}, "cohort_effect"),
    ],
)
def test_bad_input_is_named(ask, params, message):
    frame = people(60, 3).assign(x=0.5, many=["u", "v", "w"] * 20)
    with pytest.raises(InvalidQuestion, match=message):
        ask("crosstab", split(frame, "mod3"), **params)


def test_an_unknown_variable_is_named(ask):
    with pytest.raises(UnknownName, match="gender"):
        ask("crosstab", by_department(), rows="gender", columns="Admit")
