"""Do hazard ratios stay the same over time? The score test for adding each covariate times g(time).

Source: Grambsch & Therneau (1994), Biometrika 81:515; the score form is that of R's survival::cox.zph since 3.0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from algorithms.numerics.chi_squared import ChiSquared
from algorithms.numerics.cox_params import Transform
from algorithms.numerics.life_table import life_table
from cohortium.errors import CannotEstimate
from cohortium.quantities import Array


def transformed(times: Array, transform: Transform, on_grid: Array, step: float) -> Array:
    """The scale g at some times: their value or logarithm, or what `on_grid` has for their point of the grid."""
    if transform == "identity":
        return times
    if transform == "log":
        if np.any(times <= 0):
            raise CannotEstimate(
                "Somebody has the event at time 0, which has no logarithm. Ask for time_transform='identity'."
            )
        return np.log(times)
    return np.asarray(on_grid[np.ceil(np.round(times / step, 9)).astype(np.intp)])


def on_grid(transform: Transform, moves: Array, *, delayed: bool) -> Array:
    """The scale g at every time of the grid less its mean over events, from `moves` (entries, events, other exits).

    `km`: 1 - S just before that time; `rank`: its rank among all times of leaving. Strata are taken together.
    """
    entries, events, others = moves.sum(axis=1)
    exits = events + others
    if transform == "rank":
        g = np.cumsum(exits) - exits + 0.5 * (exits + 1.0)
    else:
        table = life_table(1.0, entries if delayed else exits, exits, events, delayed=delayed)
        before = np.searchsorted(table.time, np.arange(len(exits)), side="left")
        g = 1.0 - np.concatenate([[1.0], table.survival])[before]
    return np.asarray(g - (events @ g) / max(events.sum(), 1.0))


@dataclass(frozen=True)
class Timed:
    """Sums over event times of g U, shape (width,), and of g V and g^2 V, shape (2, width, width)."""

    score: Array
    information: Array


def tests(timed: Timed, information: Array, columns: Mapping[str, list[int]]) -> dict[str, ChiSquared]:
    """Per term (its `columns`), and for all together (`GLOBAL`).

    `information` is the sum of V. g may have any origin: what V explains of g V is taken out.
    """
    left = _left(timed, information)
    everything = {**columns, "GLOBAL": [*range(len(timed.score))]}
    return {name: _test(timed.score, left, chosen) for name, chosen in everything.items()}


class TimeSlope(BaseModel):
    """How a log hazard ratio changes with the time scale g: by `slope` per unit, from the estimate at `centre` on.

    The slope is one Newton step from no change; its square over that of its error is the test of a one-column term.
    """

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    slope: float = Field(description="Change of the log hazard ratio per unit of the time scale.")
    std_error: float = Field(description="Its standard error.")
    centre: float = Field(description="Mean of the time scale over the events.")
    spread: float = Field(description="Its standard deviation over the events.")


def slopes(timed: Timed, information: Array, origin: float, names: Sequence[str], unit: Array) -> dict[str, TimeSlope]:
    """Per column, in units of the data (`unit`: what the columns were multiplied by); g less `origin` was used."""
    left, total, once = np.diag(_left(timed, information)), np.diag(information), np.diag(timed.information[0])
    return {
        name: TimeSlope(
            slope=float(unit[k] * timed.score[k] / left[k]) if left[k] > 0 else math.nan,
            std_error=float(unit[k] / math.sqrt(left[k])) if left[k] > 0 else math.nan,
            centre=float(origin + once[k] / total[k]),
            spread=float(math.sqrt(max(left[k], 0.0) / total[k])),
        )
        for k, name in enumerate(names)
    }


def _left(timed: Timed, information: Array) -> Array:
    once, twice = timed.information
    return np.asarray(twice - once.T @ np.linalg.solve(information, once))


def _test(score: Array, information: Array, chosen: list[int]) -> ChiSquared:
    part, variance = score[chosen], information[np.ix_(chosen, chosen)]
    statistic = float(part @ np.linalg.lstsq(variance, part, rcond=None)[0])
    return ChiSquared.of(statistic, len(chosen))
