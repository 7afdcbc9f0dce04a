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


def broadcast_scaling(scaling: Scaling) -> dict[str, Array]:
    """A scaling as a question carries it."""
    outcome = np.array([scaling.outcome_centre, scaling.outcome_unit])
    return {"centre": scaling.centre, "per_unit": scaling.per_unit, "outcome": outcome}
