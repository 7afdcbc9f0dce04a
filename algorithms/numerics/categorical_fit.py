"""A cohort's part in a model of several categories, with intercepts that all cohorts share or that are its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from algorithms.numerics.categorical import Categorical, Parts
from algorithms.numerics.columns import columns_of
from algorithms.numerics.design import Design
from algorithms.numerics.families import FAMILIES
from algorithms.numerics.preparation import Preparation, prepare
from algorithms.numerics.scoring import NewtonTerms, Scaling
from cohortium.data import Data
from cohortium.evidence import NOBODY, Concentration, Evidence, Shares
from cohortium.quantities import Array, Counts, SumOver

MOST_STEPS = 60


class CategoryPreparation(Preparation):
    """The preparation of a regression, people per category, and the fit of a cohort's own shares of them.

    `null` is the log-likelihood of those shares, `own_intercepts` how many numbers they are.
    """

    outcomes: Counts
    null: Annotated[float, SumOver("n")]
    own_intercepts: Annotated[float, SumOver("n")]


def prepare_categories(data: Data, design: Design, categories: int, *, profiled: bool) -> CategoryPreparation:
    """One cohort's preparation; with an intercept of its own, a cohort with one category only adds nothing."""
    counts = outcome_counts(data, design, categories)
    base = prepare(data, design, FAMILIES["gaussian"], profiled=profiled)
    sums = {name: getattr(base, name) for name in base.kinds}
    present = counts[counts > 0]
    silent = profiled and len(present) == 1
    if silent:
        kept = ("excluded", "missing")
        sums = {name: value if name in kept else np.zeros_like(value) for name, value in sums.items()}
        counts, sums["silent"] = np.zeros(categories), 1.0
    null = 0.0 if silent or not len(present) else float(present @ np.log(present / present.sum()))
    return CategoryPreparation(
        **sums,
        outcomes=counts,
        null=null,
        own_intercepts=max(float(np.count_nonzero(counts)) - 1.0, 0.0),
        evidence=base.evidence,
    )


def outcome_counts(data: Data, design: Design, categories: int) -> Array:
    """Complete rows per category, shape (categories,)."""
    counts = np.zeros(categories)
    for block in data.blocks(design.variables):
        counts += np.bincount(design.response(block).astype(np.intp), minlength=categories)
    return counts


class CategoryModel:
    """A model over one cohort's rows; `first` is the first column of the design that is not the intercept."""

    def __init__(self, data: Data, design: Design, model: Categorical, scaling: Scaling, *, profiled: bool) -> None:
        self._data, self._design, self._model, self._scaling = data, design, model, scaling
        self._profiled, self._first = profiled, 0 if profiled else 1
        self._evidence: Evidence | None = None

    def terms(self, slopes: Array, intercepts: Array) -> NewtonTerms:
        """The sums at these parameters; a cohort's own intercepts are found and swept out."""
        return replace(self._terms(slopes, intercepts), evidence=self._evidence)

    def _terms(self, slopes: Array, intercepts: Array) -> NewtonTerms:
        size = self._model.slopes(self._design.width - self._first)
        with np.errstate(all="ignore"):
            if self._profiled:
                try:
                    return self._swept(slopes, size)
                except np.linalg.LinAlgError:
                    return _terms(0, _nowhere(size), size)
            codes = np.arange(self._model.categories)
            return _terms(*self._parts(self._model, codes, slopes, intercepts), size + len(intercepts))

    def _swept(self, slopes: Array, size: int) -> NewtonTerms:
        counts = outcome_counts(self._data, self._design, self._model.categories)
        if np.count_nonzero(counts) < 2:
            self._evidence = NOBODY
            return _terms(0, Parts(0.0, np.zeros(size), np.zeros((size, size))), size)
        local = self._model.local(counts)
        intercepts, (n, parts) = local.intercepts, self._parts(local.model, local.codes, slopes, local.intercepts)
        own = size + local.free
        for _ in range(MOST_STEPS):
            step = np.linalg.solve(parts.information[np.ix_(own, own)], parts.score[own])
            decrement = float(step @ parts.score[own])
            for _halving in range(MOST_STEPS):
                moved = intercepts.copy()
                moved[local.free + len(intercepts) - (len(parts.score) - size)] += step
                there = self._parts(local.model, local.codes, slopes, moved)[1]
                if there.log_likelihood >= parts.log_likelihood - 1e-12 * abs(parts.log_likelihood):
                    break
                step = 0.5 * step
            intercepts, parts = moved, there
            if decrement < 1e-18:
                break
        else:
            return _terms(n, _nowhere(size), size)
        a = parts.information[np.ix_(own, own)]
        b = parts.information[:size, own]
        pull = np.linalg.solve(a, np.column_stack([b.T, parts.score[own]]))
        score = parts.score[:size] - b @ pull[:, -1]
        information = parts.information[:size, :size] - b @ pull[:, :-1]
        return _terms(n, Parts(parts.log_likelihood, score, information, parts.extreme), size)

    def _parts(
        self, model: Categorical, codes: NDArray[np.intp], slopes: Array, intercepts: Array
    ) -> tuple[int, Parts]:
        size = model.slopes(self._design.width - self._first) + model.categories - 1
        total, n, weights = Parts(0.0, np.zeros(size), np.zeros((size, size))), 0, None
        for x, y in self._blocks():
            parts = model.parts(x, codes[y], slopes, intercepts)
            weights = weights or Concentration(parts.weights.shape[1:])
            weights.add(parts.weights)
            total, n = total + parts, n + len(y)
        # What leaves is what was worked out last.
        self._evidence = Evidence(
            weights=weights.shares if weights else Shares(),
            predictor=total.farthest,
            columns=columns_of(self._data, self._design),
        )
        return n, total

    def _blocks(self) -> Iterator[tuple[Array, NDArray[np.intp]]]:
        origin = None
        for rows in self._data.blocks(self._design.variables):
            x = self._design.matrix(rows)
            if origin is None:
                # With intercepts of its own a cohort may start anywhere; at its first row, a constant is exactly 0.
                origin = x[0].copy() if self._profiled else self._scaling.centre
            x = (x - origin) * self._scaling.per_unit
            yield x[:, self._first :], self._design.response(rows).astype(np.intp)


def _nowhere(size: int) -> Parts:
    """The sums where a cohort's intercepts could not be found."""
    return Parts(np.nan, np.zeros(size), np.zeros((size, size)))


def _terms(n: int, parts: Parts, size: int) -> NewtonTerms:
    finite = all(np.isfinite(p).all() for p in (parts.log_likelihood, parts.score, parts.information))
    return NewtonTerms(
        n=n,
        score=parts.score if finite else np.zeros(size),
        information=parts.information if finite else np.zeros((size, size)),
        log_likelihood=parts.log_likelihood if finite else 0.0,
        pearson=0.0,
        extreme=float(parts.extreme and finite),
        not_finite=float(not finite),
    )
