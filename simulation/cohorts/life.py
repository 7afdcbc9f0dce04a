"""Life and death by Gompertz's law: a hazard that grows by a constant factor with every year of age.

Gompertz, B. (1825). On the nature of the function expressive of the law of human mortality. Philosophical
Transactions of the Royal Society 115:513-583.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import brentq
from scipy.special import exp1

from simulation.cohorts.columns import Floats
from simulation.cohorts.figures import LIFE_EXPECTANCY

AGES = 105  # single years of age 0 to 104 in populations and life tables
_GROWTH = 0.1  # per year of age: mortality doubles in seven years; shape of the population only, see true_effects.DEATH


def survivors() -> Floats:
    """Of one born, how many reach the middle of each year of age, shape (AGES, 2); female, male."""
    middle = np.arange(AGES)[:, None] + 0.5
    at_birth = np.array([_hazard_at_birth(LIFE_EXPECTANCY.values[sex]) for sex in ("female", "male")])
    survived: Floats = np.exp(-at_birth / _GROWTH * np.expm1(_GROWTH * middle))
    return survived


def _hazard_at_birth(years: float) -> float:
    """The hazard at age 0 (per year) that gives this life expectancy."""
    log_hazard = brentq(lambda a: gompertz_expectancy(np.exp(a), _GROWTH) - years, -16, -5, xtol=1e-12)
    return float(np.exp(log_hazard))


def gompertz_expectancy(at_birth: float, growth: float) -> float:
    """Life expectancy (years) under the hazard at_birth * exp(growth * age)."""
    ratio = at_birth / growth
    return float(np.exp(ratio) * exp1(ratio) / growth)


def life_expectancy(hazards: Floats) -> float:
    """Period life expectancy at birth (years) from hazards per year of age, from 0 on, constant within each.

    The last hazard holds for ever after.
    """
    reached = np.exp(-np.concatenate([[0.0], np.cumsum(hazards)]))
    lived = (reached[:-1] - reached[1:]) / hazards
    return float(lived.sum() + reached[-1] / hazards[-1])


def waiting_time(exponential: Floats, hazard: Floats, growth: float) -> Floats:
    """Years until the event, by a standard exponential each.

    hazard is per year, now, and grows by exp(growth) a year.
    """
    years: Floats = np.log1p(growth * exponential / hazard) / growth
    return years
