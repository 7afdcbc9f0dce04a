"""A pooled regression, cohort by cohort: own fits, how much they differ, and the fit without each of them."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import statsmodels.formula.api as smf
from datasets import named
from hypothesis import given, settings
from hypothesis import strategies as st
from lifelines import CoxPHFitter

from cohortium.errors import InvalidQuestion
from node.disclosure import Policy
from simulation import network

STRICT = Policy(min_people=10, min_cell=10)
OPEN = Policy(min_people=10, min_cell=10, release_per_cohort=True)


def close(values, expected, rtol=1e-8, atol=1e-10):
    np.testing.assert_allclose(np.asarray(values, float), np.asarray(expected, float), rtol=rtol, atol=atol)


def people(n, seed, cohorts):
    rng = np.random.default_rng(seed)
    age, cohort = rng.normal(50, 10, n), rng.integers(0, cohorts, n)
    sex = rng.choice(["f", "m"], n)
    mean = 0.05 * (age - 50) + 0.4 * (sex == "m") + 0.3 * cohort
    frame = pd.DataFrame({"age": age, "sex": sex, "y": mean + rng.normal(0, 2, n), "cohort": cohort})
    frame["ill"] = rng.random(n) < 1 / (1 + np.exp(-(mean - 1)))
    time = rng.exponential(100 * np.exp(-0.3 * mean))
    frame["time"], frame["event"] = np.ceil(np.minimum(time, 60) * 100) / 100, time < 60
    return frame


def cohorts_of(frame):
    return named([part.drop(columns="cohort") for _, part in frame.groupby("cohort")])


def column(term, field):
    return [getattr(e, field) for e in term.cohorts.values()]


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10**6), cohorts=st.integers(3, 7), effect=st.sampled_from(["stratified", "common"]))
def test_least_squares_by_cohort_and_without_each_equal_statsmodels(seed, cohorts, effect):
    frame = people(80 * cohorts, seed, cohorts)
    frames = cohorts_of(frame)
    study = network(frames).study()
    result = study.linear_regression(formula="y ~ age + sex", cohort_effect=effect, by_cohort=True).result()
    own = {name: smf.ols("y ~ age + sex", part).fit() for name, part in frames.items()}
    for term, oracle in (("age", "age"), ("sex[m]", "sex[T.m]")):
        found = result.by_cohort[term]
        close(column(found, "estimate"), [fit.params[oracle] for fit in own.values()])
        close(column(found, "std_error"), [fit.bse[oracle] for fit in own.values()])
        assert column(found, "n") == [len(part) for part in frames.values()]
        y, v = np.array([[fit.params[oracle], fit.bse[oracle] ** 2] for fit in own.values()]).T
        fixed = np.sum(y / v) / np.sum(1 / v)
        close(found.heterogeneity.q, np.sum((y - fixed) ** 2 / v), rtol=1e-7)
        model = "y ~ age + sex" + (" + C(cohort)" if effect == "stratified" else "")
        for k, left in enumerate(found.leave_one_out.values()):
            fit = smf.ols(model, frame[frame["cohort"] != k]).fit()
            low, high = fit.conf_int().loc[oracle]
            close(
                [left.estimate, left.std_error, left.ci_low, left.ci_high],
                [fit.params[oracle], fit.bse[oracle], low, high],
            )
    assert result.exactness.basis.endswith("added" if effect == "stratified" else "records")


def test_a_logistic_model_by_cohort_and_nearly_without_each():
    frame = people(1500, 3, 5)
    result = (
        network(cohorts_of(frame)).study().glm(formula="ill ~ age + sex", family="binomial", by_cohort=True).result()
    )
    for term, place in (("age", 1), ("sex[m]", 2)):
        found = result.by_cohort[term]
        for k, (own, left) in enumerate(zip(found.cohorts.values(), found.leave_one_out.values(), strict=True)):
            part, rest = frame[frame["cohort"] == k], frame[frame["cohort"] != k]
            fit = sm.Logit(part["ill"].astype(float), _design(part)).fit(disp=0, tol=1e-12)
            close([own.estimate, own.std_error], [fit.params.iloc[place], fit.bse.iloc[place]], rtol=1e-6)
            without = sm.Logit(rest["ill"].astype(float), _design(rest, cohorts=True)).fit(disp=0, tol=1e-12)
            assert abs(left.estimate - without.params.iloc[place]) < 0.03 * without.bse.iloc[place]
            close(left.std_error, without.bse.iloc[place], rtol=0.02)
    assert "without one cohort to one Newton step" in result.exactness.basis


def _design(frame, *, cohorts=False):
    x = pd.DataFrame({"one": 1.0, "age": frame["age"], "m": (frame["sex"] == "m").astype(float)})
    if cohorts:
        x = x.join(pd.get_dummies(frame["cohort"], drop_first=True, dtype=float).add_prefix("c"))
    return x


def test_a_cox_model_by_cohort_and_nearly_without_each():
    frame = people(1200, 11, 4)
    frame["m"] = (frame["sex"] == "m").astype(float)
    frames = cohorts_of(frame.drop(columns=["sex", "ill", "y"]))
    result = network(frames).study().cox(formula="Surv(time, event) ~ age + m", by_cohort=True).result()
    for term in ("age", "m"):
        found = result.by_cohort[term]
        for k, (own, left) in enumerate(zip(found.cohorts.values(), found.leave_one_out.values(), strict=True)):
            used = frame[["time", "event", "age", "m", "cohort"]]
            alone = CoxPHFitter().fit(used[used["cohort"] == k].drop(columns="cohort"), "time", "event")
            close([own.estimate, own.std_error], [alone.params_[term], alone.standard_errors_[term]], rtol=1e-5)
            rest = CoxPHFitter().fit(used[used["cohort"] != k], "time", "event", strata=["cohort"])
            assert abs(left.estimate - rest.params_[term]) < 0.03 * rest.standard_errors_[term]
    assert result.plot().to_dict()["vconcat"]


@pytest.mark.parametrize("analysis", ["glm", "linear_regression", "cox"])
def test_one_strict_cohort_keeps_its_figures_and_the_pooled_result_comes_all_the_same(analysis):
    frames = cohorts_of(people(600, 5, 3))
    formula = "Surv(time, event) ~ age" if analysis == "cox" else "y ~ age + sex"
    plain, *results = (
        network(frames, policy={"c0": OPEN, "c1": policy, "c2": OPEN})
        .study()
        .run(analysis, formula=formula, by_cohort=asked)
        .result()
        for policy, asked in ((STRICT, False), (STRICT, True), (OPEN, True))
    )
    refused, allowed = results
    assert refused.by_cohort == {}
    assert refused.coefficients == plain.coefficients == allowed.coefficients
    assert refused.rounds == allowed.rounds == plain.rounds + 1
    (warning,) = set(refused.warnings) - set(plain.warnings)
    assert "the policy of c1 (`release_per_cohort`) forbids them" in warning
    assert set(allowed.by_cohort["age"].cohorts) == {"c0", "c1", "c2"}
    assert "By cohort" in allowed.summary()
    assert "By cohort" not in refused.summary()


def test_cohorts_without_an_estimate_say_why():
    frame = people(900, 7, 5)
    frames = cohorts_of(frame)
    frames["c0"] = frames["c0"].iloc[:0]
    frames["c1"] = frames["c1"].iloc[:9]  # fewer than the policy tells apart
    frames["c2"] = frames["c2"][frames["c2"]["sex"] == "f"]  # no effect of sex
    frames["c3"]["ill"] = frames["c3"]["sex"] == "m"  # separated
    study = network(frames, policy=Policy.none().model_copy(update={"min_cell": 10})).study()
    result = study.glm(formula="ill ~ age + sex", family="binomial", by_cohort=True).result()
    sex, age = result.by_cohort["sex[m]"].cohorts, result.by_cohort["age"].cohorts
    assert sex["c0"].left_out.startswith("nobody with a value")
    assert sex["c1"].left_out.startswith("fewer than")
    assert (sex["c1"].n, sex["c1"].estimate) == (0, None)
    assert sex["c2"].left_out.startswith("no variation")
    assert sex["c3"].left_out.startswith("an effect without a finite estimate")
    assert age["c4"].estimate is not None
    assert set(result.by_cohort["age"].leave_one_out) == {"c2", "c3", "c4"}
    alone = smf.logit("ill ~ age + sex", frames["c4"].assign(ill=frames["c4"]["ill"].astype(float))).fit(disp=0)
    close(age["c4"].estimate, alone.params["age"], rtol=1e-6)


def test_robust_standard_errors_are_the_cohorts_own_but_not_of_the_fit_without_one():
    frames = cohorts_of(people(500, 9, 4))
    result = network(frames).study().linear_regression(formula="y ~ age", std_errors="HC3", by_cohort=True).result()
    found = result.by_cohort["age"]
    fits = [smf.ols("y ~ age", part).fit(cov_type="HC3") for part in frames.values()]
    close(column(found, "std_error"), [fit.bse["age"] for fit in fits])
    assert all(left.std_error is None for left in found.leave_one_out.values())


def test_a_second_parameter_or_a_penalty_is_not_left_out_by_one_step():
    frame = people(600, 17, 3)
    frame["visits"] = np.random.default_rng(17).negative_binomial(2, 0.4, len(frame))
    study = network(cohorts_of(frame)).study()
    for outcome, options in (
        ("visits", {"family": "negative_binomial"}),
        ("ill", {"family": "binomial", "penalty": "firth"}),
    ):
        result = study.glm(formula=f"{outcome} ~ age", by_cohort=True, **options).result()
        assert result.by_cohort["age"].leave_one_out == {}
        assert len(result.by_cohort["age"].cohorts) == 3


def test_columns_that_cohorts_would_make_differently_are_no_comparison():
    study = network(cohorts_of(people(300, 1, 3))).study()
    with pytest.raises(InvalidQuestion, match="say where the knots"):
        study.glm(formula="y ~ rcs(age, 4)", by_cohort=True).result()
    with pytest.raises(InvalidQuestion, match="baseline hazard per cohort"):
        study.cox(formula="Surv(time, event) ~ age", by_cohort=True, cohort_effect="common", interval=1).result()


@pytest.mark.parametrize(("scale", "shift"), [(1e6, 1e8), (1e-7, 0.0)])
def test_scale_does_not_matter(scale, shift):
    frame = people(400, 13, 3)
    first = network(cohorts_of(frame)).study().linear_regression(formula="y ~ age", by_cohort=True).result()
    frame["age"] = frame["age"] * scale + shift
    moved = network(cohorts_of(frame)).study().linear_regression(formula="y ~ age", by_cohort=True).result()
    a, b = first.by_cohort["age"], moved.by_cohort["age"]
    close(np.array(column(b, "estimate")) * scale, column(a, "estimate"), rtol=1e-7)
    left = [[w.estimate for w in term.leave_one_out.values()] for term in (a, b)]
    close(np.array(left[1]) * scale, left[0], rtol=1e-7)
