"""Keeping a withheld cell from being worked out from totals: complementary suppression, at the node.

Beside the cells of a table go totals: of its lines, of all people, of those who are left out. A line of which just one
part is unknown tells that part by subtraction; of two unknown parts that come to fewer people than may be told of, the
line tells that there are so few. So in every line with something withheld more is withheld, the smallest cells first,
until the unknown parts are two and come to enough people (Hundepool et al. 2012, *Statistical Disclosure Control*, 4.4:
primary and secondary suppression). Lines share cells, so this goes round until no line needs more.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from cohortium.quantities import Array

Mask = NDArray[np.bool_]


def withhold(cells: Array, least: int, *, total: bool) -> Array:
    """The cells, shape (strata, ...), with those below `least` NaN, and others too where a total would tell them.

    The totals over the first axis are released beside them, and if `total` also that over all.
    """
    lines: list[Mask] = []
    for place in np.ndindex(cells.shape[1:]) if len(cells) > 1 else ():
        line = np.zeros(cells.shape, dtype=np.bool_)
        line[:, *place] = True
        lines.append(line)
    return withhold_lines(cells, least, [*lines, *([np.ones(cells.shape, dtype=np.bool_)] if total else [])])


def withhold_lines(cells: Array, least: int, lines: Iterable[Mask]) -> Array:
    """The cells with those below `least` NaN, and others too where a line of which the total is known would tell them.

    `lines` are masks of the shape of the cells; cells without anybody are told unless nothing else hides a cell.
    """
    if least <= 1:
        return cells
    hidden = (cells > 0) & (cells < least)
    known = [line for line in lines if np.count_nonzero(line) > 1]
    while any(_hide_another(cells, hidden, line, least) for line in known):
        pass
    return np.where(hidden, np.nan, cells)


def _hide_another(cells: Array, hidden: Mask, line: Mask, least: int) -> bool:
    """Mark one more cell of a line if what is marked could be told from its total; False if there is no need."""
    marked = hidden & line
    count = np.count_nonzero(marked)
    if not count or (count > 1 and cells[marked].sum() >= least):
        return False
    others = np.where(line & ~hidden, np.where(cells > 0, cells, 1e300), np.inf)
    chosen = np.unravel_index(np.argmin(others), cells.shape)
    if not np.isfinite(others[chosen]):
        return False  # nothing is left to hide
    hidden[chosen] = True
    return True
