"""Ridge, lasso and elastic net, with cross-validation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from algorithms.numerics.cross_products import CrossProducts, cross_products
from algorithms.numerics.elastic_net_params import ElasticNetParams
from algorithms.numerics.elastic_net_result import ElasticNetResult, elastic_net_result, penalised_columns
from algorithms.numerics.folds import folds_of
from algorithms.numerics.logit_path import PathTerms, path_terms
from algorithms.numerics.newton import Steps
from algorithms.numerics.outcome import check_values
from algorithms.numerics.penalised_path import LogitPath, Training, least_squares
from algorithms.numerics.preparation import Plan, Preparation, plan, prepare
from algorithms.numerics.scoring import Scaling
from cohortium.analysis import Rounds, analysis, ask
from cohortium.data import Data
from cohortium.errors import CannotEstimate, Separation
from cohortium.quantities import Array


def preparation(data: Data, params: ElasticNetParams) -> Preparation:
    """Complete rows and scales of one cohort."""
    check_values(data, params.design, params.distribution.name)
    return prepare(data, params.design, params.distribution, profiled=params.profiled)


def products(data: Data, params: ElasticNetParams, *, centre: Array, per_unit: Array, units: Array) -> CrossProducts:
    """Cross-products of one cohort, of all its people and by fold; of nobody where the outcome tells nothing."""
    if params.profiled and not _tells(data, params):
        data = data.subset(np.zeros(len(data), dtype=np.bool_))
    folds = folds_of(data, params.fold_by, max(params.folds, 1), params.seed)
    scaling = Scaling.of(centre, per_unit, units)
    return cross_products(data, params.design, scaling, folds, max(params.folds, 1), profiled=params.profiled)


def _tells(data: Data, params: ElasticNetParams) -> bool:
    """Whether the outcomes say anything beside an intercept of the cohort's own."""
    outcomes = [params.design.response(block) for block in data.blocks(params.design.variables)]
    events, people = sum(float(np.sum(y)) for y in outcomes), float(sum(map(len, outcomes)))
    return params.distribution.is_informative(people, events)


def logit_terms(
    data: Data,
    params: ElasticNetParams,
    *,
    coefficients: Array,
    out: Array,
    centre: Array,
    per_unit: Array,
    units: Array,
) -> PathTerms:
    """Score and information of one cohort at many coefficients, each over the people that `out` does not leave out."""
    folds = folds_of(data, params.fold_by, max(params.folds, 1), params.seed)
    scaling = Scaling.of(centre, per_unit, units)
    return path_terms(
        data, params.design, scaling, coefficients=coefficients, out=out, folds=folds, profiled=params.profiled
    )


@analysis
def elastic_net(params: ElasticNetParams) -> Rounds[ElasticNetResult]:
    """Elastic net: ridge and lasso regression.

    Which covariates predict the outcome, when there are many of them? Minus the log-likelihood per person (for gaussian
    the mean squared error, halved) is minimised together with
    penalty * (mix * sum |b| + (1 - mix) / 2 * sum b^2), b being the effects of columns divided by their standard
    deviation. Intercepts are not penalised. Estimates are shrunken on purpose and have no standard errors.

    For gaussian all penalties and folds follow from one round of cross-products; for binomial all of them are solved
    in the same rounds by proximal Newton steps. In cross-validation every fold is predicted by a fit, standardised
    anew, to all others; a cohort's own intercept is that of its own people in the training set.
    Source: Friedman, Hastie & Tibshirani (2010), Journal of Statistical Software 33(1).
    """
    total = yield from ask(preparation)
    planned = _planned(total, params)
    scaling = planned.scaling
    broadcast = {"centre": scaling.centre, "per_unit": scaling.per_unit, "units": scaling.numbers}
    sets = Training.sets(
        (yield from ask(products, **broadcast)), penalised_columns(params, planned), scaling.outcome_unit
    )
    if params.family == "gaussian":
        found = least_squares(sets, params.path, params.made, params.mix)
    else:
        found = yield from _logits(params, planned, sets, total).fit(params.path, params.made)
    return elastic_net_result(params, planned, total, found)


def _planned(total: Preparation, params: ElasticNetParams) -> Plan:
    if not total.n:
        raise CannotEstimate("No cohort has anybody with a value for every variable of the formula.")
    if params.family == "binomial" and total.outcome in (0.0, total.n):
        raise Separation("Everybody has the same outcome, so nothing can be learnt.")
    centred = params.family == "gaussian"
    return plan(total, params.design, profiled=params.profiled, centred_outcome=centred)


def _logits(params: ElasticNetParams, planned: Plan, sets: list[Training], total: Preparation) -> LogitPath:
    kept, scaling, width = planned.kept, planned.scaling, params.design.width

    def put(coefficients: Array, out: Array) -> Steps[PathTerms]:
        everywhere = np.zeros((len(out), width))
        everywhere[:, kept] = coefficients
        terms = yield from ask(
            logit_terms,
            coefficients=everywhere,
            out=out,
            centre=scaling.centre,
            per_unit=scaling.per_unit,
            units=scaling.numbers,
        )
        information = terms.information[:, kept[:, None], kept]
        return replace(terms, score=terms.score[:, kept], information=information)

    start = params.distribution.predictor(total.outcome / total.n)
    return LogitPath(put, sets, params.mix, intercept=not params.profiled, start=start)
