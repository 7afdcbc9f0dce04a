"""Cox regression, with a baseline hazard per cohort or one for all."""

from __future__ import annotations

import math
from typing import Annotated

import numpy as np

from algorithms.numerics import cox_preparation
from algorithms.numerics.by_cohort import PooledFit, by_cohort
from algorithms.numerics.cox_diagnostics import diagnostics, piecewise_diagnostics
from algorithms.numerics.cox_inference import (
    Findings,
    cox_result,
    on_grid_findings,
    piecewise_findings,
)
from algorithms.numerics.cox_params import CoxParams
from algorithms.numerics.cox_preparation import CoxPlan, CoxPreparation, plan
from algorithms.numerics.cox_result import CoxResult
from algorithms.numerics.cut_points import intervals, objections  # noqa: F401 - a statistic as well
from algorithms.numerics.grid_likelihood import GridSums, count_moves, grid_likelihood, sums_on_grid
from algorithms.numerics.hazard_climb import beyond_reach, climb, newton_terms
from algorithms.numerics.newton import Fit, Steps
from algorithms.numerics.own_fits import OwnFit, Part, fit_alone, forbidden, own_fit
from algorithms.numerics.partial_likelihood import Likelihood, Rows, Scaling, likelihood
from algorithms.numerics.piecewise import PiecewiseSums, piecewise_sums  # noqa: F401 - the latter is a statistic as well
from algorithms.numerics.piecewise_fit import PiecewiseFit, Totals, covariates_only, joint, piecewise_model
from algorithms.numerics.proportional_hazards import Timed, on_grid
from algorithms.numerics.risk_sets import NO_EDGES
from algorithms.numerics.score_residuals import Hazard
from algorithms.numerics.score_table import spread_of
from algorithms.numerics.scoring import NewtonTerms
from cohortium.analysis import Refusal, Rounds, analysis, ask, ask_each_if_allowed
from cohortium.data import Data
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


def preparation(data: Data, params: CoxParams) -> CoxPreparation:
    """Rows, events and scales of one cohort."""
    return cox_preparation.prepare(data, params)


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
    data: Data,
    params: CoxParams,
    *,
    coefficients: Array,
    centre: Array,
    per_unit: Array,
    level: float,
    edges: Array = NO_EDGES,
) -> GridSums:
    """The sums per time of the grid of one cohort, for a baseline that all share; `edges`: times that are merged."""
    return sums_on_grid(Rows(data, params, Scaling(centre, per_unit, level), edges), coefficients)


