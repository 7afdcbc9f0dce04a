"""Which order statistics make a quantile: the nine definitions of Hyndman & Fan (1996), Am Stat 50:361."""

from __future__ import annotations

import math
import sys

# Plotting positions (a, b) of the continuous types: the quantile lies at a + p (n + 1 - a - b).
_POSITIONS = {
    4: (0.0, 1.0),
    5: (0.5, 0.5),
    6: (0.0, 0.0),
    7: (1.0, 1.0),
    8: (1 / 3, 1 / 3),
    9: (3 / 8, 3 / 8),
}
# As in R: a position this close to a whole number is meant to be one.
_FUZZ = 4 * sys.float_info.epsilon


def position(n: int, probability: float, kind: int) -> tuple[int, int, float]:
    """Ranks j and j + 1 (between 1 and n) and the weight of the second, for the quantile of type `kind` of n values."""
    if kind in _POSITIONS:
        a, b = _POSITIONS[kind]
        at = a + probability * (n + 1 - a - b)
    else:
        at = n * probability - (0.5 if kind == 3 else 0.0)
    j = math.floor(at + _FUZZ * max(1.0, at))
    rest = at - j if abs(at - j) > _FUZZ * max(1.0, at) else 0.0
    if kind == 1:
        rest = float(rest > 0)
    elif kind == 2:
        rest = 1.0 if rest > 0 else 0.5
    elif kind == 3:
        rest = float(rest != 0 or j % 2 == 1)
    return min(max(j, 1), n), min(max(j + 1, 1), n), rest
