"""Generalised estimating equations within a cohort: sums over clusters that a working correlation has whitened.

Source: Liang & Zeger (1986), Biometrika 73:13; Mancl & DeRouen (2001), Biometrics 57:126.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal, assert_never

import numpy as np
from numpy.typing import NDArray

from algorithms.numerics.clusters import ClusterBlock, Clusters
from algorithms.numerics.design import Design
from algorithms.numerics.families import Family
from algorithms.numerics.sandwich import refuse_negative
from algorithms.numerics.scoring import Scaling
from cohortium.evidence import Columns, Concentration, Evidence
from cohortium.quantities import Array, Count, Flag, SumOver, Sums

Correlation = Literal["independence", "exchangeable", "ar1"]

MOST_INTERCEPT_STEPS = 50


class EstimatingTerms(Sums):
    """Score, information and meat (the sum of squared cluster scores), and the moments of the Pearson residuals.

    `products` adds up products of residuals of one cluster: of every pair (exchangeable), or of neighbours (ar1).
    """

    n: Count
    clusters: Count
    score: Annotated[Array, SumOver("n")]
    information: Annotated[Array, SumOver("n", people_per_parameter=True, positive=True)]
    meat: Annotated[Array, SumOver("clusters")]
    pearson: Annotated[float, SumOver("n")]
    products: Annotated[float, SumOver("n")]
    pairs: Annotated[float, SumOver("n")]
    improper: Flag
    not_finite: Flag


class CorrectedMeat(Sums):
    """The meat with every cluster's residuals corrected for its own pull on the fit."""

    clusters: Count
    meat: Annotated[Array, SumOver("clusters")]


@dataclass(frozen=True)
class WorkingModel:
    """What a cohort needs to know. `profiled`: it keeps an intercept of its own and sweeps it out of every sum."""

    design: Design
    family: Family
    correlation: Correlation
    profiled: bool
    scaling: Scaling
    coefficients: Array
    alpha: float


@dataclass(frozen=True)
class _Block:
    """Whitened rows of whole clusters: design and an intercept (columns, rows), Pearson residuals (rows,).

    `weight` of the rows in the information if they were independent, and linear predictor `eta`, both (rows,).
    """

    of: ClusterBlock
    x: Array
    e: Array
    plain: Array
    weight: Array
    eta: Array


def estimating_terms(clusters: Clusters, model: WorkingModel, columns: Columns) -> EstimatingTerms:
    """One cohort's sums at the coefficients and correlation of `model`."""
    width, total = model.design.width + 1, _Totals(model.design.width + 1)
    improper, intercept = False, _own_intercept(clusters, model)
    with np.errstate(all="ignore"):
        for block in _blocks(clusters, model, intercept) if intercept is not None else ():
            improper |= not _is_proper(block.of, model)
            total.weigh(block, model)
            total.information += block.x @ block.x.T
            scores = block.of.sums(block.x * block.e)
            total.score += scores.sum(axis=1)
            total.meat += scores @ scores.T
            total.pearson += float(block.plain @ block.plain)
            total.add_moments(block.of, block.plain, model.correlation)
        sweep = _sweep(total.information, width, profiled=model.profiled)
        score, meat = sweep @ total.score, sweep @ total.meat @ sweep.T
        information = sweep @ total.information @ sweep.T
    parts = (score, information, meat, total.pearson, total.products)
    sound = bool(total.rows == 0 or (all(np.isfinite(part).all() for part in parts) and not improper))
    keep = 1.0 if sound else 0.0
    return EstimatingTerms(
        n=total.rows,
        clusters=total.clusters,
        score=score if sound else np.zeros(width - 1),
        information=information if sound else np.zeros((width - 1, width - 1)),
        meat=meat if sound else np.zeros((width - 1, width - 1)),
        pearson=total.pearson if sound else 0.0,
        products=total.products if sound else 0.0,
        pairs=keep * total.pairs,
        improper=float(improper),
        not_finite=float(not sound and not improper),
        evidence=total.evidence(columns),
    )


