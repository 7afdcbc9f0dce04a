"""How often, of two people, the one with the higher risk score has the event first.

Counting all pairs takes O(n log n): the people who are still there when somebody has the event stand in one run of
the order of leaving, and a wavelet tree tells how many of a run score lower.

Source: Harrell et al. (1982), JAMA 247:2543; wavelet trees: Grossi, Gupta & Vitter (2003), SODA 841; the
standard error (infinitesimal jackknife) is that of R's survival::concordance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from algorithms.numerics.follow_up import Places
from algorithms.numerics.risk_sets import RiskSets
from algorithms.numerics.score_residuals import Squares
from cohortium.quantities import Array

# Risk scores closer than this are the same person's covariates added up in another order.
SAME_SCORE = 1e-10
# People whose pairs are counted together.
QUERIES = 500_000


@dataclass(frozen=True)
class Pairs:
    """Pairs of people, weighted: `counts` concordant, discordant, tied score, tied time, both tied, shape (5,).

    `squares` are sums over people (or clusters) of a^2, ab and b^2, where a is the number of concordant less
    discordant pairs a person is in and b the number of all, per person: enough for the standard error.
    """

    counts: Array
    squares: Array


def concordance(sets: RiskSets, predictor: Array, people: float = 1.0) -> Pairs:
    """The pairs of one cohort, within its strata; a person with a late entry is compared from then on.

    `people` is what each person's pairs are divided by in `squares`, which else grow with their third power.
    """
    rank = _ranks(predictor)
    del predictor  # as large as a column
    # Those with the event stand before those who leave later, at the same time or not, without it.
    longer = _Runs(2 * sets.last + ~sets.event, rank, sets.weight, 2 * sets.nowhere + 2)
    late = None
    if sets.before is not None:
        late = _Runs(sets.first(slice(None)), rank, sets.weight, sets.nowhere + 1)
    own, own_rank = sets.last[sets.event], rank[sets.event]
    own_weight = None if sets.weight is None else sets.weight[sets.event]
    dying = _Runs(own, own_rank, own_weight, sets.nowhere + 1)
    counts, squares = np.zeros(3), Squares(2, sets)
    for start in range(0, len(rank), QUERIES):
        rows = slice(start, start + QUERIES)
        last, event, weight = sets.last[rows], sets.event[rows], 1.0 if sets.weight is None else sets.weight[rows]
        # Rows: lower score, same score, higher score. The one who lives longer should have the lower.
        earlier = dying.count(sets.first(rows), np.minimum(last + ~event, sets.nowhere), rank[rows])
        at, end = last[event], sets.stratum_end[last[event]]
        survivors = longer.count(2 * at + 1, 2 * end, rank[rows][event])
        if late is not None:
            survivors -= late.count(at + 1, end, rank[rows][event])
        concordant, tied, discordant = survivors @ np.broadcast_to(weight, len(event))[event]
        counts += [concordant, discordant, tied]
        pairs = earlier[[2, 1, 0]]
        pairs[:, event] += survivors
        squares.add(rows, weight / people * np.array([pairs[0] - pairs[2], pairs.sum(axis=0)]))
    total = squares.sum()
    ties = _ties(own, own_rank, own_weight)
    return Pairs(np.array([*counts, *ties]), np.array([total[0, 0], total[0, 1], total[1, 1]]))


def _ranks(predictor: Array) -> Places:
    """Numbers of the different scores, in order; row by row, for a sorted copy would be another column."""
    order = np.argsort(predictor)
    rank = np.zeros(len(order), dtype=np.int32)
    at, before = -1, -np.inf
    for start in range(0, len(order), QUERIES):
        rows = order[start : start + QUERIES]
        scores = predictor[rows]
        steps = np.diff(scores, prepend=before) > SAME_SCORE
        rank[rows] = at + np.cumsum(steps)
        at, before = int(rank[rows[-1]]), scores[-1]
    return rank


def _ties(at: Places, rank: Places, weight: Array | None) -> tuple[float, float]:
    """Pairs of events at the same time, with different scores and with the same."""
    both = at * np.int64(int(rank.max(initial=0)) + 1) + rank
    squares = float(len(at)) if weight is None else float(np.sum(weight**2))
    same_time = float(np.sum(np.bincount(at, weights=weight).astype(np.float64) ** 2))
    if weight is None:
        both.sort()
        first = np.flatnonzero(np.diff(both, prepend=-1))
        people = np.diff(first, append=len(both)).astype(np.float64)
    else:
        people = np.bincount(np.unique(both, return_inverse=True)[1], weights=weight).astype(np.float64)
    same_both = float(np.sum(people**2))
    return 0.5 * (same_time - same_both), 0.5 * (same_both - squares)


class _Runs:
    """People in the order of `place` (integers below `places`), so that a range of places is one run of them."""

    def __init__(self, place: Places, rank: Places, weight: Array | None, places: int) -> None:
        self.start = np.concatenate([[0], np.cumsum(np.bincount(place, minlength=places))]).astype(np.int32)
        order = np.argsort(place)
        self.rank, self.weight = rank[order], None if weight is None else weight[order]

    def count(self, low: Places, high: Places, rank: Places) -> Array:
        """Weight of those at low <= place < high with a lower, the same and a higher rank, shape (3, queries)."""
        return _count(self.rank, self.weight, self.start[low], self.start[high], rank)


def _count(rank: Places, weight: Array | None, low: Places, high: Places, wanted: Places) -> Array:
    """The same for the run low <= position < high of elements with these ranks, from the highest bit down."""
    total = _weight_of_runs(weight, low, high)
    lower = np.zeros(len(low))
    for bit in reversed(range(int(max(rank.max(initial=0), wanted.max(initial=0))).bit_length())):
        one, up = rank & (1 << bit) != 0, wanted & (1 << bit) != 0
        ones = np.zeros(len(one) + 1, dtype=np.int32)
        np.cumsum(one, out=ones[1:])
        low_ones, high_ones = ones[low], ones[high]
        zeros = np.int32(len(one) - ones[-1])
        if weight is None:
            lower += up * ((high - low) - (high_ones - low_ones))
        else:
            lower += up * _weight_of_runs(np.where(one, 0.0, weight), low, high)
            weight = np.concatenate([weight[~one], weight[one]])
        low = np.where(up, zeros + low_ones, low - low_ones)
        high = np.where(up, zeros + high_ones, high - high_ones)
        sorted_by_bit = np.empty_like(rank)
        sorted_by_bit[:zeros], sorted_by_bit[zeros:] = rank[~one], rank[one]
        rank = sorted_by_bit
    same = _weight_of_runs(weight, low, high)
    return np.array([lower, same, total - lower - same])


def _weight_of_runs(weight: Array | None, low: Places, high: Places) -> Array:
    if weight is None:
        return (high - low).astype(np.float64)
    cumulated = np.concatenate([[0.0], np.cumsum(weight)])
    return np.asarray(cumulated[high] - cumulated[low])
