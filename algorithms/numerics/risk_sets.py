"""Who is at risk at which event time of one cohort, in its own exact times; they never leave it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from algorithms.numerics.cox_params import CoxParams
from algorithms.numerics.time_grid import TimeGridParams, follow_up, group_codes
from cohortium.data import Data
from cohortium.errors import InvalidQuestion, Refused
from cohortium.quantities import Array

Codes = NDArray[np.intp]
# One per row, and kept between rounds: half the memory.
Places = NDArray[np.int32]
Mask = NDArray[np.bool_]

# Times closer than this share of the longest one are the same time written down differently: 0.1 + 0.2 and 0.3.
SAME_TIME = 1e-11
# One person's largest share of all weights: a sum that is more than half one person's is that person's.
# (Of fewer people somebody may well have half; whether so few may be used is for the cohort's policy to say.)
MAX_WEIGHT_SHARE, FEW = 0.5, 10


@dataclass(frozen=True)
class RiskSets:
    """What a fit needs of one cohort in every round: event times by stratum and time, and each complete row's place.

    A row is at risk at the event times `first` to `last`, both included. A row that is at risk at none has `nowhere`,
    the number of event times, for both. Without late entry `first` is the stratum's first event time.
    """

    first: Places
    last: Places
    before: Places | None  # with late entry: the event time before `first`, `nowhere` if there is none
    event: Mask
    bounds: Codes  # event times of stratum s: bounds[s] to bounds[s + 1]
    time: Array
    deaths: Array
    no_follow_up: int
    weight: Array | None = None
    cluster: Codes | None = None
    origin: Array = field(default_factory=lambda: np.zeros(0))  # mean of the design's columns

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

    def per_event_time(self, rows: slice, values: Array, *, at: Places | None = None) -> Array:
        """Sum of the `values` of some rows by the event time that `at` (by default `last`) names."""
        places = (self.last if at is None else at)[rows]
        return np.asarray(np.bincount(places, values, self.nowhere + 1)[: self.nowhere], dtype=np.float64)

    def of_events(self, rows: slice, values: Array) -> Array:
        """The same over those of the rows who have the event."""
        event = self.event[rows]
        return np.asarray(np.bincount(self.last[rows][event], values[event], self.nowhere), dtype=np.float64)

    def from_the_end(self, values: Array) -> Array:
        """Sums over an event time and all later ones of its stratum, along the last axis."""
        return np.concatenate([_reverse(values[..., a:b]) for a, b in self._strata()], axis=-1)

    def from_the_start(self, values: Array) -> Array:
        """Sums over an event time and all earlier ones of its stratum, along the last axis."""
        return np.concatenate([np.cumsum(values[..., a:b], axis=-1) for a, b in self._strata()], axis=-1)

    def over_risk_sets(self, leaving: Array, entering: Array | None) -> Array:
        """Sums over the risk sets, from sums over those whose last (or, entering, before whose first) time it is."""
        return self.from_the_end(leaving if entering is None else leaving - entering)

    def while_at_risk(self, cumulated: Array, rows: slice) -> Array:
        """What a quantity that `from_the_start` cumulated grew by while each row was at risk, along the last axis."""
        padded = np.concatenate([cumulated, np.zeros((*cumulated.shape[:-1], 1))], axis=-1)
        grown = padded[..., self.last[rows]]
        return np.asarray(grown if self.before is None else grown - padded[..., self.before[rows]])

    def _strata(self) -> Iterator[tuple[int, int]]:
        for a, b in zip(self.bounds[:-1], self.bounds[1:], strict=True):
            yield int(a), int(b)


def _reverse(values: Array) -> Array:
    return np.cumsum(values[..., ::-1], axis=-1)[..., ::-1]


_KEPT: WeakKeyDictionary[Data, tuple[CoxParams, RiskSets]] = WeakKeyDictionary()


def risk_sets(data: Data, params: CoxParams) -> RiskSets:
    """The risk sets of one cohort. A fit asks for them in every round, so the last ones are kept."""
    kept = _KEPT.get(data)
    if kept is None or (kept[0] is not params and kept[0] != params):
        kept = _KEPT[data] = (params, _own_times(data, params) if params.stratified else _grid_times(data, params))
    return kept[1]


def forget() -> None:
    """Let go of all risk sets that were kept."""
    _KEPT.clear()


def _own_times(data: Data, params: CoxParams) -> RiskSets:
    """By the cohort's own exact event times."""
    start, stop, event = read_follow_up(data, params, params.variables)
    if params.interval is not None:
        stop, start = params.round_up(stop), None if start is None else params.round_up(start)
    sets = own_risk_sets(start, stop, event, crossed(data, params.variables, params.strata))
    followed = np.ones(len(stop), dtype=np.bool_) if start is None else start < stop
    return replace(
        sets,
        weight=_weights(data, params),
        cluster=_clusters(data, params, followed) if params.formula.clusters else None,
        origin=_mean(data, params),
    )


