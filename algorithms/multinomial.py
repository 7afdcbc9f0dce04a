"""Multinomial logistic regression: an outcome with several categories in no order."""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import Field

from algorithms.numerics.categorical import Softmax
from algorithms.numerics.categorical_fit import CategoryModel, CategoryPreparation, prepare_categories
from algorithms.numerics.categorical_regression import (
    CategoricalParams,
    CategoricalResult,
    common_fields,
    fit_categories,
    plan_categories,
)
from algorithms.numerics.phrases import intercepts, interval
from algorithms.numerics.scoring import NewtonTerms, Scaling
from cohortium.analysis import Rounds, analysis, ask
from cohortium.data import Data
from cohortium.quantities import Array
from cohortium.result import wald


class MultinomialParams(CategoricalParams):
    """What to fit, and how."""


class MultinomialResult(CategoricalResult):
    """A fitted multinomial regression; terms are written `category: column`."""

    reference: str = Field(description="The category that the others are compared with.")

    def in_words(self) -> str:
        """Model, estimator and cohort effect."""
        return (
            f"{self.formula} was fitted as a multinomial logistic regression (reference {self.reference}) by maximum "
            f"likelihood{intercepts(self.cohort_effect)}. Tests and {interval(self.confidence)} are model-based."
        )


def preparation(data: Data, params: MultinomialParams) -> CategoryPreparation:
    """Complete rows, people per category and scales of one cohort."""
    return prepare_categories(data, params.design, len(params.levels), profiled=params.profiled)


def multinomial_terms(
    data: Data, params: MultinomialParams, *, slopes: Array, intercepts: Array, centre: Array, per_unit: Array
) -> NewtonTerms:
    """Score, information and log-likelihood of one cohort."""
    scaling, softmax = Scaling(centre, per_unit, 0.0, 1.0), Softmax(len(params.levels))
    return CategoryModel(data, params.design, softmax, scaling, profiled=params.profiled).terms(slopes, intercepts)


@analysis
def multinomial(params: MultinomialParams) -> Rounds[MultinomialResult]:
    """Multinomial logistic regression.

    How do covariates change the odds of each category of an outcome against its first one?
    log(P(y = j) / P(y = first)) = a_j + X b_j, for an outcome whose categories have no order.

    With cohort_effect "stratified" every cohort has intercepts of its own, which it works out and keeps: the fit is
    that of a model with a fixed effect per cohort and category. With "common" it equals that on the pooled records.
    Maximum likelihood by Newton's method on sums. Source: McCullagh & Nelder (1989), Generalized Linear Models, 5.
    """
    softmax = Softmax(len(params.levels))
    total = yield from ask(preparation)
    layout = plan_categories(total, params, softmax)
    columns = [params.design.columns[k] for k in layout.columns]
    names = [f"{level}: {column}" for level in params.levels[1:] for column in columns]
    cuts = [f"{level}: (Intercept)" for level in params.levels[1:]] if layout.intercepts else []
    start = softmax.start(total.outcomes)
    fit = yield from fit_categories(multinomial_terms, layout, params, start, names + cuts)
    estimates, covariance = layout.back(fit.coefficients, fit.inverse)
    found = wald(names + cuts, estimates, covariance, params.confidence)
    fields: dict[str, Any] = common_fields(fit, total, layout, params, len(names))
    return MultinomialResult(
        **fields,
        coefficients={name: found[name] for name in names},
        intercepts={name: found[name] for name in cuts},
        covariance=tuple(tuple(map(float, row)) for row in np.asarray(covariance)),
        reference=params.levels[0],
    )
