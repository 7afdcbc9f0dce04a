"""Cross-products of covariates and outcome by training set: all there is to know for penalised least squares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from algorithms.numerics.columns import columns_of
from algorithms.numerics.design import Design
from algorithms.numerics.scoring import Scaling, blocks, first_row
from cohortium.data import Data
from cohortium.evidence import Evidence, Plain
from cohortium.quantities import Array, Counts, SumOver, Sums


class CrossProducts(Sums):
    """Sums and cross-products of the standardised columns and, last, the outcome.

    Training sets: all people, then all but each fold, shape (folds + 1, ...); `test` are the folds, shape (folds, ...).
    With an intercept per cohort both are relative to the cohort's mean over the training set, and the sums of `train`
    are 0.
    """

    train: Counts
    train_sums: Annotated[Array, SumOver("train")]
    train_products: Annotated[Array, SumOver("train", people_per_parameter=True)]
    test: Counts
    test_sums: Annotated[Array, SumOver("test")]
    test_products: Annotated[Array, SumOver("test")]


@dataclass(frozen=True)
class Moments:
    """People, sums and products of one set of people; products may be about another centre than their own mean."""

    n: float
    sums: Array
    products: Array

    def less(self, other: Moments) -> Moments:
        """Those who are not in `other`."""
        return Moments(self.n - other.n, self.sums - other.sums, self.products - other.products)

    def about(self, centre: Array) -> Moments:
        """The same relative to `centre`."""
        cross = np.outer(self.sums, centre)
        products = self.products - cross - cross.T + self.n * np.outer(centre, centre)
        return Moments(self.n, self.sums - self.n * centre, products)

    def times(self, units: Array) -> Moments:
        """The same with every column in other units."""
        return Moments(self.n, self.sums * units, self.products * np.outer(units, units))

    @property
    def mean(self) -> Array:
        """Mean of every column; 0 without people."""
        return self.sums / self.n if self.n else np.zeros_like(self.sums)


def cross_products(
    data: Data, design: Design, scaling: Scaling, folds: NDArray[np.intp], many: int, *, profiled: bool
) -> CrossProducts:
    """One cohort's part; `folds` of every row, of which there are `many`."""
    parts = _by_fold(data, design, scaling, folds, many, profiled=profiled)
    width = design.width + 1
    everybody = Moments(
        float(sum(p.n for p in parts)),
        sum((p.sums for p in parts), np.zeros(width)),
        sum((p.products for p in parts), np.zeros((width, width))),
    )
    train, test = [everybody, *(everybody.less(part) for part in parts)] if many > 1 else [everybody], parts
    if profiled:
        test = [part.about(rest.mean) for part, rest in zip(parts, train[1:], strict=True)] if many > 1 else parts
        train = [rest.about(rest.mean) for rest in train]
        train = [Moments(rest.n, np.zeros(width), rest.products) for rest in train]
    test = test if many > 1 else []
    return CrossProducts(
        train=np.array([m.n for m in train]),
        train_sums=np.array([m.sums for m in train]),
        train_products=np.array([m.products for m in train]),
        test=np.array([m.n for m in test]),
        test_sums=np.array([m.sums for m in test]).reshape(len(test), width),
        test_products=np.array([m.products for m in test]).reshape(len(test), width, width),
        evidence=Evidence(
            weights=Plain("cross-products: those about any other centre and unit follow from them"),
            columns=columns_of(data, design),
        ),
    )


def _by_fold(
    data: Data, design: Design, scaling: Scaling, folds: NDArray[np.intp], many: int, *, profiled: bool
) -> list[Moments]:
    width = design.width + 1
    n, sums, products = np.zeros(many), np.zeros((many, width)), np.zeros((many, width, width))
    used = folds[data.complete(design.variables)]
    origin, start = first_row(data, design) if profiled else scaling.centre, 0
    for block in blocks(data, design, scaling, origin):
        z = np.column_stack([block.x, block.y - block.offset])
        here = used[start : start + len(z)]
        start += len(z)
        for fold in np.unique(here):
            rows = z[here == fold]
            n[fold] += len(rows)
            sums[fold] += rows.sum(axis=0)
            products[fold] += rows.T @ rows
    return [Moments(float(n[f]), sums[f], products[f]) for f in range(many)]
