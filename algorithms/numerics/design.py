"""From a formula and the data dictionary to the columns of a design matrix: the same at every cohort.

Which columns there are, and in what order, follows from the formula and the dictionary's levels alone. A cohort
fills them with its rows; one that lacks a level fills a column with zeros.

Coding follows R (`model.matrix`; Chambers & Hastie 1992, *Statistical Models in S*, 2.4): a categorical factor of a
term is coded by treatment contrasts (its first level is the reference) if the term without that factor is in the
model as well, and by one indicator per level otherwise. Without an intercept the first factor gets every level.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from algorithms.numerics.expressions import Expression, levels_of
from cohortium.data import Data
from cohortium.dictionary import Dictionary
from cohortium.errors import InvalidQuestion
from cohortium.formula import Factor, Formula, Random, Spline, Surv, names_in
from cohortium.quantities import Array

INTERCEPT = "(Intercept)"


@dataclass(frozen=True)
class Piece:
    """One coded column of one factor: its values, one level's indicator, or one function of a spline basis."""

    factor: Factor
    index: int | None
    name: str
    indicator: bool


@dataclass(frozen=True)
class Column:
    """A column of the design: a product of pieces (of none: the intercept)."""

    pieces: tuple[Piece, ...]

    @property
    def name(self) -> str:
        """As it is written in results: `age`, `sex[male]`, `age:sex[male]`."""
        return ":".join(piece.name for piece in self.pieces) or INTERCEPT

    @property
    def known_as(self) -> frozenset[str]:
        """What it is called in whatever order, and whether it is written out or the linear part of a spline."""
        return frozenset(
            str(p.factor.argument) if isinstance(p.factor, Spline) and p.index == 0 else p.name for p in self.pieces
        )

    @property
    def is_indicator(self) -> bool:
        """Whether it is zero outside some level of a factor, so that it vanishes where nobody has that level."""
        return any(piece.indicator for piece in self.pieces)


class Design:
    """The compiled right-hand side (and numeric response) of a formula.

    `columns` names the columns in order, `terms` says which of them belong to a term; `variables` are the names whose
    values a row must have to be used, `weights` the one that weighs the rows.
    """

    def __init__(
        self,
        formula: Formula,
        dictionary: Dictionary,
        columns: Mapping[str, Sequence[Column]],
        expressions: Mapping[Factor, Expression],
        weights: str | None,
    ) -> None:
        self.formula = formula
        self.layout = tuple(itertools.chain.from_iterable(columns.values()))
        self.columns = [column.name for column in self.layout]
        self.width = len(self.layout)
        ends = itertools.accumulate(map(len, columns.values()))
        self.terms = {term: range(end - len(of), end) for (term, of), end in zip(columns.items(), ends, strict=True)}
        self.weights = weights
        self.variables = tuple(dict.fromkeys([*(name.name for name in formula.names), *([weights] if weights else [])]))
        self._expressions = expressions
        self._offsets = [Expression.number(part, formula, dictionary) for part in formula.offsets]
        response = formula.response
        self._response = None if response is None or isinstance(response, Surv) else _response(formula, dictionary)

    @property
    def has_offset(self) -> bool:
        """Whether the formula has an offset."""
        return bool(self._offsets)

    def matrix(self, block: Data, out: Array | None = None) -> Array:
        """The design of `block`, shape (rows, width), columns contiguous in memory.

        `out`, of shape (width, at least rows), is filled instead of fresh memory. Raises FormulaError where a
        transformation is not finite.
        """
        rows = len(block)
        filled = np.empty((self.width, rows)) if out is None else out[:, :rows]
        values = {factor: expression.of(block) for factor, expression in self._expressions.items()}
        for target, column in zip(filled, self.layout, strict=True):
            _fill(target, column.pieces, values)
        return filled.T

    def offset(self, block: Data) -> Array | None:
        """The sum of the offsets, shape (rows,), or None if the formula has none."""
        if not self._offsets:
            return None
        return np.asarray(sum(expression.of(block) for expression in self._offsets), dtype=np.float64)

    def weight(self, block: Data) -> Array | None:
        """The weights of the rows, shape (rows,), or None if all weigh the same."""
        return None if self.weights is None else block[self.weights]

    def response(self, block: Data) -> Array:
        """The left-hand side as numbers, shape (rows,); the levels of a category count from 0."""
        if self._response is None:
            raise InvalidQuestion("This formula has no numeric outcome on its left-hand side.")
        return self._response(block)


