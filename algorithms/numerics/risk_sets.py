"""Who is at risk at which event time of one cohort, in its own exact times; they never leave it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from weakref import WeakKeyDictionary

import numpy as np

from algorithms.numerics.cox_params import CoxParams
from algorithms.numerics.event_times import EventTimes, Placed
from algorithms.numerics.follow_up import (
    Codes,
    FollowUp,
    Mask,
    Places,
    clusters,
    crossed,
    follow_up_blocks,
    weights,
)
from algorithms.numerics.time_grid import follow_up, group_codes
from cohortium.data import Data
from cohortium.quantities import Array

# Rows that are looked at together: their times, as whole columns, would be as large as the data themselves.
PART_ROWS = 200_000
NO_EDGES = np.zeros(0)


@dataclass(frozen=True)
class RiskSets:
    """What a fit needs of one cohort in every round: event times by stratum and time, and each complete row's place.

    `last` is the last event time at which a row is at risk, `before` the one before the first at which it is, or
    `nowhere` (the number of event times) if the first is its stratum's first. Without late entry `before` is None. A
    row that is never at risk has `nowhere` for both.
    """

    last: Places
    before: Places | None
    event: Mask
    bounds: Codes  # event times of stratum s: bounds[s] to bounds[s + 1]
    time: Array
    deaths: Array
    no_follow_up: int
    weight: Array | None = None
    cluster: Places | None = None
    origin: Array = field(default_factory=lambda: np.zeros(0))  # mean of the design's columns
    level: float = 0.0  # mean of the offset

    @property
    def nowhere(self) -> int:
        """What stands for no event time."""
        return len(self.time)

    @property
    def rows(self) -> int:
        """Complete rows with follow-up."""
        return len(self.event) - self.no_follow_up

    @property
    def events(self) -> int:
        """Rows that end with the event."""
        return int(np.count_nonzero(self.event))

    @property
    def clusters(self) -> int:
        """Different clusters, or rows where every row is a person."""
        return self.rows if self.cluster is None else int(self.cluster.max(initial=-1)) + 1

    @cached_property
    def stratum_start(self) -> Places:
        """The first event time of the stratum of every event time, and of `nowhere`."""
        return self._of_strata(self.bounds[:-1])

    @cached_property
    def stratum_end(self) -> Places:
        """One after the last event time of the stratum of every event time, and of `nowhere`."""
        return self._of_strata(self.bounds[1:])

    def first(self, rows: slice) -> Places:
        """The first event time at which some rows are at risk, `nowhere` if there is none."""
        start = self.stratum_start[self.last[rows]]
        if self.before is None:
            return start
        before = self.before[rows]
        return np.where(before == self.nowhere, start, before + 1).astype(np.int32)

    def add_leaving(self, total: Array, rows: slice, values: Array) -> None:
        """Add the `values` of some rows to `total`, shape (event times + 1,), so that `from_the_end` sums risk sets."""
        add_at(total, self.last[rows], values)
        if self.before is not None:
            add_at(total, self.before[rows], -values)

    def from_the_end(self, values: Array) -> Array:
        """`values` summed, in place, over an event time and all later ones of its stratum, along the last axis."""
        for a, b in self._strata():
            backwards = values[..., a:b][..., ::-1]
            np.cumsum(backwards, axis=-1, out=backwards)
        return values

    def from_the_start(self, values: Array) -> Array:
        """`values` summed, in place, over an event time and all earlier ones of its stratum, along the last axis."""
        for a, b in self._strata():
            part = values[..., a:b]
            np.cumsum(part, axis=-1, out=part)
        return values

    def while_at_risk(self, cumulated: Array, rows: slice) -> Array:
        """What a quantity, cumulated by `from_the_start`, grew by while some rows were at risk.

        `cumulated` has the shape (..., event times + 1), and 0 at the end, for `nowhere`.
        """
        grown = cumulated[..., self.last[rows]]
        if self.before is not None:
            grown -= cumulated[..., self.before[rows]]
        return grown

    def _strata(self) -> Iterator[tuple[int, int]]:
        for a, b in zip(self.bounds[:-1], self.bounds[1:], strict=True):
            yield int(a), int(b)

    def _of_strata(self, ends: Codes) -> Places:
        return np.append(np.repeat(ends, np.diff(self.bounds)), self.nowhere).astype(np.int32)


def add_at(total: Array, places: Places | Codes, values: Array) -> None:
    """Add `values` to `total` at `places`."""
    if len(total) > len(places):  # few rows, many places: one sum per place would cost more than it brings
        np.add.at(total, places, values)
    else:
        total += np.bincount(places, values, len(total))


_KEPT: WeakKeyDictionary[Data, tuple[CoxParams, bytes, RiskSets]] = WeakKeyDictionary()


def risk_sets(data: Data, params: CoxParams, edges: Array = NO_EDGES) -> RiskSets:
    """The risk sets of one cohort. A fit asks for them in every round, so the last ones are kept.

    `edges`: the grid points that times are merged into, in order; without them all stay apart.
    """
    kept, wanted = _KEPT.get(data), edges.tobytes()
    if kept is None or kept[1] != wanted or (kept[0] is not params and kept[0] != params):
        sets = _on_grid(data, params, edges) if params.on_grid else _own_times(data, params)
        kept = _KEPT[data] = (params, wanted, sets)
    return kept[2]


def forget() -> None:
    """Let go of all risk sets that were kept."""
    _KEPT.clear()


def own_risk_sets(start: Array | None, stop: Array, event: Mask, stratum: Codes) -> RiskSets:
    """The risk sets of rows with these times, by their own event times; `start` None: at risk from the beginning."""
    sets, _ = _by_event_time(lambda: [FollowUp(start, stop, event, stratum)], int(stratum.max(initial=0)) + 1)
    return sets


def _own_times(data: Data, params: CoxParams) -> RiskSets:
    """By the cohort's own exact event times."""
    stratum = crossed(data, params.variables, params.strata) if params.strata else None

    def parts() -> Iterator[FollowUp]:
        at = 0
        for part in follow_up_blocks(data, params, params.variables, PART_ROWS):
            here = slice(at, at + len(part.stop))
            yield _prepared(part, params)._replace(stratum=None if stratum is None else stratum[here])
            at = here.stop

    sets, followed = _by_event_time(parts, 1 if stratum is None else int(stratum.max(initial=0)) + 1)
    return _with_columns(sets, followed, data, params)


