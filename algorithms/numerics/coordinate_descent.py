"""Least squares with an elastic-net penalty, from cross-products alone.

Minimises b'Gb / 2 - c'b + penalty (mix |b|_1 + (1 - mix) |b|^2 / 2): with G = X'X / n and c = X'y / n that is the
objective of glmnet and scikit-learn (Friedman, Hastie & Tibshirani 2010, J Stat Softw 33(1)). Coordinate descent finds
which coefficients are not 0 and their signs; given these the solution is that of linear equations, exact to rounding.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cohortium.errors import NotConverged
from cohortium.quantities import Array

_SWEEPS = 10_000


def solve(G: Array, c: Array, penalty: float, mix: float, start: Array) -> Array:
    """The minimum, shape (p,), searched from `start`. Raises NotConverged."""
    b = start.copy()
    if not len(b):
        return b
    lasso, diagonal = penalty * mix, np.diag(G) + penalty * (1.0 - mix)
    gradient, signs = c - G @ b, np.sign(b)
    for _ in range(_SWEEPS):
        for j in np.flatnonzero(diagonal > 0):
            pull = gradient[j] + G[j, j] * b[j]
            new = np.sign(pull) * max(abs(pull) - lasso, 0.0) / diagonal[j]
            if new != b[j]:
                gradient -= G[:, j] * (new - b[j])
                b[j] = new
        before, signs = signs, np.sign(b)
        if np.array_equal(before, signs):
            exact = _given_signs(G, c, penalty, mix, signs)
            if exact is not None:
                return exact
    raise NotConverged("The penalised fit did not converge. Ask for larger penalties, or for less lasso.")


def largest_penalty(c: Array, mix: float) -> float:
    """The smallest penalty at which every coefficient is 0 (of a ridge, where there is none: that at a mix of 1e-3)."""
    return float(np.max(np.abs(c), initial=0.0)) / max(mix, 1e-3)


def _given_signs(G: Array, c: Array, penalty: float, mix: float, signs: Array) -> Array | None:
    """The solution with these signs, or None if the minimum has others."""
    at: NDArray[np.intp] = np.flatnonzero(signs)
    lasso, b = penalty * mix, np.zeros(len(c))
    if len(at):
        system = G[np.ix_(at, at)] + penalty * (1.0 - mix) * np.eye(len(at))
        try:
            b[at] = np.linalg.solve(system, c[at] - lasso * signs[at])
        except np.linalg.LinAlgError:
            return None
    gradient, slack = c - G @ b, 1e-9 * max(lasso, float(np.max(np.abs(c))))
    others = np.flatnonzero(signs == 0)
    kept = bool(np.all(np.sign(b[at]) == signs[at]))
    return b if kept and np.all(np.abs(gradient[others]) <= lasso + slack) else None
