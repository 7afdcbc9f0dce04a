"""What a cohort holder is: whom it recruits and when, what it collects, and how it writes that down."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date

import numpy as np

from cohortium.dictionary import Labels
from simulation.cohorts.columns import Columns, Flags, Floats
from simulation.cohorts.families import Relatives
from simulation.cohorts.life import AGES
from simulation.cohorts.population import age_sex


@dataclass(frozen=True)
class Recruitment:
    """Who takes part: relative chances by age, sex, education and origin; and a disease that all must have."""

    youngest: int = 0  # years, included
    oldest: int = AGES - 1  # years, included
    peak: float | None = None  # age that is recruited best, with chances falling off as a normal curve of sd `width`
    width: float = 12.0
    women: float = 1.0  # chance relative to men
    education: tuple[float, float, float] = (1.0, 1.0, 1.0)  # low, middle, high
    origin: tuple[float, float, float] = (1.0, 1.0, 1.0)  # netherlands, europe, outside_europe
    only: Callable[[Columns], Flags] | None = None

    def age_sex(self) -> Floats:
        """Chance of each age and sex among the participants, unnormalised, shape (AGES, 2)."""
        ages = np.arange(AGES)[:, None]
        weights: Floats = age_sex() * np.array([self.women, 1.0]) * ((ages >= self.youngest) & (ages <= self.oldest))
        if self.peak is not None:
            weights = weights * np.exp(-0.5 * ((ages - self.peak) / self.width) ** 2)
        return weights


@dataclass(frozen=True)
class Missing:
    """Rates of missing values by kind: the whole part was skipped, and half as often each single value in it.

    Those with low education skip half as often again, so values are missing at random given education.
    """

    questionnaire: float = 0.0
    physical: float = 0.0
    blood: float = 0.0


@dataclass(frozen=True)
class Coding:
    """How a holder's own files are written, before they are made to follow the dictionary of the network."""

    name: str = "the network's"
    columns: Mapping[str, str] = field(default_factory=dict)  # variable -> column
    upper: bool = False  # columns that `columns` does not name are in capitals
    categories: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # variable -> codes, in order of the levels
    number: int | None = None  # what stands for a missing number
    text: str | None = None  # what stands for a missing category

    def column(self, variable: str) -> str:
        """What the holder calls a variable."""
        return self.columns.get(variable, variable.upper() if self.upper else variable)


ALONE = Relatives()


@dataclass(frozen=True)
class Holder:
    """A cohort holder; all are invented."""

    name: str
    title: Labels
    size: int  # people, in the network of half a million
    recruitment: Recruitment
    enrolled: tuple[date, date]  # first and last day of baseline visits
    followed_until: date  # when the registries were last consulted
    relatives: Relatives = ALONE
    lost: float = 0.005  # share who can no longer be followed, per year
    missing: Missing = Missing()
    absent: tuple[str, ...] = ()  # variables that were not collected
    samples: tuple[float, float, float] = (0.0, 0.0, 0.0)  # chance of DNA, serum and urine
    visit_every: float = 5.0  # years
    attendance: float = 0.75  # chance that somebody who can come to a repeated visit comes
    coding: Coding = Coding()
