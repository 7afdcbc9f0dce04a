"""Curves from people at risk, events and censorings on a grid of times."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import special

from cohortium.quantities import Array

IntervalType = Literal["log-log", "log", "plain"]

# Survival is a product of many factors; a half is recognised up to their rounding.
ROUNDING = 1e-12


@dataclass(frozen=True)
class LifeTable:
    """One group at the times where somebody has an event or is censored; all arrays of shape (times,).

    `at_risk` counts those who entered before the time and have not left before it: an event comes before a
    censoring at the same time. Somebody without a start is at risk from the origin on, time 0 included (as in R).
    """

    time: Array
    at_risk: Array
    events: Array
    censored: Array

    @property
    def survival(self) -> Array:
        """Product-limit estimate (Kaplan & Meier 1958, JASA 53:457)."""
        return np.asarray(np.cumprod(1.0 - self.events / self.at_risk), dtype=np.float64)

    @property
    def log_variance(self) -> Array:
        """Greenwood's variance of log S (Greenwood 1926); infinite once nobody is left."""
        with np.errstate(divide="ignore", invalid="ignore"):
            terms = self.events / (self.at_risk * (self.at_risk - self.events))
        return np.cumsum(np.where(self.events > 0, terms, 0.0))

    @property
    def hazard(self) -> Array:
        """Cumulative hazard (Nelson 1972; Aalen 1978)."""
        return np.cumsum(self.events / self.at_risk)

    @property
    def hazard_error(self) -> Array:
        """Standard error of the cumulative hazard."""
        return np.sqrt(np.cumsum(self.events / self.at_risk**2))


def life_table(step: float, entries: Array, exits: Array, events: Array, *, delayed: bool) -> LifeTable:
    """The table of one group from people per grid point k (time k * step), shape (points,).

    `delayed`: somebody who enters at a and leaves at b is at risk at the grid points a < t <= b. Otherwise everybody
    is there from the start, 0 <= t <= b.
    """
    entered = _before(entries) if delayed else np.full_like(entries, entries.sum())
    at_risk = entered - _before(exits)
    at = np.flatnonzero(exits > 0)
    time = np.asarray(at * step, dtype=np.float64)
    return LifeTable(time, at_risk[at], events[at], (exits - events)[at])


def _before(people: Array) -> Array:
    """How many there were at earlier grid points."""
    return np.concatenate([[0.0], np.cumsum(people)[:-1]])


def interval(survival: Array, log_variance: Array, level: float, kind: IntervalType) -> tuple[Array, Array]:
    """Pointwise confidence limits of the survival function; NaN where they are not defined.

    Source: Kalbfleisch & Prentice (2002), *The Statistical Analysis of Failure Time Data*, 1.4; R `survfit` names.
    """
    z = float(special.ndtri(0.5 + level / 2))
    error = np.sqrt(log_variance)
    with np.errstate(all="ignore"):
        if kind == "plain":
            low, high = survival - z * survival * error, survival + z * survival * error
        elif kind == "log":
            low, high = survival * np.exp(-z * error), survival * np.exp(z * error)
        else:
            spread = z * error / np.log(survival)
            low, high = survival ** np.exp(-spread), survival ** np.exp(spread)
    # Before the first event the curve is 1 without any error; after the last person it is 0 and says nothing.
    start, end = survival >= 1.0, survival <= ROUNDING
    low, high = (np.where(start, 1.0, np.where(end, np.nan, limit)) for limit in (low, high))
    return np.clip(low, 0.0, 1.0), np.clip(high, 0.0, 1.0)


def crossing(time: Array, curve: Array, at: float = 0.5) -> float:
    """The first time at which a falling curve is at or below `at`; infinite if it never is."""
    below: NDArray[np.intp] = np.flatnonzero(curve <= at + ROUNDING)
    return float(time[below[0]]) if len(below) else math.inf


def restricted_mean(table: LifeTable, horizon: float) -> tuple[float, float]:
    """Area under the curve up to `horizon`, and its standard error.

    Source: Klein & Moeschberger (2003), *Survival Analysis*, 4.5.
    """
    kept = table.time <= horizon
    survival = table.survival[kept]
    edges = np.concatenate([[0.0], table.time[kept], [horizon]])
    areas = np.diff(edges) * np.concatenate([[1.0], survival])
    after = np.cumsum(areas[::-1])[::-1][1:]
    events, at_risk = table.events[kept], table.at_risk[kept]
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = after**2 * events / (at_risk * (at_risk - events))
    return float(np.sum(areas)), float(np.sqrt(np.sum(np.where((events > 0) & (after > 0), terms, 0.0))))
