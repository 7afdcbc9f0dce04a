"""The partial likelihood with one baseline for all cohorts, from sums per point of a common grid of times.

Whoever knows such sums for an interval in which one person leaves knows that person's covariates: the difference of
two risk sets is that person. So those who have the event, leave without it or enter are each a `TimeGrid` of their
own, and every sum names its own: a cohort refuses an interval in which few of them stand behind a sum.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import numpy as np

from algorithms.numerics.cox_params import CoxParams, Ties
from algorithms.numerics.follow_up import Places
from algorithms.numerics.partial_likelihood import MAX_PREDICTOR, Likelihood, Rows
from algorithms.numerics.risk_sets import NO_EDGES, add_at, merged
from algorithms.numerics.tied_factors import Factors
from algorithms.numerics.time_grid import follow_up, group_codes
from cohortium.data import Data
from cohortium.evidence import Concentration, Shares
from cohortium.quantities import Array, Count, Flag, SumOver, Sums, TimeGrid


class GridSums(Sums):
    """Sums of risk score, times covariates, times their products, per stratum and time: of those who have the event
    then, leave then without it, or enter then.
    """

    n: Count
    events: TimeGrid
    censorings: TimeGrid
    entries: TimeGrid
    weight: Annotated[Array, SumOver("events")]
    x: Annotated[Array, SumOver("events")]
    predictor: Annotated[float, SumOver("n")]
    event_risk: Annotated[Array, SumOver("events")]
    event_x: Annotated[Array, SumOver("events")]
    event_xx: Annotated[Array, SumOver("events", people_per_parameter=True)]
    censored_risk: Annotated[Array, SumOver("censorings")]
    censored_x: Annotated[Array, SumOver("censorings")]
    censored_xx: Annotated[Array, SumOver("censorings", people_per_parameter=True)]
    entered_risk: Annotated[Array, SumOver("entries")]
    entered_x: Annotated[Array, SumOver("entries")]
    entered_xx: Annotated[Array, SumOver("entries", people_per_parameter=True)]
    not_finite: Flag


def sums_on_grid(rows: Rows, coefficients: Array) -> GridSums:
    """The sums of one cohort; nothing but counts where the coefficients are so far off that somebody stands alone."""
    sets, width = rows.sets, rows.width
    shape = (len(rows.params.groups), rows.params.points + 1)
    kinds = {name: _Moments(width, sets.nowhere) for name in ("event", "censored", "entered")}
    weight, x = np.zeros(sets.nowhere + 1), np.zeros((width, sets.nowhere + 1))
    everybody, predicted, farthest, far = Concentration(), 0.0, 0.0, False
    for block, z, predictor in rows.blocks(coefficients):
        farthest = max(farthest, float(np.max(np.abs(predictor), initial=0.0)))
        far = not farthest <= MAX_PREDICTOR
        event, last = sets.event[block], sets.last[block]
        case = np.broadcast_to(rows.weight(block), len(predictor))
        risk = np.zeros(len(predictor)) if far else case * np.exp(predictor)
        everybody.add(risk)
        kinds["event"].add(last[event], risk[event], z[event])
        kinds["censored"].add(last[~event], risk[~event], z[~event])
        if sets.before is not None:
            kinds["entered"].add(sets.before[block], risk, z)
        add_at(weight, last[event], case[event])
        for j in range(width):
            add_at(x[j], last[event], case[event] * z[event, j])
        predicted += float(case[event] @ predictor[event])
    if sets.before is None:
        kinds["entered"] = _Moments(width, 0)
    used = 0.0 if far else 1.0
    shapes = {name: shape if name != "entered" or sets.before is not None else (shape[0], 0) for name in kinds}
    people = {name: of.people[:-1].reshape(shapes[name]) for name, of in kinds.items()}
    sums = {f"{name}_{k}": a for name, of in kinds.items() for k, a in of.arrays(shapes[name], nothing=far).items()}
    return GridSums(
        n=sets.rows,
        events=people["event"],
        censorings=people["censored"],
        entries=people["entered"],
        weight=used * weight[:-1].reshape(shape),
        x=used * np.moveaxis(x[:, :-1].reshape(width, *shape), 0, -1),
        predictor=used * predicted,
        **sums,
        not_finite=float(far),
        # How much of the risk scores of each interval, and of all, is one person's.
        evidence=replace(
            rows.evidence(everybody, farthest), magnitudes=Shares.joined(*(of.shares.shares for of in kinds.values()))
        ),
    )


class _Moments:
    """People, and sums of risk score, times covariates and times their products, per place and for those without."""

    def __init__(self, width: int, places: int) -> None:
        self.people, self.risk = np.zeros((2, places + 1))
        self.x, self.xx = np.zeros((width, places + 1)), np.zeros((width, width, places + 1))
        self.shares, self._places = Concentration((places,)), places

    def add(self, at: Places, risk: Array, x: Array) -> None:
        add_at(self.people, at, np.ones(len(at)))
        add_at(self.risk, at, risk)
        here = at < self._places
        self.shares.add_by(at[here].astype(np.intp), risk[here])
        for j in range(len(self.x)):
            weighted = risk * x[:, j]
            add_at(self.x[j], at, weighted)
            for k in range(j + 1):
                add_at(self.xx[j, k], at, weighted * x[:, k])

    def arrays(self, shape: tuple[int, ...], *, nothing: bool) -> dict[str, Array]:
        """With strata and times as leading axes."""
        width = len(self.x)
        lower = np.tril(np.ones((width, width)), -1)[:, :, None]
        xx = self.xx + np.swapaxes(self.xx * lower, 0, 1)
        sums = {
            "risk": self.risk[:-1].reshape(shape),
            "x": np.moveaxis(self.x[:, :-1].reshape(width, *shape), 0, -1),
            "xx": np.moveaxis(xx[..., :-1].reshape(width, width, *shape), (0, 1), (-2, -1)),
        }
        return {name: np.zeros_like(a) if nothing else a for name, a in sums.items()}


def grid_likelihood(total: GridSums, ties: Ties, time_weights: Array) -> Likelihood:
    """The likelihood from the sums over all cohorts; `time_weights` (weightings, strata x times)."""
    cells, width = total.events.size, total.x.shape[-1]
    tied, tied_x = total.event_risk.ravel(), total.event_x.reshape(cells, width).T
    factors = Factors(total.events.ravel(), total.weight.ravel(), _risk_sets(total, "risk").ravel(), tied, ties)
    x = _risk_sets(total, "x").reshape(cells, width).T
    xx, tied_xx = _risk_sets(total, "xx").reshape(cells, width, width), total.event_xx.reshape(cells, width, width)
    score, information = time_weights @ total.x.reshape(cells, width), np.zeros((len(time_weights), width, width))
    for q, weights in enumerate(time_weights):
        information[q] = np.tensordot(factors.hazard * weights, xx, 1)
        information[q] -= np.tensordot(factors.spared * weights, tied_xx, 1)
    if factors.are_positive:
        factors.subtract_means(score, information, x, tied_x, time_weights)
    return Likelihood(total.predictor + factors.log, score, information, factors, x, tied_x)


def _risk_sets(total: GridSums, field: str) -> Array:
    """Sums over those at risk at every time: those who leave then or later, less those who enter then or later."""
    leaving = getattr(total, f"event_{field}") + getattr(total, f"censored_{field}")
    entering = getattr(total, f"entered_{field}")
    staying = leaving - entering if entering.shape == leaving.shape else leaving
    return np.asarray(np.cumsum(staying[:, ::-1], axis=1)[:, ::-1])


def count_moves(data: Data, params: CoxParams, edges: Array = NO_EDGES) -> Array:
    """Who enters, has the event, or leaves without it, per stratum and time of the grid: (3, strata, times)."""
    shape = (len(params.groups), params.points + 1)
    counts = np.zeros((3, shape[0] * shape[1]))
    for block in data.blocks(params.variables):
        entry, leaving, event = follow_up(block, params)
        used = entry < leaving if params.delayed else np.ones(len(entry), dtype=np.bool_)
        entry, leaving = merged(entry, leaving, edges)
        cell = group_codes(block, params) * shape[1]
        who = (used & params.delayed, used & event, used & ~event)
        for row, (at, chosen) in enumerate(zip((entry, leaving, leaving), who, strict=True)):
            counts[row] += np.bincount((cell + at)[chosen], minlength=counts.shape[1])
    return counts.reshape(3, *shape)
