"""What a regression asks of a cohort: the statistics that the analyses with a formula share."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from algorithms.numerics.outcome import check_values
from algorithms.numerics.preparation import Preparation, prepare
from algorithms.numerics.regression_options import RegressionOptions
from algorithms.numerics.sandwich import SandwichTerms, sandwich
from algorithms.numerics.scoring import Fitted, NewtonTerms, Scaling, ShapeTerms, accumulate
from cohortium.data import Data
from cohortium.quantities import Array, Count, SumOver, Sums


def preparation(data: Data, params: RegressionOptions, *, knots: Array) -> Preparation:
    """Complete rows, scales and starting values of one cohort."""
    check_values(data, params.design, params.distribution.name)
    return prepare(data, params.design_with(knots), params.distribution, profiled=params.profiled)


def newton_terms(
    data: Data,
    params: RegressionOptions,
    *,
    coefficients: Array,
    centre: Array,
    per_unit: Array,
    units: Array,
    knots: Array,
    expected: float,
) -> NewtonTerms:
    """Score, information and log-likelihood of one cohort at standardised coefficients.

    `expected` (1) asks for the information that is expected, for standard errors; 0 for the one that steps go by.
    """
    rows = fitted(data, params, coefficients, Scaling.of(centre, per_unit, units), knots)
    return accumulate(rows, expected=expected > 0).terms()


def shape_terms(
    data: Data,
    params: RegressionOptions,
    *,
    coefficients: Array,
    centre: Array,
    per_unit: Array,
    units: Array,
    knots: Array,
    shape: float,
) -> ShapeTerms:
    """The same for a family with a second parameter, at its logarithm `shape`."""
    rows = fitted(data, params, coefficients, Scaling.of(centre, per_unit, units), knots, shape=shape)
    return accumulate(rows).shape_terms()


def sandwich_terms(
    data: Data,
    params: RegressionOptions,
    *,
    coefficients: Array,
    centre: Array,
    per_unit: Array,
    units: Array,
    knots: Array,
    shape: float,
    inverse: Array,
) -> SandwichTerms:
    """What robust standard errors need of one cohort, at the final coefficients with their inverse information."""
    rows = fitted(data, params, coefficients, Scaling.of(centre, per_unit, units), knots, shape=shape)
    return sandwich(rows, inverse, data, params.design, params.errors)


class InterceptTerms(Sums):
    """One cohort's own intercept where all covariates are 0, with what its standard error follows from.

    `weight` is the information about it, `centre` the weighted mean of the standardised columns.
    """

    n: Count
    intercept: Annotated[float, SumOver("n")]
    weight: Annotated[float, SumOver("n")]
    centre: Annotated[Array, SumOver("n")]


def cohort_intercept(
    data: Data,
    params: RegressionOptions,
    *,
    coefficients: Array,
    centre: Array,
    per_unit: Array,
    units: Array,
    knots: Array,
) -> InterceptTerms:
    """A cohort's own intercept: asked per cohort, so only of cohorts that release their own figures."""
    rows = fitted(data, params, coefficients, Scaling.of(centre, per_unit, units), knots)
    total = accumulate(rows, expected=True)
    if not total.n:
        nobody = np.zeros(params.design.width)
        return InterceptTerms(n=0.0, intercept=0.0, weight=0.0, centre=nobody, evidence=total.evidence)
    origin = rows.origin * per_unit
    return InterceptTerms(
        n=total.n,
        intercept=rows.intercept - float(origin @ coefficients),
        weight=total.weight,
        centre=total.weighted / total.weight + origin,
        evidence=total.evidence,
    )


def fitted(
    data: Data,
    params: RegressionOptions,
    coefficients: Array,
    scaling: Scaling,
    knots: Array,
    *,
    shape: float = 0.0,
) -> Fitted:
    """One cohort's rows at standardised coefficients."""
    family, design = params.distribution.with_shape(shape), params.design_with(knots)
    return Fitted(data, design, family, scaling, coefficients, profiled=params.profiled)
