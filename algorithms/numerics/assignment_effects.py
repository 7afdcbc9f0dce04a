"""Effects of being selected, and of accepting, from cross-products and scores.

The effect of assignment (ITT) is the coefficient of it in the regression of the outcome; over that in the regression of
acceptance it is the complier average causal effect (CACE), two-stage least squares with as many instruments as
treatments. Both have the same scores, so that standard errors of both, and the Anderson-Rubin interval, which holds
however few people accept, come from one round: b is in it if outcome - b acceptance does not depend on assignment.

Source: Angrist, Imbens & Rubin (1996), JASA 91:444; Anderson & Rubin (1949), Ann Math Stat 20:46.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import special

from algorithms.numerics.newton import describe_aliases
from algorithms.numerics.trial_rows import TrialPreparation, TrialSums
from cohortium.errors import CannotEstimate, Collinear
from cohortium.quantities import Array

_ACCEPTANCE, _OUTCOME = 0, 1
COLLINEAR = 1e-10


@dataclass(frozen=True)
class Reduced:
    """Regressions of acceptance and outcome on assignment and covariates: coefficients (columns, 2)."""

    inverse: Array
    coefficients: Array
    products: Array

    @classmethod
    def of(cls, total: TrialSums, names: list[str]) -> Reduced:
        """By least squares. Raises Collinear or CannotEstimate."""
        p = len(names)
        square = total.products[:p, :p]
        diagonal = np.diag(square)
        constant = [f"`{name}`" for name, d in zip(names, diagonal, strict=True) if d <= 1e-12 * total.n]
        if constant:
            raise CannotEstimate(f"{', '.join(constant)} has the same value for everybody (of a cohort). Leave it out.")
        scale = np.sqrt(diagonal)
        correlation = square / np.outer(scale, scale)
        values = np.linalg.eigvalsh(correlation)
        if values[0] < COLLINEAR * values[-1]:
            raise Collinear(describe_aliases(correlation, names))
        inverse = np.linalg.inv(correlation) / np.outer(scale, scale)
        return cls(inverse, inverse @ total.products[:p, p:], total.products)

    def corrected(self, unexplained: Array) -> Reduced:
        """Once more with what the first solution left over."""
        return Reduced(self.inverse, self.coefficients + self.inverse @ unexplained, self.products)

    def residual_products(self) -> Array:
        """Sums of products of both residuals, (2, 2)."""
        p = len(self.inverse)
        cross, own = self.products[:p, p:], self.products[p:, p:]
        return np.asarray(own - self.coefficients.T @ cross)


@dataclass(frozen=True)
class Effects:
    """Estimates with covariances on the standardised scale; the assignment is column `at`."""

    reduced: Reduced
    meat: Array
    at: int
    n: float

    def _part(self, row: int, column: int) -> Array:
        """Meat of the scores of two models; the outcome's come first."""
        p = len(self.reduced.inverse)
        rows, columns = ((1 - k) * p for k in (row, column))
        return self.meat[rows : rows + p, columns : columns + p]

    def assignment(self) -> tuple[Array, Array]:
        """Coefficients of the outcome's model, and their covariance."""
        inverse = self.reduced.inverse
        return self.reduced.coefficients[:, _OUTCOME], inverse @ self._part(_OUTCOME, _OUTCOME) @ inverse

    def acceptance(self) -> tuple[float, float]:
        """By how much assignment raises acceptance, and its standard error."""
        inverse = self.reduced.inverse
        variance = inverse @ self._part(_ACCEPTANCE, _ACCEPTANCE) @ inverse
        return float(self.reduced.coefficients[self.at, _ACCEPTANCE]), math.sqrt(variance[self.at, self.at])

    def first_stage(self) -> tuple[float, float]:
        """F of the instrument with equal variances, and robust."""
        rise, error = self.acceptance()
        p = len(self.reduced.inverse)
        spread = self.reduced.residual_products()[_ACCEPTANCE, _ACCEPTANCE] / (self.n - p)
        plain = rise**2 / (spread * self.reduced.inverse[self.at, self.at]) if spread > 0 else math.inf
        return plain, (rise / error) ** 2 if error > 0 else math.inf

    def compliers(self) -> tuple[Array, Array]:
        """Two-stage least squares: acceptance in the place of assignment."""
        taken, outcome = self.reduced.coefficients.T
        effect = outcome[self.at] / taken[self.at]
        coefficients = outcome - effect * taken
        coefficients[self.at] = effect
        # The columns of the second stage are those of the first, with acceptance (fitted by it) for assignment.
        stage = np.eye(len(taken))
        stage[:, self.at] = taken
        bread = np.linalg.inv(stage) @ self.reduced.inverse
        mixed = self._part(_OUTCOME, _ACCEPTANCE)
        meat = self._part(_OUTCOME, _OUTCOME) - effect * (mixed + mixed.T)
        meat = meat + effect**2 * self._part(_ACCEPTANCE, _ACCEPTANCE)
        return coefficients, bread @ meat @ bread.T

    def anderson_rubin(self, level: float) -> tuple[float, float]:
        """All effects that are not rejected; without bounds where acceptance hardly depends on assignment."""
        inverse, z2 = self.reduced.inverse[self.at], float(special.ndtri(0.5 + level / 2)) ** 2
        outcome, rise = self.reduced.coefficients[self.at, _OUTCOME], self.reduced.coefficients[self.at, _ACCEPTANCE]
        variance, mixed, own = (
            float(inverse @ self._part(r, c) @ inverse)
            for r, c in ((_OUTCOME, _OUTCOME), (_OUTCOME, _ACCEPTANCE), (_ACCEPTANCE, _ACCEPTANCE))
        )
        # (outcome - b rise)^2 <= z^2 (variance - 2 b mixed + b^2 own), a quadratic in b.
        a, half, c = rise**2 - z2 * own, outcome * rise - z2 * mixed, outcome**2 - z2 * variance
        root = half**2 - a * c
        if a <= 0 or root < 0:
            return -math.inf, math.inf
        return float((half - math.sqrt(root)) / a), float((half + math.sqrt(root)) / a)


def few_clusters(kind: str, clusters: float, n: float, p: float) -> float:
    """What the meat is multiplied by. Raises CannotEstimate."""
    if kind == "cluster":
        if clusters < 2:
            raise CannotEstimate("There is one cluster only, so nothing tells how much clusters differ.")
        return clusters / (clusters - 1) * (n - 1) / (n - p)
    return n / (n - p) if kind == "HC1" else 1.0


def must_have_arms(total: TrialPreparation) -> None:
    """Raises CannotEstimate where nobody, or everybody, was selected."""
    if not total.n:
        raise CannotEstimate("No cohort has anybody with a value for outcome, covariates and selection.")
    if not total.arms.all():
        raise CannotEstimate(f"{'Everybody' if not total.arms[0] else 'Nobody'} was selected: nothing to compare.")
