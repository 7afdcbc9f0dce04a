"""Brant's test of proportional odds: do logistic regressions at every cut of an ordered outcome agree?

Source: Brant (1990), Biometrics 46:1171.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from scipy import special

from algorithms.numerics.categorical_regression import Layout
from algorithms.numerics.columns import columns_of
from algorithms.numerics.design import Design
from algorithms.numerics.newton import TOLERANCE, Steps
from algorithms.numerics.scoring import Scaling
from cohortium.analysis import ask
from cohortium.data import Data
from cohortium.evidence import Concentration, Evidence
from cohortium.quantities import Array, Count, SumOver, Sums

MOST_STEPS = 12


class BrantTest(BaseModel):
    """Whether the odds change alike at every cut, for all columns together or for one."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    term: str = Field(description="The column, or `all`.")
    chi_square: float = Field(description="Wald statistic of the differences between the cuts.")
    df: int = Field(description="Its degrees of freedom.")
    p_value: float = Field(description="Its p-value.")


class BrantTerms(Sums):
    """Per cut the score (cuts, columns); for every two cuts X'W_jk X, with W_jk the covariance of their outcomes."""

    n: Count
    score: Annotated[Array, SumOver("n")]
    products: Annotated[Array, SumOver("n", people_per_parameter=True)]


def brant_terms(data: Data, design: Design, coefficients: Array, scaling: Scaling) -> BrantTerms:
    """One cohort's sums at the coefficients (cuts, columns) of logit P(y > j) = X b_j; the intercept is a column."""
    cuts, width = coefficients.shape
    score, products, n = np.zeros((cuts, width)), np.zeros((cuts, cuts, width, width)), 0
    weights, farthest = Concentration((cuts,)), 0.0
    for rows in data.blocks(design.variables):
        x = (design.matrix(rows) - scaling.centre) * scaling.per_unit
        eta = x @ coefficients.T
        above = special.expit(eta)
        weights.add(above * (1.0 - above))
        farthest = max(farthest, float(np.max(np.abs(eta))))
        score += ((design.response(rows)[:, None] > np.arange(cuts)) - above).T @ x
        n += len(rows)
        for j in range(cuts):
            for k in range(j, cuts):
                # Above the higher cut k is above j too.
                products[j, k] += (x.T * (above[:, k] * (1.0 - above[:, j]))) @ x
    for j in range(cuts):
        for k in range(j):
            products[j, k] = products[k, j]
    evidence = Evidence(weights=weights.shares, predictor=farthest, columns=columns_of(data, design))
    return BrantTerms(n=n, score=score, products=products, evidence=evidence)


def brant_test(
    statistic: Callable[..., BrantTerms], layout: Layout, proportional: Array, names: list[str]
) -> Steps[tuple[BrantTest, ...]]:
    """The tests, all columns first; none where a cut has no finite fit. Starts from the proportional-odds fit."""
    kept, cuts = layout.planned.kept, layout.intercepts
    at = np.column_stack([-proportional[len(names) :], np.tile(proportional[: len(names)], (cuts, 1))])
    scaling = layout.planned.scaling
    done = False
    for _ in range(MOST_STEPS):
        everywhere = np.zeros((cuts, layout.width))
        everywhere[:, kept] = at
        terms = yield from ask(statistic, coefficients=everywhere, centre=scaling.centre, per_unit=scaling.per_unit)
        products = terms.products[:, :, kept[:, None], kept[None, :]]
        score = terms.score[:, kept]
        try:
            inverses = np.linalg.inv(np.array([products[j, j] for j in range(cuts)]))
        except np.linalg.LinAlgError:
            return ()
        if done:
            return _tests(at[:, 1:], _covariance(inverses, products), names)
        step = np.einsum("jvw,jw->jv", inverses, score)
        done = float(np.max(np.sum(step * score, axis=1))) <= TOLERANCE
        at = at + step
    return ()


def _covariance(inverses: Array, products: Array) -> Array:
    """Of the slopes of all cuts, shape (cuts, cuts, columns, columns)."""
    full = np.einsum("jvw,jkwx,kxy->jkvy", inverses, products, inverses)
    return np.asarray(full[:, :, 1:, 1:])


def _tests(slopes: Array, covariance: Array, names: list[str]) -> tuple[BrantTest, ...]:
    cuts, columns = slopes.shape
    against_first = np.hstack([np.ones((cuts - 1, 1)), -np.eye(cuts - 1)])
    found = []
    for term, chosen in [("all", list(range(columns))), *((name, [k]) for k, name in enumerate(names))]:
        contrast = np.kron(against_first, np.eye(len(chosen)))
        part = covariance[:, :, chosen][:, :, :, chosen].transpose(0, 2, 1, 3)
        size = cuts * len(chosen)
        difference = contrast @ slopes[:, chosen].ravel()
        spread = contrast @ part.reshape(size, size) @ contrast.T
        chi_square = float(difference @ np.linalg.solve(spread, difference))
        df = len(difference)
        p_value = float(special.chdtrc(df, chi_square))
        found.append(BrantTest(term=term, chi_square=chi_square, df=df, p_value=p_value))
    return tuple(found)
