"""How much noise differential privacy takes: arithmetic that node and researcher share.

Budgets are in rho of zero-concentrated differential privacy (zCDP), because those of several questions simply add up.
Every cohort adds its share of the noise, so that the total carries all of it and no single cohort needs to be trusted
with it; discrete Gaussians of a standard deviation of 2 or more add up to one for all practical purposes (their
distance is below exp(-30)).

Sources: Bun & Steinke (2016), TCC 635, for zCDP; Kairouz, Liu & Steinke (2021), ICML 5201, The distributed discrete
Gaussian mechanism, for the sum of the shares.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import numpy as np

from cohortium.quantities import NoisyKind, Sums

LEAST: Final = 2.0
"""Least standard deviation of one cohort's share: from here on sums of discrete Gaussians are discrete Gaussians."""


def noise_of(record: type[Sums], shapes: Mapping[str, tuple[int, ...]], rho: float) -> dict[str, float]:
    """Standard deviation of the noise in the total of each noisy field that has entries, for a budget of `rho`.

    A row of the data changes each line (last axis) of a field by at most `most` in Euclidean length, all lines together
    by sqrt(lines) times that. The fields divide the budget by their `share`.
    """
    kinds = {name: kind for name, kind in record.kinds.items() if isinstance(kind, NoisyKind) and 0 not in shapes[name]}
    total = sum(kind.share for kind in kinds.values())
    return {name: _noise(kind, shapes[name], rho * kind.share / total) for name, kind in kinds.items()}


def _noise(kind: NoisyKind, shape: tuple[int, ...], rho: float) -> float:
    lines = np.prod(shape[:-1], dtype=np.int64)
    return kind.most * math.sqrt(lines / (2.0 * rho))


def share_of(noise: float, cohorts: int) -> float:
    """Standard deviation of the noise that each of `cohorts` adds, so that the total has `noise` or a little more."""
    return max(noise / math.sqrt(cohorts), LEAST)


def epsilon_of(rho: float, delta: float) -> float:
    """The epsilon of (epsilon, delta)-differential privacy that `rho` implies (Bun & Steinke, proposition 1.3)."""
    return rho + 2.0 * math.sqrt(rho * math.log(1.0 / delta))


def rho_of(epsilon: float, delta: float) -> float:
    """The largest `rho` that implies (epsilon, delta)-differential privacy by the same proposition."""
    log = math.log(1.0 / delta)
    return (math.sqrt(log + epsilon) - math.sqrt(log)) ** 2
