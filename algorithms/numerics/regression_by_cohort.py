"""Linear and generalised linear models by cohort: what a cohort is asked, and what becomes of the answers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from algorithms.numerics.by_cohort import PooledFit, by_cohort
from algorithms.numerics.design import INTERCEPT
from algorithms.numerics.estimation import Estimation
from algorithms.numerics.newton import Steps
from algorithms.numerics.own_fits import OwnFit, Part, fit_alone, forbidden, informative, own_fit
from algorithms.numerics.regression_options import RegressionOptions
from algorithms.numerics.regression_result import RegressionResult
from algorithms.numerics.regression_sums import newton_terms
from algorithms.numerics.scoring import Scaling
from cohortium.analysis import Analysis, Refusal, ask_each_if_allowed
from cohortium.data import Data
from cohortium.quantities import Array

R = TypeVar("R", bound=RegressionResult)


def own_regression(
    data: Data, params: RegressionOptions, analysis: Analysis[Any, Any], broadcast: dict[str, Array]
) -> OwnFit:
    """One cohort's own fit, and its part in the pooled fit at the coefficients that are broadcast."""
    design, family = params.design, params.distribution.name
    terms = newton_terms(data, params, **broadcast, expected=1.0)
    scaling = Scaling.of(broadcast["centre"], broadcast["per_unit"], broadcast["units"])
    n = int(np.count_nonzero(data.complete(design.variables)))
    effect = "common" if params.cohort_effect == "common" else "stratified"
    alone = params.model_copy(update={"by_cohort": False, "compare": None, "cohort_effect": effect})
    return own_fit(
        data,
        lambda: fit_alone(analysis, data, alone),
        (n, informative(data, design, family, n) if n else 0.0),
        dict(zip(design.columns, map(float, scaling.predictor_unit * scaling.per_unit), strict=True)),
        Part(terms.n, terms.n, terms.score, terms.information, terms.evidence, terms.pearson),
    )


def with_cohorts(result: R, found: Estimation, own: Callable[..., OwnFit]) -> Steps[R]:
    """The pooled result with what its cohorts say by themselves, if that was asked; a rule may forbid it."""
    params, climb = found.params, found.climb
    if not params.by_cohort:
        return result
    broadcast = climb.broadcast(found.columns, found.fit.coefficients[: len(found.columns)])
    each = yield from ask_each_if_allowed(own, **broadcast)
    if isinstance(each, Refusal):
        return result.model_copy(update={"warnings": (*result.warnings, forbidden(each))})
    shown = [name for name in climb.names(found.columns) if name != INTERCEPT]
    terms = by_cohort(_pooled(found), _scaled(each, climb.weight_unit), shown, params.confidence)
    if not params.leaves_one_out:
        terms = {name: term.model_copy(update={"leave_one_out": {}}) for name, term in terms.items()}
    return result.model_copy(update={"by_cohort": terms})


def _scaled(each: dict[str, OwnFit], unit: float) -> dict[str, OwnFit]:
    """In the weights that count."""
    sums = ("score", "information", "pearson")
    return {
        cohort: OwnFit.from_arrays({k: a * unit if k in sums else a for k, a in own.arrays().items()})
        for cohort, own in each.items()
    }


def _pooled(found: Estimation) -> PooledFit:
    params, fit, scaling = found.params, found.fit, found.climb.planned.scaling
    width, kept = len(found.columns), [int(k) for k in found.columns]
    exact = params.distribution.name == "gaussian" and params.distribution.link == "identity"

    def spread(own: OwnFit, worth: float) -> tuple[float, float]:
        if not params.estimates_dispersion:
            return 1.0, math.inf
        df = found.df_residual - own.used + (1 if params.profiled else 0)
        pearson = fit.terms.pearson - own.pearson - (worth if exact else 0.0)
        return pearson / max(df, 1.0), df

    return PooledFit(
        names=found.climb.names(kept)[:width],
        kept=kept,
        coefficients=fit.coefficients[:width],
        score=fit.terms.score[:width],
        information=fit.terms.information[:width, :width],
        unit=scaling.predictor_unit * scaling.per_unit[kept],
        spread=spread if params.errors == "model" else None,
    )
