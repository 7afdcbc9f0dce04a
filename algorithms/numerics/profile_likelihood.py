"""Profile-likelihood intervals: how far a coefficient can move before the best fit with it is too much worse.

All limits of all coefficients are sought together, one round per step: each is a point where the log-likelihood is
lower than its maximum by half a quantile and the score of all other coefficients is zero, which Newton's method on
these equations finds (Venzon & Moolgavkar 1988, Applied Statistics 37:87).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from scipy import special

from algorithms.numerics.design import INTERCEPT
from algorithms.numerics.estimation import Estimation
from algorithms.numerics.newton import Steps
from algorithms.numerics.regression_options import RegressionOptions
from algorithms.numerics.regression_result import ProfileInterval
from algorithms.numerics.regression_sums import newton_terms
from cohortium.analysis import ask
from cohortium.data import Data
from cohortium.errors import NotConverged, Refused
from cohortium.evidence import NOBODY, Evidence, Shares
from cohortium.quantities import Array, Count, FlagKind, SumOver, Sums

MAX_STEPS = 50
# A limit is found when its equations hold to this, in units of the log-likelihood.
SETTLED = 1e-10
# Standard errors that a step may go.
LONGEST = 3.0


class ProfileTerms(Sums):
    """Log-likelihood (points,), score and information at several sets of coefficients; 0 where not finite."""

    n: Count
    log_likelihood: Annotated[Array, SumOver("n")]
    score: Annotated[Array, SumOver("n")]
    information: Annotated[Array, SumOver("n", people_per_parameter=True)]
    not_finite: Annotated[Array, FlagKind()]


def profile_terms(
    data: Data,
    params: RegressionOptions,
    *,
    coefficients: Array,
    centre: Array,
    per_unit: Array,
    units: Array,
    knots: Array,
) -> ProfileTerms:
    """What a Newton step needs, at each row of `coefficients`: no more rows than a model has limits."""
    width = params.design.width
    if coefficients.ndim != 2 or coefficients.shape[1] != width or len(coefficients) > 2 * width:
        raise Refused("More sets of coefficients were asked about than a model has limits.", rule="broadcast")
    same = {"centre": centre, "per_unit": per_unit, "units": units, "knots": knots}
    found = [newton_terms(data, params, coefficients=row, **same, expected=0.0) for row in coefficients]
    return ProfileTerms(
        n=max((t.n for t in found), default=0.0),
        log_likelihood=np.array([t.log_likelihood for t in found]),
        score=np.array([t.score for t in found]).reshape(-1, width),
        information=np.array([t.information for t in found]).reshape(-1, width, width),
        not_finite=np.array([t.not_finite for t in found]),
        evidence=_evidence([t.evidence or NOBODY for t in found]),
    )


def _evidence(each: list[Evidence]) -> Evidence:
    """Of all points together: the weights of every one of them are judged."""
    weights = [e.weights for e in each if isinstance(e.weights, Shares)]
    predictor = max((e.predictor for e in each), default=0.0)
    columns = next((e.columns for e in each if e.columns is not None), None)
    return Evidence(weights=Shares.joined(*weights), predictor=predictor, columns=columns)


@dataclass
class _Limit:
    """One limit on the way: `side` is 1 above the estimate and -1 below."""

    column: int
    side: int
    at: Array
    step: Array
    done: bool = False


def profile_intervals(found: Estimation) -> Steps[dict[str, ProfileInterval]]:
    """The interval of every coefficient but intercepts, on the scale of the data. Raises NotConverged."""
    names = found.climb.names(found.columns)
    searched = [j for j, name in enumerate(names) if name != INTERCEPT]
    reach = math.sqrt(_quantile(found))
    limits = [_start(found, j, side, reach) for j in searched for side in (-1, 1)]
    for _ in range(MAX_STEPS):
        waiting = [limit for limit in limits if not limit.done]
        if not waiting:
            break
        yield from _advance(found, waiting)
    else:
        raise NotConverged("A profile-likelihood interval did not converge. Ask for intervals='wald'.")
    unit = found.climb.planned.scaling.predictor_unit * found.climb.planned.scaling.per_unit[found.columns]
    ends = {(limit.column, limit.side): float((limit.at * unit)[limit.column]) for limit in limits}
    return {names[j]: ProfileInterval(low=ends[j, -1], high=ends[j, 1]) for j in searched}


def _quantile(found: Estimation) -> float:
    """Of chi-squared or, where a dispersion is estimated, of F: what twice the log-likelihood may fall by."""
    level = found.params.confidence
    if found.params.estimates_dispersion:
        return float(special.fdtri(1, found.df_residual, level))
    return float(special.chdtri(1, 1 - level))


def _start(found: Estimation, column: int, side: int, reach: float) -> _Limit:
    """Where the limit would be, were the likelihood quadratic."""
    inverse = found.covariance
    step = side * reach * inverse[:, column] / math.sqrt(inverse[column, column])
    return _Limit(column, side, np.array(found.fit.coefficients), step)


def _advance(found: Estimation, limits: list[_Limit]) -> Steps[None]:
    """Take the step of every limit, as far as the likelihood is finite there, and work out the next."""
    climb, kept = found.climb, np.asarray(found.columns)
    tried = [limit.at + limit.step for limit in limits]
    everywhere = np.zeros((len(limits), found.params.design.width))
    everywhere[:, kept] = tried
    broadcast = climb.broadcast(kept, np.zeros(len(kept))) | {"coefficients": everywhere}
    terms = yield from ask(profile_terms, **broadcast)
    unit = climb.weight_unit
    for k, limit in enumerate(limits):
        fall = 2.0 * (found.fit.terms.log_likelihood - unit * float(terms.log_likelihood[k])) / found.dispersion
        # Far beyond the limit the likelihood is no guide: go half as far.
        if terms.not_finite[k] or fall > 25.0 + 10.0 * _quantile(found):
            limit.step = limit.step / 2.0
            continue
        limit.at = tried[k]
        score, information = unit * terms.score[k, kept], unit * terms.information[k][np.ix_(kept, kept)]
        _next(limit, score / found.dispersion, information / found.dispersion, _quantile(found) - fall)


def _next(limit: _Limit, score: Array, information: Array, room: float) -> None:
    """The step to where a quadratic likelihood, best in all others, is down by the quantile; `room` is left of it."""
    j, others = limit.column, np.delete(np.arange(len(score)), limit.column)
    right = np.column_stack([score[others], information[others, j]])
    along = np.linalg.solve(information[np.ix_(others, others)], right)
    slope = float(score[j] - information[j, others] @ along[:, 0])
    curvature = float(information[j, j] - information[j, others] @ along[:, 1])
    gain = float(score[others] @ along[:, 0])
    limit.done = abs(room) < SETTLED and gain < SETTLED
    root = slope**2 + curvature * (room + gain)
    move = (slope + limit.side * math.sqrt(max(root, 0.0))) / curvature
    longest = LONGEST / math.sqrt(curvature)
    move = min(max(move, -longest), longest)
    limit.step = np.zeros(len(score))
    limit.step[j], limit.step[others] = move, along[:, 0] - along[:, 1] * move
    if limit.done:
        limit.at = limit.at + limit.step
