"""The people of each repetition: consecutive parts of one larger cohort per holder, so no block is made twice."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cohortium.errors import InvalidQuestion
from simulation import cohorts
from simulation.comparison.plan import Plan

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Sample:
    """One holder's people in one repetition: the rows as its node has them, and the complete ones as arrays."""

    table: pa.Table
    X: Array  # shape (complete rows, terms); no intercept
    y: Array


def samples(plan: Plan) -> Iterator[dict[str, Sample]]:
    """The holders' samples, one repetition after the other. Raises InvalidQuestion."""
    tables = {name: _table(plan, name) for name in plan.holders}
    for repetition in range(plan.seeds):
        start = repetition * plan.people
        yield {name: _sample(plan, name, repetition, table.slice(start, plan.people)) for name, table in tables.items()}


def _table(plan: Plan, holder: str) -> pa.Table:
    table = cohorts.people(holder, plan.people * plan.seeds, plan.seed)
    lacking = [name for name in plan.variables if name not in table.column_names]
    if lacking:
        raise InvalidQuestion(f"`{holder}` did not collect {', '.join(lacking)}. Compare others with `holders`.")
    return table.select(list(plan.variables)).combine_chunks()


def _sample(plan: Plan, holder: str, repetition: int, table: pa.Table) -> Sample:
    columns = [_column(table, term) for term in plan.truth.coefficients]
    X, y = np.column_stack(columns), _column(table, plan.outcome)
    if plan.heterogeneity:
        key = (repetition, zlib.crc32(holder.encode()))
        y = _with_own_effect(plan, X, y, np.random.default_rng(np.random.SeedSequence(plan.seed, spawn_key=key)))
        table = table.set_column(0, plan.outcome, _arrow(plan, y))
    complete = ~np.isnan(np.column_stack([X, y])).any(axis=1)
    return Sample(table, X[complete], y[complete])


def _with_own_effect(plan: Plan, X: Array, y: Array, rng: np.random.Generator) -> Array:
    """The outcome where one effect is this holder's own: moved for a mean, drawn anew for odds."""
    x = X[:, list(plan.truth.coefficients).index(plan.differing)]
    shift = rng.normal(0.0, plan.heterogeneity) * x
    if plan.family == "gaussian":
        variable = cohorts.PEOPLE[plan.outcome]
        moved: Array = np.clip(y + shift, variable.minimum, variable.maximum)
        return moved
    log_odds = plan.truth.intercept + X @ np.array(list(plan.truth.coefficients.values())) + shift
    drawn: Array = (rng.random(len(y)) < 1 / (1 + np.exp(-log_odds))).astype(np.float64)
    drawn[np.isnan(log_odds) | np.isnan(y)] = np.nan
    return drawn


def _arrow(plan: Plan, y: Array) -> pa.Array:
    values = pa.array(y, mask=np.isnan(y))
    return values.cast(pa.bool_()) if cohorts.PEOPLE[plan.outcome].type == "boolean" else values


def _column(table: pa.Table, term: str) -> Array:
    """A term's column, NaN where it is missing."""
    variable, _, level = term.rstrip("]").partition("[")
    values: Any = table[variable]
    if level:
        found = values.cast(pa.string()).to_pylist()
        return np.array([np.nan if v is None else float(v == level) for v in found])
    return np.asarray(values.cast(pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)
