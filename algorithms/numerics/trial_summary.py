"""The parts of a trial's result, from sums back to the scale of the data."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from algorithms.numerics.assignment_effects import Effects
from algorithms.numerics.cox_preparation import CoxPlan, CoxPreparation
from algorithms.numerics.groups import whole
from algorithms.numerics.newton import Fit
from algorithms.numerics.trial_eligibility import EligibleCounts
from algorithms.numerics.trial_params import GROUPS, TrialParams
from algorithms.numerics.trial_result import BaselineRow, Compliance, Stratum
from algorithms.numerics.trial_rows import COMPARED, TrialPreparation, TrialScale, TrialSums
from cohortium.errors import CannotEstimate
from cohortium.quantities import Array
from cohortium.result import Estimate, wald

WEAK = 10.0


def designed(params: TrialParams, counts: EligibleCounts) -> dict[str, Any]:
    """Eligibility and selection. Raises CannotEstimate where nobody is eligible."""
    if not counts.eligible:
        raise CannotEstimate("No cohort has anybody who is eligible, with a value for every design stratum.")
    names = params.groups.names
    strata = {
        name: Stratum(eligible=whole(float(counts.strata[s])), to_select=whole(float(counts.planned[s])))
        for s, name in enumerate(names)
    }
    found: dict[str, Any] = {
        "n": round(counts.eligible),
        "n_excluded": whole(float(counts.left_out)),
        "strata": strata,
        "share": params.share,
        "commitments": dict(params.commitments),
        "confidence": params.confidence,
        "missing": {} if counts.left_out == 0 else {"identifier or stratum": whole(float(counts.left_out))},
        "warnings": tuple(_warnings(params, counts)),
    }
    if params.selected is None:
        return found
    if counts.checked:
        found["verified"] = counts.differs == 0
    groups = dict(zip(GROUPS, map(whole, map(float, counts.groups)), strict=True))
    if params.accepted is None:
        refused = groups.pop("refused")
        groups = {"not selected": groups["not selected"], "selected": refused}
    elif groups["refused"] is not None and groups["accepted"] is not None:
        offered = groups["refused"] + groups["accepted"]
        found["refusal_share"] = groups["refused"] / offered if offered else None
    return found | {"groups": groups}


def _warnings(params: TrialParams, counts: EligibleCounts) -> list[str]:
    found = []
    if len(params.commitments) == 1:
        found.append("One holder alone commits to the key: nobody else can tell that it was not chosen by its outcome.")
    if not params.commitments and params.selected is None:
        found.append("There is no commitment to a key: who selects people can choose whom.")
    if params.selected is not None and not params.keys:
        found.append("Whether people were selected as committed was not checked: give `keys` and `identifier`.")
    if counts.checked and counts.differs:
        found.append(
            "In at least one cohort the selection is NOT the one that follows from the keys: other people were "
            "selected, or eligibility, strata or identifiers have changed since."
        )
    if counts.unassigned != 0:
        found.append("For some eligible people it is not known whether they were selected: they are left out.")
    return found


def baseline_rows(params: TrialParams, sums: TrialSums, scale: TrialScale) -> dict[str, BaselineRow]:
    """Baseline by group; no group where there is nobody."""
    if not params.balance:
        return {}
    names = COMPARED if params.accepted is not None else COMPARED[:2]
    people = sums.people[:, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        mean, square = sums.baseline[..., 0] / people, sums.baseline[..., 1] / people
        spread = np.sqrt(np.maximum(square - mean**2, 0.0) * people / (people - 1.0))
    found = {}
    for k, name in enumerate(params.baseline.columns):
        back = scale.baseline_centre[k] + mean[:, k] / scale.baseline_per_unit[k]
        found[name] = BaselineRow(
            means={group: _known(back[g]) for g, group in enumerate(names)},
            smd=_difference(mean[:, k], spread[:, k], 0, 1),
            smd_accepted=_difference(mean[:, k], spread[:, k], 2, 3) if len(names) > 2 else None,
        )
    return found


def _difference(mean: Array, spread: Array, low: int, high: int) -> float | None:
    unit = math.sqrt((spread[low] ** 2 + spread[high] ** 2) / 2)
    if not math.isfinite(unit):
        return None
    return float((mean[high] - mean[low]) / unit) if unit > 0 else 0.0


def linear_fields(
    params: TrialParams, sums: tuple[TrialPreparation, TrialSums], scale: TrialScale, effects: Effects, clusters: float
) -> dict[str, Any]:
    """Effects on a number or a binary outcome."""
    (total, crossed), names, unit = sums, list(params.design.columns), scale.outcome[1]
    df = clusters - 1.0 if params.errors == "cluster" else math.inf
    estimates, covariance = _back(params, scale, *effects.assignment())
    found = wald(names, estimates, covariance, params.confidence, df)
    means = scale.outcome[0] + unit * crossed.outcomes / crossed.arms
    fields: dict[str, Any] = {
        "cohort_effect": params.cohort_effect,
        "formula": str(params.assigned),
        "family": params.kind,
        "n_outcome": round(total.n),
        "n_excluded": whole(float(total.excluded)),
        "clusters": round(clusters) if params.errors == "cluster" else None,
        "outcome_means": (float(means[0]), float(means[1])),
        "itt": found[names[effects.at]],
        "coefficients": found,
        "std_errors": params.errors,
        "missing": {n: whole(float(m)) for n, m in zip(params.needed, total.missing, strict=True)},
    }
    if params.accepted is None:
        return fields
    rise, error = effects.acceptance()
    if not abs(rise) > 1e-12:
        raise CannotEstimate(
            f"Being selected does not change `{params.accepted}`, so no effect of it can be estimated."
        )
    estimates, covariance = _back(params, scale, *effects.compliers())
    names[effects.at] = str(params.accepted)
    second = wald(names, estimates, covariance, params.confidence, df)
    plain, robust = effects.first_stage()
    low, high = (unit * limit for limit in effects.anderson_rubin(params.confidence))
    if params.kind == "binomial":
        low, high = max(low, -1.0), min(high, 1.0)
    fields["compliance"] = Compliance(
        rise=wald(["rise"], np.array([rise]), np.array([[error**2]]), params.confidence, df)["rise"],
        first_stage_f=plain,
        robust_f=robust,
        cace=second[names[effects.at]],
        anderson_rubin=(low, high),
        coefficients=second,
    )
    return fields


def _back(params: TrialParams, scale: TrialScale, estimates: Array, covariance: Array) -> tuple[Array, Array]:
    """On the scale of the data; assignment and acceptance are 0 and 1 there, too."""
    transform = scale.outcome[1] * np.diag(scale.per_unit)
    shift = np.zeros(len(estimates))
    if not params.profiled:
        transform[0, 1:] = -scale.outcome[1] * (scale.centre * scale.per_unit)[1:]
        shift[0] = scale.outcome[0]
    return transform @ estimates + shift, transform @ covariance @ transform.T


def hazard_fields(
    params: TrialParams, totals: tuple[TrialPreparation, CoxPreparation], plan: CoxPlan, fit: Fit, covariance: Array
) -> dict[str, Any]:
    """Effects on follow-up."""
    prepared, total = totals
    unit = plan.scaling.per_unit[plan.kept]
    names = [params.hazard.design.columns[k] for k in plan.kept]
    found: dict[str, Estimate] = wald(
        names, unit * fit.coefficients, covariance * np.outer(unit, unit), params.confidence
    )
    if 0 not in plan.kept:
        raise CannotEstimate("Nobody was selected: nothing to compare.")
    return {
        "cohort_effect": "stratified",
        "formula": str(params.assigned),
        "family": "survival",
        "n_outcome": round(total.n),
        "n_excluded": whole(float(prepared.excluded)),
        "n_events": round(total.events),
        "clusters": round(total.clusters) if params.errors == "cluster" else None,
        "itt": found[names[0]],
        "coefficients": found,
        "std_errors": "cluster" if params.errors == "cluster" else "score residuals",
        "iterations": fit.iterations,
        "missing": {n: whole(float(m)) for n, m in zip(params.needed, prepared.missing, strict=True)},
    }


def _known(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
