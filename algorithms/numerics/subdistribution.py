"""The subdistribution hazard of one cause: who counts as at risk of it, in one cohort's own times or on a common grid.

Whoever had another event stays at risk of this one, ever less: with the weight G(t-) / G(T-) of still being under
observation at t, having been so at T. G is the Kaplan-Meier estimate of not yet being censored.

Source: Fine & Gray (1999), JASA 94:496; as weights of a Cox likelihood: Geskus (2011), Biometrics 67:39.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from algorithms.numerics.columns import columns_of
from algorithms.numerics.fine_gray_params import FineGrayParams
from algorithms.numerics.partial_likelihood import MAX_PREDICTOR, PRODUCT_ROWS, Likelihood, Scaling, terms
from algorithms.numerics.score_residuals import Hazard
from algorithms.numerics.time_grid import grid_times
from cohortium.data import Data
from cohortium.errors import InvalidQuestion
from cohortium.evidence import Concentration, Evidence, Shares
from cohortium.quantities import Array

Mask = NDArray[np.bool_]
Places = NDArray[np.intp]

# Times closer than this share of the longest one are the same time written down differently.
SAME_TIME = 1e-11


@dataclass(frozen=True)
class Standing:
    """Where the rows of a cohort stand among times: each row is at risk at those up to `last` (-1: at none).

    `after` is what a row with another event counts once it has had it, divided by G then: 1 / G(T-), and 0 for others.
    `still` is G just before every time, `deaths` the events of the cause; `origin` the mean of the design's columns.
    """

    last: Places
    event: Mask
    competing: Mask
    after: Array
    still: Array
    deaths: Array
    origin: Array

    def at_risk(self, leaving: Array, competing: Array) -> Array:
        """Sums over the subdistribution's risk sets, from sums by `last` + 1 along the last axis (times + 1,)."""
        later = np.cumsum(leaving[..., ::-1], axis=-1)[..., ::-1][..., 1:]
        return np.asarray(later + self.still * np.cumsum(competing, axis=-1)[..., :-1])

    def by_last(self, rows: slice, values: Array) -> Array:
        """Sums of some rows' values by `last` + 1, shape (times + 1,)."""
        return np.asarray(np.bincount(self.last[rows] + 1, weights=values, minlength=len(self.still) + 1))

    def of_events(self, rows: slice, values: Array) -> Array:
        """Sums over those of the rows that have the event, by time, shape (times,)."""
        chosen = self.event[rows]
        return np.asarray(np.bincount(self.last[rows][chosen], weights=values[chosen], minlength=len(self.still)))

    def lived(self, rows: slice, increments: Array, spared: Array) -> Array:
        """How much of a cumulated quantity some rows lived through, from its increments (..., times).

        An event is spared a part of the increment of its own time, because others have theirs then.
        """
        nothing = np.zeros((*increments.shape[:-1], 1))
        past = np.concatenate([nothing, np.cumsum(increments, axis=-1)], axis=-1)
        weighted = np.concatenate([nothing, np.cumsum(increments * self.still, axis=-1)], axis=-1)
        at = self.last[rows] + 1
        found = past[..., at] + self.after[rows] * (weighted[..., -1:] - weighted[..., at])
        event = self.event[rows]
        found[..., event] -= spared[..., self.last[rows][event]]
        return np.asarray(found)


def own_standing(data: Data, params: FineGrayParams) -> Standing:
    """By the cohort's own exact times; kept, because a fit asks in every round."""
    return data.recall(("fine_gray", params.model_dump_json()), lambda: _own_standing(data, params))


def _own_standing(data: Data, params: FineGrayParams) -> Standing:
    time, status = _own_times(data, params)
    distinct, codes = _classes(time)
    event, competing, censored = (status == params.number, (status > 0) & (status != params.number), status == 0)
    counts = [
        np.bincount(codes[kind], minlength=len(distinct)).astype(np.float64) for kind in (event, competing, censored)
    ]
    still_at, events = left_before(*counts), np.flatnonzero(counts[0])
    return Standing(
        last=np.searchsorted(events, codes, side="right") - 1,
        event=event,
        competing=competing,
        after=np.where(competing, 1.0 / still_at[codes], 0.0),
        still=still_at[events],
        deaths=counts[0][events],
        origin=_means(data, params),
    )


def grid_standing(data: Data, params: FineGrayParams, still: Array) -> Standing:
    """By the points of the common grid, with G just before each (times,)."""
    empty = np.empty(0, np.intp)
    parts = [_on_grid(block, params) for block in data.blocks(params.used)]
    leaving, status = (np.concatenate(column) for column in zip((empty, empty), *parts, strict=True))
    event = status == params.number
    competing = (status > 0) & ~event
    return Standing(
        last=leaving,
        event=event,
        competing=competing,
        after=np.where(competing, 1.0 / still[leaving], 0.0),
        still=still,
        deaths=np.bincount(leaving[event], minlength=len(still)).astype(np.float64),
        origin=np.zeros(params.design.width),
    )


def left_before(events: Array, competing: Array, censored: Array) -> Array:
    """G just before each time, (times,), from people by how they leave then: events come before censorings."""
    leaving = events + competing + censored
    at_risk = leaving.sum() - (np.cumsum(leaving) - leaving) - events - competing
    kept = np.cumprod(1.0 - np.where(censored > 0, censored / np.where(censored > 0, at_risk, 1.0), 0.0))
    return np.asarray(np.concatenate([[1.0], kept[:-1]])[: len(leaving)])


def covariates(data: Data, params: FineGrayParams, scaling: Scaling, origin: Array) -> Iterator[tuple[slice, Array]]:
    """Which of the complete rows, and their standardised covariates, shape (rows, width)."""
    at = 0
    for block in data.blocks(params.used):
        x = params.design.matrix(block)
        yield slice(at, at + len(block)), (x - origin) * scaling.per_unit
        at += len(block)


def predictor(x: Array, coefficients: Array) -> Array:
    """The linear predictor of some rows, shape (rows,).

    Column by column: a library's threads, started for so thin a product, would cost more than they bring.
    """
    eta = np.zeros(len(x))
    for column, coefficient in zip(x.T, coefficients, strict=True):
        eta += coefficient * column
    return eta


def likelihood(data: Data, params: FineGrayParams, scaling: Scaling, coefficients: Array) -> Likelihood | None:
    """The log partial likelihood of one cohort with a baseline of its own; None where the coefficients are far off."""
    standing, width = own_standing(data, params), params.design.width
    times = len(standing.still)
    leaving, carried, tied = (
        np.zeros((1 + width, times + 1)),
        np.zeros((1 + width, times + 1)),
        np.zeros((1 + width, times)),
    )
    score, predicted = np.zeros(width), 0.0
    for rows, x in covariates(data, params, scaling, standing.origin):
        eta = predictor(x, coefficients)
        if not np.all(np.abs(eta) <= MAX_PREDICTOR):
            return None
        risk = np.exp(eta)
        for j, values in enumerate((risk, *(risk * column for column in x.T))):
            leaving[j] += standing.by_last(rows, values)
            carried[j] += standing.by_last(rows, values * standing.after[rows])
            tied[j] += standing.of_events(rows, values)
        event = standing.event[rows]
        score += x[event].sum(axis=0)
        predicted += float(eta[event].sum())
    sums = standing.at_risk(leaving, carried)
    factors = terms(standing.deaths, standing.deaths, sums[0], tied[0], params.ties)
    if not np.all(factors.denominator > 0):
        return None
    mean = factors.means(slice(None), sums[1:], tied[1:])
    hazard = factors.weight / factors.denominator
    increments = factors.per_event_time(hazard, times)
    spared = factors.per_event_time(hazard * factors.left_out, times)
    information = -(mean * factors.weight) @ mean.T
    weights, farthest = Concentration(), 0.0
    for rows, x in covariates(data, params, scaling, standing.origin):
        eta = predictor(x, coefficients)
        lived = np.exp(eta) * standing.lived(rows, increments, spared)
        weights.add(lived)
        farthest = max(farthest, float(np.max(np.abs(eta))))
        information += _products(x.T * lived, x.T)
    value = predicted - float(factors.weight @ np.log(factors.denominator))
    score -= mean @ factors.weight
    evidence = evidence_of(data, params, weights.shares, farthest)
    return Likelihood(value, score[None], information[None], factors, sums[1:], tied[1:], evidence)


