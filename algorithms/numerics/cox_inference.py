"""From a fitted Cox model's sums to its result, back on the scale of the data."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from algorithms.numerics import proportional_hazards
from algorithms.numerics.chi_squared import ChiSquared
from algorithms.numerics.concordance import Pairs
from algorithms.numerics.cox_diagnostics import Diagnostics
from algorithms.numerics.cox_params import CoxParams
from algorithms.numerics.cox_preparation import CoxPlan, CoxPreparation
from algorithms.numerics.cox_result import Baseline, Concordance, CoxResult, Interval
from algorithms.numerics.grid_likelihood import GridSums, grid_likelihood
from algorithms.numerics.newton import Fit
from algorithms.numerics.partial_likelihood import Likelihood
from algorithms.numerics.piecewise_fit import PiecewiseFit
from algorithms.numerics.proportional_hazards import Timed
from algorithms.numerics.score_table import has_score_table, pairs_of_table
from cohortium.quantities import Array
from cohortium.result import wald


@dataclass(frozen=True)
class Findings:
    """What was learnt at the estimates: `final`, and `timed`, sums for the test of proportional hazards with time scale
    g less `origin`.

    With a common baseline also `hazard`, what the cumulative hazard at the covariates' means grows by up to each of
    `times`, (strata, times); the `intervals`, if they were chosen; and how many hazards were estimated as parameters.
    """

    final: Diagnostics
    timed: Timed
    origin: float = 0.0
    times: Array | None = None
    hazard: Array | None = None
    intervals: tuple[Interval, ...] = ()
    parameters: int = 0


def timed_on_grid(total: GridSums, params: CoxParams) -> tuple[Timed, float]:
    """The sums for the test of proportional hazards, from those at every time of the grid; and the mean of g."""
    strata, times = total.events.shape
    if params.time_transform in ("km", "rank"):
        entries = total.entries if total.entries.shape == total.events.shape else np.zeros_like(total.events)
        moves = np.array([entries, total.events, total.censorings])
        g, mean = proportional_hazards.on_grid(params.time_transform, moves, delayed=params.delayed), 0.0
    else:
        # Only where somebody has the event: time 0 has no logarithm.
        events, at = total.events.sum(axis=0), np.asarray(np.arange(times) * params.step, dtype=np.float64)
        g = np.zeros(times)
        g[events > 0] = proportional_hazards.transformed(at[events > 0], params.time_transform, at, params.step)
        mean = float((events @ g) / events.sum())
        g -= mean
    g = np.tile(g, strata)
    found = grid_likelihood(total, params.ties, np.vstack([g, g**2]))
    return Timed(found.score[0], found.information), mean


def on_grid_findings(
    params: CoxParams, final: Diagnostics, sums: GridSums, common: Likelihood, edges: Array
) -> Findings:
    """What a common baseline on the grid (its points merged to `edges`) tells."""
    timed, origin = timed_on_grid(sums, params)
    strata, times = sums.events.shape
    chosen: tuple[Interval, ...] = ()
    if len(edges):
        at = edges.astype(np.intp)
        entered = sums.entries if sums.entries.shape == sums.events.shape else np.zeros_like(sums.events)
        left = sums.events + sums.censorings
        at_risk = (left - entered)[:, ::-1].cumsum(axis=1)[:, ::-1]
        chosen = _intervals(edges * params.step, at_risk[:, at], sums.events[:, at], left[:, at])
    hazard = common.factors.hazard.reshape(strata, times)
    return Findings(final, timed, origin, np.arange(times, dtype=np.float64) * params.step, hazard, chosen)


def piecewise_findings(final: Diagnostics, fitted: PiecewiseFit, clock: Array) -> Findings:
    """What a baseline that is constant within intervals tells."""
    ends, sums, hazard = fitted.intervals.ends, fitted.final.sums, fitted.final.hazard
    return Findings(
        final,
        fitted.timed(final.timed_score, final.timed_information, clock),
        times=ends,
        hazard=hazard * (ends - fitted.intervals.starts),
        intervals=_intervals(ends, sums.at_risk, sums.events, sums.leaving),
        parameters=len(fitted.start.cells),
    )


def _intervals(ends: Array, *people: Array) -> tuple[Interval, ...]:
    """The intervals with who is at risk, has the event, and leaves, each (strata, intervals)."""
    starts = np.append(0.0, ends[:-1])
    counts = (of.sum(axis=0) for of in people)
    return tuple(
        Interval(start=float(a), end=float(b), at_risk=round(n), events=round(d), leaving=round(exits))
        for a, b, n, d, exits in zip(starts, ends, *counts, strict=True)
    )


def cox_result(params: CoxParams, total: CoxPreparation, planned: CoxPlan, fit: Fit, found: Findings) -> CoxResult:
    """The result."""
    kept = planned.kept
    names = [params.design.columns[k] for k in kept]
    unit = planned.scaling.per_unit[kept]
    square = np.ix_(kept, kept)
    estimates, model_based = unit * fit.coefficients, fit.inverse * np.outer(unit, unit)
    robust = fit.inverse @ found.final.meat[square] @ fit.inverse * np.outer(unit, unit)
    covariance = robust if params.is_robust else model_based
    events, df = round(total.events), len(names)
    log_likelihood = fit.terms.log_likelihood
    timed = Timed(found.timed.score[kept], found.timed.information[:, kept][:, :, kept])
    pooled = pairs_of_table(found.final.scores)
    return CoxResult(
        n=round(total.n),
        n_excluded=_whole(total.excluded),
        cohort_effect=params.cohort_effect,
        formula=str(params.formula),
        ties="none" if params.piecewise else params.ties,
        baseline_form=params.baseline or (None if params.stratified else "grid"),
        coefficients=wald(names, estimates, covariance, params.confidence),
        covariance=tuple(tuple(map(float, row)) for row in covariance),
        confidence=params.confidence,
        std_error_type=_std_error_type(params),
        model_std_errors=dict(zip(names, map(float, np.sqrt(np.diag(model_based))), strict=True)),
        n_events=events,
        clusters=round(total.clusters) if params.formula.clusters else None,
        missing={name: _whole(m) for name, m in zip(params.variables, total.missing, strict=True)},
        no_follow_up=_whole(total.no_follow_up),
        backwards=_whole(total.backwards),
        log_likelihood=log_likelihood,
        null_log_likelihood=fit.start.log_likelihood,
        aic=-2.0 * log_likelihood + 2.0 * (df + found.parameters),
        bic=-2.0 * log_likelihood + math.log(events) * (df + found.parameters),
        tests=_tests(fit, estimates, covariance, found.final.start_meat[square] if params.is_robust else None),
        proportional_hazards=proportional_hazards.tests(timed, fit.terms.information, _terms(params, planned)),
        time_slopes=proportional_hazards.slopes(timed, fit.terms.information, found.origin, names, unit),
        time_transform=params.time_transform,
        concordance=_concordance(Pairs(found.final.pairs, found.final.pair_squares), total.n),
        pooled_concordance=None if pooled is None else _concordance(pooled, 1.0),
        baseline=_baselines(params, planned, fit, found),
        intervals=found.intervals,
        interval=params.step if params.needs_grid and not found.intervals else params.interval,
        condition_number=fit.condition_number,
        iterations=fit.iterations,
        decrement=fit.decrement,
        dropped=planned.dropped,
        warnings=tuple(_warnings(params, total, planned, found)),
    )


def _std_error_type(params: CoxParams) -> str:
    if not params.is_robust:
        return "model-based"
    return f"robust by {params.formula.clusters[0]}" if params.formula.clusters else "robust (sandwich)"


def _tests(fit: Fit, estimates: Array, covariance: Array, start_meat: Array | None) -> dict[str, ChiSquared]:
    """The last, as R's coxph, with the squared score residuals at no effect in the place of the information."""
    df, start = len(estimates), fit.start
    found = {
        "likelihood ratio": ChiSquared.of(2.0 * (fit.terms.log_likelihood - start.log_likelihood), df),
        "score": ChiSquared.of(float(start.score @ np.linalg.solve(start.information, start.score)), df),
        "Wald": ChiSquared.of(_quadratic(estimates, covariance), df),
    }
    if start_meat is not None:
        found["robust score"] = ChiSquared.of(float(start.score @ np.linalg.lstsq(start_meat, start.score)[0]), df)
    return found


