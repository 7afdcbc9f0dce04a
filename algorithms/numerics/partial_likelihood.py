"""Cox's partial likelihood of one cohort, its derivatives and its score residuals, from sorted cumulative sums.

With A_i the hazard that row i lived through, the second moments of all risk sets add up to X' diag(w A) X, so the
information costs one matrix product over rows and one over events, O(n p^2), whatever the number of event times.

Source: Cox (1972), JRSSB 34:187; ties: Efron (1977), JASA 72:557, Breslow (1974), Biometrics 30:89; case weights and
score residuals as Therneau & Grambsch (2000), *Modeling Survival Data*, 3.2 and 7.1.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from algorithms.numerics.columns import columns_of
from algorithms.numerics.cox_params import CoxParams, Ties
from algorithms.numerics.risk_sets import Codes, RiskSets, risk_sets
from cohortium.data import BLOCK_ROWS, Data
from cohortium.evidence import Concentration, Evidence
from cohortium.quantities import Array

# A hazard e^30 times that of the cohort's average person is no model but a way to single somebody out.
MAX_PREDICTOR = 30.0
# A block of the design: large enough that sums per event time, whose length does not depend on it, cost little.
BLOCK_CELLS = 1_000_000
# Rows per matrix product: a piece stays in the cache, and is too small for the library to start threads.
PRODUCT_ROWS = 2048


@dataclass(frozen=True)
class Scaling:
    """How covariates are standardised: centre and 1 / unit per column, and the mean offset, which is taken off."""

    centre: Array
    per_unit: Array
    level: float


class Rows:
    """One cohort's complete rows with standardised covariates, block by block, and their linear predictor.

    With a baseline of its own, a cohort takes covariates relative to its own mean: that changes no partial likelihood,
    and keeps the digits. A column that is constant in the cohort becomes exactly 0.
    """

    def __init__(self, data: Data, params: CoxParams, scaling: Scaling) -> None:
        self.data, self.params = data, params
        self.sets = risk_sets(data, params)
        self.width = params.design.width
        own = params.stratified
        self.origin, self.per_unit = self.sets.origin if own else scaling.centre, scaling.per_unit
        self.level = None if own else scaling.level
        self.block_rows = max(BLOCK_ROWS, BLOCK_CELLS // max(self.width, 1))
        self._kept: list[tuple[slice, Array]] = []

    def blocks(self) -> Iterator[tuple[slice, Array]]:
        """Which rows, and their covariates of shape (rows, width). A cohort of one block is compiled once."""
        yield from self._kept or self._blocks()

    def predictor(self, coefficients: Array) -> Array:
        """The linear predictor with its offset, relative to its mean (the cohort's own or all cohorts'), (rows,)."""
        eta = np.zeros(len(self.sets.event))
        for rows, x in self.blocks():
            # Column by column: a library's threads, started for so thin a product, would cost more than they bring.
            for column, coefficient in zip(x.T, coefficients, strict=True):
                eta[rows] += coefficient * column
        if self.params.design.has_offset:
            at = 0
            for block in self.data.blocks(self.params.variables):
                offset = self.params.design.offset(block)
                eta[at : at + len(block)] += 0.0 if offset is None else offset
                at += len(block)
        if not len(eta):
            return eta
        return np.asarray(eta - (np.mean(eta) if self.level is None else self.level))

    def risk_scores(self, predictor: Array) -> Concentration:
        """How much of the sum of all risk scores is one person's."""
        found = Concentration()
        with np.errstate(over="ignore"):
            found.add(
                np.exp(np.clip(predictor, -700.0, 700.0)) * (1.0 if self.sets.weight is None else self.sets.weight)
            )
        return found

    def evidence(self, predictor: Array, weights: Concentration) -> Evidence:
        """What the check of the node is shown beside sums at this predictor, with these weights."""
        columns = columns_of(
            self.data, self.params.design, variables=self.params.variables, events=float(self.sets.events)
        )
        farthest = float(np.max(np.abs(predictor), initial=0.0))
        return Evidence(weights=weights.shares, predictor=farthest, columns=columns)

    def _blocks(self) -> Iterator[tuple[slice, Array]]:
        rows = len(self.sets.event)
        workspace = np.empty((self.width, min(self.block_rows, len(self.data))))
        at = 0
        for block in self.data.blocks(self.params.variables, size=self.block_rows):
            x = self.params.design.matrix(block, out=workspace)
            x -= self.origin
            x *= self.per_unit
            if len(block) == rows:
                self._kept = [(slice(0, rows), x)]
            yield slice(at, at + len(block)), x
            at += len(block)


@dataclass(frozen=True)
class Terms:
    """The factors of the partial likelihood: one per event (Efron) or per event time (Breslow).

    A factor belongs to the event time `at`, is counted `weight` times, and leaves out the share `left_out` of the
    people who have the event then. `denominator` is the sum of the risk scores that are left.
    """

    at: Codes
    left_out: Array
    weight: Array
    denominator: Array

    def means(self, part: slice, sums: Array, tied: Array) -> Array:
        """Weighted means over the risk sets of some factors, from sums (width, event times), shape (width, factors)."""
        if not self.has_ties:
            return np.asarray(sums[:, self.at[part]] / self.denominator[part])
        at = self.at[part]
        return np.asarray((sums[:, at] - self.left_out[part] * tied[:, at]) / self.denominator[part])

    @cached_property
    def has_ties(self) -> bool:
        """Whether any factor leaves somebody out."""
        return bool(np.any(self.left_out))

    def parts(self) -> Iterator[slice]:
        """The factors, so many at a time."""
        for start in range(0, len(self.at), PRODUCT_ROWS):
            yield slice(start, start + PRODUCT_ROWS)

    def per_event_time(self, values: Array, times: int) -> Array:
        """Sums of values of the factors by event time."""
        return np.asarray(np.bincount(self.at, values, times), dtype=np.float64)


