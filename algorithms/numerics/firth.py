"""Firth's penalised likelihood for a logit: finite estimates where the likelihood has its maximum at infinity.

The log-likelihood l is joined by half the log-determinant of the information, l + log|I| / 2. The score then has
y - p + h(1/2 - p) where it had y - p, h being the leverage. Leverages need the inverse information of all cohorts, so
every step asks twice: for the information, and with its inverse for the score.

With an intercept a_k per cohort, I is bordered by those: log|I| = sum_k log h_k + log|S|, h_k the information about a_k
and S that about the coefficients once the intercepts are taken out. A cohort works out its own a_k, given the inverse
of S.

Source: Firth (1993), Biometrika 80:27; Heinze & Schemper (2002), Statistics in Medicine 21:2409.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np

from algorithms.numerics.binomial import Logit
from algorithms.numerics.climbing import Climb
from algorithms.numerics.columns import columns_of
from algorithms.numerics.design import Design
from algorithms.numerics.newton import Fit, Steps, maximise
from algorithms.numerics.regression_options import RegressionOptions
from algorithms.numerics.scoring import Block, NewtonTerms, Scaling, blocks, first_row
from cohortium.analysis import ask
from cohortium.data import Data
from cohortium.evidence import Concentration, Evidence, Shares
from cohortium.fixed_point import LARGEST
from cohortium.quantities import Array, SumOver

# Leverages in the score go by the information of the step before, so that the last digits come slowly.
MAX_STEPS = 200
KEPT = 2**20
_SETTLED = 1e-26


class PenalisedLogit(Logit):
    """A logit in which nobody is without information: a penalty keeps every intercept finite."""

    def is_informative(self, people: float, outcome: float) -> bool:  # noqa: ARG002, D102 - as in the family
        return people > 0


class FirthTerms(NewtonTerms):
    """Score of the penalised likelihood, information and log-likelihood of the plain one.

    `log_weight` is the logarithm of the information about the cohort's own intercept (0 if it has none).
    """

    log_weight: Annotated[float, SumOver("n")]


@dataclass(frozen=True)
class _Sums:
    """One pass over the rows at an intercept: information about it, weighted mean of the columns, and all the rest."""

    weight: float
    centre: Array
    information: Array
    log_likelihood: float
    pearson: float
    extreme: bool
    weights: Shares
    farthest: float


def firth_terms(
    data: Data,
    params: RegressionOptions,
    *,
    coefficients: Array,
    centre: Array,
    per_unit: Array,
    units: Array,
    knots: Array,
    inverse: Array,
) -> FirthTerms:
    """One cohort's part; `inverse` is that of the information of all cohorts, shape (width, width)."""
    scaling = Scaling.of(centre, per_unit, units)
    rows = _Rows(data, params.design_with(knots), scaling, coefficients, profiled=params.profiled)
    with np.errstate(all="ignore"):
        sums, score = rows.settled(inverse) if rows.n else (_NOBODY, np.zeros(0))
    width = params.design.width
    finite = bool(rows.n) and all(np.all(np.abs(v) <= LARGEST) for v in (sums.information, score, sums.pearson))
    return FirthTerms(
        n=rows.n,
        score=score if finite else np.zeros(width),
        information=sums.information if finite else np.zeros((width, width)),
        log_likelihood=sums.log_likelihood if finite else 0.0,
        pearson=sums.pearson if finite else 0.0,
        extreme=float(sums.extreme and finite),
        not_finite=float(rows.n > 0 and not finite),
        log_weight=math.log(sums.weight) if finite and params.profiled else 0.0,
        evidence=Evidence(
            weights=sums.weights, predictor=sums.farthest, columns=columns_of(data, params.design_with(knots))
        ),
    )


def penalised_fit(climb: Climb) -> Steps[Fit]:
    """The maximum of the penalised likelihood; the fit's sums are those of the plain one, at these coefficients."""
    kept, width = climb.kept, climb.params.design.width
    inverse, plain = np.zeros((width, width)), {}

    def ask_with(coefficients: Array) -> Steps[FirthTerms]:
        terms = yield from ask(firth_terms, **climb.broadcast(kept, coefficients), inverse=inverse)
        return replace(terms, score=terms.score[kept], information=terms.information[np.ix_(kept, kept)])

    def evaluate(coefficients: Array) -> Steps[NewtonTerms]:
        terms = yield from ask_with(coefficients)
        if not terms.not_finite and len(kept):
            inverse[np.ix_(kept, kept)] = np.linalg.pinv(terms.information, hermitian=True)
            terms = yield from ask_with(coefficients)
        if terms.not_finite:
            return terms
        penalty = 0.5 * (terms.log_weight + float(np.linalg.slogdet(terms.information)[1]))
        plain[terms.log_likelihood + penalty] = terms.log_likelihood
        return replace(terms, log_likelihood=terms.log_likelihood + penalty)

    steps = max(climb.params.max_iterations, MAX_STEPS)
    model = replace(climb.model(kept), separable=False, max_iterations=steps)
    fit = yield from maximise(evaluate, climb.start(kept), model)
    start, terms = (replace(t, log_likelihood=plain[t.log_likelihood]) for t in (fit.start, fit.terms))
    return replace(fit, start=start, terms=terms)


