"""Cox regression, with a baseline hazard per cohort or, on a grid of times, one for all."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from algorithms.numerics.by_cohort import PooledFit, by_cohort
from algorithms.numerics.concordance import concordance
from algorithms.numerics.cox_inference import Findings, cox_result, timed_on_grid
from algorithms.numerics.cox_params import CoxParams
from algorithms.numerics.cox_preparation import CoxPlan, CoxPreparation, plan, prepare
from algorithms.numerics.cox_result import CoxResult
from algorithms.numerics.grid_likelihood import GridSums, count_moves, grid_likelihood, grid_sums
from algorithms.numerics.newton import Fit, Model, Steps, maximise
from algorithms.numerics.own_fits import OwnFit, Part, fit_alone, forbidden, own_fit
from algorithms.numerics.partial_likelihood import MAX_PREDICTOR, Likelihood, Rows, Scaling, likelihood
from algorithms.numerics.proportional_hazards import Timed, on_grid, transformed
from algorithms.numerics.score_residuals import Hazard, meat
from algorithms.numerics.scoring import NewtonTerms
from cohortium.analysis import Refusal, Rounds, analysis, ask, ask_each_if_allowed
from cohortium.data import Data
from cohortium.errors import NotConverged, Separation
from cohortium.evidence import NOBODY
from cohortium.quantities import Array, Count, Flag, SumOver, Sums, TimeGrid


class PartialLikelihood(Sums):
    """One cohort's own log partial likelihood with score and information: no time is in it."""

    n: Count
    events: Count
    log_likelihood: Annotated[float, SumOver("events")]
    score: Annotated[Array, SumOver("events")]
    information: Annotated[Array, SumOver("n", people_per_parameter=True, positive=True)]
    not_finite: Flag


class Moves(Sums):
    """Who enters, has the event, or leaves without it, per stratum and time of the grid: (3, strata, times)."""

    moves: TimeGrid


class Diagnostics(Sums):
    """At the estimates: pairs of people, sums for the test of proportional hazards, and squared score residuals.

    Where these depend on values per time of the grid, which the coordinator chooses and which could single out one of
    its intervals, `moves` tells how many people move in each; otherwise it is empty.
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


def preparation(data: Data, params: CoxParams) -> CoxPreparation:
    """Rows, events and scales of one cohort."""
    return prepare(data, params)


def partial_likelihood(
    data: Data, params: CoxParams, *, coefficients: Array, centre: Array, per_unit: Array, level: float
) -> PartialLikelihood:
    """The partial likelihood of one cohort with a baseline of its own."""
    rows = Rows(data, params, Scaling(centre, per_unit, level))
    found = likelihood(rows, coefficients, np.ones((1, rows.sets.nowhere)))
    width = rows.width
    return PartialLikelihood(
        n=rows.sets.rows,
        events=rows.sets.events,
        log_likelihood=found.log_likelihood if found else 0.0,
        score=found.score[0] if found else np.zeros(width),
        information=found.information[0] if found else np.zeros((width, width)),
        not_finite=float(found is None),
        evidence=found.evidence if found else NOBODY,
    )


def grid_likelihoods(
    data: Data, params: CoxParams, *, coefficients: Array, centre: Array, per_unit: Array, level: float
) -> GridSums:
    """The sums per time of the grid of one cohort, for a baseline that all share."""
    return grid_sums(data, params, Scaling(centre, per_unit, level), coefficients)


def moves(data: Data, params: CoxParams) -> Moves:
    """One cohort's people on the grid of times."""
    return Moves(moves=count_moves(data, params))


