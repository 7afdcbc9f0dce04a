"""Survival curves: the product-limit estimate on the time grid that the dictionary fixes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field

from algorithms.numerics.life_table import IntervalType, LifeTable, life_table
from algorithms.numerics.risk_table import risk_table
from algorithms.numerics.survival_curves import Curve, Point, chart_rows, curve_of, round_times
from algorithms.numerics.time_grid import TimeGridParams, follow_up, group_codes, stops_before_start
from cohortium import report
from cohortium.analysis import Confidence, Rounds, analysis, ask
from cohortium.data import Data
from cohortium.errors import CannotEstimate, InvalidQuestion
from cohortium.evidence import Evidence, Plain
from cohortium.exactness import POOLED, Exactness, exactly, lacking
from cohortium.quantities import Array, Count, Flag, SumOver, Sums, Table, TimeGrid
from cohortium.result import Result

if TYPE_CHECKING:
    import altair


class KaplanMeierParams(TimeGridParams):
    """Whose survival, and what of it."""

    horizon: float | None = Field(None, gt=0, description="Time up to which the restricted mean survival is wanted.")
    confidence: float = Confidence
    confidence_type: IntervalType = Field(
        "log-log", description="Scale on which the confidence limits are symmetric: log-log, log (as R does) or plain."
    )

    def check(self) -> None:
        """Raises FormulaError or InvalidQuestion for what has no survival curve."""
        super().check()
        end = self.points * self.step
        if self.horizon is not None and self.horizon > end * (1 + 1e-9):
            raise InvalidQuestion(f"`horizon` lies beyond the end of the time grid, {end:g}.")


class LifeTables(Sums):
    """People per group and grid point (groups, points + 1): who enters, who leaves, and who of these had the event."""

    n: Count
    excluded: Table
    missing: Table
    no_follow_up: Table
    backwards: Table
    without_events: Flag
    entries: TimeGrid
    exits: TimeGrid
    events: Annotated[Array, SumOver("exits")]


def life_tables(data: Data, params: KaplanMeierParams) -> LifeTables:
    """Entries, exits and events of one cohort on the grid."""
    shape = (len(params.groups), params.points + 1)
    tables = np.zeros((3, *shape))
    variables = [name.name for name in params.formula.names]
    complete = no_follow_up = backwards = 0
    for block in data.blocks(variables):
        complete += len(block)
        entry, leaving, event = follow_up(block, params)
        group = group_codes(block, params)
        moves = entry < leaving
        backwards += stops_before_start(block, params)
        no_follow_up += int(np.count_nonzero(~moves))
        # Between a start and a stop on the same grid point there is no time to be at risk.
        used = moves if params.delayed else np.ones_like(moves)
        cells = group * shape[1]
        for table, at, who in zip(tables, (entry, leaving, leaving), (used, used, used & event), strict=True):
            table[:] += np.bincount((cells + at)[who], minlength=table.size).reshape(shape)
    return LifeTables(
        n=tables[0].sum(),
        excluded=np.array(float(len(data) - complete)),
        missing=np.array([float(np.count_nonzero(data.missing(name))) for name in variables]),
        no_follow_up=np.array(float(no_follow_up - backwards)),
        backwards=np.array(float(backwards)),
        without_events=float(bool(tables[1].any()) and not tables[2].any()),
        entries=tables[0],
        exits=tables[1],
        events=tables[2],
        evidence=Evidence(weights=Plain("no value is broadcast, and everybody counts once")),
    )


class KaplanMeierResult(Result):
    """Survival curves by group."""

    formula: str = Field(description="The formula as it was asked.")
    unit: str | None = Field(None, description="Unit of time.")
    interval: float = Field(description="Width of the time grid.")
    horizon: float | None = Field(None, description="End of the restricted mean.")
    confidence: float = Field(description="Level of the confidence limits.")
    confidence_type: str = Field(description="Scale on which they are symmetric.")
    curves: dict[str, Curve] = Field(description="The curves, by group.")
    missing: dict[str, int | None] = Field(default={}, description="People without a value, by variable.")
    no_follow_up: int | None = Field(description="People whose follow-up has no length on the grid.")
    backwards: int | None = Field(None, description="Rows left out because they stop before they start.")

    def __getitem__(self, group: str) -> Curve:
        return self.curves[group]

    def at(self, times: float | Sequence[float]) -> dict[str, tuple[Point, ...]]:
        """Every group's curve at one or more times."""
        wanted = [times] if isinstance(times, int | float) else times
        return {group: tuple(curve.at(float(t)) for t in wanted) for group, curve in self.curves.items()}

    def in_words(self) -> str:
        """Estimator, errors, intervals and the grid of times."""
        unit = f" {self.unit}" if self.unit else ""
        mean = f" Restricted means go to {self.horizon:g}{unit}." if self.horizon is not None else ""
        return (
            f"Survival ({self.formula}) was estimated by Kaplan-Meier over all cohorts together, times rounded up to "
            f"whole steps of {self.interval:g}{unit}, with Greenwood's standard errors and {100 * self.confidence:g}% "
            f"intervals symmetric on the {self.confidence_type} scale.{mean}"
        )

    def statement(self) -> Exactness:
        """Equal to the pooled curves on the grid of times."""
        left = {"no follow-up": self.no_follow_up, "stop before start": self.backwards}
        none = {reason: count for reason, count in left.items() if count != 0}
        return exactly(f"{POOLED}, times rounded up to the grid", excluded=lacking(self.missing) | none)

    def tables(self) -> list[report.Table]:
        """One row per group; then the curves at a handful of times."""
        level = f"{100 * self.confidence:g}% CI"
        restricted: tuple[str, ...] = ()
        if self.horizon is not None:
            restricted = (f"mean to {self.horizon:g}", "std. error", f"{level} low", f"{level} high")
        columns = ("group", "people", "events", "median", f"{level} low", f"{level} high", *restricted)
        rows = tuple(_group_row(name, curve) for name, curve in self.curves.items())
        times = round_times(max(c.time[-1] for c in self.curves.values()))
        shown = ("group", "time", "survival", "std. error", f"{level} low", f"{level} high")
        points = [(name, point) for name, found in self.at(times).items() for point in found]
        kept = tuple(
            (name, p.time, p.survival, p.std_error, p.ci_low, p.ci_high)
            for name, p in points
            if math.isfinite(p.survival)
        )
        at_risk = risk_table({name: (c.time, c.at_risk) for name, c in self.curves.items()}, times)
        return [report.Table("Groups", columns, rows), report.Table("Survival", shown, kept), at_risk]

    def to_frame(self, backend: str | None = None) -> Any:
        """The whole curves as a data frame, one row per group and time; `backend` as for every result."""
        columns = tuple(
            name for name in Curve.model_fields if isinstance(getattr(next(iter(self.curves.values())), name), tuple)
        )
        rows = [
            (group, *row)
            for group, curve in self.curves.items()
            for row in zip(*(getattr(curve, name) for name in columns), strict=True)
        ]
        return report.as_frame(report.Table("Curves", ("group", *columns), tuple(rows)), backend)

    def chart(self) -> altair.TopLevelMixin | None:
        """The curves as steps with their confidence bands."""
        from algorithms.numerics import curve_charts  # noqa: PLC0415 - drawing is the one thing that needs altair

        rows = [row for group, curve in self.curves.items() for row in chart_rows(group, curve)]
        times = [0.0, *round_times(max(c.time[-1] for c in self.curves.values()))]
        at_risk = {name: (c.time, c.at_risk) for name, c in self.curves.items()}
        unit = f"time ({self.unit})" if self.unit else "time"
        return curve_charts.with_risk_table(rows, at_risk, times, time=unit, value="survival")


