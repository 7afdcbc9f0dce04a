"""Fine-Gray regression: the incidence of one cause where others compete with it."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from algorithms.numerics.chi_squared import ChiSquared
from algorithms.numerics.cox_preparation import CoxPlan
from algorithms.numerics.fine_gray_grid import Pooled, SubdistributionSums, counts_on_grid, pooled, sums_on_grid
from algorithms.numerics.fine_gray_params import FineGrayParams
from algorithms.numerics.fine_gray_result import FineGrayResult
from algorithms.numerics.groups import whole
from algorithms.numerics.newton import Fit, Model, Steps, maximise
from algorithms.numerics.partial_likelihood import MAX_PREDICTOR, Scaling
from algorithms.numerics.preparation import Spread, must_vary
from algorithms.numerics.score_residuals import Hazard
from algorithms.numerics.scoring import NewtonTerms
from algorithms.numerics.subdistribution import covariates, evidence_of, grid_standing, likelihood, meat, own_standing
from cohortium.analysis import Rounds, analysis, ask
from cohortium.data import Data
from cohortium.errors import CannotEstimate, Refused
from cohortium.evidence import NOBODY, Concentration, Shares
from cohortium.quantities import Array, Count, Flag, SumOver, Sums, Table, TimeGrid
from cohortium.result import wald


class CausePreparation(Sums):
    """Rows, events of the cause and others, and sums per design column."""

    n: Count
    events: Count
    competing: Table
    excluded: Table
    missing: Table
    no_follow_up: Table
    columns: Annotated[Array, SumOver("n")]
    spreads: Annotated[Array, SumOver("n")]
    silent: Flag


class SubdistributionTerms(Sums):
    """One cohort's log partial likelihood with score and information: no time is in it."""

    n: Count
    events: Count
    log_likelihood: Annotated[float, SumOver("events")]
    score: Annotated[Array, SumOver("events")]
    information: Annotated[Array, SumOver("n", people_per_parameter=True, positive=True)]
    not_finite: Flag


class SquaredResiduals(Sums):
    """Squared score residuals at the estimates.

    With a common baseline they depend on values per time of the grid, which the coordinator chooses and which could
    single out one of its intervals: `moves` tells how many people leave in each, and how; otherwise it is empty.
    """

    n: Count
    moves: TimeGrid
    meat: Annotated[Array, SumOver("n", people_per_parameter=True, positive=True)]


def cause_preparation(data: Data, params: FineGrayParams) -> CausePreparation:
    """One cohort's rows, events and scales."""
    columns, events, competing, no_follow_up = Spread(params.design.width), 0, 0, 0
    for block in data.blocks(params.used):
        columns.add(params.design.matrix(block))
        status = params.status(block)
        if params.until is not None:
            status = np.where(block[params.surv.time.name] > params.until, 0, status)
        events += int(np.count_nonzero(status == params.number))
        competing += int(np.count_nonzero((status > 0) & (status != params.number)))
        no_follow_up += int(np.count_nonzero(block[params.surv.time.name] == 0))
    return CausePreparation(
        n=columns.n,
        events=events,
        competing=np.array(float(competing)),
        excluded=np.array(float(len(data) - columns.n)),
        missing=np.array([float(np.count_nonzero(data.missing(name))) for name in params.used]),
        no_follow_up=np.array(float(no_follow_up)),
        columns=columns.sum,
        spreads=columns.spread,
        silent=float(columns.n > 0 and not events),
        evidence=evidence_of(data, params, Shares.of(np.ones(columns.n)), 0.0),
    )


def subdistribution_terms(
    data: Data, params: FineGrayParams, *, coefficients: Array, centre: Array, per_unit: Array, level: float
) -> SubdistributionTerms:
    """The likelihood of one cohort with a baseline and censoring of its own."""
    found = likelihood(data, params, Scaling(centre, per_unit, level), coefficients)
    standing, width = own_standing(data, params), params.design.width
    return SubdistributionTerms(
        n=len(standing.last),
        events=standing.deaths.sum(),
        log_likelihood=found.log_likelihood if found else 0.0,
        score=found.score[0] if found else np.zeros(width),
        information=found.information[0] if found else np.zeros((width, width)),
        not_finite=float(found is None),
        evidence=found.evidence if found else NOBODY,
    )


