"""How a pooled regression holds up cohort by cohort: own estimates, heterogeneity, and the fit without each cohort.

Leaving a cohort out takes one Newton step from the pooled estimates on the sums without that cohort's part: least
squares exactly, other likelihoods to the order of the square of the step, where a refit would take every cohort through
every iteration again (Pregibon 1981, Ann Stat 9:705, one-step case deletion).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from scipy import special

from algorithms.numerics.meta_result import CohortEffect, Heterogeneity
from algorithms.numerics.meta_summaries import choose, cohort_effects, heterogeneity, pooled_models
from algorithms.numerics.own_fits import REASON_WORDS, REASONS, CohortEstimate, OwnFit
from algorithms.numerics.random_effects import pool_known
from cohortium import report
from cohortium.quantities import Array
from cohortium.result import Estimate

if TYPE_CHECKING:
    import altair


class WithoutCohort(BaseModel):
    """The pooled estimate when one cohort is left out."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    estimate: float = Field(description="Estimate without that cohort (least squares: exact; else one Newton step).")
    std_error: float | None = Field(description="Model-based standard error; None where others were asked for.")
    ci_low: float | None = Field(description="Lower confidence limit.")
    ci_high: float | None = Field(description="Upper confidence limit.")


class ByCohort(BaseModel):
    """One term, cohort by cohort."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    cohorts: dict[str, CohortEffect] = Field(description="Estimate of each cohort's own fit.")
    random_effects: Estimate | None = Field(description="Their random-effects mean (REML, Hartung-Knapp).")
    heterogeneity: Heterogeneity | None = Field(description="How much they differ (two cohorts or more).")
    leave_one_out: dict[str, WithoutCohort] = Field(description="The pooled estimate without each cohort.")


@dataclass(frozen=True)
class PooledFit:
    """The pooled fit on the standardised scale of `OwnFit`: coefficients (p,), information (p, p), columns kept (p,).

    `unit` brings coefficients to the scale of the data. `spread` gives dispersion and degrees of freedom of the fit
    without a cohort, by what its step was worth; None if standard errors are not the model's.
    """

    names: Sequence[str]
    kept: Sequence[int]
    coefficients: Array
    score: Array
    information: Array
    unit: Array
    spread: Callable[[OwnFit, float], tuple[float, float]] | None


def by_cohort(pooled: PooledFit, each: Mapping[str, OwnFit], shown: Sequence[str], level: float) -> dict[str, ByCohort]:
    """The terms `shown`, by name; a cohort without an estimate of one says why."""
    left = {cohort: _without(pooled, own, level) for cohort, own in each.items()}
    found = {}
    for place, name in enumerate(pooled.names):
        if name not in shown:
            continue
        estimates = {c: _own(own, pooled.kept[place], float(pooled.unit[place])) for c, own in each.items()}
        without = {cohort: terms[place] for cohort, terms in left.items() if terms}
        found[name] = _term(estimates, without, level)
    return found


def _own(own: OwnFit, column: int, unit: float) -> CohortEstimate:
    if own.estimated[column]:
        error = float(own.std_errors[column]) * unit
        return CohortEstimate(round(own.n), float(own.estimates[column]) * unit, error**2)
    reason = next((r for r, flag in zip(REASONS, own.reasons, strict=True) if flag), None)
    return CohortEstimate(round(own.n), reason=reason or "not_estimable")


def _term(estimates: dict[str, CohortEstimate], without: dict[str, WithoutCohort], level: float) -> ByCohort:
    known = [e for e in estimates.values() if e.reason is None]
    if not known:
        effects = {c: CohortEffect(n=e.n, left_out=REASON_WORDS[e.reason or "few"]) for c, e in estimates.items()}
        return ByCohort(cohorts=effects, random_effects=None, heterogeneity=None, leave_one_out=without)
    pooled = pool_known([e.estimate for e in known], [e.variance for e in known], level)
    models = pooled_models(pooled, "reml", level)
    return ByCohort(
        cohorts=cohort_effects(estimates, pooled, "reml", level),
        random_effects=choose(models, "reml", knapp_hartung=True)[1],
        heterogeneity=heterogeneity(pooled, "reml"),
        leave_one_out=without,
    )


def _without(pooled: PooledFit, own: OwnFit, level: float) -> list[WithoutCohort]:
    """Every term without one cohort; nothing where the others alone do not determine them."""
    at = np.ix_(pooled.kept, pooled.kept)
    information = pooled.information - own.information[at]
    score = pooled.score - own.score[list(pooled.kept)]
    scale = np.sqrt(np.abs(np.diag(pooled.information)))
    if not own.used or np.linalg.eigvalsh(information / np.outer(scale, scale))[0] < 1e-9:
        return []
    inverse = np.linalg.inv(information)
    step = inverse @ score
    estimates = pooled.unit * (pooled.coefficients + step)
    if pooled.spread is None:
        return [WithoutCohort(estimate=e, std_error=None, ci_low=None, ci_high=None) for e in map(float, estimates)]
    dispersion, df = pooled.spread(own, float(step @ information @ step))
    if df <= 0:
        return []
    errors = pooled.unit * np.sqrt(dispersion * np.diag(inverse))
    reach = float(special.stdtrit(df, 0.5 + level / 2)) * errors
    rows = zip(estimates, errors, estimates - reach, estimates + reach, strict=True)
    names = ("estimate", "std_error", "ci_low", "ci_high")
    return [WithoutCohort(**dict(zip(names, map(float, row), strict=True))) for row in rows]


def one_step(terms: Mapping[str, ByCohort]) -> str:
    """What a statement of exactness adds where a fit without one cohort is not to the last digit."""
    return "; without one cohort to one Newton step" if any(term.leave_one_out for term in terms.values()) else ""


def tables(terms: Mapping[str, ByCohort], level: float) -> list[report.Table]:
    """Cohorts, heterogeneity, and the estimates without each cohort, term by term."""
    if not terms:
        return []
    ci = f"{100 * level:g}% CI"
    own = [
        (term, cohort, e.n, *(_cell(v) for v in (e.estimate, e.std_error, e.ci_low, e.ci_high, e.left_out)))
        for term, found in terms.items()
        for cohort, e in found.cohorts.items()
    ]
    differ = [
        (term, h.q, h.q_df, h.q_p_value, h.i2, h.tau2, r.estimate, r.ci_low, r.ci_high)
        for term, found in terms.items()
        if (h := found.heterogeneity) and (r := found.random_effects)
    ]
    left = [
        (term, cohort, w.estimate, *(_cell(v) for v in (w.std_error, w.ci_low, w.ci_high)))
        for term, found in terms.items()
        for cohort, w in found.leave_one_out.items()
    ]
    heads = ("term", "Q", "df", "p", "I² (%)", "tau²", "random effects", f"{ci} low", f"{ci} high")
    head = ("estimate", "std. error", f"{ci} low", f"{ci} high")
    made = [report.Table("By cohort", ("term", "cohort", "n", *head, "left out"), tuple(own))]
    made += [report.Table("Heterogeneity between cohorts", heads, tuple(differ))] if differ else []
    return made + ([report.Table("Without one cohort", ("term", "without", *head), tuple(left))] if left else [])


def with_forests(
    chart: altair.TopLevelMixin, terms: Mapping[str, ByCohort], pooled: Mapping[str, Estimate], ratio: str | None
) -> altair.TopLevelMixin:
    """The chart of a pooled fit, and below it a forest plot of the cohorts for every term."""
    import altair  # noqa: PLC0415 - drawing is the one thing that needs it

    forests: list[Any] = [forest(name, term, pooled[name], ratio) for name, term in terms.items() if name in pooled]
    joined: altair.TopLevelMixin = altair.vconcat(cast(Any, chart), *forests)
    return joined if forests else chart


def forest(name: str, term: ByCohort, pooled: Estimate, ratio: str | None) -> altair.TopLevelMixin:
    """Cohorts, their random-effects mean and the pooled estimate of one term; as ratios if these have a name."""
    from algorithms.numerics import comparison_charts  # noqa: PLC0415 - drawing alone needs altair

    show = math.exp if ratio else float
    rows = [
        (cohort, (e.estimate, e.ci_low, e.ci_high), e.weight or 0.0, False)
        for cohort, e in term.cohorts.items()
        if e.estimate is not None and e.ci_low is not None and e.ci_high is not None
    ]
    means = {"random effects": term.random_effects, "pooled fit": pooled}
    rows += [(label, (e.estimate, e.ci_low, e.ci_high), 1.0, True) for label, e in means.items() if e]
    shown = [
        {"name": label, "weight": weight, "pooled": is_mean}
        | dict(zip(("estimate", "low", "high"), map(show, numbers), strict=True))
        for label, numbers, weight, is_mean in rows
        if all(math.isfinite(x) and (not ratio or abs(x) < 300) for x in numbers)
    ]
    title = f"{name}: {ratio}" if ratio else name
    return comparison_charts.pooled_forest(shown, title=title, null=show(0.0), ratio=ratio is not None)


def _cell(value: float | str | None) -> float | str:
    return "" if value is None else value
