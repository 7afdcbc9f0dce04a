"""Likelihoods of an outcome with several categories: multinomial (softmax) and ordered (proportional odds).

A model has slopes b and one intercept per category but one. Parameters are the slopes, then the intercepts.
Source: McCullagh (1980), JRSSB 42:109, for the ordered one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy import special
from typing_extensions import override

from cohortium.quantities import Array

# The logarithm of a probability that nothing but a diverging coefficient tells apart from 0.
EXTREME = float(np.log(1e-8))


@dataclass(frozen=True)
class Parts:
    """Log-likelihood, score and observed information, and whether some fitted probability is next to 0.

    `weights` of the rows in the blocks of the information, shape (rows, blocks), which sums no longer have;
    `farthest` is their largest linear predictor, up or down.
    """

    log_likelihood: float
    score: Array
    information: Array
    extreme: bool = False
    weights: Array = field(default_factory=lambda: np.zeros((0, 0)))
    farthest: float = 0.0

    def __add__(self, other: Parts) -> Parts:
        return Parts(
            self.log_likelihood + other.log_likelihood,
            self.score + other.score,
            self.information + other.information,
            self.extreme or other.extreme,
            farthest=max(self.farthest, other.farthest),
        )


@dataclass(frozen=True)
class Local:
    """How a cohort sees a model whose intercepts are its own: only the categories that it has take part.

    `codes` renames the categories; of the `intercepts` those with index in `free` are still to be found.
    """

    model: Categorical
    codes: NDArray[np.intp]
    intercepts: Array
    free: NDArray[np.intp]


class Categorical(ABC):
    """A model of categories that are coded from 0.

    Moving the origin of the columns by c moves the intercepts by `shift` times c b.
    """

    shift: ClassVar[float]

    def __init__(self, categories: int) -> None:
        self.categories = categories

    @abstractmethod
    def slopes(self, columns: int) -> int:
        """How many slopes there are for so many columns."""

    @abstractmethod
    def parts(self, x: Array, y: NDArray[np.intp], slopes: Array, intercepts: Array) -> Parts:
        """What rows x (rows, columns) with categories y add."""

    @abstractmethod
    def start(self, counts: Array) -> Array:
        """The intercepts that fit these numbers of people per category, all positive, if no slope is needed."""

    @abstractmethod
    def local(self, counts: Array) -> Local:
        """The model for a cohort with these numbers of people per category, two of them positive."""


class Softmax(Categorical):
    """log P(y = j) / P(y = 0) = a_j + x b_j. Slopes are those of category 1, then of category 2 ..."""

    shift = -1.0

    @override
    def slopes(self, columns: int) -> int:
        return columns * (self.categories - 1)

    @override
    def start(self, counts: Array) -> Array:
        return np.asarray(np.log(counts[1:] / counts[0]))

    @override
    def local(self, counts: Array) -> Local:
        present = np.flatnonzero(counts > 0)
        with np.errstate(divide="ignore"):
            intercepts = np.log(counts / counts[present[0]])
        # The first category that there is stands for the reference; minus infinity takes the absent ones out.
        return Local(self, np.arange(self.categories), intercepts, present[1:] - 1)

    @override
    def parts(self, x: Array, y: NDArray[np.intp], slopes: Array, intercepts: Array) -> Parts:
        rows, columns = x.shape
        others = self.categories - 1
        eta = np.zeros((rows, self.categories))
        eta[:, 1:] = x @ slopes.reshape(others, columns).T
        eta[:, -len(intercepts) :] += intercepts
        farthest = float(np.max(np.abs(eta), where=np.isfinite(eta), initial=0.0))
        eta -= special.logsumexp(eta, axis=1, keepdims=True)
        chosen = eta[np.arange(rows), y]
        p = np.exp(eta[:, 1:])
        everybody = np.exp(eta)
        residual = (y[:, None] == np.arange(1, self.categories)) - p
        full = np.hstack([x, np.ones((rows, 1))])
        width = columns + 1
        information = np.empty((others, width, others, width))
        for j in range(others):
            for k in range(j + 1):
                weight = p[:, j] * ((1.0 if j == k else 0.0) - p[:, k])
                information[j, :, k] = (full.T * weight) @ full
                information[k, :, j] = information[j, :, k].T
        at = np.arange(others * width).reshape(others, width)
        order = np.concatenate([at[:, :-1].ravel(), at[:, -1]])
        square = information.reshape(others * width, others * width)[np.ix_(order, order)]
        score = (residual.T @ full).ravel()[order]
        extreme, weights = bool(np.min(chosen) < EXTREME), everybody * (1.0 - everybody)
        return Parts(float(np.sum(chosen)), score, square, extreme, weights, farthest)


class Cumulative(Categorical):
    """logit P(y <= j) = a_j - x b with rising a_j: the odds of a higher category change alike at every cut."""

    shift = 1.0

    @override
    def slopes(self, columns: int) -> int:
        return columns

    @override
    def start(self, counts: Array) -> Array:
        below = np.cumsum(counts)[:-1]
        return np.asarray(np.log(below / (np.sum(counts) - below)))

    @override
    def local(self, counts: Array) -> Local:
        present = counts > 0
        smaller = Cumulative(int(np.count_nonzero(present)))
        free = np.arange(smaller.categories - 1)
        return Local(smaller, np.cumsum(present) - 1, smaller.start(counts[present]), free)

    @override
    def parts(self, x: Array, y: NDArray[np.intp], slopes: Array, intercepts: Array) -> Parts:
        # The category lies between two cuts; with upper and lower margins u and l its probability is
        # F(u) - F(l) = F(u) F(-l) (1 - exp(l - u)), in which nothing cancels.
        cuts = np.concatenate([[-np.inf], intercepts, [np.inf]])
        eta = x @ slopes
        upper, lower = cuts[y + 1] - eta, cuts[y] - eta
        gap = cuts[y + 1] - cuts[y]
        chosen = special.log_expit(upper) + special.log_expit(-lower) + np.log(-np.expm1(-gap))
        q = np.exp(-gap) / -np.expm1(-gap)
        r = q * (1.0 + q)
        by_upper, by_lower = special.expit(-upper) + q, -special.expit(lower) - q
        bend_upper = special.expit(upper) * special.expit(-upper) + r
        bend_lower = special.expit(lower) * special.expit(-lower) + r
        columns, cut = x.shape[1], np.arange(len(intercepts))
        is_upper, is_lower = y[:, None] == cut, y[:, None] == cut + 1
        # Derivatives by the linear predictor, and by the cuts above and below.
        across = is_upper * (bend_upper - r)[:, None] + is_lower * (bend_lower - r)[:, None]
        information = np.empty((columns + len(cut), columns + len(cut)))
        information[:columns, :columns] = (x.T * (bend_upper + bend_lower - 2.0 * r)) @ x
        information[:columns, columns:] = -x.T @ across
        information[columns:, :columns] = information[:columns, columns:].T
        between = (is_upper * r[:, None]).T @ is_lower
        own = np.diag(bend_upper @ is_upper + bend_lower @ is_lower)
        information[columns:, columns:] = own - between - between.T
        score = np.concatenate([-x.T @ (by_upper + by_lower), by_upper @ is_upper + by_lower @ is_lower])
        at_cuts = is_upper * bend_upper[:, None] + is_lower * bend_lower[:, None]
        weights = np.column_stack([bend_upper + bend_lower - 2.0 * r, at_cuts])
        farthest = float(max(np.max(np.abs(intercepts)), np.max(np.abs(eta)))) if len(eta) else 0.0
        extreme = bool(np.min(chosen) < EXTREME)
        return Parts(float(np.sum(chosen)), score, information, extreme, weights, farthest)
