"""What a Cox regression asks once, at the estimates: pairs, proportional hazards, robust standard errors."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from algorithms.numerics.concordance import concordance
from algorithms.numerics.cox_params import CoxParams
from algorithms.numerics.grid_likelihood import count_moves
from algorithms.numerics.partial_likelihood import Rows, Scaling, likelihood
from algorithms.numerics.piecewise import Intervals, residual_squares, timed_sums
from algorithms.numerics.proportional_hazards import transformed
from algorithms.numerics.risk_sets import NO_EDGES
from algorithms.numerics.score_residuals import Hazard, meat
from algorithms.numerics.score_table import score_table
from cohortium.data import Data
from cohortium.evidence import Concentration, Evidence
from cohortium.quantities import Array, Count, SumOver, Sums, Table, TimeGrid


class Diagnostics(Sums):
    """At the estimates: pairs of people, sums for the test of proportional hazards, and squared score residuals, also
    those at no effect (`start_meat`).

    Where these depend on values per time, which the coordinator chooses and which could single out one of them,
    `moves` tells how many people move in each; otherwise it is empty. `scores`: people by outcome, stratum, time and
    risk score, with a common baseline.
    """

    n: Count
    events: Count
    clusters: Count
    moves: TimeGrid
    pairs: Annotated[Array, SumOver("n")]
    pair_squares: Annotated[Array, SumOver("clusters")]
    timed_score: Annotated[Array, SumOver("events")]
    timed_information: Annotated[Array, SumOver("n")]
    meat: Annotated[Array, SumOver("clusters", people_per_parameter=True, positive=True)]
    start_meat: Annotated[Array, SumOver("clusters", people_per_parameter=True, positive=True)]
    scores: Table


def diagnostics(
    data: Data,
    params: CoxParams,
    *,
    coefficients: Array,
    centre: Array,
    per_unit: Array,
    level: float,
    people: float,
    clock: Array,
    origin: float,
    hazard: Array,
    start_hazard: Array,
    spread: float,
    edges: Array = NO_EDGES,
) -> Diagnostics:
    """With a cohort's own baseline, or one on the grid.

    `clock` is g on the grid where the test's time scale needs one, `origin` its mean; `hazard` the common baseline at
    the estimates, `start_hazard` that at no effect; `people` and `spread` of risk scores are those of all cohorts.
    """
    rows = Rows(data, params, Scaling(centre, per_unit, level), edges)
    sets, width, start = rows.sets, rows.width, np.zeros(rows.width)
    score, information, squares = np.zeros(width), np.zeros((2, width, width)), [np.zeros((width, width))] * 2
    evidence: Evidence | None = None
    if params.stratified:
        step = params.step if params.needs_grid else 1.0
        g = transformed(sets.time, params.time_transform, clock, step) - origin
        found = likelihood(rows, coefficients, np.vstack([g, g**2]))
        null = likelihood(rows, start, np.ones((1, sets.nowhere))) if params.is_robust else None
        if found is not None:
            score, information, evidence = found.score[0], found.information, found.evidence
        if found is not None and null is not None:
            squares = [meat(rows, at, Hazard.of(fit)) for at, fit in ((coefficients, found), (start, null))]
    elif params.is_robust:
        packed = ((coefficients, hazard), (start, start_hazard))
        squares = [meat(rows, at, Hazard.unpack(values)) for at, values in packed]
    return _diagnostics(
        rows,
        coefficients,
        people=people,
        spread=spread,
        moves=count_moves(data, params, edges) if params.on_grid or params.needs_grid else np.zeros((3, 1, 0)),
        timed_score=score,
        timed_information=information,
        squares=squares,
        evidence=evidence,
    )


def piecewise_diagnostics(
    data: Data,
    params: CoxParams,
    *,
    coefficients: Array,
    centre: Array,
    per_unit: Array,
    level: float,
    people: float,
    ends: Array,
    clock: Array,
    hazard: Array,
    mean: Array,
    start_hazard: Array,
    start_mean: Array,
    spread: float,
) -> Diagnostics:
    """With a common baseline that is constant within intervals; `hazard` and the covariates' `mean` are those there."""
    rows, intervals = Rows(data, params, Scaling(centre, per_unit, level)), Intervals(ends, len(params.groups))
    moves, squares = np.zeros((2, intervals.strata * len(ends))), [np.zeros((rows.width, rows.width))] * 2
    for part in intervals.parts(rows, coefficients):
        moves += intervals.people(part)[1:]
    score, information = timed_sums(rows, coefficients, intervals, hazard, clock)
    if params.is_robust:
        squares = [
            residual_squares(rows, coefficients, intervals, hazard, mean),
            residual_squares(rows, np.zeros(rows.width), intervals, start_hazard, start_mean),
        ]
    return _diagnostics(
        rows,
        coefficients,
        people=people,
        spread=spread,
        moves=moves.reshape(2, *intervals.shape),
        timed_score=score,
        timed_information=information,
        squares=squares,
    )


def _diagnostics(
    rows: Rows,
    coefficients: Array,
    *,
    people: float,
    spread: float,
    moves: Array,
    timed_score: Array,
    timed_information: Array,
    squares: list[Array],
    evidence: Evidence | None = None,
) -> Diagnostics:
    sets, scores_of, farthest = rows.sets, *_risk_scores(rows, coefficients)
    scores = score_table(rows, coefficients, spread)
    # Handed over, not kept: it is as large as a column.
    pairs = concordance(sets, rows.predictor(coefficients), people)
    return Diagnostics(
        n=sets.rows,
        events=sets.events,
        clusters=sets.clusters,
        moves=moves,
        pairs=pairs.counts,
        pair_squares=pairs.squares,
        timed_score=timed_score,
        timed_information=timed_information,
        meat=squares[0],
        start_meat=squares[1],
        scores=scores,
        evidence=evidence or rows.evidence(scores_of, farthest),
    )


def _risk_scores(rows: Rows, coefficients: Array) -> tuple[Concentration, float]:
    """How much of the sum of all risk scores is one person's, and the largest predictor."""
    found, farthest = Concentration(), 0.0
    for block, _, predictor in rows.blocks(coefficients):
        farthest = max(farthest, float(np.max(np.abs(predictor), initial=0.0)))
        found.add(np.exp(np.clip(predictor, -700.0, 700.0)) * rows.weight(block))
    return found, farthest
