"""Families with their links on their own: likelihoods, derivatives, a cohort's own intercept."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, special, stats

from algorithms.numerics.families import FAMILIES, LINKS

ALL = [family for links in LINKS.values() for family in links.values()]
IDS = [f"{family.name}-{family.link}" for family in ALL]

INVERSE = {
    "identity": lambda eta: eta,
    "log": np.exp,
    "logit": special.expit,
    "probit": stats.norm.cdf,
    "cloglog": lambda eta: -np.expm1(-np.exp(eta)),
}
# Log-densities without a dispersion of their own: (y, mean).
DENSITY = {
    "gaussian": lambda y, mu: stats.norm.logpdf(y, mu) + 0.5 * np.log(2 * np.pi),
    "binomial": stats.bernoulli.logpmf,
    "poisson": stats.poisson.logpmf,
    "gamma": lambda y, mu: -y / mu - np.log(mu),
    "negative_binomial": lambda y, mu: stats.nbinom.logpmf(y, 1.0, 1 / (1 + mu)),
}
VARIANCE = {
    "gaussian": np.ones_like,
    "binomial": lambda mu: mu * (1 - mu),
    "poisson": lambda mu: mu,
    "gamma": lambda mu: mu**2,
    "negative_binomial": lambda mu: mu + mu**2,
}


def outcomes(name, rng, n):
    return {
        "gaussian": lambda: rng.normal(3, 2, n),
        "binomial": lambda: rng.integers(0, 2, n).astype(float),
        "poisson": lambda: rng.poisson(4, n).astype(float),
        "gamma": lambda: rng.gamma(2, 3, n),
        "negative_binomial": lambda: rng.negative_binomial(1, 0.2, n).astype(float),
    }[name]()


def predictors(family, rng, n):
    low, high = (max(family.bounds[0], -3.0), min(family.bounds[1], 3.0))
    margin = 0.02 * (high - low)
    return rng.uniform(low + margin, high - margin, n)


@pytest.mark.parametrize("family", ALL, ids=IDS)
class TestLikelihood:
    def test_is_the_density(self, family):
        rng = np.random.default_rng(1)
        y, eta = outcomes(family.name, rng, 200), predictors(family, rng, 200)
        working, mean = family.working(eta, y), INVERSE[family.link](eta)
        _, constant = family.constants(y, np.ones_like(y))
        np.testing.assert_allclose(working.log_likelihood.sum() + constant, DENSITY[family.name](y, mean).sum())
        np.testing.assert_allclose(working.pearson, (y - mean) ** 2 / VARIANCE[family.name](mean), rtol=1e-7)

    def test_saturated_is_the_density_at_the_outcome(self, family):
        y = outcomes(family.name, np.random.default_rng(2), 100)
        saturated, constant = family.constants(y, np.ones_like(y))
        if family.name == "negative_binomial":
            saturated = family.working(np.zeros_like(y), y).shape.saturated.sum()
        with np.errstate(all="ignore"):
            wanted = DENSITY[family.name](y, y)
        np.testing.assert_allclose(saturated + constant, np.nan_to_num(wanted).sum(), atol=1e-9)

    def test_residual_and_curvature_are_its_derivatives(self, family):
        rng, step = np.random.default_rng(3), 1e-6
        y, eta = outcomes(family.name, rng, 200), predictors(family, rng, 200)
        up, here, down = (family.working(eta + s, y) for s in (step, 0.0, -step))
        slope = (up.log_likelihood - down.log_likelihood) / (2 * step)
        np.testing.assert_allclose(here.residual, slope, rtol=1e-5, atol=1e-5)
        observed = (down.residual - up.residual) / (2 * step)
        if family.canonical:
            np.testing.assert_allclose(here.weight, observed, rtol=1e-5, atol=1e-6)
        if here.curvature is not here.weight:
            np.testing.assert_allclose(here.curvature, observed, rtol=1e-5, atol=1e-5)
            assert np.all(here.curvature >= 0)

    def test_weight_is_the_expected_information(self, family):
        eta, step = np.clip(predictors(family, np.random.default_rng(4), 50), -2.0, 1.2), 1e-5
        up, mean, down = (INVERSE[family.link](eta + s) for s in (step, 0.0, -step))
        change = (up - down) / (2 * step)
        y = np.ones_like(eta) if family.name == "binomial" else np.round(mean) + 1.0
        np.testing.assert_allclose(family.working(eta, y).weight, change**2 / VARIANCE[family.name](mean), rtol=1e-6)

    def test_weights_are_repetitions(self, family):
        rng = np.random.default_rng(5)
        y, weight = outcomes(family.name, rng, 60), rng.integers(1, 4, 60).astype(float)
        if family.name == "gaussian":
            return  # there they are precisions, and add their logarithms
        repeated = np.repeat(y, weight.astype(int))
        np.testing.assert_allclose(family.constants(y, weight), family.constants(repeated, np.ones_like(repeated)))


def test_negative_binomial_differentiates_by_its_second_parameter():
    rng, step = np.random.default_rng(6), 1e-5
    y, eta = outcomes("negative_binomial", rng, 300), rng.normal(0, 1, 300)
    for start in (-6.0, 0.0, 2.0):
        up, here, down = (FAMILIES["negative_binomial"].with_shape(start + s).working(eta, y) for s in (step, 0, -step))
        np.testing.assert_allclose(
            here.shape.score, (up.log_likelihood - down.log_likelihood) / (2 * step), rtol=1e-5, atol=1e-5
        )
        np.testing.assert_allclose(
            here.shape.curvature, (down.shape.score - up.shape.score) / (2 * step), rtol=1e-4, atol=1e-5
        )
        np.testing.assert_allclose(here.shape.cross, (down.residual - up.residual) / (2 * step), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", [LINKS["binomial"][link] for link in ("logit", "probit", "cloglog")])
def test_far_out_nothing_cancels(family):
    eta = np.array([-700.0, -40.0, -9.0, 9.0, 40.0, 700.0])
    for y in (np.zeros(6), np.ones(6)):
        with np.errstate(all="ignore"):
            working = family.working(eta, y)
        right = (eta > 0) == (y > 0)
        assert np.isfinite(working.log_likelihood[right]).all()
        assert np.isfinite(working.residual[right]).all()
        assert np.all(working.log_likelihood <= 0)
        assert np.all(working.curvature[right] >= 0)


def test_a_share_of_trials():
    trials, eta = np.array([5.0, 20.0, 8.0]), np.array([-1.0, 0.3, 2.0])
    events = np.array([1.0, 13.0, 8.0])
    for link, family in LINKS["binomial"].items():
        eta_ = np.clip(eta, -2, -0.1) if link == "log" else special.expit(eta) if link == "identity" else eta
        working = family.working(eta_, events / trials)
        _, constant = family.constants(events / trials, trials)
        wanted = stats.binom.logpmf(events, trials, INVERSE[link](eta_)).sum()
        np.testing.assert_allclose(trials @ working.log_likelihood + constant, wanted)


@given(
    which=st.sampled_from(range(len(ALL))),
    seed=st.integers(0, 10**6),
    spread=st.sampled_from([0.0, 0.1, 3.0, 40.0]),
    n=st.integers(2, 300),
    weighs=st.booleans(),
)
def test_the_intercept_of_a_cohort_has_no_slope_left(which, seed, spread, n, weighs):
    rng, family = np.random.default_rng(seed), ALL[which]
    y, eta = outcomes(family.name, rng, n), rng.normal(5, 1, n) * spread
    weight = rng.uniform(0.5, 2, n) if weighs else None
    people, outcome = (n, y.sum()) if weight is None else (weight.sum(), weight @ y)
    if not family.is_informative(people, float(outcome)):
        return
    with np.errstate(all="ignore"):
        intercept = family.intercept(eta, y, weight)
        if not np.isfinite(intercept):
            # No intercept keeps every mean within its bounds, or none does that the others can see.
            assert not family.canonical
            return
        working = family.working(eta + intercept, y)
    shares = np.ones(n) if weight is None else weight
    slope, curvature = shares @ working.residual, shares @ working.curvature
    assert slope**2 / curvature <= 1e-16 * n * (1 + np.abs(eta).max()) ** 2 or abs(slope) <= 1e-9 * n


def test_the_intercept_of_a_logit_is_the_root():
    rng = np.random.default_rng(3)
    eta, y = rng.normal(0, 5, 100), rng.integers(0, 2, 100).astype(float)
    root = optimize.brentq(lambda a: special.expit(eta + a).sum() - y.sum(), -50, 50, xtol=1e-14)
    np.testing.assert_allclose(FAMILIES["binomial"].intercept(eta, y, None), root, rtol=1e-10)