def corrected_meat(clusters: Clusters, model: WorkingModel, inverse: Array, columns: Columns) -> CorrectedMeat:
    """The bias-corrected meat, given the inverse of the information of all cohorts.

    With r the residuals of a cluster and H its leverage D B^-1 D'V^-1, the score D'V^-1 (I - H)^-1 r equals
    (I - H_c B^-1)^-1 s_c with H_c = D'V^-1 D and s_c = D'V^-1 r: a system of the size of the model, not of the cluster.
    """
    width = model.design.width + 1
    intercept = _own_intercept(clusters, model)
    information, meat, used = np.zeros((width, width)), np.zeros((width, width)), 0
    total = _Totals(width)
    for block in _blocks(clusters, model, intercept) if intercept is not None else ():
        information += block.x @ block.x.T
    sweep = _sweep(information, width, profiled=model.profiled)
    whole = sweep.T @ inverse @ sweep
    if model.profiled and information[-1, -1] > 0:
        whole[-1, -1] += 1.0 / information[-1, -1]
    for block in _blocks(clusters, model, intercept) if intercept is not None else ():
        scores = block.of.sums(block.x * block.e).T
        own = np.array([block.of.sums(column * block.x) for column in block.x]).transpose(2, 0, 1)
        total.pull(own @ whole)
        corrected = np.linalg.solve(np.eye(width) - own @ whole, scores[:, :, None])[:, :, 0]
        meat += corrected.T @ corrected
        total.weigh(block, model)
        used += len(scores)
    return CorrectedMeat(clusters=used, meat=sweep @ meat @ sweep.T, evidence=total.evidence(columns))


class _Totals:
    def __init__(self, width: int) -> None:
        self.score, self.information, self.meat = np.zeros(width), np.zeros((width, width)), np.zeros((width, width))
        self.pearson = self.products = self.pairs = 0.0
        self.rows = self.clusters = 0
        self.weights, self.of_clusters, self.farthest = Concentration(), Concentration(), 0.0
        self.leverage = np.zeros(0)

    def weigh(self, block: _Block, model: WorkingModel) -> None:
        """Take in how much of the information is each row's, and each cluster's."""
        if model.family.link != "identity":
            self.farthest = float(np.maximum(self.farthest, np.max(np.abs(block.eta))))
        weight = block.weight * _precision(block.of, model)
        self.weights.add(weight)
        self.of_clusters.add(block.of.sums(weight))

    def pull(self, leverages: Array) -> None:
        """Take in the leverages of clusters, shape (clusters, columns, columns), that correct their scores."""
        found = np.linalg.eigvals(leverages).real
        refuse_negative(float(np.min(found)))
        self.leverage = np.array([np.max(found, initial=np.max(self.leverage, initial=0.0))])

    def evidence(self, columns: Columns) -> Evidence:
        """What the check is shown."""
        shares, clusters = self.weights.shares, self.of_clusters.shares
        return Evidence(
            weights=shares, magnitudes=clusters, leverage=self.leverage, predictor=self.farthest, columns=columns
        )

    def add_moments(self, block: ClusterBlock, e: Array, correlation: Correlation) -> None:
        self.rows, self.clusters = self.rows + len(e), self.clusters + len(block.starts)
        match correlation:
            case "independence":
                pass
            case "exchangeable":
                self.products += 0.5 * float(np.sum(block.sums(e) ** 2) - e @ e)
                self.pairs += 0.5 * float(np.sum(block.sizes * (block.sizes - 1.0)))
            case "ar1":
                follows = _follows(block)
                self.products += float(np.sum(e[1:] * e[:-1] * follows[1:]))
                self.pairs += float(np.count_nonzero(follows))
            case _:
                assert_never(correlation)


def _sweep(information: Array, width: int, *, profiled: bool) -> Array:
    """The matrix that takes sums over [X, 1] to those of the model: without the 1, or with it swept out of X."""
    taken = np.eye(width - 1, width)
    if profiled and information[-1, -1] > 0:
        taken[:, -1] = -information[:-1, -1] / information[-1, -1]
    return taken


def _follows(block: ClusterBlock) -> NDArray[np.bool_]:
    """Which rows follow another of their cluster."""
    follows = np.ones(len(block.rows), dtype=np.bool_)
    follows[block.starts] = False
    return follows


def _is_proper(block: ClusterBlock, model: WorkingModel) -> bool:
    """Whether the working correlation is positive definite for clusters of these sizes."""
    if model.correlation == "exchangeable":
        return model.alpha < 1.0 and 1.0 + (float(np.max(block.sizes)) - 1.0) * model.alpha > 0.0
    return abs(model.alpha) < 1.0


