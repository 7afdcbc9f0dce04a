"""The rows of one cohort as follow-up: when each starts and stops being watched, and what it belongs to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from algorithms.numerics.cox_params import CoxParams
from algorithms.numerics.time_grid import TimeGridParams
from cohortium.data import Data
from cohortium.errors import InvalidQuestion, Refused
from cohortium.quantities import Array

Codes = NDArray[np.intp]
# One per row, and kept between rounds: half the memory.
Places = NDArray[np.int32]
Mask = NDArray[np.bool_]

# One person's largest share of all weights: a sum that is more than half one person's is that person's.
# (Of fewer people somebody may well have half; whether so few may be used is for the cohort's policy to say.)
MAX_WEIGHT_SHARE, FEW = 0.5, 10


class FollowUp(NamedTuple):
    """Some rows: start (None without late entry), stop, whether they stop with the event, and stratum (None: one)."""

    start: Array | None
    stop: Array
    event: Mask
    stratum: Codes | None = None


def follow_up_blocks(data: Data, params: TimeGridParams, used: Sequence[str], size: int) -> Iterator[FollowUp]:
    """The rows that have a value for all `used`, cut at `until`, in order and at most `size` at a time."""
    surv, until = params.surv, params.until
    for block in data.blocks(used, size):
        stop, event = block[surv.time.name], block[surv.event.name] > 0
        start = block[surv.start.name] if surv.start is not None else None
        if np.any(stop < 0) or (start is not None and np.any(start < 0)):
            raise InvalidQuestion(f"`{surv}` has times before 0. Count time from an origin that everybody has passed.")
        if until is not None:
            event = event & (stop <= until)
            stop, start = np.minimum(stop, until), None if start is None else np.minimum(start, until)
        yield FollowUp(start, stop, event)


def read_follow_up(data: Data, params: TimeGridParams, used: Sequence[str]) -> tuple[Array | None, Array, Mask]:
    """Start (None without late entry), stop and event of all rows that have a value for all `used`."""
    parts = list(follow_up_blocks(data, params, used, max(len(data), 1)))
    if not parts:
        late = params.surv.start is not None
        return np.zeros(0) if late else None, np.zeros(0), np.zeros(0, dtype=np.bool_)
    return parts[0][:3]


def crossed(data: Data, used: Sequence[str], names: Sequence[str]) -> Codes:
    """Which combination of values of `names` a row that has a value for all `used` has, counted from 0."""
    found = np.zeros(int(np.count_nonzero(data.complete(used))), dtype=np.intp)
    for name in names:
        _, codes = np.unique(column(data, used, name), return_inverse=True)
        _, found = np.unique(found * (int(codes.max(initial=0)) + 1) + codes, return_inverse=True)
    return found


def clusters(data: Data, params: CoxParams, followed: Mask) -> Places:
    """The cluster of every complete row, numbered from 0 among those of the rows that are `followed`."""
    found = crossed(data, params.variables, [params.formula.clusters[0].name])
    compact = np.zeros(len(found), dtype=np.int32)
    compact[followed] = np.unique(found[followed], return_inverse=True)[1]
    return compact


def weights(data: Data, params: CoxParams) -> Array | None:
    """The weights of the complete rows. Raises InvalidQuestion or Refused for those that cannot be used."""
    if params.weights is None:
        return None
    weight = column(data, params.variables, params.weights)
    if np.any(weight <= 0):
        raise InvalidQuestion(f"The weights `{params.weights}` must be above 0 for everybody who is used.")
    if len(weight) >= FEW and np.max(weight) > MAX_WEIGHT_SHARE * np.sum(weight):
        raise Refused(
            f"One person has more than half of all weights `{params.weights}`: the sums would be that person's.",
            rule="dominance",
        )
    return weight


def column(data: Data, used: Sequence[str], name: str) -> Array:
    """A column as numbers (codes for categories) at the rows that have a value for all `used`."""
    kind, mask = data.dictionary[name], data.complete(used)
    values = data[name] if kind.is_numeric else data.codes(name).astype(np.float64)
    return values if np.all(mask) else values[mask]


def overlaps(start: Array, stop: Array, cluster: Places) -> int:
    """How many clusters have two rows at risk at the same time."""
    used = start < stop
    order = np.lexsort((start[used], cluster[used]))
    clusters, entry, leaving = (a[used][order] for a in (cluster, start, stop))
    # Rows of a cluster come by their start: one that begins before an earlier one has ended shares time with it.
    same = clusters[1:] == clusters[:-1]
    return len(np.unique(clusters[1:][same & (entry[1:] < leaving[:-1])]))
