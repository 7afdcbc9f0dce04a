"""From the sums at the between-cohort variances to pooled effects, heterogeneity and prediction intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from scipy import special

from algorithms.numerics.grouped_moments import withheld_warning
from algorithms.numerics.meta_result import FIXED, CohortEffect, Heterogeneity, LeaveOneOut, PredictionInterval
from algorithms.numerics.own_fits import REASON_WORDS, REASONS, CohortEstimate, forbidden
from algorithms.numerics.random_effects import Pooled, pool_known
from cohortium.analysis import Refusal
from cohortium.errors import CohortiumError
from cohortium.quantities import Array
from cohortium.result import Estimate

# Fewest cohorts whose common effect may come from masked sums: six sums leave the ten numbers of five cohorts open.
COMMON = 5
Estimator = Literal["reml", "dl"]
Prediction = Literal["hartung-knapp", "higgins", "normal"]

# Where the sums of an estimator stand among those of `Pooled.at`.
PLACE: dict[Estimator, int] = {"dl": 1, "reml": 2}

DL, REML = "DerSimonian-Laird", "REML"
HK, HK_TRUNCATED = "Hartung-Knapp", "Hartung-Knapp, truncated"


def estimate(value: float, error: float, level: float, df: float = math.inf) -> Estimate:
    """A pooled effect with its test; `df` of a t distribution, NaN where it has none."""
    reach = float(special.stdtrit(df, 0.5 + level / 2)) * error
    statistic = value / error if error > 0 else math.nan
    p = float(2 * special.stdtr(df, -abs(statistic)))
    return Estimate(
        estimate=value,
        std_error=error,
        statistic=statistic,
        p_value=p,
        ci_low=value - reach,
        ci_high=value + reach,
    )


def pooled_models(pooled: Pooled, method: Estimator, level: float) -> dict[str, Estimate]:
    """The pooled effect by every method; Hartung and Knapp's with the tau2 of `method`."""
    means, errors, df = pooled.means, pooled.errors, pooled.cohorts - 1
    names = (FIXED, DL, REML) if df else (FIXED,)
    found = {name: estimate(float(means[i]), float(errors[i]), level) for i, name in enumerate(names)}
    if df:
        at = PLACE[method]
        spread = math.sqrt(float(pooled.at.q[at]) / df)
        for name, factor in ((HK, spread), (HK_TRUNCATED, max(spread, 1.0))):
            found[name] = estimate(float(means[at]), float(errors[at]) * factor, level, df)
    return found


def predictions(
    models: dict[str, Estimate], pooled: Pooled, method: Estimator, level: float
) -> dict[str, PredictionInterval]:
    """Prediction intervals by every method; none for fewer than three cohorts."""
    if pooled.cohorts < 3:
        return {}
    base = models[REML if method == "reml" else DL]
    tau2 = float(pooled.at.tau2[PLACE[method]]) * pooled.unit**2
    choices: dict[str, tuple[Estimate, float]] = {
        "hartung-knapp": (models[HK], pooled.cohorts - 1.0),
        "higgins": (base, pooled.cohorts - 2.0),
        "normal": (base, math.inf),
    }
    found = {}
    for name, (effect, df) in choices.items():
        reach = float(special.stdtrit(df, 0.5 + level / 2)) * math.sqrt(tau2 + effect.std_error**2)
        found[name] = PredictionInterval(low=effect.estimate - reach, high=effect.estimate + reach)
    return found


def heterogeneity(pooled: Pooled, method: Estimator) -> Heterogeneity | None:
    """tau2 of the chosen estimator with I2 and H2, by the typical variance of Higgins & Thompson (2002)."""
    df, at = pooled.cohorts - 1, pooled.at
    if not df:
        return None
    typical = df / float(at.trace[0])
    limits = (float(at.tau2[PLACE[method]]), pooled.roots.low, pooled.roots.high)
    shares = [100 * t / (t + typical) for t in limits]
    square = pooled.unit**2
    return Heterogeneity(
        tau2=limits[0] * square,
        tau2_se=math.sqrt(2 / float(at.trace_square[PLACE[method]])) * square,
        tau2_low=limits[1] * square,
        tau2_high=limits[2] * square,
        i2=shares[0],
        i2_low=shares[1],
        i2_high=shares[2],
        h2=(limits[0] + typical) / typical,
        q=float(at.q[0]),
        q_df=df,
        q_p_value=float(special.chdtrc(df, at.q[0])),
    )


