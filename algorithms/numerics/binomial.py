"""An event or none, or a share of events among so many trials: the binomial distribution with its links.

Everything is written in log p, log(1 - p) and their derivatives with respect to eta, which lose no digits however near
p is to 0 or 1.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import ClassVar

import numpy as np
from scipy import special
from typing_extensions import override

from algorithms.numerics.likelihood import EXTREME, Family, Working, weighted
from cohortium.data import BLOCK_ROWS
from cohortium.quantities import Array

# Value, first and second derivative.
_Derivatives = tuple[Array, Array, Array]


class Binomial(Family):
    """What the links share. All are concave in eta for events and for non-events."""

    name = "binomial"
    separable = True

    @abstractmethod
    def event(self, eta: Array) -> _Derivatives:
        """Logarithm of p, with its derivatives."""

    @abstractmethod
    def none(self, eta: Array) -> _Derivatives:
        """Logarithm of 1 - p, with its derivatives."""

    @override
    def working(self, eta: Array, y: Array) -> Working:
        (log_p, event, event_bend), (log_q, none, none_bend) = self.event(eta), self.none(eta)
        p, q = np.exp(log_p), np.exp(log_q)
        between = (y - p) ** 2 / (p * q) if np.any((y > 0) & (y < 1)) else y
        return Working(
            residual=_mixed(y, event, none),
            weight=self.information(eta),
            curvature=-_mixed(y, event_bend, none_bend),
            log_likelihood=_mixed(y, log_p, log_q),
            pearson=np.where(y == 1, np.exp(log_q - log_p), np.where(y == 0, np.exp(log_p - log_q), between)),
            extreme=bool(min(np.min(p), np.min(q)) < EXTREME),
        )

    def information(self, eta: Array) -> Array:
        """Expected information about eta: (dp/deta)^2 / (p(1 - p))."""
        return -self.event(eta)[1] * self.none(eta)[1]

    @override
    def constants(self, y: Array, weight: Array) -> tuple[float, float]:
        saturated = float(np.sum(weight * (special.xlogy(y, y) + special.xlog1py(1.0 - y, -y))))
        events = weight * y
        ways = special.gammaln(weight + 1.0) - special.gammaln(events + 1.0) - special.gammaln(weight - events + 1.0)
        # A person has one outcome however much it weighs; only trials can succeed in several ways.
        return saturated, float(np.sum(np.where((y > 0) & (y < 1), ways, 0.0)))

    @override
    def is_informative(self, people: float, outcome: float) -> bool:
        return 0 < outcome < people


class Logit(Binomial):
    """The logarithm of the odds is eta: the canonical link, and the one that has to be fast."""

    link = "logit"
    ratio = "odds ratio"
    canonical = True

    @override
    def event(self, eta: Array) -> _Derivatives:
        p, q = special.expit(eta), special.expit(-eta)
        return -np.logaddexp(0.0, -eta), q, -p * q

    @override
    def none(self, eta: Array) -> _Derivatives:
        p, q = special.expit(eta), special.expit(-eta)
        return -np.logaddexp(0.0, eta), -p, -p * q

    @override
    def working(self, eta: Array, y: Array) -> Working:
        if np.any((y > 0) & (y < 1)):
            return super().working(eta, y)
        # In terms of the margin (positive where the prediction is right) nothing cancels: no 1 - p with p near 1.
        sign = 2.0 * y - 1.0
        margin = sign * eta
        odds = np.exp(-np.abs(margin))
        total = 1.0 + odds
        right = margin >= 0.0
        wrong = np.where(right, odds, 1.0) / total
        weight = odds / (total * total)
        log_likelihood = np.minimum(margin, 0.0) - np.log(total)
        pearson = np.where(right, odds, 1.0 / odds)
        return Working(sign * wrong, weight, weight, log_likelihood, pearson, bool(np.min(odds) < EXTREME))

    @override
    def predictor(self, mean: float) -> float:
        return math.log(mean / (1.0 - mean))

    @override
    def intercept(self, eta: Array, y: Array, weight: Array | None) -> float:
        # The fitted probabilities must add up to the events. The root lies between the logits that the smallest and
        # the largest predictor would need, and Newton steps that leave the bracket are replaced by halving it.
        outcome, people = weighted(y, weight), float(len(y)) if weight is None else float(np.sum(weight))
        centre = math.log(outcome / (people - outcome))
        low, high = centre - float(np.max(eta)), centre - float(np.min(eta))
        guess = min(max(centre - float(np.mean(eta)), low), high)
        for _ in range(200):
            fitted, spread = _fitted_events(eta, guess, weight)
            excess = fitted - outcome
            low, high = (low, guess) if excess > 0 else (guess, high)
            step = excess / spread if spread > 0 else math.inf
            if abs(excess * step) < 1e-26 or high - low <= 1e-15 * max(1.0, abs(guess)):
                break
            guess = guess - step if low < guess - step < high else 0.5 * (low + high)
        return guess


class Probit(Binomial):
    """The normal distribution function of eta is p."""

    link = "probit"

    @override
    def event(self, eta: Array) -> _Derivatives:
        value = special.log_ndtr(eta)
        # The inverse Mills ratio; beyond -1e7 it is -eta to the last digit, where both logarithms would be huge.
        ratio = np.where(eta < -1e7, -eta, np.exp(-0.5 * eta * eta - 0.5 * math.log(2.0 * math.pi) - value))
        return value, ratio, -ratio * (ratio + eta)

    @override
    def none(self, eta: Array) -> _Derivatives:
        value, first, second = self.event(-eta)
        return value, -first, second

    @override
    def predictor(self, mean: float) -> float:
        return float(special.ndtri(mean))


class Cloglog(Binomial):
    """The logarithm of -log(1 - p) is eta; with a log of time at risk as offset, a model of hazards."""

    link = "cloglog"
    ratio = "hazard ratio"

    @override
    def event(self, eta: Array) -> _Derivatives:
        # Beyond 700 the rate's exponential overflows, and p is 1.
        rate = np.minimum(np.exp(eta), 700.0)
        first = np.where(rate > 0, rate / np.expm1(rate), 1.0)
        series = -rate / 2.0 - rate**2 / 12.0 + rate**4 / 720.0
        bend = np.where(rate < 1e-2, series, 1.0 - rate - first)
        value = np.where(rate < 1e-2, eta - rate / 2.0 + rate**2 / 24.0 - rate**4 / 2880.0, np.log(-np.expm1(-rate)))
        return value, first, first * bend

    @override
    def none(self, eta: Array) -> _Derivatives:
        rate = np.exp(eta)
        return -rate, -rate, -rate

    @override
    def information(self, eta: Array) -> Array:
        rate = np.minimum(np.exp(eta), 700.0)
        return np.where(rate > 0, rate / np.expm1(rate), 1.0) * rate

    @override
    def predictor(self, mean: float) -> float:
        return math.log(-math.log1p(-mean))


class LogRisk(Binomial):
    """The logarithm of p is eta, below 0: coefficients are logarithms of risk ratios."""

    link = "log"
    ratio = "risk ratio"
    bounds: ClassVar[tuple[float, float]] = (-math.inf, 0.0)

    @override
    def event(self, eta: Array) -> _Derivatives:
        return eta, np.ones_like(eta), np.zeros_like(eta)

    @override
    def none(self, eta: Array) -> _Derivatives:
        q = -np.expm1(eta)
        odds = np.exp(eta) / q
        return np.log(q), -odds, -odds / q

    @override
    def predictor(self, mean: float) -> float:
        return math.log(mean)


class Risk(Binomial):
    """The probability itself is eta: coefficients are differences in risk."""

    link = "identity"
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)

    @override
    def event(self, eta: Array) -> _Derivatives:
        return np.log(eta), 1.0 / eta, -1.0 / eta**2

    @override
    def none(self, eta: Array) -> _Derivatives:
        q = 1.0 - eta
        return np.log(q), -1.0 / q, -1.0 / q**2

    @override
    def predictor(self, mean: float) -> float:
        return mean


def _mixed(y: Array, event: Array, none: Array) -> Array:
    """`event` where y is 1, `none` where it is 0, in proportion between: an infinity that does not count is no NaN."""
    return np.where(y == 1, event, np.where(y == 0, none, y * event + (1.0 - y) * none))


def _fitted_events(eta: Array, intercept: float, weight: Array | None) -> tuple[float, float]:
    """The sum of the fitted probabilities, and of their variances."""
    fitted = spread = 0.0
    for start in range(0, len(eta), BLOCK_ROWS):
        rows = slice(start, start + BLOCK_ROWS)
        share = None if weight is None else weight[rows]
        shifted = eta[rows] + intercept
        odds = np.exp(-np.abs(shifted))
        total = 1.0 + odds
        fitted += weighted(np.where(shifted >= 0.0, 1.0, odds) / total, share)
        spread += weighted(odds / (total * total), share)
    return fitted, spread