def _quadratic(estimates: Array, covariance: Array) -> float:
    errors = np.sqrt(np.diag(covariance))
    scaled = estimates / errors
    return float(scaled @ np.linalg.solve(covariance / np.outer(errors, errors), scaled))


def _terms(params: CoxParams, planned: CoxPlan) -> dict[str, list[int]]:
    """The kept columns of every term of the formula, by its name."""
    found: dict[str, list[int]] = {}
    names = {frozenset(term.factors): str(term) for term in params.formula.terms}
    for position, k in enumerate(planned.kept):
        term = names[frozenset(piece.factor for piece in params.design.layout[k].pieces)]
        found.setdefault(term, []).append(position)
    return found


def _concordance(found: Pairs, people: float) -> Concordance:
    concordant, discordant, tied, tied_time, tied_both = map(float, found.counts)
    pairs = concordant + discordant + tied
    if not pairs:
        share, error = math.nan, math.nan
    else:
        somers = (concordant - discordant) / pairs
        a, ab, b = found.squares
        share, error = (
            0.5 * (somers + 1.0),
            math.sqrt(max(a - 2.0 * somers * ab + somers**2 * b, 0.0)) * people / (2.0 * pairs),
        )
    return Concordance(
        concordance=share,
        std_error=error,
        concordant=concordant,
        discordant=discordant,
        tied_score=tied,
        tied_time=tied_time,
        tied_both=tied_both,
    )


