"""The result of a linear mixed model, on the scale of the data."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from scipy import special

from algorithms.numerics.design import INTERCEPT, Design
from algorithms.numerics.mixed_fit import MixedFit, satterthwaite
from algorithms.numerics.mixed_likelihood import Cohorts, Profile
from algorithms.numerics.preparation import Plan
from algorithms.numerics.random_part import MixedPreparation, RandomPart, unstandardised
from algorithms.numerics.standardised import back_transform
from cohortium import report
from cohortium.quantities import Array
from cohortium.result import Estimate, Result, wald

if TYPE_CHECKING:
    import altair

COHORT = "cohort"
# A standard deviation below this share of what the data can just tell from 0 is 0.
SINGULAR = 1e-3


class VarianceComponent(BaseModel):
    """How much one random effect varies, and its correlations with the random effects before it."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    group: str = Field(description="What has the effect: the grouping variable, `cohort`, or `residual`.")
    term: str = Field(description="The column whose effect varies.")
    variance: float = Field(description="Variance of the effects.")
    std_dev: float = Field(description="Standard deviation of the effects.")
    correlations: tuple[float | None, ...] = Field(
        (), description="With the earlier terms of the group; None where a variance is 0."
    )


class VarianceTest(BaseModel):
    """Whether a random term is needed: likelihood ratio against the model without it."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    term: str = Field(description="The term that was taken out.")
    statistic: float = Field(description="Twice the difference in log-likelihood.")
    distribution: str = Field(description="What the statistic follows if the term is not needed.")
    p_value: float = Field(description="Probability of so large a statistic if the term is not needed.")


class MixedResult(Result):
    """A fitted linear mixed model."""

    formula: str = Field(description="The formula as it was asked.")
    method: Literal["REML", "ML"] = Field(description="Restricted or full maximum likelihood.")
    coefficients: dict[str, Estimate] = Field(description="Fixed effects by term, tested by t with `df`.")
    df: dict[str, float] = Field(description="Satterthwaite's degrees of freedom by term.")
    covariance: tuple[tuple[float, ...], ...] = Field(description="Covariance matrix, in the order of `coefficients`.")
    confidence: float = Field(description="Level of the confidence intervals.")
    group: str | None = Field(None, description="The variable whose values are the clusters.")
    clusters: int | None = Field(None, description="Clusters that the analysis used, each within one cohort.")
    variance_components: tuple[VarianceComponent, ...] = Field(description="Random effects, and the residual.")
    icc: dict[str, float] = Field(
        default={},
        description="Correlation between two rows of the same group (given equal covariates), where only intercepts "
        "are random; rows of a cluster share its cohort too.",
    )
    variance_tests: tuple[VarianceTest, ...] = Field(description="Likelihood-ratio tests, the simplest model first.")
    singular: bool = Field(description="Whether a variance is 0 or a correlation 1: more than the data can tell.")
    missing: dict[str, int | None] = Field(default={}, description="Rows without a value, by variable.")
    parameters: int = Field(description="Estimated parameters: fixed effects, cohort intercepts, (co)variances.")
    deviance: float = Field(description="Minus twice the log-likelihood; under REML the REML criterion.")
    log_likelihood: float = Field(description="Log-likelihood (under REML the restricted one) with all its constants.")
    aic: float = Field(description="Akaike's criterion; under REML only for models with the same covariates.")
    bic: float = Field(description="Schwarz's criterion, counting rows.")
    iterations: int = Field(description="Newton steps towards the variances of the whole model.")
    decrement: float = Field(description="Decrease in deviance that the last step promised.")
    dropped: tuple[str, ...] = Field((), description="Columns left out because nobody has that level.")

    def tables(self) -> list[report.Table]:
        """The fixed effects, the variances, their tests, and the rows without a value."""
        level = f"{100 * self.confidence:g}% CI"
        columns = ("term", "estimate", "std. error", "df", "t", "p", f"{level} low", f"{level} high")
        rows = tuple(
            (n, e.estimate, e.std_error, self.df[n], e.statistic, e.p_value, e.ci_low, e.ci_high)
            for n, e in self.coefficients.items()
        )
        tables = [report.Table("Fixed effects", columns, rows), self._variances()]
        tests = tuple((t.term, t.statistic, t.distribution, t.p_value) for t in self.variance_tests)
        tables.append(report.Table("Random terms", ("without", "chi-square", "distribution", "p"), tests))
        if self.icc:
            tables.append(report.Table("Intraclass correlation", ("same", "ICC"), tuple(self.icc.items())))
        if any(count is None or count > 0 for count in self.missing.values()):
            tables.append(report.Table("Missing values", ("variable", "missing"), tuple(self.missing.items())))
        return tables

    def _variances(self) -> report.Table:
        width = max(len(c.correlations) for c in self.variance_components)
        headings = ["correlation", *("" for _ in range(width - 1))][:width]
        rows: list[tuple[report.Cell, ...]] = [
            (
                c.group,
                c.term,
                c.variance,
                c.std_dev,
                *(math.nan if r is None else r for r in c.correlations),
                *[""] * (width - len(c.correlations)),
            )
            for c in self.variance_components
        ]
        return report.Table("Variances", ("group", "term", "variance", "std. dev.", *headings), tuple(rows))

    def chart(self) -> altair.TopLevelMixin | None:
        """A forest plot of the fixed effects."""
        from algorithms.numerics import charts  # noqa: PLC0415 - drawing is the one thing that needs altair

        shown = {name: e for name, e in self.coefficients.items() if name != INTERCEPT} or self.coefficients
        return charts.forest(shown, None) if shown else None


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
