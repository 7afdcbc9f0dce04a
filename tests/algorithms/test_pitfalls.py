"""The fourteen pitfalls of federated statistics, each as a test: what goes wrong elsewhere does not here."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import statsmodels.formula.api as smf
from datasets import named
from lifelines import CoxPHFitter

from cohortium.errors import CohortiumError, Refused
from node.disclosure import Policy
from simulation import network


def close(values, expected, rtol=1e-8, atol=1e-9):
    np.testing.assert_allclose(np.asarray(values, float), np.asarray(expected, float), rtol=rtol, atol=atol)


@pytest.fixture(scope="module")
def people():
    """Cohorts that differ in age, in how ill people are, and in which arms they have."""
    rng = np.random.default_rng(7)
    n, cohort = 600, np.repeat([0, 1, 2], [100, 200, 300])
    age = rng.normal(np.array([35, 50, 65])[cohort], np.array([0.5, 6.0, 9.0])[cohort]).round(3)
    arm = np.where(cohort == 0, rng.choice(["b", "c"], n), rng.choice(["a", "b", "c"], n))
    eta = 0.04 * (age - 50) + 0.5 * (arm == "b") - 0.8 * cohort
    frame = pd.DataFrame({"age": age, "arm": arm, "cohort": cohort})
    frame["ill"] = rng.random(n) < 1 / (1 + np.exp(-eta))
    frame["visits"], frame["years"] = rng.poisson(np.exp(0.5 * eta)), rng.uniform(1, 5, n)
    frame["score"] = (eta + rng.normal(0, 1 + cohort, n)).round(3)
    frame["time"] = np.ceil(rng.exponential(20, n))
    return frame


def split(frame):
    return named([part.drop(columns="cohort") for _, part in frame.groupby("cohort")])


@pytest.fixture(scope="module")
def study(people):
    return network(split(people)).study()


def test_pitfall_01_averaged_coefficients_are_no_pooled_model(people, study):
    frame = people.assign(ill=people["ill"].astype(float))
    pooled = smf.logit("ill ~ age", frame).fit(disp=0, tol=1e-12)
    found = study.glm(formula="ill ~ age", family="binomial", cohort_effect="common").result().coefficients["age"]
    close([found.estimate, found.std_error], [pooled.params["age"], pooled.bse["age"]], 1e-7)
    alone = [smf.logit("ill ~ age", part).fit(disp=0) for _, part in frame.groupby("cohort")]
    average = np.average([fit.params["age"] for fit in alone], weights=[fit.nobs for fit in alone])
    assert abs(average - found.estimate) > 2 * found.std_error
    assert np.mean([fit.bse["age"] for fit in alone]) > 1.7 * found.std_error


def test_pitfall_02_medians_and_spreads_are_not_averaged(people, study):
    median = study.quantiles(variables=["age"], precision=0.001).result()["age"].median
    spread = study.describe(variables=["age"]).result()["age"].sd
    close([median, spread], [people["age"].median(), people["age"].std()])
    each = people.groupby("cohort")
    assert abs(each["age"].median().mean() - median) > 3
    assert each["age"].std().mean() < 0.6 * spread


def test_pitfall_03_columns_come_from_the_dictionary_not_from_a_cohorts_own_levels(people, study):
    assert "a" not in set(people.loc[people["cohort"] == 0, "arm"])  # the reference level is missing at one cohort
    found = study.linear_regression(formula="score ~ arm", cohort_effect="common").result()
    pooled = smf.ols("score ~ arm", people).fit()
    assert list(found.coefficients) == ["(Intercept)", "arm[b]", "arm[c]"]
    close([e.estimate for e in found.coefficients.values()], pooled.params)
    only = people.assign(arm=np.where(people["cohort"] == 2, people["arm"], "c"))  # levels in the last cohort alone
    again = network(split(only)).study().linear_regression(formula="score ~ arm", cohort_effect="common").result()
    close([e.estimate for e in again.coefficients.values()], smf.ols("score ~ arm", only).fit().params)


def test_pitfall_04_degrees_of_freedom(people, study):
    close(study.describe(variables=["score"]).result()["score"].sd, people["score"].std(ddof=1), 1e-12)
    found = study.glm(formula="score ~ age", cohort_effect="common").result()
    pooled = smf.ols("score ~ age", people).fit()
    close(found.dispersion, pooled.ssr / (len(people) - 2))
    age = found.coefficients["age"]
    close([age.ci_low, age.ci_high], pooled.conf_int().loc["age"])  # by t, not z
    close(found.bic, pooled.bic)


def test_pitfall_05_sums_of_squares_keep_their_digits(people):
    moved = people.assign(age=people["age"] * 1e-3 + 1e8)
    study = network(split(moved)).study()
    values = moved["age"].to_numpy()
    spread = np.sqrt(np.sum((values - values.mean()) ** 2) / (len(values) - 1))
    found = study.describe(variables=["age"]).result()["age"].sd
    close(found, spread, 1e-6)
    one_pass = np.sqrt(max(np.sum(values**2) - len(values) * values.mean() ** 2, 0) / (len(values) - 1))
    assert abs(one_pass / spread - 1) > 1e-3
    fit = network(split(people)).study().glm(formula="ill ~ age", family="binomial").result()
    assert fit.exactness.decrement < 1e-16  # in standard errors, not by change of raw coefficients


def test_pitfall_06_ties_and_follow_up_without_length(people, study):
    used = people[["time", "ill", "age"]].assign(ill=people["ill"].astype(float))
    efron = CoxPHFitter().fit(used.assign(cohort=people["cohort"]), "time", "ill", strata=["cohort"])
    found = study.cox(formula="Surv(time, ill) ~ age").result()
    close(found.coefficients["age"].estimate, efron.params_["age"], 1e-6)
    assert found.ties == "efron"
    breslow = study.cox(formula="Surv(time, ill) ~ age", ties="breslow").result().coefficients["age"].estimate
    assert abs(breslow - found.coefficients["age"].estimate) > 1e-4
    stopped = people.assign(begin=np.where(people.index % 50 == 0, people["time"], 0.0))
    late = network(split(stopped)).study().cox(formula="Surv(begin, time, ill) ~ age").result()
    assert (late.no_follow_up, late.n) == (12, 588)


def test_pitfall_07_models_are_compared_on_the_same_people(people):
    frame = people.assign(age=people["age"].where(people.index % 7 > 0))
    frames = split(frame)
    study = network(frames).study()
    options = {"family": "binomial", "cohort_effect": "common"}
    both = study.glm(formula="ill ~ arm + age", compare="~ arm", **options).result()
    whole = frame.dropna().assign(ill=lambda f: f["ill"].astype(float))
    fits = [smf.logit(f"ill ~ {m}", whole).fit(disp=0, tol=1e-12) for m in ("arm", "arm + age")]
    close(both.comparison.statistic, 2 * (fits[1].llf - fits[0].llf), 1e-6)
    assert both.n == len(whole)
    apart = study.glm(formula="ill ~ arm", **options).result()  # other people: no test between these two
    assert apart.n > both.n
    same = study.glm(formula="ill ~ arm", complete=("age",), **options).result()
    close([same.n, same.deviance], [both.n, both.comparison.deviance])
    del frames["c0"]["age"]
    lacking = network(frames).study().describe(variables=["age"]).result()["age"]
    assert lacking.missing >= 100  # who was never asked is missing, not 0


def test_pitfall_08_who_is_in_two_cohorts_is_counted_twice_and_the_result_says_so(people):
    frame = people.assign(family=np.arange(len(people)) // 4)
    result = network(split(frame)).study().gee(formula="score ~ age + cluster(family)", family="gaussian").result()
    assert "if no cluster is in two cohorts" in result.exactness.basis
    assert "if no cluster is in two cohorts" in result.methods()


def test_pitfall_09_cohorts_are_not_mixed_up_with_covariates(people, study):
    stratified = study.linear_regression(formula="score ~ age").result()
    within = smf.ols("score ~ age + C(cohort)", people).fit()
    assert stratified.cohort_effect == "stratified"  # unless something else is asked
    close(stratified.coefficients["age"].estimate, within.params["age"])
    common = study.linear_regression(formula="score ~ age", cohort_effect="common").result().coefficients["age"]
    assert abs(common.estimate - within.params["age"]) > 2 * within.bse["age"]


def test_pitfall_10_likelihoods_keep_their_constants(people, study):
    found = study.glm(formula="visits ~ age + offset(log(years))", family="poisson", cohort_effect="common").result()
    x = sm.add_constant(people[["age"]])
    pooled = sm.GLM(people["visits"], x, sm.families.Poisson(), offset=np.log(people["years"])).fit(tol=1e-12)
    close([found.log_likelihood, found.aic, found.null_deviance], [pooled.llf, pooled.aic, pooled.null_deviance])


def test_pitfall_11_the_same_question_has_the_same_answer_to_the_last_bit(people):
    frames = split(people)
    backwards = dict(reversed(frames.items()))
    asked = {"formula": "score ~ age + arm", "folds": 5}
    first, again, other = (network(f).study().elastic_net(**asked).result() for f in (frames, frames, backwards))
    assert first.model_dump_json() == again.model_dump_json()
    assert first.coefficients == other.coefficients


def test_pitfall_12_a_sum_is_not_safe_because_it_is_masked(people):
    frame = people.assign(target=people.index == 5)  # a dummy for one person: X'y would be that person's y
    study = network(split(frame), policy=Policy()).study()
    with pytest.raises(Refused, match="min_carriers"):
        study.linear_regression(formula="score ~ target", cohort_effect="common").result()


def test_pitfall_13_no_person_time_and_no_weight(people):
    frame = people.assign(years=np.where(people.index == 3, 0.0, people["years"]))
    study = network(split(frame)).study()
    with pytest.raises(CohortiumError, match="log"):
        study.glm(formula="visits ~ age + offset(log(years))", family="poisson").result()
    with pytest.raises(CohortiumError, match="weight"):
        study.linear_regression(formula="score ~ age", weights="years").result()


def test_pitfall_14_what_one_cohort_has_is_in_no_result_and_in_no_error(people):
    frames = split(people)
    frames["c0"] = frames["c0"].iloc[:7]
    with pytest.raises(Refused) as caught:
        network(frames, policy=Policy()).study().linear_regression(formula="score ~ age").result()
    assert "7" not in caught.value.message
    told = network(split(people)).study().linear_regression(formula="score ~ age").result().model_dump_json()
    assert all(f":{size}," not in told for size in (100, 200, 300))