def diagnostics(
    data: Data,
    params: CoxParams,
    *,
    coefficients: Array,
    centre: Array,
    per_unit: Array,
    level: float,
    clock: Array,
    origin: float,
    hazard: Array,
) -> Diagnostics:
    """What is asked once, at the estimates.

    `clock` is g on the grid where the test's time scale needs one, `origin` its mean; `hazard` the common baseline.
    """
    rows = Rows(data, params, Scaling(centre, per_unit, level))
    sets, width = rows.sets, rows.width
    predictor = rows.predictor(coefficients)
    pairs = concordance(sets, predictor)
    score, information, baseline = np.zeros(width), np.zeros((2, width, width)), None
    found: Likelihood | None = None
    if params.stratified:
        step = params.step if params.needs_grid else 1.0
        g = transformed(sets.time, params.time_transform, clock, step) - origin
        found = likelihood(rows, coefficients, np.vstack([g, g**2]))
        if found is not None:
            score, information = found.score[0], found.information
            baseline = Hazard.of(found) if params.is_robust else None
    elif params.is_robust:
        baseline = Hazard.unpack(hazard)
    return Diagnostics(
        n=sets.rows,
        events=sets.events,
        clusters=sets.clusters,
        moves=count_moves(data, params) if params.needs_grid else np.zeros((3, 1, 0)),
        pairs=pairs.counts,
        pair_squares=pairs.squares,
        timed_score=score,
        timed_information=information,
        meat=meat(rows, predictor, baseline) if params.is_robust and baseline else np.zeros((width, width)),
        evidence=found.evidence if found and found.evidence else rows.evidence(predictor, rows.risk_scores(predictor)),
    )


def own_estimates(
    data: Data, params: CoxParams, *, coefficients: Array, centre: Array, per_unit: Array, level: float
) -> OwnFit:
    """A cohort's own fit and its part in the pooled one: asked per cohort, of those that release their own figures."""
    broadcast = {"coefficients": coefficients, "centre": centre, "per_unit": per_unit}
    own = partial_likelihood(data, params, **broadcast, level=level)
    alone = params.model_copy(update={"by_cohort": False, "time_transform": "identity"})
    return own_fit(
        data,
        lambda: fit_alone(cox, data, alone),
        (round(own.n), own.events),
        dict(zip(params.design.columns, map(float, per_unit), strict=True)),
        Part(own.n, own.events, own.score, own.information, own.evidence),
    )


@analysis
def cox(params: CoxParams) -> Rounds[CoxResult]:
    """Cox proportional hazards regression.

    By what factor does a covariate multiply the hazard of the event? The hazard at time t is h0(t) exp(X beta +
    offset). Ties by Efron's or Breslow's method; strata, late entry, covariates that change in time (several rows per
    person), case weights and robust standard errors as in R's coxph.

    With cohort_effect "stratified" every cohort (and stratum) has a baseline hazard of its own: the fit is that of
    coxph(... + strata(cohort)), every cohort uses its own exact times, and none of them leaves it. With "common" the
    fit is that on the pooled records with times rounded up to the grid, whose width is `interval`; a cohort refuses a
    grid with intervals in which few people leave. Source: Cox (1972), JRSSB 34:187; Therneau & Grambsch (2000).
    """
    total = yield from ask(preparation)
    planned = plan(total, params)
    clock = np.zeros(0)
    if params.stratified and params.needs_grid:
        clock = on_grid(params.time_transform, (yield from ask(moves)).moves, delayed=params.delayed)
    grids: list[GridSums] = []
    fit = yield from _fit(params, planned, grids)
    common = grid_likelihood(grids[-1], params.ties, np.ones((1, grids[-1].events.size))) if grids else None
    final = yield from ask(
        diagnostics,
        coefficients=planned.everywhere(fit.coefficients),
        **planned.broadcast,
        clock=clock,
        origin=0.0 if len(clock) else total.clock / total.events,
        hazard=Hazard.of(common).pack() if common and params.is_robust else np.zeros(0),
    )
    timed = Timed(final.timed_score, final.timed_information)
    if common:
        timed = timed_on_grid(grids[-1], params)
    found = Findings(final.pairs, final.pair_squares, final.meat, timed, common)
    return (yield from _with_cohorts(cox_result(params, total, planned, fit, found), params, planned, fit))


