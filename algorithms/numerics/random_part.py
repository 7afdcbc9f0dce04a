"""The random part of a formula: the columns that every cluster weighs by effects of its own."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from algorithms.numerics.clusters import Clusters, check_group
from algorithms.numerics.design import INTERCEPT, Design
from algorithms.numerics.expressions import Expression
from algorithms.numerics.families import FAMILIES
from algorithms.numerics.preparation import Preparation, Spread, prepare
from cohortium.data import Data
from cohortium.dictionary import Dictionary
from cohortium.errors import CannotEstimate
from cohortium.formula import Formula
from cohortium.quantities import Array, Count, SumOver

MOST_COLUMNS = 3


class MixedPreparation(Preparation):
    """The preparation of a regression, with a cohort's clusters and sums over its rows per random-effects column."""

    clusters: Count
    random_columns: Annotated[Array, SumOver("n")]
    random_spreads: Annotated[Array, SumOver("n")]


class RandomPart:
    """`(1 + days | subject)` compiled: `names` of its columns, and the variable `group` that says whose they are.

    A formula without such a term gives no columns and no group.
    """

    def __init__(self, formula: Formula, dictionary: Dictionary) -> None:
        self.names: list[str] = []
        self.group: str | None = None
        self._expressions: list[Expression] = []
        for term in formula.random:
            if self.group is not None:
                raise formula.error(
                    "One random term at a time: crossed effects do not come apart into sums over clusters.", term.group
                )
            check_group(term.group, formula, dictionary)
            self.group = term.group.name
            self._expressions = [Expression.number(part, formula, dictionary) for part in term.terms]
            self.names = [INTERCEPT] * term.intercept + [str(part) for part in term.terms]
            if not self.names or len(set(self.names)) < len(self.names) or len(self.names) > MOST_COLUMNS:
                raise formula.error(
                    f"A random term has one to {MOST_COLUMNS} different columns, as in `(1 + x | {term.group})`.",
                    term.group,
                )
        self.intercept = INTERCEPT in self.names
        self.width = len(self.names)

    def matrix(self, block: Data) -> Array:
        """The columns Z of `block`, shape (width, rows)."""
        columns = [np.ones(len(block))] * self.intercept + [expression.of(block) for expression in self._expressions]
        return np.array(columns, dtype=np.float64).reshape(self.width, len(block))

    def prepare(self, data: Data, design: Design, *, profiled: bool) -> MixedPreparation:
        """One cohort's preparation."""
        base = prepare(data, design, FAMILIES["gaussian"], profiled=profiled)
        spread = Spread(self.width)
        for block in data.blocks(design.variables):
            spread.add(self.matrix(block).T)
        return MixedPreparation(
            **{name: getattr(base, name) for name in base.kinds},
            # Without a group the cohort is the cluster: that it takes part is no count of people.
            clusters=Clusters(data, design.variables, self.group).count if self.group else 0,
            random_columns=spread.sum,
            random_spreads=spread.spread,
            evidence=base.evidence,
        )

    def scaling(self, total: MixedPreparation) -> tuple[Array, Array]:
        """Centre and 1/unit per column. Raises CannotEstimate for a column that does not vary."""
        n = max(total.n, 1.0)
        centre, spread = total.random_columns / n, total.random_spreads / n
        constant = [name for name, s in zip(self.names, spread, strict=True) if s == 0 and name != INTERCEPT]
        if constant:
            raise CannotEstimate(
                f"{', '.join(f'`{name}`' for name in constant)} does not vary within any cohort, so no cluster can "
                "have a slope of its own. Leave it out of the random term."
            )
        # Without a random intercept to take it up, a column cannot be moved, only stretched.
        unit = spread if self.intercept else spread + np.abs(centre)
        moved = centre if self.intercept else np.zeros_like(centre)
        is_one = np.array([name == INTERCEPT for name in self.names], dtype=bool)
        return np.where(is_one, 0.0, moved), 1.0 / np.where(is_one, 1.0, unit)


def unstandardised(centre: Array, per_unit: Array, *, intercept: bool) -> Array:
    """The matrix B that takes random effects of standardised columns to those of the columns as they are."""
    transform = np.diag(per_unit)
    if intercept:
        transform[0, 1:] = -centre[1:] * per_unit[1:]
    return transform
