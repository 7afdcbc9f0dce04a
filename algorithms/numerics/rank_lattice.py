"""Ranks from counts: the values that a variable can have, in order, and how many people have each.

On the lattice that the dictionary declares (its precision, its levels) the ranks are exact. Where a cohort's cells are
too small to leave it, the lattice is made coarser; people in one bin are then tied, which is told as a bound.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from algorithms.numerics.expressions import value_codes, value_levels
from cohortium.data import Data
from cohortium.dictionary import Dictionary
from cohortium.errors import CannotEstimate, InvalidQuestion
from cohortium.quantities import Array

MAX_CELLS = 1_000_000

Precision: Any = Field(
    {},
    description="Coarser (or undeclared) steps by variable, in its unit, such as {'bmi': 0.5}; values within a step "
    "are tied.",
)
Breaks: Any = Field(
    {},
    description="Instead of steps: cut points by variable, such as {'bmi': [20, 25, 30]}, for bins (-inf, 20], "
    "(20, 25] ...",
)


class RankLattice:
    """The possible values of one variable in order: levels, steps of its precision, or bins.

    `points` is their number; `merged` says whether a bin holds several values that the dictionary tells apart.
    Raises InvalidQuestion where the dictionary does not tell the possible values.
    """

    def __init__(self, name: str, dictionary: Dictionary, width: float | None, breaks: tuple[float, ...]) -> None:
        variable = dictionary[name]
        self.name = name
        self._levels = value_levels(variable)
        self._breaks = np.array(breaks)
        self._origin, self._width = 0.0, 1.0
        if variable.type == "identifier":
            raise InvalidQuestion(f"`{name}` is an identifier: its values have no order.")
        if self._levels:
            if width is not None or breaks:
                raise InvalidQuestion(f"`{name}` is a category: it takes no `precision` and no `breaks`.")
            self.points, self.merged = len(self._levels), False
        elif breaks:
            _check_breaks(name, breaks)
            self.points, self.merged = len(breaks) + 1, True
        else:
            self._set_steps(dictionary, width)
        if self.points > MAX_CELLS:
            raise InvalidQuestion(f"`{name}` has {self.points} possible values, too many to count. Give `precision`.")

    def _set_steps(self, dictionary: Dictionary, width: float | None) -> None:
        variable = dictionary[self.name]
        declared = variable.lattice_step
        step = width if width is not None else declared
        if step is None:
            raise InvalidQuestion(
                f"The dictionary declares no `precision` for `{self.name}`. Give one, such as "
                f"precision={{'{self.name}': 0.1}}, or `breaks`."
            )
        if step <= 0 or not math.isfinite(step):
            raise InvalidQuestion(f"The precision of `{self.name}` must be positive.")
        if variable.minimum is None or variable.maximum is None:
            raise InvalidQuestion(
                f"The dictionary declares no range (`minimum` and `maximum`) for `{self.name}`. Give `breaks`."
            )
        self._origin, self._width = variable.minimum, step
        self.points = int(self._steps(np.array([variable.maximum]))[0]) + 1
        self.merged = declared is None or step > declared * (1 + 1e-9)

    @property
    def has_values(self) -> bool:
        """Whether every point is one number."""
        return not (self._levels or self.merged)

    def value(self, point: float) -> float:
        """The number at a point, or between two, of an unmerged lattice of numbers."""
        return round(self._origin + point * self._width, 12)

    def codes(self, block: Data) -> NDArray[np.intp]:
        """The point of every row, shape (rows,)."""
        if self._levels:
            return value_codes(block, self.name)
        values = block[self.name]
        if len(self._breaks):
            return np.searchsorted(self._breaks, values, side="left").astype(np.intp)
        codes = self._steps(values)
        if len(codes) and (codes.min() < 0 or codes.max() >= self.points):
            raise InvalidQuestion(f"`{self.name}` has values outside the range that the dictionary declares.")
        return codes

    def _steps(self, values: Array) -> NDArray[np.intp]:
        # Rounded before it is cut: (0.3 - 0) / 0.1 is a hair less than 3.
        return np.floor(np.round((values - self._origin) / self._width, 6)).astype(np.intp)


def lattice_of(
    name: str,
    dictionary: Dictionary,
    precision: Mapping[str, float] | None = None,
    breaks: Mapping[str, tuple[float, ...]] | None = None,
) -> RankLattice:
    """The lattice of a variable with the steps or breaks that were asked for it, if any."""
    width, cuts = (precision or {}).get(name), (breaks or {}).get(name, ())
    if width is not None and cuts:
        raise InvalidQuestion(f"Give `precision` or `breaks` for `{name}`, not both.")
    return RankLattice(name, dictionary, width, tuple(cuts))


def check_names(ranked: set[str], precision: Mapping[str, float], breaks: Mapping[str, tuple[float, ...]]) -> None:
    """Raises InvalidQuestion for steps or breaks of a variable that is not ranked."""
    for name in [*precision, *breaks]:
        if name not in ranked:
            raise InvalidQuestion(f"`{name}` is not among the variables that are ranked.")


def _check_breaks(name: str, breaks: tuple[float, ...]) -> None:
    if not np.all(np.isfinite(breaks)) or np.any(np.diff(breaks) <= 0):
        raise InvalidQuestion(f"The breaks of `{name}` must be increasing numbers.")


def must_be_known(cells: Array, names: list[str]) -> None:
    """Raises CannotEstimate when cells are withheld. `cells` has shape (names, points)."""
    for name, row in zip(names, cells, strict=True):
        withheld = int(np.count_nonzero(np.isnan(row)))
        if withheld:
            raise CannotEstimate(
                f"Cohorts withhold how many people have some values of `{name}` ({withheld} cells), because it is few, "
                "so their ranks are not known. Ask for wider bins: `breaks` that leave enough people of every cohort "
                "in each, or a larger `precision`."
            )


def mid_ranks(counts: Array) -> Array:
    """The rank of the people at each point, ties sharing the mean of their ranks; along the last axis."""
    return np.asarray(np.cumsum(counts, axis=-1) - 0.5 * (counts - 1.0))


def tied(counts: Array) -> float:
    """Sum of t^3 - t over groups of ties as a share of n^3 - n: 0 without ties, 1 if all are tied."""
    n = float(counts.sum())
    return float(np.sum(counts**3 - counts)) / (n**3 - n) if n > 1 else 0.0


def quantile(counts: Array, share: float) -> float:
    """The point below which `share` of the people are: order statistics interpolated as in R's type 7."""
    at = (float(counts.sum()) - 1) * share
    cumulated = np.cumsum(counts)
    low, high = (int(np.searchsorted(cumulated, k, side="right")) for k in (math.floor(at), math.ceil(at)))
    return low + (at - math.floor(at)) * (high - low)
