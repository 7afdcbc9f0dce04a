"""The true effects, recovered from the people by fits of others' making."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from lifelines import CoxPHFitter

from cohortium.formula import Formula
from simulation import cohorts, network
from simulation.cohorts.effects import term
from simulation.cohorts.making import BLOCK, block, stream
from simulation.cohorts.repeats import repeated_visits

PEOPLE = 200_000
TRUTH = cohorts.truth()


def gather(holder, people=PEOPLE, seed=11):
    parts = [block(cohorts.find(holder), seed, index).columns for index in range(people // BLOCK)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


@pytest.fixture(scope="module")
def netherlands():
    return gather("netherlands")


def those(people, rows):
    return {name: values[rows] for name, values in people.items()}


def design(effects, people):
    return pd.DataFrame({name: term(people, name).astype(float) for name in effects.coefficients})


def judge(effects, estimates, errors):
    """Every coefficient within four standard errors, and the lot of them as far off as chance would have it."""
    z = np.array([(estimates[n] - true) / errors[n] for n, true in effects.coefficients.items() if errors[n] > 0])
    assert np.abs(z).max() < 4, dict(zip(effects.coefficients, z.round(1), strict=False))
    assert np.sqrt(np.mean(z**2)) < 2
    return z


@pytest.mark.parametrize(
    ("outcome", "values"),
    [
        ("sbp", lambda p: p["sbp"]),
        ("ldl", lambda p: p["ldl"]),
        ("hdl", lambda p: p["hdl"]),
        ("log(bmi)", lambda p: np.log(p["weight"] / (p["height"] / 100) ** 2)),
    ],
)
def test_linear_models(netherlands, outcome, values):
    effects = TRUTH[outcome]
    adults = those(netherlands, netherlands["age"] >= 18)
    X = design(effects, adults)
    fit = sm.OLS(values(adults), sm.add_constant(X)).fit()
    judge(effects, fit.params, fit.bse)
    assert fit.params["const"] == pytest.approx(effects.intercept, abs=4 * fit.bse["const"])
    assert np.sqrt(fit.scale) == pytest.approx(effects.residual_sd, rel=0.01)


def test_smoking(netherlands):
    effects, adults = TRUTH["smoking[current]"], those(netherlands, netherlands["age"] >= 18)
    fit = sm.Logit(term(adults, "smoking[current]").astype(float), sm.add_constant(design(effects, adults))).fit(disp=0)
    judge(effects, fit.params, fit.bse)


def test_cardiovascular_history(netherlands):
    effects = TRUTH["cvd_history"]
    fit = sm.Logit(netherlands["cvd_history"].astype(float), sm.add_constant(design(effects, netherlands))).fit(disp=0)
    judge(effects, fit.params, fit.bse)
    assert fit.params["const"] == pytest.approx(effects.intercept, abs=4 * fit.bse["const"])


def test_diabetes_with_its_profile_of_age(netherlands):
    """The profile is a straight line between its ages: a hat function for each age and sex."""
    effects, grown = TRUTH["diabetes"], those(netherlands, netherlands["age"] >= 42.5)
    X = design(effects, grown)
    for sex, points in effects.profile.items():
        ages = np.array([a for a in points if a >= 42.5])
        for i, at in enumerate(ages):
            hat = np.interp(grown["age"], ages, np.eye(len(ages))[i])
            X[f"{sex} {at}"] = hat * (grown["sex"] == (sex == "male"))
    fit = sm.Logit(grown["diabetes"].astype(float), X).fit(disp=0)
    judge(effects, fit.params, fit.bse)
    z = [
        (fit.params[f"{sex} {at}"] - true) / fit.bse[f"{sex} {at}"]
        for sex, points in effects.profile.items()
        for at, true in points.items()
        if at >= 42.5
    ]
    assert np.abs(z).max() < 4


@pytest.mark.parametrize(
    ("outcome", "time", "already"),
    [
        ("death", "followup_time", None),
        ("cvd_event", "cvd_time", "cvd_history"),
        ("t2d_event", "t2d_time", "diabetes"),
        ("cancer_event", "cancer_time", None),
    ],
)
def test_cox_models(netherlands, outcome, time, already):
    effects = TRUTH[outcome]
    at_risk = those(netherlands, ~netherlands[already] if already else netherlands["age"] >= 0)
    frame = design(effects, at_risk).assign(time=at_risk[time] / 365.25, event=at_risk[outcome])
    fit = CoxPHFitter().fit(frame, "time", "event")
    assert frame["event"].sum() > 5000
    judge(effects, fit.params_, fit.standard_errors_)


def test_missing_at_random_and_recruitment_do_not_bias():
    """Complete cases of a cohort that over-recruits by education and origin, and where low education skips more."""
    table = cohorts.people("multi-ethnic-city", PEOPLE, seed=5).to_pandas()
    effects, complete = TRUTH["sbp"], table.dropna(subset=["sbp", "bmi", "education", "alcohol"])
    assert 0.7 < len(complete) / len(table) < 0.9
    X = pd.DataFrame(
        {
            **{"age": complete["age"], "sex[male]": complete["sex"] == "male", "bmi": complete["bmi"]},
            **{f"education[{level}]": complete["education"] == level for level in ("middle", "high")},
            "alcohol": complete["alcohol"],
        }
    ).astype(float)
    fit = sm.OLS(complete["sbp"], sm.add_constant(X)).fit()
    judge(effects, fit.params, fit.bse)


def pairs(people, kept, relation):
    """Positions of the index person and of the relative, in families where both are kept."""
    index = {f: i for i, f in enumerate(people["family_id"]) if people["relation"][i] == 0 and kept[i]}
    others = [i for i in np.flatnonzero((people["relation"] == relation) & kept) if people["family_id"][i] in index]
    return np.array([index[people["family_id"][i]] for i in others]), np.array(others)


def residual(effects, people, values):
    return values - effects.predictor(people)


@pytest.mark.parametrize(
    ("holder", "relation", "zygosity", "shared_genes"),
    [("twins", 4, 1, 1.0), ("twins", 4, 2, 0.5), ("north", 2, None, 0.5), ("north", 1, None, 0.0)],
    ids=["identical twins", "fraternal twins", "parent and child", "partners"],
)
def test_families_share_what_they_should(holder, relation, zygosity, shared_genes):
    people = gather(holder, 100_000)
    kept = (people["age"] >= 18) & ((people["zygosity"] == zygosity) if zygosity else True)
    one, other = pairs(people, kept, relation)
    assert len(one) > 5000
    outcomes = {"sbp": people["sbp"], "log(bmi)": np.log(people["bmi"]), "ldl": people["ldl"]}
    for outcome, values in outcomes.items():
        left = residual(TRUTH[outcome], people, values)
        found = np.corrcoef(left[one], left[other])[0, 1]
        true = TRUTH[outcome].family_correlation(shared_genes)
        assert found == pytest.approx(true, abs=4 * (1 - true**2) / np.sqrt(len(one)) + 0.003), outcome
    sexes = people["sex"][one] == people["sex"][other]
    assert sexes.all() if zygosity == 1 else not sexes.all()
    assert not (relation == 1 and sexes.any())


def test_repeated_visits_change_by_the_year_and_resemble_each_other():
    holder = cohorts.NETHERLANDS
    effects = TRUTH["sbp"]
    change, first, second, years = [], [], [], []
    for index in range(4):
        made = block(holder, 4, index)
        visits = repeated_visits(stream(holder, 4, index, "visits"), holder, made)
        left = visits["sbp"] - effects.predictor(made.columns)[visits["person_id"] - visits["person_id"].min()]
        later = np.flatnonzero(visits["visit"] == 2)
        assert (visits["person_id"][later] == visits["person_id"][later - 1]).all()
        first.append(left[later - 1])
        second.append(left[later])
        change.append(left[later] - left[later - 1])
        years.append(visits["years"][later])
    change, years = np.concatenate(change), np.concatenate(years)
    fit = sm.OLS(change, years[:, None]).fit()
    assert fit.params[0] == pytest.approx(effects.per_year, abs=4 * fit.bse[0])
    lasting = 1 - effects.spread["visit"] ** 2 / effects.residual_sd**2
    assert np.corrcoef(np.concatenate(first), np.concatenate(second))[0, 1] == pytest.approx(lasting, abs=0.015)


@pytest.mark.parametrize(("outcome", "family"), [("sbp", "gaussian"), ("hdl", "gaussian"), ("cvd_history", "binomial")])
def test_a_federated_fit_finds_them(outcome, family):
    """The model as `truth` writes it down, asked of a network of holders that differ in everything but the effects."""
    holders = ("north", "multi-ethnic-city", "hospital-biobank")
    net = network({name: cohorts.people(name, 8000, seed=12) for name in holders}, dictionary=cohorts.PEOPLE)
    effects = TRUTH[outcome]
    fitted = net.study().glm(formula=effects.formula, family=family).result(progress=False)
    assert set(fitted.coefficients) - {"(Intercept)"} == set(effects.coefficients)
    found = {name: fitted.coefficients[name] for name in effects.coefficients}
    judge(effects, {n: c.estimate for n, c in found.items()}, {n: c.std_error for n, c in found.items()})


@pytest.mark.parametrize("outcome", [o for o in TRUTH if o not in {"smoking[current]", "diabetes"}])
def test_formulas_are_of_the_grammar_and_have_the_coefficients(outcome):
    formula = Formula(TRUTH[outcome].formula)
    formula.check_names(cohorts.PEOPLE)
    right = {name.partition("[")[0] for name in TRUTH[outcome].coefficients}
    assert {str(term) for term in formula.terms} == right


def test_truth_names_terms_of_the_dictionary():
    for name, effects in TRUTH.items():
        assert effects.outcome == name
        for coefficient in effects.coefficients:
            variable, _, level = coefficient.rstrip("]").partition("[")
            assert variable.partition("^")[0] in cohorts.PEOPLE
            assert not level or level in cohorts.PEOPLE[variable].levels[1:]