def moves(data: Data, params: CoxParams) -> Moves:
    """One cohort's people on the grid of times."""
    return Moves(moves=count_moves(data, params))


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
    cohorts share one, in one of three forms (`baseline`). "grid": the fit is that on the pooled records with times
    rounded up to the grid, whose width is `interval`; a cohort refuses a grid with intervals in which few people leave.
    "adaptive": the same on intervals that are as narrow as the cohorts agree to. "piecewise": a hazard that is constant
    within intervals of as many events each, fitted as a Poisson regression to exact times; it needs the least from a
    cohort, and 10 intervals come within a few hundredths of a standard error of the exact fit.

    The test of proportional hazards is that of R's cox.zph. Source: Cox (1972), JRSSB 34:187; Therneau & Grambsch
    (2000), Modeling Survival Data; Holford (1980), Biometrics 36:299.
    """
    total = yield from ask(preparation)
    planned = plan(total, params)
    if params.stratified:
        fit, found = yield from _own_baselines(params, total, planned)
        return (yield from _with_cohorts(cox_result(params, total, planned, fit, found), params, planned, fit))
    ends = NO_EDGES
    if params.chooses_intervals:
        ends = yield from intervals(params, total.ending, total.beginning)
    shared = _piecewise if params.piecewise else _on_grid
    fit, found = yield from shared(params, total, planned, ends)
    return cox_result(params, total, planned, fit, found)


def _own_baselines(params: CoxParams, total: CoxPreparation, planned: CoxPlan) -> Steps[tuple[Fit, Findings]]:
    clock = np.zeros(0)
    if params.needs_grid:
        clock = on_grid(params.time_transform, (yield from ask(moves)).moves, delayed=params.delayed)
    origin = 0.0 if len(clock) else total.clock / total.events

    def evaluate(coefficients: Array) -> Steps[NewtonTerms]:
        own = yield from ask(partial_likelihood, coefficients=planned.everywhere(coefficients), **planned.broadcast)
        return newton_terms(own.n, own.log_likelihood, own.score, own.information, planned.kept, own.not_finite)

    fit = yield from climb(params, planned, evaluate)
    final = yield from ask(
        diagnostics,
        coefficients=planned.everywhere(fit.coefficients),
        **planned.broadcast,
        people=total.n,
        clock=clock,
        origin=origin,
        hazard=np.zeros(0),
        start_hazard=np.zeros(0),
        spread=0.0,
        edges=NO_EDGES,
    )
    return fit, Findings(final, Timed(final.timed_score, final.timed_information), origin=origin)


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


def _on_grid(params: CoxParams, total: CoxPreparation, planned: CoxPlan, edges: Array) -> Steps[tuple[Fit, Findings]]:
    seen: list[tuple[GridSums, Likelihood]] = []

    def evaluate(coefficients: Array) -> Steps[NewtonTerms]:
        everywhere = planned.everywhere(coefficients)
        sums = yield from ask(grid_likelihoods, coefficients=everywhere, **planned.broadcast, edges=edges)
        if sums.not_finite:
            return beyond_reach(sums.n, planned.kept)
        found = grid_likelihood(sums, params.ties, np.ones((1, sums.events.size)))
        if not found.factors.are_positive:
            return beyond_reach(sums.n, planned.kept)
        seen.append((sums, found))
        return newton_terms(sums.n, found.log_likelihood, found.score[0], found.information[0], planned.kept)

    fit = yield from climb(params, planned, evaluate)
    (_, first), (sums, last) = seen[0], seen[-1]
    final = yield from ask(
        diagnostics,
        coefficients=planned.everywhere(fit.coefficients),
        **planned.broadcast,
        people=total.n,
        clock=np.zeros(0),
        origin=0.0,
        hazard=Hazard.of(last).pack() if params.is_robust else np.zeros(0),
        start_hazard=Hazard.of(first).pack() if params.is_robust else np.zeros(0),
        spread=spread_of(fit.coefficients, fit.start.information, total.events),
        edges=edges,
    )
    return fit, on_grid_findings(params, final, sums, last, edges)


def _piecewise(params: CoxParams, total: CoxPreparation, planned: CoxPlan, ends: Array) -> Steps[tuple[Fit, Findings]]:
    within, without_covariates = piecewise_model(params, planned, ends)
    start = yield from without_covariates
    cells, seen = len(start.cells), list[PiecewiseSums]()
    names = [f"(hazard {k + 1})" for k in range(cells)]
    evaluate = joint(planned, within, start, seen)
    both = yield from climb(params, planned, evaluate, names, np.log(start.hazard.ravel()[start.cells]))
    fitted = PiecewiseFit(covariates_only(both, cells), within, start, Totals(seen[-1]))
    clock = fitted.clock(params)
    final = yield from ask(
        piecewise_diagnostics,
        coefficients=planned.everywhere(fitted.fit.coefficients),
        **planned.broadcast,
        people=total.n,
        ends=within.ends,
        clock=clock,
        hazard=fitted.final.hazard,
        mean=fitted.final.mean,
        start_hazard=start.hazard,
        start_mean=start.mean,
        spread=spread_of(fitted.fit.coefficients, fitted.fit.start.information, total.events),
    )
    return fitted.fit, piecewise_findings(final, fitted, clock)
