"""Tests between a model and a smaller one, and of whole terms."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import statsmodels.formula.api as smf
from datasets import split
from scipy import stats
from test_glm import close, people

from cohortium.errors import CannotEstimate, FormulaError, InvalidQuestion

FAMILIES = {"gaussian": sm.families.Gaussian, "binomial": sm.families.Binomial, "poisson": sm.families.Poisson}
OUTCOMES = {"gaussian": "bmi", "binomial": "ill", "poisson": "visits"}


def pooled(frames):
    return pd.concat([f.assign(cohort=k) for k, f in frames.items()], ignore_index=True).astype({"ill": float})


class TestNestedModels:
    @pytest.mark.parametrize("family", FAMILIES)
    @pytest.mark.parametrize("effect", ["common", "stratified"])
    @pytest.mark.parametrize("offset", ["", " + offset(log(years))"])
    def test_likelihood_ratio(self, ask, family, effect, offset):
        frames = split(people(300, seed=1), "blk3")
        result = ask("glm", frames, formula=f"{OUTCOMES[family]} ~ age + sex * arm{offset}", family=family,
                     cohort_effect=effect, compare="~ age + sex")  # fmt: skip
        table = pooled(frames)
        base = "0 + cohort" if effect == "stratified" else "1"
        options = {"offset": np.log(table["years"])} if offset else {}
        larger, smaller = (
            smf.glm(f"{OUTCOMES[family]} ~ {base} + {rhs}", table, family=FAMILIES[family](), **options).fit(tol=1e-14)
            for rhs in ("age + sex * arm", "age + sex")
        )
        found, df = result.comparison, int(larger.df_model - smaller.df_model)
        assert found.df == df == 4
        close(found.deviance, smaller.deviance)
        if family == "gaussian":
            statistic = (smaller.deviance - larger.deviance) / df / larger.scale
            p_value = stats.f.sf(statistic, df, larger.df_resid)
        else:
            statistic = 2 * (larger.llf - smaller.llf)
            p_value = stats.chi2.sf(statistic, df)
            close([found.log_likelihood, found.aic], [smaller.llf, smaller.aic])
        close([found.statistic, found.p_value], [statistic, p_value], rtol=1e-7)
        assert found.test == ("F" if family == "gaussian" else "likelihood ratio")
        assert any(t.title == "Comparison on the same people" for t in result.tables())

    def test_both_are_fitted_to_the_people_of_the_larger_one(self, ask):
        """Complete cases that change with the model make likelihoods incomparable."""
        frame = people(300, seed=2)
        frame.loc[::3, "dose"] = np.nan
        result = ask("glm", split(frame, "mod3"), formula="ill ~ age + dose", family="binomial",
                     cohort_effect="common", compare="ill ~ age")  # fmt: skip
        same = frame.dropna().astype({"ill": float})
        smaller = smf.logit("ill ~ age", same).fit(disp=0, tol=1e-14)
        close(result.comparison.log_likelihood, smaller.llf)
        assert result.n == len(same)

    def test_a_spline_against_a_line(self, ask):
        frame = people(300, seed=3)
        knots = "[35, 45, 55, 65]"
        result = ask("glm", split(frame, "mod3"), formula=f"ill ~ rcs(age, {knots}) + sex", family="binomial",
                     cohort_effect="common", compare="~ sex + age")  # fmt: skip
        smaller = smf.logit("ill ~ age + sex", frame.astype({"ill": float})).fit(disp=0, tol=1e-14)
        close(result.comparison.log_likelihood, smaller.llf)
        assert result.comparison.df == 2

    def test_negative_binomial_estimates_its_dispersion_in_both(self, ask):
        rng, frame = np.random.default_rng(4), people(500, seed=4)
        frame["visits"] = rng.poisson(np.exp(0.02 * frame["age"]) * rng.gamma(1.0, 1.0, 500))
        result = ask("glm", split(frame, "mod3"), formula="visits ~ age + arm", family="negative_binomial",
                     cohort_effect="common", compare="~ age")  # fmt: skip
        model = smf.negativebinomial("visits ~ age", frame)
        start = model.fit(disp=0, method="bfgs", maxiter=500).params
        smaller = model.fit(disp=0, start_params=start, method="newton", tol=1e-14)
        close(result.comparison.log_likelihood, smaller.llf)

    def test_quasi_likelihoods_are_compared_by_f(self, ask):
        frame = people(300, seed=5)
        result = ask("glm", split(frame, "mod3"), formula="visits ~ age + arm", family="poisson", quasi=True,
                     cohort_effect="common", compare="~ age")  # fmt: skip
        larger, smaller = (
            smf.glm(f"visits ~ {r}", frame, family=sm.families.Poisson()).fit() for r in ("age + arm", "age")
        )
        phi = larger.pearson_chi2 / larger.df_resid
        close(result.comparison.statistic, (smaller.deviance - larger.deviance) / 2 / phi)
        assert result.comparison.log_likelihood is None

    @pytest.mark.parametrize(
        ("compare", "error", "words"),
        [
            ("~ dose", InvalidQuestion, "`dose`"),
            ("~ age + sex", InvalidQuestion, "not a part"),
            ("ill ~ age", InvalidQuestion, "response"),
            ("~ age + offset(log(years))", InvalidQuestion, "offsets"),
            ("~ 0 + age", InvalidQuestion, "not a part"),
            ("~ aeg", FormulaError, "no variable"),
            ("~ age + (1 | sex)", FormulaError, "random"),
        ],
    )
    def test_what_is_no_part_of_the_model(self, ask, compare, error, words):
        with pytest.raises(error, match=words):
            ask("glm", split(people(100), "mod3"), formula="bmi ~ age + sex", cohort_effect="common", compare=compare)

    def test_models_that_differ_in_levels_that_nobody_has(self, ask):
        frame = people(150)
        frame["arm"] = "a"
        frames = split(frame, "mod3")
        frames["c0"].loc[0, ["arm", "age"]] = ["b", np.nan]
        with pytest.raises(CannotEstimate, match="the same"):
            ask("glm", frames, formula="bmi ~ age + arm", compare="~ age")


class TestTerms:
    @pytest.mark.parametrize("family", FAMILIES)
    @pytest.mark.parametrize("kind", ["nonrobust", "HC0"])
    def test_all_coefficients_of_a_term_at_once(self, ask, family, kind):
        frame = people(300, seed=6)
        result = ask("glm", split(frame, "mod3"), formula=f"{OUTCOMES[family]} ~ age + arm + sex", family=family,
                     cohort_effect="common", std_errors="model" if kind == "nonrobust" else kind)  # fmt: skip
        fit = smf.glm(
            f"{OUTCOMES[family]} ~ age + arm + sex", frame.astype({"ill": float}), family=FAMILIES[family]()
        ).fit(tol=1e-14, cov_type=kind)
        table = fit.wald_test_terms(scalar=True).table
        for term, test in result.terms.items():
            close(test.statistic * (test.df if test.test == "F" else 1), table.loc[term, "statistic"])
        assert [test.df for test in result.terms.values()] == [1, 2, 1]
        assert {test.test for test in result.terms.values()} == {"F" if family == "gaussian" else "chi-squared"}

    def test_of_one_coefficient_are_the_squares_of_its_statistic(self, ask):
        result = ask("glm", split(people(200), "mod3"), formula="ill ~ age * sex", family="binomial")
        for name, term in {"age": "age", "sex[male]": "sex", "age:sex[male]": "age:sex"}.items():
            coefficient = result.coefficients[name]
            close(
                [coefficient.statistic**2, coefficient.p_value],
                [result.terms[term].statistic, result.terms[term].p_value],
            )

    def test_levels_that_nobody_has_do_not_count(self, ask):
        frame = people(200)
        frame.loc[frame["arm"] == "b", "age"] = np.nan
        result = ask("glm", split(frame, "mod3"), formula="bmi ~ age + arm")
        assert result.terms["arm"].df == 1
