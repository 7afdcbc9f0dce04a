"""The first round of a Cox regression: who is used, and on what scale the covariates live."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from algorithms.numerics.columns import columns_of
from algorithms.numerics.cox_params import CoxParams
from algorithms.numerics.partial_likelihood import Scaling
from algorithms.numerics.preparation import Spread, must_vary
from algorithms.numerics.proportional_hazards import transformed
from algorithms.numerics.risk_sets import overlaps, risk_sets
from cohortium.data import Data
from cohortium.errors import CannotEstimate
from cohortium.evidence import Evidence, Shares
from cohortium.quantities import Array, Count, Flag, SumOver, Sums, Table


class CoxPreparation(Sums):
    """Rows, events and clusters that are used; sums per design column; the sum of g(time) over events.

    `events` is a count of people like `n`: the score is a sum over them, so a cohort with a few does not answer.
    """

    n: Count
    events: Count
    clusters: Count
    excluded: Table
    missing: Table
    no_follow_up: Table
    overlapping: Table
    columns: Annotated[Array, SumOver("n")]
    spreads: Annotated[Array, SumOver("n")]
    offset: Annotated[float, SumOver("n")]
    clock: Annotated[float, SumOver("events")]
    silent: Flag


def prepare(data: Data, params: CoxParams) -> CoxPreparation:
    """One cohort's preparation."""
    sets, design = risk_sets(data, params), params.design
    columns, offset, used = Spread(design.width), 0.0, 1.0 if sets.rows else 0.0
    for block in data.blocks(params.variables):
        columns.add(design.matrix(block))
        part = design.offset(block)
        offset += 0.0 if part is None else float(np.sum(part))
    own_clock = params.stratified and not params.needs_grid
    times, deaths = sets.time[sets.deaths > 0], sets.deaths[sets.deaths > 0]
    return CoxPreparation(
        n=sets.rows,
        events=sets.events,
        clusters=sets.clusters,
        excluded=np.array(float(len(data) - len(sets.event))),
        missing=np.array([float(np.count_nonzero(data.missing(name))) for name in params.variables]),
        no_follow_up=np.array(float(sets.no_follow_up)),
        overlapping=np.array(float(overlaps(data, params))),
        columns=used * columns.sum,
        spreads=used * columns.spread,
        offset=used * offset,
        clock=float(deaths @ transformed(times, params.time_transform, times, 1.0)) if own_clock else 0.0,
        silent=float(sets.rows > 0 and sets.events == 0),
        evidence=Evidence(
            weights=Shares.of(np.ones(sets.rows) if sets.weight is None else sets.weight),
            columns=columns_of(data, design, variables=params.variables, events=float(sets.events)),
        ),
    )


@dataclass(frozen=True)
class CoxPlan:
    """What follows: the scaling, and which columns take part (`kept`, indices)."""

    scaling: Scaling
    kept: NDArray[np.intp]
    dropped: tuple[str, ...]

    def everywhere(self, coefficients: Array) -> Array:
        """The coefficients of all columns, 0 for those left out."""
        found = np.zeros(len(self.scaling.centre))
        found[self.kept] = coefficients
        return found

    @property
    def broadcast(self) -> dict[str, Array | float]:
        """The scaling as it is sent to every cohort."""
        return {"centre": self.scaling.centre, "per_unit": self.scaling.per_unit, "level": self.scaling.level}


def plan(total: CoxPreparation, params: CoxParams) -> CoxPlan:
    """Scale the columns, and leave out those of levels that nobody has. Raises CannotEstimate."""
    if not total.n:
        raise CannotEstimate("No cohort has anybody with follow-up and a value for every variable of the formula.")
    if not total.events:
        raise CannotEstimate("Nobody has the event, so no hazard can be compared.")
    design, n = params.design, total.n + max(np.nan_to_num(float(total.no_follow_up)), 0.0)
    mean, spread = total.columns / n, total.spreads / n
    nobody = np.array([c.is_indicator for c in design.layout], dtype=bool) & (mean == 0) & (spread == 0)
    if params.stratified:
        must_vary(design, (spread == 0) & ~nobody)
    unit = np.where(spread > 0, spread, np.where(mean != 0, np.abs(mean), 1.0))
    scaling = Scaling(mean, np.where(nobody, 0.0, 1.0 / unit), total.offset / n)
    dropped = tuple(name for name, out in zip(design.columns, nobody, strict=True) if out)
    return CoxPlan(scaling, np.flatnonzero(~nobody), dropped)
