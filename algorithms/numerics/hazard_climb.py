"""The climb to the maximum of a hazard model's likelihood."""

from __future__ import annotations

import numpy as np

from algorithms.numerics.cox_params import CoxParams
from algorithms.numerics.cox_preparation import CoxPlan
from algorithms.numerics.follow_up import Codes
from algorithms.numerics.newton import Evaluate, Fit, Model, Steps, maximise
from algorithms.numerics.partial_likelihood import MAX_PREDICTOR
from algorithms.numerics.scoring import NewtonTerms
from cohortium.errors import NotConverged, Separation
from cohortium.quantities import Array


def climb(
    params: CoxParams,
    planned: CoxPlan,
    evaluate: Evaluate,
    nuisance: list[str] | None = None,
    start: Array | None = None,
) -> Steps[Fit]:
    """The maximum of a likelihood of the `nuisance` parameters, if any, and the coefficients, these from 0."""
    columns = [params.design.columns[k] for k in planned.kept]
    before = np.zeros(0) if start is None else start
    too_far: list[Array] = []

    def watched(at: Array) -> Steps[NewtonTerms]:
        found = yield from evaluate(at)
        too_far.extend([at[len(before) :]] if found.not_finite else [])
        return found

    model = Model(
        [*(nuisance or []), *columns],
        intercept=False,
        separable=True,
        max_iterations=params.max_iterations,
        infinite="tells without exception who has the event first (a group without events, for one): the likelihood "
        "rises without end",
    )
    try:
        return (yield from maximise(watched, np.concatenate([before, np.zeros(len(columns))]), model))
    except NotConverged:
        if too_far:
            raise _runs_away(columns, np.abs(too_far[-1])) from None
        raise


def _runs_away(names: list[str], sizes: Array) -> Separation:
    chosen = ", ".join(f"`{name}`" for name, size in zip(names, sizes, strict=True) if size > 0.5 * np.max(sizes))
    return Separation(
        f"The likelihood has no finite maximum within reach: by {chosen} some people's hazard would be more than "
        f"e^{MAX_PREDICTOR:g} times another's. No numbers are given. Leave it out, or look for extreme values."
    )


def newton_terms(  # noqa: PLR0917
    n: float, log_likelihood: float, score: Array, information: Array, kept: Codes, not_finite: float = 0.0
) -> NewtonTerms:
    """Sums of all columns, as a Newton step in the `kept` ones takes them."""
    return NewtonTerms(
        n=n,
        score=score[kept],
        information=information[np.ix_(kept, kept)],
        log_likelihood=log_likelihood,
        pearson=0.0,
        extreme=0.0,
        not_finite=not_finite,
    )


def beyond_reach(n: float, kept: Codes) -> NewtonTerms:
    """What stands for sums at coefficients that are so far off that there are none."""
    width = int(max(kept, default=-1)) + 1
    return newton_terms(n, 0.0, np.zeros(width), np.zeros((width, width)), kept, 1.0)
