"""How often the person with the higher risk score has the event first, over all cohorts, from a table.

People are counted by when they leave and by bins of their score; pairs within a bin of both are ties. With 200 bins
of score and 250 of time Harrell's C is off by a few ten-thousandths.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import special

from algorithms.numerics.concordance import Pairs
from algorithms.numerics.cox_params import CoxParams
from algorithms.numerics.partial_likelihood import Rows
from algorithms.numerics.time_grid import follow_up, group_codes
from cohortium.quantities import Array

SCORES, TIMES = 200, 250


def has_score_table(params: CoxParams) -> bool:
    """Whether pairs of people of different cohorts can be compared: with one baseline, and nobody late or weighted."""
    return not params.stratified and not params.delayed and params.weights is None


def shape(params: CoxParams) -> tuple[int, int, int, int]:
    """Event or not, strata, times and bins of score; none where there is no table."""
    if not has_score_table(params):
        return 2, 1, 0, 0
    return 2, len(params.groups), min(params.points, TIMES) + 1, SCORES


def score_table(rows: Rows, coefficients: Array, spread: float) -> Array:
    """People of one cohort by event, stratum, time and score; `spread` is about a standard deviation of scores."""
    params = rows.params
    table = np.zeros(shape(params))
    if not table.size:
        return table
    _, strata, times, bins = table.shape
    data = rows.data.blocks(params.variables, rows.block_rows)
    for (_, _, predictor), block in zip(rows.blocks(coefficients), data, strict=True):
        # Bins with about as many people each, if scores were normal; wider tails, for they seldom are.
        score = (special.ndtr(predictor / (1.3 * max(spread, 1e-12))) * bins).astype(np.intp)
        _, leaving, event = follow_up(block, params)
        time = np.ceil(leaving * ((times - 1) / params.points) - 1e-9).astype(np.intp)
        cell = ((event * 1 * strata + group_codes(block, params)) * times + time) * bins + np.minimum(score, bins - 1)
        used = np.ones(len(block), dtype=np.bool_) if params.on_grid else block[params.surv.time.name] > 0
        table += np.bincount(cell[used], minlength=table.size).reshape(table.shape)
    return table


def pairs_of_table(table: Array) -> Pairs | None:
    """The pairs that a table tells of; None if there is none, or some of it is withheld."""
    if not table.size or np.any(np.isnan(table)):
        return None
    counts, squares = np.zeros(5), np.zeros(3)
    for others, events in zip(*table, strict=True):
        later = _strictly(others + events, axis=0, backwards=True) + others
        # Whoever has the event at a time is compared with those who are still there after it.
        concordant, discordant = _strictly(later, axis=1), _strictly(later, axis=1, backwards=True)
        counts[:3] += [np.sum(events * pairs) for pairs in (concordant, discordant, later)]
        per_time = events.sum(axis=1)
        same = 0.5 * np.sum(events * (events - 1.0))
        counts[3:] += [0.5 * np.sum(per_time * (per_time - 1.0)) - same, same]
        # And with those who had it before, their scores the other way round; who is censored, also at the same time.
        earlier = _strictly(events, axis=0)
        for people, before, after in ((events, earlier, later), (others, earlier + events, np.zeros_like(later))):
            difference = _strictly(before, axis=1, backwards=True) - _strictly(before, axis=1)
            difference += _strictly(after, axis=1) - _strictly(after, axis=1, backwards=True)
            number = before.sum(axis=1, keepdims=True) + after.sum(axis=1, keepdims=True)
            squares += [np.sum(people * a) for a in (difference**2, difference * number, number**2 + 0.0 * difference)]
    return Pairs(counts, squares)


def _strictly(values: Array, *, axis: int, backwards: bool = False) -> Array:
    """Sums over what comes before (or after) along an axis."""
    turned = np.flip(values, axis) if backwards else values
    total = np.cumsum(turned, axis=axis) - turned
    return np.flip(total, axis) if backwards else total


def spread_of(coefficients: Array, information: Array, events: float) -> float:
    """About the standard deviation of risk scores, from the information where no covariate had an effect yet."""
    return math.sqrt(max(float(coefficients @ information @ coefficients) / max(events, 1.0), 0.0))
