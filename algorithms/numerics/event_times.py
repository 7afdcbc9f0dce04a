"""The times at which one cohort has events, by stratum, and between which of them its rows are at risk."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from algorithms.numerics.follow_up import Codes, FollowUp, Mask, Places
from cohortium.quantities import Array

# Times closer than this share of the longest one are the same time written down differently: 0.1 + 0.2 and 0.3.
SAME_TIME = 1e-11


class Placed(NamedTuple):
    """Some rows among the event times (see `RiskSets`): `last`, `before`, event, and whether there is follow-up."""

    last: Places
    before: Places | None
    event: Mask
    followed: Mask


@dataclass(frozen=True)
class EventTimes:
    """Event times by stratum and time: `time` and `deaths` (event times,); stratum s has bounds[s] to bounds[s + 1].

    `lowest` are the different times over all strata, each at its smallest way of writing less `tolerance`.
    """

    time: Array
    deaths: Array
    bounds: Codes
    tolerance: float
    lowest: Array
    keys: Codes

    @classmethod
    def of(cls, parts: Callable[[], Iterable[FollowUp]], strata: int) -> EventTimes:
        """The event times of rows that come in parts, whenever they are called for."""
        tolerance = SAME_TIME * max((float(np.max(part.stop, initial=0.0)) for part in parts()), default=0.0)
        stops, codes = [np.zeros(0)], [np.zeros(0, dtype=np.intp)]
        for start, stop, event, stratum in parts():
            happens = event if start is None else event & (start < stop - tolerance)
            stops.append(stop[happens])
            if stratum is not None:
                codes.append(stratum[happens])
        at = np.concatenate(stops)
        distinct = np.unique(at)
        values = distinct[np.diff(distinct, prepend=-np.inf) > tolerance]
        lowest = values - tolerance
        code = np.searchsorted(lowest, at, side="right") - 1
        if strata > 1:
            code += np.concatenate(codes) * len(values)
        keys, deaths = np.unique(code, return_counts=True)
        bounds = np.searchsorted(keys, np.arange(strata + 1) * len(values))
        time = values[keys % max(len(values), 1)]
        return cls(time, deaths.astype(np.float64), bounds, tolerance, lowest, keys)

    def places(self, part: FollowUp) -> Placed:
        """Where some rows stand."""
        start, stop, event, stratum = part
        nowhere = len(self.time)
        last = self._at_or_before(stop, stratum)
        begin = self.bounds[0] if stratum is None else self.bounds[stratum]
        if start is None:
            followed = np.ones(len(stop), dtype=np.bool_)
            return Placed(np.where(last < begin, nowhere, last).astype(np.int32), None, event, followed)
        followed = start < stop - self.tolerance
        before = self._at_or_before(start, stratum)
        never = ~followed | (last <= before)
        return Placed(
            np.where(never, nowhere, last).astype(np.int32),
            np.where(never | (before < begin), nowhere, before).astype(np.int32),
            event & followed,
            followed,
        )

    def _at_or_before(self, times: Array, stratum: Codes | None) -> Codes:
        """The last event time of the stratum that is not after some times; less than its first if there is none."""
        code = np.searchsorted(self.lowest, times, side="right") - 1
        if stratum is None:
            return code
        return np.searchsorted(self.keys, stratum * len(self.lowest) + code, side="right") - 1
