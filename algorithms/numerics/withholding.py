"""Keeping a withheld cell from being worked out from totals: complementary suppression, at the node.

The totals of a table's lines are told somewhere, if not beside it: one question is about a table, another about its
margin. So in every line, along every axis, the withheld cells together are of enough people, or all of it is withheld:
also its empty cells, for a 0 beside the one cell that is not told says where everybody is.

Source: Cox (1980), JASA 75:377; Hundepool et al. (2012), Statistical Disclosure Control, ch. 4.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cohortium.quantities import Array

Mask = NDArray[np.bool_]


def withhold(cells: Array, least: int, *, also: Mask | None = None) -> Array:
    """The cells of a table of any number of axes, those that may not be told NaN: the small ones, and those `also`.

    In a line whose withheld cells are of fewer than `least` people the smallest other cells follow, somebody's rather
    than nobody's, until they are as many; if nobody is left the empty ones follow, too.
    """
    hidden = (cells > 0) & (cells < least)
    if also is not None:
        hidden |= also
    while least > 1:
        before = np.count_nonzero(hidden)
        for axis in range(1, cells.ndim + 1):
            _complete(np.moveaxis(cells[None], axis, -1), np.moveaxis(hidden[None], axis, -1), least)
        if np.count_nonzero(hidden) == before:
            break
    return np.where(hidden, np.nan, cells)


def withhold_strata(strata: Array, least: int) -> tuple[Array, Array]:
    """The table summed over strata, and that of every stratum, shape (strata, ...), neither of which tells the other's.

    A cell that is withheld of the sum is withheld of every stratum.
    """
    table = withhold(strata.sum(axis=0), least)
    return table, withhold(strata, least, also=np.broadcast_to(np.isnan(table), strata.shape).copy())


def _complete(cells: Array, hidden: Mask, least: int) -> None:
    """Mark one more cell of every line (along the last axis) that needs it; both are views, marks are set in place."""
    people = np.where(hidden, cells, 0.0).sum(axis=-1)
    lacking = hidden.any(axis=-1) & (people < least) & ~hidden.all(axis=-1)
    if not lacking.any():
        return
    # Somebody's cells in order of their size, then the empty ones; what is withheld already comes last.
    order = np.where(hidden, np.inf, np.where(cells > 0, cells, 1e300))
    lines = np.nonzero(lacking)
    hidden[(*lines, np.argmin(order[lines], axis=-1))] = True
