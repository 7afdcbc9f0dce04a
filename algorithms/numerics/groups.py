"""Dividing people into the groups of a categorical variable, or not at all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from algorithms.numerics.expressions import value_codes, value_levels
from cohortium.data import Data
from cohortium.dictionary import Dictionary
from cohortium.errors import InvalidQuestion
from cohortium.quantities import Array

EVERYBODY = "all"
MAX_CELLS = 200_000


@dataclass(frozen=True)
class Groups:
    """Every combination of the levels of `variables`, the last varying fastest; without variables, everybody.

    `together`: whoever has a group is one group.
    """

    dictionary: Dictionary
    variables: tuple[str, ...] = ()
    together: bool = False

    @cached_property
    def levels(self) -> list[tuple[str, ...]]:
        """The levels of each variable. Raises InvalidQuestion for one that has none."""
        return [levels_of(self.dictionary, name) for name in self.variables]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The groups: the levels themselves, joined by a colon where several variables make a group."""
        names = [""]
        for levels in self.levels:
            names = [f"{name}:{level}" if name else level for name in names for level in levels]
        return tuple(names) if self.variables and not self.together else (EVERYBODY,)

    def __len__(self) -> int:
        return 1 if self.together else int(np.prod([len(levels) for levels in self.levels], dtype=np.int64))

    def collected(self, data: Data) -> bool:
        """Whether this cohort has every variable that makes the groups."""
        return all(name in data.columns for name in self.variables)

    def codes(self, block: Data) -> NDArray[np.intp]:
        """The position in `names` of every row, shape (rows,), for rows that have a value for every variable."""
        code = np.zeros(len(block), dtype=np.intp)
        if self.together:
            return code
        for name, levels in zip(self.variables, self.levels, strict=True):
            code = code * len(levels) + value_codes(block, name)
        return code

    def values(self, data: Data, name: str) -> Iterator[tuple[NDArray[np.intp], Array]]:
        """Group and value of everybody who has both, in blocks; nobody where the cohort did not collect them."""
        if name in data.columns and self.collected(data):
            for block in data.blocks([name, *self.variables]):
                yield self.codes(block), block[name]


def levels_of(dictionary: Dictionary, name: str) -> tuple[str, ...]:
    """The levels of a variable that divides people. Raises UnknownName or InvalidQuestion."""
    variable = dictionary[name]
    if levels := value_levels(variable):
        return levels
    raise InvalidQuestion(
        f"`{name}` is a {variable.type} and does not divide people into groups: give a category, a boolean, or an "
        "integer that the dictionary limits to 0 and 1."
    )


def refuse_repeats(names: Sequence[str | None]) -> None:
    """Raises InvalidQuestion for a variable that is given twice."""
    given = [name for name in names if name is not None]
    twice = sorted({name for name in given if given.count(name) > 1})
    if twice:
        raise InvalidQuestion(f"`{twice[0]}` is given twice; a variable has one part in this question.")


def tally(codes: NDArray[np.intp], size: int) -> Array:
    """People per code, shape (size,)."""
    return np.bincount(codes, minlength=size).astype(np.float64)


def whole(count: float) -> int | None:
    """A number of people; None if it is withheld."""
    return None if np.isnan(count) else round(float(count))