def _prepared(part: FollowUp, params: CoxParams) -> FollowUp:
    """Rounded up, if so asked. Where person-time counts, all rows have a start: those without any time are left out."""
    start, stop = part.start, part.stop
    if params.interval is not None:
        start, stop = None if start is None else params.round_up(start), params.round_up(stop)
    if params.piecewise and start is None:
        start = np.zeros_like(stop)
    return FollowUp(start, stop, part.event)


def _by_event_time(parts: Callable[[], Iterable[FollowUp]], strata: int) -> tuple[RiskSets, Mask]:
    """The risk sets of rows that come in parts, whenever they are called for, and which rows are followed."""
    times = EventTimes.of(parts, strata)
    placed = _joined([times.places(part) for part in parts()])
    sets = RiskSets(
        last=placed.last,
        before=placed.before,
        event=placed.event,
        bounds=times.bounds,
        time=times.time,
        deaths=times.deaths,
        no_follow_up=int(np.count_nonzero(~placed.followed)),
    )
    return sets, placed.followed


def _joined(parts: list[Placed]) -> Placed:
    if len(parts) == 1:
        return parts[0]
    late = bool(parts) and parts[0].before is not None
    none, nobody = [np.empty(0, dtype=np.int32)], [np.empty(0, dtype=np.bool_)]
    return Placed(
        last=np.concatenate(none + [part.last for part in parts]),
        before=np.concatenate(none + [part.before for part in parts if part.before is not None]) if late else None,
        event=np.concatenate(nobody + [part.event for part in parts]),
        followed=np.concatenate(nobody + [part.followed for part in parts]),
    )


def _on_grid(data: Data, params: CoxParams, edges: Array) -> RiskSets:
    """By the points of the grid, which are the same at every cohort, as if each were an event time."""
    times, strata = params.points + 1, len(params.groups)
    nowhere = strata * times
    parts = [_grid_places(block, params, edges) for block in data.blocks(params.variables, PART_ROWS)]
    placed = _joined(parts)
    sets = RiskSets(
        last=placed.last,
        before=placed.before,
        event=placed.event,
        bounds=np.arange(strata + 1) * times,
        time=np.tile(np.arange(times) * params.step, strata),
        deaths=np.bincount(placed.last[placed.event], minlength=nowhere).astype(np.float64),
        no_follow_up=int(np.count_nonzero(~placed.followed)),
    )
    return _with_columns(sets, placed.followed, data, params)


def _grid_places(block: Data, params: CoxParams, edges: Array) -> Placed:
    times, nowhere = params.points + 1, len(params.groups) * (params.points + 1)
    entry, leaving, event = follow_up(block, params)
    followed = entry < leaving if params.delayed else np.ones(len(entry), dtype=np.bool_)
    entry, leaving = merged(entry, leaving, edges)
    start = group_codes(block, params) * times
    return Placed(
        last=np.where(followed, start + leaving, nowhere).astype(np.int32),
        before=np.where(followed, start + entry, nowhere).astype(np.int32) if params.delayed else None,
        event=event & followed,
        followed=followed,
    )


def merged(entry: Codes, leaving: Codes, edges: Array) -> tuple[Codes, Codes]:
    """Grid points of entry and leaving, moved to the edges of the interval they lie in: to its start and its end.

    So whoever is watched during a part of an interval counts as at risk in it.
    """
    if not len(edges):
        return entry, leaving
    ends = np.concatenate([[0], edges]).astype(np.intp)
    return ends[np.searchsorted(ends, entry, side="right") - 1], ends[1:][np.searchsorted(edges, leaving)]


def _with_columns(sets: RiskSets, followed: Mask, data: Data, params: CoxParams) -> RiskSets:
    """The same with what else each row has in every round."""
    origin, level = _means(data, params)
    return replace(
        sets,
        weight=weights(data, params),
        cluster=clusters(data, params, followed) if params.formula.clusters else None,
        origin=origin,
        level=level,
    )


def _means(data: Data, params: CoxParams) -> tuple[Array, float]:
    """The means of the design's columns, exact for a constant one, and of the offset."""
    total, rows, origin, offsets = np.zeros(params.design.width), 0, np.zeros(params.design.width), 0.0
    for block in data.blocks(params.variables):
        x, offset = params.design.matrix(block), params.design.offset(block)
        if not rows:
            origin = x[0].copy()
        total += np.sum(x - origin, axis=0)
        offsets += 0.0 if offset is None else float(np.sum(offset))
        rows += len(block)
    return np.asarray(origin + total / max(rows, 1)), offsets / max(rows, 1)