def own_risk_sets(start: Array | None, stop: Array, event: Mask, stratum: Codes) -> RiskSets:
    """The risk sets of rows with these times, by their own event times; `start` None: at risk from the beginning."""
    times = len(stop)
    values, codes = _classes(np.concatenate([stop, start]) if start is not None else stop)
    leaving, entry = codes[:times], codes[times:]
    followed = entry < leaving if start is not None else np.ones(times, dtype=np.bool_)
    event = event & followed
    span = len(values) + 1
    keys = stratum * span + leaving
    distinct, deaths = np.unique(keys[event], return_counts=True)
    bounds = np.searchsorted(distinct, np.arange(int(stratum.max(initial=0)) + 2) * span)
    last = np.searchsorted(distinct, keys, side="right") - 1
    first = bounds[stratum] if start is None else np.searchsorted(distinct, stratum * span + entry, side="right")
    nowhere = ~followed | (last < first)
    before = np.where(nowhere | (first == bounds[stratum]), len(distinct), first - 1)
    return RiskSets(
        first=np.where(nowhere, len(distinct), first).astype(np.int32),
        last=np.where(nowhere, len(distinct), last).astype(np.int32),
        before=None if start is None else before.astype(np.int32),
        event=event,
        bounds=bounds,
        time=values[distinct % span],
        deaths=deaths.astype(np.float64),
        no_follow_up=int(np.count_nonzero(~followed)),
    )


def _grid_times(data: Data, params: CoxParams) -> RiskSets:
    """By the points of the grid, which are the same at every cohort, as if each were an event time."""
    times, strata = params.points + 1, len(params.groups)
    parts = [(*follow_up(block, params), group_codes(block, params)) for block in data.blocks(params.variables)]
    empty = (np.empty(0, np.intp), np.empty(0, np.intp), np.empty(0, np.bool_), np.empty(0, np.intp))
    entry, leaving, event, group = (np.concatenate(column) for column in zip(empty, *parts, strict=True))
    followed = entry < leaving if params.delayed else np.ones(len(entry), dtype=np.bool_)
    event &= followed
    nowhere, start = strata * times, group * times
    at = start + leaving
    return RiskSets(
        first=np.where(followed, start + entry + 1 if params.delayed else start, nowhere).astype(np.int32),
        last=np.where(followed, at, nowhere).astype(np.int32),
        before=np.where(followed, start + entry, nowhere).astype(np.int32) if params.delayed else None,
        event=event,
        weight=_weights(data, params),
        cluster=_clusters(data, params, followed) if params.formula.clusters else None,
        bounds=np.arange(strata + 1) * times,
        time=np.tile(np.arange(times) * params.step, strata),
        deaths=np.bincount(at[event], minlength=nowhere).astype(np.float64),
        no_follow_up=int(np.count_nonzero(~followed)),
    )


