"""Score and information of a regression at given coefficients, as sums over a cohort's rows, block by block."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from algorithms.numerics.columns import columns_of
from algorithms.numerics.design import Design
from algorithms.numerics.likelihood import Family, Shape, Working, weighted
from cohortium.data import BLOCK_ROWS, Data
from cohortium.evidence import Columns, Concentration, Evidence
from cohortium.fixed_point import LARGEST
from cohortium.quantities import Array, Count, Flag, SumOver, Sums


class NewtonTerms(Sums):
    """What one Newton step needs. `log_likelihood` lacks what the coefficients do not change.

    Where a sum is not finite, or too large to be added up (the coefficients are far off), everything but the flag is 0,
    and the step is halved.
    """

    n: Count
    score: Annotated[Array, SumOver("n")]
    information: Annotated[Array, SumOver("n", people_per_parameter=True, positive=True)]
    log_likelihood: Annotated[float, SumOver("n")]
    pearson: Annotated[float, SumOver("n")]
    extreme: Flag
    not_finite: Flag


class ShapeTerms(NewtonTerms):
    """The same for a family with a second parameter, whose information need not be positive on the way.

    `shape_score` and `shape_information` are its derivatives, `shape_cross` those mixed with the coefficients;
    `saturated` is the log-likelihood of a model that fits every outcome.
    """

    shape_score: Annotated[float, SumOver("n")]
    shape_information: Annotated[float, SumOver("n")]
    shape_cross: Annotated[Array, SumOver("n")]
    saturated: Annotated[float, SumOver("n")]


@dataclass(frozen=True)
class Scaling:
    """How columns, outcome, offset and weights are standardised, so that every sum is of the order of the people.

    The unit of the outcome is that of the linear predictor, too, unless the link is a logarithm (`log`): then it moves
    the intercept.
    """

    centre: Array
    per_unit: Array
    outcome_centre: float
    outcome_unit: float
    weight_unit: float = 1.0
    log: bool = False

    @property
    def numbers(self) -> Array:
        """All but the columns', as they are broadcast."""
        return np.array([self.outcome_centre, self.outcome_unit, self.weight_unit, float(self.log)])

    @property
    def predictor_unit(self) -> float:
        """The unit of the linear predictor."""
        return 1.0 if self.log else self.outcome_unit

    @classmethod
    def of(cls, centre: Array, per_unit: Array, numbers: Array) -> Scaling:
        """From what was broadcast."""
        outcome_centre, outcome_unit, weight_unit, log = map(float, numbers)
        return cls(centre, per_unit, outcome_centre, outcome_unit, weight_unit, log > 0)


@dataclass(frozen=True)
class Block:
    """Standardised rows: design (rows, width), outcome, offset and, if there are any, weights (rows,)."""

    x: Array
    y: Array
    offset: Array | float
    weight: Array | None
    rows: Data


