"""Generalised linear models against statsmodels on the pooled records."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import statsmodels.formula.api as smf
from datasets import named, split

EXAMPLES = [
    {"formula": "dead ~ age + sex", "family": "binomial", "intervals": "profile", "drop1": True},
    {"formula": "dead ~ age + sex", "family": "binomial", "by_cohort": True},
    {"formula": "bmi ~ age * arm", "family": "gaussian"},
    {"formula": "bmi ~ age * arm", "family": "gaussian", "cohort_effect": "common"},
    {"formula": "dead ~ sex + offset(log(years))", "family": "binomial", "cohort_effect": "common"},
    {"formula": "dead ~ sex + age", "family": "binomial"},
    {"formula": "visits ~ sex + cut(age, [40, 60]) + offset(log(years))", "family": "poisson"},
    {"formula": "visits ~ 1", "family": "poisson"},
    {"formula": "dead ~ sex + bmi", "family": "binomial", "link": "cloglog", "compare": "~ sex", "std_errors": "HC0"},
    {"formula": "visits ~ sex + cluster(arm)", "family": "poisson", "quasi": True},
    {"formula": "dead ~ sex", "family": "binomial", "weights": "years", "std_errors": "HC3", "cohort_effect": "common"},
    {"formula": "dead ~ sex", "family": "binomial", "penalty": "firth"},
    {"formula": "dead ~ sex", "family": "binomial", "penalty": "firth", "cohort_effect": "common"},
    {"formula": "years ~ age", "family": "gamma", "link": "identity"},
    {"formula": "time ~ arm", "family": "negative_binomial", "std_errors": "HC1"},
    {"formula": "time ~ arm + offset(log(years))", "family": "negative_binomial", "cohort_effect": "common"},
]
FAMILIES = {"gaussian": sm.families.Gaussian, "binomial": sm.families.Binomial, "poisson": sm.families.Poisson}


def estimates(result):
    return np.array([e.estimate for e in result.coefficients.values()])


def errors(result):
    return np.array([e.std_error for e in result.coefficients.values()])


def close(values, expected, rtol=1e-8):
    np.testing.assert_allclose(values, expected, rtol=rtol, atol=1e-10)


def people(n, seed=0):
    """Made-up people whose covariates differ a little between cohorts."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "age": rng.normal(50, 10, n),
            "dose": rng.gamma(2.0, 1.0, n),
            "sex": rng.choice(["female", "male"], n),
            "arm": rng.choice(["a", "b", "c"], n),
            "years": rng.uniform(0.5, 5.0, n),
        }
    )
    eta = -2 + 0.03 * frame["age"] + 0.2 * frame["dose"] * (frame["sex"] == "male") + 0.3 * (frame["arm"] == "c")
    frame["ill"] = rng.random(n) < 1 / (1 + np.exp(-eta))
    frame["visits"] = rng.poisson(np.exp(0.4 * eta) * frame["years"])
    frame["bmi"] = 22 + eta + rng.normal(0, 1, n)
    return frame


PATSY = {
    "bmi ~ age + sex": "bmi ~ age + sex",
    "bmi ~ age * sex * arm": "bmi ~ age * sex * arm",
    "bmi ~ log(dose) + age^2 + cut(age, [40, 60])": "bmi ~ np.log(dose) + I(age**2) "
    "+ C(pd.cut(age, [-np.inf, 40, 60, np.inf]))",
    "bmi ~ 1": "bmi ~ 1",
    "bmi ~ age:sex": "bmi ~ age:sex",
    "bmi ~ 0 + age": "bmi ~ 0 + age",
    "bmi ~ 0 + sex + arm": "bmi ~ 0 + sex + arm",
}


