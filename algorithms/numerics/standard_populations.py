"""Standard populations: how many people of each age the rates of a population are weighted by."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from cohortium.errors import InvalidQuestion
from cohortium.quantities import Array

StandardName = Literal["ESP2013", "ESP1976", "WHO2000", "none"]


@dataclass(frozen=True)
class StandardPopulation:
    """People by age: `people[i]` are `ages[i]` or older and younger than `ages[i + 1]`; the last group has no end."""

    name: str
    ages: tuple[float, ...]
    people: tuple[float, ...]
    total: float

    def __post_init__(self) -> None:
        assert len(self.ages) == len(self.people), self.name
        assert sum(self.people) == self.total, f"{self.name} does not add up to its published total"

    @property
    def bands(self) -> tuple[float, ...]:
        """Five-year bands: where each begins."""
        return tuple(age for age in self.ages if age % 5 == 0 and age <= _OLDEST[self.name])

    def weights(self, edges: Sequence[float]) -> Array:
        """People between one edge and the next, shape (bands,). Raises InvalidQuestion at an edge within a group."""
        within = [edge for edge in edges if math.isfinite(edge) and edge not in self.ages]
        if within:
            raise InvalidQuestion(
                f"The {self.name} standard has no boundary at age {within[0]:g}: begin and end `bands` where its "
                "groups do, give `standard_weights` of your own, or ask for standard='none'."
            )
        ages, people = np.array(self.ages), np.array(self.people)
        return np.array([people[(a <= ages) & (ages < b)].sum() for a, b in pairwise(edges)])


# The age at which the last of the bands begins that are used by default: published tables go on a little further.
_OLDEST = {"ESP2013": 90, "ESP1976": 85, "WHO2000": 85}

STANDARDS: dict[str, StandardPopulation] = {
    s.name: s
    for s in (
        # Eurostat (2013), Revision of the European Standard Population, table of the EU-27 plus EFTA.
        StandardPopulation(
            "ESP2013",
            (0, 1, *range(5, 100, 5)),
            (
                *(1000, 4000, 5500, 5500, 5500, 6000, 6000, 6500, 7000, 7000, 7000, 7000),
                *(6500, 6000, 5500, 5000, 4000, 2500, 1500, 800, 200),
            ),
            100_000,
        ),
        # Waterhouse et al. (1976), Cancer Incidence in Five Continents III.
        StandardPopulation(
            "ESP1976",
            tuple(range(0, 90, 5)),
            (8000, *([7000] * 10), 6000, 5000, 4000, 3000, 2000, 1000, 1000),
            100_000,
        ),
        # Ahmad et al. (2001), WHO GPE Discussion Paper 31, in thousandths of a percent: as published, it is rounded.
        StandardPopulation(
            "WHO2000",
            tuple(range(0, 105, 5)),
            (
                *(8860, 8690, 8600, 8470, 8220, 7930, 7610, 7150, 6590, 6040, 5370),
                *(4550, 3720, 2960, 2210, 1520, 910, 440, 150, 40, 5),
            ),
            100_035,
        ),
    )
}
