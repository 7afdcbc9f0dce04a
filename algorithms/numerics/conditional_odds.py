"""The odds ratio of a fourfold table given its margins: Fisher's noncentral hypergeometric distribution.

Source: Fisher (1935), JRSS 98:39; Cornfield (1956), Proc 3rd Berkeley Symposium 4:135, for the interval; as R's
`fisher.test` reports them.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from cohortium.quantities import Array

# Beyond this, on the logarithmic scale, no odds ratio is looked for.
_FAR = 60.0


def conditional_odds(table: Array, confidence: float) -> tuple[float, float, float]:
    """Conditional maximum-likelihood estimate with its exact interval; 0 or infinite where a cell is empty."""
    from scipy import special  # noqa: PLC0415 - a client does without

    (a, b), (c, d) = table
    low, high = max(0.0, a - d), min(a + b, a + c)
    x = np.arange(low, high + 1)
    cells = (x, a + b - x, a + c - x, d - a + x)
    weights = -sum(special.gammaln(cell + 1) for cell in cells)

    def probabilities(log_odds: float) -> Array:
        found = weights + x * log_odds
        found = np.exp(found - found.max())
        return np.asarray(found / found.sum())

    tail = (1 - confidence) / 2
    at_most, at_least = x <= a, x >= a
    estimate = _solve(lambda t: float(probabilities(t) @ x) - a, at_low=a == low, at_high=a == high)
    lower = _solve(lambda t: float(probabilities(t)[at_least].sum()) - tail, at_low=a == low, at_high=False)
    upper = _solve(lambda t: tail - float(probabilities(t)[at_most].sum()), at_low=False, at_high=a == high)
    return estimate, lower, upper


def _solve(rising: Callable[[float], float], *, at_low: bool, at_high: bool) -> float:
    """The odds ratio at which an increasing function of its logarithm is 0; 0 or infinite where it is known to be."""
    from scipy import optimize  # noqa: PLC0415

    if at_low or at_high:
        return 0.0 if at_low else math.inf
    return math.exp(optimize.brentq(rising, -_FAR, _FAR, xtol=1e-13, rtol=1e-14))
