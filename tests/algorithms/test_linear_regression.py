"""Linear regression: NIST, statsmodels, and what makes it a summary."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import statsmodels.formula.api as smf
from datasets import diabetes, grunfeld, longley, named, split
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.diagnostic import het_breuschpagan
from statsmodels.stats.outliers_influence import variance_inflation_factor
from test_glm import close, errors, estimates, people

from cohortium.errors import CannotEstimate, Collinear, InvalidQuestion, Refused
from node.disclosure import Policy
from simulation import network

EXAMPLES = [
    {"formula": "bmi ~ age + sex", "by_cohort": True},
    {"formula": "bmi ~ age * arm"},
    {"formula": "bmi ~ age + arm", "cohort_effect": "common", "std_errors": "HC3", "compare": "~ age"},
    {"formula": "bmi ~ sex + visits", "weights": "years", "std_errors": "HC1"},
    {"formula": "bmi ~ sex + cluster(arm)", "sampling_weights": "years", "cohort_effect": "common"},
]

DIABETES = "target ~ " + " + ".join(diabetes().columns[:-1])


def with_cohorts(frames):
    return pd.concat([f.assign(cohort=name) for name, f in frames.items()], ignore_index=True)


class TestPublished:
    def test_longley(self, ask):  # NIST StRD, certified values
        formula = "TOTEMP ~ GNPDEFL + GNP + UNEMP + ARMED + POP + YEAR"
        result = ask("linear_regression", split(longley(), "mod3"), formula=formula, cohort_effect="common")
        coefficients = [
            -3482258.63459582,
            15.0618722713733,
            -0.0358191792925910,
            -2.02022980381683,
            -1.03322686717359,
            -0.0511041056535807,
            1829.15146461355,
        ]
        std_errors = [
            890420.383607373,
            84.9149257747669,
            0.0334910077722432,
            0.488399681651699,
            0.214274163161675,
            0.226073200069370,
            455.478499142212,
        ]
        # As many digits as are certified.
        np.testing.assert_allclose(estimates(result), coefficients, rtol=1e-12)
        np.testing.assert_allclose(errors(result), std_errors, rtol=1e-12)
        np.testing.assert_allclose([result.sigma, result.r_squared], [304.854073561965, 0.995479004577296], rtol=1e-12)
        close(result.f_test.statistic, 330.285339234588)
        assert result.rounds <= 5

    @pytest.mark.parametrize(
        ("kind", "expected"),
        {
            "model": [67.4546211043415, 0.217041435408762, 5.83582128501488, 0.717105500560912, 0.225238169188269,
                      0.573331858550061, 0.530834389766024, 0.782463845626719, 5.95863783721632, 15.6697192387072,
                      0.273313950359366],
            "HC0": [64.2370142237068, 0.205977228030352, 5.54160290525453, 0.717200805209103, 0.222056848367609,
                    0.535128559055585, 0.481788548832599, 0.728537169332871, 5.73760538763611, 14.5979542037928,
                    0.257414182929697],
            "HC1": [65.0515795064519, 0.208589147357818, 5.61187387584572, 0.726295357372528, 0.224872667279213,
                    0.541914321925791, 0.487897927206514, 0.737775473642303, 5.81036179157767, 14.7830653400623,
                    0.260678354828635],
            "HC2": [65.6565567546034, 0.208722451852216, 5.61278163423943, 0.728099248559533, 0.225230109781438,
                    0.550113902865143, 0.496088440622833, 0.747523479098795, 5.86413005995858, 14.9115290309993,
                    0.261012126000986],
            "HC3": [67.1419667219877, 0.211521486684677, 5.6855529434966, 0.739279593553619, 0.22847329178316,
                    0.565940639271948, 0.511227994173505, 0.767455412795674, 5.99549970423911, 15.2400573695921,
                    0.264686070105366],
        }.items(),
    )  # fmt: skip
    def test_diabetes_standard_errors(self, ask, kind, expected):  # statsmodels 0.15.0
        frames = split(diabetes(), "blk3@bmi")
        result = ask("linear_regression", frames, formula=DIABETES, cohort_effect="common", std_errors=kind)
        close(errors(result), expected)
        assert result.rounds <= 5
        assert result.std_errors == kind

    def test_diabetes(self, ask):  # statsmodels 0.15.0
        result = ask("linear_regression", split(diabetes(), "blk3@bmi"), formula=DIABETES, cohort_effect="common")
        coefficients = [
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
        ]
        close(estimates(result), coefficients)
        close(
            [result.r_squared, result.adjusted_r_squared, result.sigma, result.f_test.statistic],
            [0.51774842222035, 0.506559290485323, 54.1542393280557, 46.2724395852432],
        )
        close([result.log_likelihood, result.aic, result.bic], [-2385.99286212352, 4793.98572424704, 4838.99013294989])

    def test_fixed_cohort_effects(self, ask):  # statsmodels 0.15.0, an indicator per firm
        result = ask("linear_regression", split(grunfeld(), "by@firm"), formula="invest ~ value + capital")
        close(estimates(result), [0.110129119025771, 0.310033441874942])
        close(errors(result), [0.0112998432895951, 0.0165404765194787])
        assert result.rounds <= 5


class TestAgainstStatsmodels:
    def test_tests_of_the_model(self, ask):
        frame = people(400)
        result = ask(
            "linear_regression", split(frame, "blk4"), formula="bmi ~ age + dose + sex + arm", cohort_effect="common"
        )
        fit = smf.ols("bmi ~ age + dose + sex + arm", frame).fit()
        close([result.f_test.statistic, result.f_test.p_value], [fit.fvalue, fit.f_pvalue])
        close([result.r_squared, result.adjusted_r_squared], [fit.rsquared, fit.rsquared_adj])
        close(
            [result.breusch_pagan.statistic, result.breusch_pagan.p_value],
            het_breuschpagan(fit.resid, fit.model.exog)[:2],
        )
        names = list(fit.params.index)
        for term, name in {"age": "age", "dose": "dose", "sex": "sex[T.male]"}.items():
            inflation = variance_inflation_factor(fit.model.exog, names.index(name))
            close(result.terms[term].gvif, inflation)
        arm = fit.wald_test_terms().table.loc["arm"]
        close([result.terms["arm"].statistic, result.terms["arm"].p_value], [arm["statistic"].item(), arm["pvalue"]])
        assert result.terms["arm"].df == 2

    def test_generalised_inflation_is_fox_and_monette(self, ask):
        frame = people(300, seed=4)
        result = ask("linear_regression", split(frame, "mod3"), formula="bmi ~ age + arm", cohort_effect="common")
        X = np.column_stack([frame["age"], frame["arm"] == "b", frame["arm"] == "c"]).astype(float)
        R = np.corrcoef(X, rowvar=False)
        wanted = np.linalg.det(R[1:, 1:]) * R[0, 0] / np.linalg.det(R)
        close([result.terms["arm"].gvif, result.terms["age"].gvif], [wanted, wanted])

    @pytest.mark.parametrize("kind", ["model", "HC0", "HC1", "HC2", "HC3", "CR0", "CR1"])
    def test_an_intercept_per_cohort_is_an_indicator_per_cohort(self, ask, kind):
        frame = people(300, seed=9).assign(family=np.arange(300) // 4)
        frames = split(frame, "blk3@family")
        clusters = " + cluster(family)" if kind.startswith("CR") else ""
        result = ask("linear_regression", frames, formula=f"bmi ~ age + sex{clusters}", std_errors=kind)
        pooled = with_cohorts(frames)
        model = smf.ols("bmi ~ cohort + age + sex", pooled)
        if clusters:
            groups = {"groups": pooled["cohort"] + "-" + pooled["family"].astype(str)}
            fit = model.fit(cov_type="cluster", cov_kwds={**groups, "use_correction": kind == "CR1"})
        else:
            fit = model.fit(cov_type="nonrobust" if kind == "model" else kind)
        close(estimates(result), fit.params[["age", "sex[T.male]"]])
        close(errors(result), fit.bse[["age", "sex[T.male]"]])
        if kind == "model":
            X = model.exog
            close(result.breusch_pagan.statistic, het_breuschpagan(fit.resid, X)[0])
            assert result.breusch_pagan.df == X.shape[1] - 1

    @pytest.mark.parametrize("kind", ["model", "HC0", "HC3"])
    def test_weights(self, ask, kind):
        frame = people(300, seed=2)
        asked = {"formula": "bmi ~ age + sex", "cohort_effect": "common", "std_errors": kind}
        result = ask("linear_regression", split(frame, "mod3"), weights="years", **asked)
        fit = smf.wls("bmi ~ age + sex", frame, weights=frame["years"]).fit(
            cov_type="nonrobust" if kind == "model" else kind
        )
        order = ["Intercept", "age", "sex[T.male]"]
        close(estimates(result), fit.params[order])
        close(errors(result), fit.bse[order])
        close([result.r_squared, result.sigma, result.log_likelihood], [fit.rsquared, np.sqrt(fit.scale), fit.llf])
        assert result.weights == "years (prior)"

    def test_comparison_is_the_f_test_of_nested_models(self, ask):
        frame = people(250, seed=6)
        result = ask(
            "linear_regression", split(frame, "mod3"), formula="bmi ~ age + sex * arm", cohort_effect="common",
            compare="bmi ~ age + sex",
        )  # fmt: skip
        larger, smaller = (smf.ols(f"bmi ~ {rhs}", frame).fit() for rhs in ("age + sex * arm", "age + sex"))
        statistic, p_value, df = larger.compare_f_test(smaller)
        close([result.comparison.statistic, result.comparison.p_value], [statistic, p_value])
        close([result.comparison.deviance, result.comparison.log_likelihood], [smaller.ssr, smaller.llf])
        close(result.comparison.aic, smaller.aic)
        assert (result.comparison.df, result.comparison.test) == (df, "F")

    def test_without_an_intercept(self, ask):
        frame = people(200)
        result = ask("linear_regression", split(frame, "mod3"), formula="bmi ~ 0 + age + dose", cohort_effect="common")
        fit = smf.ols("bmi ~ 0 + age + dose", frame).fit()
        close([result.r_squared, result.adjusted_r_squared], [fit.rsquared, fit.rsquared_adj])
        close(result.f_test.statistic, fit.fvalue)
        assert result.breusch_pagan is None


class TestCohortIntercepts:
    def test_are_those_of_indicators(self, ask):
        frames = split(people(240, seed=3), "blk3@age")
        result = ask("linear_regression", frames, formula="bmi ~ age + arm", cohort_effect="dummies")
        pooled = with_cohorts(frames)
        columns = [pooled["cohort"] == c for c in frames] + [pooled["age"], pooled["arm"] == "b", pooled["arm"] == "c"]
        fit = sm.OLS(pooled["bmi"], np.column_stack(columns).astype(float)).fit()
        assert list(result.coefficients) == [*(f"(Intercept)[{c}]" for c in frames), "age", "arm[b]", "arm[c]"]
        close(estimates(result), fit.params)
        close(np.array(result.covariance), fit.cov_params())

    def test_need_cohorts_that_release_their_own_figures(self, ask):
        with pytest.raises(Refused, match="own figures"):
            ask("linear_regression", split(people(240), "mod3"), formula="bmi ~ age", cohort_effect="dummies",
                policy=Policy())  # fmt: skip

    def test_random_ones_are_a_mixed_model(self, ask):
        with pytest.raises(InvalidQuestion, match="mixed_model"):
            ask("linear_regression", split(people(240), "mod3"), formula="bmi ~ age", cohort_effect="random")


class TestLimits:
    def test_a_fit_that_nearly_tells_the_outcome_is_said(self, ask):
        frame = people(200)
        frame["double"] = 2 * frame["bmi"] + 1e-3 * np.random.default_rng(0).normal(size=200)
        result = ask("linear_regression", split(frame, "mod3"), formula="double ~ bmi")
        assert result.r_squared > 0.999
        assert any("nearly known" in w for w in result.warnings)
        assert not ask("linear_regression", split(frame, "mod3"), formula="bmi ~ age").warnings

    def test_one_person_alone_with_a_level_has_no_hc3(self, ask):
        frame = people(120)
        frame["rare"] = np.arange(120) == 7
        for kind in ("HC2", "HC3"):
            with pytest.raises(CannotEstimate, match="leverage"):
                ask("linear_regression", split(frame, "mod3"), formula="bmi ~ rare + age", std_errors=kind)
        assert ask("linear_regression", split(frame, "mod3"), formula="bmi ~ rare + age", std_errors="HC1").n == 120

    def test_a_copy_is_named(self, ask):
        frame = people(100)
        with pytest.raises(Collinear, match="`again` is a combination of `age`"):
            ask(
                "linear_regression",
                split(frame.assign(again=3 * frame["age"] - 1), "mod3"),
                formula="bmi ~ age + again",
            )

    def test_under_a_default_policy(self, ask):
        frame = people(300)
        frame.loc[:3, "age"] = np.nan
        result = ask("linear_regression", split(frame, "mod3"), formula="bmi ~ age + arm", policy=Policy())
        assert result.n == 296
        assert result.n_excluded is None
        assert "withheld" in result.summary()


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    cohorts=st.integers(1, 13),
    scale=st.sampled_from([(1.0, 0.0), (1e6, 1e8), (1e-6, 5.0)]),
    effect=st.sampled_from(["common", "stratified"]),
    lacks=st.sampled_from(["a", "b", "c"]),
)
def test_any_people_in_any_cohorts(seed, cohorts, scale, effect, lacks):
    """Random splits, missing values, an empty cohort, a level that is missing at the first cohort, any unit."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(60, 200))
    frame = people(n, seed)
    frame["age"] = frame["age"] * scale[0] + scale[1]
    frame.loc[rng.random(n) < 0.1, "dose"] = np.nan
    at = rng.integers(0, cohorts, n)
    at[(frame["arm"] == lacks) & (at == 0)] = cohorts - 1
    frames = named([*(frame[at == k] for k in range(cohorts)), frame.iloc[:0]])
    result = (
        network(frames)
        .study()
        .linear_regression(formula="bmi ~ age + dose + arm", cohort_effect=effect, std_errors="HC1")
        .result(progress=False)
    )
    pooled = with_cohorts(frames).dropna()
    base = "0 + cohort" if effect == "stratified" else "1"
    pooled["age"] = (pooled["age"] - scale[1]) / scale[0]  # what statsmodels can do with digits to spare
    fit = smf.ols(f"bmi ~ {base} + age + dose + C(arm, Treatment('a'))", pooled).fit(cov_type="HC1")
    close(result.coefficients["age"].estimate * scale[0], fit.params["age"], rtol=1e-7)
    close(result.coefficients["dose"].estimate, fit.params["dose"], rtol=1e-7)
    close(result.coefficients["dose"].std_error, fit.bse["dose"], rtol=1e-7)
    close(result.deviance, fit.ssr)
    assert result.n == len(pooled)
