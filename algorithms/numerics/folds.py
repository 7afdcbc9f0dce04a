"""Dividing people into folds at random, and again the same way in every round.

A fold follows from a hash of who somebody is (SplitMix64; Steele, Lea & Flood 2014, OOPSLA) and of a seed: no list of
who is in which fold is kept or sent. Rows of one person stay together if the data say who that is.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cohortium.data import Data


def folds_of(data: Data, together: str | None, folds: int, seed: int) -> NDArray[np.intp]:
    """The fold of every row, shape (rows,), from 0; `together` names the variable whose values stay in one fold."""
    if together is None:
        who = np.arange(len(data), dtype=np.uint64)
    elif data.dictionary[together].is_numeric:
        who = np.ascontiguousarray(data[together], dtype=np.float64).view(np.uint64)
    else:
        who = data.codes(together).astype(np.uint64)
    return (_mixed(who + _mixed(np.array([seed], dtype=np.uint64))) % np.uint64(folds)).astype(np.intp)


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64, modulo 2^64."""
    z = values + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
