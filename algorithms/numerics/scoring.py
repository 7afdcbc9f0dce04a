"""Score and information of a regression at given coefficients, as sums over a cohort's rows, block by block."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from algorithms.numerics.design import Design
from algorithms.numerics.families import Family, Working
from cohortium.data import BLOCK_ROWS, Data
from cohortium.fixed_point import LARGEST
from cohortium.quantities import Array, Count, Flag, SumOver, Sums


class NewtonTerms(Sums):
    """What one Newton step needs. `log_likelihood` lacks what the coefficients do not change.

    Where a sum is not finite, or too large to be added up (the coefficients are far off), everything but the flag is 0,
    and the step is halved.
    """

    n: Count
    score: Annotated[Array, SumOver("n")]
    information: Annotated[Array, SumOver("n", people_per_parameter=True)]
    log_likelihood: Annotated[float, SumOver("n")]
    pearson: Annotated[float, SumOver("n")]
    extreme: Flag
    not_finite: Flag


@dataclass(frozen=True)
class Scaling:
    """How columns, outcome and offset are standardised, so that every sum is of the order of the number of people."""

    centre: Array
    per_unit: Array
    outcome_centre: float
    outcome_unit: float


def common_terms(data: Data, design: Design, family: Family, scaling: Scaling, coefficients: Array) -> NewtonTerms:
    """The sums of a model whose intercept, if any, is a column of the design."""
    total = _Accumulator(design.width)
    for block in _blocks(data, design, scaling, scaling.centre):
        working = _working(family, block.x @ coefficients + block.offset, block.y)
        total.add(block.x, working)
    return total.terms()


def profiled_terms(data: Data, design: Design, family: Family, scaling: Scaling, coefficients: Array) -> NewtonTerms:
    """The sums of a model with an intercept of this cohort's own, at the value that is best given `coefficients`.

    The information is the Schur complement H_bb - h_b h_b' / h_aa, so Newton steps on the sums are those of the model
    with one intercept per cohort, while no intercept leaves the cohort. A cohort whose outcomes say nothing beside
    an intercept of their own adds nothing.
    """
    predictor, outcome = _predictor(data, design, scaling, coefficients)
    total = _Accumulator(design.width)
    if not family.is_informative(len(predictor), outcome):
        return total.terms()
    intercept = family.intercept(predictor, outcome)
    at = 0
    for block in _blocks(data, design, scaling, _own_origin(data, design)):
        eta = predictor[at : at + len(block.y)] + intercept
        total.add(block.x, _working(family, eta, block.y))
        at += len(block.y)
    return total.terms(profiled=True)


@dataclass(frozen=True)
class Block:
    """Standardised rows: design (rows, width), outcome and offset (rows,)."""

    x: Array
    y: Array
    offset: Array | float


def _blocks(data: Data, design: Design, scaling: Scaling, origin: Array) -> Iterator[Block]:
    # One workspace for every block: it stays in the processor's cache.
    workspace = np.empty((design.width, min(BLOCK_ROWS, len(data))))
    for rows in data.blocks(design.variables):
        x = design.matrix(rows, out=workspace)
        x -= origin
        x *= scaling.per_unit
        y = design.response(rows)
        if scaling.outcome_centre or scaling.outcome_unit != 1.0:
            y = (y - scaling.outcome_centre) / scaling.outcome_unit
        offset = design.offset(rows)
        yield Block(x, y, 0.0 if offset is None else offset / scaling.outcome_unit)


def _own_origin(data: Data, design: Design) -> Array:
    """The cohort's first row: taking it off changes only its own intercept, and makes a constant column exactly 0."""
    first = next(data.blocks(design.variables, size=1), None)
    return np.zeros(design.width) if first is None else design.matrix(first)[0].copy()


def _predictor(data: Data, design: Design, scaling: Scaling, coefficients: Array) -> tuple[Array, float]:
    """The linear predictor without intercept of every complete row, and the sum of their outcomes."""
    predictor = np.empty(int(np.count_nonzero(data.complete(design.variables))))
    at, outcome = 0, 0.0
    for block in _blocks(data, design, scaling, _own_origin(data, design)):
        predictor[at : at + len(block.y)] = block.x @ coefficients + block.offset
        outcome += float(np.sum(block.y))
        at += len(block.y)
    return predictor, outcome


def _working(family: Family, eta: Array, y: Array) -> Working:
    with np.errstate(all="ignore"):
        return family.working(eta, y)


class _Accumulator:
    """Adds up blocks: with the design's columns also the intercept's share, for profiling it out."""

    def __init__(self, width: int) -> None:
        self.n = 0
        self.score, self.weighted = np.zeros(width), np.zeros(width)
        self.information = np.zeros((width, width))
        self.weight = self.log_likelihood = self.pearson = 0.0
        self.extreme = False
        self.width = width
        self._scratch = np.empty((width, BLOCK_ROWS))

    def add(self, x: Array, working: Working) -> None:
        self.n += len(x)
        self.score += x.T @ working.residual
        rooted = self._scratch[:, : len(x)]
        np.multiply(x.T, np.sqrt(working.weight), out=rooted)
        # A matrix times its own transpose: one symmetric BLAS call.
        self.information += rooted @ rooted.T
        self.weighted += x.T @ working.weight
        self.weight += float(np.sum(working.weight))
        self.log_likelihood += working.log_likelihood
        self.pearson += working.pearson
        self.extreme |= working.extreme

    def terms(self, *, profiled: bool = False) -> NewtonTerms:
        score, information = self.score, self.information
        if profiled:
            with np.errstate(all="ignore"):
                information = information - np.outer(self.weighted, self.weighted) / self.weight
        sums = (score, information, self.log_likelihood, self.pearson)
        finite = all(np.all(np.abs(part) <= LARGEST) for part in sums)  # NaN is not, either
        return NewtonTerms(
            n=self.n,
            score=score if finite else np.zeros(self.width),
            information=information if finite else np.zeros((self.width, self.width)),
            log_likelihood=self.log_likelihood if finite else 0.0,
            pearson=self.pearson if finite else 0.0,
            extreme=float(self.extreme and finite),
            not_finite=float(not finite),
        )