class TestAgainstPooledFit:
    @pytest.mark.parametrize("formula", PATSY)
    @pytest.mark.parametrize("family", FAMILIES)
    def test_same_as_pooled(self, ask, formula, family):
        frame = people(600)
        outcome = {"gaussian": "bmi", "binomial": "ill", "poisson": "visits"}[family]
        ours, theirs = formula.replace("bmi", outcome), PATSY[formula].replace("bmi", outcome)
        result = ask("glm", split(frame, "blk4"), formula=ours, family=family, cohort_effect="common")
        pooled = smf.glm(theirs, frame.astype({"ill": float}), family=FAMILIES[family]()).fit(tol=1e-14)
        # The order of columns is R's, patsy's differs where a category meets a number: the sets of numbers agree.
        close(np.sort(estimates(result)), np.sort(pooled.params), rtol=1e-7)
        close(np.sort(errors(result)), np.sort(pooled.bse), rtol=1e-7)
        close([result.deviance, result.df_residual], [pooled.deviance, pooled.df_resid])
        if family != "gaussian":
            close([result.log_likelihood, result.aic], [pooled.llf, pooled.aic])
        if "0 +" not in formula:
            close(result.null_deviance, pooled.null_deviance)

    @pytest.mark.parametrize("family", FAMILIES)
    def test_stratified_is_an_indicator_per_cohort(self, ask, family):
        frame = people(500, seed=3)
        outcome = {"gaussian": "bmi", "binomial": "ill", "poisson": "visits"}[family]
        frames = split(frame, "blk3@age")
        result = ask("glm", frames, formula=f"{outcome} ~ age + sex + arm", family=family)
        pooled = pd.concat([f.assign(cohort=name) for name, f in frames.items()]).astype({"ill": float})
        fit = smf.glm(f"{outcome} ~ 0 + cohort + age + sex + arm", pooled, family=FAMILIES[family]()).fit(tol=1e-14)
        null = smf.glm(f"{outcome} ~ 0 + cohort", pooled, family=FAMILIES[family]()).fit(tol=1e-14)
        for ours, theirs in {"age": "age", "sex[male]": "sex[T.male]", "arm[c]": "arm[T.c]"}.items():
            close(result.coefficients[ours].estimate, fit.params[theirs])
            close(result.coefficients[ours].std_error, fit.bse[theirs])
        close([result.deviance, result.null_deviance], [fit.deviance, null.deviance])
        assert (result.df_residual, result.df_null) == (fit.df_resid, null.df_resid)

    @pytest.mark.parametrize("family", FAMILIES)
    @pytest.mark.parametrize("effect", ["common", "stratified"])
    def test_offset(self, ask, family, effect):
        frame = people(400, seed=5)
        outcome = {"gaussian": "bmi", "binomial": "ill", "poisson": "visits"}[family]
        frames = split(frame, "mod3")
        result = ask(
            "glm", frames, formula=f"{outcome} ~ age + offset(log(years))", family=family, cohort_effect=effect
        )
        pooled = pd.concat([f.assign(cohort=name) for name, f in frames.items()]).astype({"ill": float})
        first = "cohort" if effect == "stratified" else "1"
        fits = [
            smf.glm(f"{outcome} ~ {rhs}", pooled, family=FAMILIES[family](), offset=np.log(pooled["years"])).fit(
                tol=1e-14
            )
            for rhs in (f"{first} + age", first)
        ]
        close(result.coefficients["age"].estimate, fits[0].params["age"])
        close([result.deviance, result.null_deviance], [f.deviance for f in fits])
        assert result.rounds <= result.iterations + 3

    def test_gaussian_uses_t_and_the_others_the_normal(self, ask):
        frames = split(people(60), "mod3")
        linear = ask("glm", frames, formula="bmi ~ age", family="gaussian", cohort_effect="common").coefficients["age"]
        pooled = smf.ols("bmi ~ age", people(60)).fit()
        close([linear.p_value, linear.ci_low], [pooled.pvalues["age"], pooled.conf_int().loc["age", 0]])
        logit = ask("glm", frames, formula="ill ~ age", family="binomial", cohort_effect="common").coefficients["age"]
        pooled = smf.logit("ill ~ age", people(60).astype({"ill": float})).fit(disp=0, tol=1e-14)
        close([logit.p_value, logit.ci_high], [pooled.pvalues["age"], pooled.conf_int().loc["age", 1]], rtol=1e-6)

    def test_covariance_follows_the_order_of_the_coefficients(self, ask):
        result = ask("glm", split(people(200), "mod3"), formula="bmi ~ age + sex", family="gaussian")
        close(np.sqrt(np.diag(result.covariance)), errors(result))
        assert np.shape(result.covariance) == (2, 2)


