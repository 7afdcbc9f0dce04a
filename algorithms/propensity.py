"""Propensity scores: weighting, standardisation and both, for treatments that were not given at random."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from algorithms.numerics.groups import Groups
from algorithms.numerics.influence import InfluenceSums, Standing, influence_sums
from algorithms.numerics.knots import find_knots
from algorithms.numerics.lattice import Lattice
from algorithms.numerics.newton import Fit, Steps
from algorithms.numerics.order_statistics import (
    Multisection,
    Searched,
    Sections,
    counts_between,  # noqa: F401 - a statistic as well
    sections,
)
from algorithms.numerics.propensity_fits import PropensityPlan
from algorithms.numerics.propensity_params import WEIGHT, PropensityParams
from algorithms.numerics.propensity_people import Fitted, FitTerms, People, PropensityPreparation, Standard
from algorithms.numerics.propensity_result import PropensityResult
from algorithms.numerics.propensity_summary import summary
from algorithms.numerics.quantile_types import position
from algorithms.numerics.treatment_effects import covariance, standing
from algorithms.numerics.weighted_survival import (
    WeightedHazard,
    WeightedLifeTable,
    maximise_hazard,
    weighted_hazard,
    weighted_life_table,
    weighted_people,
)
from algorithms.numerics.weighting import Rules, WeightedSums, Weights, weighted_sums
from cohortium.analysis import Rounds, analysis, ask
from cohortium.data import Data
from cohortium.dictionary import Dictionary, Variable
from cohortium.errors import CannotEstimate
from cohortium.quantities import Array

# Weights are compared to 7 digits, between e^-32 and e^32; what is not cut has limits that a float cannot pass.
_STEP, _REACH, _NO_LIMIT = 1e-7, 32.0, 700.0
_WEIGHTS = Searched(
    (Lattice(WEIGHT, _STEP, round(-_REACH / _STEP), round(2 * _REACH / _STEP)),),
    Groups(Dictionary(name="weights", version="1", variables={WEIGHT: Variable(type="number")})),
)


def preparation(data: Data, params: PropensityParams, *, knots: Array) -> PropensityPreparation:
    """Arms and scales of one cohort."""
    return People(data, params, knots).prepare()


def fit_terms(
    data: Data,
    params: PropensityParams,
    *,
    coefficients: Array,
    active: Array,
    centre: Array,
    per_unit: Array,
    outcome: Array,
    knots: Array,
) -> FitTerms:
    """Score and information of one cohort: of the treatment's model, and of the outcome's in either arm."""
    standard = Standard(centre, per_unit, outcome, knots)
    return Fitted(People(data, params, knots), standard, coefficients).terms(active)


def weight_counts(
    data: Data,
    params: PropensityParams,
    *,
    thresholds: Array,
    coefficients: Array,
    factors: Array,
    centre: Array,
    per_unit: Array,
    outcome: Array,
    knots: Array,
) -> Sections:
    """One cohort's people between thresholds of the logarithm of their weight, in groups of neighbours."""
    fitted = Fitted(People(data, params, knots), Standard(centre, per_unit, outcome, knots), coefficients)
    weights = Weights(fitted, Rules(params.estimand, factors, np.array([-_NO_LIMIT, _NO_LIMIT])))
    own = Data(_WEIGHTS.groups.dictionary, {WEIGHT: weights.logarithm}, len(fitted.people), data.least_group)
    ending, beginning = sections(own, _WEIGHTS, thresholds)
    return Sections(
        ending=ending, beginning=beginning, missing=np.zeros(1), asked=1.0, collected=np.array([float(len(own) > 0)])
    )


def weighting(
    data: Data,
    params: PropensityParams,
    *,
    coefficients: Array,
    factors: Array,
    limits: Array,
    centre: Array,
    per_unit: Array,
    outcome: Array,
    knots: Array,
) -> WeightedSums:
    """Weighted sums of one cohort, at the fitted scores."""
    fitted = Fitted(People(data, params, knots), Standard(centre, per_unit, outcome, knots), coefficients)
    return weighted_sums(fitted, Rules(params.estimand, factors, limits), least=data.least_group)


def influence(
    data: Data,
    params: PropensityParams,
    *,
    means: Array,
    weight: Array,
    target: float,
    coefficients: Array,
    factors: Array,
    limits: Array,
    centre: Array,
    per_unit: Array,
    outcome: Array,
    knots: Array,
) -> InfluenceSums:
    """What standard errors need of one cohort."""
    fitted = Fitted(People(data, params, knots), Standard(centre, per_unit, outcome, knots), coefficients)
    return influence_sums(fitted, Rules(params.estimand, factors, limits), Standing(means, weight, target))


def hazard_terms(
    data: Data,
    params: PropensityParams,
    *,
    coefficient: float,
    coefficients: Array,
    factors: Array,
    limits: Array,
    centre: Array,
    per_unit: Array,
    outcome: Array,
    knots: Array,
) -> WeightedHazard:
    """The weighted partial likelihood of one cohort at a log hazard ratio; no time is in it."""
    standard = Standard(centre, per_unit, outcome, knots)
    rules = Rules(params.estimand, factors, limits)
    return weighted_hazard(_weighted(data, params, standard, coefficients, rules), params, coefficient)


def life_tables(
    data: Data,
    params: PropensityParams,
    *,
    coefficients: Array,
    factors: Array,
    limits: Array,
    centre: Array,
    per_unit: Array,
    outcome: Array,
    knots: Array,
) -> WeightedLifeTable:
    """Weighted people who leave, and have the event, per arm and interval."""
    standard = Standard(centre, per_unit, outcome, knots)
    rules = Rules(params.estimand, factors, limits)
    return weighted_life_table(_weighted(data, params, standard, coefficients, rules), params)


