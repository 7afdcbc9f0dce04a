"""From a fitted Cox model's sums to its result, back on the scale of the data."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from algorithms.numerics import proportional_hazards
from algorithms.numerics.chi_squared import ChiSquared
from algorithms.numerics.cox_params import CoxParams
from algorithms.numerics.cox_preparation import CoxPlan, CoxPreparation
from algorithms.numerics.cox_result import Baseline, Concordance, CoxResult
from algorithms.numerics.grid_likelihood import GridSums, grid_likelihood
from algorithms.numerics.newton import Fit
from algorithms.numerics.partial_likelihood import Likelihood
from algorithms.numerics.proportional_hazards import Timed
from cohortium.quantities import Array
from cohortium.result import wald


@dataclass(frozen=True)
class Findings:
    """What was learnt at the estimates: pairs, squared residuals, sums for the test of proportional hazards.

    `common` is the likelihood with a baseline for all, if that was asked.
    """

    pairs: Array
    pair_squares: Array
    meat: Array
    timed: Timed
    common: Likelihood | None


def timed_on_grid(total: GridSums, params: CoxParams) -> Timed:
    """The sums for the test of proportional hazards, from those at every time of the grid."""
    strata, times = total.events.shape
    if params.time_transform in ("km", "rank"):
        entries = total.entries if total.entries.shape == total.events.shape else np.zeros_like(total.events)
        moves = np.array([entries, total.events, total.censorings])
        g = proportional_hazards.on_grid(params.time_transform, moves, delayed=params.delayed)
    else:
        # Only where somebody has the event: time 0 has no logarithm.
        events, at = total.events.sum(axis=0), np.asarray(np.arange(times) * params.step, dtype=np.float64)
        g = np.zeros(times)
        g[events > 0] = proportional_hazards.transformed(at[events > 0], params.time_transform, at, params.step)
        g -= (events @ g) / events.sum()
    g = np.tile(g, strata)
    found = grid_likelihood(total, params.ties, np.vstack([g, g**2]))
    return Timed(found.score[0], found.information)


def cox_result(params: CoxParams, total: CoxPreparation, planned: CoxPlan, fit: Fit, found: Findings) -> CoxResult:
    """The result."""
    kept = planned.kept
    names = [params.design.columns[k] for k in kept]
    unit = planned.scaling.per_unit[kept]
    square = np.ix_(kept, kept)
    estimates, model_based = unit * fit.coefficients, fit.inverse * np.outer(unit, unit)
    robust = fit.inverse @ found.meat[square] @ fit.inverse * np.outer(unit, unit)
    covariance = robust if params.is_robust else model_based
    events, df = round(total.events), len(names)
    log_likelihood = fit.terms.log_likelihood
    timed = Timed(found.timed.score[kept], found.timed.information[:, kept][:, :, kept])
    return CoxResult(
        n=round(total.n),
        n_excluded=_whole(total.excluded),
        cohort_effect=params.cohort_effect,
        formula=str(params.formula),
        ties=params.ties,
        coefficients=wald(names, estimates, covariance, params.confidence),
        covariance=tuple(tuple(map(float, row)) for row in covariance),
        confidence=params.confidence,
        std_error_type=_std_error_type(params),
        model_std_errors=dict(zip(names, map(float, np.sqrt(np.diag(model_based))), strict=True)),
        n_events=events,
        clusters=round(total.clusters) if params.formula.clusters else None,
        missing={name: _whole(m) for name, m in zip(params.variables, total.missing, strict=True)},
        no_follow_up=_whole(total.no_follow_up),
        log_likelihood=log_likelihood,
        null_log_likelihood=fit.start.log_likelihood,
        aic=-2.0 * log_likelihood + 2.0 * df,
        bic=-2.0 * log_likelihood + math.log(events) * df,
        tests=_tests(fit, estimates, covariance),
        proportional_hazards=proportional_hazards.tests(timed, fit.terms.information, _terms(params, planned)),
        time_transform=params.time_transform,
        concordance=_concordance(found, total.n),
        baseline=None if found.common is None else _baselines(params, planned, fit, found.common),
        interval=params.step if params.needs_grid else params.interval,
        condition_number=fit.condition_number,
        iterations=fit.iterations,
        decrement=fit.decrement,
        dropped=planned.dropped,
        warnings=tuple(_warnings(params, total, planned)),
    )


def _std_error_type(params: CoxParams) -> str:
    if not params.is_robust:
        return "model-based"
    return f"robust by {params.formula.clusters[0]}" if params.formula.clusters else "robust (sandwich)"


def _tests(fit: Fit, estimates: Array, covariance: Array) -> dict[str, ChiSquared]:
    df, start = len(estimates), fit.start
    return {
        "likelihood ratio": ChiSquared.of(2.0 * (fit.terms.log_likelihood - start.log_likelihood), df),
        "score": ChiSquared.of(float(start.score @ np.linalg.solve(start.information, start.score)), df),
        "Wald": ChiSquared.of(_quadratic(estimates, covariance), df),
    }


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


def _concordance(found: Findings, people: float) -> Concordance:
    concordant, discordant, tied, tied_time, tied_both = map(float, found.pairs)
    pairs = concordant + discordant + tied
    if not pairs:
        share, error = math.nan, math.nan
    else:
        somers = (concordant - discordant) / pairs
        a, ab, b = found.pair_squares
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


def _baselines(params: CoxParams, planned: CoxPlan, fit: Fit, common: Likelihood) -> dict[str, Baseline]:
    """Per stratum: the hazard at the covariates' means, carried over to 0 (Breslow's or Efron's estimate)."""
    increments, times, kept = common.factors.hazard, params.points + 1, planned.kept
    centred = float(fit.coefficients @ (planned.scaling.per_unit * planned.scaling.centre)[kept])
    at_zero = math.exp(min(max(-centred - planned.scaling.level, -700.0), 700.0))
    found = {}
    for group, increment in zip(params.groups, increments.reshape(-1, times), strict=True):
        at = np.flatnonzero(increment)
        hazard = np.cumsum(increment[at])
        found[group] = Baseline(
            time=tuple(map(float, at * params.step)),
            cumulative_hazard=tuple(map(float, hazard * at_zero)),
            survival_at_mean=tuple(map(float, np.exp(-hazard))),
        )
    return found


def _warnings(params: CoxParams, total: CoxPreparation, planned: CoxPlan) -> list[str]:
    found = []
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
    if total.overlapping != 0:
        found.append(
            f"Some `{params.formula.clusters[0]}` have rows at risk at the same time: right for a family or clinic, a "
            "mistake in the data if it is a person."
        )
    withheld = [name for name, count in zip(params.variables, total.missing, strict=True) if np.isnan(count)]
    if withheld:
        found.append(f"How many rows lack {', '.join(withheld)} is withheld: a cohort's number is small.")
    return found


def _whole(count: float | Array) -> int | None:
    return None if math.isnan(float(count)) else round(float(count))
