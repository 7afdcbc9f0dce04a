"""Person-time and events of one cohort on the cells of a Lexis diagram: group, period and attained age."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from algorithms.numerics.age_bands import LexisTable
from algorithms.numerics.rates_params import IncidenceRatesParams
from algorithms.numerics.time_grid import group_codes
from cohortium.data import Data
from cohortium.errors import InvalidQuestion
from cohortium.quantities import Array

Codes = NDArray[np.intp]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Counted:
    """One cohort's follow-up, cut into cells, and what fell outside of them."""

    table: LexisTable
    inside: Array  # people who are seen in some cell, by group
    complete: int
    no_follow_up: int
    outside: float  # events at other ages or in other years


@dataclass(frozen=True)
class Lives:
    """Some people's follow-up on the scale of attained age, in years."""

    entry: Array
    leaving: Array
    event: Mask
    group: Codes
    at_zero: Array  # age at time 0
    date: Array | None  # and the date then

    def age_on(self, day: float) -> Array | float:
        """Everybody's age on a day since 1970-01-01."""
        return day if self.date is None else self.at_zero + (day - self.date) / 365.25


def count(data: Data, params: IncidenceRatesParams) -> Counted:
    """Everybody's follow-up on the cells; kept for the next round of the same question."""
    return data.recall(("lexis", params.model_dump_json()), lambda: _count(data, params))


def _count(data: Data, params: IncidenceRatesParams) -> Counted:
    groups, periods, bands = len(params.groups), len(params.period_names), len(params.age_edges) - 1
    cells = np.zeros((4, groups, periods, bands))
    inside, complete, no_follow_up, events = np.zeros(groups), 0, 0, 0
    for block in data.blocks(params.variables):
        complete += len(block)
        lives, idle = _lives(block, params)
        no_follow_up += idle
        events += int(np.count_nonzero(lives.event))
        seen = np.zeros(len(lives.entry), dtype=np.bool_)
        for p in range(periods):
            for which, found in enumerate(_in_period(lives, params, p, seen)):
                cells[which, :, p] += found
        inside += np.bincount(lives.group[seen], minlength=groups)
    table = LexisTable(*cells.reshape(4, groups * periods, bands))
    return Counted(table, inside, complete, no_follow_up, events - table.events.sum())


def _lives(block: Data, params: IncidenceRatesParams) -> tuple[Lives, int]:
    """The lives of a block's people, and how many of them have no length.

    Somebody without follow-up brings no person-time, but an event at once counts, unless they were to enter late.
    """
    surv = params.surv
    stop, event = block[surv.time.name], block[surv.event.name] > 0
    start = np.zeros_like(stop) if surv.start is None else block[surv.start.name]
    if np.any(stop < 0) or np.any(start < 0):
        raise InvalidQuestion(f"`{surv}` has times before 0. Count time from an origin that everybody has passed.")
    at_zero = np.zeros_like(stop) if params.age is None else block[params.age]
    date = None if params.start_date is None else block[params.start_date]
    idle = stop <= start
    used = ~idle if params.delayed else ~idle | event
    entry, leaving = (at_zero + t / params.per_year for t in (start, stop))
    group = group_codes(block, params)
    parts = (entry[used], leaving[used], event[used], group[used], at_zero[used], None if date is None else date[used])
    return Lives(*parts), int(np.count_nonzero(idle))


def _in_period(lives: Lives, params: IncidenceRatesParams, period: int, seen: Mask) -> Iterator[Array]:
    """People by first and by last band, events and person-years, each (groups, bands); marks who is `seen`.

    Time and an event belong to (a, b] of attained age, as in R's `pyears`; of somebody without any length, to [a, b).
    """
    edges, groups = np.array(params.age_edges), len(params.groups)
    opens, closes = (lives.age_on(params.period_edges[period + k]) for k in (0, 1))
    low = np.maximum(np.maximum(lives.entry, opens), edges[0])
    high = np.minimum(np.minimum(lives.leaving, closes), edges[-1])
    moment = (lives.entry == lives.leaving) & (low == lives.entry) & (lives.entry < np.minimum(closes, edges[-1]))
    there = (high > low) | moment
    seen |= there
    low, high, group = low[there], high[there], lives.group[there]
    first = np.searchsorted(edges, low, side="right") - 1
    last = np.where(high > low, np.searchsorted(edges, high, side="left") - 1, first)
    event = (lives.event & (lives.leaving <= closes))[there] & (high == lives.leaving[there])
    shape = (groups, len(edges) - 1)
    for at, who in ((first, slice(None)), (last, slice(None)), (last, event)):
        yield np.bincount((group * shape[1] + at)[who], minlength=groups * shape[1]).reshape(shape).astype(np.float64)
    within = (np.clip(np.minimum(high, b) - np.maximum(low, a), 0.0, None) for a, b in pairwise(edges))
    yield np.stack([np.bincount(group, weights=years, minlength=groups) for years in within], axis=1)
