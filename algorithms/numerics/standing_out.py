"""Whether one person makes up a sum of values, or of their squares, per group: for the check of the node."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cohortium.evidence import Concentration, Evidence, Plain, Shares
from cohortium.quantities import Array

PLAIN = Plain("sums of powers of values: those about any other centre, in any other unit, follow from them")


class StandingOut:
    """Values by group, block by block: the shares of the largest in the sum of |x|, and in that of squares.

    The share in the squares about the group's mean, plus 1 / n, is the leverage of a person in a mean and a variance.
    """

    def __init__(self, groups: int = 1) -> None:
        self._magnitudes = Concentration((groups,))
        self._n, self._origin, self._sums, self._squares = np.zeros((4, groups))
        self._low, self._high = np.full(groups, np.inf), np.full(groups, -np.inf)

    def add(self, values: Array, codes: NDArray[np.intp] | None = None) -> None:
        """Add values; `codes` say whose group they belong to, if there are several."""
        if not len(values):
            return
        codes = np.zeros(len(values), dtype=np.intp) if codes is None else codes
        groups, first = np.unique(codes, return_index=True)
        new = self._n[groups] == 0
        self._origin[groups[new]] = values[first[new]]
        self._magnitudes.add_by(codes, values)
        np.minimum.at(self._low, codes, values)
        np.maximum.at(self._high, codes, values)
        shifted, size = values - self._origin[codes], len(self._n)
        self._n += np.bincount(codes, minlength=size)
        self._sums += np.bincount(codes, shifted, size)
        self._squares += np.bincount(codes, shifted * shifted, size)

    @property
    def leverage(self) -> Array:
        """The largest leverage of one person, per group; 0 where there is nobody."""
        some = self._n > 0
        n, mean = np.maximum(self._n, 1.0), self._sums / np.maximum(self._n, 1.0)
        squares = np.maximum(self._squares - n * mean**2, 0.0)
        low, high = np.where(some, self._low, 0.0), np.where(some, self._high, 0.0)
        farthest = np.maximum(high - self._origin - mean, self._origin + mean - low)
        varies = squares > 1e-18 * n * np.maximum(np.abs(low), np.abs(high)) ** 2
        share = np.where(varies, farthest**2 / np.where(varies, squares, 1.0), 0.0)
        return np.where(some, share + 1.0 / n, 0.0)

    @property
    def people(self) -> Array:
        """How many there are, per group."""
        return self._n

    @property
    def magnitudes(self) -> Shares:
        """The shares of the largest in the sum of |x|, per group."""
        return self._magnitudes.shares

    def evidence(self, names: Sequence[str] = ()) -> Evidence:
        """What the check is shown; `names` of the groups."""
        return Evidence(weights=PLAIN, magnitudes=self.magnitudes, leverage=self.leverage, names=tuple(names))


def together(found: Sequence[tuple[str, StandingOut]], least: int = 1) -> Evidence:
    """The evidence of several variables, by name, of those groups that have `least` people or more."""
    shown = [standing.people >= least for _, standing in found]
    parts = list(zip(found, shown, strict=True))
    return Evidence(
        weights=PLAIN,
        magnitudes=Shares.joined(*(standing.magnitudes.of_those(who) for (_, standing), who in parts)),
        leverage=np.concatenate([np.zeros(0), *(standing.leverage[who] for (_, standing), who in parts)]),
        names=tuple(name for (name, _), who in parts for _ in range(np.count_nonzero(who))),
    )
