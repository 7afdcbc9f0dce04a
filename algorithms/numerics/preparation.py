"""The first round of every regression: who is complete, and on what scale the columns and the outcome live.

Only sums that grow with the unit itself leave a cohort, no squares: whatever the unit, they fit the fixed-point range
of a secure sum. The spread of a column within the cohorts is enough for scaling; nothing reported depends on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from algorithms.numerics.columns import columns_of
from algorithms.numerics.design import Design
from algorithms.numerics.likelihood import Family, weighted
from algorithms.numerics.scoring import Scaling
from cohortium.data import Data
from cohortium.errors import CannotEstimate
from cohortium.evidence import Concentration, Evidence
from cohortium.quantities import Array, Count, Flag, SumOver, Sums, Table


class Preparation(Sums):
    """Sums over the complete rows of the formula's variables, per design column and of the outcome.

    `weight` and `weighted_outcome`, and all from `exposure` on, weigh the rows; without weights they are people.
    """

    n: Count
    excluded: Table
    missing: Table
    columns: Annotated[Array, SumOver("n")]
    spreads: Annotated[Array, SumOver("n")]
    outcome: Annotated[float, SumOver("n")]
    outcome_spread: Annotated[float, SumOver("n")]
    weight: Annotated[float, SumOver("n")]
    weighted_outcome: Annotated[float, SumOver("n")]
    exposure: Annotated[float, SumOver("n")]
    offset: Annotated[float, SumOver("n")]
    saturated: Annotated[float, SumOver("n")]
    constant: Annotated[float, SumOver("n")]
    contributing: Flag
    silent: Flag


def prepare(data: Data, design: Design, family: Family, *, profiled: bool) -> Preparation:
    """One cohort's preparation. `profiled`: it keeps an intercept of its own, and adds nothing if that explains all."""
    columns, outcome, concentration = Spread(design.width), Spread(1), Concentration()
    standing = Concentration((2 * design.has_offset,))
    weights = outcomes = exposure = offsets = saturated = constant = 0.0
    for block in data.blocks(design.variables):
        y = design.response(block)
        columns.add(design.matrix(block))
        outcome.add(y[:, None])
        weight, offset = design.weight(block), design.offset(block)
        concentration.add(np.ones_like(y) if weight is None else weight)
        if offset is not None:
            own = np.column_stack([_exposures(offset), offset])
            standing.add(own if weight is None else own * weight[:, None])
        # Weights are added up as the weighted outcomes are, so that if everybody has the event the two are the same.
        weights, outcomes = weights + weighted(np.ones_like(y), weight), outcomes + weighted(y, weight)
        offsets += 0.0 if offset is None else weighted(offset, weight)
        exposure += _exposure(block, offset, weight) if family.link == "log" else 0.0
        sums = family.constants(y, np.ones_like(y) if weight is None else weight)
        saturated, constant = saturated + sums[0], constant + sums[1]
    silent = profiled and columns.n > 0 and not family.is_informative(weights, outcomes)
    used = 0.0 if silent else 1.0
    return Preparation(
        n=used * columns.n,
        excluded=np.array(float(len(data) - columns.n)),
        missing=np.array([float(np.count_nonzero(data.missing(name))) for name in design.variables]),
        columns=used * columns.sum,
        spreads=used * columns.spread,
        outcome=used * outcome.sum[0],
        outcome_spread=used * outcome.spread[0],
        weight=used * weights,
        weighted_outcome=used * outcomes,
        exposure=used * exposure,
        offset=used * offsets,
        saturated=used * saturated,
        constant=used * constant,
        contributing=float(columns.n > 0 and not silent),
        silent=float(silent),
        evidence=Evidence(
            weights=concentration.shares,
            magnitudes=standing.shares,
            names=("exp(offset)", "offset") if design.has_offset else (),
            columns=columns_of(data, design),
        ),
    )


