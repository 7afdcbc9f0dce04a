"""The distributions of an outcome, each with the links it can have."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

import numpy as np
from scipy import special
from typing_extensions import override

from algorithms.numerics.binomial import Cloglog, Logit, LogRisk, Probit, Risk
from algorithms.numerics.likelihood import EXTREME, CanonicalName, Family, FamilyName, LinkName, Working, weighted
from algorithms.numerics.negative_binomial import NegativeBinomial
from cohortium.quantities import Array


class Gaussian(Family):
    """Normal outcome, identity link. Sums are in units of the residual variance, which is estimated afterwards."""

    name = "gaussian"
    link: ClassVar[LinkName] = "identity"
    canonical = True
    has_dispersion = True

    @override
    def working(self, eta: Array, y: Array) -> Working:
        residual = y - eta
        squares, ones = residual * residual, np.ones_like(y)
        return Working(residual, ones, ones, -0.5 * squares, squares, extreme=False)

    @override
    def predictor(self, mean: float) -> float:
        return mean

    @override
    def constants(self, y: Array, weight: Array) -> tuple[float, float]:
        return 0.0, 0.5 * float(np.sum(np.log(weight)))

    @override
    def intercept(self, eta: Array, y: Array, weight: Array | None) -> float:
        return weighted(y - eta, weight) / (len(y) if weight is None else float(np.sum(weight)))


class GaussianLog(Gaussian):
    """Normal outcome, log link: the mean is multiplied, the error is not."""

    link = "log"
    ratio = "ratio of means"
    canonical = False

    @override
    def working(self, eta: Array, y: Array) -> Working:
        mean = np.exp(eta)
        residual, weight = y - mean, mean * mean
        squares = residual * residual
        return Working(residual * mean, weight, weight, -0.5 * squares, squares, extreme=False)

    @override
    def predictor(self, mean: float) -> float:
        return math.log(mean)

    @override
    def intercept(self, eta: Array, y: Array, weight: Array | None) -> float:
        relative = np.exp(eta - float(np.max(eta)))
        slope = weighted(relative * y, weight) / weighted(relative * relative, weight)
        return (math.log(slope) if slope > 0 else math.nan) - float(np.max(eta))


class Poisson(Family):
    """A count, log link."""

    name = "poisson"
    link: ClassVar[LinkName] = "log"
    ratio: ClassVar[str | None] = "rate ratio"
    canonical = True
    separable = True

    @override
    def working(self, eta: Array, y: Array) -> Working:
        mean = np.exp(eta)
        residual = y - mean
        extreme = bool(np.min(mean) < EXTREME)
        return Working(residual, mean, mean, y * eta - mean, residual * residual / mean, extreme)

    @override
    def predictor(self, mean: float) -> float:
        return math.log(mean)

    @override
    def constants(self, y: Array, weight: Array) -> tuple[float, float]:
        saturated = float(np.sum(weight * (special.xlogy(y, y) - y)))
        return saturated, -float(np.sum(weight * special.gammaln(y + 1.0)))

    @override
    def intercept(self, eta: Array, y: Array, weight: Array | None) -> float:
        top = float(np.max(eta))
        return math.log(weighted(y, weight)) - top - math.log(weighted(np.exp(eta - top), weight))

    @override
    def is_informative(self, people: float, outcome: float) -> bool:
        return outcome > 0


class PoissonIdentity(Poisson):
    """A count, identity link: coefficients are differences in rates."""

    link = "identity"
    ratio = None
    canonical = False
    bounds: ClassVar[tuple[float, float]] = (0.0, math.inf)

    @override
    def working(self, eta: Array, y: Array) -> Working:
        residual, extreme = y - eta, bool(np.min(eta) < EXTREME)
        weight = 1.0 / eta
        return Working(
            residual * weight, weight, y * weight**2, y * np.log(eta) - eta, residual * residual * weight, extreme
        )

    @override
    def predictor(self, mean: float) -> float:
        return mean

    @override
    def intercept(self, eta: Array, y: Array, weight: Array | None) -> float:
        return Family.intercept(self, eta, y, weight)


class Gamma(Family):
    """A positive outcome whose spread grows with its mean, log link."""

    name = "gamma"
    link: ClassVar[LinkName] = "log"
    ratio: ClassVar[str | None] = "ratio of means"
    has_dispersion = True

    @override
    def working(self, eta: Array, y: Array) -> Working:
        ratio = y * np.exp(-eta)
        residual = ratio - 1.0
        return Working(residual, np.ones_like(y), ratio, -ratio - eta, residual * residual, extreme=False)

    @override
    def predictor(self, mean: float) -> float:
        return math.log(mean)

    @override
    def constants(self, y: Array, weight: Array) -> tuple[float, float]:
        return -float(np.sum(weight * (1.0 + np.log(y)))), 0.0

    @override
    def intercept(self, eta: Array, y: Array, weight: Array | None) -> float:
        low = float(np.min(eta))
        total = float(len(y)) if weight is None else float(np.sum(weight))
        return math.log(weighted(y * np.exp(low - eta), weight) / total) - low


class GammaIdentity(Gamma):
    """A positive outcome whose spread grows with its mean, identity link."""

    link = "identity"
    ratio = None
    concave = False
    bounds: ClassVar[tuple[float, float]] = (0.0, math.inf)

    @override
    def working(self, eta: Array, y: Array) -> Working:
        weight, relative = eta**-2.0, (y - eta) / eta
        return Working(
            relative / eta, weight, weight, -y / eta - np.log(eta), relative * relative, extreme=bool(np.min(eta) <= 0)
        )

    @override
    def predictor(self, mean: float) -> float:
        return mean

    @override
    def intercept(self, eta: Array, y: Array, weight: Array | None) -> float:
        return Family.intercept(self, eta, y, weight)


__all__ = ["FAMILIES", "LINKS", "CanonicalName", "Family", "FamilyName", "LinkName", "Working"]

_KNOWN: tuple[Family, ...] = (
    *(Gaussian(), GaussianLog()),
    *(Logit(), Probit(), Cloglog(), LogRisk(), Risk()),
    *(Poisson(), PoissonIdentity()),
    *(Gamma(), GammaIdentity()),
    NegativeBinomial(),
)

LINKS: Mapping[FamilyName, Mapping[LinkName, Family]] = MappingProxyType(
    {
        name: MappingProxyType({f.link: f for f in _KNOWN if f.name == name})
        for name in dict.fromkeys(f.name for f in _KNOWN)
    }
)
"""Every family with its links, the default one first."""

FAMILIES: Mapping[FamilyName, Family] = MappingProxyType({name: next(iter(of.values())) for name, of in LINKS.items()})
"""Every family with its default link."""
