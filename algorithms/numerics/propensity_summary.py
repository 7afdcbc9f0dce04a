"""What every comparison of treatments reports, put together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from algorithms.numerics.design import INTERCEPT
from algorithms.numerics.influence import Standing
from algorithms.numerics.life_table import interval
from algorithms.numerics.newton import Fit
from algorithms.numerics.propensity_fits import PropensityPlan
from algorithms.numerics.propensity_result import Arm, PropensityResult, WeightedCurve
from algorithms.numerics.treatment_effects import balance, effects
from algorithms.numerics.weighted_survival import AdjustedCurve, HazardFit, WeightedLifeTable
from algorithms.numerics.weighting import WeightedSums
from cohortium.quantities import Array
from cohortium.result import Estimate, wald

# After weighting, differences beyond this are reported as left.
NOTABLE = 0.1
# Below this share of the people an arm's effective number says that a few of them carry most of the weight.
THIN = 0.5


@dataclass(frozen=True)
class Summary:
    """The fields that do not depend on the outcome's kind."""

    plan: PropensityPlan
    fields: dict[str, Any]
    warnings: tuple[str, ...]

    def result(self, *more: str, **fields: Any) -> PropensityResult:
        """The result with further fields and warnings."""
        return PropensityResult(**self.fields, **fields, warnings=(*self.warnings, *more))

    def with_effects(self, at: Standing, spread: Array, unmodelled: Sequence[str]) -> PropensityResult:
        """With average effects; only by weighting where a model of the outcome has no fit."""
        total = self.plan.total
        crude = total.outcome / total.arms
        told = [f"No g_computation and no aipw: {reason}" for reason in unmodelled]
        found = effects(self.plan, at, spread, modelled=not unmodelled)
        return self.result(*told, effects=found, crude_difference=float(crude[1] - crude[0]))

    def with_survival(self, hazard: HazardFit, tables: WeightedLifeTable | None) -> PropensityResult:
        """With the hazard ratio, and curves if there are tables."""
        params = self.plan.params
        variance = np.array([[hazard.fit.inverse[0, 0] ** 2 * hazard.terms.meat]])
        estimate = wald(["hazard"], hazard.fit.coefficients, variance, params.confidence)["hazard"]
        curves = {}
        for a, arm in enumerate(params.arms if tables is not None else ()):
            assert tables is not None
            curves[arm] = _curve(AdjustedCurve(params.grid.step, tables, a), params.confidence)
        return self.result(log_hazard_ratio=estimate, n_events=round(hazard.terms.events), curves=curves)


def summary(plan: PropensityPlan, scores: Fit, total: WeightedSums, limits: tuple[float, float] | None) -> Summary:
    """What is known once people have been weighted."""
    params, prepared = plan.params, plan.total
    crude = prepared.outcome / prepared.arms
    arms = {
        arm: Arm(
            n=round(total.arms[a]),
            weight=float(total.weight[a]),
            effective=float(total.weight[a] ** 2 / total.weight_squares[a]),
            crude=float(crude[a]) if params.outcome_family else None,
        )
        for a, arm in enumerate(params.arms)
    }
    fields: dict[str, Any] = {
        "n": round(total.n),
        "n_excluded": _whole(float(prepared.excluded)),
        "cohort_effect": params.cohort_effect,
        "formula": str(params.formula),
        "outcome": None if params.outcome is None else str(params.outcome.response),
        "family": params.outcome_family.name if params.outcome_family else None,
        "estimand": params.estimand,
        "confidence": params.confidence,
        "arms": arms,
        "balance": balance(plan, total),
        "propensity": _coefficients(plan, scores),
        "scores": {arm: tuple(map(_whole, total.scores[a])) for a, arm in enumerate(params.arms)},
        "limits": limits,
        "missing": {name: _whole(m) for name, m in zip(params.variables, prepared.missing, strict=True)},
        "iterations": scores.iterations,
        "decrement": scores.decrement,
        "dropped": plan.dropped,
    }
    return Summary(plan, fields, tuple(_warnings(plan, fields)))


def _coefficients(plan: PropensityPlan, fit: Fit) -> dict[str, Estimate]:
    """Log odds ratios on the scale of the data."""
    stretch = np.diag(plan.standard.per_unit[plan.kept])
    if INTERCEPT in plan.names:
        stretch[0, 1:] = -(plan.standard.centre * plan.standard.per_unit)[plan.kept][1:]
    return wald(plan.names, stretch @ fit.coefficients, stretch @ fit.inverse @ stretch.T, plan.params.confidence)


def _curve(curve: AdjustedCurve, level: float) -> WeightedCurve:
    low, high = interval(curve.survival, curve.log_variance, level, "log-log")
    with np.errstate(invalid="ignore"):
        error = np.where(curve.survival > 0, curve.survival * np.sqrt(curve.log_variance), math.nan)
    return WeightedCurve(
        time=tuple(map(float, curve.time)),
        at_risk=tuple(map(round, curve.people)),
        weight_at_risk=tuple(map(float, curve.at_risk)),
        survival=tuple(map(float, curve.survival)),
        std_error=tuple(map(float, error)),
        ci_low=tuple(map(float, low)),
        ci_high=tuple(map(float, high)),
    )


def _warnings(plan: PropensityPlan, fields: dict[str, Any]) -> list[str]:
    found = []
    if plan.dropped:
        found.append(f"Nobody has the level of {', '.join(plan.dropped)}: left out.")
    if plan.total.silent:
        cohorts = "In 1 cohort" if plan.total.silent == 1 else f"In {plan.total.silent:g} cohorts"
        found.append(f"{cohorts} everybody has the same `{plan.params.treatment}`: left out, with nobody to compare.")
    for name, arm in fields["arms"].items():
        if arm.effective < THIN * arm.n:
            found.append(
                f"The {arm.n} people with {plan.params.treatment} = {name} count as {arm.effective:.0f}: a few of them "
                "have most of the weight. Look at the scores, and at estimand='overlap' or `truncate`."
            )
    left = [name for name, b in fields["balance"].items() if abs(b.weighted_smd) > NOTABLE]
    if left:
        found.append(f"Not balanced after weighting (difference above {NOTABLE:g} SD): {', '.join(left)}.")
    withheld = [name for name, count in fields["missing"].items() if count is None]
    if withheld:
        found.append(f"How many people lack {', '.join(withheld)} is withheld: a cohort's number is small.")
    return found


def _whole(count: float) -> int | None:
    return None if math.isnan(count) else round(float(count))