class Spread:
    """Sum and n times the standard deviation of columns, gathered block by block.

    Values are taken relative to the first row, so a constant column has a spread of exactly 0.
    """

    def __init__(self, width: int) -> None:
        self.n = 0
        self._origin = self._deviations = self._squares = np.zeros(width)

    def add(self, x: Array) -> None:
        """Add a block of shape (rows, width)."""
        if self.n == 0:
            self._origin = x[0].copy()
        shifted = x - self._origin
        self._deviations = self._deviations + shifted.sum(axis=0)
        self._squares = self._squares + np.einsum("ij,ij->j", shifted, shifted)
        self.n += len(x)

    @property
    def sum(self) -> Array:
        """Sum of the values, shape (width,)."""
        return self.n * self._origin + self._deviations

    @property
    def spread(self) -> Array:
        """Number of rows times the standard deviation about this cohort's mean, shape (width,)."""
        n = max(self.n, 1)
        variance = (self._squares - self._deviations**2 / n) / n
        return n * np.sqrt(np.maximum(variance, 0.0))


@dataclass(frozen=True)
class Plan:
    """What follows from the preparation: the scaling, and which columns take part (`kept`, indices)."""

    scaling: Scaling
    kept: NDArray[np.intp]
    dropped: tuple[str, ...]


def plan(total: Preparation, design: Design, *, profiled: bool, centred_outcome: bool) -> Plan:
    """Scale columns and outcome, and leave out columns of levels that nobody has.

    With `profiled` intercepts a column must vary within some cohort. Raises CannotEstimate naming those that do not.
    """
    n = max(total.n, 1.0)
    mean, spread = total.columns / n, total.spreads / n
    nobody = np.array([c.is_indicator for c in design.layout], dtype=bool) & (mean == 0) & (spread == 0)
    has_intercept = design.formula.intercept and not profiled
    if profiled:
        must_vary(design, (spread == 0) & ~nobody)
    # Without an intercept to take it up, a column cannot be moved, only stretched.
    centre = mean if has_intercept else np.zeros_like(mean)
    unit = spread if design.formula.intercept else spread + np.abs(mean)
    unit = np.where(unit > 0, unit, np.where(mean != 0, np.abs(mean), 1.0))
    if has_intercept:
        centre[0], unit[0] = 0.0, 1.0
    scaling = Scaling(
        centre,
        np.where(nobody, 0.0, 1.0 / unit),
        *_outcome_scale(total, design, centred=centred_outcome),
        weight_unit=(total.weight / total.n if design.weights else 0.0) or 1.0,
    )
    dropped = tuple(name for name, out in zip(design.columns, nobody, strict=True) if out)
    return Plan(scaling, np.flatnonzero(~nobody), dropped)


def _outcome_scale(total: Preparation, design: Design, *, centred: bool) -> tuple[float, float]:
    if not centred:
        return 0.0, 1.0
    n = max(total.n, 1.0)
    mean = total.outcome / n
    return (mean if design.formula.intercept else 0.0), total.outcome_spread / n or abs(mean) or 1.0


def must_vary(design: Design, constant: Array) -> None:
    """Raises CannotEstimate naming the columns that are `constant` within every cohort, if there are any."""
    names = [f"`{name}`" for name, out in zip(design.columns, constant, strict=True) if out]
    if names:
        raise CannotEstimate(
            f"{', '.join(names)} does not vary within any cohort, only between cohorts if at all, so "
            "cohort_effect='stratified' cannot tell its effect from the differences between cohorts. Leave it out, or "
            "ask for cohort_effect='common'."
        )


def _exposure(block: Data, offset: Array | None, weight: Array | None) -> float:
    """Sum of exp(offset), as person-time; an infinite one does not leave the node."""
    return weighted(np.ones(len(block)) if offset is None else _exposures(offset), weight)


def _exposures(offset: Array) -> Array:
    with np.errstate(over="ignore"):
        return np.asarray(np.exp(offset))
