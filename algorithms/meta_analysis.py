"""Two-stage meta-analysis: every cohort makes its own estimate; their mean and spread are found from these."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np

from algorithms.numerics.cohort_estimates import coefficient, means, remembered, two_by_two
from algorithms.numerics.columns import columns_of
from algorithms.numerics.grouped_moments import moments_evidence, whole
from algorithms.numerics.meta_params import MetaAnalysisParams
from algorithms.numerics.meta_result import MetaAnalysisResult
from algorithms.numerics.meta_summaries import (
    COMMON,
    choose,
    cohort_effects,
    common_effect,
    heterogeneity,
    leave_one_out,
    left_out,
    pooled_models,
    predictions,
    warnings_of,
    without_consent,
)
from algorithms.numerics.newton import Steps
from algorithms.numerics.own_fits import REASONS, CohortEstimate
from algorithms.numerics.random_effects import pool_known
from cohortium.analysis import Refusal, Rounds, analysis, ask, ask_each, ask_each_if_allowed
from cohortium.data import Data
from cohortium.errors import CannotEstimate, Refused
from cohortium.evidence import NOBODY, Evidence, Plain
from cohortium.quantities import Array, Count, Counts, Flag, FlagKind, SumOver, Sums, Table


class Contributions(Sums):
    """First round: how many cohorts have an estimate, and why others have none; no estimate is in it.

    `cells` are the people of each group (by outcome) that the effect is made of.
    """

    n: Count
    excluded: Table
    missing: Table
    cells: Counts
    contributing: Flag
    reasons: Annotated[Array, FlagKind()]


class OwnEffect(Sums):
    """A cohort's own estimate and standard error: asked per cohort, of those that release their own figures.

    They are as long as a cohort's model has parameters, by which a policy judges its people; all but the one that is
    pooled are 0.
    """

    n: Count
    estimates: Annotated[Array, SumOver("n", people_per_parameter=True)]
    errors: Annotated[Array, SumOver("n", people_per_parameter=True)]
    reasons: Annotated[Array, FlagKind()]


class Scales(Sums):
    """Estimates and their standard errors, added up."""

    least_cohorts = COMMON

    n: Count
    estimates: Annotated[Array, SumOver("n", people_per_parameter=True)]
    errors: Annotated[Array, SumOver("n", people_per_parameter=True)]


class CommonSums(Sums):
    """With w = 1 / v: sums of w, w^2, w y and w y^2. Nothing is broadcast into the weights that could be varied."""

    least_cohorts = COMMON

    n: Count
    sums: Annotated[Array, SumOver("n")]


def contributions(data: Data, params: MetaAnalysisParams) -> Contributions:
    """Whether this cohort has an estimate."""
    own, used = _own(data, params), np.count_nonzero(data.complete(params.variables))
    counted = own.reason is None
    return Contributions(
        n=own.n * counted,
        excluded=np.array(float(len(data) - used)),
        missing=np.array([float(np.count_nonzero(data.missing(name))) for name in params.variables]),
        cells=_cells(data, params) * counted,
        contributing=float(counted),
        reasons=np.array([float(own.reason == reason) for reason in REASONS]),
    )


def own_effects(data: Data, params: MetaAnalysisParams) -> OwnEffect:
    """The cohort's own estimate."""
    scaled, reason = scales(data, params), _own(data, params).reason
    flags = np.array([float(reason == r) for r in REASONS])
    return OwnEffect(
        n=scaled.n, estimates=scaled.estimates, errors=scaled.errors, reasons=flags, evidence=scaled.evidence
    )


def scales(data: Data, params: MetaAnalysisParams) -> Scales:
    """Of what size the estimates are."""
    own = _own(data, params)
    values = np.zeros((2, len(params.columns) if params.effect == "coefficient" else 2))
    values[:, params.position] = own.estimate, np.sqrt(own.variance)
    n = own.n if own.reason is None else 0
    return Scales(n=n, estimates=values[0], errors=values[1], evidence=_evidence(data, params))


def common_sums(data: Data, params: MetaAnalysisParams, *, centre: float, unit: float) -> CommonSums:
    """Addends of the common effect and of Q, the estimate taken as (y - centre) / unit."""
    if unit <= 0:
        raise Refused("A unit that was broadcast is not positive.", rule="broadcast")
    own = _own(data, params)
    if own.reason is not None:
        return CommonSums(n=0, sums=np.zeros(4), evidence=NOBODY)
    y, w = (own.estimate - centre) / unit, unit**2 / own.variance
    sums = np.array([w, w * w, w * y, w * y * y])
    return CommonSums(n=own.n, sums=sums, evidence=_evidence(data, params))


