"""The subdistribution likelihood with one baseline for all cohorts, from sums per point of a common grid of times.

As for a Cox model (see `grid_likelihood`), those who have the event, another event, or leave without any are each a
`TimeGrid` of their own, and every sum names its own: a cohort refuses an interval in which few stand behind a sum.
Everybody with another event at a time has the same weight from then on, so the coordinator can do the weighting.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np

from algorithms.numerics.cox_params import Ties
from algorithms.numerics.fine_gray_params import FineGrayParams
from algorithms.numerics.partial_likelihood import MAX_PREDICTOR, Likelihood, Scaling, terms
from algorithms.numerics.subdistribution import covariates, evidence_of, grid_standing, left_before, predictor
from cohortium.data import Data
from cohortium.evidence import Concentration
from cohortium.quantities import Array, Count, Flag, SumOver, Sums, TimeGrid


class SubdistributionSums(Sums):
    """Sums of risk score, times covariates, times their products, per time of the grid, by how people leave then."""

    n: Count
    events: TimeGrid
    competing: TimeGrid
    censorings: TimeGrid
    predictor: Annotated[float, SumOver("n")]
    x: Annotated[Array, SumOver("events")]
    event_risk: Annotated[Array, SumOver("events")]
    event_x: Annotated[Array, SumOver("events")]
    event_xx: Annotated[Array, SumOver("events", people_per_parameter=True)]
    competing_risk: Annotated[Array, SumOver("competing")]
    competing_x: Annotated[Array, SumOver("competing")]
    competing_xx: Annotated[Array, SumOver("competing", people_per_parameter=True)]
    censored_risk: Annotated[Array, SumOver("censorings")]
    censored_x: Annotated[Array, SumOver("censorings")]
    censored_xx: Annotated[Array, SumOver("censorings", people_per_parameter=True)]
    not_finite: Flag


def sums_on_grid(data: Data, params: FineGrayParams, scaling: Scaling, coefficients: Array) -> SubdistributionSums:
    """The sums of one cohort."""
    times, width = params.points + 1, params.design.width
    standing = grid_standing(data, params, np.ones(times))
    masks = {"event": standing.event, "competing": standing.competing}
    masks["censored"] = ~(standing.event | standing.competing)
    risks, xs = (np.zeros((3, *shape)) for shape in ((times,), (width, times)))
    xxs, events_x = np.zeros((3, width, width, times)), np.zeros((width, times))
    predicted, far = 0.0, False
    farthest, everybody, intervals = 0.0, Concentration(), Concentration((3, times))
    for rows, x in covariates(data, params, scaling, scaling.centre):
        eta = predictor(x, coefficients)
        far = far or not np.all(np.abs(eta) <= MAX_PREDICTOR)
        risk = np.exp(np.clip(eta, -MAX_PREDICTOR, MAX_PREDICTOR))
        predicted += float(eta[standing.event[rows]].sum())
        farthest = max(farthest, float(np.max(np.abs(eta))))
        everybody.add(risk)
        for which, mask in enumerate(masks.values()):
            chosen = mask[rows]
            at, z, weight = standing.last[rows][chosen], x[chosen], risk[chosen]
            risks[which] += np.bincount(at, weight, times)
            intervals.add_by(which * times + at, weight)
            for j in range(width):
                weighted = weight * z[:, j]
                xs[which, j] += np.bincount(at, weighted, times)
                for k in range(width):
                    xxs[which, j, k] += np.bincount(at, weighted * z[:, k], times)
                if not which:
                    events_x[j] += np.bincount(at, z[:, j], times)
    used = 0.0 if far else 1.0
    moments = {}
    for which, name in enumerate(masks):
        moments[f"{name}_risk"] = used * risks[which]
        moments[f"{name}_x"] = used * xs[which].T
        moments[f"{name}_xx"] = used * np.moveaxis(xxs[which], -1, 0)
    return SubdistributionSums(
        n=len(standing.last),
        **dict(zip(("events", "competing", "censorings"), counts_on_grid(data, params), strict=True)),
        predictor=used * predicted,
        x=events_x.T,
        **moments,
        not_finite=float(far),
        evidence=replace(evidence_of(data, params, everybody.shares, farthest), magnitudes=intervals.shares),
    )


def counts_on_grid(data: Data, params: FineGrayParams) -> Array:
    """People who have the event, another event, or leave without any, per time of the grid: (3, times)."""
    times = params.points + 1
    standing = grid_standing(data, params, np.ones(times))
    masks = (standing.event, standing.competing, ~(standing.event | standing.competing))
    return np.array([np.bincount(standing.last[mask], minlength=times) for mask in masks], dtype=np.float64)


@dataclass(frozen=True)
class Pooled:
    """The likelihood over all cohorts, and G just before each time of the grid."""

    likelihood: Likelihood
    still: Array


def pooled(total: SubdistributionSums, ties: Ties) -> Pooled:
    """The likelihood from the sums over all cohorts."""
    still = left_before(total.events, total.competing, total.censorings)
    risk, x, xx = (_at_risk(total, field, still) for field in ("risk", "x", "xx"))
    factors = terms(total.events, total.events, risk, total.event_risk, ties)
    mean = factors.means(slice(None), x.T, total.event_x.T)
    hazard, times = factors.weight / factors.denominator, len(still)
    information = (
        np.tensordot(factors.per_event_time(hazard, times), xx, 1)
        - np.tensordot(factors.per_event_time(hazard * factors.left_out, times), total.event_xx, 1)
        - (mean * factors.weight) @ mean.T
    )
    score = total.x.sum(axis=0) - mean @ factors.weight
    with np.errstate(invalid="ignore", divide="ignore"):
        value = total.predictor - factors.weight @ np.log(factors.denominator)
    found = Likelihood(float(value), score[None], information[None], factors, x.T, total.event_x.T)
    return Pooled(found, still)


def _at_risk(total: SubdistributionSums, field: str, still: Array) -> Array:
    """Sums over the subdistribution's risk set at every time: who leaves later, and who had another event before."""
    event, competing, censored = (getattr(total, f"{kind}_{field}") for kind in ("event", "competing", "censored"))
    leaving = event + competing + censored
    shape = (-1,) + (1,) * (leaving.ndim - 1)
    # Once nobody can be under observation any more there is no event either, so that weights do not matter.
    after = competing / np.where(still > 0, still, 1.0).reshape(shape)
    carried = np.cumsum(after, axis=0) - after
    return np.asarray(np.cumsum(leaving[::-1], axis=0)[::-1] + still.reshape(shape) * carried)
