"""Generalised estimating equations: effects on average, when rows of a person, family or clinic belong together."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cached_property

import numpy as np
from pydantic import Field
from scipy import linalg

from algorithms.numerics.clusters import Clusters, check_group
from algorithms.numerics.columns import columns_of
from algorithms.numerics.design import Design, compile_design, refuse_specials
from algorithms.numerics.families import FAMILIES, CanonicalName, Family
from algorithms.numerics.fixed_point import Anderson
from algorithms.numerics.gee_result import About, GeeFit, GeeResult, StdErrors, gee_result
from algorithms.numerics.newton import Fit, Model, Steps, maximise
from algorithms.numerics.outcome import check_outcome, check_values
from algorithms.numerics.preparation import Plan, Preparation, plan, prepare
from algorithms.numerics.regression import RegressionParams
from algorithms.numerics.scoring import NewtonTerms, common_terms, profiled_terms
from algorithms.numerics.standardised import broadcast_scaling, scaling_of, spread_out
from algorithms.numerics.working_correlation import (
    CorrectedMeat,
    Correlation,
    EstimatingTerms,
    WorkingModel,
    corrected_meat,
    estimating_terms,
)
from cohortium.analysis import Rounds, analysis, ask
from cohortium.data import Data
from cohortium.errors import CannotEstimate, FormulaError, InvalidQuestion, NotConverged, Separation
from cohortium.formula import Formula
from cohortium.quantities import Array, Count

# Squared distance to the solution in standard errors, and in the correlation, from which one more step is exact.
SOLVED = 1e-14
SAME = 1e-9
# Independent rows are but where the search starts from: near enough to have shown a likelihood without a maximum.
NEAR = 1e-4


class GeeParams(RegressionParams):
    """What to fit, and how."""

    formula: Formula = Field(
        description="Outcome, covariates and the variable whose values are the clusters: `ill ~ age + cluster(person)`."
    )
    family: CanonicalName = Field(
        description="gaussian (identity link), binomial (logit) or poisson (log): the distribution of the outcome."
    )
    correlation: Correlation = Field(
        "exchangeable",
        description="Working correlation of the rows of a cluster: independence, exchangeable (all alike) or ar1 "
        "(a power of the distance in the order of `order`, counted in rows).",
    )
    order: str | None = Field(None, description="For ar1: the numeric variable that orders the rows of a cluster.")
    std_errors: StdErrors = Field(
        "robust",
        description="robust: the sandwich estimate; bias-corrected: the sandwich for few clusters (Mancl & DeRouen); "
        "model: as if the working correlation were true.",
    )

    @property
    def distribution(self) -> Family:
        """The family by name."""
        return FAMILIES[self.family]

    @property
    def group(self) -> str:
        """The variable whose values are the clusters."""
        return self.formula.clusters[0].name

    @cached_property
    def design(self) -> Design:
        """The compiled formula; rows need a value of `order` too."""
        design = compile_design(self.formula, self.dictionary, intercept_column=not self.profiled)
        design.variables = tuple(dict.fromkeys([*design.variables, *filter(None, [self.order])]))
        return design

    def check(self) -> None:
        """Raises FormulaError or InvalidQuestion for what estimating equations cannot take."""
        refuse_specials(self.formula, "offset", "cluster")
        if not self.formula.clusters:
            raise FormulaError(
                "Say which rows belong together: `… + cluster(id)`.", self.formula.text, len(self.formula.text)
            )
        if len(self.formula.clusters) > 1:
            raise self.formula.error("One variable says which rows belong together.", self.formula.clusters[1])
        check_group(self.formula.clusters[0], self.formula, self.dictionary)
        check_outcome(self.formula, self.dictionary, self.family)
        if (self.correlation == "ar1") != (self.order is not None):
            raise InvalidQuestion(
                "`order` names the variable that orders the rows for correlation='ar1', and only for it."
            )
        if self.order and not self.dictionary[self.order].is_numeric:
            raise InvalidQuestion(f"`{self.order}` is a {self.dictionary[self.order].type}; an order takes a number.")
        if self.profiled and not self.formula.intercept:
            raise InvalidQuestion(
                "cohort_effect='stratified' gives every cohort its own intercept, so the formula cannot leave the "
                "intercept out. Remove `0` or `-1`, or ask for cohort_effect='common'."
            )
        _ = self.design  # compiled now, so that its errors come before any node is asked


class GeePreparation(Preparation):
    """The preparation of a regression, and a cohort's clusters."""

    clusters: Count