_NOBODY = _Sums(0.0, np.zeros(0), np.zeros((0, 0)), 0.0, 0.0, extreme=False, weights=Shares(), farthest=0.0)


class _Rows:
    """A cohort's rows at given coefficients and an intercept that can be moved."""

    def __init__(self, data: Data, design: Design, scaling: Scaling, coefficients: Array, *, profiled: bool) -> None:
        self.n = int(np.count_nonzero(data.complete(design.variables)))
        self.profiled, self.intercept = profiled, 0.0
        self._coefficients, self._width = coefficients, design.width
        self._origin = first_row(data, design) if profiled else scaling.centre
        self._kept: list[Block] | None = None
        self._source = (data, design, scaling)
        if profiled and self.n:
            parts = [(np.sum(b.y), np.sum(b.x @ coefficients + b.offset)) for b in self._blocks()]
            events, predictor = (float(sum(part)) for part in zip(*parts, strict=True))
            self.intercept = math.log((events + 0.5) / (self.n - events + 0.5)) - predictor / self.n

    def settled(self, inverse: Array) -> tuple[_Sums, Array]:
        """The sums and the penalised score at the cohort's best intercept (if it has one of its own)."""
        sums = self._sums()
        for _ in range(MAX_STEPS):
            own, score = self._scores(sums, inverse)
            if not self.profiled or own * own <= _SETTLED * sums.weight:
                return sums, score
            # Far from the optimum steps by the plain information overshoot.
            self.intercept += min(max(own / sums.weight, -2.0), 2.0)
            sums = self._sums()
        return sums, score if own * own <= 1e-16 * sums.weight else np.full_like(score, np.nan)

    def _blocks(self) -> Iterable[Block]:
        # A cohort's own intercept takes many passes; as long as its rows are few they are kept.
        if self._kept is None and self.n * self._width <= KEPT:
            self._kept = [replace(b, x=b.x.copy()) for b in blocks(*self._source, self._origin)]
        return blocks(*self._source, self._origin) if self._kept is None else self._kept

    def _eta(self, block: Block) -> Array:
        return np.asarray(block.x @ self._coefficients + block.offset + self.intercept)

    def _sums(self) -> _Sums:
        """Information at the present intercept, which is taken out if it is the cohort's own."""
        weight, weighted = np.finfo(float).tiny, np.zeros(self._width)
        information, value, pearson, extreme = np.zeros((self._width, self._width)), 0.0, 0.0, False
        shares, farthest = Concentration(), 0.0
        for block in self._blocks():
            eta = self._eta(block)
            working = Logit().working(eta, block.y)
            shares.add(working.weight)
            farthest = max(farthest, float(np.max(np.abs(eta))))
            weight, weighted = weight + float(np.sum(working.weight)), weighted + block.x.T @ working.weight
            information = information + (block.x.T * working.weight) @ block.x
            value, pearson = value + float(np.sum(working.log_likelihood)), pearson + float(np.sum(working.pearson))
            extreme |= working.extreme
        centre = weighted / weight if self.profiled else np.zeros(self._width)
        information = information - weight * np.outer(centre, centre)
        return _Sums(weight, centre, information, value, pearson, extreme, shares.shares, farthest)

    def _scores(self, sums: _Sums, inverse: Array) -> tuple[float, Array]:
        """Penalised score for the intercept and for the coefficients."""
        own, score = 0.0, np.zeros(self._width)
        for block in self._blocks():
            working = Logit().working(self._eta(block), block.y)
            x = block.x - sums.centre
            distance = np.einsum("ij,ij->i", x @ inverse, x) + (1.0 / sums.weight if self.profiled else 0.0)
            # No leverage is above 1; one that an inverse of whatever origin makes so must not single anybody out.
            leverage = np.minimum(working.weight * distance, 1.0)
            residual = working.residual + leverage * (0.5 - (block.y - working.residual))
            own, score = own + float(np.sum(residual)), score + block.x.T @ residual
        return own, score
