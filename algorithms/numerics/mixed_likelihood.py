"""The likelihood of a linear mixed model from sums: what a cohort adds, and what the total says.

Source: Bates, Maechler, Bolker & Walker (2015), J Stat Softw 67(1), for the profiled deviance; Luo et al. (2022),
Nat Commun 13:1678, for its losslessness over cohorts. Variances are relative to the residual variance throughout.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal, assert_never

import numpy as np
from scipy import linalg

from algorithms.numerics.cluster_factors import Factors, ThetaTerms, cluster_weights, theta_terms
from algorithms.numerics.newton import COLLINEAR, describe_aliases
from cohortium.errors import CannotEstimate, Collinear, Refused
from cohortium.evidence import Columns, Evidence, Shares
from cohortium.quantities import Array, Count, SumOver, Sums

Cohorts = Literal["stratified", "common", "random"]

# More points than a gradient at every parameter needs, or variances beyond any model, are no honest question.
MOST_POINTS = 32
LARGEST = 1e6


class LikelihoodTerms(Sums):
    """Per point theta: [X y]'V^-1[X y] and log|V|, and their derivatives by each element of theta.

    The `slopes` are multiplied by `stretch(theta)`: they fall with theta, and a secure sum keeps absolute digits.
    """

    n: Count
    clusters: Count
    products: Annotated[Array, SumOver("n", people_per_parameter=True)]
    slopes: Annotated[Array, SumOver("n")]
    logdet: Annotated[Array, SumOver("n")]
    logdet_slopes: Annotated[Array, SumOver("n")]


def likelihood_terms(
    factors: Factors, q: int, theta: Array, cohorts: Cohorts, columns: Columns, *, reml: bool
) -> LikelihoodTerms:
    """One cohort's sums at `theta` of shape (points, parameters): the rows of L, then a random cohort effect's SD.

    The last column of the factors is the cohort's own intercept. It is swept out here: wholly ("stratified", a fixed
    effect that stays in the cohort), in part ("random") or not at all ("common").
    """
    if theta.shape[0] > MOST_POINTS or np.any(np.abs(theta) > LARGEST):
        raise Refused("The variances asked about are not those of a fit.", rule="broadcast")
    inner = q * (q + 1) // 2
    swept, weights = [], []
    for point in theta:
        cholesky = np.zeros((q, q))
        cholesky[np.tril_indices(q)] = point[:inner]
        swept.append(_sweep(theta_terms(factors, cholesky), cohorts, point[inner:], reml=reml))
        weights.append(cluster_weights(factors, cholesky))
    return LikelihoodTerms(
        n=factors.rows,
        clusters=factors.clusters if q else 0,
        products=np.array([t.products for t in swept]),
        slopes=np.array([t.slopes for t in swept]) * stretch(theta),
        logdet=np.array([t.logdet for t in swept]),
        logdet_slopes=np.array([t.logdet_slopes for t in swept]),
        # A cluster is a person with all its rows, a family or a clinic.
        evidence=Evidence(
            weights=Shares.joined(
                *(Shares.of(np.repeat(w / factors.sizes, factors.sizes.astype(int))) for w in weights)
            ),
            magnitudes=Shares.joined(*map(Shares.of, weights)),
            columns=columns,
        ),
    )


def stretch(theta: Array) -> Array:
    """The largest element of each point as a power of two, at least 1, shape (points, 1, 1, 1)."""
    largest = np.max(np.abs(theta), axis=1, initial=1.0)
    return np.asarray(np.exp2(np.ceil(np.log2(largest))))[:, None, None, None]


def _sweep(t: ThetaTerms, cohorts: Cohorts, tau: Array, *, reml: bool) -> ThetaTerms:
    """The terms without their last column. `tau`, for a random cohort effect, is its one parameter."""
    a, v = t.products[-1, -1], t.products[:-1, -1]
    inner, inner_slopes = t.products[:-1, :-1], t.slopes[:, :-1, :-1]
    da, dv = t.slopes[:, -1, -1], t.slopes[:, :-1, -1]
    match cohorts:
        case "common":
            return ThetaTerms(inner, inner_slopes, t.logdet, t.logdet_slopes)
        case "stratified":
            share, shrunk = (1.0 / a if a > 0 else 0.0), 1.0
            logdet = math.log(a) if reml and a > 0 else 0.0
        case "random":
            shrunk = 1.0 + float(tau[0]) ** 2 * a
            share, logdet = float(tau[0]) ** 2 / shrunk, math.log(shrunk)
        case _:
            assert_never(cohorts)
    outer = np.outer(v, v)
    cross = dv[:, :, None] * v[None, None, :]
    # The derivative of tau^2 / (1 + tau^2 a) by a is minus its square, and so it is for 1 / a.
    slopes = inner_slopes - share * (cross + cross.transpose(0, 2, 1)) + share**2 * da[:, None, None] * outer
    logdet_slopes = t.logdet_slopes + (share * da if reml or cohorts == "random" else 0.0)
    if cohorts == "random":
        rate = 2.0 * float(tau[0]) / shrunk
        slopes = np.concatenate([slopes, -rate / shrunk * outer[None]])
        logdet_slopes = np.append(logdet_slopes, rate * a)
    return ThetaTerms(inner - share * outer, slopes, t.logdet + logdet, logdet_slopes)


@dataclass(frozen=True)
class Setting:
    """What the likelihood needs beside the sums: `df` is n, for REML less every fixed effect."""

    names: list[str]
    df: float
    reml: bool


@dataclass(frozen=True)
class Profile:
    """Minus twice the log-likelihood at one theta with the best coefficients and residual variance, and its gradient.

    `inverse` is (X'V^-1X)^-1, `slopes` its derivatives' middle parts d(X'V^-1X), `rss` the weighted residual sum of
    squares, `gradient_at` the parts of the gradient that rss multiplies and that it does not.
    """

    theta: Array
    deviance: float
    coefficients: Array
    inverse: Array
    slopes: Array
    rss: float
    df: float
    rss_slopes: Array
    other_slopes: Array

    @property
    def variance(self) -> float:
        """The residual variance."""
        return self.rss / self.df

    def gradient(self, variance: float | None = None) -> Array:
        """The gradient by theta; at a residual variance that is held fixed, or at the best one."""
        return self.other_slopes + self.rss_slopes / (self.variance if variance is None else variance)


def profiles(terms: LikelihoodTerms, theta: Array, setting: Setting) -> list[Profile]:
    """The likelihood at every point. Raises Collinear or CannotEstimate."""
    found = zip(terms.products, terms.slopes / stretch(theta), terms.logdet, terms.logdet_slopes, strict=True)
    return [_profile(at, ThetaTerms(*one), setting) for at, one in zip(theta, found, strict=True)]


def _profile(theta: Array, terms: ThetaTerms, setting: Setting) -> Profile:
    products, slopes = terms.products, terms.slopes
    a, b, c = products[:-1, :-1], products[:-1, -1], products[-1, -1]
    inverse, log_a = _inverse(0.5 * (a + a.T), setting.names)
    coefficients = inverse @ b
    # One step of refinement takes out what the inverse rounded.
    coefficients = coefficients + inverse @ (b - a @ coefficients)
    contrast = np.append(-coefficients, 1.0)
    rss = float(contrast @ products @ contrast)
    if rss <= 1e-14 * max(float(c), np.finfo(float).tiny):
        raise CannotEstimate(
            "The model explains the outcome exactly (or it is constant): there is no error to estimate."
        )
    other = terms.logdet_slopes
    deviance = float(terms.logdet) + setting.df * (1.0 + math.log(2.0 * math.pi * rss / setting.df))
    inner = slopes[:, :-1, :-1]
    if setting.reml:
        deviance += log_a
        other = other + np.einsum("vw,jvw->j", inverse, inner)
    rss_slopes = np.einsum("v,jvw,w->j", contrast, slopes, contrast)
    return Profile(theta, float(deviance), coefficients, inverse, inner, rss, setting.df, rss_slopes, other)


def _inverse(a: Array, names: list[str]) -> tuple[Array, float]:
    if not len(a):
        return a, 0.0
    diagonal = np.diag(a)
    constant = diagonal <= 1e-20 * float(np.max(diagonal))
    if np.any(constant):
        which = ", ".join(f"`{name}`" for name, out in zip(names, constant, strict=True) if out)
        raise CannotEstimate(f"{which} has the same value for everybody, so its effect cannot be estimated.")
    scale = np.sqrt(diagonal)
    correlation = a / np.outer(scale, scale)
    eigenvalues = np.linalg.eigvalsh(correlation)
    if eigenvalues[0] < COLLINEAR * eigenvalues[-1]:
        raise Collinear(describe_aliases(correlation, names))
    factor = linalg.cho_factor(correlation, lower=True)
    inverse = linalg.cho_solve(factor, np.eye(len(a))) / np.outer(scale, scale)
    return inverse, 2.0 * float(np.sum(np.log(np.diag(factor[0]))) + np.sum(np.log(scale)))
