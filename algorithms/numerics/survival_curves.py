"""A survival curve as a result: its numbers at each time, and the handful of them that people quote."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from scipy import special

from algorithms.numerics.life_table import IntervalType, LifeTable, crossing, interval, restricted_mean
from cohortium.quantities import Array


class Point(BaseModel):
    """The curve of a group at one time; NaN after the group's last follow-up."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    time: float
    survival: float
    std_error: float
    ci_low: float
    ci_high: float
    cumulative_hazard: float
    cumulative_hazard_se: float


class Curve(BaseModel):
    """The survival of one group at each time where somebody had the event or was censored."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    n: int = Field(description="People followed.")
    n_events: int = Field(description="People who had the event.")
    time: tuple[float, ...] = Field(description="Times, in the time variable's unit.")
    at_risk: tuple[int, ...] = Field(description="People at risk just before each time.")
    events: tuple[int, ...] = Field(description="Events at each time.")
    censored: tuple[int, ...] = Field(description="People who left without the event at each time.")
    survival: tuple[float, ...] = Field(description="Kaplan-Meier estimate.")
    std_error: tuple[float, ...] = Field(description="Its standard error (Greenwood), on the scale of the survival.")
    ci_low: tuple[float, ...] = Field(description="Lower confidence limit.")
    ci_high: tuple[float, ...] = Field(description="Upper confidence limit.")
    cumulative_hazard: tuple[float, ...] = Field(description="Nelson-Aalen estimate.")
    cumulative_hazard_se: tuple[float, ...] = Field(description="Its standard error.")
    median: float = Field(description="First time at which half or fewer survive; infinite if that is not reached.")
    median_low: float = Field(description="Lower confidence limit of the median.")
    median_high: float = Field(description="Upper confidence limit of the median.")
    rmst: float | None = Field(None, description="Mean survival time restricted to the horizon, if one was given.")
    rmst_se: float | None = Field(None, description="Its standard error.")
    rmst_low: float | None = Field(None, description="Lower confidence limit of the restricted mean.")
    rmst_high: float | None = Field(None, description="Upper confidence limit of the restricted mean.")

    def at(self, time: float) -> Point:
        """The curve at `time`."""
        last = int(np.searchsorted(self.time, time, side="right")) - 1
        if last < 0:
            return Point(time=time, **dict(zip(_POINT, (1.0, 0.0, 1.0, 1.0, 0.0, 0.0), strict=True)))
        known = time <= self.time[-1] or self.survival[-1] == 0
        return Point(time=time, **{name: getattr(self, name)[last] if known else math.nan for name in _POINT})


_POINT = tuple(name for name in Point.model_fields if name != "time")


def curve_of(table: LifeTable, *, confidence: float, kind: IntervalType, horizon: float | None) -> Curve:
    """The curve of a life table, with its median and, up to `horizon`, its restricted mean."""
    survival, variance = table.survival, table.log_variance
    low, high = interval(survival, variance, confidence, kind)
    with np.errstate(invalid="ignore"):
        error = np.where(survival > 0, survival * np.sqrt(variance), math.nan)
    rmst = rmst_se = rmst_low = rmst_high = None
    if horizon is not None:
        rmst, rmst_se = restricted_mean(table, horizon)
        half = float(special.ndtri(0.5 + confidence / 2)) * rmst_se
        rmst_low, rmst_high = max(rmst - half, 0.0), min(rmst + half, horizon)
    return Curve(
        n=round(table.events.sum() + table.censored.sum()),
        n_events=round(table.events.sum()),
        time=_floats(table.time),
        at_risk=tuple(map(round, table.at_risk)),
        events=tuple(map(round, table.events)),
        censored=tuple(map(round, table.censored)),
        survival=_floats(survival),
        std_error=_floats(error),
        ci_low=_floats(low),
        ci_high=_floats(high),
        cumulative_hazard=_floats(table.hazard),
        cumulative_hazard_se=_floats(table.hazard_error),
        median=crossing(table.time, survival),
        median_low=crossing(table.time, low),
        median_high=crossing(table.time, high),
        rmst=rmst,
        rmst_se=rmst_se,
        rmst_low=rmst_low,
        rmst_high=rmst_high,
    )


def round_times(last: float) -> list[float]:
    """Four to ten round numbers from 0 to `last`."""
    rough = last / 6
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= rough * 0.75)
    return [round(k * step, 12) for k in range(1, int(last / step + 1e-9) + 1)]


def chart_rows(group: str, curve: Curve) -> list[dict[str, Any]]:
    """The curve as points of a chart, from time 0 on."""
    start: dict[str, Any] = {"group": group, "time": 0.0, "survival": 1.0, "low": 1.0, "high": 1.0}
    columns = zip(curve.time, curve.survival, curve.ci_low, curve.ci_high, strict=True)
    rows: list[dict[str, Any]] = [
        {"group": group, "time": t, "survival": s, "low": low, "high": high} for t, s, low, high in columns
    ]
    # Where the limits are not defined the band has a gap.
    return [start, *(_with_gaps(row) for row in rows)]


def _with_gaps(row: dict[str, Any]) -> dict[str, Any]:
    return {name: None if isinstance(v, float) and math.isnan(v) else v for name, v in row.items()}


def _floats(values: Array) -> tuple[float, ...]:
    return tuple(map(float, values))
