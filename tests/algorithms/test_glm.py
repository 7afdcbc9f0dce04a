"""Generalised linear models against the pooled analysis in other software (statsmodels; NIST's certified values)."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import statsmodels.formula.api as smf
from datasets import diabetes, epil, fair, grunfeld, longley, named, randhie, split

EXAMPLES = [
    {"formula": "bmi ~ age * arm", "family": "gaussian"},
    {"formula": "bmi ~ age * arm", "family": "gaussian", "cohort_effect": "common"},
    {"formula": "dead ~ sex + offset(log(years))", "family": "binomial", "cohort_effect": "common"},
    {"formula": "dead ~ sex + age", "family": "binomial"},
    {"formula": "visits ~ sex + cut(age, [40, 60]) + offset(log(years))", "family": "poisson"},
    {"formula": "visits ~ 1", "family": "poisson"},
]
COVARIATES = "rate_marriage + age + yrs_married + children + religious + educ"
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


class TestReferenceValues:
    """Numbers that were computed on the pooled records by the package named, with the split they were checked on."""

    def test_logit_with_levels_absent_at_cohorts(self, ask):  # statsmodels 0.15.0
        result = ask(
            "glm",
            split(fair(), "blk4@job"),
            formula=f"y ~ {COVARIATES} + job",
            family="binomial",
            cohort_effect="common",
        )
        close(
            estimates(result),
            [
                3.10632448440938,
                -0.711288763479257,
                -0.060318388460137,
                0.107778854754492,
                0.0158666144755796,
                -0.374482470852633,
                -0.0025725874744414,
                0.408087859832915,
                0.724145987911493,
                0.487436655010821,
                1.06999671783528,
                1.13123397923312,
            ],
        )
        close(
            errors(result),
            [
                0.548528454160875,
                0.0314365430326879,
                0.0102902828737263,
                0.0109716965882788,
                0.032021563730632,
                0.0348325441939396,
                0.0170918104490547,
                0.445069746124956,
                0.43928855893654,
                0.440371411624022,
                0.444336130828953,
                0.490631064876717,
            ],
        )
        close(
            [result.deviance, result.null_deviance, result.log_likelihood, result.aic, result.pearson_chi2],
            [6914.80796764292, 8005.0599316808, -3457.40398382146, 6938.80796764292, 6289.8080805456],
        )
        assert (result.n, result.events, result.n_excluded) == (6366, 2053, 0)
        assert list(result.coefficients)[-5:] == ["job[2]", "job[3]", "job[4]", "job[5]", "job[6]"]
        assert result.rounds <= result.iterations + 3

    def test_poisson(self, ask):  # statsmodels 0.15.0
        columns = "lncoins + idp + lpi + fmde + physlm + disea + hlthg + hlthf + hlthp"
        result = ask(
            "glm",
            split(randhie(), "blk4@disea"),
            formula=f"mdvis ~ {columns}",
            family="poisson",
            cohort_effect="common",
        )
        close(
            estimates(result),
            [
                0.70035287860113,
                -0.0525351153544608,
                -0.247086794131939,
                0.0352902016961851,
                -0.0345775067175957,
                0.271713978822378,
                0.0339414744818246,
                -0.0126350344024857,
                0.054056329894438,
                0.206115118440079,
            ],
        )
        close(
            errors(result),
            [
                0.01116266712632,
                0.00288398919785699,
                0.0106172518960386,
                0.00182833684412688,
                0.00161284852577948,
                0.0122391384380079,
                0.000564764974436644,
                0.00925061122620058,
                0.0153098706751145,
                0.0262792827176197,
            ],
        )
        close(
            [result.deviance, result.null_deviance, result.log_likelihood, result.aic],
            [83934.2378604674, 92389.4241074872, -62419.5885644489, 124859.177128898],
        )
        close([result.pearson_chi2, result.pearson_chi2 / result.df_residual], [126713.757987623, 6.27917532148776])

    def test_poisson_with_offset(self, ask):  # statsmodels 0.15.0
        frame = epil()
        frames = named([frame[frame["subject"].between(a, b)] for a, b in ((1, 30), (31, 48), (49, 59))])
        formula = "y ~ lbase + trtp + lage + V4 + offset(log(weeks))"
        result = ask("glm", frames, formula=formula, family="poisson", cohort_effect="common")
        close(
            estimates(result),
            [1.05320699066154, 1.22422201858675, -0.0168539442678723, 0.578824308103059, -0.159769600576674],
        )
        close(
            errors(result),
            [0.0425533776521937, 0.0325311165314375, 0.0482041372341568, 0.109984965607351, 0.0545837099874696],
        )
        assert list(result.coefficients) == ["(Intercept)", "lbase", "trtp", "lage", "V4"]
        close([result.deviance, result.log_likelihood], [945.94444163902, -855.92455965417])

    def test_one_intercept_per_cohort(self, ask):  # statsmodels 0.15.0, with an indicator per cohort
        frames = split(fair(), "blk4@job")
        logit = ask("glm", frames, formula=f"y ~ {COVARIATES}", family="binomial")
        close(
            estimates(logit),
            [
                -0.682181806175158,
                -0.055953364079829,
                0.116145904492078,
                -0.0181486208609764,
                -0.348258123971976,
                0.105298059751615,
            ],
        )
        close(
            errors(logit),
            [
                0.0324009283279353,
                0.0106050270027206,
                0.0112939605598644,
                0.0327086205531875,
                0.0358632758964905,
                0.0159795278838929,
            ],
        )
        close([logit.deviance, logit.log_likelihood], [6557.53442650717, -3278.76721325359])
        counts = ask("glm", frames, formula=f"visits ~ {COVARIATES}", family="poisson")
        close(
            estimates(counts),
            [
                -0.502184059737828,
                -0.0172833054100932,
                -0.0672634158861538,
                -0.026097824415996,
                -0.378653694801174,
                0.066846250988953,
            ],
        )
        close([counts.deviance, counts.log_likelihood], [12555.5629728721, -7798.73314508372])
        assert (logit.cohort_effect, logit.parameters) == ("stratified", 10)

    def test_linear(self, ask):  # statsmodels 0.15.0
        frame = diabetes()
        formula = "target ~ " + " + ".join(frame.columns[:-1])
        result = ask("glm", split(frame, "blk3@bmi"), formula=formula, family="gaussian", cohort_effect="common")
        close(
            estimates(result),
            [
                -334.567138518785,
                -0.0363612242236225,
                -22.8596480904984,
                5.60296209192371,
                1.11680799331819,
                -1.08999633406323,
                0.746450455514209,
                0.372004715089137,
                6.53383193599032,
                68.4831249647879,
                0.280116989321496,
            ],
        )
        close(
            errors(result),
            [
                67.4546211043415,
                0.217041435408762,
                5.83582128501488,
                0.717105500560912,
                0.225238169188269,
                0.573331858550061,
                0.530834389766024,
                0.782463845626719,
                5.95863783721632,
                15.6697192387072,
                0.273313950359366,
            ],
        )
        close(
            [np.sqrt(result.dispersion), result.log_likelihood, result.aic, result.bic],
            [54.1542393280557, -2385.99286212352, 4793.98572424704, 4838.99013294989],
        )
        close(1 - result.deviance / result.null_deviance, 0.51774842222035)

    def test_longley(self, ask):  # NIST StRD, certified values
        formula = "TOTEMP ~ GNPDEFL + GNP + UNEMP + ARMED + POP + YEAR"
        result = ask("glm", split(longley(), "mod3"), formula=formula, family="gaussian", cohort_effect="common")
        close(
            estimates(result),
            [
                -3482258.63459582,
                15.0618722713733,
                -0.035819179292591,
                -2.02022980381683,
                -1.03322686717359,
                -0.0511041056535807,
                1829.15146461355,
            ],
            rtol=1e-10,
        )
        close(
            errors(result),
            [
                890420.383607373,
                84.9149257747669,
                0.0334910077722432,
                0.488399681651699,
                0.214274163161675,
                0.22607320006937,
                455.478499142212,
            ],
            rtol=1e-10,
        )
        close(np.sqrt(result.dispersion), 304.854073561965, rtol=1e-10)

    def test_within_firms(self, ask):  # statsmodels 0.15.0, an indicator per firm
        result = ask("glm", split(grunfeld(), "by@firm"), formula="invest ~ value + capital", family="gaussian")
        close(estimates(result), [0.110129119025771, 0.310033441874942])
        close(errors(result), [0.0112998432895951, 0.0165404765194787])
        assert result.df_residual == 220 - 11 - 2


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
