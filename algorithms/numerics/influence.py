"""How every person moves the means under two treatments, and the coefficients that these rest on.

Estimates solve stacked estimating equations: the scores of the models of treatment and outcome, and for every mean a
sum of D_i that is 0 at its estimate. Linearised, a mean moves by D_i + H I^-1 S_i, with S_i a person's scores, I the
information and H the sum of the derivatives of D_i with respect to the coefficients; the variance is the sum of their
squares (Stefanski & Boos 2002, Am Stat 56:29; for propensity scores Lunceford & Davidian 2004, Stat Med 23:2937).

With intercepts of its own a cohort takes theirs out of both: c being the weighted mean of the columns and k the
derivative of D by an intercept over its information, S becomes S - c S_1 and D becomes D + k S_1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from algorithms.numerics.propensity_people import MODELS, Fitted
from algorithms.numerics.weighting import Rules, Weights
from cohortium.quantities import Array, Count, SumOver, Sums

# Means by weighting, by prediction (G-computation), and by both (augmented); of the untreated and of the treated each.
ESTIMATORS = 3
MEANS = 2 * ESTIMATORS


class InfluenceSums(Sums):
    """Sums of products of D (6) and the scores of the models (3 width), (6 + 3 width, 6 + 3 width); and H."""

    n: Count
    products: Annotated[Array, SumOver("n", positive=True)]
    slopes: Annotated[Array, SumOver("n")]


@dataclass(frozen=True)
class Standing:
    """What was found: the means (estimators, arms), and total weights and target per person, by which D is divided."""

    means: Array
    weight: Array
    target: float


def influence_sums(fitted: Fitted, rules: Rules, at: Standing) -> InfluenceSums:
    """One cohort's part."""
    people, own, weights = fitted.people, fitted.people.params.profiled, Weights(fitted, rules)
    width = people.design.width + own
    products, slopes = np.zeros((MEANS + MODELS * width,) * 2), np.zeros((MODELS, MEANS, width))
    weighted = np.zeros((MODELS, width))
    for rows, block in people.blocks(fitted.standard):
        x = np.column_stack([np.ones(len(block)), block]) if own else block
        d, derivatives = _influence(fitted, weights, at, rows)
        z = np.column_stack([d.T, *(x * fitted.residual(m, rows)[:, None] for m in range(MODELS))])
        products += z.T @ z
        for m in range(MODELS):
            slopes[m] += derivatives[m] @ x
            weighted[m] += fitted.information(m, rows) @ x
    if own:
        moved = MEANS if rules.estimand == "overlap" else MEANS - 2
        products, slopes = _without_intercepts(products, slopes, weighted, moved)
    return InfluenceSums(n=len(people), products=products, slopes=slopes, evidence=weights.evidence(fitted))


def _influence(fitted: Fitted, weights: Weights, at: Standing, rows: slice) -> tuple[Array, Array]:
    """D of some rows, (6, rows), and its derivatives by the linear predictor of each model, (models, 6, rows)."""
    treated, y, factors = fitted.people.treated[rows], fitted.outcome[rows], weights.rules.factors
    h, dh = (part[rows] for part in weights.target)
    d, by = np.zeros((ESTIMATORS, 2, len(y))), np.zeros((MODELS, ESTIMATORS, 2, len(y)))
    for a, arm in enumerate((~treated, treated)):
        m, slope = fitted.mean(1 + a, rows), fitted.slope(1 + a, rows)
        w, dw = (np.where(arm, part[rows], 0.0) for part in (weights.values, weights.slopes))
        d[0, a], by[0, 0, a] = (scaled * (y - at.means[0, a]) / at.weight[a] for scaled in (w, dw))
        # As shares of the target population the weights are not stabilised.
        w, dw = w / factors[a], dw / factors[a]
        off = [m - at.means[k, a] for k in (1, 2)]
        d[1, a], by[0, 1, a], by[1 + a, 1, a] = (part / at.target for part in (h * off[0], dh * off[0], h * slope))
        d[2, a] = (h * off[1] + w * (y - m)) / at.target
        by[0, 2, a] = (dh * off[1] + dw * (y - m)) / at.target
        by[1 + a, 2, a] = (h - w) * slope / at.target
    return d.reshape(MEANS, -1), by.reshape(MODELS, MEANS, -1)


def _without_intercepts(products: Array, slopes: Array, weighted: Array, moved: int) -> tuple[Array, Array]:
    """Products and slopes of the common coefficients alone, from those with an intercept first in every model.

    Of the means the first `moved` are moved by the fit: the augmented ones of ATE and ATT are not (see `covariance`).
    """
    width = slopes.shape[2]
    per = np.divide(1.0, weighted[:, 0], out=np.zeros(MODELS), where=weighted[:, 0] > 0)
    centre = weighted[:, 1:] * per[:, None]
    take = np.zeros((MEANS + MODELS * (width - 1), MEANS + MODELS * width))
    take[:MEANS, :MEANS] = np.eye(MEANS)
    for m in range(MODELS):
        to = slice(MEANS + m * (width - 1), MEANS + (m + 1) * (width - 1))
        intercept = MEANS + m * width
        take[:moved, intercept] = slopes[m, :moved, 0] * per[m]
        take[to, intercept] = -centre[m]
        take[to, intercept + 1 : intercept + width] = np.eye(width - 1)
    left = slopes[:, :, 1:] - slopes[:, :, :1] * centre[:, None, :]
    return take @ products @ take.T, left