class Fitted:
    """A cohort's complete rows with their likelihood at given coefficients; can be gone over several times.

    With `profiled` the cohort has an intercept of its own, at the value that is best given the coefficients. A cohort
    whose outcomes say nothing beside an intercept of their own has no rows. Columns are relative to the common centre
    or, with `profiled`, to the cohort's first row: that changes only its own intercept, and makes a constant column
    exactly 0.
    """

    def __init__(
        self, data: Data, design: Design, family: Family, scaling: Scaling, coefficients: Array, *, profiled: bool
    ) -> None:
        self.family, self.coefficients, self.profiled = family, coefficients, profiled
        self._data, self._design, self._scaling = data, design, scaling
        self.origin = first_row(data, design) if profiled else scaling.centre
        # The largest linear predictor, up or down, of those gone over; on an identity link it singles out nobody.
        self.farthest = 0.0
        self._eta = self._predict() if profiled else None

    @property
    def columns(self) -> Columns:
        """What the design's columns rest on here."""
        return columns_of(self._data, self._design)

    def __iter__(self) -> Iterator[tuple[Block, Working]]:
        if not self.profiled:
            for block in self._blocks():
                yield block, self._at(block.x @ self.coefficients + block.offset, block.y)
        elif self._eta is not None:
            start = 0
            for block in self._blocks():
                yield block, self._at(self._eta[start : start + len(block.y)], block.y)
                start += len(block.y)

    def _blocks(self) -> Iterator[Block]:
        return blocks(self._data, self._design, self._scaling, self.origin)

    def _at(self, eta: Array, y: Array) -> Working:
        if self.family.link != "identity":
            self.farthest = max(self.farthest, float(np.max(eta)), -float(np.min(eta)))
        with np.errstate(all="ignore"):
            return self.family.working(eta, y)

    def _predict(self) -> Array | None:
        """The linear predictor with the cohort's own intercept of every complete row; None if it would be infinite."""
        rows = int(np.count_nonzero(self._data.complete(self._design.variables)))
        eta, outcome = np.empty(rows), np.empty(rows)
        weight = None if self._design.weights is None else np.empty(rows)
        start = 0
        for block in self._blocks():
            here = slice(start, start + len(block.y))
            eta[here], outcome[here] = block.x @ self.coefficients + block.offset, block.y
            if weight is not None and block.weight is not None:
                weight[here] = block.weight
            start = here.stop
        # Added up as the outcomes are, so that 1s are as many.
        people = weighted(np.ones(rows), weight)
        if not (people > 0 and self.family.is_informative(people, weighted(outcome, weight))):
            return None
        with np.errstate(all="ignore"):
            self.intercept = self.family.intercept(eta, outcome, weight)
            eta += self.intercept
        return eta


def accumulate(fitted: Fitted, *, expected: bool = False) -> Accumulator:
    """The sums over a cohort's rows; `expected`: with the information that is expected, not the one steps go by.

    With an intercept of the cohort's own the information is the Schur complement H_bb - h_b h_b' / h_aa: Newton steps
    on the sums are those of the model with one intercept per cohort, while no intercept leaves the cohort.
    """
    total = Accumulator(len(fitted.coefficients))
    for block, working in fitted:
        total.add(block, working, expected=expected)
    if fitted.profiled and total.n:
        total.profile()
    total.evidence = Evidence(weights=total.weights.shares, predictor=fitted.farthest, columns=fitted.columns)
    return total


def common_terms(data: Data, design: Design, family: Family, scaling: Scaling, coefficients: Array) -> NewtonTerms:
    """The sums of a model whose intercept, if any, is a column of the design."""
    return accumulate(Fitted(data, design, family, scaling, coefficients, profiled=False)).terms()


def profiled_terms(data: Data, design: Design, family: Family, scaling: Scaling, coefficients: Array) -> NewtonTerms:
    """The sums of a model with an intercept of this cohort's own."""
    return accumulate(Fitted(data, design, family, scaling, coefficients, profiled=True)).terms()


def blocks(data: Data, design: Design, scaling: Scaling, origin: Array) -> Iterator[Block]:
    """The complete rows, standardised, with `origin` taken off the columns."""
    # One workspace for every block: it stays in the processor's cache.
    workspace = np.empty((design.width, min(BLOCK_ROWS, len(data))))
    for rows in data.blocks(design.variables):
        x = design.matrix(rows, out=workspace)
        x -= origin
        x *= scaling.per_unit
        y = design.response(rows)
        if scaling.outcome_centre or scaling.outcome_unit != 1.0:
            y = (y - scaling.outcome_centre) / scaling.outcome_unit
        offset, weight = design.offset(rows), design.weight(rows)
        yield Block(
            x,
            y,
            0.0 if offset is None else offset / scaling.predictor_unit,
            None if weight is None else weight / scaling.weight_unit,
            rows,
        )


