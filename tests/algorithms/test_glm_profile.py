"""Profile-likelihood intervals and tests of terms, against statsmodels fits that hold one coefficient fixed."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from datasets import named
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from cohortium.analysis import find
from cohortium.errors import InvalidQuestion, Refused
from simulation import network

FAMILIES = {
    "binomial": sm.families.Binomial(),
    "poisson": sm.families.Poisson(),
    "gamma": sm.families.Gamma(sm.families.links.Log()),
}


def close(values, expected, rtol=1e-7, atol=1e-8):
    np.testing.assert_allclose(np.asarray(values, float), np.asarray(expected, float), rtol=rtol, atol=atol)


def people(n, seed):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {"age": rng.normal(50, 10, n), "arm": rng.choice(["a", "b", "c"], n), "dose": rng.gamma(2, 1, n)}
    )
    eta = 0.03 * (frame["age"] - 50) + 0.5 * (frame["arm"] == "b") - 0.2 * frame["dose"]
    frame["binomial"] = rng.random(n) < 1 / (1 + np.exp(-eta))
    frame["poisson"] = rng.poisson(np.exp(eta))
    frame["gamma"] = rng.gamma(2, np.exp(eta) / 2)
    frame["gaussian"] = eta + rng.normal(0, 1, n)
    return frame


def design(frame):
    columns = {"one": 1.0, "age": frame["age"], "arm[b]": frame["arm"] == "b", "arm[c]": frame["arm"] == "c"}
    return pd.DataFrame({**columns, "dose": frame["dose"]}, index=frame.index).astype(float)


def pooled(frame, family, drop=(), **options):
    x = design(frame).drop(columns=list(drop))
    return sm.GLM(frame[family].astype(float), x, FAMILIES[family], **options).fit(tol=1e-14, maxiter=200)


def limits(frame, family, term, quantile):
    """Roots of the deviance of the fit with this coefficient held fixed, by an offset."""
    whole, x = pooled(frame, family), design(frame)[term]
    scale = whole.scale if family == "gamma" else 1.0

    def fall(b):
        fixed = pooled(frame, family, [term], offset=b * x)
        return (fixed.deviance - whole.deviance) / scale - quantile(whole.df_resid)

    at, error = whole.params[term], whole.bse[term]
    return [optimize.brentq(fall, at + side * 0.2 * error, at + side * 6 * error, xtol=1e-13) for side in (-1, 1)]


def quantile_of(family):
    return (lambda df: stats.f.ppf(0.95, 1, df)) if family == "gamma" else (lambda _: stats.chi2.ppf(0.95, 1))


@settings(max_examples=9, deadline=None)
@given(seed=st.integers(0, 10**6), cohorts=st.integers(1, 9), family=st.sampled_from(sorted(FAMILIES)))
def test_limits_are_where_the_deviance_has_risen_by_the_quantile(seed, cohorts, family):
    frame = people(150, seed)
    place = np.random.default_rng(seed).integers(0, cohorts, len(frame))
    frames = named([frame[place == k] for k in range(cohorts)])
    options = {"family": family, "link": "log" if family == "gamma" else None, "cohort_effect": "common"}
    study = network(frames).study()
    result = study.glm(formula=f"{family} ~ age + arm + dose", intervals="profile", **options).result()
    assert list(result.profile) == ["age", "arm[b]", "arm[c]", "dose"]
    for term, found in result.profile.items():
        close([found.low, found.high], limits(frame, family, term, quantile_of(family)), 1e-6, 1e-7)
    assert result.rounds <= 30


@pytest.mark.parametrize("family", ["binomial", "poisson", "gamma", "gaussian"])
@pytest.mark.parametrize("effect", ["common", "stratified"])
def test_terms_are_tested_as_by_refitting_without_them(family, effect):
    frame = people(300, 5)
    frame["cohort"] = np.arange(len(frame)) % 3
    frames = named([part.drop(columns="cohort") for _, part in frame.groupby("cohort")])
    formula, link = f"{family} ~ age + arm * dose", "log" if family == "gamma" else None
    study = network(frames).study()
    result = study.glm(formula=formula, family=family, link=link, cohort_effect=effect, drop1=True).result()
    x = design(frame)
    x["b:dose"], x["c:dose"] = x["arm[b]"] * x["dose"], x["arm[c]"] * x["dose"]
    if effect == "stratified":
        x = x.join(pd.get_dummies(frame["cohort"], drop_first=True, dtype=float).add_prefix("cohort"))
    of = {**FAMILIES, "gaussian": sm.families.Gaussian()}[family]
    whole = sm.GLM(frame[family].astype(float), x, of).fit(tol=1e-14, maxiter=200)
    assert list(result.drop1) == ["age", "arm:dose"]  # what is part of an interaction stays
    for term, columns in (("age", ["age"]), ("arm:dose", ["b:dose", "c:dose"])):
        without = sm.GLM(frame[family].astype(float), x.drop(columns=columns), of).fit(tol=1e-14, maxiter=200)
        found, rise = result.drop1[term], without.deviance - whole.deviance
        close([found.deviance, found.df], [without.deviance, len(columns)])
        if family in ("gamma", "gaussian"):
            f = rise / len(columns) / whole.scale
            close([found.statistic, found.p_value], [f, stats.f.sf(f, len(columns), whole.df_resid)], 1e-6)
            assert found.test == "F"
        else:
            close([found.statistic, found.p_value], [rise, stats.chi2.sf(rise, len(columns))], 1e-6)
            close(found.aic, without.aic)
    assert "Without each term" in result.summary()
    assert "tested against the model without it" in result.methods()


def test_of_least_squares_the_profile_is_the_t_interval():
    frames = named([people(60, k) for k in range(4)])
    result = (
        network(frames).study().glm(formula="gaussian ~ age + arm", family="gaussian", intervals="profile").result()
    )
    for term, found in result.profile.items():
        e = result.coefficients[term]
        close([found.low, found.high], [e.ci_low, e.ci_high], 1e-9)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_scale_does_not_matter(scale):
    frame = people(200, 8)
    moved = frame.assign(age=frame["age"] * scale + 1e3 * scale)
    of = {"formula": "poisson ~ age + arm", "family": "poisson", "intervals": "profile"}
    first, second = (network(named([f[::2], f[1::2]])).study().glm(**of).result() for f in (frame, moved))
    ends = [[r.profile["age"].low, r.profile["age"].high] for r in (first, second)]
    close(np.array(ends[1]) * scale, ends[0], 1e-7)


def test_a_sparse_group_has_a_lopsided_interval():
    rng = np.random.default_rng(2)
    frame = people(60, 4).assign(arm=["b"] * 4 + ["a", "c"] * 28)
    frame["binomial"] = [True, True, True, False, *(rng.random(56) < 0.3)]
    study = network(named([frame[::2], frame[1::2]])).study()
    options = {"family": "binomial", "cohort_effect": "common", "intervals": "profile"}
    found = study.glm(formula="binomial ~ age + arm + dose", **options).result().profile["arm[b]"]
    close([found.low, found.high], limits(frame, "binomial", "arm[b]", quantile_of("binomial")), 1e-6)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"family": "negative_binomial", "intervals": "profile"}, "without a penalty"),
        ({"family": "poisson", "intervals": "profile", "std_errors": "HC0"}, "go by the likelihood"),
        ({"family": "poisson", "drop1": True, "std_errors": "HC3"}, "go by the likelihood"),
        ({"family": "poisson", "drop1": True, "formula": "poisson ~ 0 + age", "cohort_effect": "common"}, "intercept"),
    ],
)
def test_what_has_no_likelihood_is_named(options, words):
    study = network(named([people(60, k) for k in range(2)])).study()
    with pytest.raises(InvalidQuestion, match=words):
        study.glm(**{"formula": "poisson ~ age", **options}).result()


def test_attack_more_points_than_limits():
    data = next(iter(network(named([people(60, 1)])).service.nodes.values())).data
    params = find("glm").params.bind({"formula": "poisson ~ age", "family": "poisson"}, data.dictionary)
    same = {
        "centre": np.zeros(1),
        "per_unit": np.ones(1),
        "units": np.array([0.0, 1.0, 1.0, 0.0]),
        "knots": np.zeros(0),
    }
    for points in (np.zeros((3, 1)), np.zeros((2, 2)), np.zeros(1)):
        with pytest.raises(Refused, match="than a model has limits"):
            find("glm").statistic("profile_terms")(data, params, coefficients=points, **same)
