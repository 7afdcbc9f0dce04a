"""Evaluating the factors of a formula over a block of rows."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Self

import numpy as np
from numpy.typing import NDArray

from cohortium.data import Data
from cohortium.dictionary import Dictionary, Variable
from cohortium.fixed_point import LARGEST
from cohortium.formula import Call, Cut, Factor, Formula, Name, Numeric, Power, Spline, names_in
from cohortium.quantities import Array

_NEXT_TO_ZERO = 1e-150
_FUNCTIONS: dict[str, Callable[[Array], Array]] = {"log": np.log, "sqrt": np.sqrt, "exp": np.exp}


class Expression:
    """A factor whose types have been checked; `of(block)` gives its values.

    `knots` are those of a spline that only says how many it has.
    Numbers: float64 of shape (rows,). Categories and `cut`: codes of shape (rows,). Splines: shape (knots - 1, rows).
    """

    def __init__(
        self, factor: Factor, formula: Formula, dictionary: Dictionary, knots: tuple[float, ...] | None = None
    ) -> None:
        if isinstance(factor, Spline) and not factor.knots and knots is not None:
            self.of: Callable[[Data], Array] = _compile(replace(factor, knots=knots), formula, dictionary)
        else:
            self.of = _compile(factor, formula, dictionary)

    @classmethod
    def number(cls, part: Numeric, formula: Formula, dictionary: Dictionary) -> Self:
        """An expression that must be a number, as an offset or an outcome."""
        _check_type(part, formula, dictionary)
        return cls(part, formula, dictionary)


def levels_of(factor: Factor, dictionary: Dictionary) -> tuple[str, ...]:
    """The levels of a categorical factor in order, the reference first; none for a number."""
    if isinstance(factor, Cut):
        bounds = ["-inf", *(f"{b:g}" for b in factor.breaks), "inf"]
        return tuple(f"({low},{high}{')' if high == 'inf' else ']'}" for low, high in itertools.pairwise(bounds))
    return dictionary[factor.name].levels if isinstance(factor, Name) else ()


def value_levels(variable: Variable) -> tuple[str, ...]:
    """The values of a variable that are counted one by one, categories or the two of a yes/no; none for a number."""
    if variable.type == "category":
        return variable.levels
    return (("no", "yes") if variable.type == "boolean" else ("0", "1")) if variable.is_binary else ()


def value_codes(data: Data, name: str) -> NDArray[np.intp]:
    """The values of such a variable as positions in `value_levels`, shape (rows,), for rows that have a value."""
    values = data[name] if data.dictionary[name].is_numeric else data.codes(name)
    return values.astype(np.intp)


def _compile(factor: Factor, formula: Formula, dictionary: Dictionary) -> Callable[[Data], Array]:
    match factor:
        case Name() if dictionary[factor.name].type == "category":
            return partial(_codes, factor.name)
        case Cut():
            return partial(_cut, _number(factor.argument, formula, dictionary), np.array(factor.breaks))
        case Spline() if not factor.knots:
            hint = f"rcs({factor.argument}, [..])"
            raise formula.error(
                f"Give the knots of this spline as a list of {factor.count} values, `{hint}`: they must be the same at "
                "every cohort.",
                factor,
            )
        case Spline():
            return partial(_spline, _number(factor.argument, formula, dictionary), np.array(factor.knots))
        case _:
            return _number(factor, formula, dictionary)


def _number(part: Numeric, formula: Formula, dictionary: Dictionary) -> Callable[[Data], Array]:
    _check_type(part, formula, dictionary)
    if isinstance(part, Name):
        return partial(_values, part.name)
    raw = _function(part, formula, dictionary)
    _refuse_overflow(part, raw, formula, dictionary)

    def checked(block: Data) -> Array:
        with np.errstate(all="ignore"):
            found = raw(block)
        if not np.isfinite(found).all():
            raise formula.error(
                f"`{part}` is not a finite number for every row (as the logarithm of zero). Use another "
                "transformation, or a variable that excludes such values.",
                part,
            )
        return found

    return checked


def _function(part: Call | Power, formula: Formula, dictionary: Dictionary) -> Callable[[Data], Array]:
    if isinstance(part, Call):
        inner, function = _number(part.argument, formula, dictionary), _FUNCTIONS[part.function]
        return lambda block: function(inner(block))
    base, exponent = _number(part.base, formula, dictionary), part.exponent
    return lambda block: np.power(base(block), exponent)


def _refuse_overflow(
    part: Call | Power, raw: Callable[[Data], Array], formula: Formula, dictionary: Dictionary
) -> None:
    """Raises FormulaError if a possible value, as the dictionary has it, would be infinite.

    Judged before there are any data: an error that depended on them would tell where the largest value lies, since a
    power could be chosen that only that one overflows.
    """
    name = next(names_in(part)).name
    variable = dictionary[name]
    low = -LARGEST if variable.minimum is None else variable.minimum
    high = LARGEST if variable.maximum is None else variable.maximum
    # Functions and powers are largest at an end of the range, or next to 0. (At 0 itself they may have no value; that
    # is found with the data.)
    ends = np.array([low, high, variable.lattice_step or _NEXT_TO_ZERO])
    ends = ends[ends != 0]
    with np.errstate(all="ignore"):
        if np.isposinf(raw(Data(dictionary, {name: ends}, len(ends)))).any():
            raise formula.error(
                f"`{part}` would be infinite at values that `{name}` may have. Use a milder transformation, or declare "
                "the range of that variable in the dictionary (`minimum`, `maximum`).",
                part,
            )


def _check_type(part: Numeric, formula: Formula, dictionary: Dictionary) -> None:
    if not isinstance(part, Name):
        return
    kind = dictionary[part.name].type
    if kind == "identifier":
        raise formula.error(f"`{part}` is an identifier: it can group rows, but its values mean nothing.", part)
    if kind == "category":
        raise formula.error(f"`{part}` is a category, where a number is needed.", part)


def _values(name: str, block: Data) -> Array:
    return block[name]


def _codes(name: str, block: Data) -> Array:
    return block.codes(name)  # type: ignore[return-value]  # integer codes, only ever compared


def _cut(argument: Callable[[Data], Array], breaks: Array, block: Data) -> Array:
    return np.searchsorted(breaks, argument(block), side="left")  # type: ignore[return-value]  # codes again


def _spline(argument: Callable[[Data], Array], knots: Array, block: Data) -> Array:
    """Restricted cubic spline, linear outside the knots (Harrell 2015, *Regression Modeling Strategies*, §2.4)."""
    x = argument(block)
    first, before, last = knots[0], knots[-2], knots[-1]
    cubes = np.maximum(x - knots[:, None], 0.0) ** 3
    inner = knots[:-2, None]
    bends = cubes[:-2] - cubes[-2] * (last - inner) / (last - before) + cubes[-1] * (before - inner) / (last - before)
    return np.vstack([x[None], bends / (last - first) ** 2])
