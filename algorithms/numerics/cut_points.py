"""Where to divide follow-up, for a baseline hazard that all cohorts share: by when people leave.

A cohort sorts its people into groups of neighbours in time, none smaller than its policy's smallest cell
(`order_statistics`), and says at which points of time groups begin and end. From these follow candidates, from many
intervals to few. Of each a cohort says by a vote whether every interval that its groups reach into has a whole group
in it: then whatever is summed in an interval is summed over so many people. A vote depends on the groups alone, so no
choice of candidates tells the people of a group apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated

import numpy as np

from algorithms.numerics.cox_params import CoxParams
from algorithms.numerics.follow_up import Codes, Mask, Places
from algorithms.numerics.lattice import Lattice
from algorithms.numerics.newton import Steps
from algorithms.numerics.order_statistics import Column, neighbours
from algorithms.numerics.time_grid import follow_up, group_codes
from cohortium.analysis import ask
from cohortium.data import Data
from cohortium.quantities import Array, FlagKind, Sums

# By how much the fewest people of an interval grow from one candidate for an adaptive grid to the next, and how often.
GROWTH, CANDIDATES = 1.2, 40


class Objections(Sums):
    """Which candidates this cohort cannot agree to, shape (candidates,)."""

    objections: Annotated[Array, FlagKind()]


def leaving_times(data: Data, params: CoxParams) -> tuple[Array, Array]:
    """People of one cohort in groups that end, and that begin, at each point of time: (kinds, strata, points + 1).

    The kinds are the events; others who leave (of a piecewise baseline: all who leave); those who enter late.
    """
    ending, beginning = np.zeros((2, len(_kinds(params)), len(params.groups), params.points + 1))
    for kind, stratum, low, high, people in _groups(data, params):
        np.add.at(ending[kind, stratum], high, people)
        np.add.at(beginning[kind, stratum], low, people)
    return ending, beginning


def objections(data: Data, params: CoxParams, *, candidates: Array) -> Objections:
    """One cohort's votes on the points at which intervals end, shape (candidates, most intervals)."""
    found = np.zeros(len(candidates))
    for _, _, low, high, _ in _groups(data, params):
        for c, ends in enumerate(candidates):
            found[c] = max(found[c], float(_cuts_through(ends, low, high)))
    return Objections(objections=found)


def _cuts_through(ends: Array, low: Codes, high: Codes) -> bool:
    """Whether there is an interval that groups reach into, but none lies in."""
    first, last = np.searchsorted(ends, low), np.searchsorted(ends, high)
    reached = np.zeros(len(ends) + 1)
    np.add.at(reached, first, 1.0)
    np.add.at(reached, last + 1, -1.0)
    within = np.bincount(first[first == last], minlength=len(ends))
    return bool(np.any((np.cumsum(reached)[:-1] > 0) & (within == 0)))


def intervals(params: CoxParams, ending: Array, beginning: Array) -> Steps[Array]:
    """The points at which intervals end, as many as all cohorts agree to; the last is that of the longest follow-up."""
    candidates = _piecewise(params, ending[0], beginning[0]) if params.piecewise else _adaptive(params, ending)
    if len(candidates) == 1:
        return candidates[0]
    width = max(map(len, candidates))
    padded = np.array([np.append(c, np.full(width - len(c), float(params.points))) for c in candidates])
    votes = yield from ask(objections, candidates=padded)
    agreed = np.flatnonzero(votes.objections == 0)
    return candidates[agreed[0] if len(agreed) else -1]


def _piecewise(params: CoxParams, ending: Array, beginning: Array) -> list[Array]:
    """Quantiles of the event times, from `intervals` of them down to one."""
    points = params.points
    column = Column(Lattice(params.surv.time.name, 1.0, 0, points))
    column.learn(np.arange(points, dtype=np.float64), *(np.nan_to_num(a.sum(axis=0)) for a in (ending, beginning)))
    most = params.intervals if column.n else 1
    found = []
    for count in range(most, 0, -1):
        cuts = [column.quantile(k / count, 7).value for k in range(1, count)]
        found.append(np.array(sorted({cut for cut in cuts if 0 < cut < points} | {points}), dtype=np.float64))
    return found


def _adaptive(params: CoxParams, ending: Array) -> list[Array]:
    """Points merged until every stratum has nobody or enough of each kind, from narrow intervals to one."""
    people, found = np.nan_to_num(ending).reshape(-1, params.points + 1), list[Array]()
    for k in range(CANDIDATES):
        merged = _merged(people, len(params.groups), GROWTH**k * params.per_interval)
        if not found or len(merged) < len(found[-1]):
            found.append(merged)
        if len(merged) == 1:
            return found
    return [*found, np.array([float(params.points)])]


def _merged(people: Array, strata: int, least: float) -> Array:
    """Ends of intervals, from people (kinds and strata, points)."""
    ends, totals = [], [np.zeros(len(people))]
    for point in np.flatnonzero(people.any(axis=0)):
        totals[-1] += people[:, point]
        if _is_wide(totals[-1], strata, least):
            ends.append(float(point))
            totals.append(np.zeros(len(people)))
    # Who is left over at the end joins the last interval; if there are few of a kind then, that joins the one before.
    while len(totals) > 1 and not _is_wide(totals[-1], strata, least):
        few = totals.pop()
        totals[-1] = totals[-1] + few
        ends.pop()
    return np.array([*ends[: len(totals) - 1], float(people.shape[1] - 1)])


def _is_wide(total: Array, strata: int, least: float) -> bool:
    return bool(total[:strata].sum() >= least and np.all((total == 0) | (total >= least)))


Moves = Callable[[Codes, Codes, Mask, Mask], tuple[Codes, Mask]]


def _kinds(params: CoxParams) -> list[Moves]:
    """When somebody is counted, and who: from points of entry and leaving, events, and who is followed at all."""
    if params.piecewise:
        return [lambda _, leaving, event, used: (leaving, event & used), lambda _, leaving, __, used: (leaving, used)]
    leave: list[Moves] = [
        lambda _, leaving, event, used: (leaving, event & used),
        lambda _, leaving, event, used: (leaving, ~event & used),
    ]
    # Whoever enters at the end of an interval is at risk from the next one on.
    late: list[Moves] = [lambda entry, leaving, _, used: (np.minimum(entry + 1, leaving), used)]
    return leave + (late if params.delayed else [])


def _groups(data: Data, params: CoxParams) -> Iterator[tuple[int, int, Codes, Codes, Array]]:
    """Kind, stratum, first and last points of the groups, and their people."""
    lattice, kinds = Lattice(params.surv.time.name, 1.0, 0, params.points), _kinds(params)
    values: list[list[list[Places]]] = [[[] for _ in params.groups] for _ in kinds]
    for block in data.blocks(params.variables):
        entry, leaving, event = follow_up(block, params)
        followed = params.delayed or params.piecewise
        used = entry < leaving if followed else np.ones(len(entry), dtype=np.bool_)
        stratum = group_codes(block, params)
        for k, kind in enumerate(kinds):
            at, who = kind(entry, leaving, event, used)
            for s in range(len(params.groups)):
                values[k][s].append(at[who & (stratum == s)].astype(np.int32))
    for k, s in np.ndindex(len(kinds), len(params.groups)):
        together = np.concatenate([np.zeros(0, dtype=np.int32), *values[k][s]]).astype(np.float64)
        low, high, people = neighbours(together, lattice, data.least_group)
        yield k, s, low.astype(np.intp), high.astype(np.intp), people
