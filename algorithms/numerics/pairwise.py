"""Log-rank comparisons of every two groups."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from algorithms.numerics.chi_squared import ChiSquared
from algorithms.numerics.hypergeometric import hypergeometric
from cohortium.quantities import Array
from cohortium.result import Estimate, wald

# Every two of more groups are too many comparisons to make sense.
MAX_GROUPS = 12


class Pair(BaseModel):
    """Two groups compared as if there were no others."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    test: ChiSquared = Field(description="Log-rank test of these two groups.")
    p_adjusted: float = Field(description="Its p-value, adjusted for the number of comparisons (Holm).")
    log_hazard_ratio: Estimate = Field(
        description="Peto's one-step estimate of the log hazard ratio: good near 0, too near to it for large effects."
    )


def pairs_of(groups: int) -> list[tuple[int, int]]:
    """Every two groups, in order; none of too many."""
    return list(combinations(range(groups), 2)) if groups <= MAX_GROUPS else []


def pair_sums(at_risk: Array, events: Array) -> Array:
    """Of the second of every two groups: events less those expected, and their variance, shape (pairs, 2).

    From people at risk and events, (groups, times).
    """
    found = np.zeros((len(pairs_of(len(at_risk))), 2))
    for row, pair in enumerate(pairs_of(len(at_risk))):
        expected, variance = hypergeometric(at_risk[list(pair)], events[list(pair)])
        found[row] = events[pair[1]].sum() - expected[1], variance[1, 1]
    return found


def compared(sums: Array, names: list[str], level: float) -> dict[str, Pair]:
    """The comparisons by name, from `pair_sums` over all strata; pairs never at risk together are left out."""
    told = [(names[b], names[a], *s) for (a, b), s in zip(pairs_of(len(names)), sums, strict=True) if s[1] > 0]
    if not told:
        return {}
    labels = [f"{second} - {first}" for second, first, _, _ in told]
    difference, variance = np.array([t[2] for t in told]), np.array([t[3] for t in told])
    tests = [ChiSquared.of(float(u * u / v), 1) for u, v in zip(difference, variance, strict=True)]
    adjusted = holm(np.array([test.p_value for test in tests]))
    ratios = wald(labels, difference / variance, np.diag(1.0 / variance), level)
    return {
        label: Pair(test=test, p_adjusted=float(p), log_hazard_ratio=ratios[label])
        for label, test, p in zip(labels, tests, adjusted, strict=True)
    }


def holm(p_values: Array) -> Array:
    """Adjusted p-values (Holm 1979, Scand J Stat 6:65)."""
    order = np.argsort(p_values, kind="stable")
    stepped = np.maximum.accumulate(p_values[order] * np.arange(len(p_values), 0, -1))
    adjusted = np.empty_like(stepped)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted
