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
from algorithms.numerics.partial_likelihood import MAX_PREDICTOR, Likelihood, Rows, Scaling, terms
from algorithms.numerics.risk_sets import Places
from algorithms.numerics.time_grid import follow_up, group_codes
from cohortium.data import Data
from cohortium.evidence import Concentration, Evidence, Shares
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


def grid_sums(data: Data, params: CoxParams, scaling: Scaling, coefficients: Array) -> GridSums:
    """The sums of one cohort."""
    rows = Rows(data, params, scaling)
    sets, width = rows.sets, rows.width
    shape = (len(params.groups), params.points + 1)
    predictor = rows.predictor(coefficients)
    far = not np.all(np.abs(predictor) <= MAX_PREDICTOR)
    weight = np.ones(len(predictor)) if sets.weight is None else sets.weight
    risk = np.zeros(len(predictor)) if far else weight * np.exp(predictor)
    places = {
        "event": np.where(sets.event, sets.last, sets.nowhere),
        "censored": np.where(sets.event, sets.nowhere, sets.last),
        "entered": np.zeros(0, np.int32) if sets.before is None else sets.before,
    }
    people = {name: _bins(at, None, sets.nowhere).reshape(shape) for name, at in places.items()}
    moments = {name: _Moments(width, sets.nowhere) for name in places}
    x = np.zeros((width, sets.nowhere))
    for block, z in rows.blocks():
        for name, at in places.items():
            if len(at):
                moments[name].add(at[block], risk[block], z)
        for j in range(width):
            x[j] += _bins(places["event"][block], weight[block] * z[:, j], sets.nowhere)
    if sets.before is None:
        people["entered"], moments["entered"] = np.zeros((shape[0], 0)), _Moments(width, 0)
    sums = {f"{name}_{field}": a for name, m in moments.items() for field, a in m.arrays(people[name].shape).items()}
    return GridSums(
        n=sets.rows,
        events=people["event"],
        censorings=people["censored"],
        entries=people["entered"],
        weight=sets.of_events(slice(None), weight).reshape(shape),
        x=np.moveaxis(x.reshape(width, *shape), 0, -1),
        predictor=0.0 if far else float(weight[sets.event] @ predictor[sets.event]),
        **sums,
        not_finite=float(far),
        evidence=_evidence(rows, predictor, risk, places),
    )


def _evidence(rows: Rows, predictor: Array, risk: Array, places: dict[str, Places]) -> Evidence:
    """How much of the risk scores of each interval, and of all, is one person's."""
    found = []
    for at in places.values():
        here = at < rows.sets.nowhere
        found.append(Concentration((rows.sets.nowhere,)))
        if len(at):
            found[-1].add_by(at[here].astype(np.intp), risk[here])
    base = rows.evidence(predictor, rows.risk_scores(predictor))
    return replace(base, magnitudes=Shares.joined(*(part.shares for part in found)))


class _Moments:
    """Sums of risk score, times covariates and times their products, per place."""

    def __init__(self, width: int, places: int) -> None:
        self.places = places
        self.risk, self.x, self.xx = np.zeros(places), np.zeros((width, places)), np.zeros((width, width, places))

    def add(self, at: Places, risk: Array, x: Array) -> None:
        self.risk += _bins(at, risk, self.places)
        for j in range(len(self.x)):
            weighted = risk * x[:, j]
            self.x[j] += _bins(at, weighted, self.places)
            for k in range(j + 1):
                self.xx[j, k] += _bins(at, weighted * x[:, k], self.places)

    def arrays(self, shape: tuple[int, ...]) -> dict[str, Array]:
        """With strata and times as leading axes."""
        width = len(self.x)
        lower = np.tril(np.ones((width, width)), -1)[:, :, None]
        xx = self.xx + np.swapaxes(self.xx * lower, 0, 1)
        return {
            "risk": self.risk.reshape(shape),
            "x": np.moveaxis(self.x.reshape(width, *shape), 0, -1),
            "xx": np.moveaxis(xx.reshape(width, width, *shape), (0, 1), (-2, -1)),
        }


def _bins(at: Places, values: Array | None, places: int) -> Array:
    return np.bincount(at, weights=values, minlength=places + 1)[:places].astype(np.float64)


def grid_likelihood(total: GridSums, ties: Ties, time_weights: Array) -> Likelihood:
    """The likelihood from the sums over all cohorts; `time_weights` (weightings, strata x times)."""
    cells, width = total.events.size, total.x.shape[-1]
    tied, tied_x = total.event_risk.ravel(), total.event_x.reshape(cells, width).T
    factors = terms(total.events.ravel(), total.weight.ravel(), _risk_sets(total, "risk").ravel(), tied, ties)
    x = _risk_sets(total, "x").reshape(cells, width).T
    xx, tied_xx = _risk_sets(total, "xx").reshape(cells, width, width), total.event_xx.reshape(cells, width, width)
    at_events = total.x.reshape(cells, width)
    score, information = np.zeros((len(time_weights), width)), np.zeros((len(time_weights), width, width))
    mean = factors.means(slice(None), x, tied_x)
    for q, weights in enumerate(time_weights):
        counted = factors.weight * weights[factors.at]
        hazard = counted / factors.denominator
        score[q] = weights @ at_events - mean @ counted
        information[q] = (
            np.tensordot(factors.per_event_time(hazard, cells), xx, 1)
            - np.tensordot(factors.per_event_time(hazard * factors.left_out, cells), tied_xx, 1)
            - (mean * counted) @ mean.T
        )
    with np.errstate(invalid="ignore", divide="ignore"):
        log_likelihood = total.predictor - factors.weight @ np.log(factors.denominator)
    return Likelihood(float(log_likelihood), score, information, factors, x, tied_x)


def _risk_sets(total: GridSums, field: str) -> Array:
    """Sums over those at risk at every time: those who leave then or later, less those who enter then or later."""
    leaving = getattr(total, f"event_{field}") + getattr(total, f"censored_{field}")
    entering = getattr(total, f"entered_{field}")
    staying = leaving - entering if entering.shape == leaving.shape else leaving
    return np.asarray(np.cumsum(staying[:, ::-1], axis=1)[:, ::-1])


def count_moves(data: Data, params: CoxParams) -> Array:
    """Who enters, has the event, or leaves without it, per stratum and time of the grid: (3, strata, times)."""
    shape = (len(params.groups), params.points + 1)
    counts = np.zeros((3, shape[0] * shape[1]))
    for block in data.blocks(params.variables):
        entry, leaving, event = follow_up(block, params)
        cell = group_codes(block, params) * shape[1]
        used = entry < leaving if params.delayed else np.ones(len(entry), dtype=np.bool_)
        who = (used & params.delayed, used & event, used & ~event)
        for row, (at, chosen) in enumerate(zip((entry, leaving, leaving), who, strict=True)):
            counts[row] += np.bincount((cell + at)[chosen], minlength=counts.shape[1])
    return counts.reshape(3, *shape)
