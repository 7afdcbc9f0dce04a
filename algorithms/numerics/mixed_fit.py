"""Finding the variances of a linear mixed model: Newton on the profiled deviance, one round per step.

theta is the Cholesky factor of the relative covariance, whose diagonal may take either sign while it is sought: the
deviance is smooth there, and a variance of zero is an ordinary stationary point. The Hessian comes from differences of
the gradient, asked for in the same round as the gradient itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from algorithms.numerics.mixed_likelihood import LikelihoodTerms, Profile, Setting, profiles
from algorithms.numerics.newton import MAX_HALVINGS, Steps
from cohortium.errors import NotConverged
from cohortium.quantities import Array

TOLERANCE = 1e-10
# For a fit of which only the deviance is wanted, and that to well within 1e-8.
ROUGHLY = 1e-6
DIFFERENCE = 1e-4
LONGEST_STEP = 4.0
# Less of the promised decrease than this is none: the deviance is even in theta, so a step may end at a mirror image.
SHARE = 1e-3

Evaluate = Callable[[Array], Steps[LikelihoodTerms]]


@dataclass(frozen=True)
class Place:
    """A point with its neighbours, `widths` above and below it in each of the `free` elements of theta."""

    here: Profile
    above: list[Profile]
    below: list[Profile]
    free: list[int]
    widths: Array

    def differences(self, quantity: Callable[[Profile], Array]) -> Array:
        """The derivative of a quantity by each free element, shape (free, ...)."""
        pairs = zip(self.above, self.below, self.widths, strict=True)
        return np.array([(quantity(a) - quantity(b)) / (2.0 * h) for a, b, h in pairs])


@dataclass(frozen=True)
class MixedFit:
    """The optimum, its deviance, and how far the last step but one was from it (in deviance)."""

    place: Place
    deviance: float
    iterations: int
    decrement: float


@dataclass(frozen=True)
class Search:
    """How to look for the optimum: `unit` is the size of theta that the data can just tell from 0."""

    evaluate: Evaluate
    setting: Setting
    unit: Array
    max_iterations: int

    def place(self, theta: Array, free: list[int]) -> Steps[Place]:
        """The likelihood around theta, in one round."""
        widths = DIFFERENCE * np.maximum(np.abs(theta), self.unit)[free]
        steps = np.zeros((len(free), len(theta)))
        steps[range(len(free)), free] = widths
        points = np.concatenate([theta[None], theta + steps, theta - steps])
        terms = yield from self.evaluate(points)
        found = profiles(terms, points, self.setting)
        return Place(found[0], found[1 : 1 + len(free)], found[1 + len(free) :], free, widths)

    def minimise(self, start: Array, free: list[int], *, roughly: bool) -> Steps[MixedFit]:
        """The best theta whose elements outside `free` stay as they are. Raises NotConverged.

        `roughly` stops a step early, where the deviance at the optimum can be foretold.
        """
        at = yield from self.place(start, free)
        for iteration in range(1, self.max_iterations + 1):
            step, decrement, settled = self._step(at)
            if roughly and decrement <= ROUGHLY and settled:
                return MixedFit(at, at.here.deviance - 0.5 * decrement, iteration, decrement)
            if decrement <= TOLERANCE and settled:
                last = yield from self.place(at.here.theta + step, free)
                return MixedFit(last, last.here.deviance, iteration, decrement)
            at = yield from self._improve(at, step, decrement)
        raise NotConverged(
            f"The variances did not converge in {self.max_iterations} iterations, so no numbers are given. Ask for a "
            "simpler random term, such as `(1 | id)`."
        )

    def _improve(self, at: Place, step: Array, decrement: float) -> Steps[Place]:
        """The first of the step, its half, its quarter ... that lowers the deviance by a share of what it promised."""
        deviance = at.here.deviance
        for halving in range(MAX_HALVINGS + 1):
            there = yield from self.place(at.here.theta + step / 2.0**halving, at.free)
            promised = SHARE * decrement / 2.0**halving
            if there.here.deviance <= deviance - promised + 1e-11 * (abs(deviance) + 1.0):
                return there
        raise NotConverged("No step improves the fit any further, yet it is not at its optimum. No numbers are given.")

    def _step(self, at: Place) -> tuple[Array, float, bool]:
        """A step downhill, its decrement, and whether the deviance curves upwards in every direction."""
        scale = np.maximum(np.abs(at.here.theta), self.unit)[at.free]
        gradient = at.here.gradient()[at.free] * scale
        hessian = at.differences(lambda p: p.gradient()[at.free]) * np.outer(scale, scale)
        values, vectors = np.linalg.eigh(0.5 * (hessian + hessian.T))
        along = vectors.T @ gradient
        largest = max(float(np.max(np.abs(values))), np.finfo(float).tiny)
        curved = np.maximum(np.abs(values), 1e-7 * largest)
        settled = bool(values[0] > -1e-6 * largest)
        decrement = float(np.sum(along**2 / curved))
        # A ridge or saddle, as at a variance of zero that should not be zero, is left along the way down.
        stuck = decrement <= TOLERANCE and not settled
        move = vectors[:, 0] if stuck else -vectors @ (along / curved)
        move *= min(1.0, LONGEST_STEP / max(float(np.max(np.abs(move))), np.finfo(float).tiny))
        step = np.zeros_like(at.here.theta)
        step[at.free] = move * scale
        return step, decrement, settled


def satterthwaite(place: Place, transform: Array) -> Array:
    """Degrees of freedom of each coefficient `transform` @ g (Kuznetsova et al. 2017, J Stat Softw 82(13)).

    The Hessian is of the deviance by (theta, sigma) with the residual variance no longer profiled out; directions in
    which it is flat, as at a variance of zero, tell nothing and are left out.
    """
    here, free = place.here, place.free
    variance, m = here.variance, len(free)
    sigma = float(np.sqrt(variance))
    hessian = np.empty((m + 1, m + 1))
    hessian[:m, :m] = place.differences(lambda p: p.gradient(variance)[free])
    hessian[:m, m] = hessian[m, :m] = -2.0 * here.rss_slopes[free] / sigma**3
    hessian[m, m] = -2.0 * here.df / variance + 6.0 * here.rss / variance**2
    scale = np.append(np.maximum(np.abs(here.theta[free]), place.widths / DIFFERENCE), sigma)
    values, vectors = np.linalg.eigh(0.5 * (hessian + hessian.T) * np.outer(scale, scale))
    kept = values > 1e-8 * values[-1]
    spread = 2.0 * (vectors[:, kept] / values[kept]) @ vectors[:, kept].T * np.outer(scale, scale)
    inverse = transform @ here.inverse
    unit = np.einsum("kv,kv->k", inverse, transform)
    by_theta = [-variance * np.einsum("kv,vw,kw->k", inverse, here.slopes[j], inverse) for j in free]
    gradient = np.array([*by_theta, 2.0 * sigma * unit])
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(2.0 * (variance * unit) ** 2 / np.einsum("jk,jl,lk->k", gradient, spread, gradient))
