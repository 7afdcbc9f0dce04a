"""The arithmetic of privacy budgets, against the definitions worked out independently."""

import math
from typing import Annotated

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cohortium.privacy import LEAST, epsilon_of, noise_of, rho_of, share_of
from cohortium.quantities import Array, Flag, NoisyKind, Sums


class Released(Sums):
    one: Annotated[Array, NoisyKind(most=1.0)]
    two: Annotated[Array, NoisyKind(most=5.0, share=3.0)]
    votes: Flag


@given(st.integers(1, 40), st.integers(0, 40), st.integers(1, 9), st.floats(1e-4, 10))
def test_all_noisy_fields_together_cost_the_budget(lines, more, width, rho):
    noise = noise_of(Released, {"one": (lines, width), "two": (more, 3, width), "votes": ()}, rho)
    # rho of a Gaussian mechanism: squared sensitivity over twice the variance; that of several adds up.
    spent = lines * 1.0 / (2 * noise["one"] ** 2)
    if more:
        spent += more * 3 * 25.0 / (2 * noise["two"] ** 2)
    else:
        assert "two" not in noise
    assert spent == pytest.approx(rho, rel=1e-12)


@given(st.floats(1e-4, 20), st.floats(1e-12, 0.09))
def test_epsilon_and_rho_are_each_others_inverse(epsilon, delta):
    assert epsilon_of(rho_of(epsilon, delta), delta) == pytest.approx(epsilon, rel=1e-9)


def test_epsilon_is_that_of_bun_and_steinke():
    assert epsilon_of(0.5, 1e-6) == pytest.approx(0.5 + 2 * math.sqrt(0.5 * 6 * math.log(10)), rel=1e-12)


@given(st.floats(0.1, 1e6), st.integers(1, 200))
def test_shares_add_up_to_at_least_the_noise_asked_for(noise, cohorts):
    share = share_of(noise, cohorts)
    assert math.sqrt(cohorts) * share >= noise * (1 - 1e-12)
    assert share >= LEAST
    assert share == LEAST or math.isclose(math.sqrt(cohorts) * share, noise)


def test_a_sum_of_shares_is_as_good_as_one_discrete_gaussian():
    """The probabilities of the sum of two discrete Gaussians of the least share, beside those of one: as claimed."""
    whole = np.arange(-80, 81)
    share = np.exp(-(whole**2) / (2 * LEAST**2))
    both = np.convolve(share / share.sum(), share / share.sum(), mode="same")
    one = np.exp(-(whole**2) / (4 * LEAST**2))
    one /= one.sum()
    centre = np.abs(whole) <= 40
    assert np.max(np.abs(np.log(both[centre]) - np.log(one[centre]))) < 1e-12
