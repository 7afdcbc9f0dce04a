"""From the optimum of a linear mixed model to its result, on the scale of the data."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy import special

from algorithms.numerics.design import INTERCEPT, Design
from algorithms.numerics.mixed_fit import MixedFit, satterthwaite
from algorithms.numerics.mixed_likelihood import Cohorts, Profile
from algorithms.numerics.mixed_result import MixedResult, VarianceComponent, VarianceTest
from algorithms.numerics.preparation import Plan
from algorithms.numerics.random_part import MixedPreparation, RandomPart, unstandardised
from algorithms.numerics.standardised import back_transform
from cohortium.quantities import Array
from cohortium.result import wald

if TYPE_CHECKING:
    pass

COHORT = "cohort"
# A standard deviation below this share of what the data can just tell from 0 is 0.
SINGULAR = 1e-3


@dataclass(frozen=True)
class About:
    """What was asked."""

    formula: str
    method: Literal["REML", "ML"]
    cohort_effect: Cohorts
    confidence: float


@dataclass(frozen=True)
class Scales:
    """How covariates, outcome and the columns of the random term were standardised."""

    planned: Plan
    random_centre: Array
    random_per_unit: Array


@dataclass(frozen=True)
class Fits:
    """The fit without random effects, and those with one random column more each time."""

    null: Profile
    fits: list[MixedFit]


def mixed_result(  # noqa: PLR0917 - all that was asked and found
    about: About,
    design: Design,
    random: RandomPart,
    scales: Scales,
    total: MixedPreparation,
    found: Fits,
) -> MixedResult:
    """Back from the standardised scale to the one of the data."""
    planned, best = scales.planned, found.fits[-1]
    here = best.place.here
    kept, unit = planned.kept, planned.scaling.outcome_unit
    names = [design.columns[k] for k in kept]
    transform = back_transform(planned, intercept=INTERCEPT in names)
    estimates = transform @ here.coefficients
    if INTERCEPT in names:
        estimates[0] += planned.scaling.outcome_centre
    covariance = transform @ here.inverse @ transform.T * here.variance
    df = satterthwaite(best.place, transform) if names else np.zeros(0)
    n, intercepts = round(total.n), round(total.contributing) if about.cohort_effect == "stratified" else 0
    parameters = len(kept) + intercepts + len(here.theta) + 1
    deviance = here.deviance + 2.0 * here.df * math.log(unit)
    if about.method == "REML":
        # The restricted likelihood is that of contrasts, which standardising the columns has stretched.
        deviance -= 2.0 * float(np.sum(np.log(planned.scaling.per_unit[kept])))
    components, singular = _components(random, scales, about, total, here)
    return MixedResult(
        n=n,
        n_excluded=_whole(float(total.excluded)),
        cohort_effect=about.cohort_effect,
        formula=about.formula,
        method=about.method,
        coefficients=wald(names, estimates, covariance, about.confidence, df),
        df={name: float(value) for name, value in zip(names, df, strict=True)},
        covariance=tuple(tuple(map(float, row)) for row in covariance),
        confidence=about.confidence,
        group=random.group,
        clusters=round(total.clusters) if random.group else None,
        variance_components=components,
        icc=_icc(components),
        variance_tests=_tests(random, about, found),
        singular=singular,
        missing={name: _whole(m) for name, m in zip(design.variables, total.missing, strict=True)},
        parameters=parameters,
        deviance=deviance,
        log_likelihood=-0.5 * deviance,
        aic=deviance + 2.0 * parameters,
        bic=deviance + parameters * math.log(n),
        iterations=best.iterations,
        decrement=best.decrement,
        dropped=planned.dropped,
        warnings=tuple(_warnings(total, planned, design, singular=singular)),
    )


def _components(
    random: RandomPart, scales: Scales, about: About, total: MixedPreparation, here: Profile
) -> tuple[tuple[VarianceComponent, ...], bool]:
    residual = here.variance * scales.planned.scaling.outcome_unit**2
    q, found, least = random.width, [], math.inf
    if random.group:
        cholesky = np.zeros((q, q))
        cholesky[np.tril_indices(q)] = here.theta[: q * (q + 1) // 2]
        least = float(np.linalg.svd(cholesky, compute_uv=False)[-1]) * math.sqrt(total.n / total.clusters)
        back = unstandardised(scales.random_centre, scales.random_per_unit, intercept=random.intercept)
        half = back @ cholesky
        found = _of_group(random.group, random.names, residual * half @ half.T, zero=1e-12 * residual)
    if about.cohort_effect == "random":
        tau = abs(float(here.theta[-1]))
        least = min(least, tau * math.sqrt(total.n / total.contributing))
        found += _of_group(COHORT, [INTERCEPT], np.array([[residual * tau**2]]), zero=0.0)
    found.append(VarianceComponent(group="residual", term="", variance=residual, std_dev=math.sqrt(residual)))
    return tuple(found), least < SINGULAR


def _of_group(group: str, names: list[str], covariance: Array, zero: float) -> list[VarianceComponent]:
    deviations = np.sqrt(np.diag(covariance))
    found = []
    for i, name in enumerate(names):
        known = [covariance[i, i] > zero and covariance[j, j] > zero for j in range(i)]
        correlations = tuple(
            float(covariance[i, j] / (deviations[i] * deviations[j])) if known[j] else None for j in range(i)
        )
        component = VarianceComponent(
            group=group,
            term=name,
            variance=float(covariance[i, i]),
            std_dev=float(deviations[i]),
            correlations=correlations,
        )
        found.append(component)
    return found


def _icc(components: tuple[VarianceComponent, ...]) -> dict[str, float]:
    if any(c.term != INTERCEPT for c in components[:-1]):
        return {}
    total = sum(c.variance for c in components)
    by_group = {c.group: c.variance for c in components[:-1]}
    above = by_group.get(COHORT, 0.0)
    return {g: (v if g == COHORT else v + above) / total for g, v in by_group.items()}


def _tests(random: RandomPart, about: About, fits: Fits) -> tuple[VarianceTest, ...]:
    terms = [f"{name} | {random.group}" for name in random.names]
    terms += [f"{INTERCEPT} | {COHORT}"] * (about.cohort_effect == "random")
    deviances = [fits.null.deviance, *(fit.deviance for fit in fits.fits)]
    found = []
    for stage, term in enumerate(terms):
        # A random column brings a variance, at the edge of what it can be, and covariances with those before it.
        covariances = stage if stage < random.width else 0
        statistic = max(deviances[stage] - deviances[stage + 1], 0.0)
        tails = [_tail(covariances, statistic), _tail(covariances + 1, statistic)]
        mixture = f"half chi2({covariances}), half chi2({covariances + 1})"
        test = VarianceTest(term=f"({term})", statistic=statistic, distribution=mixture, p_value=0.5 * sum(tails))
        found.append(test)
    return tuple(found)


def _tail(df: int, statistic: float) -> float:
    if df == 0:
        return float(statistic <= 0)
    return float(special.chdtrc(df, statistic))


def _warnings(total: MixedPreparation, planned: Plan, design: Design, *, singular: bool) -> list[str]:
    found = []
    if singular:
        found.append(
            "The fit is singular: a variance is estimated as 0, or a correlation as 1 or -1. The random term is richer "
            "than the data support; ask for a simpler one."
        )
    if planned.dropped:
        found.append(f"Nobody has the level of {', '.join(planned.dropped)}: left out.")
    withheld = [name for name, count in zip(design.variables, total.missing, strict=True) if np.isnan(count)]
    if withheld:
        found.append(f"How many rows lack {', '.join(withheld)} is withheld: a cohort's number is small.")
    return found


def _whole(count: float) -> int | None:
    return None if np.isnan(count) else round(count)
