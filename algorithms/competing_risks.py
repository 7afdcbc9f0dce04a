"""Cumulative incidence where follow-up can end by several causes, on the time grid that the dictionary fixes."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from algorithms.numerics.causes import CausesParams
from algorithms.numerics.chi_squared import ChiSquared
from algorithms.numerics.cumulative_incidence import CauseTable, cause_table, gray_test
from algorithms.numerics.groups import whole
from algorithms.numerics.incidence_result import CompetingRisksResult, group_incidences
from algorithms.numerics.life_table import IntervalType
from algorithms.numerics.time_grid import grid_times, group_codes, stops_before_start
from cohortium.analysis import Confidence, Rounds, analysis, ask
from cohortium.data import Data
from cohortium.errors import CannotEstimate
from cohortium.evidence import Evidence, Plain
from cohortium.quantities import Array, Count, Flag, SumOver, Sums, Table, TimeGrid


class CompetingRisksParams(CausesParams):
    """Whose follow-up, by which causes it ends, and what of it."""

    confidence: float = Confidence
    confidence_type: IntervalType = Field(
        "log-log", description="Scale on which the confidence limits are symmetric: log-log, log (as R does) or plain."
    )


class CauseTables(Sums):
    """People per group and grid point (groups, points + 1): who enters, who leaves, and by which cause (last axis)."""

    n: Count
    excluded: Table
    missing: Table
    no_follow_up: Table
    backwards: Table
    without_events: Flag
    entries: TimeGrid
    exits: TimeGrid
    events: Annotated[Array, SumOver("exits")]


def cause_tables(data: Data, params: CompetingRisksParams) -> CauseTables:
    """Entries, exits and events of one cohort on the grid."""
    shape, causes = (len(params.groups), params.points + 1), len(params.causes)
    moves, events = np.zeros((2, *shape)), np.zeros((*shape, causes))
    variables = params.row_variables
    complete = no_follow_up = backwards = 0
    for block in data.blocks(variables):
        complete += len(block)
        entry, leaving, cut = grid_times(block, params)
        status = np.where(cut, 0, params.status(block))
        follows = entry < leaving
        backwards += stops_before_start(block, params)
        no_follow_up += int(np.count_nonzero(~follows))
        # Between a start and a stop on the same grid point there is no time to be at risk.
        used = follows if params.delayed else np.ones_like(follows)
        cell = group_codes(block, params) * shape[1]
        for which, at in enumerate((entry, leaving)):
            moves[which] += np.bincount((cell + at)[used], minlength=moves[which].size).reshape(shape)
        ends = used & (status > 0)
        at_cause = ((cell + leaving) * causes + status - 1)[ends]
        events += np.bincount(at_cause, minlength=events.size).reshape(events.shape)
    return CauseTables(
        n=moves[0].sum(),
        excluded=np.array(float(len(data) - complete)),
        missing=np.array([float(np.count_nonzero(data.missing(name))) for name in variables]),
        no_follow_up=np.array(float(no_follow_up - backwards)),
        backwards=np.array(float(backwards)),
        without_events=float(bool(moves[1].any()) and not events.any()),
        entries=moves[0],
        exits=moves[1],
        events=events,
        evidence=Evidence(weights=Plain("no value is broadcast, and everybody counts once")),
    )


@analysis
def competing_risks(params: CompetingRisksParams) -> Rounds[CompetingRisksResult]:
    """Cumulative incidence with competing risks.

    What share of each group has had the event of each cause after a given time, where an event of one cause means that
    those of the others do not come any more? Aalen-Johansen estimate with standard errors by the infinitesimal
    jackknife (as R's survfit; by the delta method with late entry), and Gray's test that groups do not differ. One
    minus Kaplan-Meier with other causes censored would be too high. Times are whole steps of the dictionary's precision
    (or of `interval`, rounded up); at a tie events come before censorings. One round. For effects of covariates on the
    incidence of a cause see fine_gray, on its hazard cause_specific_cox.
    Source: Aalen & Johansen (1978), Scand J Stat 5:141; Gray (1988), Ann Stat 16:1141.
    """
    total = yield from ask(cause_tables)
    if not total.n:
        raise CannotEstimate("No cohort has anybody with follow-up and a value for every variable of the formula.")
    tables = {
        name: cause_table(params.step, total.entries[i], total.exits[i], total.events[i], delayed=params.delayed)
        for i, name in enumerate(params.groups)
        if total.exits[i].any()
    }
    variables = params.row_variables
    return CompetingRisksResult(
        n=round(total.n),
        n_excluded=whole(float(total.excluded)),
        cohort_effect="common",
        formula=str(params.formula),
        unit=params.dictionary[params.surv.time.name].unit,
        interval=params.step,
        censored=params.censored_level,
        confidence=params.confidence,
        confidence_type=params.confidence_type,
        std_error_type="delta method" if params.delayed else "infinitesimal jackknife",
        groups={
            name: group_incidences(table, params.causes, confidence=params.confidence, kind=params.confidence_type)
            for name, table in tables.items()
        },
        tests=_gray_tests(total, params) if len(tables) > 1 else {},
        missing={name: whole(c) for name, c in zip(variables, np.atleast_1d(total.missing), strict=True)},
        no_follow_up=whole(float(total.no_follow_up)),
        backwards=whole(float(total.backwards)),
        warnings=tuple(_warnings(total, tables, params)),
    )


def _gray_tests(total: CauseTables, params: CompetingRisksParams) -> dict[str, ChiSquared]:
    if params.delayed:
        return {}
    there = total.exits.sum(axis=1) > 0
    exits, events = total.exits[there], total.events[there]
    at = np.flatnonzero(exits.sum(axis=0))
    at_risk = total.entries[there].sum(axis=1, keepdims=True) - (np.cumsum(exits, axis=1) - exits)
    found = {}
    for k, cause in enumerate(params.causes):
        own = events[:, at, k]
        test = gray_test(at_risk[:, at], own, events[:, at].sum(axis=2) - own)
        if test is not None:
            found[cause] = test
    return found


def _warnings(total: CauseTables, tables: dict[str, CauseTable], params: CompetingRisksParams) -> list[str]:
    found = [f"Nobody is in {group}: it has no curve." for group in params.groups if group not in tables]
    never = [cause for k, cause in enumerate(params.causes) if not total.events[:, :, k].any()]
    if never:
        found.append(f"Nobody's follow-up ends by {', '.join(never)}.")
    if params.delayed and len(tables) > 1:
        found.append("Gray's test is not made for late entry.")
    if total.no_follow_up != 0:  # NaN, which differs from 0, where it is withheld
        what = "are never at risk and are left out" if params.delayed else "are at risk at time 0 only"
        found.append(f"Some people's follow-up has no length on the time grid: they {what}.")
    if total.backwards != 0:
        found.append("Some rows stop before they start: a mistake in the data. They are left out.")
    if total.without_events:
        found.append(f"{total.without_events:g} of the cohorts have follow-up and no event at all.")
    return found
