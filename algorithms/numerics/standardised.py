"""From standardised columns back to the columns as they are."""

from __future__ import annotations

import numpy as np

from algorithms.numerics.preparation import Plan
from algorithms.numerics.scoring import Scaling
from cohortium.quantities import Array


def back_transform(planned: Plan, *, intercept: bool) -> Array:
    """The matrix T that takes coefficients of standardised columns to those of the columns as they are.

    A standardised outcome is stretched back too; its centre is still to be added to the intercept.
    """
    kept, scaling = planned.kept, planned.scaling
    stretch = scaling.outcome_unit * scaling.per_unit[kept]
    transform = np.diag(stretch)
    if intercept:
        transform[0, 1:] = -scaling.centre[kept][1:] * stretch[1:]
    return transform


def spread_out(values: Array, planned: Plan, width: int) -> Array:
    """A vector or square matrix over the columns that take part, with zeros for the other ones of the design."""
    everywhere = np.zeros((width,) * values.ndim)
    everywhere[np.ix_(*[planned.kept] * values.ndim)] = values
    return everywhere


def scaling_of(centre: Array, per_unit: Array, outcome: Array) -> Scaling:
    """The scaling that `broadcast_scaling` sent."""
    return Scaling(centre, per_unit, float(outcome[0]), float(outcome[1]))


def broadcast_scaling(scaling: Scaling) -> dict[str, Array]:
    """A scaling as a question carries it."""
    outcome = np.array([scaling.outcome_centre, scaling.outcome_unit])
    return {"centre": scaling.centre, "per_unit": scaling.per_unit, "outcome": outcome}
