"""Multinomial logistic regression against statsmodels on the pooled records."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from datasets import anes96, named, split
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, special, stats

from cohortium.errors import CannotEstimate, Collinear, FormulaError, InvalidQuestion, NotConverged, Refused, Separation
from node.disclosure import Policy
from simulation import network

EXAMPLES = [
    {"formula": "arm ~ age + sex"},
    {"formula": "arm ~ age * sex", "cohort_effect": "common"},
]
FORMULA = "pid ~ logpopul + selfLR + age + educ + income"


def estimates(result):
    return np.array([e.estimate for e in result.coefficients.values()])


def errors(result):
    return np.array([e.std_error for e in result.coefficients.values()])


def close(values, expected, rtol=1e-8, atol=1e-10):
    np.testing.assert_allclose(values, expected, rtol=rtol, atol=atol)


def people(seed=0, n=400, cohorts=3):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"x": rng.normal(2, 1, n), "w": rng.gamma(2, 1, n), "sex": rng.choice(["f", "m"], n)})
    frame["cohort"] = rng.integers(0, cohorts, n)
    eta = np.column_stack([np.zeros(n), 0.5 * frame["x"] - 1, 0.4 * frame["w"] - 0.6 * (frame["sex"] == "m")])
    frame["kind"] = np.array(["bus", "car", "train"])[np.argmax(eta + rng.gumbel(0, 1, (n, 3)), axis=1)]
    return frame


def cohorts_of(frame, count):
    return named([frame[frame["cohort"] == k].drop(columns="cohort") for k in range(count)])


def pooled(frame, *, stratified=False):
    x = pd.DataFrame({"x": frame["x"], "w": frame["w"], "sex": frame["sex"] == "m"}).astype(float)
    x = x.join(pd.get_dummies(frame["cohort"], prefix="c").astype(float)) if stratified else sm.add_constant(x)
    return sm.MNLogit(frame["kind"].astype("category").cat.codes, x).fit(method="newton", tol=1e-14, disp=0)


def slopes_of(fit):
    return fit.params.loc[["x", "w", "sex"]].to_numpy().T.ravel(), fit.bse.loc[["x", "w", "sex"]].to_numpy().T.ravel()


class TestReferenceValues:
    def test_anes96(self, ask):  # statsmodels 0.15.0, seven categories, split by income
        result = ask("multinomial", split(anes96(), "blk4@income"), formula=FORMULA, cohort_effect="common")
        expected = np.array(
            [
                -0.373401677358486,
                -0.0115359745666887,
                0.29771435158938,
                -0.0249449954419985,
                0.0824914421393436,
                0.0051965531725111,
                -2.25091317683813,
                -0.0887506530304917,
                0.391668641732379,
                -0.0228978370929893,
                0.181042757513338,
                0.0478739760875405,
                -3.66558353021454,
                -0.105966698986875,
                0.573450507764627,
                -0.0148512068846231,
                -0.00715241904228464,
                0.0575751595413684,
                -7.61384309044482,
                -0.0915567016926665,
                1.2787717866112,
                -0.00868134503011431,
                0.199827955319979,
                0.0844983752505216,
                -7.0604782464989,
                -0.0932846039573339,
                1.3469616457076,
                -0.0179040689470592,
                0.216938849880448,
                0.0809584121559918,
                -12.1057509004634,
                -0.140880692401502,
                2.07008013504149,
                -0.00943264870139473,
                0.321925702415952,
                0.10889408328648,
            ]
        ).reshape(6, 6)
        std_errors = np.array(
            [
                0.629837631010604,
                0.0342823658110641,
                0.093626795021844,
                0.00652485840144233,
                0.0735865798876803,
                0.0176336937446049,
                0.763189948950141,
                0.0391615554387918,
                0.108238691886008,
                0.00791446175952357,
                0.0852893563110291,
                0.0222809296598855,
                1.15654149234901,
                0.0570382294848862,
                0.158548133696225,
                0.0113313133199067,
                0.1262913233696,
                0.0336142087999502,
                0.9575809602053,
                0.0437902765993787,
                0.128896585421893,
                0.00841874860506473,
                0.0941250559429848,
                0.0261963632459914,
                0.844363828320837,
                0.0393516554469951,
                0.117186010740609,
                0.00761101522270128,
                0.0850070091340717,
                0.0229760790728527,
                1.05995482135287,
                0.0421380471147824,
                0.143408909042733,
                0.0081338624778801,
                0.0910979920784181,
                0.0253008880264701,
            ]
        ).reshape(6, 6)
        close(estimates(result), expected[:, 1:].ravel())
        close(errors(result), std_errors[:, 1:].ravel())
        close([e.estimate for e in result.intercepts.values()], expected[:, 0])
        close([e.std_error for e in result.intercepts.values()], std_errors[:, 0])
        close(result.log_likelihood, -1461.92274724815)
        assert list(result.coefficients)[:2] == ["1: logpopul", "1: selfLR"]
        assert (result.n, result.reference, result.parameters) == (944, "0", 36)
        assert result.rounds <= 10


class TestAgainstStatsmodels:
    @pytest.mark.parametrize("stratified", [False, True])
    def test_every_number(self, ask, stratified):
        frame = people(seed=1)
        effect = "stratified" if stratified else "common"
        result = ask("multinomial", cohorts_of(frame, 3), formula="kind ~ x + w + sex", cohort_effect=effect)
        fit = pooled(frame, stratified=stratified)
        slopes, std_errors = slopes_of(fit)
        close(estimates(result), slopes)
        close(errors(result), std_errors)
        close(result.log_likelihood, fit.llf, rtol=1e-11)
        assert result.parameters == fit.params.size
        close([result.aic, result.bic], [fit.aic, fit.bic], rtol=1e-10)
        groups = [group for _, group in frame.groupby("cohort")] if stratified else [frame]
        null = sum((g["kind"].value_counts() * np.log(g["kind"].value_counts() / len(g))).sum() for g in groups)
        close(result.null_log_likelihood, null, rtol=1e-12)
        close([result.chi_square, result.df], [2 * (fit.llf - null), 6])
        close(result.p_value, stats.chi2.sf(result.chi_square, 6))
        close(result.pseudo_r2, 1 - fit.llf / null)
        assert result.categories == dict(frame["kind"].value_counts().sort_index())

    @settings(max_examples=12, deadline=None)
    @given(st.integers(0, 10_000), st.integers(1, 13))
    def test_random_data(self, seed, count):
        frame = people(seed=seed, n=500, cohorts=count)
        frame.loc[np.random.default_rng(seed).random(len(frame)) < 0.1, "w"] = np.nan
        frames = cohorts_of(frame, count) | {"nobody": frame.iloc[:0].drop(columns="cohort")}
        result = network(frames).study().multinomial(formula="kind ~ x + w + sex", cohort_effect="common").result()
        complete = frame.dropna()
        slopes, std_errors = slopes_of(pooled(complete))
        close(estimates(result), slopes, rtol=1e-7)
        close(errors(result), std_errors, rtol=1e-7)
        assert (result.n, result.n_excluded) == (len(complete), len(frame) - len(complete))

    @pytest.mark.parametrize("absent", ["bus", "car", "train"])
    def test_a_cohort_without_a_category(self, ask, absent):
        frame = people(seed=3)
        frame = frame[(frame["cohort"] != 1) | (frame["kind"] != absent)]
        result = ask("multinomial", cohorts_of(frame, 3), formula="kind ~ x + w", cohort_effect="stratified")
        codes = frame["kind"].astype("category").cat.codes.to_numpy()
        x = frame[["x", "w"]].to_numpy()
        cohort = frame["cohort"].to_numpy()
        there = np.array([[np.any(codes[cohort == k] == j) for j in range(3)] for k in range(3)])
        fixed = np.argmax(there, axis=1)
        open_ = there.copy()
        open_[range(3), fixed] = False

        def loss(v):
            slopes, intercepts = v[:4].reshape(2, 2), np.where(there, 0.0, -np.inf)
            intercepts[open_] = v[4:]
            eta = np.column_stack([np.zeros(len(x)), x @ slopes.T]) + intercepts[cohort]
            logp = eta - special.logsumexp(eta, axis=1, keepdims=True)
            residual = (codes[:, None] == np.arange(3)) - np.exp(logp)
            by_cohort = np.array([residual[cohort == k].sum(axis=0) for k in range(3)])
            gradient = np.concatenate([(residual[:, 1:].T @ x).ravel(), by_cohort[open_]])
            return -logp[range(len(x)), codes].sum(), -gradient

        found = optimize.minimize(loss, np.zeros(4 + open_.sum()), jac=True, method="BFGS", options={"gtol": 1e-9})
        close(estimates(result), found.x[:4], rtol=1e-6)
        close(result.log_likelihood, -found.fun, rtol=1e-10)
        assert result.parameters == len(found.x)


class TestWhateverTheData:
    @pytest.mark.parametrize("effect", ["common", "stratified"])
    def test_extreme_scales(self, ask, effect):
        frame = people(seed=2)
        plain = ask("multinomial", cohorts_of(frame, 3), formula="kind ~ x + w", cohort_effect=effect)
        frame["x"] = frame["x"] * 1e6 + 1e8
        far = ask("multinomial", cohorts_of(frame, 3), formula="kind ~ x + w", cohort_effect=effect)
        close(far.coefficients["car: x"].estimate, plain.coefficients["car: x"].estimate * 1e-6, rtol=1e-6, atol=0)
        close(far.coefficients["train: w"].std_error, plain.coefficients["train: w"].std_error, rtol=1e-6)

    def test_a_cohort_of_one_category_tells_nothing_about_itself(self, ask):
        frame = people(seed=4)
        frame.loc[frame["cohort"] == 2, "kind"] = "car"
        result = ask("multinomial", cohorts_of(frame, 3), formula="kind ~ x + w + sex")
        slopes, std_errors = slopes_of(pooled(frame[frame["cohort"] != 2], stratified=True))
        close(estimates(result), slopes)
        close(errors(result), std_errors)
        assert result.n == (frame["cohort"] != 2).sum()
        assert "does not vary" in result.warnings[0]

    def test_intercepts_alone(self, ask):
        frame = people(seed=4)
        result = ask("multinomial", cohorts_of(frame, 3), formula="kind ~ 1", cohort_effect="common")
        counts = frame["kind"].value_counts()
        close(result.intercepts["car: (Intercept)"].estimate, np.log(counts["car"] / counts["bus"]))
        assert (result.chi_square, result.p_value) == (pytest.approx(0, abs=1e-9), 1.0)


class TestLimits:
    @pytest.mark.parametrize(
        ("formula", "where", "message"),
        [
            ("sex ~ x", "sex", "not 3 to 10. For two use `glm`"),
            ("x ~ w", "x", "must be a category"),
            ("log(x) ~ w", "x", "must be a category"),
            ("~ x", "~", "no outcome"),
            ("kind ~ x + offset(w)", "w", "does not take"),
            ("kind ~ x + (1 | sex)", "sex", "does not take"),
        ],
    )
    def test_formulas_are_refused_at_the_character(self, ask, formula, where, message):
        with pytest.raises(FormulaError, match=message) as error:
            ask("multinomial", cohorts_of(people(), 3), formula=formula)
        assert formula[error.value.position :].startswith(where)

    def test_an_intercept_is_needed(self, ask):
        with pytest.raises(InvalidQuestion, match="keep their intercepts"):
            ask("multinomial", cohorts_of(people(), 3), formula="kind ~ 0 + x")

    @pytest.mark.parametrize("effect", ["common", "stratified"])
    def test_separation_is_named(self, ask, effect):
        frame = people().assign(w=lambda f: (f["kind"] == "car") * 1.0)
        with pytest.raises(Separation, match="`car: w`"):
            ask("multinomial", cohorts_of(frame, 3), formula="kind ~ x + w", cohort_effect=effect)

    def test_collinear_columns_are_named(self, ask):
        frame = people().assign(again=lambda f: f["x"] - 3)
        with pytest.raises(Collinear, match="`car: again` is a combination of"):
            ask("multinomial", cohorts_of(frame, 3), formula="kind ~ x + again", cohort_effect="common")

    def test_a_category_that_nobody_has(self, ask):
        frame = people()
        dictionary = network({"all": frame}).service.dictionary()
        frame.loc[frame["kind"] == "car", "kind"] = "bus"
        with pytest.raises(CannotEstimate, match="Nobody has the outcome `car`"):
            ask("multinomial", {"all": frame}, dictionary=dictionary, formula="kind ~ x")

    def test_one_category_everywhere(self, ask):
        frame = people()
        frame["kind"] = np.array(["bus", "car", "train"])[frame["cohort"]]
        with pytest.raises(CannotEstimate, match="In no cohort does the outcome vary"):
            ask("multinomial", cohorts_of(frame, 3), formula="kind ~ x")

    def test_nobody_complete(self, ask):
        with pytest.raises(CannotEstimate, match="No cohort has anybody"):
            ask("multinomial", cohorts_of(people().assign(w=np.nan), 3), formula="kind ~ w")

    def test_an_unfinished_fit_gives_no_numbers(self, ask):
        with pytest.raises(NotConverged, match="no numbers are given"):
            ask("multinomial", cohorts_of(people(), 3), formula="kind ~ x", max_iterations=1)


class TestDisclosure:
    def test_a_rare_category_is_refused(self, ask):
        frame = people()
        rare = frame.index[(frame["cohort"] == 0) & (frame["kind"] == "car")]
        frame.loc[rare[4:], "kind"] = "bus"
        with pytest.raises(Refused, match="`outcomes` counts fewer than 10 people"):
            ask("multinomial", cohorts_of(frame, 3), policy=Policy(), formula="kind ~ x")

    def test_small_counts_of_missing_values_are_withheld(self, ask):
        frame = people()
        frame.loc[frame.index[:4], "w"] = np.nan
        result = ask("multinomial", cohorts_of(frame, 3), policy=Policy(), formula="kind ~ w")
        assert (result.n_excluded, result.missing["w"]) == (None, None)
        assert "withheld" in " ".join(result.warnings)
