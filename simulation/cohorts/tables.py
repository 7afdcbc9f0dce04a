"""Synthetic people as Arrow tables: all at once, or in batches of any size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cohortium.errors import InvalidQuestion
from simulation.cohorts.coding import NETWORK, to_arrow
from simulation.cohorts.dictionaries import PEOPLE, VISITS
from simulation.cohorts.holder import Coding, Holder
from simulation.cohorts.holders import find
from simulation.cohorts.incomplete import missing_at_visits, missing_values
from simulation.cohorts.making import BLOCK, block, stream
from simulation.cohorts.repeats import repeated_visits


@dataclass(frozen=True)
class Rows:
    """What a holder has of one block of people: baseline rows and visits."""

    people: pa.RecordBatch
    visits: pa.RecordBatch | None
    ends: NDArray[np.int64]  # how many visits there are up to and including each person's

    def first(self, people: int) -> Rows:
        """The rows of the first `people`."""
        if people >= self.people.num_rows:
            return self
        visits = None if self.visits is None else self.visits.slice(0, int(self.ends[people - 1]))
        return Rows(self.people.slice(0, people), visits, self.ends[:people])


def rows(holder: Holder, people: int, seed: int, coding: Coding = NETWORK, with_visits: bool = True) -> Iterator[Rows]:
    """Baseline rows, and visits unless told otherwise, block after block. Raises InvalidQuestion."""
    if people < 1 or seed < 0:
        raise InvalidQuestion("`people` is at least 1, and a `seed` is not negative.")
    for index, start in enumerate(range(0, people, BLOCK)):
        yield _rows(holder, seed, index, coding, with_visits).first(people - start)


def _rows(holder: Holder, seed: int, index: int, coding: Coding, with_visits: bool) -> Rows:
    """A whole block: the random numbers of a part of one would not be those of the whole."""
    made = block(holder, seed, index)
    rng = stream(holder, seed, index, "missing")
    masks = missing_values(rng, made.columns, holder.missing)
    baseline = to_arrow(made.columns, masks, PEOPLE, holder, coding)
    if not with_visits:
        return Rows(baseline, None, np.empty(0, np.int64))
    visits = repeated_visits(stream(holder, seed, index, "visits"), holder, made)
    at_visits = missing_at_visits(rng, visits, masks, holder.missing)
    ends = np.append(np.flatnonzero(visits["visit"] == 1)[1:], len(visits["visit"]))
    return Rows(baseline, to_arrow(visits, at_visits, VISITS, holder, coding), ends)


def people(holder: str | Holder, people: int, seed: int, coding: Coding = NETWORK) -> pa.Table:
    """The baseline table of a holder's first `people`, of the eleven or `netherlands`; variables are those of PEOPLE.

    Raises UnknownName, InvalidQuestion.
    """
    parts = rows(_holder(holder), people, seed, coding, with_visits=False)
    return pa.Table.from_batches([part.people for part in parts])


def visits(holder: str | Holder, people: int, seed: int, coding: Coding = NETWORK) -> pa.Table:
    """The repeated visits of the same people, a row per visit; variables are those of VISITS."""
    parts = rows(_holder(holder), people, seed, coding)
    return pa.Table.from_batches([part.visits for part in parts])


def batches(holder: str | Holder, people: int, seed: int, size: int) -> Iterator[pa.RecordBatch]:
    """The baseline rows in batches of `size`, without ever holding more than that and a block."""
    waiting: list[pa.RecordBatch] = []
    for part in rows(_holder(holder), people, seed, with_visits=False):
        waiting.append(part.people)
        ready = pa.concat_batches(waiting)
        while ready.num_rows >= size:
            yield ready.slice(0, size)
            ready = ready.slice(size)
        waiting = [ready]
    if waiting and waiting[0].num_rows:
        yield waiting[0]


def _holder(holder: str | Holder) -> Holder:
    return find(holder) if isinstance(holder, str) else holder
