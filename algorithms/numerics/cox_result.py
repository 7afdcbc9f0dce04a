"""A fitted Cox model as a result."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from algorithms.numerics.by_cohort import ByCohort, one_step, with_forests
from algorithms.numerics.by_cohort import tables as cohort_tables
from algorithms.numerics.chi_squared import ChiSquared
from algorithms.numerics.phrases import BASELINES
from cohortium import report
from cohortium.exactness import Exactness, exactly, lacking
from cohortium.result import Estimate, Result

if TYPE_CHECKING:
    import altair


class Concordance(BaseModel):
    """Harrell's C within cohorts (and strata): pairs of people of different cohorts are not compared."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    concordance: float = Field(description="Concordant pairs, and half of those tied on the score, as a share.")
    std_error: float = Field(description="Its standard error (infinitesimal jackknife).")
    concordant: float = Field(description="Pairs in which the one with the higher score has the event first.")
    discordant: float = Field(description="Pairs in which the one with the lower score has the event first.")
    tied_score: float = Field(description="Pairs with the same score.")
    tied_time: float = Field(description="Pairs with the event at the same time and different scores.")
    tied_both: float = Field(description="Pairs with the event at the same time and the same score.")


class Baseline(BaseModel):
    """The baseline hazard of one stratum, at the times where somebody has the event."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    time: tuple[float, ...] = Field(description="Times, in the time variable's unit.")
    cumulative_hazard: tuple[float, ...] = Field(description="Cumulative hazard where every covariate is 0.")
    survival_at_mean: tuple[float, ...] = Field(description="Survival of somebody with the mean of every covariate.")


class CoxResult(Result):
    """A fitted Cox model."""

    formula: str = Field(description="The formula as it was asked.")
    ties: str = Field(description="How events at the same time were handled.")
    coefficients: dict[str, Estimate] = Field(description="Log hazard ratios by term.")
    covariance: tuple[tuple[float, ...], ...] = Field(description="Covariance matrix, in the order of `coefficients`.")
    confidence: float = Field(description="Level of the confidence intervals.")
    std_error_type: str = Field(description="model-based, robust (sandwich), or robust by cluster.")
    model_std_errors: dict[str, float] = Field(description="Model-based standard errors, whichever were used.")
    n_events: int = Field(description="Rows that end with the event.")
    clusters: int | None = Field(None, description="Different clusters, with cluster().")
    missing: dict[str, int | None] = Field(default={}, description="Rows without a value, by variable.")
    no_follow_up: int | None = Field(description="Rows left out because start and stop are the same time.")
    log_likelihood: float = Field(description="Log partial likelihood.")
    null_log_likelihood: float = Field(description="Log partial likelihood without covariates.")
    aic: float = Field(description="Akaike's criterion.")
    bic: float = Field(description="Schwarz's criterion, counting events.")
    tests: dict[str, ChiSquared] = Field(description="Of no effect at all: likelihood ratio, score and Wald test.")
    proportional_hazards: dict[str, ChiSquared] = Field(
        description="Grambsch-Therneau test per term and `GLOBAL`: a small p says that a hazard ratio changes in time."
    )
    time_transform: str = Field(description="Scale of time in that test.")
    concordance: Concordance = Field(description="How well the model ranks people.")
    baseline: dict[str, Baseline] | None = Field(None, description="Baseline hazards, with a common baseline.")
    interval: float | None = Field(None, description="Width of the grid of times, if there was one.")
    condition_number: float = Field(description="Of the standardised information; above 30 coefficients are shaky.")
    iterations: int = Field(description="Newton steps.")
    decrement: float = Field(description="Squared distance to the optimum in standard errors before the last step.")
    dropped: tuple[str, ...] = Field((), description="Columns left out because nobody has that level.")
    by_cohort: dict[str, ByCohort] = Field(default={}, description="Cohort by cohort, by term, where that was allowed.")

    def in_words(self) -> str:
        """Model, ties, baseline and standard errors."""
        grid = f"; times were rounded up to steps of {self.interval:g}" if self.interval else ""
        return (
            f"{self.formula} was fitted as a Cox proportional hazards model by maximum partial likelihood, ties by "
            f"{self.ties.capitalize()}'s method, {BASELINES[self.cohort_effect or 'common']}{grid}. Standard errors "
            f"are {self.std_error_type}; intervals are {100 * self.confidence:g}% Wald intervals of the log hazard "
            "ratio. Proportional hazards were tested by scaled Schoenfeld residuals (Grambsch & Therneau 1994, "
            f"Biometrika 81:515; time scale {self.time_transform})."
        )

    def statement(self) -> Exactness:
        """Equal to the pooled fit with cohorts as strata, or on the grid of times."""
        same = "equals coxph on the pooled records"
        own = f"{same} with the cohort as a stratum, on exact times"
        return exactly(
            own + one_step(self.by_cohort)
            if self.cohort_effect == "stratified"
            else f"{same}, their times rounded up to the grid",
            iterations=self.iterations,
            decrement=self.decrement,
            excluded=lacking(self.missing) | ({"no follow-up": self.no_follow_up} if self.no_follow_up != 0 else {}),
        )

    def tables(self) -> list[report.Table]:
        """Coefficients with hazard ratios; the tests of the model; the test of proportional hazards; concordance."""
        level = f"{100 * self.confidence:g}% CI"
        columns = ("term", "estimate", "std. error", "z", "p", "hazard ratio", f"{level} low", f"{level} high")
        rows = tuple(
            (name, e.estimate, e.std_error, e.statistic, e.p_value, _exp(e.estimate), _exp(e.ci_low), _exp(e.ci_high))
            for name, e in self.coefficients.items()
        )
        c = self.concordance
        tables = [
            report.Table("Coefficients", columns, rows),
            _tests("Tests of the model", self.tests),
            _tests(f"Proportional hazards, time scale {self.time_transform}", self.proportional_hazards),
            report.Table(
                "Concordance within cohorts",
                ("C", "std. error", "concordant", "discordant", "tied score", "tied time"),
                ((c.concordance, c.std_error, c.concordant, c.discordant, c.tied_score, c.tied_time),),
            ),
        ]
        tables += cohort_tables(self.by_cohort, self.confidence)
        if any(count is None or count > 0 for count in self.missing.values()):
            tables.append(report.Table("Missing values", ("variable", "missing"), tuple(self.missing.items())))
        return tables

    def chart(self) -> altair.TopLevelMixin | None:
        """A forest plot of the hazard ratios."""
        from algorithms.numerics import charts  # noqa: PLC0415 - drawing is the one thing that needs altair

        ratio = "hazard ratio"
        return with_forests(charts.forest(self.coefficients, ratio), self.by_cohort, self.coefficients, ratio)


def _tests(title: str, found: dict[str, ChiSquared]) -> report.Table:
    rows = tuple((name, test.statistic, test.df, test.p_value) for name, test in found.items())
    return report.Table(title, ("test" if "model" in title else "term", "chi-squared", "df", "p"), rows)


def _exp(value: float) -> float:
    return math.exp(value) if value < 709.0 else math.inf
