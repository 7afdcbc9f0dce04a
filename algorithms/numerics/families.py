"""Exponential families with their canonical link: what one block of rows adds to a likelihood.

Canonical links make observed and expected information equal: the score is X'(y - mu), the information X' W X with
W = V(mu) (McCullagh & Nelder 1989, *Generalized Linear Models*, 2.5).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, Literal

import numpy as np
from scipy import special
from typing_extensions import override

from cohortium.data import BLOCK_ROWS
from cohortium.quantities import Array

FamilyName = Literal["gaussian", "binomial", "poisson"]

# Fitted probabilities (or rates) below this are told apart from 0 by nothing but a diverging coefficient.
EXTREME = 1e-8


@dataclass(frozen=True)
class Working:
    """A block at one linear predictor: residual y - mu and weight V(mu), both of shape (rows,), and sums over it.

    `log_likelihood` lacks what does not depend on the coefficients; `extreme`: some fitted value is next to its bound.
    """

    residual: Array
    weight: Array
    log_likelihood: float
    pearson: float
    extreme: bool


class Family(ABC):
    """A distribution of the outcome with its canonical link. `ratio` is what exp(coefficient) is called."""

    name: ClassVar[FamilyName]
    link: ClassVar[str]
    ratio: ClassVar[str | None] = None

    @abstractmethod
    def working(self, eta: Array, y: Array) -> Working:
        """The block's contribution at linear predictor `eta`, shape (rows,)."""

    @abstractmethod
    def intercept(self, eta: Array, outcome: float) -> float:
        """The best intercept beside the predictor `eta` of people whose outcomes add up to `outcome`."""

    def constants(self, y: Array) -> tuple[float, float]:  # noqa: ARG002 - for families that have them
        """Sums over `y` that no coefficient changes: the saturated log-likelihood, and the rest of the true one."""
        return 0.0, 0.0

    def is_informative(self, n: float, outcome: float) -> bool:  # noqa: ARG002 - for families that ask
        """Whether `n` people with this total outcome can tell anything once they have an intercept of their own."""
        return n > 0


class Gaussian(Family):
    """Normal outcome, identity link. Sums are in units of the residual variance, which is estimated afterwards."""

    name = "gaussian"
    link = "identity"

    @override
    def working(self, eta: Array, y: Array) -> Working:
        residual = y - eta
        squares = float(residual @ residual)
        return Working(residual, np.ones_like(y), -0.5 * squares, squares, extreme=False)

    @override
    def intercept(self, eta: Array, outcome: float) -> float:
        return (outcome - float(np.sum(eta))) / len(eta)


class Binomial(Family):
    """An event or none, logit link."""

    name = "binomial"
    link = "logit"
    ratio = "odds ratio"

    @override
    def working(self, eta: Array, y: Array) -> Working:
        # In terms of the margin (positive where the prediction is right) nothing cancels: no 1 - p with p near 1.
        sign = 2.0 * y - 1.0
        margin = sign * eta
        odds = np.exp(-np.abs(margin))
        total = 1.0 + odds
        wrong = np.where(margin >= 0.0, odds, 1.0) / total
        log_likelihood = float(np.sum(np.minimum(margin, 0.0)) - np.sum(np.log(total)))
        pearson = float(np.sum(np.where(margin >= 0.0, odds, 1.0 / odds)))
        return Working(sign * wrong, odds / (total * total), log_likelihood, pearson, bool(np.min(odds) < EXTREME))

    @override
    def intercept(self, eta: Array, outcome: float) -> float:
        # The fitted probabilities must add up to the events. The root lies between the logits that the smallest and
        # the largest predictor would need, and Newton steps that leave the bracket are replaced by halving it.
        centre = math.log(outcome / (len(eta) - outcome))
        low, high = centre - float(np.max(eta)), centre - float(np.min(eta))
        guess = min(max(centre - float(np.mean(eta)), low), high)
        for _ in range(200):
            fitted, weight = _fitted_events(eta, guess)
            excess = fitted - outcome
            low, high = (low, guess) if excess > 0 else (guess, high)
            step = excess / weight if weight > 0 else math.inf
            if abs(excess * step) < 1e-26 or high - low <= 1e-15 * max(1.0, abs(guess)):
                break
            guess = guess - step if low < guess - step < high else 0.5 * (low + high)
        return guess

    @override
    def is_informative(self, n: float, outcome: float) -> bool:
        return 0 < outcome < n


class Poisson(Family):
    """A count, log link."""

    name = "poisson"
    link = "log"
    ratio = "rate ratio"

    @override
    def working(self, eta: Array, y: Array) -> Working:
        mean = np.exp(eta)
        residual = y - mean
        log_likelihood = float(y @ eta - np.sum(mean))
        return Working(
            residual, mean, log_likelihood, float(np.sum(residual * residual / mean)), bool(np.min(mean) < EXTREME)
        )

    @override
    def constants(self, y: Array) -> tuple[float, float]:
        return float(np.sum(special.xlogy(y, y) - y)), -float(np.sum(special.gammaln(y + 1.0)))

    @override
    def intercept(self, eta: Array, outcome: float) -> float:
        top = float(np.max(eta))
        return math.log(outcome) - top - math.log(float(np.sum(np.exp(eta - top))))

    @override
    def is_informative(self, n: float, outcome: float) -> bool:
        return outcome > 0


FAMILIES: Mapping[FamilyName, Family] = MappingProxyType({f.name: f for f in (Gaussian(), Binomial(), Poisson())})


def _fitted_events(eta: Array, intercept: float) -> tuple[float, float]:
    """The sum of the fitted probabilities, and of their variances."""
    fitted = weight = 0.0
    for start in range(0, len(eta), BLOCK_ROWS):
        shifted = eta[start : start + BLOCK_ROWS] + intercept
        odds = np.exp(-np.abs(shifted))
        total = 1.0 + odds
        fitted += float(np.sum(np.where(shifted >= 0.0, 1.0, odds) / total))
        weight += float(np.sum(odds / (total * total)))
    return fitted, weight
