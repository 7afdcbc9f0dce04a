"""Average effects of a treatment from sums over weighted and predicted outcomes, with stacked standard errors.

ipw: weighted means (Hajek). g_computation: means of predictions of both outcome models over the target population.
aipw: these, corrected by weighted residuals; right if either the treatment's or the outcome's model is (Robins,
Rotnitzky & Zhao 1994, JASA 89:846). For ATE and ATT the influence function of aipw does not depend on the fits, so its
standard error is that of its mean; all others are stacked (`influence`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from algorithms.numerics.influence import ESTIMATORS, MEANS, InfluenceSums, Standing
from algorithms.numerics.newton import Fit
from algorithms.numerics.propensity_fits import PropensityPlan
from algorithms.numerics.propensity_result import Balance, Effect
from algorithms.numerics.weighting import Rules, WeightedSums
from cohortium.quantities import Array
from cohortium.result import Estimate, wald

NAMES = ("ipw", "g_computation", "aipw")


def standing(total: WeightedSums, rules: Rules) -> Standing:
    """The means, and what D is divided by."""
    predicted = total.predicted / total.target
    corrected = predicted + total.unexplained / rules.factors / total.target
    means = np.array([total.outcome / total.weight, predicted, corrected])
    return Standing(means, total.weight / total.n, total.target / total.n)


def covariance(plan: PropensityPlan, fits: Sequence[Fit | None], total: InfluenceSums) -> Array:
    """Of the six means on the standardised scale; models without a fit move nothing."""
    width = plan.params.design.width
    move = np.zeros((MEANS, len(total.products)))
    move[:, :MEANS] = np.eye(MEANS)
    for m, fit in enumerate(fits):
        if fit is not None:
            to = MEANS + m * width + plan.kept
            move[:, to] = total.slopes[m][:, plan.kept] @ fit.inverse
    found = move @ total.products @ move.T
    if plan.params.estimand != "overlap":
        found[-2:, -2:] = total.products[MEANS - 2 : MEANS, MEANS - 2 : MEANS]
    return np.asarray(found / total.n**2)


def effects(plan: PropensityPlan, at: Standing, spread: Array, *, modelled: bool) -> dict[str, Effect]:
    """The estimators by name; only weighting where the outcome was not `modelled`."""
    centre, unit = plan.standard.outcome
    level, family = plan.params.confidence, plan.params.outcome_family
    found = {}
    for k in range(ESTIMATORS if modelled else 1):
        means, own = centre + unit * at.means[k], unit**2 * spread[2 * k : 2 * k + 2, 2 * k : 2 * k + 2]
        ratios: dict[str, Estimate | None] = {}
        if family is not None and family.name == "binomial" and np.all((means > 0) & (means < 1)):
            logs, odds = np.log(means), np.log(means) - np.log1p(-means)
            ratios["log_risk_ratio"] = contrast(logs, own, 1.0 / means, level)
            ratios["log_odds_ratio"] = contrast(odds, own, 1.0 / (means * (1.0 - means)), level)
        found[NAMES[k]] = Effect(
            means=(float(means[0]), float(means[1])),
            covariance=((float(own[0, 0]), float(own[0, 1])), (float(own[1, 0]), float(own[1, 1]))),
            difference=contrast(means, own, np.ones(2), level),
            **ratios,
        )
    return found


def contrast(values: Array, spread: Array, slopes: Array, level: float) -> Estimate:
    """Second less first of two transformed means, whose derivatives are `slopes` (delta method)."""
    by = slopes * np.array([-1.0, 1.0])
    return wald(["effect"], np.array([values[1] - values[0]]), np.array([[by @ spread @ by]]), level)["effect"]


def balance(plan: PropensityPlan, total: WeightedSums) -> dict[str, Balance]:
    """Every confounder before and after; standard deviations are the unweighted ones of both arms, in the mean."""
    plain, weighted = total.plain / total.arms[:, None, None], total.weighted / total.weight[:, None, None]
    variance = plain[..., 1] - plain[..., 0] ** 2
    weighted_variance = weighted[..., 1] - weighted[..., 0] ** 2
    people = total.arms[:, None]
    unit = np.sqrt((variance * people / np.maximum(people - 1.0, 1.0)).mean(axis=0))
    found = {}
    for k in plan.kept:
        column = plan.params.design.layout[k]
        if not column.pieces:
            continue
        back = 1.0 / plan.standard.per_unit[k]
        means, weighted_means = (plan.standard.centre[k] + back * part[:, k, 0] for part in (plain, weighted))
        ratio = None
        if not column.is_indicator and weighted_variance[0, k] > 0:
            ratio = float(weighted_variance[1, k] / weighted_variance[0, k])
        found[column.name] = Balance(
            mean=(float(means[0]), float(means[1])),
            weighted_mean=(float(weighted_means[0]), float(weighted_means[1])),
            smd=_ratio(plain[1, k, 0] - plain[0, k, 0], unit[k]),
            weighted_smd=_ratio(weighted[1, k, 0] - weighted[0, k, 0], unit[k]),
            variance_ratio=ratio,
        )
    return found


def _ratio(difference: float, unit: float) -> float:
    return float(difference / unit) if unit > 0 else (0.0 if abs(difference) < 1e-12 else float("inf"))