def _baselines(params: CoxParams, planned: CoxPlan, fit: Fit, found: Findings) -> dict[str, Baseline] | None:
    """Per stratum: the hazard at the covariates' means, carried over to 0 (Breslow's or Efron's estimate)."""
    if found.hazard is None or found.times is None:
        return None
    centred = float(fit.coefficients @ (planned.scaling.per_unit * planned.scaling.centre)[planned.kept])
    at_zero = math.exp(min(max(-centred - planned.scaling.level, -700.0), 700.0))
    baselines = {}
    for group, increment in zip(params.groups, found.hazard, strict=True):
        at = np.flatnonzero(increment)
        hazard = np.cumsum(increment[at])
        baselines[group] = Baseline(
            time=tuple(map(float, found.times[at])),
            cumulative_hazard=tuple(map(float, hazard * at_zero)),
            survival_at_mean=tuple(map(float, np.exp(-hazard))),
        )
    return baselines


def _warnings(params: CoxParams, total: CoxPreparation, planned: CoxPlan, findings: Findings) -> list[str]:
    found = _approximations(params, findings)
    if planned.dropped:
        found.append(f"Nobody has the level of {', '.join(planned.dropped)}: left out.")
    if total.events < 10 * len(planned.kept):
        found.append(
            f"{total.events:g} events are few for {len(planned.kept)} covariates: fewer than ten each (Peduzzi 1995)."
        )
    if total.silent:
        cohorts = "In 1 cohort" if total.silent == 1 else f"In {total.silent:g} cohorts"
        without = "with a baseline of its own it tells nothing" if params.stratified else "it adds people at risk"
        found.append(f"{cohorts} nobody has the event: {without}.")
    if total.no_follow_up != 0:  # NaN, which differs from 0, where it is withheld
        found.append("Some rows stop when they start: never at risk, they are left out.")
    if total.backwards != 0:
        found.append("Some rows stop before they start, a mistake in the data: never at risk, they are left out.")
    if total.overlapping != 0:
        found.append(
            f"Some `{params.formula.clusters[0]}` have rows at risk at the same time: right for a family or clinic, a "
            "mistake in the data if it is a person."
        )
    withheld = [name for name, count in zip(params.variables, total.missing, strict=True) if np.isnan(count)]
    if withheld:
        found.append(f"How many rows lack {', '.join(withheld)} is withheld: a cohort's number is small.")
    return found


def _approximations(params: CoxParams, findings: Findings) -> list[str]:
    number, found = len(findings.intervals), []
    plural = "s" if number > 1 else ""
    if params.piecewise:
        found.append(
            f"The baseline hazard is taken as constant within {number} interval{plural}: an approximation to the Cox "
            "model, whose ties are of no account here."
        )
        if number < params.intervals:
            found.append("There are fewer intervals than asked: more would hold too few people at some cohort.")
    elif number:
        found.append(
            f"Times are rounded up to the end of {number} interval{plural} in which enough people leave: an "
            "approximation to the fit with exact times."
        )
    if not params.stratified and has_score_table(params) and pairs_of_table(findings.final.scores) is None:
        found.append("Concordance over all cohorts is withheld: cells of its table are small at some cohort.")
    return found


def _whole(count: float | Array) -> int | None:
    return None if math.isnan(float(count)) else round(float(count))