def compile_design(
    formula: Formula,
    dictionary: Dictionary,
    *,
    intercept_column: bool = True,
    weights: str | None = None,
    knots: Mapping[Spline, tuple[float, ...]] | None = None,
) -> Design:
    """Compile a formula. Raises FormulaError, pointing at what the dictionary's types do not allow.

    Without `intercept_column` factors are coded as if the intercept were there, but no column is made for it: an
    intercept per cohort takes its place. `weights` names the variable that weighs the rows, `knots`
    are those of splines that only say how many they have.
    """
    factors = dict.fromkeys(itertools.chain.from_iterable(term.factors for term in formula.terms))
    placed = {f: (knots or {}).get(f) if isinstance(f, Spline) else None for f in factors}
    expressions = {factor: Expression(factor, formula, dictionary, placed[factor]) for factor in factors}
    levels = {factor: levels_of(factor, dictionary) for factor in factors}
    for factor, found in levels.items():
        if len(found) == 1:
            raise formula.error(f"`{factor}` has one level only, so there is nothing to compare.", factor)
    columns = {INTERCEPT: [Column(())]} if formula.intercept and intercept_column else {}
    for term, full in zip(formula.terms, _fully_coded(formula, levels), strict=True):
        coded = [_pieces(factor, levels[factor], full=factor in full) for factor in term.factors]
        # R lets the first factor of an interaction vary fastest.
        columns[str(term)] = [Column(tuple(reversed(choice))) for choice in itertools.product(*reversed(coded))]
    return Design(formula, dictionary, columns, expressions, weights)


def refuse_specials(formula: Formula, *allowed: str) -> None:
    """Raises FormulaError at the first special term that is not among `allowed` ("offset", "strata", ...)."""
    groups = {"offset": formula.offsets, "strata": formula.strata, "cluster": formula.clusters}
    specials: list[tuple[str, Factor | Random]] = [(kind, part) for kind, parts in groups.items() for part in parts]
    specials += [("random effects", part) for part in formula.random]
    for kind, part in specials:
        if kind not in allowed:
            written = f"({kind} `{part}`)" if isinstance(part, Random) else f"`{kind}({part})`"
            at = part.group if isinstance(part, Random) else next(names_in(part))
            raise formula.error(f"This analysis does not take {written}.", at)


def _fully_coded(formula: Formula, levels: Mapping[Factor, tuple[str, ...]]) -> list[set[Factor]]:
    """Per term the factors that get an indicator for every level."""
    model: set[frozenset[Factor]] = {frozenset(term.factors) for term in formula.terms} | {frozenset()}
    full = [
        {f for f in term.factors if levels[f] and frozenset(term.factors) - {f} not in model} for term in formula.terms
    ]
    if not formula.intercept:
        for term, chosen in zip(formula.terms, full, strict=True):
            categorical = [f for f in term.factors if levels[f]]
            if categorical:
                chosen.add(categorical[0])
                break
    return full


def _pieces(factor: Factor, levels: tuple[str, ...], *, full: bool) -> list[Piece]:
    if levels:
        return [
            Piece(factor, code, f"{factor}[{level}]", indicator=True)
            for code, level in enumerate(levels)
            if full or code > 0
        ]
    if isinstance(factor, Spline):
        return [Piece(factor, i, f"{factor}[{i + 1}]", indicator=False) for i in range(factor.count - 1)]
    return [Piece(factor, None, str(factor), indicator=False)]


def _fill(target: Array, pieces: tuple[Piece, ...], values: Mapping[Factor, Array]) -> None:
    if not pieces:
        target.fill(1.0)
        return
    np.copyto(target, _piece_values(pieces[0], values))
    for piece in pieces[1:]:
        target *= _piece_values(piece, values)


def _piece_values(piece: Piece, values: Mapping[Factor, Array]) -> Array:
    found = values[piece.factor]
    if piece.index is None:
        return found
    return np.asarray(found == piece.index) if piece.indicator else found[piece.index]


def _response(formula: Formula, dictionary: Dictionary) -> Callable[[Data], Array]:
    response = formula.response
    assert response is not None
    assert not isinstance(response, Surv)
    name = str(response)
    if name in dictionary and dictionary[name].type == "category":
        return lambda block: block.codes(name).astype(np.float64)
    return Expression.number(response, formula, dictionary).of