def terms(deaths: Array, weight: Array, sums: Array, tied: Array, ties: Ties) -> Terms:
    """The factors, from events, their weights, and risk scores at risk and of those with the event, per event time."""
    if ties == "breslow":
        at = np.flatnonzero(deaths)
        return Terms(at, np.zeros(len(at)), weight[at], sums[at])
    count = deaths.astype(np.intp)
    at = np.repeat(np.arange(len(count)), count)
    place = np.arange(len(at)) - np.repeat(np.cumsum(count) - count, count)
    left_out = place / count[at]
    return Terms(at, left_out, weight[at] / count[at], sums[at] - left_out * tied[at])


@dataclass(frozen=True)
class Likelihood:
    """The log partial likelihood, its derivatives, and the sums over risk sets that they came from.

    `score` and `information` have one entry per weighting of time: (weightings, width[, width]). `x` and `tied_x`,
    (width, event times), are sums of risk score times covariates over those at risk and those with the event.
    """

    log_likelihood: float
    score: Array
    information: Array
    terms: Terms
    x: Array
    tied_x: Array
    evidence: Evidence | None = None


def likelihood(rows: Rows, coefficients: Array, time_weights: Array) -> Likelihood | None:
    """The likelihood of one cohort; `time_weights` (weightings, event times) multiply what each event time adds.

    None where the coefficients are so far off that somebody would stand alone, or a risk set be nothing but rounding.
    """
    predictor = rows.predictor(coefficients)
    if not np.all(np.abs(predictor) <= MAX_PREDICTOR):
        return None
    sets = rows.sets
    risk = np.exp(predictor)
    case = np.ones(1)
    if sets.weight is not None:
        risk *= sets.weight
        case = sets.weight[sets.event]
    at_risk, tied = _at_risk(sets, risk)
    weight = sets.deaths if sets.weight is None else sets.of_events(slice(None), sets.weight)
    factors = terms(sets.deaths, weight, at_risk, tied, rows.params.ties)
    if not np.all(factors.denominator > 0):  # the few left at risk are lost in the rounding of those who left
        return None
    log_likelihood = np.sum(case * predictor[sets.event]) - factors.weight @ np.log(factors.denominator)
    score, information, x, tied_x, concentration = _moments(rows, risk, factors, time_weights)
    for part in factors.parts():
        mean = factors.means(part, x, tied_x)
        for q, weights in enumerate(time_weights):
            counted = factors.weight[part] * weights[factors.at[part]]
            score[q] -= np.einsum("ji,i->j", mean, counted)
            information[q] -= (mean * counted) @ mean.T
    evidence = rows.evidence(predictor, concentration)
    return Likelihood(float(log_likelihood), score, information, factors, x, tied_x, evidence)


def _at_risk(sets: RiskSets, risk: Array) -> tuple[Array, Array]:
    everybody = slice(None)
    entering = None if sets.before is None else sets.per_event_time(everybody, risk, at=sets.before)
    at_risk = sets.over_risk_sets(sets.per_event_time(everybody, risk), entering)
    return at_risk, sets.of_events(everybody, risk)


def _moments(
    rows: Rows, risk: Array, factors: Terms, time_weights: Array
) -> tuple[Array, Array, Array, Array, Concentration]:
    """Per weighting the covariates at events, and the second moments of all risk sets; then the first moments.

    Last, how much of the second moments is one person's.
    """
    sets, width = rows.sets, rows.width
    score, information = np.zeros((len(time_weights), width)), np.zeros((len(time_weights), width, width))
    leaving, tied = np.zeros((width, sets.nowhere)), np.zeros((width, sets.nowhere))
    entering = None if sets.before is None else np.zeros_like(leaving)
    hazard = factors.weight / factors.denominator
    lived = [_lived(sets, factors, hazard * weights[factors.at]) for weights in time_weights]
    concentration = Concentration((len(time_weights),))
    for block, x in rows.blocks():
        happens = np.flatnonzero(sets.event[block])
        at = sets.last[block][happens]
        case = np.ones(1) if sets.weight is None else sets.weight[block][happens]
        counted = time_weights[:, at] * case
        for j, column in enumerate(x.T):
            values = column * risk[block]
            score[:, j] += np.einsum("qi,i->q", counted, column[happens])
            leaving[j] += sets.per_event_time(block, values)
            if factors.has_ties:
                tied[j] += np.bincount(at, weights=values[happens], minlength=sets.nowhere)
            if entering is not None:
                entering[j] += sets.per_event_time(block, values, at=sets.before)
        for q in range(len(time_weights)):
            information[q] += _cross_products(x, risk[block] * lived[q][block])
        concentration.add(np.column_stack([risk[block] * own[block] for own in lived]))
    return score, information, sets.over_risk_sets(leaving, entering), tied, concentration


def _cross_products(x: Array, weight: Array) -> Array:
    """X' diag(weight) X."""
    total = np.zeros((x.shape[1], x.shape[1]))
    for start in range(0, len(x), PRODUCT_ROWS):
        rows = slice(start, start + PRODUCT_ROWS)
        total += (x[rows].T * weight[rows]) @ x[rows]
    return total


def _lived(sets: RiskSets, factors: Terms, hazard: Array) -> Array:
    """The hazard that every row lived through, shape (rows,): at its own event time less what it was left out of."""
    grown = sets.while_at_risk(sets.from_the_start(factors.per_event_time(hazard, sets.nowhere)), slice(None))
    if factors.has_ties:
        left_out = factors.per_event_time(hazard * factors.left_out, sets.nowhere)
        grown[sets.event] -= left_out[sets.last[sets.event]]
    return grown
