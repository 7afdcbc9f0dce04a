"""The estimators: federated, pooled, and meta-analyses of a fit per cohort. The last three are of others' making."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special

from cohortium.dictionary import Dictionary
from simulation import cohorts, network
from simulation.comparison.plan import Plan
from simulation.comparison.samples import Array, Sample


@dataclass(frozen=True)
class Fit:
    """Estimates by term with their standard errors, and the quantile that makes 95 % intervals of them."""

    estimates: Array
    errors: Array
    quantile: float
    left_out: int = 0  # cohorts whose own fit failed


def federated(plan: Plan, people: Mapping[str, Sample]) -> Fit:
    """Cohortium's own, with an intercept per cohort that no cohort tells. Raises CohortiumError, such as Refused."""
    known = {name: cohorts.PEOPLE[name] for name in plan.variables}
    if plan.heterogeneity and plan.family == "gaussian":  # moved outcomes are not in steps any more
        free = {"type": "number", "precision": None}
        known[plan.outcome] = known[plan.outcome].model_copy(update=free)
    dictionary = Dictionary(name="comparison", version="1", variables=known)
    net = network({name: sample.table for name, sample in people.items()}, dictionary, plan.policy)
    formula = f"{plan.outcome} ~ {' + '.join(plan.variables[1:])}"
    result = net.study().glm(formula=formula, family=plan.family).result(progress=False)
    found = [result.coefficients[term] for term in plan.truth.coefficients]
    half = (found[0].ci_high - found[0].ci_low) / 2
    return Fit(np.array([c.estimate for c in found]), np.array([c.std_error for c in found]), half / found[0].std_error)


def pooled(plan: Plan, people: Mapping[str, Sample]) -> Fit:
    """Everybody's records in one hand, with an indicator per cohort: what federating must equal."""
    sizes = [len(sample.y) for sample in people.values()]
    indicators = np.repeat(np.eye(len(sizes)), sizes, axis=0)
    X = np.vstack([sample.X for sample in people.values()])
    fit = _glm(plan, np.column_stack([X, indicators]), np.concatenate([sample.y for sample in people.values()]))
    p = X.shape[1]
    quantile = special.stdtrit(fit.df_resid, 0.975) if plan.family == "gaussian" else special.ndtri(0.975)
    return Fit(np.asarray(fit.params[:p]), np.asarray(fit.bse[:p]), float(quantile))


def meta_analyses(plan: Plan, people: Mapping[str, Sample]) -> tuple[Fit, Fit]:
    """A fit per cohort, averaged: with fixed effects (inverse variances), and with random ones.

    Cohorts whose own fit fails are left out, as they are in practice. Source of the second: DerSimonian & Laird (1986).
    """
    fits = [fit for sample in people.values() if (fit := _own_fit(plan, sample)) is not None]
    left_out, p = len(people) - len(fits), len(plan.truth.coefficients)
    if not fits:
        nothing = Fit(np.full(p, np.nan), np.full(p, np.nan), np.nan, left_out)
        return nothing, nothing
    b, v = np.array([f[0] for f in fits]), np.array([f[1] for f in fits]) ** 2
    w = 1 / v
    mean = (w * b).sum(0) / w.sum(0)
    spare = w.sum(0) - (w**2).sum(0) / w.sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        between = np.where(spare > 0, np.maximum(0.0, ((w * (b - mean) ** 2).sum(0) - (len(fits) - 1)) / spare), 0.0)
    u = 1 / (v + between)
    quantile = float(special.ndtri(0.975))
    random = Fit((u * b).sum(0) / u.sum(0), np.sqrt(1 / u.sum(0)), quantile, left_out)
    return Fit(mean, np.sqrt(1 / w.sum(0)), quantile, left_out), random


def _own_fit(plan: Plan, sample: Sample) -> tuple[Array, Array] | None:
    """One cohort's estimates and errors; None if they do not exist: too few people, nobody ill, a level of nobody."""
    X = np.column_stack([sample.X, np.ones(len(sample.y))])
    if len(sample.y) <= X.shape[1] or np.ptp(sample.y) == 0 or np.linalg.matrix_rank(X) < X.shape[1]:
        return None
    try:
        fit = _glm(plan, X, sample.y)
    except (np.linalg.LinAlgError, ValueError):
        return None
    p = sample.X.shape[1]
    estimates, errors = np.asarray(fit.params[:p]), np.asarray(fit.bse[:p])
    # Where the likelihood has no maximum, the iterations end somewhere far out.
    exists = fit.converged and np.isfinite(errors).all() and (np.abs(estimates) < 15).all()
    return (estimates, errors) if exists and (errors > 0).all() else None


def _glm(plan: Plan, X: Array, y: Array) -> Any:
    import statsmodels.api as sm  # noqa: PLC0415 - an extra: cohortium[demo]

    families = {"gaussian": sm.families.Gaussian, "binomial": sm.families.Binomial}
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # of separation, which is judged by its consequences
        return sm.GLM(y, X, families[plan.family]()).fit(tol=1e-12, maxiter=50)