@analysis
def kaplan_meier(params: KaplanMeierParams) -> Rounds[KaplanMeierResult]:
    """Survival curves (Kaplan-Meier).

    What share of each group is still without the event after a given time? Product-limit estimate with Greenwood's
    standard error, Nelson-Aalen cumulative hazard, median and restricted mean survival. Times are whole steps of the
    dictionary's precision (or of `interval`, rounded up); at a tie events come before censorings. Without a start
    everybody is at risk from time 0; somebody who enters late is at risk from then on, entry < t <= exit. One round.
    The interval is log-log by default (in R it is log).
    Source: Kaplan & Meier (1958), JASA 53:457.
    """
    total = yield from ask(life_tables)
    if not total.n:
        raise CannotEstimate("No cohort has anybody with follow-up and a value for every variable of the formula.")
    tables = {
        group: life_table(params.step, total.entries[i], total.exits[i], total.events[i], delayed=params.delayed)
        for i, group in enumerate(params.groups)
        if total.entries[i].any()
    }
    variables = [name.name for name in params.formula.names]
    return KaplanMeierResult(
        n=round(total.n),
        n_excluded=_whole(float(total.excluded)),
        formula=str(params.formula),
        unit=params.dictionary[params.surv.time.name].unit,
        interval=params.step,
        horizon=params.horizon,
        confidence=params.confidence,
        confidence_type=params.confidence_type,
        curves={
            group: curve_of(table, confidence=params.confidence, kind=params.confidence_type, horizon=params.horizon)
            for group, table in tables.items()
        },
        missing={name: _whole(count) for name, count in zip(variables, total.missing, strict=True)},
        no_follow_up=_whole(float(total.no_follow_up)),
        backwards=_whole(float(total.backwards)),
        warnings=tuple(_warnings(total, tables, params)),
    )


def _warnings(total: LifeTables, tables: dict[str, LifeTable], params: KaplanMeierParams) -> list[str]:
    found = [f"Nobody is in {group}: it has no curve." for group in params.groups if group not in tables]
    if total.no_follow_up != 0:  # NaN, which differs from 0, where it is withheld
        what = "are never at risk and are left out" if params.delayed else "are at risk at time 0 only"
        found.append(f"Some people's follow-up has no length on the time grid: they {what}.")
    if total.backwards != 0:
        found.append("Some rows stop before they start: a mistake in the data. They are left out.")
    if total.without_events:
        found.append(f"{total.without_events:g} of the cohorts have follow-up and no event at all.")
    for group, table in tables.items():
        if params.horizon is not None and table.time[-1] < params.horizon and table.survival[-1] > 0:
            found.append(f"Nobody of {group} is followed to the horizon; its curve is carried on at the last level.")
    return found


def _group_row(name: str, curve: Curve) -> tuple[str | float | int | None, ...]:
    median = (m if math.isfinite(m) else "not reached" for m in (curve.median, curve.median_low, curve.median_high))
    return (name, curve.n, curve.n_events, *median, *(() if curve.rmst is None else _restricted(curve)))


def _restricted(curve: Curve) -> tuple[float | None, ...]:
    return (curve.rmst, curve.rmst_se, curve.rmst_low, curve.rmst_high)


def _whole(count: Any) -> int | None:
    return None if math.isnan(count) else round(count)
