"""Trials within cohorts (TwiCs): eligibility, selection that can be checked, and effects of assignment."""

from __future__ import annotations

from typing import Any

import numpy as np

from algorithms.numerics import cox_preparation
from algorithms.numerics.assignment_effects import Effects, Reduced, few_clusters, must_have_arms
from algorithms.numerics.cox_preparation import CoxPreparation
from algorithms.numerics.newton import Steps
from algorithms.numerics.partial_likelihood import Scaling
from algorithms.numerics.robust_hazard import HazardTerms, fit_hazard, hazard_terms
from algorithms.numerics.trial_eligibility import EligibleCounts, count_eligible
from algorithms.numerics.trial_params import TrialParams
from algorithms.numerics.trial_result import TrialResult
from algorithms.numerics.trial_rows import (
    TrialMeat,
    TrialPreparation,
    TrialRows,
    TrialScale,
    TrialSums,
    followed_up,
)
from algorithms.numerics.trial_summary import WEAK, baseline_rows, designed, hazard_fields, linear_fields
from cohortium.analysis import Rounds, analysis, ask
from cohortium.data import Data
from cohortium.quantities import Array


def eligibility(data: Data, params: TrialParams) -> EligibleCounts:
    """Eligible and selected people of one cohort, and its vote on how they were selected."""
    return count_eligible(data, params)


def preparation(data: Data, params: TrialParams) -> TrialPreparation:
    """Scales of one cohort."""
    return TrialRows(data, params).prepare()


def trial_sums(
    data: Data,
    params: TrialParams,
    *,
    centre: Array,
    per_unit: Array,
    outcome: Array,
    baseline_centre: Array,
    baseline_per_unit: Array,
) -> TrialSums:
    """Cross-products of one cohort, and its baseline by group."""
    return TrialRows(data, params).sums(TrialScale(centre, per_unit, outcome, baseline_centre, baseline_per_unit))


def trial_meat(
    data: Data,
    params: TrialParams,
    *,
    effects: Array,
    centre: Array,
    per_unit: Array,
    outcome: Array,
    baseline_centre: Array,
    baseline_per_unit: Array,
) -> TrialMeat:
    """What robust standard errors need of one cohort."""
    scale = TrialScale(centre, per_unit, outcome, baseline_centre, baseline_per_unit)
    return TrialRows(data, params).meat(scale, effects)


def hazard_preparation(data: Data, params: TrialParams) -> CoxPreparation:
    """Rows, events and scales of the Cox model of one cohort."""
    return cox_preparation.prepare(followed_up(data, params), params.hazard)


def trial_hazard(
    data: Data, params: TrialParams, *, coefficients: Array, centre: Array, per_unit: Array, level: float
) -> HazardTerms:
    """The partial likelihood of one cohort; no time is in it."""
    return hazard_terms(followed_up(data, params), params.hazard, Scaling(centre, per_unit, level), coefficients)


@analysis
def trial_within_cohort(params: TrialParams) -> Rounds[TrialResult]:
    """Trial within cohorts (TwiCs, cohort multiple randomised trial).

    What does an intervention do that is offered to a random part of the eligible participants of running cohorts, the
    others going on as usual? `where` says who is eligible. Before anybody is selected this counts them per design
    stratum, under commitments to the key of the selection: each holder of a part of it publishes a hash (`cohortium
    node draw` makes a part), and the jobs that name these hashes stay in every cohort's journal. Then parts are
    revealed, and in each cohort and stratum those with the smallest HMAC-SHA256 of their identifier are selected
    (`cohortium node select`); the list stays there. No coordinator can steer that, and no holder as long as one other
    drew its part at random. Given the revealed `keys` every cohort votes whether its selection follows from them.

    Once there are outcomes: the effect of being selected (intention to treat, the primary result) as mean difference,
    risk difference or hazard ratio, adjusted for cohort and design strata; the complier average causal effect by
    two-stage least squares, which assumes that being selected changes nothing but acceptance; how strong that first
    stage is, the share of refusals, and baseline by group with refusers. Robust standard errors.
    Source: Relton et al. (2010), BMJ 340:c1066; Angrist, Imbens & Rubin (1996), JASA 91:444; Pate et al. (2016), BMC
    Medical Research Methodology 16:109.
    """
    counts = yield from ask(eligibility)
    found = designed(params, counts)
    if params.selected is None:
        return TrialResult(**found)
    if params.kind != "none" or params.balance:
        compared = yield from _compared(params)
        found |= {**compared, "warnings": (*found["warnings"], *compared.get("warnings", ()))}
    return TrialResult(**found)


def _compared(params: TrialParams) -> Steps[dict[str, Any]]:
    total = yield from ask(preparation)
    linear = params.kind in {"gaussian", "binomial"}
    if linear:
        must_have_arms(total)
    scale = _scale(params, total)
    sums = yield from ask(trial_sums, **vars(scale))
    found: dict[str, Any] = {"baseline": baseline_rows(params, sums, scale)}
    if sums.few:
        found["warnings"] = (
            "In some cohort too few refused, or too few accepted, to be compared at baseline: left out.",
        )
    if params.kind == "survival":
        return found | (yield from _hazard(params, total))
    if not linear:
        return found
    reduced = Reduced.of(sums, params.design.columns)
    meat = yield from ask(trial_meat, effects=reduced.coefficients, **vars(scale))
    df = total.n - params.design.width - (total.contributing if params.profiled else 0.0)
    few = few_clusters(params.errors, meat.clusters, total.n, total.n - df)
    at = 0 if params.profiled else 1
    effects = Effects(reduced.corrected(meat.unexplained), few * meat.products, at, df + params.design.width)
    found |= linear_fields(params, (total, sums), scale, effects, meat.clusters)
    if params.accepted is not None and found["compliance"].robust_f < WEAK:
        told = (
            "Being selected hardly changes who accepts (F below 10): trust the Anderson-Rubin interval, not the CACE."
        )
        found["warnings"] = (*found.get("warnings", ()), told)
    return found


def _scale(params: TrialParams, total: TrialPreparation) -> TrialScale:
    """Covariates about their mean in units of their spread; assignment and acceptance stay 0 and 1."""
    n, known, at = max(total.n, 1.0), max(total.known, 1.0), 0 if params.profiled else 1
    centre, unit = total.columns / n, _units(total.columns / n, total.spreads / n)
    centre[: at + 1], unit[: at + 1] = 0.0, 1.0
    outcome = np.array([total.outcome / n, total.outcome_spread / n or 1.0])
    baseline = total.baseline / known
    per_unit = 1.0 / _units(baseline, total.baseline_spreads / known)
    return TrialScale(centre, 1.0 / unit, outcome, baseline, per_unit)


def _units(mean: Array, spread: Array) -> Array:
    return np.where(spread > 0, spread, np.where(mean != 0, np.abs(mean), 1.0))


def _hazard(params: TrialParams, prepared: TrialPreparation) -> Steps[dict[str, Any]]:
    total = yield from ask(hazard_preparation)
    planned = cox_preparation.plan(total, params.hazard)

    def ask_terms(coefficients: Array) -> Steps[HazardTerms]:
        return (yield from ask(trial_hazard, coefficients=coefficients, **planned.broadcast))

    fit, covariance = yield from fit_hazard(ask_terms, params.hazard, planned)
    return hazard_fields(params, (prepared, total), planned, fit, covariance)
