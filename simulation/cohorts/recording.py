"""Values as they are written down: within the dictionary's range, in its steps."""

from __future__ import annotations

import numpy as np

from simulation.cohorts.columns import Flags, Floats
from simulation.cohorts.dictionaries import PEOPLE


def recorded(name: str, values: Floats) -> Floats:
    """Values of a numeric variable, cut off at its possible range and rounded to its precision."""
    variable = PEOPLE[name]
    per_unit = round(1 / (variable.lattice_step or 1.0))
    # Dividing a whole number gives the double nearest to the decimal fraction; multiplying by 0.1 would not.
    rounded: Floats = np.rint(np.clip(values, variable.minimum, variable.maximum) * per_unit) / per_unit
    return rounded


def chance(rng: np.random.Generator, log_odds: Floats) -> Flags:
    """Whether it happened, shape as log_odds."""
    happened: Flags = rng.random(len(log_odds)) < 1.0 / (1.0 + np.exp(-log_odds))
    return happened
