"""The groups that a question tells apart: what is said of each is said of its rows, and so concerns the ledger.

Two questions about the same people may cut them at an age just below somebody's and just above it, or leave out many,
all but one of whom are in another group. Whichever it is, two groups that are told of differ by few people.

A model with a design tells of the people of each level of its terms; everything else of every combination of levels.
Parameters that divide people in yet another way say so themselves (`Params.divides`). Of a grid of times every point
divides people into those who left before and after; that is kept as the points only (see `Times`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from algorithms.numerics.design import Design
from algorithms.numerics.expressions import levels_of, value_levels
from algorithms.numerics.grouping import Grouping
from algorithms.numerics.groups import Groups
from algorithms.numerics.time_grid import TimeGridParams
from cohortium.analysis import Divided, Params
from cohortium.data import Data
from cohortium.dictionary import Dictionary
from cohortium.formula import Factor, Formula, Name, names_in
from cohortium.quantities import Array

# With more groups every factor is told apart by itself: so many are seldom of enough people to be told at all.
MOST = 256


@dataclass(frozen=True)
class Partition:
    """People divided into `size` groups by their values of `variables`; `label` says how, for the ledger's memory."""

    label: str
    variables: frozenset[str]
    size: int
    codes: Callable[[Data], NDArray[np.intp]]

    @classmethod
    def of(cls, divided: Divided) -> Self:
        """A division that parameters told of."""
        return cls(divided.label, frozenset(divided.variables), divided.size, divided.codes)

    def groups(self, data: Data, names: frozenset[str], least: int) -> Iterator[tuple[str, NDArray[np.intp]]]:
        """Name and rows (positions among the rows that have a value for `names`) of every group of `least` people.

        Smaller ones are withheld, or stop the question; then all others together are a group as well, for what is left
        of everybody tells of the small one.
        """
        codes = self.all_codes(data, names)
        order = np.argsort(codes, kind="stable")
        people = np.bincount(codes, minlength=self.size)
        ends, large = np.cumsum(people), people >= least
        if large.any() and np.any(people[~large]):
            yield f"{self.label}: all large groups", np.flatnonzero(large[codes])
        for group, (start, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
            if least <= end - start < len(codes):
                yield f"{self.label}={group}", order[start:end]

    def all_codes(self, data: Data, names: frozenset[str]) -> NDArray[np.intp]:
        """The group of every row that has a value for `names`."""
        return np.concatenate([np.zeros(0, np.intp), *(self.codes(block) for block in data.blocks(names))])


@dataclass(frozen=True, eq=False)
class Times:
    """Points of time before and after which people are told of, of a variable: `points` in order, in its unit.

    `groups`, shape (rows,), and `values`, those of the rows that have one.
    """

    variable: str
    points: Array
    values: Array
    groups: NDArray[np.intp]


def partitions(params: Params) -> list[Partition]:
    """How a question divides people; not at all if it names no category and no cut."""
    dictionary, formula = params.dictionary, getattr(params, "formula", None)
    if isinstance(formula, Formula):
        terms = [_dividing(term.factors, dictionary) for term in formula.terms]
        strata = _dividing(formula.strata, dictionary)
        if isinstance(getattr(params, "design", None), Design):
            return _partitions([*terms, *([factor] for factor in strata)], formula, dictionary)
        return _partitions([list(dict.fromkeys(itertools.chain(*terms, strata)))], formula, dictionary)
    groups = getattr(params, "groups", None)
    if isinstance(groups, Groups) and groups.variables:
        formula = Formula("~ " + " + ".join(groups.variables))
        return _partitions([[Name(name) for name in groups.variables]], formula, dictionary)
    return []


def grid_of(params: Params, statistic: str, broadcast: Mapping[str, Array]) -> tuple[float, ...]:
    """The points of a grid of times that a statistic divides people by."""
    if not isinstance(params, TimeGridParams) or not getattr(params, "needs_grid", True):
        return ()
    return tuple(map(float, params.told_points(statistic, broadcast)))


def times(params: Params, data: Data, grid: tuple[float, ...]) -> list[Times]:
    """The points of time that a question divides people by: its grid (see `grid_of`), and the end of follow-up."""
    return list(_times(params, data, np.array(grid))) if isinstance(params, TimeGridParams) else []


def _times(params: TimeGridParams, data: Data, grid: Array) -> Iterator[Times]:
    until = params.until
    points = grid if until is None else np.append(grid[grid < until * (1 - 1e-9)], until)
    names = frozenset(name.name for name in params.formula.names)
    if not len(points) or not names <= data.columns.keys():
        return
    apart = [p for p in partitions(params) if p.variables <= names]
    groups = apart[0].all_codes(data, names) if len(apart) == 1 else np.zeros(0, np.intp)
    for name in (params.surv.start, params.surv.time):
        if name is not None:
            values = data[name.name][data.complete(names)]
            yield Times(name.name, points, values, groups if len(groups) else np.zeros(len(values), np.intp))


def _partitions(several: Sequence[Sequence[Factor]], formula: Formula, dictionary: Dictionary) -> list[Partition]:
    found: dict[str, Partition] = {}
    for factors in several:
        size = math.prod(len(_levels(factor, dictionary)) for factor in factors)
        for part in [factors] if size <= MOST else [[factor] for factor in factors]:
            if part:
                grouping, label = Grouping(part, formula, dictionary), "*".join(map(str, part))
                names = frozenset(name.name for factor in part for name in names_in(factor))
                found[label] = Partition(label, names, len(grouping.names), grouping.codes)
    return list(found.values())


def _dividing(factors: Sequence[Factor], dictionary: Dictionary) -> list[Factor]:
    return [factor for factor in factors if _levels(factor, dictionary)]


def _levels(factor: Factor, dictionary: Dictionary) -> tuple[str, ...]:
    plain = isinstance(factor, Name)
    return value_levels(dictionary[str(factor)]) if plain else levels_of(factor, dictionary)
