"""Where the knots of a spline go that only says how many it has: at quantiles of all cohorts together.

An analysis takes part with `yield from find_knots(params)`; its module imports `counts_between`, which its nodes are
asked. Percentiles: Harrell (2015), *Regression Modeling Strategies*, 2.4.6.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from algorithms.numerics.lattice import Lattice
from algorithms.numerics.newton import Steps
from algorithms.numerics.order_statistics import OnLattices, order_statistics
from algorithms.numerics.quantile_types import position
from cohortium.dictionary import Dictionary
from cohortium.errors import CannotEstimate, InvalidQuestion
from cohortium.formula import Formula, Name, Spline
from cohortium.quantities import Array

MOST = 7
PERCENTILES: Mapping[int, tuple[float, ...]] = {
    3: (0.10, 0.50, 0.90),
    4: (0.05, 0.35, 0.65, 0.95),
    5: (0.05, 0.275, 0.50, 0.725, 0.95),
    6: (0.05, 0.23, 0.41, 0.59, 0.77, 0.95),
    7: (0.025, 0.1833, 0.3417, 0.50, 0.6583, 0.8167, 0.975),
}
# R's and numpy's definition of a quantile.
_TYPE = 7


class WithSplines(OnLattices, Protocol):
    """Parameters with a formula in which some splines have no knots yet."""

    @property
    def splines(self) -> tuple[Spline, ...]:
        """These splines."""


def open_splines(formula: Formula) -> tuple[Spline, ...]:
    """The splines of a formula that say how many knots they have, not where."""
    factors = (factor for term in formula.terms for factor in term.factors)
    return tuple(dict.fromkeys(f for f in factors if isinstance(f, Spline) and not f.knots))


def lattices_of(splines: Sequence[Spline], formula: Formula, dictionary: Dictionary) -> tuple[Lattice, ...]:
    """The variables of these splines with their possible values. Raises FormulaError where there are none."""
    found = []
    for spline in splines:
        remedy = f" Or give the knots: `rcs({spline.argument}, [..])`."
        if not isinstance(spline.argument, Name):
            raise formula.error(f"Knots can be placed at quantiles of a variable only.{remedy}", spline)
        try:
            found.append(Lattice.of(dictionary, spline.argument.name))
        except InvalidQuestion as error:
            raise formula.error(error.message + remedy, spline) from None
    return tuple(found)


def placeholders(splines: Sequence[Spline]) -> dict[Spline, tuple[float, ...]]:
    """Any knots: the columns of a design are the same wherever they are."""
    return {spline: tuple(map(float, range(spline.count))) for spline in splines}


def placed(splines: Sequence[Spline], knots: Array) -> dict[Spline, tuple[float, ...]]:
    """The knots that were broadcast, shape (splines, 7). Raises InvalidQuestion if they are none."""
    if knots.shape != (len(splines), MOST):
        raise InvalidQuestion("The knots do not have the shape of this formula.")
    found = {spline: tuple(map(float, row[: spline.count])) for spline, row in zip(splines, knots, strict=True)}
    if not all(np.all(np.diff(row) > 0) for row in found.values()):
        raise InvalidQuestion("Knots must increase.")
    return found


def find_knots(params: WithSplines) -> Steps[Array]:
    """Knots of every open spline, shape (splines, 7), at Harrell's percentiles of everybody who has a value.

    Three or four rounds, none if every spline has its knots. Raises CannotEstimate where they cannot be told apart.
    """
    knots = np.zeros((len(params.splines), MOST))
    if not params.splines:
        return knots
    shares = sorted({p for spline in params.splines for p in PERCENTILES[spline.count]})
    columns, _ = yield from order_statistics(
        params, lambda n: [rank for p in shares for rank in position(n, p, _TYPE)[:2]] if n else []
    )
    for row, spline, (column,) in zip(knots, params.splines, columns, strict=True):
        remedy = f"Give them: `rcs({spline.argument}, [..])`."
        if column.withheld or not column.n:
            raise CannotEstimate(f"Some cohort has too few people to place the knots of `{spline}`. {remedy}")
        found = np.array([column.quantile(p, _TYPE).value for p in PERCENTILES[spline.count]])
        if not np.all(np.diff(found) > 0):
            raise CannotEstimate(f"So many people share a value of `{spline.argument}` that knots coincide. {remedy}")
        row[: spline.count] = found
    return knots
