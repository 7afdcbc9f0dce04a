"""Adding up what the nodes answered. The only place where answers of different cohorts meet.

Masking belongs here: nodes will hand over masked integers and `add_up` will unmask their sum. Until then the sum is
taken over floats, in an order that depends on the values alone, so that the total does not depend on the order, or
the names, of the cohorts.

A cell of a `Table` that a node's policy withholds travels as 0 beside a mark; a total to which any node contributed
a mark is NaN, and stays NaN: what was withheld cannot be had by subtraction from this record.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import numpy as np

from cohortium.errors import NodeFailed
from cohortium.quantities import Array, CountKind, Sums, TableKind, TimeGridKind

S = TypeVar("S", bound=Sums)

WITHHELD = ".withheld"


def encode(sums: Sums) -> dict[str, Array]:
    """A record as the arrays that leave a node: NaN cells of its tables become 0 with a mark.

    Raises NodeFailed if any other value is not finite: such a value would spoil the total without a trace.
    """
    arrays: dict[str, Array] = {}
    for name, value in sums.arrays().items():
        if isinstance(sums.kinds[name], TableKind):
            withheld = np.isnan(value)
            arrays[name], arrays[name + WITHHELD] = np.where(withheld, 0.0, value), withheld.astype(np.float64)
        else:
            arrays[name] = value
        if not np.all(np.isfinite(arrays[name])):
            raise NodeFailed(f"`{name}` is not finite")
    return arrays


def decode(record: type[S], arrays: Mapping[str, Array]) -> S:
    """The record that `encode` wrote, or the total of several: cells with a mark are NaN."""
    fields = {name: a for name, a in arrays.items() if not name.endswith(WITHHELD)}
    for name, kind in record.kinds.items():
        if isinstance(kind, TableKind) and name + WITHHELD in arrays:
            fields[name] = np.where(arrays[name + WITHHELD] > 0, np.nan, arrays[name])
    return record.from_arrays(fields)


def add_up(record: type[S], answers: Mapping[str, Mapping[str, Array]]) -> S:
    """The total of the answers, by cohort, to one question.

    Raises NodeFailed, naming the cohort, when an answer does not have the layout of the others, is not finite, or
    counts people in fractions or below zero.
    """
    names = sorted(answers)
    shapes = {name: a.shape for name, a in answers[names[0]].items()}
    for cohort in names:
        _check(record, cohort, answers[cohort], shapes)
    total = {field: _sum(np.stack([answers[cohort][field] for cohort in names])) for field in shapes}
    return decode(record, total)


def _sum(addends: Array) -> Array:
    return np.asarray(np.add.reduce(np.sort(addends, axis=0), axis=0), dtype=np.float64)


def _check(record: type[Sums], cohort: str, arrays: Mapping[str, Array], shapes: Mapping[str, tuple[int, ...]]) -> None:
    if {name: a.shape for name, a in arrays.items()} != shapes:
        raise NodeFailed(f"{cohort} answered in another layout than the other cohorts", cohort=cohort)
    for name, array in arrays.items():
        if not np.all(np.isfinite(array)):
            raise NodeFailed(f"{cohort}: `{name}` is not finite", cohort=cohort)
        counts = isinstance(record.kinds.get(name), CountKind | TableKind | TimeGridKind)
        if counts and (np.any(array < 0) or np.any(array != np.rint(array))):
            raise NodeFailed(f"{cohort}: `{name}` counts people in fractions or below zero", cohort=cohort)
