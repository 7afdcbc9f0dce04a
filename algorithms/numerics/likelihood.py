"""What a distribution of the outcome, with a link, adds to a likelihood: row by row.

A family knows the mean as a function of the linear predictor eta, and the log-likelihood l with its derivatives with
respect to eta. What coefficients need follows by the chain rule: the score is X' dl/deta, the information X' W X
(McCullagh & Nelder 1989, *Generalized Linear Models*, 2.5).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from cohortium.data import BLOCK_ROWS
from cohortium.quantities import Array

FamilyName = Literal["gaussian", "binomial", "poisson", "gamma", "negative_binomial"]
# Those that have a canonical link.
CanonicalName = Literal["gaussian", "binomial", "poisson"]
LinkName = Literal["identity", "log", "logit", "probit", "cloglog"]

# Fitted probabilities (or rates) below this are told apart from 0 by nothing but a diverging coefficient.
EXTREME = 1e-8

# A cohort's own intercept is settled when a step is worth less than this, per person.
_SETTLED = 1e-26


@dataclass(frozen=True)
class Shape:
    """Derivatives of l with respect to a second parameter of a family, each of shape (rows,).

    The first, minus the second, and minus the mixed one with eta; and l itself where the mean is the outcome.
    """

    score: Array
    curvature: Array
    cross: Array
    saturated: Array


@dataclass(frozen=True)
class Working:
    """Rows at one linear predictor, each field of shape (rows,).

    `residual` is dl/deta, `weight` the expected information about eta. `curvature` is what Newton steps go by: the
    observed information where the likelihood is concave for every outcome, the expected one elsewhere.
    `log_likelihood` lacks what does not depend on the coefficients. `extreme`: some fitted value is next to its bound.
    """

    residual: Array
    weight: Array
    curvature: Array
    log_likelihood: Array
    pearson: Array
    extreme: bool
    shape: Shape | None = None


class Family(ABC):
    """A distribution of the outcome with a link.

    `ratio` is what exp(coefficient) is called; `canonical`: weight and curvature are the same; `separable`: the
    likelihood may have its maximum at infinity; `has_dispersion`: the variance has a factor of its own that is
    estimated; `concave`: the likelihood is, in eta, for every outcome; `bounds` are those of the linear predictor.
    """

    name: ClassVar[FamilyName]
    link: ClassVar[LinkName]
    ratio: ClassVar[str | None] = None
    canonical: ClassVar[bool] = False
    separable: ClassVar[bool] = False
    has_dispersion: ClassVar[bool] = False
    concave: ClassVar[bool] = True
    bounds: ClassVar[tuple[float, float]] = (-math.inf, math.inf)

    @abstractmethod
    def working(self, eta: Array, y: Array) -> Working:
        """The rows' contribution at linear predictor `eta`, shape (rows,)."""

    @abstractmethod
    def predictor(self, mean: float) -> float:
        """The link: the linear predictor of people with this mean."""

    def constants(self, y: Array, weight: Array) -> tuple[float, float]:  # noqa: ARG002 - for families that have them
        """Sums over `y` that no coefficient changes: the saturated log-likelihood, and the rest of the true one."""
        return 0.0, 0.0

    def is_informative(self, people: float, outcome: float) -> bool:  # noqa: ARG002 - for families that ask
        """Whether people (their weights) with this total outcome tell anything beside an intercept of their own."""
        return people > 0

    def with_shape(self, logarithm: float) -> Family:  # noqa: ARG002 - for families that have one
        """The family at this logarithm of its second parameter."""
        return self

    def intercept(self, eta: Array, y: Array, weight: Array | None) -> float:
        """The best intercept beside the predictor `eta` of people with outcomes `y`, all of shape (rows,).

        NaN if there is none: with this predictor some mean would always be out of its bounds.
        """
        total = float(len(y)) if weight is None else float(np.sum(weight))
        guess = self._within(self.predictor(weighted(y, weight) / total) - weighted(eta, weight) / total, eta)
        here = self._at(guess, eta, y, weight)
        for _ in range(200):
            _, slope, curvature = here
            if not math.isfinite(here[0]) or curvature <= 0:
                return math.nan
            step = slope / curvature
            if slope * step <= _SETTLED * total:
                return guess
            for _ in range(60):
                there = self._at(guess + step, eta, y, weight)
                if there[0] >= here[0] - 1e-13 * abs(here[0]):
                    break
                step *= 0.5
            # Where the curvature is only the expected one, the change in slope tells more about the next step.
            bend = (slope - there[1]) / step
            guess, here = guess + step, there if self.concave or bend <= 0 else (*there[:2], bend)
        # Without a settled intercept it is at a bound, or it is known as well as rounding allows.
        return guess if slope * slope <= 1e-16 * total * curvature else math.nan

    def _within(self, guess: float, eta: Array) -> float:
        low, high = self.bounds[0] - float(np.min(eta)), self.bounds[1] - float(np.max(eta))
        if low < guess < high:
            return guess
        if math.isfinite(low) and math.isfinite(high):
            return 0.5 * (low + high) if low < high else math.nan
        # Some way within the only bound there is.
        return low + 1.0 if math.isfinite(low) else high - 1.0

    def _at(self, intercept: float, eta: Array, y: Array, weight: Array | None) -> tuple[float, float, float]:
        """Log-likelihood, slope and curvature in the intercept, block by block."""
        sums = np.zeros(3)
        for start in range(0, len(eta), BLOCK_ROWS):
            rows = slice(start, start + BLOCK_ROWS)
            working, share = self.working(eta[rows] + intercept, y[rows]), None if weight is None else weight[rows]
            parts = (working.log_likelihood, working.residual, working.curvature)
            sums += [weighted(part, share) for part in parts]
        value, slope, curvature = map(float, sums)
        return (value if math.isfinite(value) else -math.inf), slope, curvature


def weighted(values: Array, weight: Array | None) -> float:
    """The sum of `values`, each times its weight if there are weights."""
    return float(np.sum(values)) if weight is None else float(values @ weight)
