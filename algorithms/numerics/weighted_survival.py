"""Survival of weighted people: a hazard ratio, and curves on a grid of times.

The Cox model has a baseline hazard per cohort and a robust standard error that takes the weights as known, which errs
on the safe side (Hernan, Brumback & Robins 2000, Epidemiology 11:561). Curves are adjusted Kaplan-Meier estimates with
the variance of Xie & Liu (2005), Stat Med 24:3089.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from algorithms.numerics.newton import Fit, Model, Steps, maximise
from algorithms.numerics.partial_likelihood import Rows, Scaling, likelihood
from algorithms.numerics.propensity_params import WEIGHT, PropensityParams
from algorithms.numerics.score_residuals import Hazard, meat
from algorithms.numerics.scoring import NewtonTerms
from algorithms.numerics.time_grid import follow_up
from algorithms.numerics.weighting import Weights
from cohortium.analysis import Question
from cohortium.data import Data
from cohortium.errors import CannotEstimate
from cohortium.evidence import NOBODY, Concentration, Evidence
from cohortium.quantities import Array, Count, Flag, SumOver, Sums, TimeGrid

_ONE = Scaling(centre=np.zeros(1), per_unit=np.ones(1), level=0.0)


class WeightedHazard(Sums):
    """A cohort's weighted log partial likelihood of the treatment, its derivatives, and squared score residuals."""

    n: Count
    events: Count
    log_likelihood: Annotated[float, SumOver("events")]
    score: Annotated[float, SumOver("events")]
    information: Annotated[float, SumOver("n")]
    meat: Annotated[float, SumOver("n")]
    not_finite: Flag


class WeightedLifeTable(Sums):
    """Who leaves, per arm and interval (arms, points + 1); with weights, with squared weights, and with the event."""

    exits: TimeGrid
    weight: Annotated[Array, SumOver("exits")]
    squares: Annotated[Array, SumOver("exits")]
    events: Annotated[Array, SumOver("exits")]
    weighted_events: Annotated[Array, SumOver("exits")]


def weighted_people(data: Data, params: PropensityParams, weights: Weights, complete: int) -> Data:
    """The complete rows with treatment, follow-up and weight; nobody where nobody has a weight."""
    hazard, mask = params.hazard, data.complete(params.variables)
    names = [name for name in hazard.dictionary.variables if name != WEIGHT]
    used = slice(None) if len(weights.values) == complete else slice(0)
    columns = {name: data.columns[name][mask][used] for name in names}
    return Data(hazard.dictionary, {**columns, WEIGHT: weights.values}, len(weights.values), data.least_group)


def weighted_hazard(people: Data, params: PropensityParams, coefficient: float) -> WeightedHazard:
    """One cohort's part, at a log hazard ratio; `people` are `weighted_people`."""
    rows, at = Rows(people, params.hazard, _ONE), np.array([coefficient])
    found = likelihood(rows, at, np.ones((1, rows.sets.nowhere)))
    residuals = 0.0 if found is None else float(meat(rows, rows.predictor(at), Hazard.of(found))[0, 0])
    return WeightedHazard(
        n=rows.sets.rows,
        events=rows.sets.events,
        log_likelihood=found.log_likelihood if found else 0.0,
        score=float(found.score[0, 0]) if found else 0.0,
        information=float(found.information[0, 0, 0]) if found else 0.0,
        meat=residuals,
        not_finite=float(found is None),
        evidence=found.evidence if found else NOBODY,
    )


def _newton_terms(total: WeightedHazard) -> NewtonTerms:
    """The sums as a Newton step takes them."""
    return NewtonTerms(
        n=total.n,
        score=np.array([total.score]),
        information=np.array([[total.information]]),
        log_likelihood=total.log_likelihood,
        pearson=0.0,
        extreme=0.0,
        not_finite=total.not_finite,
    )


def weighted_life_table(people: Data, params: PropensityParams) -> WeightedLifeTable:
    """One cohort's part of the curves; `people` are `weighted_people`."""
    shape = (2, params.grid.points + 1)
    tables, intervals, everybody = np.zeros((5, *shape)), Concentration(shape), Concentration((2,))
    for block in people.blocks(list(people.columns)):
        _, leaving, event = follow_up(block, params.grid)
        arm = params.hazard.design.matrix(block)[:, 0] > 0
        cell, w = arm * shape[1] + leaving, block[WEIGHT]
        for k, value in enumerate((np.ones_like(w), w, w**2, 1.0 * event, w * event)):
            tables[k] += np.bincount(cell, weights=value, minlength=tables[k].size).reshape(shape)
        intervals.add_by(cell.astype(np.intp), w)
        everybody.add_by(arm.astype(np.intp), w)
    exits, weight, squares, events, weighted_events = tables
    return WeightedLifeTable(
        exits=exits,
        weight=weight,
        squares=squares,
        events=events,
        weighted_events=weighted_events,
        evidence=Evidence(weights=everybody.shares, magnitudes=intervals.shares),
    )


class AdjustedCurve:
    """The curve of one arm at the times where somebody leaves; every array of shape (times,)."""

    def __init__(self, step: float, table: WeightedLifeTable, arm: int) -> None:
        at = np.flatnonzero(table.exits[arm])
        self.time = np.asarray(at * step, dtype=np.float64)
        self.people, self.at_risk, squares = (
            _from_the_end(part[arm])[at] for part in (table.exits, table.weight, table.squares)
        )
        self.events = table.events[arm][at]
        share = table.weighted_events[arm][at] / self.at_risk
        self.survival = np.cumprod(np.maximum(1.0 - share, 0.0))
        with np.errstate(divide="ignore", invalid="ignore"):
            # Xie & Liu: the number at risk is Kish's effective one.
            terms = share / ((1.0 - share) * (self.at_risk**2 / squares))
        self.log_variance = np.cumsum(np.where(share > 0, terms, 0.0))


def _from_the_end(values: Array) -> Array:
    return np.cumsum(values[::-1])[::-1]


@dataclass(frozen=True)
class HazardFit:
    """The optimum, and the sums there."""

    fit: Fit
    terms: WeightedHazard


def maximise_hazard(
    ask_terms: Callable[[float], Generator[Question, Any, WeightedHazard]], params: PropensityParams
) -> Steps[HazardFit]:
    """The weighted log hazard ratio of the treatment. Raises CannotEstimate."""
    seen: list[WeightedHazard] = []

    def evaluate(coefficients: Array) -> Steps[NewtonTerms]:
        total = yield from ask_terms(float(coefficients[0]))
        if not total.events:
            raise CannotEstimate("Nobody has the event, so no hazard can be compared.")
        seen.append(total)
        return _newton_terms(total)

    model = Model(
        [params.treatment],
        intercept=False,
        separable=True,
        max_iterations=params.max_iterations,
        infinite="tells without exception who has the event first: the likelihood rises without end",
    )
    fit = yield from maximise(evaluate, np.zeros(1), model)
    return HazardFit(fit, seen[-1])
