"""Linear mixed models for repeated measurements, families and clinics within cohorts, and for cohorts as a sample."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Literal

import numpy as np
from pydantic import Field

from algorithms.numerics.cluster_factors import Factors, factorise
from algorithms.numerics.clusters import Clusters
from algorithms.numerics.columns import columns_of
from algorithms.numerics.design import Design, compile_design, refuse_specials
from algorithms.numerics.mixed_fit import MixedFit, Search
from algorithms.numerics.mixed_inference import About, Fits, Scales, mixed_result
from algorithms.numerics.mixed_likelihood import Cohorts, LikelihoodTerms, Profile, Setting, likelihood_terms, profiles
from algorithms.numerics.mixed_result import MixedResult
from algorithms.numerics.newton import Steps
from algorithms.numerics.outcome import check_outcome
from algorithms.numerics.preparation import Plan, plan
from algorithms.numerics.random_part import MixedPreparation, RandomPart
from algorithms.numerics.scoring import Scaling
from algorithms.numerics.standardised import broadcast_scaling, scaling_of
from cohortium.analysis import Confidence, Params, Rounds, analysis, ask
from cohortium.data import Data
from cohortium.errors import CannotEstimate, InvalidQuestion
from cohortium.formula import Formula
from cohortium.quantities import Array

FEWEST_COHORTS = 5


class MixedModelParams(Params):
    """What to fit, and how."""

    formula: Formula = Field(
        description="Outcome, covariates and a random term: `bmi ~ age + (1 | person)`, `y ~ days + (1 + days | id)`."
    )
    cohort_effect: Cohorts = Field(
        "stratified",
        description="stratified: an intercept per cohort; common: one for all; random: cohorts as a sample of many, "
        "with or without a random term in the formula.",
    )
    method: Literal["REML", "ML"] = Field(
        "REML", description="REML: unbiased variances; ML: to compare models that differ in their covariates."
    )
    confidence: float = Confidence
    max_iterations: int = Field(40, ge=1, le=100, description="Most steps towards the variances before giving up.")

    @property
    def profiled(self) -> bool:
        """Whether every cohort has an intercept of its own."""
        return self.cohort_effect == "stratified"

    @cached_property
    def design(self) -> Design:
        """The compiled covariates."""
        return compile_design(self.formula, self.dictionary, intercept_column=not self.profiled)

    @cached_property
    def random(self) -> RandomPart:
        """The compiled random term."""
        return RandomPart(self.formula, self.dictionary)

    def check(self) -> None:
        """Raises FormulaError or InvalidQuestion for what a mixed model cannot take."""
        refuse_specials(self.formula, "random effects")
        check_outcome(self.formula, self.dictionary, "gaussian")
        if not self.formula.intercept:
            raise InvalidQuestion("A mixed model keeps its intercept. Remove `0` or `-1` from the covariates.")
        if not self.random.width and self.cohort_effect != "random":
            raise InvalidQuestion(
                "There is nothing random in this model. Add a term such as `(1 | person)`, ask for "
                "cohort_effect='random', or use `glm`."
            )
        _ = self.design  # compiled now, so that its errors come before any node is asked


def preparation(data: Data, params: MixedModelParams) -> MixedPreparation:
    """Complete rows, clusters and scales of one cohort."""
    return params.random.prepare(data, params.design, profiled=params.profiled)


def mixed_terms(
    data: Data,
    params: MixedModelParams,
    *,
    centre: Array,
    per_unit: Array,
    outcome: Array,
    random_centre: Array,
    random_per_unit: Array,
    theta: Array,
) -> LikelihoodTerms:
    """The likelihood of one cohort's clusters, and its derivatives, at each row of `theta`."""
    scaling = scaling_of(centre, per_unit, outcome)
    values = (centre, per_unit, outcome, random_centre, random_per_unit)
    key = ("mixed_model", str(params.formula), params.cohort_effect, *(v.tobytes() for v in values))
    factors = data.recall(
        key, lambda: _factorise(data, params, scaling, random_centre[:, None], random_per_unit[:, None])
    )
    columns, reml = columns_of(data, params.design), params.method == "REML"
    return likelihood_terms(factors, params.random.width, theta, params.cohort_effect, columns, reml=reml)


def _factorise(data: Data, params: MixedModelParams, scaling: Scaling, centre: Array, per_unit: Array) -> Factors:
    design, random = params.design, params.random
    clusters = Clusters(data, design.variables, random.group)
    origin = None

    def columns(block: Data) -> tuple[Array, Array]:
        nonlocal origin
        x, y = design.matrix(block), design.response(block)
        if origin is None:
            # With an intercept of its own a cohort may start anywhere; at its first row, a constant is exactly 0.
            origin = (x[0].copy(), float(y[0])) if params.profiled else (scaling.centre, scaling.outcome_centre)
        c = np.empty((design.width + 2, len(block)))
        c[:-2] = ((x - origin[0]) * scaling.per_unit).T
        c[-2] = (y - origin[1]) / scaling.outcome_unit
        c[-1] = 1.0
        return c, (random.matrix(block) - centre) * per_unit

    return factorise(clusters.blocks(), columns, design.width + 2)


