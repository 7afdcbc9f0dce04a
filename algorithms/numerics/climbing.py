"""Fitting a regression from the coordinator's side: which coefficients, from where, and what each question brings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from algorithms.numerics.design import INTERCEPT
from algorithms.numerics.knots import find_knots
from algorithms.numerics.newton import Fit, Model, Steps, maximise
from algorithms.numerics.preparation import Plan, Preparation, plan
from algorithms.numerics.regression_options import SHAPE, RegressionOptions
from algorithms.numerics.regression_sums import newton_terms, preparation, shape_terms
from algorithms.numerics.scoring import NewtonTerms, Scaling, ShapeTerms
from cohortium.analysis import ask
from cohortium.errors import CannotEstimate, Separation
from cohortium.quantities import Array

T = TypeVar("T", bound=NewtonTerms)
# Some of the design's columns, in order.
Columns = Sequence[int] | NDArray[np.intp]

# Below this the counts vary no more than a Poisson's; where the likelihood has no maximum, it is on the way there.
_SMALLEST_SHAPE, _SMALL_SHAPE = math.log(1e-6), math.log(0.05)
_NOT_DISPERSED = (
    "The counts vary no more than Poisson counts do, so there is no dispersion `alpha` to estimate. Ask for "
    "family='poisson'."
)


@dataclass(frozen=True)
class Climb:
    """A likelihood to be climbed: its parameters, what the cohorts have, and the plan that follows from it."""

    params: RegressionOptions
    knots: Array
    total: Preparation
    planned: Plan

    @classmethod
    def prepared(cls, params: RegressionOptions) -> Steps[Climb]:
        """Ask for the preparation. Raises CannotEstimate where there is nothing to fit."""
        knots = yield from find_knots(params)
        total = yield from ask(preparation, knots=knots)
        _must_be_estimable(total, params)
        family = params.distribution
        centred = family.canonical and family.has_dispersion
        planned = plan(total, params.design, profiled=params.profiled, centred_outcome=centred)
        if family.has_dispersion and not centred:
            planned = replace(planned, scaling=_in_means(planned.scaling, total, params))
        return cls(params, knots, total, planned)

    @property
    def kept(self) -> NDArray[np.intp]:
        """The columns that take part."""
        return self.planned.kept

    @property
    def has_shape(self) -> bool:
        """Whether a second parameter is estimated beside the coefficients."""
        return self.params.distribution.name == "negative_binomial"

    @property
    def weight_unit(self) -> float:
        """What sums are multiplied by: prior weights count as they are, sampling weights have mean 1."""
        return 1.0 if self.params.sampling_weights else self.planned.scaling.weight_unit

    def names(self, columns: Columns) -> list[str]:
        """Names of the coefficients of `columns`, and of the second parameter."""
        return [*(self.params.design.columns[k] for k in columns), *([SHAPE] if self.has_shape else [])]

    def broadcast(self, columns: Columns, coefficients: Array) -> dict[str, float | Array]:
        """Coefficients of these columns, 0 for the others, with the scaling."""
        everywhere = np.zeros(self.params.design.width)
        everywhere[list(columns)] = coefficients
        scaling = self.planned.scaling
        return {
            "coefficients": everywhere,
            "centre": scaling.centre,
            "per_unit": scaling.per_unit,
            "units": scaling.numbers,
            "knots": self.knots,
        }

    def fit(self, columns: Columns) -> Steps[Fit]:
        """The maximum over the coefficients of `columns` (indices into the design); all others are 0."""

        def evaluate(coefficients: Array) -> Steps[NewtonTerms]:
            seen.append(coefficients)
            return (yield from self.evaluate(columns, coefficients))

        def finish(coefficients: Array) -> Steps[NewtonTerms]:
            return (yield from self.evaluate(columns, coefficients, expected=True))

        seen: list[Array] = []
        model, start = self.model(columns), self.start(columns)
        if not self.has_shape and not self.params.distribution.canonical:
            model = replace(model, finish=finish)
        if not self._has_null_fit or len(columns) == 1:
            try:
                return (yield from maximise(evaluate, start, model))
            except Separation:
                if self.has_shape and seen[-1][-1] < _SMALL_SHAPE:
                    raise CannotEstimate(_NOT_DISPERSED) from None
                raise
        null = yield from self.fit(columns[:1])
        start[0], start[len(columns) :] = null.coefficients[0], null.coefficients[1:]
        fit = yield from maximise(evaluate, start, model)
        return replace(fit, start=null.terms, iterations=fit.iterations + null.iterations)

    def null(self, fit: Fit, columns: Columns) -> Steps[NewtonTerms]:
        """The sums of the model without covariates, at the same second parameter if there is one."""
        if not self.has_shape:
            return fit.start
        shape = fit.coefficients[-1:]
        fixed = replace(self.model(columns[:1]), names=self.names(columns[:1])[:-1])

        def evaluate(coefficients: Array) -> Steps[NewtonTerms]:
            terms = yield from self.evaluate(columns[:1], np.concatenate([coefficients, shape]))
            seen.append(terms)
            return replace(terms, score=terms.score[:-1], information=terms.information[:-1, :-1])

        seen: list[NewtonTerms] = []
        if fixed.intercept and self.params.design.has_offset:
            yield from maximise(evaluate, fit.coefficients[:1], fixed)
        else:
            yield from evaluate(self.start(columns[:1])[:-1] if fixed.intercept else np.zeros(len(columns[:1])))
        return seen[-1]

    def evaluate(self, columns: Columns, coefficients: Array, *, expected: bool = False) -> Steps[NewtonTerms]:
        """The sums at these coefficients (with the second parameter last, if there is one)."""
        broadcast, kept = self.broadcast(columns, coefficients[: len(columns)]), list(columns)
        if not self.has_shape:
            terms = yield from ask(newton_terms, **broadcast, expected=float(expected))
            return self._scaled(terms, kept)
        _must_be_dispersed(float(coefficients[-1]))
        joint = yield from ask(shape_terms, **broadcast, shape=float(coefficients[-1]))
        return _joint(self._scaled(joint, kept))

    def _scaled(self, terms: T, kept: list[int]) -> T:
        """The sums of these columns, in the weights that count."""
        unit = self.weight_unit
        scaled: dict[str, Any] = {
            "score": unit * terms.score[kept],
            "information": unit * terms.information[np.ix_(kept, kept)],
            "log_likelihood": unit * terms.log_likelihood,
            "pearson": unit * terms.pearson,
        }
        if isinstance(terms, ShapeTerms):
            scaled |= {
                "shape_score": unit * terms.shape_score,
                "shape_information": unit * terms.shape_information,
                "shape_cross": unit * terms.shape_cross[kept],
                "saturated": unit * terms.saturated,
            }
        return replace(terms, **scaled)

    def model(self, columns: Columns) -> Model:
        """What the Newton loop must know. Raises CannotEstimate when there are as many parameters as people."""
        family, total, names = self.params.distribution, self.total, self.names(columns)
        df = total.n - len(names) - (total.contributing if self.params.profiled else 0.0)
        if df <= 0:
            raise CannotEstimate(
                f"The model has as many parameters as there are people to fit it to ({len(names)} coefficients"
                f"{' and an intercept per cohort' if self.params.profiled else ''}). Ask for fewer covariates."
            )
        intercept = bool(len(columns)) and self.params.design.columns[columns[0]] == INTERCEPT
        limit = self.params.max_iterations
        model = Model(names, intercept=intercept, separable=family.separable, max_iterations=limit)
        if self.params.can_be_penalised:
            model = replace(model, remedy="ask for penalty='firth'")
        # The likelihood of a family with a dispersion is in units of it. An outcome of its own unit has been
        # standardised, so a variance below the floor is rounding: an exact fit, which is told apart afterwards.
        return replace(model, scale=lambda t: max(t.pearson / df, 1e-12)) if family.has_dispersion else model

    def start(self, columns: Columns) -> Array:
        """The intercept of the model without covariates, on the standardised scale, and no effects."""
        start = np.zeros(len(columns) + self.has_shape)
        if len(columns) and self.params.design.columns[columns[0]] == INTERCEPT:
            start[0] = self._intercept()
        if self.has_shape:
            mean, spread = (value / self.total.n for value in (self.total.outcome, self.total.outcome_spread))
            start[-1] = math.log(max((spread**2 - mean) / mean**2, 0.05))
        return start

    def _intercept(self) -> float:
        total, scaling, family = self.total, self.planned.scaling, self.params.distribution
        mean, offset = total.weighted_outcome / total.weight, total.offset / total.weight
        if family.link == "identity":
            return family.predictor((mean - offset - scaling.outcome_centre) / scaling.outcome_unit)
        if family.link == "log" and self.params.design.has_offset:
            return family.predictor(total.weighted_outcome / total.exposure / scaling.outcome_unit)
        return family.predictor(mean / scaling.outcome_unit) - offset

    @property
    def _has_null_fit(self) -> bool:
        """Whether the model without covariates has to be fitted: with an offset few have a closed form."""
        family, design = self.params.distribution, self.params.design
        closed = family.canonical and family.link in {"identity", "log"}
        return design.has_offset and INTERCEPT in design.columns and not closed


def _in_means(scaling: Scaling, total: Preparation, params: RegressionOptions) -> Scaling:
    """The outcome in units of its mean, where it has a unit but cannot be moved."""
    mean, log = abs(total.outcome / total.n), params.distribution.link == "log"
    # Dividing the outcome moves the intercept under a logarithm, so there must be one.
    return replace(scaling, outcome_unit=mean if mean and (params.formula.intercept or not log) else 1.0, log=log)


def _joint(terms: ShapeTerms) -> ShapeTerms:
    """Score and information of coefficients and second parameter together.

    Far from the optimum the two need not have a positive information together; steps then take them one by one.
    """
    H, cross, own = terms.information, terms.shape_cross, terms.shape_information
    if own <= 0 or own - cross @ np.linalg.lstsq(H, cross)[0] <= 1e-3 * own:
        cross, own = np.zeros_like(cross), abs(own) or 1.0
    information = np.block([[H, cross[:, None]], [cross[None], np.full((1, 1), own)]])
    return replace(terms, score=np.append(terms.score, terms.shape_score), information=information)


def _must_be_dispersed(shape: float) -> None:
    if shape < _SMALLEST_SHAPE:
        raise CannotEstimate(_NOT_DISPERSED)


def _must_be_estimable(total: Preparation, params: RegressionOptions) -> None:
    if not total.n and not total.silent:
        raise CannotEstimate("No cohort has anybody with a value for every variable of the formula.")
    if not total.n:
        raise Separation("In no cohort does the outcome vary, so nothing can be learnt within cohorts.")
    family = params.distribution
    everybody = family.name == "binomial" and total.weighted_outcome == total.weight
    if family.separable and (everybody or total.outcome == 0):
        raise Separation(f"{'Everybody' if everybody else 'Nobody'} has the outcome, so no effect can be estimated.")
