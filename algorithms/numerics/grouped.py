"""What one cohort adds up per group: people, levels, spreads, powers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from algorithms.numerics.expressions import value_codes
from algorithms.numerics.groups import Groups, tally
from algorithms.numerics.preparation import Spread
from algorithms.numerics.standing_out import StandingOut, together
from algorithms.numerics.withholding import withhold
from cohortium.data import Data
from cohortium.evidence import Evidence
from cohortium.quantities import Array


def people(data: Data, groups: Groups) -> Array:
    """People per group."""
    found = np.zeros(len(groups))
    if groups.collected(data):
        for block in data.blocks(groups.variables):
            found += tally(groups.codes(block), len(groups))
    return found


def spreads(data: Data, name: str, groups: Groups) -> tuple[Array, Array, Array]:
    """People with a value, its sum, and people times its standard deviation, per group."""
    found = [Spread(1) for _ in range(len(groups))]
    for codes, values in groups.values(data, name):
        for g in np.unique(codes):
            found[g].add(values[codes == g][:, None])
    parts = ([float(s.n) for s in found], [float(s.sum[0]) for s in found], [float(s.spread[0]) for s in found])
    return np.array(parts[0]), np.array(parts[1]), np.array(parts[2])


def powers(data: Data, name: str, groups: Groups, centre: Array, unit: Array) -> tuple[Array, Array]:
    """People with a value, and the sums of the first two powers of (value - centre) / unit, shape (groups, 2)."""
    n, found = np.zeros(len(groups)), np.zeros((len(groups), 2))
    for codes, values in groups.values(data, name):
        z = (values - centre[codes]) / unit[codes]
        n += tally(codes, len(groups))
        for k, power in enumerate((z, z * z)):
            found[:, k] += np.bincount(codes, weights=power, minlength=len(groups))
    return n, found


def standing_out(data: Data, names: Sequence[str], groups: Groups, least: int) -> Evidence:
    """Whether one person makes up the sums of a number in a group; of groups of fewer than `least`, nothing leaves."""
    found = []
    for name in names:
        found.append((name, StandingOut(len(groups))))
        for codes, values in groups.values(data, name):
            found[-1][1].add(values, codes)
    return together(found, least)


def level_cells(data: Data, categories: Mapping[str, tuple[str, ...]], groups: Groups) -> Array:
    """People per category, level (the last: missing) and group.

    Where a level is too small to be shown, those who are missing are withheld too: with the people of the group known,
    they would tell it.
    """
    widest = max((len(levels) for levels in categories.values()), default=0)
    cells, total = np.zeros((len(categories), widest + 1, len(groups))), people(data, groups)
    for cell, (name, levels) in zip(cells, categories.items(), strict=True):
        if name in data.columns and groups.collected(data):
            for block in data.blocks([name, *groups.variables]):
                code = value_codes(block, name) * len(groups) + groups.codes(block)
                cell[: len(levels)] += tally(code, len(levels) * len(groups)).reshape(len(levels), len(groups))
        cell[-1] = total - cell.sum(axis=0)
        cell[: len(levels)] = withhold(cell[: len(levels)], data.least_group)
        cell[-1, np.isnan(cell[:-1]).any(axis=0)] = np.nan
    return cells
