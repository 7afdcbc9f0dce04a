"""Random-effects meta-analysis by weighted power sums over cohorts.

With w = 1 / (v + tau2) all that follows is a function of S[p, q] = sum w^p y^q: the pooled effect, Q, the restricted
likelihood and its derivatives (Viechtbauer 2005, J Educ Behav Stat 30:261). Estimates are centred and in units of
their mean standard error, so that the sums stay near 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
from numpy.polynomial.chebyshev import Chebyshev
from scipy import special

from algorithms.numerics.newton import Steps
from cohortium.errors import NotConverged
from cohortium.quantities import Array

NODES = 64
FAR = 1e6
MAX_POLISHING = 8


@dataclass(frozen=True)
class PowerSums:
    """At each of several tau2: S[p - 1, q] = sum w^p y^q for p = 1, 2, 3 and q = 0, 1, 2; and sum log(v + tau2)."""

    tau2: Array
    powers: Array
    logs: Array

    @property
    def mean(self) -> Array:
        """The pooled effect, shape (len(tau2),)."""
        return self.powers[:, 0, 1] / self.powers[:, 0, 0]

    def about_mean(self, p: int) -> Array:
        """Sum of w^p (y - mean)^2."""
        s, m = self.powers[:, p - 1], self.mean
        return np.maximum(s[:, 2] - 2 * m * s[:, 1] + m * m * s[:, 0], 0.0)

    @property
    def q(self) -> Array:
        """Cochran's Q with these weights."""
        return self.about_mean(1)

    @property
    def restricted(self) -> Array:
        """Restricted log-likelihood, without constants."""
        return -0.5 * (self.logs + np.log(self.powers[:, 0, 0]) + self.q)

    @property
    def trace(self) -> Array:
        """Trace of P = W - W 1 (1'W1)^-1 1'W."""
        s = self.powers[:, :, 0]
        return s[:, 0] - s[:, 1] / s[:, 0]

    @property
    def trace_square(self) -> Array:
        """Trace of P P: twice the expected information of tau2."""
        s = self.powers[:, :, 0]
        return s[:, 1] - 2 * s[:, 2] / s[:, 0] + (s[:, 1] / s[:, 0]) ** 2

    @property
    def score(self) -> Array:
        """Twice the derivative of the restricted log-likelihood by tau2: y'PPy - tr P."""
        return self.about_mean(2) - self.trace

    @property
    def curvature(self) -> Array:
        """The derivative of `score`: tr PP - 2 y'PPPy."""
        s, m = self.powers, self.mean
        slope = s[:, 1, 1] - m * s[:, 1, 0]
        return self.trace_square - 2 * (self.about_mean(3) - slope**2 / s[:, 0, 0])


def power_sums(estimates: Array, variances: Array, tau2: Array) -> tuple[Array, Array]:
    """`powers` and `logs` of these cohorts, shapes (len(tau2), 3, 3) and (len(tau2),)."""
    total = variances[None, :] + tau2[:, None]
    w = (1 / total)[:, None, :] ** np.array([1, 2, 3])[:, None]
    y = estimates[None, :] ** np.array([0, 1, 2])[:, None]
    return np.einsum("tpk,qk->tpq", w, y), np.sum(np.log(total), axis=1)


Evaluate = Callable[[Array], Steps[PowerSums]]


@dataclass(frozen=True)
class Roots:
    """Between-cohort variances: REML's, and the limits of the Q-profile interval."""

    reml: float = 0.0
    low: float = 0.0
    high: float = 0.0


@dataclass(frozen=True)
class Pooled:
    """The sums at 0, at DerSimonian and Laird's and at REML's tau2; `cohorts` is their number.

    The estimates were taken as (y - centre) / unit; the properties are back on their own scale.
    """

    at: PowerSums
    roots: Roots
    cohorts: int
    centre: float = 0.0
    unit: float = 1.0

    @property
    def means(self) -> Array:
        """The pooled effect at each tau2."""
        return self.centre + self.unit * self.at.mean

    @property
    def errors(self) -> Array:
        """Its standard error."""
        return self.unit / np.sqrt(self.at.powers[:, 0, 0])


