"""Who there is: age and sex, education and origin, of the Dutch population or of those whom a cohort recruits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from simulation.cohorts.columns import Floats
from simulation.cohorts.figures import POPULATION, band
from simulation.cohorts.life import AGES, survivors

Codes = NDArray[np.int8]

_BOYS_PER_GIRL = 1.05  # at birth; assumed
UNKNOWN = np.int8(-1)  # a category that does not apply

# Share of low and of high education at these ages (years), straight lines between; the rest is middle. The shape is
# assumed (education rose by birth year), its level between 15 and 75 follows figures.EDUCATION.
_SCHOOLED = (15, 18, 25, 35, 50, 65, 75, 90)
_LOW = (0.95, 0.44, 0.16, 0.15, 0.20, 0.335, 0.45, 0.62)
_HIGH = (0.0, 0.02, 0.38, 0.46, 0.365, 0.27, 0.19, 0.12)
# netherlands, europe, outside_europe; assumed
_ORIGINS = (0.76, 0.10, 0.14)


def age_sex() -> Floats:
    """Share of the population per single year of age and sex, shape (AGES, 2); female, male.

    Totals by age group are figures.POPULATION. Within a group ages are as among the survivors of equal birth years, and
    so is the balance of the sexes.
    """
    weights = survivors() * np.array([1.0, _BOYS_PER_GIRL])
    for group, people in POPULATION.values.items():
        low, high = (int(years) for years in band(group))
        weights[low:high] *= people / weights[low:high].sum()
    shares: Floats = weights / weights.sum()
    return shares


def draw_age_sex(rng: np.random.Generator, people: int, weights: Floats) -> tuple[Floats, Codes]:
    """Ages in years to one decimal and sexes (0 female, 1 male), shape (people,), by weights of shape (AGES, 2)."""
    cumulative = np.cumsum(weights.ravel())
    cell = np.searchsorted(cumulative, rng.random(people) * cumulative[-1], side="right")
    years, sex = np.divmod(np.minimum(cell, 2 * AGES - 1), 2)
    return (years * 10 + rng.integers(0, 10, people)) / 10, sex.astype(np.int8)


def draw_education(rng: np.random.Generator, age: Floats, recruited: Sequence[float]) -> Codes:
    """Education as code, shape (people,); unknown under 15. `recruited` weighs low, middle and high."""
    low, high = np.interp(age, _SCHOOLED, _LOW), np.interp(age, _SCHOOLED, _HIGH)
    low, middle, high = low * recruited[0], (1 - low - high) * recruited[1], high * recruited[2]
    u = rng.random(len(age)) * (low + middle + high)
    level = (u >= low).astype(np.int8) + (u >= low + middle).astype(np.int8)
    codes: Codes = np.where(age < 15, UNKNOWN, level)
    return codes


def draw_origin(rng: np.random.Generator, people: int, recruited: Sequence[float]) -> Codes:
    """Origin as code, shape (people,); `recruited` weighs the three."""
    cumulative = np.cumsum(np.multiply(_ORIGINS, recruited))
    codes: Codes = np.searchsorted(cumulative, rng.random(people) * cumulative[-1], side="right").astype(np.int8)
    return codes