@analysis
def mixed_model(params: MixedModelParams) -> Rounds[MixedResult]:
    """Linear mixed model.

    How does a numeric outcome change with the covariates, when rows belong together: visits of a person, people of a
    family or clinic? y = X beta + Z b + e, where `(1 + x | id)` gives every `id` an intercept and a slope b of its own,
    normal with an unstructured covariance, and e is normal with one variance. The fit is that on the pooled records
    (lossless): of every cluster only its part of a sum leaves the cohort, and predicted effects b never do.

    Clusters must lie within one cohort. One that is in two cohorts (a person in both, a family split between them) is
    taken for two, and nothing here can notice: link such people first. Crossed random effects are not offered.
    Cohorts differ by an intercept each (cohort_effect "stratified"), not at all ("common"), or at random ("random",
    from five cohorts on): then the cohort is a level above the clusters, and its variance is estimated with theirs.

    What leaves a cohort are sums over its clusters at each set of variances that is tried. Where clusters come in few
    sizes, such sums can be taken apart by size: a cluster whose size is rare is better left out.

    Variances by REML or ML; tests of coefficients with Satterthwaite's degrees of freedom; each random term is tested
    against the model without it by a mixture of chi-square distributions, as its variance cannot be negative.
    Source: Bates, Maechler, Bolker & Walker (2015), J Stat Softw 67(1); Luo et al. (2022), Nat Commun 13:1678;
    Kuznetsova et al. (2017), J Stat Softw 82(13); Stram & Lee (1994), Biometrics 50:1171.
    """
    total = yield from ask(preparation)
    _must_be_estimable(total, params)
    planned = plan(total, params.design, profiled=params.profiled, centred_outcome=True)
    random_scaling = params.random.scaling(total)
    null, fits = yield from _fit(params, total, planned, random_scaling)
    about = About(str(params.formula), params.method, params.cohort_effect, params.confidence)
    return mixed_result(about, params.design, params.random, Scales(planned, *random_scaling), total, Fits(null, fits))


def _fit(
    params: MixedModelParams, total: MixedPreparation, planned: Plan, random: tuple[Array, Array]
) -> Steps[tuple[Profile, list[MixedFit]]]:
    """The fit without random effects, and those with one random column more each time; the cohorts come last."""
    kept, q = planned.kept, params.random.width
    used = np.append(kept, params.design.width)

    def evaluate(theta: Array) -> Steps[LikelihoodTerms]:
        terms = yield from ask(
            mixed_terms,
            **broadcast_scaling(planned.scaling),
            random_centre=random[0],
            random_per_unit=random[1],
            theta=theta,
        )
        rows, columns = used[:, None], used[None, :]
        return LikelihoodTerms(
            n=terms.n,
            clusters=terms.clusters,
            products=terms.products[:, rows, columns],
            slopes=terms.slopes[:, :, rows, columns],
            logdet=terms.logdet,
            logdet_slopes=terms.logdet_slopes,
        )

    names = [params.design.columns[k] for k in kept]
    df = total.n - (len(kept) + _cohort_intercepts(params, total) if params.method == "REML" else 0)
    setting = Setting(names, df, reml=params.method == "REML")
    rows = np.tril_indices(q)[0]
    size = math.sqrt(max(total.clusters, 1.0) / total.n)
    unit = np.append(np.full(len(rows), size), [math.sqrt(total.contributing / total.n)] * _random_cohorts(params))
    theta = np.zeros((1, len(unit)))
    null = profiles((yield from evaluate(theta)), theta, setting)[0]
    search, fits, at = Search(evaluate, setting, unit, params.max_iterations), [], theta[0]
    stages = q + _random_cohorts(params)
    for stage in range(stages):
        # A row of L joins for each random column, and last the cohorts' standard deviation.
        joining = np.flatnonzero(rows == stage) if stage < q else np.array([len(rows)])
        start = at.copy()
        start[joining[-1]] = 1.0
        fit = yield from search.minimise(start, list(range(joining[-1] + 1)), roughly=stage < stages - 1)
        fits.append(fit)
        at = fit.place.here.theta
    return null, fits


def _random_cohorts(params: MixedModelParams) -> int:
    return int(params.cohort_effect == "random")


def _cohort_intercepts(params: MixedModelParams, total: MixedPreparation) -> int:
    return round(total.contributing) if params.profiled else 0


def _must_be_estimable(total: MixedPreparation, params: MixedModelParams) -> None:
    if not total.n:
        raise CannotEstimate("No cohort has anybody with a value for every variable of the formula.")
    group, q = params.random.group, params.random.width
    if total.n <= params.design.width + _cohort_intercepts(params, total):
        raise CannotEstimate("The model has as many coefficients as there are rows. Ask for fewer covariates.")
    if group and q * total.clusters >= total.n:
        raise CannotEstimate(
            f"There are as many random effects of `{group}` as rows ({q} per cluster), so they cannot be told from the "
            "error. Take terms out of `( | )`, or use `glm` where a cluster has but one row."
        )
    if _random_cohorts(params) and total.contributing < FEWEST_COHORTS:
        raise CannotEstimate(
            f"{total.contributing:g} cohorts are too few to estimate how cohorts vary; a random cohort effect takes "
            f"at least {FEWEST_COHORTS}. Ask for cohort_effect='stratified'."
        )
