"""People divided into groups by the factors of a formula: the same groups, in the same order, at every cohort."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from algorithms.numerics.design import compile_design
from algorithms.numerics.expressions import Expression, levels_of, value_codes, value_levels
from cohortium.data import Data
from cohortium.dictionary import Dictionary
from cohortium.errors import FormulaError
from cohortium.formula import Cut, Factor, Formula, Name, Surv, names_in
from cohortium.quantities import Array

Codes = NDArray[np.intp]


class Grouping:
    """Every combination of the levels of `factors`, the last factor varying fastest; of no factor: everybody.

    Raises FormulaError at a factor that is a number.
    """

    def __init__(self, factors: Sequence[Factor], formula: Formula, dictionary: Dictionary) -> None:
        self.factors = tuple(factors)
        self.levels = [_levels(factor, formula, dictionary) for factor in factors]
        self.names = [":".join(choice) for choice in itertools.product(*self.levels)]
        self._codes = [_coder(factor, formula, dictionary) for factor in factors]

    def codes(self, block: Data) -> Codes:
        """The position in `names` of every row, shape (rows,)."""
        found = np.zeros(len(block), dtype=np.intp)
        for levels, codes in zip(self.levels, self._codes, strict=True):
            found = found * len(levels) + codes(block)
        return found


@dataclass(frozen=True)
class Comparison:
    """A number to compare between `groups`. `variables` are those that a row must have to be used.

    `measure` gives the values of a block and the group that each belongs to, two arrays of equal length; a person may
    bring a value to several groups.
    """

    variables: tuple[str, ...]
    groups: tuple[str, ...]
    measure: Callable[[Data], tuple[Array, Codes]]


def comparison(formula: Formula, grouping: Grouping, dictionary: Dictionary) -> Comparison:
    """The left-hand side of `formula` between the groups. Raises FormulaError if it has no mean of its own."""
    check_mean(formula, dictionary)
    response = compile_design(Formula(f"{formula.response} ~ 1"), dictionary).response
    variables = tuple(name.name for name in formula.names)
    names = tuple(grouping.names) if grouping.factors else (str(formula.response),)
    return Comparison(variables, names, lambda block: (response(block), grouping.codes(block)))


def factors_of(formula: Formula) -> tuple[Factor, ...]:
    """What the terms of a formula are made of, in the order of the text."""
    return tuple(dict.fromkeys(itertools.chain.from_iterable(term.factors for term in formula.terms)))


def check_mean(formula: Formula, dictionary: Dictionary) -> None:
    """Raises FormulaError where the left-hand side is not a number with a mean that may leave a cohort."""
    response = formula.response
    if response is None:
        raise FormulaError("There is no outcome before the `~`.", formula.text, 0)
    if isinstance(response, Surv):
        raise formula.error("Surv() is for survival analyses; give a number.", response.time)
    for name in names_in(response):
        variable = dictionary[name.name]
        if variable.is_binary:
            raise formula.error(
                f"`{name}` has two values only, so its mean is a proportion. Compare proportions with `crosstab`, or "
                "with `glm` and family='binomial'.",
                name,
            )
        if not variable.is_numeric:
            raise formula.error(f"`{name}` is of type {variable.type}, where a number is needed.", name)


def _levels(factor: Factor, formula: Formula, dictionary: Dictionary) -> tuple[str, ...]:
    plain = isinstance(factor, Name)
    found = value_levels(dictionary[str(factor)]) if plain else levels_of(factor, dictionary)
    if not found:
        raise formula.error(
            f"`{factor}` does not divide people into groups: it is no category. Use cut({factor}, [..]).", factor
        )
    return found


def _coder(factor: Factor, formula: Formula, dictionary: Dictionary) -> Callable[[Data], Codes]:
    if isinstance(factor, Cut):
        of = Expression(factor, formula, dictionary).of
        return lambda block: of(block).astype(np.intp)
    return partial(_named_codes, str(factor))


def _named_codes(name: str, block: Data) -> Codes:
    return value_codes(block, name)
