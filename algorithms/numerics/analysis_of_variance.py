"""Analysis of variance from the people, mean and sum of squares of every cell: linear models on cell means.

Within a cell all rows of a design are alike, so least squares on the records is least squares on the cell means,
weighted by the number of people, beside the sum of squares within cells. Nothing is squared that was not centred.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import special

from algorithms.numerics.grouped_moments import Moments
from cohortium.quantities import Array

SumsOfSquares = Literal["I", "II", "III"]

Term = frozenset[int]


@dataclass(frozen=True)
class Extra:
    """What a term adds to a model: degrees of freedom and sum of squares."""

    df: int
    squares: float


class CellModel:
    """Linear models on the cells of crossed factors with so many `levels`, the last factor varying fastest."""

    def __init__(self, levels: Sequence[int], terms: Sequence[Term], moments: Moments) -> None:
        self.terms = list(terms)
        self.people = np.flatnonzero(moments.n > 0)
        self.n = float(moments.n.sum())
        self._root = np.sqrt(moments.n[self.people])
        self._cells = np.array(list(itertools.product(*map(range, levels))), dtype=np.intp).reshape(len(moments.n), -1)
        self._cells = self._cells[self.people]
        mean = moments.relative[self.people]
        self._y = self._root * (mean - float(moments.n[self.people] @ mean / self.n))
        self.within = float(moments.squares.sum())
        self.between = float(self._y @ self._y)

    @property
    def error(self) -> Extra:
        """Residuals of the model with every term."""
        model = self._explained(self._columns(self.terms, contrasts=False))
        return Extra(int(self.n) - model.df - 1, self.within + max(self.between - model.squares, 0.0))

    def added_by(self, term: Term, kind: SumsOfSquares) -> Extra:
        """The sum of squares of a term.

        I: given the terms before it. II: given every term that does not contain it. III: given all the others, with
        contrasts that sum to zero.
        """
        others = [t for t in self.terms if t != term]
        if kind == "I":
            others = self.terms[: self.terms.index(term)]
        elif kind == "II":
            others = [t for t in others if not t >= term]
        base, added = (self._columns(terms, contrasts=kind == "III") for terms in (others, [term]))
        # What is left of the new columns once the others are swept out: no small difference of large sums.
        basis = self._basis(np.column_stack([self._root, base]))
        left = added - basis @ (basis.T @ added)
        return self._along(left - basis @ (basis.T @ left), scale=float(np.linalg.norm(added)))

    def _explained(self, columns: Array) -> Extra:
        """What the columns explain beside the grand mean."""
        mean = self._root / np.linalg.norm(self._root)
        return self._along(columns - np.outer(mean, mean @ columns), scale=float(np.linalg.norm(columns)))

    def _along(self, columns: Array, scale: float) -> Extra:
        basis = self._basis(columns, scale)
        return Extra(basis.shape[1], float(np.sum((basis.T @ self._y) ** 2)))

    @staticmethod
    def _basis(columns: Array, scale: float | None = None) -> Array:
        if not columns.size:
            return columns[:, :0]
        left, sizes, _ = np.linalg.svd(columns, full_matrices=False)
        return left[:, sizes > 1e-10 * (scale if scale is not None else sizes[0])]

    def _columns(self, terms: Sequence[Term], *, contrasts: bool) -> Array:
        blocks = [self._indicators(sorted(term), contrasts=contrasts) for term in terms]
        empty = np.empty((len(self.people), 0))
        return self._root[:, None] * np.column_stack([empty, *blocks])

    def _indicators(self, factors: list[int], *, contrasts: bool) -> Array:
        found = np.ones((len(self.people), 1))
        for factor in factors:
            present, codes = np.unique(self._cells[:, factor], return_inverse=True)
            coding = np.eye(len(present))
            if contrasts:
                coding = coding[:, :-1] - coding[:, -1:]
            found = np.einsum("ci,cj->cij", found, coding[codes]).reshape(len(found), -1)
        return found


@dataclass(frozen=True)
class FTest:
    """An F statistic with its degrees of freedom and p-value."""

    statistic: float
    df: float
    df_residual: float
    p_value: float


def f_test(statistic: float, df: float, df_residual: float) -> FTest:
    """The upper tail."""
    return FTest(statistic, df, df_residual, float(special.fdtrc(df, df_residual, statistic)))


def welch_anova(moments: Moments) -> FTest | None:
    """Equality of means without equal variances (Welch 1951); None where a group has no spread of its own."""
    n, groups, means = moments.n, len(moments.n), moments.relative
    if np.any(n < 2) or np.any(moments.variance <= 0):
        return None
    weight = n / moments.variance
    total = float(weight.sum())
    mean = float(weight @ means) / total
    lack = float(np.sum((1 - weight / total) ** 2 / (n - 1)))
    between = float(weight @ (means - mean) ** 2) / (groups - 1)
    statistic = between / (1 + 2 * (groups - 2) * lack / (groups**2 - 1))
    return f_test(statistic, groups - 1, (groups**2 - 1) / (3 * lack))


def levene(n: Array, distances: Array, squares: Array) -> FTest | None:
    """One-way analysis of variance of the distances from the group's centre.

    `distances` and `squares` are their sums and sums of squares per group. None if they do not vary.
    """
    mean = distances / n
    within = float(np.sum(squares - n * mean**2))
    grand = float(distances.sum() / n.sum())
    between, df, residual = float(n @ (mean - grand) ** 2), len(n) - 1, float(n.sum() - len(n))
    if within <= 1e-13 * float(squares.sum()) or residual <= 0:
        return None
    return f_test(between / df / (within / residual), df, residual)


@dataclass(frozen=True)
class Difference:
    """Two groups (positions), their difference and its simultaneous inference."""

    first: int
    second: int
    estimate: float
    low: float
    high: float
    p_value: float


def tukey(moments: Moments, error: Extra, level: float) -> list[Difference]:
    """Every pair of groups, later less earlier, by the studentised range (Tukey; Kramer 1956 for unequal groups)."""
    from scipy.stats import studentized_range  # noqa: PLC0415 - half a second to load, and only needed here

    pairs = list(itertools.combinations(range(len(moments.n)), 2))
    variance, means = error.squares / error.df, moments.relative
    differences = np.array([means[b] - means[a] for a, b in pairs])
    errors = np.array([math.sqrt(variance / 2 * (1 / moments.n[a] + 1 / moments.n[b])) for a, b in pairs])
    reach = float(studentized_range.ppf(level, len(moments.n), error.df)) * errors
    p_values = np.clip(studentized_range.sf(np.abs(differences) / errors, len(moments.n), error.df), 0.0, 1.0)
    return [
        Difference(a, b, *map(float, row))
        for (a, b), row in zip(
            pairs, np.column_stack([differences, differences - reach, differences + reach, p_values]), strict=True
        )
    ]