def preparation(data: Data, params: GeeParams) -> GeePreparation:
    """Complete rows, clusters, scales and starting values of one cohort."""
    check_values(data, params.design, params.family)
    base = prepare(data, params.design, params.distribution, profiled=params.profiled)
    clusters = _clusters(data, params)
    if params.order and any(block.has_ties(params.order) for block in clusters.blocks()):
        raise InvalidQuestion(f"Some rows of one cluster have the same `{params.order}`, so they are in no order.")
    return GeePreparation(
        **{name: getattr(base, name) for name in base.kinds},
        clusters=0 if base.silent else clusters.count,
        evidence=base.evidence,
    )


def independent_terms(
    data: Data, params: GeeParams, *, coefficients: Array, centre: Array, per_unit: Array, outcome: Array
) -> NewtonTerms:
    """The sums of one cohort as if all its rows were independent."""
    terms = profiled_terms if params.profiled else common_terms
    return terms(data, params.design, params.distribution, scaling_of(centre, per_unit, outcome), coefficients)


def correlated_terms(
    data: Data, params: GeeParams, *, coefficients: Array, alpha: float, centre: Array, per_unit: Array, outcome: Array
) -> EstimatingTerms:
    """The estimating equations of one cohort under a working correlation."""
    model = _working(params, (centre, per_unit, outcome), coefficients, alpha)
    return estimating_terms(_clusters(data, params), model, columns_of(data, params.design))


def corrected_terms(
    data: Data,
    params: GeeParams,
    *,
    coefficients: Array,
    alpha: float,
    inverse: Array,
    centre: Array,
    per_unit: Array,
    outcome: Array,
) -> CorrectedMeat:
    """The squared scores of one cohort's clusters, corrected for each cluster's own pull on the fit."""
    model = _working(params, (centre, per_unit, outcome), coefficients, alpha)
    return corrected_meat(_clusters(data, params), model, inverse, columns_of(data, params.design))


def _clusters(data: Data, params: GeeParams) -> Clusters:
    return Clusters.of(data, params.design.variables, params.group, params.order)


def _working(params: GeeParams, scaling: tuple[Array, ...], coefficients: Array, alpha: float) -> WorkingModel:
    about = params.design, params.distribution, params.correlation, params.profiled
    return WorkingModel(*about, scaling_of(*scaling), coefficients, alpha)


@analysis
def gee(params: GeeParams) -> Rounds[GeeResult]:
    """Generalised estimating equations.

    How does the average outcome change with the covariates, when rows belong together (visits of a person, people of
    a clinic)? link(mu) = X beta + offset describes the mean over people, whatever makes the rows of one cluster alike;
    a working correlation is a guess at that likeness, and robust standard errors hold even where it is wrong.

    Clusters must lie within one cohort: a person with rows in two cohorts is taken for two, and nothing here can
    notice. With cohort_effect "stratified" every cohort has an intercept of its own, which it works out and keeps;
    with "common" the fit equals that on the pooled records.

    Denominators, in which programs differ: the scale is Pearson's chi-square over n - p (as statsmodels, geepack
    without the p); the correlation is the sum of products of Pearson residuals over (pairs - p) times that scale, where
    the pairs are all within clusters (exchangeable) or neighbours (ar1) (as statsmodels for exchangeable; geepack
    without the p); p counts cohort intercepts too. Model-based standard errors use the scale for every family.
    Source: Liang & Zeger (1986), Biometrika 73:13; Mancl & DeRouen (2001), Biometrics 57:126.
    """
    total = yield from ask(preparation)
    _must_be_estimable(total, params)
    planned = plan(total, params.design, profiled=params.profiled, centred_outcome=params.family == "gaussian")
    parameters = len(planned.kept) + (round(total.contributing) if params.profiled else 0)
    if total.n <= parameters or total.clusters <= len(planned.kept):
        raise CannotEstimate("There are as many coefficients as clusters to learn them from. Ask for fewer covariates.")
    independent = yield from _independent(params, total, planned, parameters)
    fit = yield from _correlated(params, planned, independent, parameters)
    if params.std_errors == "bias-corrected":
        corrected = yield from ask(
            corrected_terms,
            coefficients=spread_out(fit.coefficients, planned, params.design.width),
            alpha=fit.alpha,
            inverse=spread_out(fit.inverse, planned, params.design.width),
            **broadcast_scaling(planned.scaling),
        )
        kept = planned.kept
        fit = replace(fit, corrected=corrected.meat[np.ix_(kept, kept)])
    about = About(params.correlation, params.std_errors, params.group, total.clusters)
    return gee_result(fit, total, planned, params, about)


