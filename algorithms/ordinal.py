"""Ordinal logistic regression: an outcome whose categories have an order."""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import Field

from algorithms.numerics.brant import BrantTerms, BrantTest, brant_terms, brant_test
from algorithms.numerics.categorical import Cumulative
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
from cohortium import report
from cohortium.analysis import Rounds, analysis, ask
from cohortium.data import Data
from cohortium.errors import InvalidQuestion
from cohortium.quantities import Array
from cohortium.result import wald


class OrdinalParams(CategoricalParams):
    """What to fit, and how."""

    brant: bool | None = Field(
        None,
        description="Whether to test that the odds change alike at every cut, in a few rounds more. By default with "
        "common intercepts; with intercepts per cohort there is no such test.",
    )

    @property
    def tested(self) -> bool:
        """Whether the assumption is tested."""
        return not self.profiled if self.brant is None else self.brant

    def check(self) -> None:
        """Raises FormulaError or InvalidQuestion for what these models cannot take."""
        super().check()
        if self.brant and self.profiled:
            raise InvalidQuestion("The test of Brant needs cohort_effect='common': it compares fits with shared cuts.")


class OrdinalResult(CategoricalResult):
    """A fitted proportional-odds regression; intercepts are the cuts `lower|higher` between categories."""

    brant: tuple[BrantTest, ...] = Field((), description="Tests that the odds change alike at every cut; all first.")

    def in_words(self) -> str:
        """Model, estimator, cohort effect and the test of its assumption."""
        brant = " Proportional odds were tested by Brant (1990)." if self.brant else ""
        return (
            f"{self.formula} was fitted as a proportional-odds logistic regression by maximum likelihood"
            f"{intercepts(self.cohort_effect)}. Tests and {interval(self.confidence)} go by the observed information."
            f"{brant}"
        )

    def tables(self) -> list[report.Table]:
        """As every regression of categories, with the test of the assumption."""
        tables = super().tables()
        if self.brant:
            rows = tuple((t.term, t.chi_square, t.df, t.p_value) for t in self.brant)
            tables.insert(2, report.Table("Proportional odds (Brant)", ("term", "chi-square", "df", "p"), rows))
        return tables


def preparation(data: Data, params: OrdinalParams) -> CategoryPreparation:
    """Complete rows, people per category and scales of one cohort."""
    return prepare_categories(data, params.design, len(params.levels), profiled=params.profiled)


def ordinal_terms(
    data: Data, params: OrdinalParams, *, slopes: Array, intercepts: Array, centre: Array, per_unit: Array
) -> NewtonTerms:
    """Score, information and log-likelihood of one cohort."""
    scaling, cumulative = Scaling(centre, per_unit, 0.0, 1.0), Cumulative(len(params.levels))
    return CategoryModel(data, params.design, cumulative, scaling, profiled=params.profiled).terms(slopes, intercepts)


def cut_terms(data: Data, params: OrdinalParams, *, coefficients: Array, centre: Array, per_unit: Array) -> BrantTerms:
    """One cohort's sums for a logistic regression at each cut."""
    return brant_terms(data, params.design, coefficients, Scaling(centre, per_unit, 0.0, 1.0))


@analysis
def ordinal(params: OrdinalParams) -> Rounds[OrdinalResult]:
    """Ordinal logistic regression (proportional odds).

    How do covariates change the odds of a higher category? logit P(y <= j) = cut_j - X b, for an outcome whose
    categories have the order of the dictionary: exp(b) is the odds ratio of being above any cut.

    With cohort_effect "stratified" every cohort has cuts of its own, which it works out and keeps; with "common" the
    fit equals that on the pooled records, and Brant's test asks whether the odds do change alike at every cut.
    Maximum likelihood by Newton's method on sums, standard errors from the observed information (as R's polr).
    Source: McCullagh (1980), JRSSB 42:109; Brant (1990), Biometrics 46:1171.
    """
    cumulative = Cumulative(len(params.levels))
    total = yield from ask(preparation)
    layout = plan_categories(total, params, cumulative)
    names = [params.design.columns[k] for k in layout.columns]
    cuts = [f"{a}|{b}" for a, b in zip(params.levels, params.levels[1:], strict=False)] if layout.intercepts else []
    start = cumulative.start(total.outcomes)
    fit = yield from fit_categories(ordinal_terms, layout, params, start, names + cuts)
    tests: tuple[BrantTest, ...] = ()
    if params.tested and names:
        tests = yield from brant_test(cut_terms, layout, fit.coefficients, names)
    estimates, covariance = layout.back(fit.coefficients, fit.inverse)
    found = wald(names + cuts, estimates, covariance, params.confidence)
    fields: dict[str, Any] = common_fields(fit, total, layout, params, len(names))
    if params.tested and names and not tests:
        fields["warnings"] = (
            *fields["warnings"],
            "Brant's test has no answer: at some cut the odds have no finite fit.",
        )
    return OrdinalResult(
        **fields,
        coefficients={name: found[name] for name in names},
        intercepts={name: found[name] for name in cuts},
        covariance=tuple(tuple(map(float, row)) for row in np.asarray(covariance)),
        brant=tests,
    )
