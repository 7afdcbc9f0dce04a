"""What it is to be a true effect: coefficients by the names of terms, and the predictor that they make of people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from simulation.cohorts.columns import Columns, Flags, Floats
from simulation.cohorts.dictionaries import LEVELS


@dataclass(frozen=True)
class Effects:
    """How one outcome was drawn.

    gaussian: mean; binomial: log odds; hazard: log of the yearly rate, in which `age` is the age of the moment, so the
    baseline hazard grows by exp(coefficient of age) a year (Gompertz, 1825) and a Cox model with age at baseline has
    exactly these coefficients.
    """

    outcome: str
    formula: str
    family: Literal["gaussian", "binomial", "hazard"]
    among: str
    intercept: float
    coefficients: Mapping[str, float]
    # Standard deviations of what the coefficients leave: `genes` and `household` are shared in families (Effects of
    # `family_correlation`), `person` lasts from visit to visit, `visit` does not.
    spread: Mapping[str, float] = field(default_factory=dict)
    # Log odds that depend on age by straight lines between these points, per sex; added to the intercept.
    profile: Mapping[str, Mapping[float, float]] = field(default_factory=dict)
    per_year: float = 0.0  # change of the mean per year since the baseline visit, within a person

    @property
    def residual_sd(self) -> float:
        """Standard deviation at one visit of what the coefficients do not explain."""
        return float(np.sqrt(sum(sd**2 for sd in self.spread.values())))

    def family_correlation(self, shared_genes: float) -> float:
        """Correlation of what the coefficients do not explain between two members of one family.

        shared_genes: 1 for identical twins, 0.5 for other twins and for parent and child, 0 for partners.
        """
        common = shared_genes * self.spread["genes"] ** 2 + self.spread["household"] ** 2
        return common / self.residual_sd**2

    def predictor(self, people: Columns) -> Floats:
        """Intercept and coefficients times values, shape (people,)."""
        total = np.full(len(people["age"]), self.intercept)
        for name, coefficient in self.coefficients.items():
            total += coefficient * term(people, name)
        if self.profile:
            total += profile(self.profile, people)
        return total


def term(people: Columns, name: str) -> NDArray[Any]:
    """The column of a term: `age`, `age^2`, `sex[male]`."""
    variable, _, level = name.rstrip("]").partition("[")
    if level:
        has: Flags = people[variable] == LEVELS[variable].index(level)
        return has
    base, _, power = variable.partition("^")
    values: NDArray[Any] = people[base] ** float(power) if power else people[base]
    return values


def profile(points: Mapping[str, Mapping[float, float]], people: Columns) -> Floats:
    """The value at each person's age on the straight lines of their sex, shape (people,)."""
    lines = {sex: np.interp(people["age"], [*at], [*at.values()]) for sex, at in points.items()}
    return np.where(term(people, "sex[male]"), lines["male"], lines["female"])
