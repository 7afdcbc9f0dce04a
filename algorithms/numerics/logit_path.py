"""Logistic regression at many coefficients at once: one per penalty and training set."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from algorithms.numerics.binomial import Logit
from algorithms.numerics.columns import columns_of
from algorithms.numerics.design import Design
from algorithms.numerics.scoring import Block, Scaling, blocks, first_row
from cohortium.data import Data
from cohortium.errors import InvalidQuestion
from cohortium.evidence import Concentration, Evidence, Shares
from cohortium.fixed_point import LARGEST
from cohortium.quantities import Array, Counts, FlagKind, SumOver, Sums

# Models whose linear predictors a node holds at once.
TOGETHER = 32
MOST = 4096


class PathTerms(Sums):
    """Sums over the training set of every model, shape (models, ...), and how it predicts the people it left out.

    Where a sum is not finite everything of that model but its flag is 0.
    """

    n: Counts
    score: Annotated[Array, SumOver("n")]
    information: Annotated[Array, SumOver("n", people_per_parameter=True)]
    log_likelihood: Annotated[Array, SumOver("n")]
    test: Counts
    test_log_likelihood: Annotated[Array, SumOver("test")]
    not_finite: Annotated[Array, FlagKind()]


class _Totals:
    """The sums of one model."""

    def __init__(self, width: int) -> None:
        self.n = self.test = self.log_likelihood = self.test_log_likelihood = self.weight = 0.0
        self.score, self.weighted, self.information = np.zeros(width), np.zeros(width), np.zeros((width, width))
        self.weights, self.farthest = Concentration(), 0.0

    def add(self, x: Array, y: Array, eta: Array, out: NDArray[np.bool_]) -> None:
        """Add rows, of which those `out` are held out."""
        self.farthest = max(self.farthest, float(np.max(np.abs(eta))))
        if out.any():
            self.test += float(np.count_nonzero(out))
            self.test_log_likelihood += float(np.sum(Logit().working(eta[out], y[out]).log_likelihood))
            x, y, eta = x[~out], y[~out], eta[~out]
        working = Logit().working(eta, y) if len(y) else None
        if working is None:
            return
        self.weights.add(working.weight)
        rooted = x * np.sqrt(working.weight)[:, None]
        self.n += len(y)
        self.score += x.T @ working.residual
        self.information += rooted.T @ rooted
        self.weighted += x.T @ working.weight
        self.weight += float(np.sum(working.weight))
        self.log_likelihood += float(np.sum(working.log_likelihood))

    @property
    def is_finite(self) -> bool:
        """Whether all of it can be added up."""
        sums = (self.score, self.information, self.log_likelihood, self.test_log_likelihood)
        return all(np.all(np.abs(part) <= LARGEST) for part in sums)


class _Cohort:
    """A cohort's rows with their folds."""

    def __init__(
        self, data: Data, design: Design, scaling: Scaling, folds: NDArray[np.intp], *, profiled: bool
    ) -> None:
        self.profiled, self._source = profiled, (data, design, scaling)
        self.folds = folds[data.complete(design.variables)]
        self._origin = first_row(data, design) if profiled else scaling.centre

    def terms(self, coefficients: Array, out: NDArray[np.intp]) -> list[_Totals]:
        """The totals of models with these coefficients, shape (models, width), that leave out the folds `out`."""
        totals = [_Totals(coefficients.shape[1]) for _ in out]
        intercepts = self._intercepts(coefficients, out) if self.profiled else np.zeros(len(out))
        for rows, block in self._blocks():
            eta = block.x @ coefficients.T + intercepts + np.asarray(block.offset).reshape(-1, 1)
            for m, total in enumerate(totals):
                if np.isfinite(intercepts[m]):
                    total.add(block.x, block.y, eta[:, m], self.folds[rows] == out[m])
        for total in totals if self.profiled else ():
            total.information -= np.outer(total.weighted, total.weighted) / (total.weight or 1.0)
        return totals

    def _intercepts(self, coefficients: Array, out: NDArray[np.intp]) -> Array:
        """The cohort's own for every model, by its training set; NaN where that has one outcome only."""
        eta, y = np.empty((len(self.folds), len(out))), np.empty(len(self.folds))
        for rows, block in self._blocks():
            eta[rows] = block.x @ coefficients.T + np.asarray(block.offset).reshape(-1, 1)
            y[rows] = block.y
        found = np.full(len(out), np.nan)
        for m, fold in enumerate(out):
            used = self.folds != fold
            if Logit().is_informative(float(np.count_nonzero(used)), float(np.sum(y[used]))):
                found[m] = Logit().intercept(eta[used, m], y[used], None)
        return found

    def _blocks(self) -> Iterator[tuple[slice, Block]]:
        start = 0
        for block in blocks(*self._source, self._origin):
            yield slice(start, start + len(block.y)), block
            start += len(block.y)


def path_terms(
    data: Data,
    design: Design,
    scaling: Scaling,
    *,
    coefficients: Array,
    out: Array,
    folds: NDArray[np.intp],
    profiled: bool,
) -> PathTerms:
    """One cohort's part; `out` is the fold that each model leaves out, -1 for none. Raises InvalidQuestion."""
    if coefficients.ndim != 2 or coefficients.shape != (len(out), design.width) or len(out) > MOST:
        raise InvalidQuestion("The coefficients do not have the shape of this question.")
    cohort, leaves_out = _Cohort(data, design, scaling, folds, profiled=profiled), out.astype(np.intp)
    totals: list[_Totals] = []
    with np.errstate(all="ignore"):
        for start in range(0, len(out), TOGETHER):
            part = slice(start, start + TOGETHER)
            totals += cohort.terms(coefficients[part], leaves_out[part])
    finite = np.array([total.is_finite for total in totals], dtype=bool)

    def gathered(name: str) -> Array:
        values = np.array([getattr(total, name) for total in totals], dtype=np.float64)
        return np.where(finite.reshape(-1, *[1] * (values.ndim - 1)), values, 0.0)

    return PathTerms(
        **{name: gathered(name) for name in PathTerms.kinds if name != "not_finite"},
        not_finite=(~finite).astype(np.float64),
        evidence=Evidence(
            weights=Shares.joined(*(t.weights.shares for t, sound in zip(totals, finite, strict=True) if sound)),
            predictor=max((t.farthest for t, sound in zip(totals, finite, strict=True) if sound), default=0.0),
            columns=columns_of(data, design),
        ),
    )
