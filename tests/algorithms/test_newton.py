"""The Newton loop and the families on their own."""

import numpy as np
import pytest

from algorithms.numerics.newton import Model, describe_aliases, maximise
from algorithms.numerics.scoring import NewtonTerms
from cohortium.errors import CannotEstimate, Collinear, NotConverged, Separation


def run(log_likelihood, gradient, curvature, start, **options):
    """Maximise a function given by its value, gradient and minus its second derivatives; returns fit and points."""
    points = []

    def evaluate(at):
        points.append(at)
        value = log_likelihood(at)
        finite = bool(np.isfinite(value))
        return NewtonTerms(
            n=100,
            score=gradient(at) if finite else np.zeros(len(at)),
            information=curvature(at) if finite else np.zeros((len(at), len(at))),
            log_likelihood=value if finite else 0.0,
            pearson=0.0,
            extreme=0.0,
            not_finite=float(not finite),
        )
        yield  # a generator, as the real one

    names = [f"b{k}" for k in range(len(start))]
    model = Model(names, **{"intercept": False, "separable": False, "max_iterations": 25, **options})
    steps = maximise(evaluate, np.asarray(start, float), model)
    try:
        while True:
            next(steps)
    except StopIteration as done:
        return done.value, points


def poisson_mean(y):
    return (
        lambda b: float(y * b[0] - np.exp(b[0])),
        lambda b: np.array([y - np.exp(b[0])]),
        lambda b: np.array([[np.exp(b[0])]]),
    )


def test_reported_sums_belong_to_the_final_coefficients():
    fit, points = run(*poisson_mean(7.0), [1.0])
    np.testing.assert_allclose(fit.coefficients, np.log(7.0), rtol=1e-15)
    np.testing.assert_array_equal(points[-1], fit.coefficients)
    np.testing.assert_allclose(fit.inverse, 1 / 7.0, rtol=1e-14)
    assert fit.decrement <= 1e-16
    assert len(points) == fit.iterations + 1


def test_steps_that_overshoot_are_halved():
    # From mu = 1 the full step to an eta of 5000 overflows; halves of it come back into range.
    with np.errstate(over="ignore"):
        fit, points = run(*poisson_mean(5000.0), [0.0])
    np.testing.assert_allclose(fit.coefficients, np.log(5000.0), rtol=1e-14)
    assert len(points) > fit.iterations + 1


def test_a_likelihood_that_no_step_improves_gives_no_numbers():
    with pytest.raises(NotConverged, match="No step improves"):
        run(lambda b: -float(b[0]), lambda b: np.ones(1), lambda b: np.ones((1, 1)), [0.0])


def test_a_start_that_is_not_finite():
    with pytest.raises(CannotEstimate, match="starting values"):
        run(lambda b: np.inf, lambda b: np.ones(1), lambda b: np.ones((1, 1)), [0.0])


@pytest.mark.parametrize(("separable", "error"), [(True, Separation), (False, Collinear)])
def test_information_that_becomes_singular_on_the_way(separable, error):
    with pytest.raises(error, match=r"`b0`|`b1`"):
        run(
            lambda b: float(b.sum()),
            lambda b: np.ones(2),
            lambda b: np.eye(2) if not b.any() else np.ones((2, 2)),
            [0.0, 0.0],
            separable=separable,
        )


def test_every_alias_is_named_once_with_its_parts():
    x = np.random.default_rng(0).normal(size=(50, 3))
    correlation = np.corrcoef(np.column_stack([x, x[:, 0] - x[:, 2], x[:, 1]]), rowvar=False)
    words = describe_aliases(correlation, ["a", "b", "c", "a_minus_c", "b_again"])
    assert "`a_minus_c` is a combination of `a`, `c`" in words
    assert "`b_again` is a combination of `b`" in words
