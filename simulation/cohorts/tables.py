"""Synthetic people as Arrow tables: all at once, or in batches of any size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from cohortium.errors import InvalidQuestion
from simulation.cohorts.coding import NETWORK, to_arrow
from simulation.cohorts.dictionaries import PEOPLE, VISITS
from simulation.cohorts.holder import Coding, Holder
from simulation.cohorts.holders import find
from simulation.cohorts.incomplete import missing_at_visits, missing_values
from simulation.cohorts.making import blocks, stream
from simulation.cohorts.repeats import repeated_visits


@dataclass(frozen=True)
class Rows:
    """What a holder has of one block of people: baseline rows and visits."""

    people: pa.RecordBatch
    visits: pa.RecordBatch | None


def rows(holder: Holder, people: int, seed: int, coding: Coding = NETWORK, with_visits: bool = True) -> Iterator[Rows]:
    """Baseline rows, and visits unless told otherwise, block after block. Raises InvalidQuestion."""
    if people < 1 or seed < 0:
        raise InvalidQuestion("`people` is at least 1, and a `seed` is not negative.")
    for index, block in blocks(holder, people, seed):
        rng = stream(holder, seed, index, "missing")
        masks = missing_values(rng, block.columns, holder.missing)
        baseline = to_arrow(block.columns, masks, PEOPLE, holder, coding)
        repeated = None
        if with_visits:
            columns = repeated_visits(stream(holder, seed, index, "visits"), holder, block)
            at_visits = missing_at_visits(rng, columns, masks, holder.missing)
            repeated = to_arrow(columns, at_visits, VISITS, holder, coding)
        yield Rows(baseline, repeated)


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