def _with_cohorts(result: CoxResult, params: CoxParams, planned: CoxPlan, fit: Fit) -> Steps[CoxResult]:
    """The pooled result with what its cohorts say by themselves, if that was asked; a rule may forbid it."""
    if not params.by_cohort:
        return result
    everywhere = planned.everywhere(fit.coefficients)
    each = yield from ask_each_if_allowed(own_estimates, coefficients=everywhere, **planned.broadcast)
    if isinstance(each, Refusal):
        return result.model_copy(update={"warnings": (*result.warnings, forbidden(each))})
    pooled = PooledFit(
        names=list(result.coefficients),
        kept=[int(k) for k in planned.kept],
        coefficients=fit.coefficients,
        score=fit.terms.score,
        information=fit.terms.information,
        unit=planned.scaling.per_unit[planned.kept],
        spread=None if params.is_robust else lambda own, worth: (1.0, math.inf),  # noqa: ARG005
    )
    return result.model_copy(update={"by_cohort": by_cohort(pooled, each, pooled.names, params.confidence)})


def _fit(params: CoxParams, planned: CoxPlan, grids: list[GridSums]) -> Steps[Fit]:
    kept, names = planned.kept, [params.design.columns[k] for k in planned.kept]
    too_far: list[Array] = []

    def evaluate(coefficients: Array) -> Steps[NewtonTerms]:
        everywhere = planned.everywhere(coefficients)
        if params.stratified:
            own = yield from ask(partial_likelihood, coefficients=everywhere, **planned.broadcast)
            too_far.extend([coefficients] if own.not_finite else [])
            return _newton_terms(own, kept, own.not_finite)
        total = yield from ask(grid_likelihoods, coefficients=everywhere, **planned.broadcast)
        if total.not_finite:
            too_far.append(coefficients)
            return _newton_terms(_nothing(total.n, params.design.width), kept, total.not_finite)
        pooled = grid_likelihood(total, params.ties, np.ones((1, total.events.size)))
        if not np.all(pooled.terms.denominator > 0):
            return _newton_terms(_nothing(total.n, params.design.width), kept, 1.0)
        grids.append(total)
        own = replace(
            _nothing(total.n, params.design.width),
            log_likelihood=pooled.log_likelihood,
            score=pooled.score[0],
            information=pooled.information[0],
        )
        return _newton_terms(own, kept, 0.0)

    model = Model(
        names,
        intercept=False,
        separable=True,
        max_iterations=params.max_iterations,
        infinite="tells without exception who has the event first (a group without events, for one): the likelihood "
        "rises without end",
    )
    try:
        return (yield from maximise(evaluate, np.zeros(len(kept)), model))
    except NotConverged:
        if too_far:
            raise _runs_away(names, np.abs(too_far[-1])) from None
        raise


def _runs_away(names: list[str], sizes: Array) -> Separation:
    chosen = ", ".join(f"`{name}`" for name, size in zip(names, sizes, strict=True) if size > 0.5 * np.max(sizes))
    return Separation(
        f"The likelihood has no finite maximum within reach: by {chosen} some people's hazard would be more than "
        f"e^{MAX_PREDICTOR:g} times another's. No numbers are given. Leave it out, or look for extreme values."
    )


def _nothing(n: float, width: int) -> PartialLikelihood:
    return PartialLikelihood(
        n=n,
        events=n,
        log_likelihood=0.0,
        score=np.zeros(width),
        information=np.zeros((width, width)),
        not_finite=0.0,
    )


def _newton_terms(total: PartialLikelihood, kept: NDArray[np.intp], not_finite: float) -> NewtonTerms:
    return NewtonTerms(
        n=total.n,
        score=total.score[kept],
        information=total.information[np.ix_(kept, kept)],
        log_likelihood=total.log_likelihood,
        pearson=0.0,
        extreme=0.0,
        not_finite=not_finite,
    )