def subdistribution_sums(
    data: Data, params: FineGrayParams, *, coefficients: Array, centre: Array, per_unit: Array, level: float
) -> SubdistributionSums:
    """The sums per time of the grid of one cohort, for a baseline that all share."""
    return sums_on_grid(data, params, Scaling(centre, per_unit, level), coefficients)


def squared_residuals(
    data: Data,
    params: FineGrayParams,
    *,
    coefficients: Array,
    centre: Array,
    per_unit: Array,
    level: float,
    hazard: Array,
    still: Array,
) -> SquaredResiduals:
    """What robust standard errors need; `hazard` and `still` (G) per time of the grid with a common baseline."""
    scaling = Scaling(centre, per_unit, level)
    if params.stratified:
        standing, found = own_standing(data, params), likelihood(data, params, scaling, coefficients)
        baseline = Hazard.of(found) if found is not None else None
        moves = np.zeros((3, 0))
    else:
        if still.shape != (params.points + 1,) or np.any(still <= 0) or np.any(still > 1):
            raise Refused("These are no shares of people who are not yet censored.", rule="broadcast")
        standing, baseline, moves = (
            grid_standing(data, params, still),
            Hazard.unpack(hazard),
            counts_on_grid(data, params),
        )
    width, origin = params.design.width, standing.origin if params.stratified else centre
    blocks = covariates(data, params, scaling, origin)
    risk, farthest = Concentration(), 0.0
    for _, x in covariates(data, params, scaling, origin):
        eta = x @ coefficients
        farthest = max(farthest, float(np.max(np.abs(eta))))
        risk.add(np.exp(np.clip(eta, -MAX_PREDICTOR, MAX_PREDICTOR)))
    return SquaredResiduals(
        n=len(standing.last),
        moves=moves,
        meat=meat(blocks, coefficients, standing, baseline) if baseline else np.zeros((width, width)),
        evidence=evidence_of(data, params, risk.shares, farthest),
    )


@analysis
def fine_gray(params: FineGrayParams) -> Rounds[FineGrayResult]:
    """Fine-Gray regression of a cumulative incidence.

    By what does a covariate raise or lower the share of people who will have had the event of one cause, where an event
    of another cause means that it does not come any more? The coefficients are log ratios of the subdistribution
    hazard: people with another event stay at risk, weighted by the chance of still being under observation
    (Kaplan-Meier of censoring). As R's finegray with coxph, robust standard errors with these weights as known.

    With cohort_effect "stratified" every cohort has its own baseline and censoring, uses its own exact times, and none
    of them leaves it. With "common" the fit is that on the pooled records with times rounded up to the grid, whose
    width is `interval`; a cohort refuses a grid with intervals in which few people leave.
    Source: Fine & Gray (1999), JASA 94:496; Geskus (2011), Biometrics 67:39.
    """
    total = yield from ask(cause_preparation)
    planned = _plan(total, params)
    seen: list[Pooled] = []
    fit = yield from _fit(params, planned, seen)
    meat_sum = np.zeros((params.design.width, params.design.width))
    if params.robust:
        squares = yield from ask(
            squared_residuals,
            coefficients=planned.everywhere(fit.coefficients),
            **planned.broadcast,
            hazard=Hazard.of(seen[-1].likelihood).pack() if seen else np.zeros(0),
            still=_positive(seen[-1].still) if seen else np.zeros(0),
        )
        meat_sum = np.asarray(squares.meat)
    return _result(params, total, planned, fit, meat_sum)


def _fit(params: FineGrayParams, planned: CoxPlan, seen: list[Pooled]) -> Steps[Fit]:
    kept = planned.kept

    def evaluate(coefficients: Array) -> Steps[NewtonTerms]:
        everywhere = planned.everywhere(coefficients)
        if params.stratified:
            own = yield from ask(subdistribution_terms, coefficients=everywhere, **planned.broadcast)
            return _terms(own.n, own.log_likelihood, own.score, own.information, kept, own.not_finite)
        sums = yield from ask(subdistribution_sums, coefficients=everywhere, **planned.broadcast)
        width = params.design.width
        if sums.not_finite:
            return _terms(sums.n, 0.0, np.zeros(width), np.zeros((width, width)), kept, 1.0)
        found = pooled(sums, params.ties)
        seen.append(found)
        f = found.likelihood
        return _terms(sums.n, f.log_likelihood, f.score[0], f.information[0], kept, 0.0)

    model = Model(
        [params.design.columns[k] for k in kept],
        intercept=False,
        separable=True,
        max_iterations=params.max_iterations,
        infinite="tells without exception who has the event first (a group without events, for one): the likelihood "
        "rises without end",
    )
    return (yield from maximise(evaluate, np.zeros(len(kept)), model))


