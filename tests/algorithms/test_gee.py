"""Generalised estimating equations against statsmodels on the pooled records."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from datasets import epil, named
from hypothesis import given, settings
from hypothesis import strategies as st

from cohortium.analysis import find
from cohortium.errors import CannotEstimate, Collinear, FormulaError, InvalidQuestion, NotConverged, Refused, Separation
from node.disclosure import Policy
from simulation import network

EXAMPLES = [
    {"formula": "bmi ~ age + sex + cluster(visits)", "family": "gaussian"},
    {"formula": "dead ~ sex + offset(log(years)) + cluster(visits)", "family": "binomial", "cohort_effect": "common"},
    {"formula": "visits ~ sex + cluster(arm)", "family": "poisson", "correlation": "independence"},
    {
        "formula": "bmi ~ sex + cluster(visits)",
        "family": "gaussian",
        "correlation": "ar1",
        "order": "years",
        "cohort_effect": "common",
        "std_errors": "bias-corrected",
    },
]
FAMILIES = {"gaussian": sm.families.Gaussian, "binomial": sm.families.Binomial, "poisson": sm.families.Poisson}
OUTCOMES = {"gaussian": "weight", "binomial": "ill", "poisson": "visits"}
CORRELATIONS = {
    "independence": sm.cov_struct.Independence,
    "exchangeable": sm.cov_struct.Exchangeable,
    "ar1": lambda: sm.cov_struct.Autoregressive(grid=True),
}


def estimates(result):
    return np.array([e.estimate for e in result.coefficients.values()])


def errors(result):
    return np.array([e.std_error for e in result.coefficients.values()])


def close(values, expected, rtol=1e-8, atol=1e-10):
    np.testing.assert_allclose(values, expected, rtol=rtol, atol=atol)


def people(seed=0, clusters=60, cohorts=3, *, likeness=1.0):
    """Clusters of 1 to 6 rows at times in no order, dealt out over cohorts."""
    rng = np.random.default_rng(seed)
    of = np.repeat(np.arange(clusters), rng.integers(1, 7, clusters))
    n = len(of)
    frame = pd.DataFrame({"id": [f"p{c}" for c in of], "cohort": rng.integers(0, cohorts, clusters)[of]})
    frame["x"], frame["w"] = rng.normal(0, 1, n), rng.normal(1, 1, clusters)[of]
    frame["arm"] = rng.choice(["a", "b"], n)
    frame["time"] = rng.permutation(n)
    eta = 0.2 + 0.4 * frame["x"] - 0.3 * frame["w"] + likeness * rng.normal(0, 1, clusters)[of]
    frame["weight"] = 70 + 3 * eta + rng.normal(0, 2, n)
    frame["ill"] = rng.random(n) < 1 / (1 + np.exp(-eta))
    frame["visits"] = rng.poisson(np.exp(0.5 * eta))
    return frame


def cohorts_of(frame, count):
    return named([frame[frame["cohort"] == k].drop(columns="cohort") for k in range(count)])


def pooled(frame, family, correlation, *, stratified=False, cov_type="robust", alpha=None):
    columns = {"(Intercept)": 1.0} if not stratified else {}
    x = pd.DataFrame({**columns, "x": frame["x"], "w": frame["w"], "arm[b]": frame["arm"] == "b"}).astype(float)
    if stratified:
        x = x.join(pd.get_dummies(frame["cohort"], prefix="c").astype(float))
    structure = CORRELATIONS[correlation]()
    rest = {}
    if alpha is not None:
        structure.dep_params, rest = alpha, {"first_dep_update": 10**6}
    y = frame[OUTCOMES[family]].astype(float)
    model = sm.GEE(y, x, groups=frame["id"], family=FAMILIES[family](), cov_struct=structure)
    return model.fit(ctol=1e-12, maxiter=60, cov_type=cov_type, **rest)


def ask_about(ask, frame, count, family, **params):
    formula = f"{OUTCOMES[family]} ~ x + w + arm + cluster(id)"
    return ask("gee", cohorts_of(frame, count), formula=formula, family=family, **params)


class TestReferenceValues:
    """statsmodels 0.15.0 at the split it was compared at."""

    def frames(self):
        frame = epil()
        return named([frame[frame["subject"].between(a, b)] for a, b in ((1, 30), (31, 48), (49, 59))])

    def fit(self, ask, correlation):
        return ask(
            "gee",
            self.frames(),
            formula="y ~ lbase + trtp + lage + V4 + cluster(subject)",
            family="poisson",
            correlation=correlation,
            cohort_effect="common",
        )

    def test_exchangeable(self, ask):
        result = self.fit(ask, "exchangeable")
        close(
            estimates(result),
            [1.74188584789624, 1.22647639015568, -0.0106902009949995, 0.588920846853861, -0.159769600576675],
        )
        close(
            errors(result),
            [0.155232001857703, 0.154623232171222, 0.191885063381377, 0.286382167032749, 0.0651407537528546],
        )
        close([result.alpha, result.scale], [0.399423702878205, 4.71624434982923])
        # statsmodels takes the scale of counts for 1 in its model-based errors.
        close(
            np.array(list(result.model_std_errors.values())) / np.sqrt(result.scale),
            [0.0610192606723426, 0.0481868480876982, 0.071371474397972, 0.162829731510118, 0.0423651830446802],
        )
        assert (result.n, result.clusters, result.pairs) == (236, 59, 354)
        assert result.rounds <= 15

    def test_independence(self, ask):
        result = self.fit(ask, "independence")
        close(
            estimates(result),
            [1.74635417122148, 1.22422201858675, -0.016853944267873, 0.578824308103059, -0.159769600576675],
        )
        close(
            errors(result),
            [0.152929004071724, 0.153686591514625, 0.190450744980526, 0.282162609637691, 0.0651407537528546],
        )
        close(result.scale, 4.71072281689266)
        close(
            np.array(list(result.model_std_errors.values())) / np.sqrt(result.scale),
            [0.0425533776521937, 0.0325311165314375, 0.0482041372341568, 0.109984965607351, 0.0545837099874696],
        )
        assert result.alpha is None
        assert result.rounds <= 10


class TestAgainstStatsmodels:
    @pytest.mark.parametrize("stratified", [False, True])
    @pytest.mark.parametrize("correlation", ["independence", "exchangeable"])
    @pytest.mark.parametrize("family", FAMILIES)
    def test_estimates_and_robust_errors(self, ask, family, correlation, stratified):
        frame = people(seed=1)
        effect = "stratified" if stratified else "common"
        result = ask_about(ask, frame, 3, family, correlation=correlation, cohort_effect=effect)
        expected = pooled(frame, family, correlation, stratified=stratified)
        width = len(result.coefficients)
        close(estimates(result), expected.params.iloc[:width], rtol=1e-8)
        close(errors(result), expected.bse.iloc[:width], rtol=1e-8)
        close(result.covariance, expected.cov_params().iloc[:width, :width], rtol=1e-7)
        naive = pooled(frame, family, correlation, stratified=stratified, cov_type="naive")
        scale = result.scale if family != "gaussian" else 1.0
        close(np.array(list(result.model_std_errors.values())), naive.bse.iloc[:width] * np.sqrt(scale), rtol=1e-8)
        if correlation == "exchangeable":
            close(result.alpha, expected.cov_struct.dep_params, rtol=1e-8)
        residuals = np.asarray(expected.resid_pearson)
        close(result.scale, (residuals**2).sum() / (len(frame) - len(expected.params)), rtol=1e-8)

    @pytest.mark.parametrize("stratified", [False, True])
    @pytest.mark.parametrize("correlation", ["independence", "exchangeable"])
    @pytest.mark.parametrize("family", FAMILIES)
    def test_bias_corrected_errors(self, ask, family, correlation, stratified):
        frame = people(seed=2, clusters=30)
        result = ask_about(
            ask,
            frame,
            3,
            family,
            correlation=correlation,
            cohort_effect="stratified" if stratified else "common",
            std_errors="bias-corrected",
        )
        expected = pooled(frame, family, correlation, stratified=stratified, cov_type="bias_reduced")
        close(errors(result), expected.bse.iloc[: len(result.coefficients)], rtol=1e-7)
        assert np.all(errors(result) > np.array(list(result.robust_std_errors.values())))

    @pytest.mark.parametrize("stratified", [False, True])
    @pytest.mark.parametrize("family", FAMILIES)
    def test_ar1(self, ask, family, stratified):
        frame = people(seed=3, clusters=80)
        effect = "stratified" if stratified else "common"
        result = ask_about(ask, frame, 3, family, correlation="ar1", order="time", cohort_effect=effect)
        ordered = frame.sort_values(["id", "time"])
        # Programs estimate the correlation in ways of their own: given ours, all else must be the same.
        expected = pooled(ordered, family, "ar1", stratified=stratified, alpha=result.alpha)
        width = len(result.coefficients)
        close(estimates(result), expected.params.iloc[:width], rtol=1e-7)
        close(errors(result), expected.bse.iloc[:width], rtol=1e-7)
        e = pd.Series(np.asarray(expected.resid_pearson), index=ordered.index)
        p, before = len(expected.params), e.groupby(ordered["id"]).shift(1)
        pairs = before.notna().sum()
        scale = (e**2).sum() / (len(e) - p)
        close([result.scale, result.pairs], [scale, pairs], rtol=1e-7)
        close(result.alpha, (e * before).sum() / ((pairs - p) * scale), rtol=1e-6)

    @settings(max_examples=6, deadline=None)
    @given(st.integers(0, 10_000), st.integers(1, 13), st.sampled_from(sorted(FAMILIES)))
    def test_random_data(self, seed, count, family):
        frame = people(seed=seed, clusters=60, cohorts=count)
        frame.loc[np.random.default_rng(seed).random(len(frame)) < 0.1, "x"] = np.nan
        frames = cohorts_of(frame, count) | {"nobody": frame.iloc[:0].drop(columns="cohort")}
        formula = f"{OUTCOMES[family]} ~ x + w + arm + cluster(id)"
        result = network(frames).study().gee(formula=formula, family=family, cohort_effect="common").result()
        complete = frame.dropna()
        expected = pooled(complete, family, "exchangeable")
        close(estimates(result), expected.params, rtol=1e-7)
        close(errors(result), expected.bse, rtol=1e-7)
        assert (result.n, result.clusters) == (len(complete), complete["id"].nunique())
        assert result.n_excluded == len(frame) - len(complete)

    def test_offset(self, ask):
        frame = people(seed=5)
        frame["years"] = np.random.default_rng(1).uniform(0.5, 4, len(frame))
        formula = "visits ~ x + offset(log(years)) + cluster(id)"
        result = ask("gee", cohorts_of(frame, 3), formula=formula, family="poisson", cohort_effect="common")
        x = sm.add_constant(frame[["x"]])
        model = sm.GEE(
            frame["visits"],
            x,
            groups=frame["id"],
            family=sm.families.Poisson(),
            cov_struct=sm.cov_struct.Exchangeable(),
            offset=np.log(frame["years"]),
        )
        expected = model.fit(ctol=1e-12, maxiter=60)
        close(estimates(result), expected.params)
        close(errors(result), expected.bse)


class TestWhateverTheData:
    def test_it_does_not_matter_which_cohort_has_which_cluster(self, ask):
        frame = people(seed=1)
        one = ask_about(ask, frame.assign(cohort=0), 1, "binomial", cohort_effect="common")
        shuffled = frame.sample(frac=1, random_state=3)
        many = ask_about(ask, shuffled, 3, "binomial", cohort_effect="common")
        close(estimates(many), estimates(one), rtol=1e-9)
        close(errors(many), errors(one), rtol=1e-9)

    @pytest.mark.parametrize("effect", ["common", "stratified"])
    @pytest.mark.parametrize("family", FAMILIES)
    def test_extreme_scales(self, ask, family, effect):
        frame = people(seed=2)
        plain = ask_about(ask, frame, 3, family, cohort_effect=effect)
        frame["x"] = frame["x"] * 1e6 + 1e8
        frame["weight"] = frame["weight"] * 1e-5 + 1e3
        far = ask_about(ask, frame, 3, family, cohort_effect=effect)
        close(far.coefficients["x"].statistic, plain.coefficients["x"].statistic, rtol=1e-5)
        unit = 1e-5 if family == "gaussian" else 1.0
        close(far.coefficients["arm[b]"].estimate, plain.coefficients["arm[b]"].estimate * unit, rtol=1e-5, atol=0)

    def test_levels_missing_at_cohorts(self, ask):
        frame = people(seed=4)
        frame.loc[frame["cohort"] == 0, "arm"] = "b"
        result = ask_about(ask, frame, 3, "gaussian", cohort_effect="common")
        close(estimates(result), pooled(frame, "gaussian", "exchangeable").params)

    def test_a_cohort_whose_outcome_does_not_vary_tells_nothing(self, ask):
        frame = people(seed=6)
        frame.loc[frame["cohort"] == 1, "ill"] = True
        result = ask_about(ask, frame, 3, "binomial")
        rest = frame[frame["cohort"] != 1]
        expected = pooled(rest, "binomial", "exchangeable", stratified=True)
        close(estimates(result), expected.params.iloc[:3])
        assert result.n == len(rest)
        assert result.clusters == rest["id"].nunique()
        assert "does not vary" in " ".join(result.warnings)

    def test_one_sandwich_for_all_clusters(self, ask):  # not one per cohort, averaged
        frame = people(seed=7)
        result = ask_about(ask, frame, 3, "gaussian", correlation="independence", cohort_effect="common")
        close(errors(result), pooled(frame, "gaussian", "independence").bse)

    def test_few_clusters_are_warned_of(self, ask):
        few = ask_about(ask, people(seed=2, clusters=30), 3, "gaussian")
        assert "bias-corrected" in few.warnings[0]
        many = ask_about(ask, people(seed=2, clusters=60), 3, "gaussian")
        assert not many.warnings

    def test_model_based_errors_on_request(self, ask):
        result = ask_about(ask, people(), 3, "gaussian", std_errors="model")
        close(errors(result), list(result.model_std_errors.values()), rtol=1e-14)
        assert "model standard errors" in result.tables()[0].title

    def test_odds_ratios_have_a_table_of_their_own_without_the_intercept(self, ask):
        result = ask_about(ask, people(), 3, "binomial", cohort_effect="common")
        coefficients, ratios, *_ = result.tables()
        assert ratios.title == "Odds ratios"
        assert [row[0] for row in ratios.rows] == [row[0] for row in coefficients.rows if row[0] != "(Intercept)"]
        close([row[1] for row in ratios.rows], np.exp([e.estimate for e in result.effects.values()]))
        assert len(coefficients.columns) == 7


class TestLimits:
    @pytest.mark.parametrize(
        ("formula", "where", "message"),
        [
            ("visits ~ x", "", "Say which rows belong together"),
            ("visits ~ x + cluster(id) + cluster(arm)", "arm", "One variable"),
            ("visits ~ x + cluster(w)", "w", "grouped by an identifier"),
            ("visits ~ x + (1 | id)", "id", "does not take"),
            ("arm ~ x + cluster(id)", "arm", "category"),
        ],
    )
    def test_formulas_are_refused_at_the_character(self, ask, formula, where, message):
        with pytest.raises(FormulaError, match=message) as error:
            ask("gee", cohorts_of(people(), 3), formula=formula, family="poisson")
        assert formula[error.value.position :].startswith(where)

    @pytest.mark.parametrize(
        ("params", "message"),
        [
            ({"correlation": "ar1"}, "`order` names the variable"),
            ({"order": "time"}, "`order` names the variable"),
            ({"correlation": "ar1", "order": "arm"}, "an order takes a number"),
            ({"correlation": "ar1", "order": "tmie"}, "Did you mean `time`"),
            ({"family": "gamma"}, "family"),
            ({"formula": "ill ~ 0 + x + cluster(id)"}, "cannot leave the intercept out"),
        ],
    )
    def test_bad_parameters_are_named(self, ask, params, message):
        with pytest.raises(InvalidQuestion, match=message):
            ask("gee", cohorts_of(people(), 3), **{"formula": "ill ~ x + cluster(id)", "family": "binomial", **params})

    def test_ties_in_the_order(self, ask):
        frame = people().assign(time=1)
        with pytest.raises(InvalidQuestion, match="same `time`"):
            ask_about(ask, frame, 3, "gaussian", correlation="ar1", order="time")

    def test_separation_is_named(self, ask):
        frame = people().assign(ill=lambda f: f["x"] > 0.1)
        with pytest.raises(Separation, match="`x`"):
            ask_about(ask, frame, 3, "binomial")

    def test_everybody_ill(self, ask):
        with pytest.raises(Separation, match="Nobody has the outcome"):
            ask_about(ask, people().assign(visits=0), 3, "poisson", cohort_effect="common")

    def test_collinear_columns_are_named(self, ask):
        frame = people().assign(again=lambda f: 2 * f["x"])
        with pytest.raises(Collinear, match="`again` is a combination of"):
            ask("gee", cohorts_of(frame, 3), formula="ill ~ x + again + cluster(id)", family="binomial")

    def test_no_pairs(self, ask):
        frame = people().drop_duplicates("id")
        with pytest.raises(CannotEstimate, match="too few pairs"):
            ask_about(ask, frame, 3, "gaussian")

    def test_an_impossible_correlation(self, ask):
        rng = np.random.default_rng(0)
        frame = pd.DataFrame({"id": np.repeat(np.arange(40), 2), "x": rng.normal(0, 1, 80)})
        noise = rng.normal(0, 1, 40)
        frame["y"] = np.ravel(np.column_stack([noise, -noise])) + 0.001 * rng.normal(0, 1, 80)
        frame = pd.concat([frame, pd.DataFrame({"id": 99, "x": rng.normal(0, 1, 6), "y": rng.normal(0, 1, 6)})])
        with pytest.raises(CannotEstimate, match="not possible for clusters as large"):
            ask("gee", {"all": frame}, formula="y ~ x + cluster(id)", family="gaussian", cohort_effect="common")

    def test_more_coefficients_than_clusters(self, ask):
        with pytest.raises(CannotEstimate, match="as many coefficients as clusters"):
            ask("gee", {"all": people()}, formula="ill ~ x + w + arm + cluster(arm)", family="binomial")

    def test_an_unfinished_fit_gives_no_numbers(self, ask):
        with pytest.raises(NotConverged, match="no numbers are given"):
            ask_about(ask, people(), 3, "binomial", max_iterations=4)

    def test_a_cluster_in_two_cohorts_counts_twice(self, ask):  # pitfall 8: nothing here can notice, so it is said
        frame = people().drop(columns="cohort")
        frames = {"a": frame[::2], "b": frame[1::2]}
        result = ask("gee", frames, formula="ill ~ x + cluster(id)", family="binomial")
        assert result.clusters > frame["id"].nunique()
        assert "taken for two" in " ".join(find("gee").doc.split())


class TestDisclosure:
    def test_few_clusters_are_refused(self, ask):
        frame = people(clusters=27)
        frame["cohort"] = frame["id"].str[1:].astype(int) % 3
        with pytest.raises(Refused, match="`clusters` counts fewer than 10 people"):
            ask_about(ask, frame, 3, "gaussian", policy=Policy())

    def test_small_counts_of_missing_values_are_withheld(self, ask):
        frame = people(clusters=90)
        frame.loc[frame.index[:4], "w"] = np.nan
        result = ask_about(ask, frame, 3, "gaussian", policy=Policy(budget_refuse=10))
        assert result.n_excluded is None
        assert result.missing["w"] is None
        assert "withheld" in " ".join(result.warnings)
