"""Cox's partial likelihood of one cohort, its derivatives and its score residuals, from sorted cumulative sums.

With A_i the hazard that row i lived through, the second moments of all risk sets add up to X' diag(w A) X, so the
information costs one matrix product over rows and one over events, O(n p^2), whatever the number of event times.

Source: Cox (1972), JRSSB 34:187; ties: Efron (1977), JASA 72:557, Breslow (1974), Biometrics 30:89; case weights and
score residuals as Therneau & Grambsch (2000), *Modeling Survival Data*, 3.2 and 7.1.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from algorithms.numerics.columns import columns_of
from algorithms.numerics.cox_params import CoxParams
from algorithms.numerics.risk_sets import NO_EDGES, RiskSets, add_at, risk_sets
from algorithms.numerics.tied_factors import Factors
from cohortium.data import BLOCK_ROWS, Data
from cohortium.evidence import Concentration, Evidence
from cohortium.quantities import Array

# A hazard e^30 times that of the cohort's average person is no model but a way to single somebody out.
MAX_PREDICTOR = 30.0
# A block of the design stays in the cache; larger ones cost time, for the system hands out their memory anew.
BLOCK_CELLS = 100_000
# Rows per matrix product: a piece stays in the cache, and is too small for the library to start threads.
PRODUCT_ROWS = 2048


@dataclass(frozen=True)
class Scaling:
    """How covariates are standardised: centre and 1 / unit per column, and the mean offset, which is taken off."""

    centre: Array
    per_unit: Array
    level: float


class Rows:
    """One cohort's complete rows with standardised covariates and their linear predictor, block by block.

    With a baseline of its own, a cohort takes covariates and offset relative to its own mean: that changes no partial
    likelihood, and keeps the digits. A column that is constant in the cohort becomes exactly 0. Nothing as long as a
    column is made but what `sets` holds: memory does not grow with the rows.
    """

    def __init__(self, data: Data, params: CoxParams, scaling: Scaling, edges: Array = NO_EDGES) -> None:
        self.data, self.params = data, params
        self.sets = risk_sets(data, params, edges)
        self.width = params.design.width
        own = params.stratified
        self.origin, self.per_unit = self.sets.origin if own else scaling.centre, scaling.per_unit
        self.level = self.sets.level if own else scaling.level
        self.block_rows = max(BLOCK_ROWS, BLOCK_CELLS // max(self.width, 1))
        self._kept: list[tuple[slice, Array, Array | float]] = []

    def blocks(self, coefficients: Array) -> Iterator[tuple[slice, Array, Array]]:
        """Which rows, their covariates (rows, width), and their linear predictor relative to its mean (rows,)."""
        for rows, x, offset in self._kept or self._blocks():
            predictor = np.zeros(len(x))
            # Column by column: a library's threads, started for so thin a product, would cost more than they bring.
            for column, coefficient in zip(x.T, coefficients, strict=True):
                predictor += coefficient * column
            predictor += offset
            yield rows, x, predictor

    def predictor(self, coefficients: Array) -> Array:
        """The linear predictor of every row, shape (rows,)."""
        found = np.empty(len(self.sets.event))
        for rows, _, predictor in self.blocks(coefficients):
            found[rows] = predictor
        return found

    @property
    def has_ties(self) -> bool:
        """Whether events at the same time are told apart, as Efron does."""
        return self.params.ties == "efron" and bool(np.any(self.sets.deaths > 1))

    def weight(self, rows: slice) -> Array | float:
        """The case weights of some rows; 1 where there are none."""
        return 1.0 if self.sets.weight is None else self.sets.weight[rows]

    def evidence(self, weights: Concentration, farthest: float) -> Evidence:
        """What the check of the node is shown beside sums with these weights and largest linear predictor."""
        columns = columns_of(
            self.data, self.params.design, variables=self.params.variables, events=float(self.sets.events)
        )
        return Evidence(weights=weights.shares, predictor=farthest, columns=columns)

    def _blocks(self) -> Iterator[tuple[slice, Array, Array | float]]:
        rows = len(self.sets.event)
        workspace = np.empty((self.width, min(self.block_rows, len(self.data))))
        at = 0
        for block in self.data.blocks(self.params.variables, size=self.block_rows):
            x = self.params.design.matrix(block, out=workspace)
            x -= self.origin
            x *= self.per_unit
            own = self.params.design.offset(block)
            offset = 0.0 if own is None else own - self.level
            if len(block) == rows:  # a cohort of one block is compiled once
                self._kept = [(slice(0, rows), x, offset)]
            yield slice(at, at + len(block)), x, offset
            at += len(block)


@dataclass(frozen=True)
class Likelihood:
    """The log partial likelihood, its derivatives, and the sums over risk sets that they came from.

    `score` and `information` have one entry per weighting of time: (weightings, width[, width]). `x` and `tied_x`,
    (width, event times), are sums of risk score times covariates over those at risk and those with the event.
    """

    log_likelihood: float
    score: Array
    information: Array
    factors: Factors
    x: Array
    tied_x: Array
    evidence: Evidence | None = None


def likelihood(rows: Rows, coefficients: Array, time_weights: Array) -> Likelihood | None:
    """The likelihood of one cohort; `time_weights` (weightings, event times) multiply what each event time adds.

    None where the coefficients are so far off that somebody would stand alone, or a risk set be nothing but rounding.
    """
    first = _first_moments(rows, coefficients, time_weights)
    if first is None:
        return None
    factors = Factors(rows.sets.deaths, first.weight, first.risk, first.tied, rows.params.ties)
    if not factors.are_positive:  # the few left at risk are lost in the rounding of those who left
        return None
    score = first.score
    information, weights = _second_moments(rows, coefficients, factors, time_weights)
    factors.subtract_means(score, information, first.x, first.tied_x, time_weights)
    evidence = rows.evidence(weights, first.farthest)
    return Likelihood(first.at_events + factors.log, score, information, factors, first.x, first.tied_x, evidence)


@dataclass(frozen=True)
class _FirstMoments:
    """Sums over those at risk and over those with the event, per event time, and over all events.

    `risk` and `x` are sums of risk scores and of these times covariates over the risk sets, `tied` and `tied_x` over
    those with the event; `weight` is that of the events, `at_events` the sum of their predictors, and `score` that of
    their covariates per weighting of time; `farthest` is the largest predictor, up or down.
    """

    risk: Array
    tied: Array
    x: Array
    tied_x: Array
    weight: Array
    at_events: float
    score: Array
    farthest: float


def _first_moments(rows: Rows, coefficients: Array, time_weights: Array) -> _FirstMoments | None:
    sets, width = rows.sets, rows.width
    times = sets.nowhere + 1
    risk, tied, weight = np.zeros((3, times))
    x, tied_x = np.zeros((width, times)), np.zeros((width, times if rows.has_ties else 1))
    score, at_events, farthest = np.zeros((len(time_weights), width)), 0.0, 0.0
    for block, columns, predictor in rows.blocks(coefficients):
        farthest = max(farthest, float(np.max(np.abs(predictor), initial=0.0)))
        if not farthest <= MAX_PREDICTOR:
            return None
        case, happens = rows.weight(block), np.flatnonzero(sets.event[block])
        at, score_of = sets.last[block][happens], case * np.exp(predictor)
        own = np.broadcast_to(case, len(predictor))[happens]
        sets.add_leaving(risk, block, score_of)
        add_at(tied, at, score_of[happens])
        add_at(weight, at, own)
        at_events += float(own @ predictor[happens])
        counted = time_weights[:, at] * own
        for j, column in enumerate(columns.T):
            values = column * score_of
            score[:, j] += np.einsum("qi,i->q", counted, column[happens])
            sets.add_leaving(x[j], block, values)
            if rows.has_ties:
                add_at(tied_x[j], at, values[happens])
    return _FirstMoments(
        sets.from_the_end(risk[:-1]),
        tied[:-1],
        sets.from_the_end(x[:, :-1]),
        tied_x[:, :-1],
        weight[:-1],
        at_events,
        score,
        farthest,
    )


def _second_moments(
    rows: Rows, coefficients: Array, factors: Factors, time_weights: Array
) -> tuple[Array, Concentration]:
    """The second moments of all risk sets, per weighting of time: X' diag(w A) X, A the hazard that a row lived.

    And how much of these weights w A is one person's.
    """
    information = np.zeros((len(time_weights), rows.width, rows.width))
    weights = Concentration((len(time_weights),))
    lived = [LivedHazard.of(rows.sets, factors, weights) for weights in time_weights]
    for block, x, predictor in rows.blocks(coefficients):
        risk, parts = rows.weight(block) * np.exp(predictor), np.empty((len(predictor), len(lived)))
        for q, own in enumerate(lived):
            parts[:, q] = risk * own.of_rows(rows.sets, block)
            information[q] += cross_products(x, parts[:, q])
        weights.add(parts)
    return information, weights


def cross_products(x: Array, weight: Array) -> Array:
    """X' diag(weight) X."""
    total = np.zeros((x.shape[1], x.shape[1]))
    for start in range(0, len(x), PRODUCT_ROWS):
        rows = slice(start, start + PRODUCT_ROWS)
        total += (x[rows].T * weight[rows]) @ x[rows]
    return total


@dataclass(frozen=True)
class LivedHazard:
    """The hazard that rows live through: cumulated over event times, and what a tied event is spared at its own."""

    cumulated: Array
    spared: Array

    @classmethod
    def of(cls, sets: RiskSets, factors: Factors, time_weights: Array) -> LivedHazard:
        """The hazard times `time_weights`, both per event time."""
        cumulated = np.append(factors.hazard * time_weights, 0.0)
        return cls(sets.from_the_start(cumulated), np.append(factors.spared * time_weights, 0.0))

    def of_rows(self, sets: RiskSets, block: slice) -> Array:
        """What some rows lived through, shape (rows,)."""
        grown, event = sets.while_at_risk(self.cumulated, block), sets.event[block]
        grown[event] -= self.spared[sets.last[block][event]]
        return grown
