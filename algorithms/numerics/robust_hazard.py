"""A Cox model with a baseline per cohort whose every round brings what robust standard errors need as well."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Annotated, Any

import numpy as np

from algorithms.numerics.cox_params import CoxParams
from algorithms.numerics.cox_preparation import CoxPlan
from algorithms.numerics.newton import Fit, Model, Steps, maximise
from algorithms.numerics.partial_likelihood import Rows, Scaling, likelihood
from algorithms.numerics.score_residuals import Hazard, meat
from algorithms.numerics.scoring import NewtonTerms
from cohortium.analysis import Question
from cohortium.data import Data
from cohortium.evidence import NOBODY
from cohortium.quantities import Array, Count, Flag, SumOver, Sums


class HazardTerms(Sums):
    """A cohort's log partial likelihood with its derivatives, and squared score residuals summed by cluster."""

    n: Count
    events: Count
    clusters: Count
    log_likelihood: Annotated[float, SumOver("events")]
    score: Annotated[Array, SumOver("events")]
    information: Annotated[Array, SumOver("n", people_per_parameter=True, positive=True)]
    meat: Annotated[Array, SumOver("clusters", positive=True)]
    not_finite: Flag


def hazard_terms(people: Data, params: CoxParams, scaling: Scaling, coefficients: Array) -> HazardTerms:
    """One cohort's part at standardised coefficients."""
    rows = Rows(people, params, scaling)
    found = likelihood(rows, coefficients, np.ones((1, rows.sets.nowhere))) if rows.sets.events else None
    width, lost = rows.width, found is None and rows.sets.events > 0
    squares = np.zeros((width, width))
    if found is not None:
        squares = meat(rows, rows.predictor(coefficients), Hazard.of(found))
    return HazardTerms(
        n=rows.sets.rows,
        events=rows.sets.events,
        clusters=rows.sets.clusters,
        log_likelihood=found.log_likelihood if found else 0.0,
        score=found.score[0] if found else np.zeros(width),
        information=found.information[0] if found else np.zeros((width, width)),
        meat=squares,
        not_finite=float(lost),
        evidence=found.evidence if found else NOBODY,
    )


def fit_hazard(
    ask_terms: Callable[[Array], Generator[Question, Any, HazardTerms]], params: CoxParams, plan: CoxPlan
) -> Steps[tuple[Fit, Array]]:
    """The maximum, and the robust covariance of its coefficients. Raises CannotEstimate."""
    kept, seen = plan.kept, list[HazardTerms]()

    def evaluate(coefficients: Array) -> Steps[NewtonTerms]:
        total = yield from ask_terms(plan.everywhere(coefficients))
        seen.append(total)
        return NewtonTerms(
            n=total.n,
            score=total.score[kept],
            information=total.information[np.ix_(kept, kept)],
            log_likelihood=total.log_likelihood,
            pearson=0.0,
            extreme=0.0,
            not_finite=total.not_finite,
        )

    model = Model(
        [params.design.columns[k] for k in kept],
        intercept=False,
        separable=True,
        max_iterations=params.max_iterations,
        infinite="tells without exception who has the event first: the likelihood rises without end",
    )
    fit = yield from maximise(evaluate, np.zeros(len(kept)), model)
    return fit, fit.inverse @ seen[-1].meat[np.ix_(kept, kept)] @ fit.inverse
