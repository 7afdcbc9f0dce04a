"""Grid points of time taken together until no cohort has few people in an interval, so that a curve can be shown.

A cohort's finest intervals follow from its own counts and never from what is asked. It answers for unions of these
only, so nothing smaller can be had by asking for different unions and subtracting.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from algorithms.numerics.age_bands import boundaries_kept
from algorithms.numerics.time_grid import TimeGridParams
from cohortium.errors import InvalidQuestion, Refused
from cohortium.quantities import Array, FlagKind, Sums

Mask = NDArray[np.bool_]


class MergingParams(TimeGridParams):
    """A time grid whose points may be taken together."""

    adaptive: bool = Field(
        False,
        description="Whether times are taken together, for all cohorts alike, in intervals that are as narrow as every "
        "cohort's policy allows; otherwise a cohort with few people in an interval refuses. Takes a second round.",
    )

    def told_points(self, statistic: str, broadcast: Mapping[str, Array]) -> Array:
        """The boundaries that are kept; votes tell nobody's time."""
        if not self.adaptive:
            return super().told_points(statistic, broadcast)
        kept = broadcast.get("boundaries", np.zeros(0))
        return np.flatnonzero(kept > 0).astype(np.float64) * self.step

    def check(self) -> None:
        """Raises as a time grid does, and for late entry."""
        super().check()
        if self.adaptive and self.delayed:
            raise InvalidQuestion(
                "With late entry times cannot be taken together: give an `interval` that is wide enough."
            )


class IntervalVotes(Sums):
    """Which boundaries between grid points (points,) and which groups (groups,) a cohort cannot show, as votes."""

    boundaries: Annotated[Array, FlagKind()]
    groups: Annotated[Array, FlagKind()]


def votes(exits: Array, events: Array, least: int) -> IntervalVotes:
    """What one cohort cannot show, from people who leave and who have an event, (groups, points + 1)."""
    hidden = hidden_groups(exits, events, least)
    return IntervalVotes(boundaries=(~_own(exits, events, least)).astype(np.float64), groups=hidden.astype(np.float64))


def hidden_groups(exits: Array, events: Array, least: int) -> Mask:
    """Groups that are too small to be shown even in one interval, shape (groups,)."""
    return _few(exits.sum(axis=1), least) | _few(events.sum(axis=1), least)


def check_boundaries(exits: Array, events: Array, boundaries: Array, least: int) -> None:
    """Raises Refused for boundaries (points,) that this cohort cannot show."""
    own = _own(exits, events, least)
    if boundaries.shape != own.shape or np.any((boundaries != 0) & ~(own & (boundaries == 1))):
        raise Refused("These intervals of time would hold few people of this cohort.", rule="broadcast")


def merged(counts: Array, boundaries: Array) -> Array:
    """Counts by group and grid point (groups, points + 1, ...) moved to the last point of the interval they are in."""
    ends = _ends(boundaries)
    found = np.zeros_like(counts)
    found[:, ends] = np.add.reduceat(counts, np.concatenate([[0], ends[:-1] + 1]), axis=1)
    return found


def last_shown(boundaries: Array) -> int | None:
    """The grid point at which curves end: where the last interval begins, if that goes on to the end of the grid.

    None where the last interval is a single point, or the only one.
    """
    ends = _ends(boundaries)
    return int(ends[-2]) if len(ends) > 1 and ends[-1] - ends[-2] > 1 else None


def cut(exits: Array, events: Array, at: int) -> tuple[Array, Array]:
    """The same with everybody who leaves later censored at a grid point; `events` may have causes as a last axis."""
    kept = (np.arange(exits.shape[1]) <= at).astype(np.float64)
    later = exits[:, at + 1 :].sum(axis=1)
    exits = exits * kept
    exits[:, at] += later
    return exits, events * kept.reshape((1, -1) + (1,) * (events.ndim - 2))


def warnings(found: IntervalVotes, names: list[str], step: float, end: int | None) -> list[str]:
    """What was taken together, and what is withheld."""
    told = []
    if np.any(found.boundaries > 0):
        intervals = int(np.count_nonzero(found.boundaries == 0)) + 1
        told.append(
            f"Times were taken together in {intervals} intervals, because a cohort has few people in narrower ones."
        )
    if end is not None:
        told.append(f"Curves end at {end * step:g}: a cohort has few people who leave later.")
    withheld = [name for name, vote in zip(names, np.atleast_1d(found.groups), strict=True) if vote]
    if withheld:
        told.append(f"Withheld, because a cohort has too few people or events to show: {', '.join(withheld)}.")
    return told


def _own(exits: Array, events: Array, least: int) -> Mask:
    """Boundaries that this cohort can show, for groups that are not hidden.

    In no interval nobody may leave: where such a one begins or ends, somebody's time would be told. A cohort without
    anybody has no objections.
    """
    shown = exits.any(axis=1) & ~hidden_groups(exits, events, least)
    leave, happen = (_past(counts[shown]) for counts in (exits, events))

    def has_small(start: int, end: int) -> bool:
        people = leave[:, end] - leave[:, start]
        return bool((people < least).any() or _few(happen[:, end] - happen[:, start], least).any())

    if least <= 1:
        return np.ones(exits.shape[1] - 1, dtype=np.bool_)
    return boundaries_kept(exits.shape[1], has_small)


def _past(counts: Array) -> Array:
    return np.concatenate([np.zeros((len(counts), 1)), np.cumsum(counts, axis=1)], axis=1)


def _ends(boundaries: Array) -> NDArray[np.intp]:
    return np.flatnonzero(np.concatenate([boundaries > 0, [True]]))


def _few(people: Array, least: int) -> Mask:
    return np.asarray((people > 0) & (people < least))
