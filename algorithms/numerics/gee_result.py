"""The result of generalised estimating equations, on the scale of the data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from algorithms.numerics.design import INTERCEPT
from algorithms.numerics.phrases import intercepts, interval
from algorithms.numerics.preparation import Plan, Preparation
from algorithms.numerics.ratios import ratio_table
from algorithms.numerics.regression import RegressionParams
from algorithms.numerics.standardised import back_transform
from algorithms.numerics.working_correlation import Correlation
from cohortium import report
from cohortium.exactness import POOLED, Exactness, exactly, lacking
from cohortium.quantities import Array
from cohortium.result import Estimate, Result, wald

if TYPE_CHECKING:
    import altair

StdErrors = Literal["robust", "bias-corrected", "model"]

# Below this many clusters the sandwich is known to be too narrow.
FEW_CLUSTERS = 40


class GeeResult(Result):
    """Fitted estimating equations."""

    formula: str = Field(description="The formula as it was asked.")
    family: str = Field(description="Distribution of the outcome.")
    link: str = Field(description="Link between the mean of the outcome and the covariates.")
    correlation: Correlation = Field(description="Working correlation of the rows of a cluster.")
    coefficients: dict[str, Estimate] = Field(description="Estimates by term, on the scale of the link.")
    std_errors: StdErrors = Field(description="Which standard errors the tests and intervals use.")
    robust_std_errors: dict[str, float] = Field(description="From the sandwich estimate, by term.")
    model_std_errors: dict[str, float] = Field(description="As if the working correlation were true, by term.")
    covariance: tuple[tuple[float, ...], ...] = Field(description="Covariance matrix, in the order of `coefficients`.")
    confidence: float = Field(description="Level of the confidence intervals.")
    ratio: str | None = Field(None, description="What exp(estimate) is: odds ratio, rate ratio, or nothing.")
    alpha: float | None = Field(description="Correlation of two rows of a cluster (ar1: of neighbours).")
    pairs: int | None = Field(description="Pairs of rows that the correlation comes from.")
    scale: float = Field(description="Pearson's chi-square over rows less parameters; 1 for pure counts and events.")
    group: str = Field(description="The variable whose values are the clusters.")
    clusters: int = Field(description="Clusters that the analysis used, each within one cohort.")
    events: int | None = Field(None, description="Rows with the event (binomial).")
    missing: dict[str, int | None] = Field(default={}, description="Rows without a value, by variable.")
    parameters: int = Field(description="Estimated parameters of the mean, cohort intercepts included.")
    iterations: int = Field(description="Steps with the working correlation.")
    decrement: float = Field(description="Squared distance to the solution, in model-based standard errors.")
    dropped: tuple[str, ...] = Field((), description="Columns left out because nobody has that level.")

    def in_words(self) -> str:
        """Model, working correlation, cohort effect and standard errors."""
        return (
            f"{self.formula} was fitted by generalised estimating equations ({self.family}, {self.link} link) with "
            f"{self.correlation} working correlation within {self.group}{intercepts(self.cohort_effect)}. Tests and "
            f"{interval(self.confidence)} go by {self.std_errors} standard errors."
        )

    def statement(self) -> Exactness:
        """Equal to the pooled fit."""
        return exactly(
            f"{POOLED}, if no cluster is in two cohorts",
            iterations=self.iterations,
            decrement=self.decrement,
            excluded=lacking(self.missing),
        )

    def tables(self) -> list[report.Table]:
        """The coefficients; exp(estimate) where that has a name; both standard errors; rows without a value."""
        level = f"{100 * self.confidence:g}% CI"
        columns = ("term", "estimate", "std. error", "z", "p", f"{level} low", f"{level} high")
        rows = tuple(
            (n, e.estimate, e.std_error, e.statistic, e.p_value, e.ci_low, e.ci_high)
            for n, e in self.coefficients.items()
        )
        tables = [report.Table(f"Coefficients ({self.std_errors} standard errors)", columns, rows)]
        if self.ratio and self.effects:
            tables.append(ratio_table(self.ratio, self.effects, self.confidence))
        other = [(n, self.robust_std_errors[n], self.model_std_errors[n]) for n in self.coefficients]
        tables.append(report.Table("Standard errors", ("term", "robust", "model-based"), tuple(other)))
        if any(count is None or count > 0 for count in self.missing.values()):
            tables.append(report.Table("Missing values", ("variable", "missing"), tuple(self.missing.items())))
        return tables

    @property
    def effects(self) -> dict[str, Estimate]:
        """The coefficients without the intercept, whose exponent is a baseline, not a ratio."""
        return {name: e for name, e in self.coefficients.items() if name != INTERCEPT}

    def chart(self) -> altair.TopLevelMixin | None:
        """A forest plot of the coefficients, as ratios where they have a name."""
        from algorithms.numerics import charts  # noqa: PLC0415 - drawing is the one thing that needs altair

        shown = self.effects or self.coefficients
        return charts.forest(shown, self.ratio) if shown else None


@dataclass(frozen=True)
class GeeFit:
    """The solution on the standardised scale; `inverse` is that of the information, `corrected` another `meat`."""

    coefficients: Array
    inverse: Array
    meat: Array
    alpha: float
    scale: float
    pairs: float
    iterations: int
    decrement: float
    corrected: Array | None = None


@dataclass(frozen=True)
class About:
    """What was asked of the clusters."""

    correlation: Correlation
    std_errors: StdErrors
    group: str
    clusters: float


def gee_result(fit: GeeFit, total: Preparation, planned: Plan, params: RegressionParams, about: About) -> GeeResult:
    """Back from the standardised scale to the one of the data."""
    names, family = [params.design.columns[k] for k in planned.kept], params.distribution
    transform = back_transform(planned, intercept=INTERCEPT in names)
    estimates = transform @ fit.coefficients
    if INTERCEPT in names:
        estimates[0] += planned.scaling.outcome_centre
    bread = transform @ fit.inverse
    # The stretch of a standardised outcome is in `transform`; the sums are on its standardised scale.
    unit = planned.scaling.outcome_unit
    model = bread @ transform.T * fit.scale
    robust = bread @ fit.meat @ bread.T
    chosen = {
        "robust": robust,
        "model": model,
        "bias-corrected": bread @ fit.corrected @ bread.T if fit.corrected is not None else robust,
    }[about.std_errors]
    return GeeResult(
        n=round(total.n),
        n_excluded=_whole(float(total.excluded)),
        cohort_effect=params.cohort_effect,
        formula=str(params.formula),
        family=family.name,
        link=family.link,
        correlation=about.correlation,
        coefficients=wald(names, estimates, chosen, params.confidence),
        std_errors=about.std_errors,
        robust_std_errors=_errors(names, robust),
        model_std_errors=_errors(names, model),
        covariance=tuple(tuple(map(float, row)) for row in chosen),
        confidence=params.confidence,
        ratio=family.ratio,
        alpha=fit.alpha if about.correlation != "independence" else None,
        pairs=round(fit.pairs) if about.correlation != "independence" else None,
        scale=fit.scale * unit**2,
        group=about.group,
        clusters=round(about.clusters),
        events=round(total.outcome) if family.name == "binomial" else None,
        missing={name: _whole(m) for name, m in zip(params.design.variables, total.missing, strict=True)},
        parameters=len(names) + (round(total.contributing) if params.profiled else 0),
        iterations=fit.iterations,
        decrement=fit.decrement,
        dropped=planned.dropped,
        warnings=tuple(_warnings(total, planned, params, about)),
    )


def _errors(names: list[str], covariance: Array) -> dict[str, float]:
    return dict(zip(names, map(float, np.sqrt(np.diag(covariance))), strict=True))


def _warnings(total: Preparation, planned: Plan, params: RegressionParams, about: About) -> list[str]:
    found = []
    if about.clusters < FEW_CLUSTERS and about.std_errors == "robust":
        found.append(
            f"Robust standard errors are too small with few clusters (here {about.clusters:g}). Ask for "
            "std_errors='bias-corrected'."
        )
    if planned.dropped:
        found.append(f"Nobody has the level of {', '.join(planned.dropped)}: left out.")
    if total.silent:
        found.append(
            f"In {total.silent:g} cohort{'' if total.silent == 1 else 's'} the outcome does not vary; beside an "
            "intercept of its own it tells nothing and is not counted."
        )
    withheld = [name for name, count in zip(params.design.variables, total.missing, strict=True) if np.isnan(count)]
    if withheld:
        found.append(f"How many rows lack {', '.join(withheld)} is withheld: a cohort's number is small.")
    return found


def _whole(count: float) -> int | None:
    return None if np.isnan(count) else round(count)