def evidence_of(data: Data, params: FineGrayParams, weights: Shares, farthest: float) -> Evidence:
    """What the check of the node is shown beside sums with these weights and largest linear predictor."""
    events = sum(float(np.count_nonzero(params.status(b) == params.number)) for b in data.blocks(params.used))
    columns = columns_of(data, params.design, variables=params.used, events=events)
    return Evidence(weights=weights, predictor=farthest, columns=columns)


def meat(blocks: Iterable[tuple[slice, Array]], coefficients: Array, standing: Standing, hazard: Hazard) -> Array:
    """Sum over rows of the outer products of their score residuals, with G as known, shape (width, width).

    `blocks` are the rows with their standardised covariates.
    """
    total = np.zeros((len(coefficients), len(coefficients)))
    for rows, x in blocks:
        event = standing.event[rows]
        lived = standing.lived(rows, hazard.increment, hazard.spared)
        lived_x = standing.lived(rows, hazard.increment_x, hazard.spared_x)
        residual = np.exp(predictor(x, coefficients)) * (lived_x - x.T * lived)
        residual[:, event] += x[event].T - hazard.mean[:, standing.last[rows][event]]
        total += _products(residual, residual)
    return total


def _products(first: Array, second: Array) -> Array:
    """Sums over rows of the outer products of columns, (width, rows) each, in pieces too small to start threads."""
    total = np.zeros((len(first), len(second)))
    for start in range(0, first.shape[1], PRODUCT_ROWS):
        rows = slice(start, start + PRODUCT_ROWS)
        total += first[:, rows] @ second[:, rows].T
    return total


def _own_times(data: Data, params: FineGrayParams) -> tuple[Array, Places]:
    times, ends = [np.zeros(0)], [np.zeros(0, np.intp)]
    for block in data.blocks(params.used):
        time, status = block[params.surv.time.name], params.status(block)
        if np.any(time < 0):
            raise InvalidQuestion(
                f"`{params.surv}` has times before 0. Count time from an origin that all have passed."
            )
        if params.until is not None:
            status = np.where(time > params.until, 0, status)
            time = np.minimum(time, params.until)
        times.append(time)
        ends.append(status)
    return np.concatenate(times), np.concatenate(ends)


def _on_grid(block: Data, params: FineGrayParams) -> tuple[Places, Places]:
    _, leaving, cut = grid_times(block, params)
    return leaving, np.where(cut, 0, params.status(block))


def _classes(times: Array) -> tuple[Array, Places]:
    distinct, codes = np.unique(times, return_inverse=True)
    new = np.diff(distinct, prepend=-np.inf) > SAME_TIME * np.max(distinct, initial=0.0)
    return distinct[new], (np.cumsum(new) - 1)[codes]


def _means(data: Data, params: FineGrayParams) -> Array:
    """The means of the design's columns, exact for a constant one."""
    total, rows, origin = np.zeros(params.design.width), 0, np.zeros(params.design.width)
    for block in data.blocks(params.used):
        x = params.design.matrix(block)
        if not rows:
            origin = x[0].copy()
        total += np.sum(x - origin, axis=0)
        rows += len(block)
    return np.asarray(origin + total / max(rows, 1))
