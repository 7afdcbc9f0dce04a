"""Points of time that questions were asked with, so that no two grids have few people between them.

How many left by a day, and how many by the next: two answers that each are about many people. The ledger compares
sets of rows; of a grid with thousands of points it keeps the points, and looks for neighbours of which one is new and
the other known, with somebody between them but fewer people than the policy has it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from cohortium.errors import Refused
from cohortium.quantities import Array
from node.releases import Asker
from node.told_apart import Times

SCHEMA = """
CREATE TABLE IF NOT EXISTS time_points (
    study TEXT NOT NULL, researcher TEXT NOT NULL, variable TEXT NOT NULL, points BLOB NOT NULL,
    PRIMARY KEY (study, researcher, variable, points)
) WITHOUT ROWID;
"""
KNOWN = "SELECT points FROM time_points WHERE variable = ? AND (study = ? OR researcher = ?)"
# Points closer than this share of their size are the same point, worked out in two ways.
SAME = 1e-9


class TimePoints:
    """The points of time that each study and researcher was told by, in the ledger's file."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._entered: WeakKeyDictionary[Times, set[Asker]] = WeakKeyDictionary()

    def check(self, asked: Iterable[Times], asker: Asker, least: int) -> None:
        """Raises Refused if somebody, but fewer than `least` people of a group, lie between a known and a new point."""
        for times in asked:
            if asker in self._entered.get(times, ()):
                continue
            rows = self._db.execute(KNOWN, (times.variable, asker.study, asker.researcher))
            known = [np.frombuffer(points, dtype=np.float64) for (points,) in rows]
            # Everybody was, or will be, asked about without any limit.
            if _between(times, np.concatenate([[-np.inf, np.inf], *known]), least):
                raise Refused(
                    f"Fewer than {least} people's `{times.variable}` lies between a point of this grid of times (or "
                    "its end, `until`) and one that was asked about before; this cohort's policy forbids that "
                    "(min_difference). Ask with the same `interval` and `until` as before.",
                    rule="min_difference",
                )

    def enter(self, asked: Iterable[Times], asker: Asker) -> None:
        """Remember these."""
        for times in asked:
            entry = (asker.study, asker.researcher, times.variable, times.points.tobytes())
            if asker not in self._entered.setdefault(times, set()):
                self._db.execute("INSERT OR IGNORE INTO time_points VALUES (?, ?, ?, ?)", entry)
                self._entered[times].add(asker)


def _between(times: Times, known: Array, least: int) -> bool:
    points, first = np.unique(np.concatenate([times.points, known]), return_index=True)
    new = first < len(times.points)
    merged, new = _distinct(points, new)
    cells = np.searchsorted(merged, times.values * (1 - SAME / 2), side="left")
    width = len(merged) + 1
    counts = np.bincount(times.groups * width + cells, minlength=(int(times.groups.max(initial=0)) + 1) * width)
    # The cell before merged[i] lies between merged[i - 1] and merged[i].
    apart = np.concatenate([[False], new[1:] != new[:-1], [False]])
    few = (counts > 0) & (counts < least)
    return bool(np.any(few.reshape(-1, width) & apart))


def _distinct(points: Array, new: NDArray[np.bool_]) -> tuple[Array, NDArray[np.bool_]]:
    """Points that are the same but for rounding as one: a known one, if one of them is."""
    with np.errstate(invalid="ignore"):
        starts = np.concatenate([[True], np.diff(points) > SAME * np.abs(points[1:])])
    starts |= ~np.isfinite(points)
    group = np.cumsum(starts) - 1
    return points[starts], np.bincount(group, new, int(group[-1]) + 1) == np.bincount(group)
