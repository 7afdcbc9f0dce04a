"""Cumulative incidences as a result: their curves, and the handful of numbers that people quote."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from algorithms.numerics.chi_squared import ChiSquared
from algorithms.numerics.cumulative_incidence import CauseTable, incidence_limits
from algorithms.numerics.life_table import IntervalType
from algorithms.numerics.risk_table import risk_table
from algorithms.numerics.survival_curves import round_times
from cohortium import report
from cohortium.exactness import POOLED, Exactness, exactly, lacking
from cohortium.quantities import Array
from cohortium.result import Result

if TYPE_CHECKING:
    import altair


class IncidencePoint(BaseModel):
    """A cumulative incidence at one time; NaN after the group's last follow-up."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    time: float = Field(description="The time.")
    incidence: float = Field(description="Cumulative incidence.")
    std_error: float = Field(description="Its standard error.")
    ci_low: float = Field(description="Lower confidence limit.")
    ci_high: float = Field(description="Upper confidence limit.")


class Incidence(BaseModel):
    """One cause in one group, at each time where somebody leaves."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    n_events: int = Field(description="People whose follow-up ended by this cause.")
    time: tuple[float, ...] = Field(description="Times, in the time variable's unit.")
    events: tuple[int, ...] = Field(description="Events of this cause at each time.")
    incidence: tuple[float, ...] = Field(description="Cumulative incidence (Aalen-Johansen).")
    std_error: tuple[float, ...] = Field(description="Its standard error.")
    ci_low: tuple[float, ...] = Field(description="Lower confidence limit.")
    ci_high: tuple[float, ...] = Field(description="Upper confidence limit.")
    complete: bool = Field(description="Whether nobody was still followed after the last time.")

    def at(self, time: float) -> IncidencePoint:
        """The cumulative incidence at `time`."""
        last = int(np.searchsorted(self.time, time, side="right")) - 1
        if last < 0:
            return IncidencePoint(time=time, incidence=0.0, std_error=0.0, ci_low=0.0, ci_high=0.0)
        known = time <= self.time[-1] or self.complete
        values = (getattr(self, name)[last] if known else math.nan for name in _POINT)
        return IncidencePoint(time=time, **dict(zip(_POINT, values, strict=True)))


_POINT = tuple(name for name in IncidencePoint.model_fields if name != "time")


class GroupIncidences(BaseModel):
    """One group: who is at risk, and the cumulative incidence of every cause."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    n: int = Field(description="People followed.")
    time: tuple[float, ...] = Field(description="Times at which somebody leaves.")
    at_risk: tuple[int, ...] = Field(description="People at risk just before each time.")
    censored: tuple[int, ...] = Field(description="People who left without any event at each time.")
    event_free: tuple[float, ...] = Field(description="Share without any event.")
    causes: dict[str, Incidence] = Field(description="The causes.")

    def __getitem__(self, cause: str) -> Incidence:
        return self.causes[cause]