def common_effect(
    sums: Array, scale: tuple[float, float], cohorts: int, level: float, refusal: Refusal
) -> dict[str, Any]:
    """Common effect, Q, I2 and DerSimonian and Laird's tau2, from sums of w, w^2, w y and w y^2; nothing random."""
    (w, square, wy, wyy), (centre, unit), df = map(float, sums), scale, cohorts - 1
    pooled = estimate(centre + unit * wy / w, unit / math.sqrt(w), level)
    q, trace = max(wyy - wy * wy / w, 0.0), w - square / w
    tau2, typical = max((q - df) / trace, 0.0), df / trace
    differ = Heterogeneity(
        tau2=tau2 * unit**2,
        tau2_se=None,
        tau2_low=None,
        tau2_high=None,
        i2=100 * tau2 / (tau2 + typical),
        i2_low=None,
        i2_high=None,
        h2=(tau2 + typical) / typical,
        q=q,
        q_df=df,
        q_p_value=float(special.chdtrc(df, q)),
    )
    said = (
        f"Common effect only: a random-effects mean needs every cohort's own estimate. {forbidden(refusal)} "
        "tau² is DerSimonian and Laird's.",
    )
    return {"method": FIXED, "pooled": pooled, "models": {FIXED: pooled}, "heterogeneity": differ, "warnings": said}


def without_consent(refusal: Refusal, cohorts: int) -> CohortiumError:
    """The refusal, with why nothing else is possible and what is."""
    told = (
        f"{refusal.message} From sums over {cohorts} cohorts their estimates could be worked out, so without every "
        f"cohort's consent at least {COMMON} must have one. A one-stage fit (`glm` or `cox`, cohort_effect="
        "'stratified') needs no such consent."
    )
    return CohortiumError.from_problem(refusal.problem().model_copy(update={"message": told}))


def choose(models: dict[str, Estimate], method: Estimator, *, knapp_hartung: bool) -> tuple[str, Estimate]:
    """The pooled effect that was asked for, with the name of how it was made."""
    name = REML if method == "reml" else DL
    if len(models) == 1:
        return "one cohort", models[FIXED]
    return (f"{name}, {HK}", models[HK]) if knapp_hartung else (name, models[name])


def cohort_effects(
    estimates: Mapping[str, CohortEstimate], pooled: Pooled, method: Estimator, level: float
) -> dict[str, CohortEffect]:
    """Each cohort's own estimate with its share in the random-effects mean."""
    tau2 = float(pooled.at.tau2[PLACE[method]]) * pooled.unit**2
    total = sum(1 / (e.variance + tau2) for e in estimates.values() if e.reason is None)
    found = {}
    for name, e in estimates.items():
        if e.reason is not None:
            found[name] = CohortEffect(n=e.n, left_out=REASON_WORDS[e.reason])
            continue
        own = estimate(e.estimate, math.sqrt(e.variance), level)
        found[name] = CohortEffect(
            n=e.n,
            estimate=own.estimate,
            std_error=own.std_error,
            ci_low=own.ci_low,
            ci_high=own.ci_high,
            weight=1 / (e.variance + tau2) / total,
        )
    return found


def leave_one_out(
    estimates: Mapping[str, CohortEstimate], method: Estimator, level: float, *, knapp_hartung: bool
) -> dict[str, LeaveOneOut]:
    """The pooled effect without each cohort, from three contributing cohorts on."""
    known = {name: e for name, e in estimates.items() if e.reason is None}
    found = {}
    for left in known if len(known) > 2 else ():
        others = [e for name, e in known.items() if name != left]
        pooled = pool_known([e.estimate for e in others], [e.variance for e in others], level)
        models = pooled_models(pooled, method, level)
        tau2 = float(pooled.at.tau2[PLACE[method]]) * pooled.unit**2
        found[left] = LeaveOneOut(effect=choose(models, method, knapp_hartung=knapp_hartung)[1], tau2=tau2)
    return found


def left_out(reasons: Array) -> str:
    """How many cohorts have no estimate, and why."""
    parts = [f"{count:g} with {REASON_WORDS[r]}" for r, count in zip(REASONS, reasons, strict=True) if count]
    return f"Cohorts left out: {'; '.join(parts)}." if parts else ""


def warnings_of(cohorts: int, reasons: Array, variables: tuple[str, ...], missing: Array) -> list[str]:
    """What a reader should know before using the numbers."""
    found = [left_out(reasons)] if np.any(reasons) else []
    if cohorts == 1:
        found.append("One cohort has an estimate: there is nothing to pool, and no variance between cohorts.")
    elif cohorts < 5:
        found.append(
            f"{cohorts} cohorts tell little about the variance between cohorts: intervals are wide, or too short. "
            "Report the common effect too, and a one-stage fit (`glm`, cohort_effect='stratified') as the main result."
        )
    return [*found, *withheld_warning(variables, missing)]
