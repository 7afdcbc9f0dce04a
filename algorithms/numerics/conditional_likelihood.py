"""The likelihood of who are the cases of a matched set, given how many there are.

Of a set with m cases among s people it is exp(sum of the cases' x b) over the sum of the same for every choice of m of
the s, the elementary symmetric function of degree m of the exp(x b). It and its derivatives follow by recursion over
the people (Gail, Lubin & Rubinstein 1981, Biometrika 68:703). Sets with one case are a softmax. Which are called cases
does not matter, so that in sets with more cases than others the others are counted.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cohortium.errors import InvalidQuestion
from cohortium.quantities import Array

# Beyond this the number of choices passes what a float holds, and the recursion takes long.
MOST_IN_A_SET = 1000
# Numbers that a recursion over sets of the same shape works on at once.
_TOGETHER = 2_000_000

Places = NDArray[np.intp]


@dataclass
class ConditionalSums:
    """Log-likelihood with its derivatives; `information` is minus the second.

    `of_sets` is each set's part in the diagonal of the information, in any order of sets, (sets, width).
    """

    log_likelihood: float
    score: Array
    information: Array
    of_sets: Array = field(default_factory=lambda: np.zeros((0, 0)))

    @classmethod
    def zero(cls, width: int) -> ConditionalSums:
        """Nothing yet."""
        return cls(0.0, np.zeros(width), np.zeros((width, width)), np.zeros((0, width)))

    def add(self, other: ConditionalSums) -> None:
        """Add up."""
        self.log_likelihood += other.log_likelihood
        self.score = self.score + other.score
        self.information = self.information + other.information
        self.of_sets = np.vstack([self.of_sets, other.of_sets]) if other.of_sets.size else self.of_sets


def conditional_sums(x: Array, case: Array, starts: Places, coefficients: Array) -> ConditionalSums:
    """The sums over sets of neighbouring rows, `starts` being the first of each; every set has cases and others.

    `x` (rows, width); `case` 0 or 1 (rows,). Raises InvalidQuestion for a set too large for its number of cases.
    """
    sizes = np.diff(starts, append=len(x))
    cases = np.add.reduceat(case, starts)
    turned = 2 * cases > sizes
    sign = np.repeat(np.where(turned, -1.0, 1.0), sizes)
    x, case = x * sign[:, None], np.where(sign < 0, 1.0 - case, case)
    fewer = np.where(turned, sizes - cases, cases).astype(np.intp)
    if np.any((fewer > 1) & (sizes > MOST_IN_A_SET)):
        raise InvalidQuestion(
            f"A matched set has more than {MOST_IN_A_SET} people and several cases: such sets are strata rather than "
            "matches. Match more closely, or ask for a glm with the set's characteristics as covariates."
        )
    total = ConditionalSums.zero(x.shape[1])
    single = np.repeat(fewer == 1, sizes)
    if single.any():
        total.add(_one_case(x[single], case[single], sizes[fewer == 1], coefficients))
    for size, m in sorted(set(zip(sizes[fewer > 1].tolist(), fewer[fewer > 1].tolist(), strict=True))):
        first = starts[(sizes == size) & (fewer == m)]
        at_once = max(_TOGETHER // ((m + 1) * (1 + x.shape[1]) ** 2), 1)
        for some in np.array_split(first, range(at_once, len(first), at_once)):
            rows = some[:, None] + np.arange(size)
            total.add(_several_cases(x[rows], case[rows], m, coefficients))
    return total


def _one_case(x: Array, case: Array, sizes: Places, coefficients: Array) -> ConditionalSums:
    starts = np.cumsum(sizes) - sizes
    predictor = x @ coefficients
    top = np.maximum.reduceat(predictor, starts)
    chance = np.exp(predictor - np.repeat(top, sizes))
    sums = np.add.reduceat(chance, starts)
    chance /= np.repeat(sums, sizes)
    weighted = x * chance[:, None]
    means = np.add.reduceat(weighted, starts, axis=0)
    return ConditionalSums(
        float(case @ predictor - np.sum(top + np.log(sums))),
        case @ x - means.sum(axis=0),
        weighted.T @ x - means.T @ means,
        np.add.reduceat(weighted * x, starts, axis=0) - means**2,
    )


def _several_cases(x: Array, case: Array, m: int, coefficients: Array) -> ConditionalSums:
    """The same for sets of one shape: x (sets, size, width), case (sets, size)."""
    sets, size, width = x.shape
    predictor = x @ coefficients
    # Relative to the m largest, so that the largest product of m is 1.
    level = np.partition(predictor, size - m, axis=1)[:, size - m :].mean(axis=1)
    ratio = np.exp(predictor - level[:, None])
    f, g, h = np.zeros((sets, m + 1)), np.zeros((sets, m + 1, width)), np.zeros((sets, m + 1, width, width))
    f[:, 0] = 1.0
    for k in range(size):
        r, v = ratio[:, k, None], x[:, k, None, :]
        outer = v[..., :, None] * v[..., None, :]
        before, moved = f[:, :-1, None], g[:, :-1]
        mixed = v[..., :, None] * moved[..., None, :]
        h[:, 1:] += r[..., None, None] * (h[:, :-1] + mixed + np.swapaxes(mixed, -1, -2) + outer * before[..., None])
        g[:, 1:] += r[..., None] * (moved + v * before)
        f[:, 1:] += r * f[:, :-1]
    mean, second = g[:, m] / f[:, m, None], h[:, m] / f[:, m, None, None]
    return ConditionalSums(
        float(np.sum(case * predictor) - np.sum(m * level + np.log(f[:, m]))),
        np.einsum("ks,ksj->j", case, x) - mean.sum(axis=0),
        second.sum(axis=0) - mean.T @ mean,
        np.einsum("sjj->sj", second) - mean**2,
    )