def _whiten(block: ClusterBlock, values: Array, model: WorkingModel) -> Array:
    """R^-1/2 times `values` (..., rows), cluster by cluster."""
    alpha = model.alpha
    match model.correlation:
        case "independence":
            return values
        case "exchangeable":
            size = block.sizes
            share = (1.0 - np.sqrt((1.0 - alpha) / (1.0 + (size - 1.0) * alpha))) / size
            return np.asarray((values - (share * block.sums(values))[..., block.of]) / np.sqrt(1.0 - alpha))
        case "ar1":
            whitened = values.copy()
            whitened[..., 1:] -= alpha * values[..., :-1]
            whitened /= np.sqrt(1.0 - alpha**2)
            whitened[..., block.starts] = values[..., block.starts]
            return whitened
        case _:
            assert_never(model.correlation)


def _blocks(clusters: Clusters, model: WorkingModel, intercept: float) -> Iterator[_Block]:
    for block, x, y, offset in _rows(clusters, model):
        eta = model.coefficients @ x[:-1] + offset + intercept
        working = model.family.working(eta, y)
        root = np.sqrt(working.weight)
        plain = working.residual / root
        whitened = _whiten(block, x * root, model), _whiten(block, plain, model)
        yield _Block(block, *whitened, plain, working.weight, eta)


def _rows(clusters: Clusters, model: WorkingModel) -> Iterator[tuple[ClusterBlock, Array, Array, Array | float]]:
    """Standardised rows: design and an intercept (columns, rows), outcome and offset (rows,)."""
    scaling, origin = model.scaling, None
    for block in clusters.blocks():
        design = model.design.matrix(block.rows).T
        if origin is None:
            # With an intercept of its own a cohort may start anywhere; at its first row, a constant is exactly 0.
            origin = design[:, 0].copy() if model.profiled else scaling.centre
        x = np.ones((len(design) + 1, len(block.rows)))
        x[:-1] = (design - origin[:, None]) * scaling.per_unit[:, None]
        offset = model.design.offset(block.rows)
        y = (model.design.response(block.rows) - scaling.outcome_centre) / scaling.outcome_unit
        yield block, x, y, 0.0 if offset is None else offset / scaling.outcome_unit


def _precision(block: ClusterBlock, model: WorkingModel) -> Array:
    """The diagonal of R^-1, shape (rows,): what a row weighs beside the others of its cluster."""
    alpha, size = model.alpha, block.sizes[block.of]
    match model.correlation:
        case "independence":
            return np.ones(len(size))
        case "exchangeable":
            return np.asarray((1.0 - alpha / (1.0 + (size - 1.0) * alpha)) / (1.0 - alpha))
        case "ar1":
            neighbours = _follows(block).astype(np.float64)
            neighbours[:-1] += _follows(block)[1:]
            return np.asarray(
                np.where(size > 1, 1.0 + (neighbours - 1.0) * alpha**2, 1.0 - alpha**2) / (1.0 - alpha**2)
            )
        case _:
            assert_never(model.correlation)


def _own_intercept(clusters: Clusters, model: WorkingModel) -> float | None:
    """The intercept that solves this cohort's own equation given the coefficients (0 where the design has it).

    None where the cohort says nothing beside an intercept of its own; not a number where no intercept solves it.
    """
    if not model.profiled:
        return 0.0
    parts = [
        (b.without_columns(), model.coefficients @ x[:-1] + offset, y) for b, x, y, offset in _rows(clusters, model)
    ]
    outcome = sum(float(np.sum(y)) for _, _, y in parts)
    if not model.family.is_informative(len(clusters), outcome):
        return None
    eta, y = (np.concatenate([part[k] for part in parts]) for k in (1, 2))
    intercept = model.family.intercept(eta, y, None)
    with np.errstate(all="ignore"):
        for _ in range(MOST_INTERCEPT_STEPS):
            score = information = 0.0
            for block, eta, y in parts:
                working = model.family.working(eta + intercept, y)
                root = np.sqrt(working.weight)
                one = _whiten(block, root, model)
                score += float(one @ _whiten(block, working.residual / root, model))
                information += float(one @ one)
            step = score / information
            intercept += step
            if not abs(step) > 1e-13 * max(1.0, abs(intercept)):
                return intercept
    return float("nan")
