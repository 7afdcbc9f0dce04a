"""The differencing ledger: nothing is said of two groups that differ by just a few people.

Two sums over groups that differ by one person tell that person's value. So a node keeps, in one SQLite file, which
rows were behind everything that it released, and refuses what would differ from an earlier release by somebody but
fewer than `min_difference` people (Denning, Denning & Schwartz 1979, The tracker, ACM TODS 4:76):

- rows against rows, if both releases are about a variable that they share: whatever made them differ, a condition, a
  missing value, another analysis, or people who have left since;
- rows against two earlier sets: the union of two groups, or what one leaves of another;
- cohorts against cohorts: the same rows together with one or two cohorts more or less tell those cohorts' own figures.

Compared is what one researcher, or one study, was told. Sets that are far apart are told so by their sketches (see
`node/row_sets.py`), which never take near for far; only the others are compared row by row.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from cohortium.condition import Condition
from cohortium.data import Data
from cohortium.errors import Refused
from node.budget import IN_MEMORY, Budget
from node.people import SCHEMA as PEOPLE
from node.people import People
from node.releases import Asker, Index, Release
from node.row_sets import RowSet
from node.time_points import SCHEMA as TIME_POINTS
from node.time_points import TimePoints
from node.told_apart import Times

SCHEMA = """
CREATE TABLE IF NOT EXISTS row_sets (
    digest BLOB PRIMARY KEY, sketch BLOB NOT NULL, content BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS releases (
    number INTEGER PRIMARY KEY, job TEXT NOT NULL, study TEXT NOT NULL, researcher TEXT NOT NULL,
    cohorts TEXT NOT NULL, variables TEXT NOT NULL, summed TEXT NOT NULL, digest BLOB NOT NULL
);
"""
ALL = """
SELECT job, study, researcher, cohorts, variables, summed, digest, sketch FROM releases JOIN row_sets USING (digest)
ORDER BY number
"""
SUMMED = ("number", "integer", "date")
ROWS_KEPT = 64
LISTS = ("cohorts", "variables", "summed")


@dataclass(frozen=True, eq=False)
class Asked:
    """Rows that a release is about to speak of, the rows of `data` complete in `names`, and of which variables.

    Of a `group`, named by what makes it, the rows are those at the positions `part` among these.
    """

    data: Data
    names: frozenset[str]
    variables: frozenset[str]
    summed: frozenset[str] = frozenset()
    group: str = ""
    part: NDArray[np.intp] | None = None

    @classmethod
    def chosen(cls, data: Data, where: Condition) -> Asked:
        """The rows that a condition chose: how many they are tells of its variables, as do other conditions' counts."""
        return cls(data, frozenset(), frozenset(f"where {name}" for name in where.names))

    @classmethod
    def complete(cls, data: Data, names: frozenset[str]) -> Asked:
        """Sums of these variables over the rows that have a value for each."""
        return cls(data, names, names, frozenset(n for n in names if data.dictionary[n].type in SUMMED))

    @property
    def numbers(self) -> NDArray[np.uint32]:
        """The rows by their numbers in the ledger."""
        if self.data.numbers is None:
            raise ValueError("the ledger has not numbered these rows")
        numbers = self.data.numbers[self.data.complete(self.names)]
        return numbers if self.part is None else numbers[self.part]

    def of_group(self, group: str, part: NDArray[np.intp]) -> Asked:
        """The same of some of the rows."""
        return replace(self, group=group, part=part)


class Ledger:
    """What a node has told whom, and how much (`budget`). Safe to use from several threads.

    Args:
        path: The SQLite file; made, readable by its owner alone, if it is not there. Losing it, or putting an old one
            back, makes the node forget what it has said.

    """

    def __init__(self, path: Path = IN_MEMORY) -> None:
        self._lock = threading.Lock()
        if path != IN_MEMORY:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
        self.budget = Budget(path)
        self._db.row_factory = sqlite3.Row
        # FULL: a commit is on the disk, even if the power is cut the moment after.
        self._db.executescript(f"PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; {SCHEMA} {PEOPLE} {TIME_POINTS}")
        self._people = People(self._db)
        self._times = TimePoints(self._db)
        self._index = Index()
        self._admitted: WeakKeyDictionary[Data, set[tuple[object, ...]]] = WeakKeyDictionary()
        self._rows = lru_cache(maxsize=ROWS_KEPT)(self._read)
        for row in self._db.execute(ALL):
            self._index.add(_release(row), np.frombuffer(row["sketch"], dtype=np.int32))

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._db.close()
        self.budget.close()

    def number(self, data: Data) -> NDArray[np.uint32]:
        """A number per row, shape (rows,), the same whenever its data are loaded (see `node/people.py`)."""
        with self._lock:
            return self._people.number(data)

    def admit(self, asked: Iterable[Asked], asker: Asker, least: int, times: Sequence[Times] = ()) -> None:
        """Enter what is about to be released.

        Raises Refused, and enters nothing, if any of it is about rows that differ from those of an earlier release, or
        of another of these, by somebody but fewer than `least` people. What was admitted before costs nothing.
        """
        with self._lock:
            self._times.check(times, asker, least)
            unseen = [each for each in asked if _key(each, asker) not in self._admitted.get(each.data, ())]
            if not unseen:
                self._times.enter(times, asker)
                return
            new: list[tuple[Release, RowSet]] = []
            whole: list[tuple[Release, RowSet]] = []
            for each in unseen:
                rows = RowSet.of(each.numbers)
                release = Release.to(asker, each.variables, each.summed, rows)
                if len(rows.rows) and not self._index.has(release):
                    # What one answer tells of its groups beside the whole is the policy's to judge.
                    self._check(release, rows, [] if each.group else whole, asker, least)
                    new.append((release, rows))
                    whole += [] if each.group else new[-1:]
            self._enter(new)
            self._times.enter(times, asker)
            for each in unseen:
                self._admitted.setdefault(each.data, set()).add(_key(each, asker))

    def _check(
        self, release: Release, rows: RowSet, beside: list[tuple[Release, RowSet]], asker: Asker, least: int
    ) -> None:
        """Raises Refused if a release tells, with earlier ones or those `beside` it, about few people or one cohort."""
        most = (least - 1) * self._people.most  # rows that fewer than `least` people can have
        known = self._index.comparable(release)
        near = [(other, self._rows(other.digest)) for other in self._index.near(release, rows, known, most)]
        near += [(other, its.rows) for other, its in beside if release.shares(other)]
        for other, its in near:
            if self._few(its ^ rows.rows, least):
                raise _differs(release, [other], least)
        for one, other in self._index.near_pairs(release, rows, known, most):
            if self._few_left(rows.rows, self._rows(one.digest), self._rows(other.digest), least):
                raise _differs(release, [one, other], least)
        if not asker.alone:
            _check_cohorts(release, self._index.same_rows(release, known))

    def _few_left(self, a: BitMap, b: BitMap, c: BitMap, least: int) -> bool:
        """Whether two of three sets make up the third but for a few people."""
        sides = ((a, b, c), (b, a, c), (c, a, b))
        return any(self._few((part & rest) | ((part | rest) ^ whole), least) for whole, part, rest in sides)

    def _few(self, rows: BitMap, least: int) -> bool:
        """Whether there is somebody behind these rows, but fewer than `least` people."""
        if not 0 < len(rows) <= (least - 1) * self._people.most:
            return False
        return len(np.unique(self._people.owners[np.array(rows)])) < least

    def _enter(self, new: list[tuple[Release, RowSet]]) -> None:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            for release, rows in new:
                stored = (rows.digest, rows.sketch.tobytes(), rows.content)
                self._db.execute("INSERT OR IGNORE INTO row_sets VALUES (?, ?, ?)", stored)
                self._db.execute("INSERT INTO releases VALUES (NULL, ?, ?, ?, ?, ?, ?, ?)", _columns(release))
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")
        for release, rows in new:
            self._index.add(release, rows.sketch)

    def _read(self, digest: bytes) -> BitMap:
        (content,) = self._db.execute("SELECT content FROM row_sets WHERE digest = ?", (digest,)).fetchone()
        return BitMap.deserialize(content)


def _key(asked: Asked, asker: Asker) -> tuple[object, ...]:
    return asked.names, asked.variables, asked.group, asker


def _columns(release: Release) -> tuple[object, ...]:
    lists = (json.dumps(sorted(getattr(release, name))) for name in LISTS)
    return release.job, release.study, release.researcher, *lists, release.digest


def _release(row: sqlite3.Row) -> Release:
    lists = {name: frozenset(json.loads(row[name])) for name in LISTS}
    return Release(row["job"], row["study"], row["researcher"], **lists, digest=row["digest"])


def _check_cohorts(release: Release, same: list[Release]) -> None:
    for other in same:
        if 0 < len(other.cohorts ^ release.cohorts) <= 2:
            raise Refused(
                f"Job {other.job} asked about the same people, of one or two cohorts more or fewer: the difference "
                "would be those cohorts' own figures, which this cohort's policy forbids (release_per_cohort). Ask the "
                "cohorts of that job.",
                rule="release_per_cohort",
            )


def _differs(release: Release, others: list[Release], least: int) -> Refused:
    shared = release.shares(*others)
    jobs = " and ".join(sorted({"this very job" if r.job == release.job else f"job {r.job}" for r in others}))
    named = ", ".join(f"`{name}`" for name in sorted(shared))
    return Refused(
        f"What this says of {named} is about the people that {jobs} told of, but for fewer than {least}, whose values "
        "the difference would tell; this cohort's policy forbids that (min_difference). Ask about the same people "
        "(the same `where`; name in `complete` what some have no value for), or about a group that differs by more.",
        rule="min_difference",
    )