def first_row(data: Data, design: Design) -> Array:
    """The columns of a cohort's first complete row, shape (width,); 0 if it has none."""
    first = next(data.blocks(design.variables, size=1), None)
    return np.zeros(design.width) if first is None else design.matrix(first)[0].copy()


class Accumulator:
    """Adds up blocks: with the design's columns also the intercept's share, for profiling it out."""

    def __init__(self, width: int) -> None:
        self.n = 0
        self.score, self.weighted, self.shape_cross = np.zeros(width), np.zeros(width), np.zeros(width)
        self.information = np.zeros((width, width))
        self.weight = self.log_likelihood = self.pearson = 0.0
        self.shape_score = self.shape_information = self.shape_weighted = self.saturated = 0.0
        self.extreme = False
        self.weights = Concentration()
        self.evidence: Evidence | None = None
        self.width = width
        self._scratch = np.empty((width, BLOCK_ROWS))

    def add(self, block: Block, working: Working, *, expected: bool = False) -> None:
        """Add a block; `expected` chooses the information that is expected over the one that steps go by."""
        residual, weight = working.residual, working.weight if expected else working.curvature
        if block.weight is not None:
            residual, weight = residual * block.weight, weight * block.weight
        self.n += len(block.y)
        with np.errstate(all="ignore"):
            self.score += block.x.T @ residual
            rooted = self._scratch[:, : len(block.y)]
            np.multiply(block.x.T, np.sqrt(weight), out=rooted)
            # A matrix times its own transpose: one symmetric BLAS call.
            self.information += rooted @ rooted.T
            self.weighted += block.x.T @ weight
            self.weight += float(np.sum(weight))
            self.weights.add(weight)
            self.log_likelihood += weighted(working.log_likelihood, block.weight)
            self.pearson += weighted(working.pearson, block.weight)
        self.extreme |= working.extreme
        if working.shape is not None:
            self._add_shape(block, working.shape)

    def _add_shape(self, block: Block, shape: Shape) -> None:
        cross = shape.cross if block.weight is None else shape.cross * block.weight
        self.shape_score += weighted(shape.score, block.weight)
        self.shape_information += weighted(shape.curvature, block.weight)
        self.saturated += weighted(shape.saturated, block.weight)
        self.shape_cross += block.x.T @ cross
        self.shape_weighted += float(np.sum(cross))

    def profile(self) -> None:
        """Take the intercept out: what is left is what a model with this intercept at its best has."""
        with np.errstate(all="ignore"):
            self.information -= np.outer(self.weighted, self.weighted) / self.weight
            self.shape_cross -= self.weighted * (self.shape_weighted / self.weight)
            self.shape_information -= self.shape_weighted**2 / self.weight

    def terms(self) -> NewtonTerms:
        """What leaves the cohort."""
        finite = self._is_finite
        return NewtonTerms(
            n=self.n,
            score=self.score if finite else np.zeros(self.width),
            information=self.information if finite else np.zeros((self.width, self.width)),
            log_likelihood=self.log_likelihood if finite else 0.0,
            pearson=self.pearson if finite else 0.0,
            extreme=float(self.extreme and finite),
            not_finite=float(not finite),
            evidence=self.evidence,
        )

    def shape_terms(self) -> ShapeTerms:
        """What leaves the cohort when the family has a second parameter."""
        finite = self._is_finite
        return ShapeTerms(
            **vars(self.terms()),
            shape_score=self.shape_score if finite else 0.0,
            shape_information=self.shape_information if finite else 0.0,
            shape_cross=self.shape_cross if finite else np.zeros(self.width),
            saturated=self.saturated if finite else 0.0,
        )

    @property
    def _is_finite(self) -> bool:
        sums = (self.score, self.information, self.log_likelihood, self.pearson)
        shape = (self.shape_score, self.shape_information, self.shape_cross, self.saturated)
        return all(np.all(np.abs(part) <= LARGEST) for part in (*sums, *shape))  # NaN is not, either
