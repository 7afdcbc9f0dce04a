"""The values that a number can take, as the dictionary declares them: the same at every cohort."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Self

import numpy as np

from cohortium.dictionary import Dictionary, Variable
from cohortium.errors import InvalidQuestion
from cohortium.quantities import Array

# What five rounds of 64 sections can search.
MAX_POINTS = 64**5 - 1
_WANTED = ("minimum", "maximum", "precision")


@dataclass(frozen=True)
class Lattice:
    """The multiples of `step` from `first` times it on, numbered from 0 to `points`."""

    name: str
    step: float
    first: int
    points: int

    @classmethod
    def of(cls, dictionary: Dictionary, name: str, given: Mapping[str, float | None] | None = None) -> Self:
        """The lattice of a variable; `given` fills in what the dictionary does not declare.

        Raises InvalidQuestion, saying what to declare or give.
        """
        variable = dictionary[name]
        if not variable.is_numeric or variable.type == "boolean":
            raise InvalidQuestion(f"`{name}` is a {variable.type}: its values have no order statistics.")
        found = {**(given or {}), **declared(variable)}
        lacking = [part for part in _WANTED if found.get(part) is None]
        if lacking:
            words = ", ".join(f"`{part}`" for part in lacking)
            remedy = f", or give {words} with this question" if given is not None else ""
            raise InvalidQuestion(
                f"The dictionary declares no {words} for `{name}`, so its values are not numbered. Declare "
                f"{'it' if len(lacking) == 1 else 'them'} there{remedy}: which values are possible must "
                "be the same at every cohort."
            )
        low, high, step = (float(found[part] or 0.0) for part in _WANTED)
        if low > high:
            raise InvalidQuestion(f"The `minimum` of `{name}` is larger than its `maximum`.")
        first, last = math.floor(round(low / step, 6)), math.ceil(round(high / step, 6))
        if last - first > MAX_POINTS:
            raise InvalidQuestion(
                f"`{name}` has more than {MAX_POINTS:.0e} possible values. Give a coarser `precision` or a narrower "
                "range."
            )
        return cls(name, step, first, last - first)

    def codes(self, values: Array) -> Array:
        """Values as numbers of lattice points, rounded to the nearest; what lies beyond an end counts as that end."""
        return np.asarray(np.clip(np.rint(values / self.step) - self.first, 0, self.points))

    def value(self, code: float) -> float:
        """The value at a lattice point: the double nearest to it, 24.3 and not 243 times 0.1."""
        return float(Fraction(repr(self.step)) * (self.first + round(code)))


def declared(variable: Variable) -> dict[str, float]:
    """Range and precision as far as the dictionary declares them."""
    found = {"minimum": variable.minimum, "maximum": variable.maximum, "precision": variable.lattice_step}
    return {part: value for part, value in found.items() if value is not None}