class TestSplits:
    """How people are divided over cohorts changes nothing about a common fit."""

    @pytest.mark.parametrize("family", FAMILIES)
    def test_any_split_gives_the_pooled_fit(self, ask, family):
        frame = people(420, seed=8)
        outcome = {"gaussian": "bmi", "binomial": "ill", "poisson": "visits"}[family]
        asked = {"formula": f"{outcome} ~ age * sex + arm", "family": family, "cohort_effect": "common"}
        pooled = ask("glm", named([frame]), **asked)
        random = np.random.default_rng(1).integers(0, 5, len(frame))
        for frames in (split(frame, "mod3"), split(frame, "mod7"), named([frame[random == k] for k in range(5)])):
            result = ask("glm", frames, **asked)
            close(estimates(result), estimates(pooled), rtol=1e-9)
            close(errors(result), errors(pooled), rtol=1e-9)

    @pytest.mark.parametrize("effect", ["common", "stratified"])
    def test_order_of_cohorts_does_not_change_a_bit(self, ask, effect):
        frames = split(people(300), "blk3")
        asked = {"formula": "ill ~ age + arm", "family": "binomial", "cohort_effect": effect}
        turned = dict(zip(["z", "y", "x"], frames.values(), strict=True))
        first, second = (ask("glm", f, **asked).model_dump(exclude={"cohorts"}) for f in (frames, turned))
        assert first == second

    @pytest.mark.parametrize("effect", ["common", "stratified"])
    def test_an_empty_cohort_changes_nothing(self, ask, effect):
        frames = split(people(300), "mod3")
        asked = {"formula": "visits ~ age + sex", "family": "poisson", "cohort_effect": effect}
        more = {**frames, "empty": frames["c0"].iloc[:0]}
        assert ask("glm", more, **asked).coefficients == ask("glm", frames, **asked).coefficients

    @pytest.mark.parametrize("level", ["a", "b"])
    def test_a_level_that_a_cohort_lacks_changes_nothing(self, ask, level):
        frame = people(300)
        frames = named([frame[frame["arm"] != level], frame[frame["arm"] == level]])
        result = ask("glm", frames, formula="bmi ~ arm + age", family="gaussian", cohort_effect="common")
        pooled = smf.ols("bmi ~ arm + age", frame).fit()
        close(estimates(result), pooled.params)

    @pytest.mark.parametrize("effect", ["common", "stratified"])
    def test_a_column_that_is_constant_at_one_cohort(self, ask, effect):
        frame = people(300)
        first = frame.iloc[:100].assign(dose=1.5)
        frames = named([first, frame.iloc[100:200], frame.iloc[200:]])
        result = ask("glm", frames, formula="bmi ~ dose + age", family="gaussian", cohort_effect=effect)
        pooled = pd.concat([f.assign(cohort=name) for name, f in frames.items()])
        cohort = " + cohort" if effect == "stratified" else ""
        close(result.coefficients["dose"].estimate, smf.ols(f"bmi ~ dose + age{cohort}", pooled).fit().params["dose"])

    def test_missing_values_leave_out_the_row_and_are_counted(self, ask):
        frame = people(300)
        frame.loc[::7, "age"] = np.nan
        frame.loc[::11, "sex"] = None
        result = ask("glm", split(frame, "mod3"), formula="bmi ~ age + sex", family="gaussian", cohort_effect="common")
        complete = frame.dropna(subset=["age", "sex"])
        assert (result.n, result.n_excluded) == (len(complete), 300 - len(complete))
        assert result.missing == {"bmi": 0, "age": 43, "sex": 28}
        close(result.coefficients["age"].estimate, smf.ols("bmi ~ age + sex", complete).fit().params["age"])

    @pytest.mark.parametrize("effect", ["common", "stratified"])
    @pytest.mark.parametrize("family", FAMILIES)
    def test_scale_and_origin_of_a_covariate(self, ask, family, effect):
        frame = people(400)
        outcome = {"gaussian": "bmi", "binomial": "ill", "poisson": "visits"}[family]
        asked = {"formula": f"{outcome} ~ age + sex", "family": family, "cohort_effect": effect}
        plain = ask("glm", split(frame, "mod3"), **asked)
        moved = ask("glm", split(frame.assign(age=frame["age"] * 1e6 + 1e8), "mod3"), **asked)
        close(moved.coefficients["age"].estimate * 1e6, plain.coefficients["age"].estimate)
        close(moved.coefficients["age"].std_error * 1e6, plain.coefficients["age"].std_error)

    def test_scale_and_origin_of_the_outcome(self, ask):
        frame = people(400)
        asked = {"formula": "bmi ~ age + sex", "family": "gaussian"}
        for effect in ("common", "stratified"):
            plain = ask("glm", split(frame, "mod3"), cohort_effect=effect, **asked)
            moved = ask("glm", split(frame.assign(bmi=frame["bmi"] * 1e6 + 1e8), "mod3"), cohort_effect=effect, **asked)
            close(moved.coefficients["age"].statistic, plain.coefficients["age"].statistic)
            close(moved.deviance / 1e12, plain.deviance)
