"""Generalised linear models with a canonical link."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from pydantic import Field

from algorithms.numerics.families import FAMILIES, Family, FamilyName
from algorithms.numerics.newton import Evaluate, Fit, Model, Steps, maximise
from algorithms.numerics.outcome import check_values
from algorithms.numerics.preparation import Plan, Preparation, plan, prepare
from algorithms.numerics.regression import RegressionParams, RegressionResult, regression_result
from algorithms.numerics.scoring import NewtonTerms, Scaling, common_terms, profiled_terms
from cohortium.analysis import Rounds, analysis, ask
from cohortium.data import Data
from cohortium.errors import CannotEstimate, Separation
from cohortium.quantities import Array


class GlmParams(RegressionParams):
    """What to fit, and how."""

    family: FamilyName = Field(
        "gaussian",
        description="gaussian (identity link), binomial (logit) or poisson (log): the distribution of the outcome.",
    )

    @property
    def distribution(self) -> Family:
        """The family by name."""
        return FAMILIES[self.family]


def preparation(data: Data, params: GlmParams) -> Preparation:
    """Complete rows, scales and starting values of one cohort."""
    check_values(data, params.design, params.family)
    return prepare(data, params.design, params.distribution, profiled=params.profiled)


def newton_terms(
    data: Data, params: GlmParams, *, coefficients: Array, centre: Array, per_unit: Array, outcome: Array
) -> NewtonTerms:
    """Score, information and log-likelihood of one cohort at standardised coefficients."""
    scaling = Scaling(centre, per_unit, float(outcome[0]), float(outcome[1]))
    terms = profiled_terms if params.profiled else common_terms
    return terms(data, params.design, params.distribution, scaling, coefficients)


@analysis
def glm(params: GlmParams) -> Rounds[RegressionResult]:
    """Generalised linear model.

    How does the outcome change with the covariates: a difference in means (gaussian), an odds ratio (binomial) or a
    rate ratio (poisson)? The mean mu of the outcome follows link(mu) = X beta + offset.

    With cohort_effect "stratified" every cohort has an intercept of its own, which it works out and keeps: the fit is
    that of a model with a fixed effect per cohort. With "common" the fit equals that on the pooled records.
    Maximum likelihood by Newton's method on sums. Source: McCullagh & Nelder (1989), Generalized Linear Models.
    """
    total = yield from ask(preparation)
    _must_be_estimable(total, params)
    planned = plan(total, params.design, profiled=params.profiled, centred_outcome=params.family == "gaussian")
    fit = yield from _fit(params, total, planned)
    return regression_result(fit, total, planned, params)


def _fit(params: GlmParams, total: Preparation, planned: Plan) -> Steps[Fit]:
    kept, width = planned.kept, params.design.width
    scaling = planned.scaling

    def evaluate(coefficients: Array) -> Steps[NewtonTerms]:
        everywhere = np.zeros(width)
        everywhere[kept] = coefficients
        terms = yield from ask(
            newton_terms,
            coefficients=everywhere,
            centre=scaling.centre,
            per_unit=scaling.per_unit,
            outcome=np.array([scaling.outcome_centre, scaling.outcome_unit]),
        )
        return replace(terms, score=terms.score[kept], information=terms.information[np.ix_(kept, kept)])

    model = _model(params, total, planned)
    start = np.zeros(len(kept))
    if model.intercept:
        start[0] = _start(params.family, total, scaling)
    if model.intercept and params.family == "binomial" and params.design.has_offset:
        null = yield from _null_fit(evaluate, start, model)
        fit = yield from maximise(evaluate, null.coefficients, model, null.terms)
        return replace(fit, iterations=fit.iterations + null.iterations)
    return (yield from maximise(evaluate, start, model))


def _null_fit(evaluate: Evaluate, start: Array, model: Model) -> Steps[Fit]:
    """The intercept alone, which with an offset under a logit has no closed form; also the better place to start."""
    seen: list[NewtonTerms] = []

    def restricted(intercept: Array) -> Steps[NewtonTerms]:
        terms = yield from evaluate(np.concatenate([intercept, np.zeros(len(start) - 1)]))
        seen.append(terms)
        return replace(terms, score=terms.score[:1], information=terms.information[:1, :1])

    fit = yield from maximise(restricted, start[:1], replace(model, names=model.names[:1]))
    return replace(fit, coefficients=np.concatenate([fit.coefficients, np.zeros(len(start) - 1)]), terms=seen[-1])


def _model(params: GlmParams, total: Preparation, planned: Plan) -> Model:
    names = [params.design.columns[k] for k in planned.kept]
    df = total.n - len(names) - (total.contributing if params.profiled else 0.0)
    if df <= 0:
        raise CannotEstimate(
            f"The model has as many parameters as there are people to fit it to ({len(names)} coefficients"
            f"{' and an intercept per cohort' if params.profiled else ''}). Ask for fewer covariates."
        )
    gaussian = params.family == "gaussian"
    model = Model(
        names,
        intercept=params.formula.intercept and not params.profiled,
        separable=not gaussian,
        max_iterations=params.max_iterations,
    )
    # A gaussian likelihood is in units of the residual variance. The outcome has been standardised, so a variance
    # below the floor is rounding: an exact fit, which is told apart afterwards.
    return replace(model, scale=lambda terms: max(-2.0 * terms.log_likelihood / df, 1e-12)) if gaussian else model


def _start(family: FamilyName, total: Preparation, scaling: Scaling) -> float:
    """The intercept of the model without covariates, on the standardised scale."""
    if family == "gaussian":
        return (((total.outcome - total.offset) / total.n) - scaling.outcome_centre) / scaling.outcome_unit
    if family == "poisson":
        return float(np.log(total.outcome / total.exposure))
    return float(np.log(total.outcome / (total.n - total.outcome)))


def _must_be_estimable(total: Preparation, params: GlmParams) -> None:
    if not total.n and not total.silent:
        raise CannotEstimate("No cohort has anybody with a value for every variable of the formula.")
    if not total.n:
        raise Separation("In no cohort does the outcome vary, so nothing can be learnt within cohorts.")
    everybody = params.family == "binomial" and total.outcome == total.n
    if params.family != "gaussian" and (everybody or total.outcome == 0):
        raise Separation(f"{'Everybody' if everybody else 'Nobody'} has the outcome, so no effect can be estimated.")