def pool(evaluate: Evaluate, cohorts: int, level: float) -> Steps[Pooled]:
    """All estimators of the variance between so many cohorts. One cohort has none: the sums at 0 are its estimate."""
    if cohorts < 2:
        return Pooled((yield from evaluate(np.zeros(3))), Roots(), cohorts)
    fixed = yield from evaluate(np.array([0.0, FAR]))
    # Far out every weight is 1 / tau2, so Q is the plain sum of squares about the mean; no root lies beyond this.
    least = float(special.chdtri(cohorts - 1, 0.5 + level / 2))
    bound = 1.0 + 1.1 * float(fixed.q[1]) * FAR / least
    roots = yield from _solve(evaluate, fixed, bound, cohorts, level)
    dersimonian = max((float(fixed.q[0]) - (cohorts - 1)) / float(fixed.trace[0]), 0.0)
    at = yield from evaluate(np.array([0.0, dersimonian, roots.reml]))
    return Pooled(at, roots, cohorts)


def _solve(evaluate: Evaluate, fixed: PowerSums, bound: float, cohorts: int, level: float) -> Steps[Roots]:
    """REML and the Q-profile interval (Viechtbauer 2007, Stat Med 26:37) to the last digits, in a few rounds.

    All sums are smooth in log(tau2 + a): one round at Chebyshev nodes gives the curves, whose roots are then polished
    by Newton steps on exact sums.
    """
    shift = 1.0 / float(fixed.powers[0, 0, 0])  # at most the smallest variance
    domain = [math.log(shift), math.log(bound + shift)]
    angles = np.cos(np.pi * (np.arange(NODES) + 0.5) / NODES)
    nodes = 0.5 * (domain[0] + domain[1]) + 0.5 * (domain[1] - domain[0]) * angles
    curves = yield from evaluate(np.maximum(np.exp(nodes) - shift, 0.0))

    def curve(values: Array) -> Callable[[Array], Array]:
        fitted = Chebyshev.fit(nodes, values, NODES - 1, domain=domain)
        return lambda tau2: np.asarray(fitted(np.log(tau2 + shift)))

    grid = np.concatenate([[0.0], np.exp(np.linspace(domain[0], domain[1], 4000)[1:]) - shift])
    likelihood, q = curve(curves.restricted), curve(np.log(np.maximum(curves.q, 1e-300)))
    targets = [float(special.chdtri(cohorts - 1, tail)) for tail in (0.5 - level / 2, 0.5 + level / 2)]
    starts = [float(grid[np.argmax(likelihood(grid))])]
    starts += [float(grid[np.argmin(np.abs(q(grid) - math.log(t)))]) for t in targets]
    at_zero = float(fixed.q[0])
    # Q falls with tau2: below its target already at 0, the limit is 0.
    free = np.array([True, *(at_zero > t for t in targets)])
    roots = yield from _polish(evaluate, np.where(free, starts, 0.0), free, targets, shift)
    return Roots(*map(float, roots))


def _polish(evaluate: Evaluate, at: Array, free: Array, targets: list[float], scale: float) -> Steps[Array]:
    for _ in range(MAX_POLISHING):
        here = yield from evaluate(at)
        error = np.array([here.score[0], *(here.q[1:] - targets)])
        slope = np.array([here.curvature[0], *(-here.about_mean(2)[1:])])
        # Where the likelihood is not concave, the expected information gives a step uphill.
        slope[0] = slope[0] if slope[0] < 0 else -here.trace_square[0]
        with np.errstate(divide="ignore", invalid="ignore"):
            step = np.where(free, -error / slope, 0.0)
        new = np.maximum(np.where(np.isfinite(step), at + step, at), 0.0)
        moved, at = np.abs(new - at), new
        # The step was taken, and Newton squares what is left: this is beyond the last digit.
        if np.all(moved <= 1e-9 * (at + scale)):
            return at
    raise NotConverged("The variance between cohorts did not converge, so no numbers are given.")


def known_sums(estimates: Array, variances: Array) -> Evaluate:
    """The sums of estimates that are all in hand: nobody is asked."""

    def evaluate(tau2: Array) -> Steps[PowerSums]:
        yield from ()
        return PowerSums(tau2, *power_sums(estimates, variances, tau2))

    return evaluate


def pool_known(estimates: Sequence[float], variances: Sequence[float], level: float) -> Pooled:
    """A meta-analysis of estimates that are all in hand."""
    centre, unit = float(np.mean(estimates)), float(np.mean(np.sqrt(variances)))
    y, v = (np.array(estimates) - centre) / unit, np.array(variances) / unit**2
    steps = pool(known_sums(y, v), len(y), level)
    try:
        next(steps)
    except StopIteration as done:
        return replace(cast(Pooled, done.value), centre=centre, unit=unit)
    raise AssertionError("nobody was to be asked")
