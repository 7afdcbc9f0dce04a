"""Earlier releases, and which of them a new one may be close to: a few of thousands, found without reading any rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from node.row_sets import BINS, RowSet, distances

MOST_PAIRS = 20_000


@dataclass(frozen=True)
class Asker:
    """On whose behalf a node answers: the job, its study and researcher, and with which cohorts its answer is added up.

    `alone`: whether permit and policy let a cohort's own figures be told.
    """

    job: str
    study: str
    researcher: str
    cohorts: tuple[str, ...]
    alone: bool = False


@dataclass(frozen=True)
class Release:
    """Sums over a set of rows (its digest) about some variables, as a job was told them.

    `summed` are those of the variables whose values are added up; of the others people are counted.
    """

    job: str
    study: str
    researcher: str
    cohorts: frozenset[str]
    variables: frozenset[str]
    summed: frozenset[str]
    digest: bytes

    @classmethod
    def to(cls, asker: Asker, variables: frozenset[str], summed: frozenset[str], rows: RowSet) -> Release:
        """What `asker` is told of these rows."""
        told = asker.job, asker.study, asker.researcher, frozenset(asker.cohorts)
        return cls(*told, variables, summed, rows.digest)

    def shares(self, *others: Release) -> frozenset[str]:
        """The variables that it tells of as the others do.

        Within one job those that are added up: how few may be counted in a table, and be told from its margins, is the
        policy's to judge, which sees the tables of one job but not those of two.
        """
        same = all(other.job == self.job for other in others)
        return frozenset.intersection(*(r.summed if same else r.variables for r in (self, *others)))

    @property
    def told(self) -> tuple[object, ...]:
        """What it tells, and whom: two jobs may tell the same."""
        return self.study, self.researcher, self.cohorts, self.variables, self.summed, self.digest


class Index:
    """Every release that a ledger holds, by whom it was told, by variables, and by the sketch of its rows."""

    def __init__(self) -> None:
        self.releases: list[Release] = []
        self._told: set[tuple[object, ...]] = set()
        self._codes: dict[str, int] = {}
        self._sketches = _Growing((BINS,), np.int32)
        self._sizes = _Growing((), np.int64)
        self._whom = _Growing((2,), np.int32)
        self._about: dict[str, _Growing] = {}

    def has(self, release: Release) -> bool:
        """Whether the same was told before, by this or another job."""
        return release.told in self._told

    def add(self, release: Release, sketch: NDArray[np.int32]) -> None:
        """One release more."""
        number = len(self.releases)
        self.releases.append(release)
        self._told.add(release.told)
        self._sketches.put(number, sketch)
        self._sizes.put(number, sketch.sum())
        self._whom.put(number, self._whom_of(release))
        for name in release.variables:
            self._about.setdefault(name, _Growing((), np.bool_)).put(number, True)

    def comparable(self, release: Release) -> NDArray[np.intp]:
        """Where the releases are that were told to the same researcher or study, about a variable of `release`."""
        count = len(self.releases)
        about = np.zeros(count, dtype=np.bool_)
        for name in release.variables & self._about.keys():
            about |= self._about[name].first(count)
        study, researcher = self._whom_of(release)
        whom = self._whom.first(count)
        return np.flatnonzero(about & ((whom[:, 0] == study) | (whom[:, 1] == researcher)))

    def near(self, release: Release, rows: RowSet, known: NDArray[np.intp], most: int) -> list[Release]:
        """Those of the `known` about other rows, of which no more than `most` may be in just one of the two."""
        known = known[np.abs(self._sizes[known] - len(rows.rows)) <= most]
        known = known[distances(self._sketches[known], rows.sketch) <= most]
        return [other for i in known if release.shares(other := self.releases[i]) and other.digest != release.digest]

    def near_pairs(
        self, release: Release, rows: RowSet, known: NDArray[np.intp], most: int
    ) -> Iterator[tuple[Release, Release]]:
        """Pairs of the `known` that, with `release`, may be a whole and its two parts but for a few rows.

        Of more than `MOST_PAIRS` whose sizes would fit, that many are looked at.
        """
        known = known[np.argsort(self._sizes[known], kind="stable")]
        sizes, size = self._sizes[known], len(rows.rows)
        # (a and b make up the release) and (the release and b make up a).
        for wanted, sign in ((size - sizes, 1), (sizes - size, -1)):
            first = np.searchsorted(sizes, wanted - most, side="left")
            fitting = np.cumsum(np.searchsorted(sizes, wanted + most, side="right") - first)
            counts = np.diff(np.minimum(fitting, MOST_PAIRS), prepend=0)
            places = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
            a, b = known[np.repeat(np.arange(len(known)), counts)], known[np.repeat(first, counts) + places]
            left = self._sketches[a] + sign * self._sketches[b] - rows.sketch
            # A row of both parts counts twice.
            for i in np.flatnonzero(np.abs(left).sum(axis=1) <= 2 * most):
                one, other = self.releases[a[i]], self.releases[b[i]]
                if one.digest != other.digest and release.shares(one, other):
                    yield one, other

    def same_rows(self, release: Release, known: NDArray[np.intp]) -> list[Release]:
        """Those of the `known` about the very same rows."""
        return [r for i in known if (r := self.releases[i]).digest == release.digest]

    def _whom_of(self, release: Release) -> tuple[int, int]:
        """Study and researcher as numbers."""
        who = f"study {release.study}", f"researcher {release.researcher}"
        study, researcher = (self._codes.setdefault(name, len(self._codes)) for name in who)
        return study, researcher


class _Growing:
    """An array to which rows are added; those that were never put are zero."""

    def __init__(self, shape: tuple[int, ...], dtype: type[np.generic]) -> None:
        self._rows: NDArray[Any] = np.zeros((64, *shape), dtype=dtype)

    def put(self, number: int, row: Any) -> None:
        self._grow(number + 1)
        self._rows[number] = row

    def first(self, count: int) -> NDArray[Any]:
        self._grow(count)
        return self._rows[:count]

    def __getitem__(self, rows: NDArray[np.intp]) -> NDArray[Any]:
        return self._rows[rows]

    def _grow(self, count: int) -> None:
        if count > len(self._rows):
            more = np.zeros(
                (max(count, 2 * len(self._rows)) - len(self._rows), *self._rows.shape[1:]), self._rows.dtype
            )
            self._rows = np.concatenate([self._rows, more])