def _weighted(data: Data, params: PropensityParams, standard: Standard, coefficients: Array, rules: Rules) -> Data:
    """The weighted people, kept between rounds."""

    def work_out() -> Data:
        people = People(data, params, standard.knots)
        return weighted_people(data, params, Weights(Fitted(people, standard, coefficients), rules), people.complete)

    broadcast = (*standard.broadcast.values(), coefficients, rules.factors, rules.limits)
    return data.recall(("weighted people", params, *(np.asarray(b).tobytes() for b in broadcast)), work_out)


@analysis
def propensity(params: PropensityParams) -> Rounds[PropensityResult]:
    """Propensity scores: average effects of a treatment, adjusted for what led to it.

    How would the outcome differ if everybody (ATE), or the treated (ATT), were treated rather than not? A logistic
    regression gives everybody's propensity to be treated; weights by it make both arms alike in the confounders
    (balance table, love plot). Given an outcome there are three estimates of the mean under either treatment: ipw, the
    weighted mean; g_computation, the mean prediction of a model of the outcome per arm; and aipw, which is right if
    either model is. Standard errors take into account that all models were fitted. For follow-up, Surv(time, event):
    the hazard ratio of a weighted Cox model with a baseline per cohort and a robust standard error that takes the
    weights as known and, with `interval`, weighted survival curves.

    With cohort_effect "stratified" every cohort has intercepts of its own in all models, which it keeps: scores differ
    between cohorts that treat differently, and a cohort that treats all its people alike is left out. With "common" the
    estimates equal those on the pooled records. Scores and weights never leave a cohort, which refuses sums that one
    person dominates and weights that leave too few effective people. That nothing unmeasured is confounded is assumed,
    and no sum can show it.

    Source: Rosenbaum & Rubin (1983), Biometrika 70:41; Lunceford & Davidian (2004), Stat Med 23:2937; Li, Morgan &
    Zaslavsky (2018), JASA 113:390.
    """
    knots = yield from find_knots(params)
    plan = PropensityPlan.of((yield from ask(preparation, knots=knots)), params, knots)
    fixed = plan.standard.broadcast

    def ask_fits(coefficients: Array, active: Array) -> Steps[FitTerms]:
        return (yield from ask(fit_terms, coefficients=coefficients, active=active, **fixed))

    scores, *outcomes = yield from plan.fit(ask_fits)
    if isinstance(scores, CannotEstimate):
        raise scores
    fits = [scores, *(None if isinstance(fit, CannotEstimate) else fit for fit in outcomes)]
    fixed |= {
        "coefficients": plan.everywhere({m: fit.coefficients for m, fit in enumerate(fits) if fit is not None}),
        "factors": _factors(plan),
    }
    limits = yield from _limits(plan, fixed)
    fixed |= {"limits": limits}
    rules = Rules(params.estimand, np.asarray(fixed["factors"]), limits)
    total = yield from ask(weighting, **fixed)
    found = summary(plan, scores, total, limits=tuple(np.exp(limits)) if params.truncate else None)
    if params.outcome_family is not None:
        at = standing(total, rules)
        sums = yield from ask(influence, means=at.means, weight=at.weight, target=at.target, **fixed)
        return found.with_effects(at, covariance(plan, fits, sums), _without_models(outcomes))
    if params.surv is None:
        return found.result()
    hazard = yield from maximise_hazard(lambda b: ask(hazard_terms, coefficient=b, **fixed), params)
    tables = (yield from ask(life_tables, **fixed)) if params.interval else None
    return found.with_survival(hazard, tables)


def _factors(plan: PropensityPlan) -> Array:
    """What stabilised weights are multiplied by: the share of the arm (ATE), or the odds against treatment (ATT)."""
    if not plan.params.stabilised:
        return np.ones(2)
    untreated, treated = plan.total.arms / plan.total.n
    return np.array([untreated / treated, 1.0] if plan.params.estimand == "ATT" else [untreated, treated])


def _limits(plan: PropensityPlan, fixed: dict[str, float | Array]) -> Steps[Array]:
    """Logarithms of the weights to cut at: quantiles (type 7) of everybody's."""
    cut = plan.params.truncate
    if cut is None:
        return np.array([-_NO_LIMIT, _NO_LIMIT])
    shares = (cut, 1.0 - cut)
    search = Multisection(_WEIGHTS, lambda n: [rank for p in shares for rank in position(n, p, 7)[:2]])
    while not search.is_done:
        asked = {name: value for name, value in fixed.items() if name != "limits"}
        total = yield from ask(weight_counts, thresholds=search.thresholds, **asked)
        search.learn(np.asarray(total.ending), np.asarray(total.beginning))
    column = search.columns[0][0]
    if column.withheld:
        raise CannotEstimate("Some cohort has too few people to tell quantiles of weights. Leave out `truncate`.")
    found = []
    for p in shares:
        lower, upper, share = position(round(column.n), p, 7)
        a, b = (math.exp(column.found(rank).value) for rank in (lower, upper))
        found.append(math.log((1.0 - share) * a + share * b))
    return np.array(found)


def _without_models(outcomes: Sequence[Fit | CannotEstimate]) -> list[str]:
    return [fit.message for fit in outcomes if isinstance(fit, CannotEstimate)]
