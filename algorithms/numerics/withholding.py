"""Keeping a withheld cell from being worked out from totals: complementary suppression, at the node."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cohortium.quantities import Array


def withhold(cells: Array, least: int, *, total: bool) -> Array:
    """The cells, shape (strata, ...), with those below `least` NaN, and others too where a total would tell them.

    The totals over the first axis are released beside them, and if `total` also that over all. Where one of these has
    just one unknown part, its smallest other part is withheld as well, somebody's rather than nobody's.
    """
    if least <= 1:
        return cells
    hidden = (cells > 0) & (cells < least)
    columns, marks = cells.reshape(len(cells), -1), hidden.reshape(len(cells), -1)  # views: marks are set in place
    if len(cells) > 1:
        for column, mark in zip(columns.T, marks.T, strict=True):
            _hide_another(column, mark)
    if total:
        _hide_another(columns.reshape(-1), marks.reshape(-1))
    return np.where(marks.reshape(cells.shape), np.nan, cells)


def _hide_another(cells: Array, hidden: NDArray[np.bool_]) -> None:
    """Mark one more of `cells` if just one is marked."""
    if np.count_nonzero(hidden) != 1:
        return
    others = np.where(hidden, np.inf, np.where(cells > 0, cells, 1e300))
    hidden[np.argmin(others)] = True