def _independent(params: GeeParams, total: GeePreparation, planned: Plan, parameters: int) -> Steps[Fit]:
    """The fit with independent rows: where to start from, and where separation and collinearity show themselves."""
    kept, gaussian = planned.kept, params.family == "gaussian"

    def evaluate(coefficients: Array) -> Steps[NewtonTerms]:
        terms = yield from ask(
            independent_terms,
            coefficients=spread_out(coefficients, planned, params.design.width),
            **broadcast_scaling(planned.scaling),
        )
        return replace(terms, score=terms.score[kept], information=terms.information[np.ix_(kept, kept)])

    names = [params.design.columns[k] for k in kept]
    intercept = params.formula.intercept and not params.profiled
    model = Model(names, intercept, separable=not gaussian, max_iterations=params.max_iterations)
    if params.correlation != "independence":
        model = replace(model, tolerance=NEAR)
    if gaussian:
        df = total.n - parameters
        model = replace(model, scale=lambda terms: max(-2.0 * terms.log_likelihood / df, 1e-12))
    start = np.zeros(len(kept))
    if intercept and params.family == "poisson":
        start[0] = np.log(total.outcome / total.exposure)
    elif intercept and params.family == "binomial":
        start[0] = np.log(total.outcome / (total.n - total.outcome))
    return (yield from maximise(evaluate, start, model))


def _correlated(params: GeeParams, planned: Plan, independent: Fit, parameters: int) -> Steps[GeeFit]:
    """Fisher scoring for the coefficients; the correlation of one round is used in the next."""
    kept, at, alpha = planned.kept, independent.coefficients, 0.0
    mixing: Anderson | None = None
    last = params.correlation == "independence"
    for iteration in range(params.max_iterations + 1):
        terms = yield from ask(
            correlated_terms,
            coefficients=spread_out(at, planned, params.design.width),
            alpha=alpha,
            **broadcast_scaling(planned.scaling),
        )
        _must_be_sound(terms, params)
        scale, score = terms.pearson / (terms.n - parameters), terms.score[kept]
        information = 0.5 * (terms.information + terms.information.T)[np.ix_(kept, kept)]
        inverse = np.asarray(np.linalg.inv(information), dtype=np.float64)
        found, step = _alpha(params, terms, scale, parameters), inverse @ score
        decrement = float(step @ score) / scale
        if last:
            return GeeFit(at, inverse, terms.meat[np.ix_(kept, kept)], found, scale, terms.pairs, iteration, decrement)
        last = decrement <= SOLVED and abs(found - alpha) <= SAME
        here, there = np.append(at, alpha), np.append(at + step, found)
        if iteration > 0 and not last:
            # The first guess of the correlation was none; from the second on the way there is nearly straight.
            weight = linalg.block_diag(np.linalg.cholesky(information / scale).T, math.sqrt(terms.pairs))
            mixing = mixing or Anderson(weight)
            there = mixing.next(here, there)
        at, alpha = there[:-1], float(there[-1])
    raise NotConverged(
        f"The estimating equations were not solved in {params.max_iterations} iterations, so no numbers are given. Ask "
        "for correlation='independence', or raise `max_iterations`."
    )


def _alpha(params: GeeParams, terms: EstimatingTerms, scale: float, parameters: int) -> float:
    if params.correlation == "independence":
        return 0.0
    if terms.pairs <= parameters:
        raise CannotEstimate(
            "There are too few pairs of rows within clusters to estimate a correlation. Ask for "
            "correlation='independence'."
        )
    return terms.products / ((terms.pairs - parameters) * scale)


def _must_be_sound(terms: EstimatingTerms, params: GeeParams) -> None:
    if terms.improper:
        raise CannotEstimate(
            f"The estimated correlation is not possible for clusters as large as these under '{params.correlation}'. "
            "Ask for correlation='independence'."
        )
    if terms.not_finite:
        raise NotConverged("The estimating equations ran off to infinity. No numbers are given.")
    if terms.pearson <= 0:
        raise CannotEstimate("The covariates determine the outcome exactly: there is no error to estimate.")


def _must_be_estimable(total: GeePreparation, params: GeeParams) -> None:
    if not total.n and not total.silent:
        raise CannotEstimate("No cohort has anybody with a value for every variable of the formula.")
    if not total.n:
        raise Separation("In no cohort does the outcome vary, so nothing can be learnt within cohorts.")
    everybody = params.family == "binomial" and total.outcome == total.n
    if params.family != "gaussian" and (everybody or total.outcome == 0):
        raise Separation(f"{'Everybody' if everybody else 'Nobody'} has the outcome, so no effect can be estimated.")
