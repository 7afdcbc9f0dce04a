"""Concordance of a hazard model against every pair counted one by one."""

import itertools

import numpy as np
from hazards import close
from hypothesis import given, settings
from hypothesis import strategies as st

from algorithms.numerics.concordance import concordance
from algorithms.numerics.risk_sets import own_risk_sets


def pairs_written_out(start, stop, dead, *, stratum, score, weight):
    counts, mine = np.zeros(5), np.zeros((len(stop), 2))
    for i, j in itertools.permutations(range(len(stop)), 2):
        if stratum[i] != stratum[j] or not dead[i] or start[j] >= stop[i] or start[i] >= stop[i]:
            continue
        w = weight[i] * weight[j]
        if stop[j] > stop[i] or (stop[j] == stop[i] and not dead[j]):
            kind = 0 if score[j] < score[i] else 1 if score[j] > score[i] else 2
            counts[kind] += w
            for a, b in ((i, j), (j, i)):
                mine[a] += weight[a] * weight[b] * np.array([(kind == 0) - (kind == 1.0), 1.0])
        elif stop[j] == stop[i] and dead[j] and i < j:
            counts[4 if score[i] == score[j] else 3] += w
    return counts, np.array([mine[:, 0] @ mine[:, 0], mine[:, 0] @ mine[:, 1], mine[:, 1] @ mine[:, 1]])


class TestConcordance:
    @settings(max_examples=40)
    @given(seed=st.integers(0, 10**6), n=st.integers(0, 60), late=st.booleans(), weighted=st.booleans())
    def test_counts_every_pair(self, seed, n, late, weighted):
        rng = np.random.default_rng(seed)
        stop = rng.integers(1, 12, n).astype(float)
        start = np.floor(rng.uniform(0, 1, n) * stop) if late else None
        dead, stratum = rng.random(n) < 0.5, rng.integers(0, 3, n)
        score, weight = rng.integers(0, 6, n) / 3.0, rng.integers(1, 4, n).astype(float)
        sets = own_risk_sets(start, stop, dead, stratum)
        if weighted:
            object.__setattr__(sets, "weight", weight)
        found = concordance(sets, score)
        begin = np.full(n, -1.0) if start is None else start
        counts, squares = pairs_written_out(
            begin, stop, dead, stratum=stratum, score=score, weight=weight if weighted else np.ones(n)
        )
        close(found.counts, counts)
        close(found.squares, squares)

    def test_the_same_covariates_are_tied_whatever_rounding_does(self):
        score = np.array([0.1 + 0.2, 0.3, 0.7])
        sets = own_risk_sets(None, np.array([1.0, 2.0, 3.0]), np.array([True, False, False]), np.zeros(3, int))
        close(concordance(sets, score).counts, [0, 1, 1, 0, 0])
