"""Counts that vary more than a Poisson's: the negative binomial with variance mu + alpha mu^2 ("NB2").

Source: Lawless (1987), Canadian Journal of Statistics 15:209; Hilbe (2011), Negative Binomial Regression, ch. 8.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy import special
from typing_extensions import override

from algorithms.numerics.likelihood import EXTREME, Family, FamilyName, LinkName, Shape, Working
from cohortium.quantities import Array

# Counts up to here have their digammas looked up in a table: there are far fewer different counts than rows.
_TABLED = 100_000


@dataclass(frozen=True)
class NegativeBinomial(Family):
    """A count with log link, at a given `alpha`; `Working.shape` differentiates with respect to log(alpha)."""

    alpha: float = 1.0
    name: ClassVar[FamilyName] = "negative_binomial"
    link: ClassVar[LinkName] = "log"
    ratio: ClassVar[str | None] = "rate ratio"
    separable: ClassVar[bool] = True

    @override
    def working(self, eta: Array, y: Array) -> Working:
        size, mean = 1.0 / self.alpha, np.exp(eta)
        scaled = self.alpha * mean
        total = 1.0 + scaled
        share = scaled / total
        growth = np.log1p(scaled)
        gamma, first, second = _gamma_differences(y, size)
        residual = (y - mean) / total
        bend = scaled / total**2
        return Working(
            residual=residual,
            weight=mean / total,
            curvature=mean * (1.0 + self.alpha * y) / total**2,
            log_likelihood=gamma + y * (math.log(self.alpha) + eta) - (y + size) * growth,
            pearson=(y - mean) ** 2 / (mean * total),
            extreme=bool(np.min(mean) < EXTREME),
            shape=Shape(
                score=y - size * first + size * growth - (y + size) * share,
                curvature=-(size * first + size**2 * second - size * growth + 2.0 * size * share - (y + size) * bend),
                cross=(y - mean) * bend,
                saturated=gamma + special.xlogy(y, self.alpha * y) - (y + size) * np.log1p(self.alpha * y),
            ),
        )

    @override
    def predictor(self, mean: float) -> float:
        return math.log(mean)

    @override
    def constants(self, y: Array, weight: Array) -> tuple[float, float]:
        return 0.0, -float(np.sum(weight * special.gammaln(y + 1.0)))

    @override
    def with_shape(self, logarithm: float) -> Family:
        return NegativeBinomial(math.exp(logarithm))

    @override
    def is_informative(self, people: float, outcome: float) -> bool:
        return outcome > 0


def _gamma_differences(y: Array, size: float) -> tuple[Array, Array, Array]:
    """Difference of log Gamma at y + size and at size, with its first and second derivative in `size`."""
    tabled = bool(len(y)) and float(np.max(y)) <= _TABLED
    values = np.arange(float(np.max(y)) + 1.0) if tabled else y
    found = (
        special.gammaln(values + size) - special.gammaln(size),
        special.digamma(values + size) - special.digamma(size),
        special.polygamma(1, values + size) - special.polygamma(1, size),
    )
    at = y.astype(np.intp) if tabled else slice(None)
    return found[0][at], found[1][at], found[2][at]
