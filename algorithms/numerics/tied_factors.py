"""The factors of a partial likelihood, one per event, and how those of events at the same time share their risk set.

Source: Efron (1977), JASA 72:557; Breslow (1974), Biometrics 30:89.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from algorithms.numerics.cox_params import Ties
from algorithms.numerics.follow_up import Codes
from cohortium.quantities import Array

# Factors that are worked out together: a piece stays in the cache, and is too small to start a library's threads.
FACTORS = 2048


@dataclass(frozen=True)
class Terms:
    """Some factors of the partial likelihood: one per event (Efron) or per event time (Breslow).

    A factor belongs to the event time `at`, is counted `weight` times, and leaves out the share `left_out` of the
    people who have the event then. `denominator` is the sum of the risk scores that are left.
    """

    at: Codes
    left_out: Array
    weight: Array
    denominator: Array

    def means(self, sums: Array, tied: Array) -> Array:
        """Weighted means over the risk sets of the factors, from sums (width, event times), shape (width, factors)."""
        if not np.any(self.left_out):
            return np.asarray(sums[:, self.at] / self.denominator)
        return np.asarray((sums[:, self.at] - self.left_out * tied[:, self.at]) / self.denominator)


@dataclass(frozen=True)
class Factors:
    """What the factors are made of, per event time: events, their weight, risk scores at risk, and of the events."""

    deaths: Array
    weight: Array
    risk: Array
    tied: Array
    ties: Ties

    @property
    def has_ties(self) -> bool:
        """Whether any factor leaves somebody out."""
        return self.ties == "efron" and bool(np.any(self.deaths > 1))

    @property
    def counts(self) -> Array:
        """How many factors there are per event time."""
        return self.deaths if self.ties == "efron" else (self.deaths > 0).astype(np.float64)

    def parts(self) -> Iterator[Terms]:
        """The factors, some event times at a time: all of them could be as many as the events."""
        ends = np.cumsum(self.counts)
        a = 0
        while a < len(ends):
            b = max(a + 1, int(np.searchsorted(ends, (ends[a - 1] if a else 0.0) + FACTORS, side="right")))
            found = self._terms(a, b)
            if len(found.at):
                yield found
            a = b

    @cached_property
    def summary(self) -> tuple[Array, Array, float, bool]:
        """Hazard per event time; what a tied event is spared of it; log of all factors; whether these are positive."""
        hazard, spared, log, positive = np.zeros(len(self.deaths)), np.zeros(len(self.deaths)), 0.0, True
        for part in self.parts():
            if not np.all(part.denominator > 0):
                return hazard, spared, -np.inf, False
            increments = part.weight / part.denominator
            low, high = part.at[0], part.at[-1] + 1
            hazard[low:high] += np.bincount(part.at - low, increments, high - low)
            spared[low:high] += np.bincount(part.at - low, increments * part.left_out, high - low)
            log -= float(part.weight @ np.log(part.denominator))
        return hazard, spared, log, positive

    @property
    def hazard(self) -> Array:
        """The increments of the cumulative baseline hazard, shape (event times,)."""
        return self.summary[0]

    @property
    def spared(self) -> Array:
        """How much of it somebody does not live through who has the event at the same time as others."""
        return self.summary[1]

    @property
    def log(self) -> float:
        """The logarithm of the product of all factors."""
        return self.summary[2]

    @property
    def are_positive(self) -> bool:
        """Whether somebody is at risk in all of them, beyond rounding."""
        return self.summary[3]

    def subtract_means(self, score: Array, information: Array, x: Array, tied_x: Array, time_weights: Array) -> None:
        """Take the risk sets' means, and their squares, off sums (weightings, width[, width]) that are not centred."""
        for part in self.parts():
            mean = part.means(x, tied_x)
            for q, weights in enumerate(time_weights):
                counted = part.weight * weights[part.at]
                score[q] -= np.einsum("ji,i->j", mean, counted)
                information[q] -= (mean * counted) @ mean.T

    def _terms(self, a: int, b: int) -> Terms:
        if self.ties == "breslow":
            at = a + np.flatnonzero(self.deaths[a:b])
            return Terms(at, np.zeros(len(at)), self.weight[at], self.risk[at])
        count = self.deaths[a:b].astype(np.intp)
        at = np.repeat(np.arange(a, b), count)
        place = np.arange(len(at)) - np.repeat(np.cumsum(count) - count, count)
        left_out = place / self.deaths[at]
        return Terms(at, left_out, self.weight[at] / self.deaths[at], self.risk[at] - left_out * self.tied[at])