def _terms(  # noqa: PLR0917
    n: float, value: float, score: Array, information: Array, kept: NDArray[np.intp], not_finite: float
) -> NewtonTerms:
    return NewtonTerms(
        n=n,
        score=score[kept],
        information=information[np.ix_(kept, kept)],
        log_likelihood=value,
        pearson=0.0,
        extreme=0.0,
        not_finite=not_finite,
    )


def _plan(total: CausePreparation, params: FineGrayParams) -> CoxPlan:
    """Scale the columns, and leave out those of levels that nobody has. Raises CannotEstimate."""
    if not total.n:
        raise CannotEstimate("No cohort has anybody with a value for every variable of the formula.")
    if not total.events:
        raise CannotEstimate(f"Nobody has the event `{params.chosen}`, so no incidence can be compared.")
    design = params.design
    mean, spread = total.columns / total.n, total.spreads / total.n
    nobody = np.array([c.is_indicator for c in design.layout], dtype=bool) & (mean == 0) & (spread == 0)
    if params.stratified:
        must_vary(design, (spread == 0) & ~nobody)
    unit = np.where(spread > 0, spread, np.where(mean != 0, np.abs(mean), 1.0))
    dropped = tuple(name for name, out in zip(design.columns, nobody, strict=True) if out)
    return CoxPlan(Scaling(mean, np.where(nobody, 0.0, 1.0 / unit), 0.0), np.flatnonzero(~nobody), dropped)


def _result(
    params: FineGrayParams, total: CausePreparation, planned: CoxPlan, fit: Fit, meat_sum: Array
) -> FineGrayResult:
    kept = planned.kept
    names, unit = [params.design.columns[k] for k in kept], planned.scaling.per_unit[kept]
    estimates, model_based = unit * fit.coefficients, fit.inverse * np.outer(unit, unit)
    robust = fit.inverse @ meat_sum[np.ix_(kept, kept)] @ fit.inverse * np.outer(unit, unit)
    covariance = robust if params.robust else model_based
    log_likelihood, null = fit.terms.log_likelihood, fit.start.log_likelihood
    return FineGrayResult(
        n=round(total.n),
        n_excluded=whole(float(total.excluded)),
        cohort_effect=params.cohort_effect,
        formula=str(params.formula),
        cause=params.chosen,
        other_causes=tuple(cause for cause in params.causes if cause != params.chosen),
        ties=params.ties,
        coefficients=wald(names, estimates, covariance, params.confidence),
        covariance=tuple(tuple(map(float, row)) for row in covariance),
        confidence=params.confidence,
        std_error_type="robust (sandwich)" if params.robust else "model-based",
        model_std_errors=dict(zip(names, map(float, np.sqrt(np.diag(model_based))), strict=True)),
        n_events=round(total.events),
        missing={name: whole(c) for name, c in zip(params.used, np.atleast_1d(total.missing), strict=True)},
        log_likelihood=log_likelihood,
        null_log_likelihood=null,
        tests={
            "likelihood ratio": ChiSquared.of(2.0 * (log_likelihood - null), len(names)),
            "Wald": ChiSquared.of(float(estimates @ np.linalg.solve(covariance, estimates)), len(names)),
        },
        interval=None if params.stratified else params.step,
        condition_number=fit.condition_number,
        iterations=fit.iterations,
        decrement=fit.decrement,
        dropped=planned.dropped,
        warnings=tuple(_warnings(total, planned)),
    )


def _positive(still: Array) -> Array:
    """G where somebody is still watched; after that nothing happens, and any share will do."""
    return np.where(still > 0, still, 1.0)


def _warnings(total: CausePreparation, planned: CoxPlan) -> list[str]:
    found = []
    if planned.dropped:
        found.append(f"Nobody has the level of {', '.join(planned.dropped)}: left out.")
    if total.events < 10 * len(planned.kept):
        found.append(f"{total.events:g} events are few for {len(planned.kept)} covariates: fewer than ten each.")
    if total.silent:
        found.append(f"{total.silent:g} of the cohorts have follow-up and no event of this cause.")
    if total.no_follow_up != 0:  # NaN, which differs from 0, where it is withheld
        found.append("Some people's follow-up has no length: they are at risk at time 0 only.")
    return found