@analysis
def meta_analysis(params: MetaAnalysisParams) -> Rounds[MetaAnalysisResult]:
    """Meta-analysis: the mean effect over cohorts and how much cohorts differ.

    Is an effect the same everywhere, and if not, by how much does it vary? Every cohort estimates it on its own people:
    a coefficient of its own regression (linear, logistic, Cox, mixed, ordinal ...), a contrast of two groups. Common-
    effect and random-effects means (REML or DerSimonian-Laird), Hartung-Knapp intervals, Cochran's Q, tau2 with its
    Q-profile interval, I2, a prediction interval. Cohorts without a usable estimate are counted by reason and left out;
    nothing is added to empty cells.

    A random-effects mean needs the cohorts' own estimates, which each gives if permit and policy allow. Masking would
    not hide them: from sums at variances that the coordinator chooses, as the iteration for tau2 needs them, the
    estimates of 16 cohorts were computed, and of 40 whose sizes differ much. Where a cohort does not give its own, the
    common effect, Q, I2 and DerSimonian and Laird's tau2 come from six masked sums without anything to choose, of five
    cohorts or more (of three, six sums determine the six numbers); of fewer the question is refused.
    Source: Viechtbauer (2005), J Educ Behav Stat 30:261 and (2007), Stat Med 26:37; DerSimonian & Laird (1986), Control
    Clin Trials 7:177; Hartung & Knapp (2001), Stat Med 20:3875; Higgins et al. (2009), JRSS A 172:137.
    """
    first = yield from ask(contributions)
    cohorts = round(first.contributing)
    if not cohorts:
        raise CannotEstimate(f"No cohort has an estimate of this effect. {left_out(first.reasons)}")
    each = yield from (ask_each(own_effects) if params.per_cohort else ask_each_if_allowed(own_effects))
    if isinstance(each, Refusal):
        if cohorts < COMMON:
            raise without_consent(each, cohorts)
        found = yield from _common(params, each, cohorts)
    else:
        found = _random(params, _estimates(params, each))
    return MetaAnalysisResult(
        n=round(first.n),
        n_excluded=whole(float(first.excluded)),
        formula=str(params.formula),
        effect=params.effect,
        term=params.chosen,
        fit=params.fit if params.effect == "coefficient" else None,
        family=getattr(params.model, "family", None) if params.effect == "coefficient" else None,
        contributing=cohorts,
        left_out={reason: round(count) for reason, count in zip(REASONS, first.reasons, strict=True) if count},
        ratio=params.ratio,
        prediction_method=params.prediction,
        table=tuple(tuple(map(round, row)) for row in first.cells) if params.is_table else None,
        confidence=params.confidence,
        missing={name: whole(float(m)) for name, m in zip(params.variables, first.missing, strict=True)},
        warnings=(
            *found.pop("warnings", ()),
            *warnings_of(cohorts, first.reasons, params.variables, first.missing),
        ),
        **found,
    )


def _random(params: MetaAnalysisParams, estimates: dict[str, CohortEstimate]) -> dict[str, Any]:
    """Everything, from the cohorts' own estimates."""
    known, level = [e for e in estimates.values() if e.reason is None], params.confidence
    pooled = pool_known([e.estimate for e in known], [e.variance for e in known], level)
    models = pooled_models(pooled, params.method, level)
    name, chosen = choose(models, params.method, knapp_hartung=params.knapp_hartung)
    intervals = predictions(models, pooled, params.method, level)
    found: dict[str, Any] = {
        "method": name,
        "pooled": chosen,
        "models": models,
        "heterogeneity": heterogeneity(pooled, params.method),
        "prediction": intervals.get(params.prediction),
        "predictions": intervals,
    }
    if params.per_cohort:
        found["cohort_effects"] = cohort_effects(estimates, pooled, params.method, level)
        knapp_hartung = params.knapp_hartung
        found["leave_one_out"] = leave_one_out(estimates, params.method, level, knapp_hartung=knapp_hartung)
    return found


def _common(params: MetaAnalysisParams, refusal: Refusal, cohorts: int) -> Steps[dict[str, Any]]:
    """What masked sums tell when a cohort does not give its own estimate."""
    size = yield from ask(scales)
    centre, unit = (float(sums[params.position]) / cohorts for sums in (size.estimates, size.errors))
    total = yield from ask(common_sums, centre=centre, unit=unit)
    return common_effect(total.sums, (centre, unit), cohorts, params.confidence, refusal)


def _own(data: Data, params: MetaAnalysisParams) -> CohortEstimate:
    def compute() -> CohortEstimate:
        if params.effect == "coefficient":
            n = int(np.count_nonzero(data.complete(params.variables)))
            return coefficient(data, n, params.fit, params.model, params.chosen)
        if params.is_table:
            return two_by_two(_cells(data, params), params.effect)
        return means(data, params.comparison, params.effect)

    return remembered(data, params.model_dump_json(), compute)


def _evidence(data: Data, params: MetaAnalysisParams) -> Evidence:
    """What the cohort's own estimate rests on."""
    own = Plain("a cohort's own estimate, into which nothing enters that was broadcast")
    if params.effect == "coefficient":
        return Evidence(weights=own, columns=columns_of(data, params.model.design))
    return Evidence(weights=own) if params.is_table else moments_evidence(data, params.comparison)


def _cells(data: Data, params: MetaAnalysisParams) -> Array:
    """People per group, and of a table per outcome; none where the effect is a coefficient."""
    if params.effect == "coefficient":
        return np.zeros(0)
    wide = 2 if params.is_table else 1
    found = np.zeros(2 * wide)
    for block in data.blocks(params.variables):
        event = block[str(params.formula.response)].astype(np.intp) if params.is_table else 0
        found += np.bincount(wide * params.grouping.codes(block) + event, minlength=len(found))
    return found.reshape(2, wide)


def _estimates(params: MetaAnalysisParams, each: Mapping[str, OwnEffect]) -> dict[str, CohortEstimate]:
    at, found = params.position, {}
    for cohort, own in each.items():
        reason = next((r for r, flag in zip(REASONS, own.reasons, strict=True) if flag), None)
        found[cohort] = CohortEstimate(round(own.n), float(own.estimates[at]), float(own.errors[at]) ** 2, reason)
    return found
