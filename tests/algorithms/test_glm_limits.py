"""Where a generalised linear model ends: what it refuses, what it warns of, and the smallest ones it fits."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import statsmodels.formula.api as smf
from datasets import named, split
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logit

from cohortium.dictionary import Category, Dictionary, Variable
from cohortium.errors import (
    CannotEstimate,
    Collinear,
    Separation,
)
from node.disclosure import Policy
from simulation import network


def people(n=200, seed=0):
    rng = np.random.default_rng(seed)
    age = rng.normal(50, 10, n)
    return pd.DataFrame(
        {
            "age": age,
            "dose": rng.gamma(2.0, 1.0, n),
            "sex": rng.choice(["f", "m"], n),
            "bmi": 20 + 0.1 * age + rng.normal(0, 1, n),
            "ill": rng.random(n) < 0.4,
            "visits": rng.poisson(3, n),
        }
    )


def three(frame):
    return split(frame, "mod3")


class TestCollinear:
    @pytest.mark.parametrize("effect", ["common", "stratified"])
    @pytest.mark.parametrize(("family", "outcome"), [("gaussian", "bmi"), ("binomial", "ill"), ("poisson", "visits")])
    def test_a_copy_is_named(self, ask, family, outcome, effect):
        frame = people().assign(months=lambda f: f["age"] * 12 + 3)
        with pytest.raises(Collinear, match=r"`months` is a combination of .*`age`"):
            ask("glm", three(frame), formula=f"{outcome} ~ age + sex + months", family=family, cohort_effect=effect)

    def test_a_sum_is_named_with_its_parts(self, ask):
        frame = people().assign(total=lambda f: f["age"] + f["dose"])
        with pytest.raises(Collinear, match="`total` is a combination of `age`, `dose`"):
            ask("glm", three(frame), formula="bmi ~ age + dose + total", family="gaussian", cohort_effect="common")

    def test_a_reference_level_that_nobody_has(self, ask):
        variables = {
            "bmi": Variable(type="number"),
            "arm": Variable(type="category", categories=tuple(Category(value=v) for v in "abc")),
        }
        frame = people().assign(arm=np.random.default_rng(0).choice(["b", "c"], 200))[["bmi", "arm"]]
        known = Dictionary(name="d", version="1", variables=variables)
        with pytest.raises(Collinear, match=r"`arm\[c\]`"):
            ask("glm", three(frame), dictionary=known, formula="bmi ~ arm", family="gaussian", cohort_effect="common")

    @pytest.mark.parametrize("effect", ["common", "stratified"])
    def test_a_constant_is_named(self, ask, effect):
        frame = people().assign(wave=3.25)
        with pytest.raises(CannotEstimate, match="`wave`"):
            ask("glm", three(frame), formula="bmi ~ age + wave", family="gaussian", cohort_effect=effect)

    def test_a_column_that_varies_only_between_cohorts(self, ask):
        frames = {name: f.assign(altitude=float(k)) for k, (name, f) in enumerate(three(people()).items())}
        with pytest.raises(CannotEstimate, match="`altitude` does not vary within any cohort"):
            ask("glm", frames, formula="bmi ~ age + altitude", family="gaussian")
        result = ask("glm", frames, formula="bmi ~ age + altitude", family="gaussian", cohort_effect="common")
        pooled = smf.ols("bmi ~ age + altitude", pd.concat(frames.values())).fit()
        np.testing.assert_allclose(result.coefficients["altitude"].estimate, pooled.params["altitude"], rtol=1e-9)


class TestSeparation:
    @pytest.mark.parametrize("effect", ["common", "stratified"])
    def test_complete(self, ask, effect):
        frame = people().assign(ill=lambda f: f["age"] > 50)
        with pytest.raises(Separation, match="`age`"):
            ask("glm", three(frame), formula="ill ~ age + dose", family="binomial", cohort_effect=effect)

    @pytest.mark.parametrize("effect", ["common", "stratified"])
    @pytest.mark.parametrize("rare", [3, 12, 60])
    def test_a_level_with_one_outcome_only(self, ask, rare, effect):
        frame = people(600)
        frame["sex"] = np.where(np.arange(600) < rare, "x", frame["sex"])
        frame.loc[frame["sex"] == "x", "ill"] = True
        with pytest.raises(Separation, match=r"`sex\[x\]`"):
            ask("glm", split(frame, "mod3"), formula="ill ~ age + sex", family="binomial", cohort_effect=effect)

    def test_a_level_without_any_count(self, ask):
        frame = people(600)
        frame.loc[frame["sex"] == "m", "visits"] = 0
        with pytest.raises(Separation, match=r"`sex\[m\]`"):
            ask("glm", three(frame), formula="visits ~ age + sex", family="poisson", cohort_effect="common")

    @pytest.mark.parametrize("value", [True, False])
    @pytest.mark.parametrize("effect", ["common", "stratified"])
    def test_an_outcome_that_does_not_vary(self, ask, value, effect):
        with pytest.raises(Separation):
            ask("glm", three(people().assign(ill=value)), formula="ill ~ age", family="binomial", cohort_effect=effect)

    def test_a_strong_effect_is_no_separation(self, ask):
        frame = people(2000)
        frame["ill"] = np.random.default_rng(1).random(2000) < 1 / (1 + np.exp(-(frame["age"] - 50)))
        result = ask("glm", three(frame), formula="ill ~ age", family="binomial", cohort_effect="common")
        pooled = smf.logit("ill ~ age", frame.astype({"ill": float})).fit(disp=0, tol=1e-14)
        np.testing.assert_allclose(result.coefficients["age"].estimate, pooled.params["age"], rtol=1e-7)

    def test_a_rare_outcome_is_no_separation(self, ask):
        rng = np.random.default_rng(4)
        frame = people(20000).assign(ill=rng.random(20000) < 0.001)
        result = ask("glm", three(frame), formula="ill ~ age", family="binomial", cohort_effect="common")
        pooled = smf.logit("ill ~ age", frame.astype({"ill": float})).fit(disp=0, tol=1e-14, maxiter=50)
        np.testing.assert_allclose(result.coefficients["age"].estimate, pooled.params["age"], rtol=1e-6)


class TestWarnings:
    def test_a_level_that_nobody_has_is_dropped(self, ask):
        levels = tuple(Category(value=v) for v in "fmx")
        known = {
            "bmi": Variable(type="number"),
            "age": Variable(type="number"),
            "sex": Variable(type="category", categories=levels),
        }
        dictionary = Dictionary(name="d", version="1", variables=known)
        frame = people()[["bmi", "age", "sex"]]
        for effect in ("common", "stratified"):
            result = ask(
                "glm",
                three(frame),
                dictionary=dictionary,
                formula="bmi ~ age * sex",
                family="gaussian",
                cohort_effect=effect,
            )
            assert result.dropped == ("sex[x]", "age:sex[x]")
            assert any("sex[x]" in w for w in result.warnings)
            assert "sex[x]" not in result.coefficients
        pooled = smf.ols("bmi ~ age * sex", frame).fit()
        assert result.df_residual == pooled.df_resid - 2

    def test_cohorts_without_variation_in_the_outcome(self, ask):
        frames = three(people(300))
        frames["c1"] = frames["c1"].assign(ill=False)
        result = ask("glm", frames, formula="ill ~ age", family="binomial")
        two = ask("glm", {k: v for k, v in frames.items() if k != "c1"}, formula="ill ~ age", family="binomial")
        assert result.coefficients == two.coefficients
        assert (result.n, result.df_residual, result.deviance) == (two.n, two.df_residual, two.deviance)
        assert any("In 1 cohort the outcome does not vary" in w for w in result.warnings)

    def test_a_small_number_of_excluded_people_is_withheld(self, ask):
        frame = people(300)
        frame.loc[:3, "age"] = np.nan
        result = ask("glm", three(frame), policy=Policy(), formula="bmi ~ age", family="gaussian")
        assert result.n_excluded is None
        assert result.missing == {"bmi": 0, "age": None}
        assert any("age is withheld" in w for w in result.warnings)
        assert "withheld" in result.summary()


class TestSmallModels:
    @pytest.mark.parametrize(("family", "outcome"), [("gaussian", "bmi"), ("binomial", "ill"), ("poisson", "visits")])
    def test_intercept_only(self, ask, family, outcome):
        frame = people()
        result = ask("glm", three(frame), formula=f"{outcome} ~ 1", family=family, cohort_effect="common")
        mean = frame[outcome].mean()
        link = {"gaussian": float, "binomial": logit, "poisson": np.log}[family]
        np.testing.assert_allclose(result.coefficients["(Intercept)"].estimate, link(mean), rtol=1e-12)
        np.testing.assert_allclose(result.deviance, result.null_deviance, rtol=1e-12)

    @pytest.mark.parametrize(
        ("formula", "effect"),
        [
            ("visits ~ 1", "stratified"),
            ("visits ~ offset(log(dose))", "stratified"),
            ("visits ~ offset(log(dose))", "common"),
            ("visits ~ 0 + offset(log(dose))", "common"),
        ],
    )
    def test_no_covariate(self, ask, formula, effect):
        result = ask("glm", three(people()), formula=formula, family="poisson", cohort_effect=effect)
        assert set(result.coefficients) <= {"(Intercept)"}
        np.testing.assert_allclose(result.deviance, result.null_deviance, rtol=1e-12)
        assert result.summary()

    def test_one_cohort(self, ask):
        result = ask("glm", named([people()]), formula="bmi ~ age", family="gaussian")
        pooled = smf.ols("bmi ~ age", people()).fit()
        np.testing.assert_allclose(result.coefficients["age"].std_error, pooled.bse["age"], rtol=1e-10)

    def test_six_people(self, ask):
        frame = people(6)
        result = ask("glm", three(frame), formula="bmi ~ age + dose", family="gaussian", cohort_effect="common")
        np.testing.assert_allclose(
            result.coefficients["dose"].estimate, smf.ols("bmi ~ age + dose", frame).fit().params["dose"], rtol=1e-8
        )

    def test_as_many_parameters_as_people(self, ask):
        with pytest.raises(CannotEstimate, match="as many parameters as"):
            ask("glm", three(people(3)), formula="bmi ~ age + dose", family="gaussian", cohort_effect="common")

    def test_nobody_is_complete(self, ask):
        with pytest.raises(CannotEstimate, match="No cohort has anybody"):
            ask("glm", three(people().assign(age=np.nan)), formula="bmi ~ age", family="gaussian")

    def test_one_cohort_has_only_missing_values(self, ask):
        frames = three(people())
        frames["c0"] = frames["c0"].assign(age=np.nan)
        result = ask("glm", frames, formula="bmi ~ age", family="gaussian")
        assert (result.n, result.n_excluded) == (133, 67)

    @pytest.mark.parametrize("effect", ["common", "stratified"])
    def test_an_exact_fit_has_no_error_to_estimate(self, ask, effect):
        frame = people().assign(bmi=lambda f: 3 + 2 * f["age"])
        with pytest.raises(CannotEstimate, match="exactly"):
            ask("glm", three(frame), formula="bmi ~ age", family="gaussian", cohort_effect=effect)


@settings(max_examples=25)
@given(
    seed=st.integers(0, 10**6),
    cohorts=st.integers(1, 6),
    n=st.integers(40, 200),
    family=st.sampled_from(["gaussian", "binomial", "poisson"]),
)
def test_any_people_in_any_cohorts(seed, cohorts, n, family):
    frame = people(n, seed)
    where = np.random.default_rng(seed + 1).integers(0, cohorts, n)
    outcome = {"gaussian": "bmi", "binomial": "ill", "poisson": "visits"}[family]
    frames = named([frame[where == k] for k in range(cohorts)])
    asked = {"formula": f"{outcome} ~ age + dose * sex", "family": family, "cohort_effect": "common"}
    result = network(frames).study().run("glm", **asked).result()
    families = {"gaussian": sm.families.Gaussian, "binomial": sm.families.Binomial, "poisson": sm.families.Poisson}
    fit = smf.glm(asked["formula"], frame.astype({"ill": float}), family=families[family]()).fit(tol=1e-13)
    names = {"age": "age", "dose": "dose", "sex[m]": "sex[T.m]", "dose:sex[m]": "dose:sex[T.m]"}
    for ours, theirs in names.items():
        np.testing.assert_allclose(result.coefficients[ours].estimate, fit.params[theirs], rtol=1e-6, atol=1e-8)
        np.testing.assert_allclose(result.coefficients[ours].std_error, fit.bse[theirs], rtol=1e-6)