def read_follow_up(data: Data, params: TimeGridParams, used: Sequence[str]) -> tuple[Array | None, Array, Mask]:
    """Start (None without late entry), stop and event of the rows that have a value for all `used`, cut at `until`."""
    surv, until = params.surv, params.until
    stop, event = _column(data, used, surv.time.name), _column(data, used, surv.event.name) > 0
    start = _column(data, used, surv.start.name) if surv.start is not None else None
    if np.any(stop < 0) or (start is not None and np.any(start < 0)):
        raise InvalidQuestion(f"`{surv}` has times before 0. Count time from an origin that everybody has passed.")
    if until is not None:
        event = event & (stop <= until)
        stop, start = np.minimum(stop, until), None if start is None else np.minimum(start, until)
    return start, stop, event


def _classes(times: Array) -> tuple[Array, Codes]:
    """The different times in order, and the position of each among them."""
    distinct, codes = np.unique(times, return_inverse=True)
    new = np.diff(distinct) > SAME_TIME * np.max(np.abs(distinct), initial=0.0)
    position = np.concatenate([[0], np.cumsum(new)])[: len(distinct)]
    return distinct[np.concatenate([[True], new])[: len(distinct)]], position[codes]


def crossed(data: Data, used: Sequence[str], names: Sequence[str]) -> Codes:
    """Which combination of values of `names` a row that has a value for all `used` has, counted from 0."""
    found = np.zeros(int(np.count_nonzero(data.complete(used))), dtype=np.intp)
    for name in names:
        _, codes = np.unique(_column(data, used, name), return_inverse=True)
        _, found = np.unique(found * (int(codes.max(initial=0)) + 1) + codes, return_inverse=True)
    return found


def _clusters(data: Data, params: CoxParams, followed: Mask) -> Codes:
    found = crossed(data, params.variables, [params.formula.clusters[0].name])
    compact = np.zeros(len(found), dtype=np.intp)
    compact[followed] = np.unique(found[followed], return_inverse=True)[1]
    return compact


def _weights(data: Data, params: CoxParams) -> Array | None:
    if params.weights is None:
        return None
    weight = _column(data, params.variables, params.weights)
    if np.any(weight <= 0):
        raise InvalidQuestion(f"The weights `{params.weights}` must be above 0 for everybody who is used.")
    if len(weight) >= FEW and np.max(weight) > MAX_WEIGHT_SHARE * np.sum(weight):
        raise Refused(
            f"One person has more than half of all weights `{params.weights}`: the sums would be that person's.",
            rule="dominance",
        )
    return weight


def _column(data: Data, used: Sequence[str], name: str) -> Array:
    """A column as numbers (codes for categories) at the rows that have a value for all `used`."""
    kind, mask = data.dictionary[name], data.complete(used)
    values = data[name] if kind.is_numeric else data.codes(name).astype(np.float64)
    return values[mask]


def _mean(data: Data, params: CoxParams) -> Array:
    """The mean of the design's columns, exact for a constant one."""
    total, rows, origin = np.zeros(params.design.width), 0, np.zeros(params.design.width)
    for block in data.blocks(params.variables):
        x = params.design.matrix(block)
        if not rows:
            origin = x[0].copy()
        total += np.sum(x - origin, axis=0)
        rows += len(block)
    return np.asarray(origin + total / max(rows, 1))


def overlaps(data: Data, params: CoxParams) -> int:
    """How many clusters have two rows at risk at the same time."""
    sets = risk_sets(data, params)
    start, stop, _ = read_follow_up(data, params, params.variables)
    if sets.cluster is None or start is None:
        return 0
    used = start < stop
    order = np.lexsort((start[used], sets.cluster[used]))
    cluster, entry, leaving = (a[used][order] for a in (sets.cluster, start, stop))
    same = cluster[1:] == cluster[:-1]
    return len(np.unique(cluster[1:][same & (entry[1:] < leaving[:-1])]))