class CompetingRisksResult(Result):
    """Cumulative incidences by group and cause."""

    formula: str = Field(description="The formula as it was asked.")
    unit: str | None = Field(None, description="Unit of time.")
    interval: float = Field(description="Width of the time grid.")
    censored: str = Field(description="The level that means censored.")
    confidence: float = Field(description="Level of the confidence limits.")
    confidence_type: str = Field(description="Scale on which they are symmetric.")
    std_error_type: str = Field(description="infinitesimal jackknife, or with late entry delta method.")
    groups: dict[str, GroupIncidences] = Field(description="The groups.")
    tests: dict[str, ChiSquared] = Field(description="Gray's test, by cause, that groups have the same incidence.")
    missing: dict[str, int | None] = Field(description="People without a value, by variable.")
    no_follow_up: int | None = Field(description="People whose follow-up has no length on the grid.")
    backwards: int | None = Field(None, description="Rows left out because they stop before they start.")

    def __getitem__(self, group: str) -> GroupIncidences:
        return self.groups[group]

    def at(self, times: float | Sequence[float]) -> dict[str, dict[str, tuple[IncidencePoint, ...]]]:
        """Every group's and cause's cumulative incidence at one or more times."""
        wanted = [times] if isinstance(times, int | float) else times
        return {
            name: {cause: tuple(found.at(float(t)) for t in wanted) for cause, found in group.causes.items()}
            for name, group in self.groups.items()
        }

    def in_words(self) -> str:
        """Estimator, errors, intervals and the grid of times."""
        unit = f" {self.unit}" if self.unit else ""
        gray = " Groups were compared by Gray's test." if self.tests else ""
        return (
            f"Cumulative incidences ({self.formula}) were estimated by Aalen-Johansen over all cohorts together, times "
            f"rounded up to whole steps of {self.interval:g}{unit}, with standard errors by the {self.std_error_type} "
            f"and {100 * self.confidence:g}% intervals symmetric on the {self.confidence_type} scale.{gray}"
        )

    def statement(self) -> Exactness:
        """Equal to the pooled curves on the grid of times."""
        left = {"no follow-up": self.no_follow_up, "stop before start": self.backwards}
        none = {reason: count for reason, count in left.items() if count != 0}
        return exactly(f"{POOLED}, times rounded up to the grid", excluded=lacking(self.missing) | none)

    def tables(self) -> list[report.Table]:
        """Cumulative incidences at a handful of times; groups; people at risk; Gray's test."""
        level = f"{100 * self.confidence:g}% CI"
        times = round_times(max(g.time[-1] for g in self.groups.values()))
        columns = ("group", "cause", "time", "incidence", "std. error", f"{level} low", f"{level} high")
        rows = tuple(
            (name, cause, p.time, p.incidence, p.std_error, p.ci_low, p.ci_high)
            for name, causes in self.at(times).items()
            for cause, points in causes.items()
            for p in points
            if math.isfinite(p.incidence)
        )
        counts: tuple[tuple[report.Cell, ...], ...] = tuple(
            (name, g.n, *(c.n_events for c in g.causes.values())) for name, g in self.groups.items()
        )
        names = next(iter(self.groups.values())).causes
        found = [
            report.Table("Cumulative incidence", columns, rows),
            report.Table("Groups", ("group", "people", *names), counts),
            risk_table({name: (g.time, g.at_risk) for name, g in self.groups.items()}, times),
        ]
        if self.tests:
            tests = tuple((cause, t.statistic, t.df, t.p_value) for cause, t in self.tests.items())
            found.append(report.Table("Gray's test", ("cause", "chi-squared", "df", "p"), tests))
        return found

    def chart(self) -> altair.TopLevelMixin | None:
        """The cumulative incidences as steps with their confidence bands, and people at risk below."""
        from algorithms.numerics import curve_charts  # noqa: PLC0415 - drawing is the one thing that needs altair

        rows = [
            row
            for name, group in self.groups.items()
            for cause, found in group.causes.items()
            for row in _chart_rows(f"{name}: {cause}" if len(self.groups) > 1 else cause, found)
        ]
        times = [0.0, *round_times(max(g.time[-1] for g in self.groups.values()))]
        at_risk = {name: (g.time, g.at_risk) for name, g in self.groups.items()}
        unit = f"time ({self.unit})" if self.unit else "time"
        return curve_charts.with_risk_table(rows, at_risk, times, time=unit, value="cumulative incidence")


def group_incidences(
    table: CauseTable, causes: tuple[str, ...], *, confidence: float, kind: IntervalType
) -> GroupIncidences:
    """The curves of one group."""
    incidence, variance = table.incidence, table.variance
    found = {}
    for k, cause in enumerate(causes):
        low, high = incidence_limits(incidence[k], variance[k], confidence, kind)
        found[cause] = Incidence(
            n_events=round(table.events[k].sum()),
            time=_floats(table.time),
            events=tuple(map(round, table.events[k])),
            incidence=_floats(incidence[k]),
            std_error=_floats(np.sqrt(variance[k])),
            ci_low=_floats(low),
            ci_high=_floats(high),
            complete=bool(table.censored[-1] == 0),
        )
    return GroupIncidences(
        n=round(table.events.sum() + table.censored.sum()),
        time=_floats(table.time),
        at_risk=tuple(map(round, table.at_risk)),
        censored=tuple(map(round, table.censored)),
        event_free=_floats(table.survival),
        causes=found,
    )


def _chart_rows(name: str, found: Incidence) -> list[dict[str, Any]]:
    start = {"group": name, "time": 0.0, "survival": 0.0, "low": 0.0, "high": 0.0}
    columns = zip(found.time, found.incidence, found.ci_low, found.ci_high, strict=True)
    return [start, *({"group": name, "time": t, "survival": f, "low": a, "high": b} for t, f, a, b in columns)]


def _floats(values: Array) -> tuple[float, ...]:
    return tuple(map(float, values))
