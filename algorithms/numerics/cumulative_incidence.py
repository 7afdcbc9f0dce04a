"""Cumulative incidence of several causes, from people at risk, events and censorings on a grid of times."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from algorithms.numerics.chi_squared import ChiSquared
from algorithms.numerics.life_table import IntervalType
from cohortium.quantities import Array


@dataclass(frozen=True)
class CauseTable:
    """One group at the times where somebody leaves: arrays of shape (times,), `events` (causes, times).

    `at_risk` counts as in a life table. `delayed`: people entered at different times.
    """

    time: Array
    at_risk: Array
    events: Array
    censored: Array
    delayed: bool

    @property
    def survival(self) -> Array:
        """Share without any event just after each time."""
        return np.asarray(np.cumprod(1.0 - self.events.sum(axis=0) / self.at_risk), dtype=np.float64)

    @property
    def _before(self) -> Array:
        return np.concatenate([[1.0], self.survival[:-1]])

    @property
    def incidence(self) -> Array:
        """Cumulative incidence of each cause, (causes, times) (Aalen & Johansen 1978, Scand J Stat 5:141)."""
        return np.cumsum(self._before * self.events / self.at_risk, axis=1)

    @property
    def variance(self) -> Array:
        """Variance of the cumulative incidences, (causes, times).

        By the infinitesimal jackknife, as R's survfit; with late entry by the delta method, because the jackknife
        would have to know who entered when.
        """
        return np.array([self._delta(k) if self.delayed else self._jackknife(k) for k in range(len(self.events))])

    def _jackknife(self, cause: int) -> Array:
        """Sum of squared influences: everybody who leaves at the same time in the same way has the same.

        Of somebody who leaves at u it is P(t) before u, and C + F(t) B from u on; sums over all u up to t are
        cumulative sums, so that this takes no longer than the estimate itself.
        """
        n, d, before = self.at_risk, self.events.sum(axis=0), self._before
        hazard = self.events[cause] / n
        last = n <= d  # nobody is left: nothing changes any more
        past = np.cumsum(_divide(d, n * (n - d), last))
        incidence = np.cumsum(before * hazard)
        staying = np.cumsum(before * hazard * (np.concatenate([[0.0], past[:-1]]) - 1.0 / n))
        square, cross, slope = np.zeros_like(n), np.zeros_like(n), np.zeros_like(n)
        gone = self.censored
        kinds = [(self.censored, 0.0, 0.0), *((e, 1.0, float(k == cause)) for k, e in enumerate(self.events))]
        for people, event, own in kinds:
            growth = past - event * _divide(1.0, n - d, last)
            level = staying + own * before / n - incidence * growth
            square, cross, slope = (
                square + people * level**2,
                cross + people * level * growth,
                slope + people * growth**2,
            )
            gone = gone + event * people
        left = n[0] - np.cumsum(gone)
        square, cross, slope = np.cumsum(square), np.cumsum(cross), np.cumsum(slope)
        found = square + 2.0 * incidence * cross + incidence**2 * slope + left * staying**2
        return np.asarray(np.maximum(found, 0.0))

    def _delta(self, cause: int) -> Array:
        """The delta method (Marubini & Valsecchi 1995, Analysing Survival Data, 10.2)."""
        n, d, before = self.at_risk, self.events.sum(axis=0), self._before
        own = self.events[cause]
        incidence = np.cumsum(before * own / n)
        all_causes = _divide(d, n * (n - d), n <= d)
        alone = np.cumsum(before**2 * own * (n - own) / n**3)
        mixed = before * own / n**2

        def from_then(weights: Array, power: int) -> Array:
            """Sums over u up to t of weights times (F(t) - F(u)) to a power."""
            sums = [np.cumsum(weights * incidence**k) for k in range(power + 1)]
            if power == 1:
                return np.asarray(incidence * sums[0] - sums[1])
            return np.asarray(incidence**2 * sums[0] - 2.0 * incidence * sums[1] + sums[2])

        return np.asarray(np.maximum(from_then(all_causes, 2) + alone - 2.0 * from_then(mixed, 1), 0.0))


def _divide(above: Array | float, below: Array, nothing: Array) -> Array:
    """A quotient that is 0 where `nothing` is."""
    return np.asarray(np.where(nothing, 0.0, above / np.where(nothing, 1.0, below)))


def cause_table(step: float, entries: Array, exits: Array, events: Array, *, delayed: bool) -> CauseTable:
    """The table of one group from people per grid point: entries and exits (points,), events (points, causes)."""
    entered = np.cumsum(entries) - entries if delayed else np.full_like(entries, entries.sum())
    at_risk = entered - (np.cumsum(exits) - exits)
    at = np.flatnonzero(exits > 0)
    by_cause = events[at].T
    censored = exits[at] - by_cause.sum(axis=0)
    return CauseTable(np.asarray(at * step, dtype=np.float64), at_risk[at], by_cause, censored, delayed)


def incidence_limits(incidence: Array, variance: Array, level: float, kind: IntervalType) -> tuple[Array, Array]:
    """Pointwise confidence limits of a cumulative incidence; 0 where nothing has happened yet.

    Source: Kalbfleisch & Prentice (2002), *The Statistical Analysis of Failure Time Data*, 8.2.
    """
    z, error = float(special.ndtri(0.5 + level / 2)), np.sqrt(variance)
    with np.errstate(all="ignore"):
        if kind == "plain":
            low, high = incidence - z * error, incidence + z * error
        elif kind == "log":
            low, high = incidence * np.exp(-z * error / incidence), incidence * np.exp(z * error / incidence)
        else:
            spread = z * error / (incidence * np.log(incidence))
            low, high = incidence ** np.exp(-spread), incidence ** np.exp(spread)
    low, high = (np.where(incidence > 0, limit, 0.0) for limit in (low, high))
    return np.clip(low, 0.0, 1.0), np.clip(high, 0.0, 1.0)


def gray_test(at_risk: Array, events: Array, others: Array) -> ChiSquared | None:
    """Gray's test that a cause has the same cumulative incidence in every group; None where it cannot tell.

    All of shape (groups, times): people at risk, events of the cause, events of any other cause. Without other causes
    it is the log-rank test, but for the variance at ties. Source: Gray (1988), Ann Stat 16:1141, with rho 0.
    """
    found = _Gray(len(at_risk))
    for n, d, o in zip(at_risk.T, events.T, others.T, strict=True):
        if d.sum() + o.sum() > 0:
            found.add(n, d, o)
    variance = found.variance()
    used = np.flatnonzero(np.diag(variance) > 0)[:-1]
    if not len(used):
        return None
    score, variance = found.score[used], variance[np.ix_(used, used)]
    return ChiSquared.of(float(score @ np.linalg.lstsq(variance, score, rcond=None)[0]), len(used))


class _Gray:
    """Score and variance of Gray's test, time by time.

    `survival` and `incidence` are those of each group just before the time at hand, `pooled` the incidence of all.
    """

    def __init__(self, groups: int) -> None:
        self.survival, self.incidence, self.pooled = np.ones(groups), np.zeros(groups), 0.0
        self.score = np.zeros(groups)
        self._drift, self._squares, self._mixed = np.zeros((3, groups, groups))
        self._single = np.zeros(groups)

    def add(self, n: Array, d: Array, o: Array) -> None:
        """Take in one time: at risk, events of the cause, events of others, each (groups,)."""
        there, before = n > 0, self.survival
        people = np.where(there, n, 1.0)
        after = np.where(there, before * (n - d - o) / people, before)
        # At risk of the subdistribution: who had another event before still is, so that people count 1 / S(t-).
        weight = np.where(there, n / np.where(there, before, 1.0), 0.0)
        total, deaths = weight.sum(), d.sum()
        pooled = self.pooled + deaths / total
        part = np.diag(weight) - np.outer(weight, weight) / total
        self._drift = self._drift + part * deaths / (total * (1.0 - self.pooled))
        left = np.where(after > 0, (1.0 - pooled) / np.where(after > 0, after, 1.0), 0.0)
        if deaths > 0:
            share = weight * (1.0 - self.incidence)
            self.score += d - deaths * share / share.sum()
            ties = 1.0 if deaths <= 1 else 1.0 - (deaths - 1.0) / (total * before - 1.0)
            lag = 1.0 - left
            self._spread(part - lag * self._drift, lag, np.where(there, ties * before * deaths / (total * people), 0.0))
        ties = np.where(o > 1, 1.0 - (o - 1.0) / np.maximum(n - 1.0, 1.0), 1.0)
        self._spread(left * self._drift, -left, np.where(after > 0, ties * before**2 * o / people**2, 0.0))
        self.incidence = np.where(there, self.incidence + before * d / people, self.incidence)
        self.survival, self.pooled = after, pooled

    def variance(self) -> Array:
        """The variance of the score, (groups, groups)."""
        crossed = self._drift @ self._mixed.T
        return np.asarray(self._squares + (self._drift * self._single) @ self._drift.T + crossed + crossed.T)

    def _spread(self, own: Array, lag: Array, scale: Array) -> None:
        """Add squares of own + lag times the drift that is reached in the end; `scale` per group."""
        self._squares += (own * scale) @ own.T
        self._mixed += own * lag * scale
        self._single += lag**2 * scale
