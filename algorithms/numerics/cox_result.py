"""A fitted Cox model as a result."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from algorithms.numerics.by_cohort import ByCohort, one_step, with_forests
from algorithms.numerics.by_cohort import tables as cohort_tables
from algorithms.numerics.chi_squared import ChiSquared
from algorithms.numerics.phrases import BASELINES
from algorithms.numerics.proportional_hazards import TimeSlope
from cohortium import report
from cohortium.exactness import Exactness, exactly, lacking
from cohortium.result import Estimate, Result

if TYPE_CHECKING:
    import altair


class Concordance(BaseModel):
    """Harrell's C: how often, of two people of a stratum, the one with the higher score has the event first."""

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


class Interval(BaseModel):
    """An interval of follow-up, over all cohorts and strata: start < time <= end."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    start: float = Field(description="Where it starts, in the time variable's unit.")
    end: float = Field(description="Where it ends.")
    at_risk: int = Field(description="Rows that are at risk during it, or a part of it.")
    events: int = Field(description="Rows that end with the event in it.")
    leaving: int = Field(description="Rows that end in it, with the event or without.")


class CoxResult(Result):
    """A fitted Cox model."""

    formula: str = Field(description="The formula as it was asked.")
    ties: str = Field(description="How events at the same time were handled; a piecewise baseline has no ties.")
    baseline_form: str | None = Field(None, description="Form of the common baseline: grid, adaptive or piecewise.")
    coefficients: dict[str, Estimate] = Field(description="Log hazard ratios by term.")
    covariance: tuple[tuple[float, ...], ...] = Field(description="Covariance matrix, in the order of `coefficients`.")
    confidence: float = Field(description="Level of the confidence intervals.")
    std_error_type: str = Field(description="model-based, robust (sandwich), or robust by cluster.")
    model_std_errors: dict[str, float] = Field(description="Model-based standard errors, whichever were used.")
    n_events: int = Field(description="Rows that end with the event.")
    clusters: int | None = Field(None, description="Different clusters, with cluster().")
    missing: dict[str, int | None] = Field(default={}, description="Rows without a value, by variable.")
    no_follow_up: int | None = Field(description="Rows left out because they stop when they start, or before.")
    backwards: int | None = Field(0, description="Of these, rows that stop before they start.")
    log_likelihood: float = Field(description="Log partial likelihood; with a piecewise baseline that of the model.")
    null_log_likelihood: float = Field(description="Log partial likelihood without covariates.")
    aic: float = Field(description="Akaike's criterion.")
    bic: float = Field(description="Schwarz's criterion, counting events.")
    tests: dict[str, ChiSquared] = Field(description="Of no effect at all: likelihood ratio, score and Wald test.")
    proportional_hazards: dict[str, ChiSquared] = Field(
        description="Grambsch-Therneau test per term and `GLOBAL`: a small p says that a hazard ratio changes in time."
    )
    time_transform: str = Field(description="Scale of time in that test.")
    time_slopes: dict[str, TimeSlope] = Field(
        default={}, description="How each log hazard ratio changes along that scale, by coefficient."
    )
    concordance: Concordance = Field(description="How well the model ranks people of the same cohort.")
    pooled_concordance: Concordance | None = Field(
        None,
        description="The same over people of all cohorts, with a common baseline, from a table of 200 bins of score.",
    )
    baseline: dict[str, Baseline] | None = Field(None, description="Baseline hazards, with a common baseline.")
    intervals: tuple[Interval, ...] = Field((), description="The intervals that were chosen, if they were.")
    interval: float | None = Field(None, description="Width of the grid of times, if there was one.")
    condition_number: float = Field(description="Of the standardised information; above 30 coefficients are shaky.")
    iterations: int = Field(description="Newton steps.")
    decrement: float = Field(description="Squared distance to the optimum in standard errors before the last step.")
    dropped: tuple[str, ...] = Field((), description="Columns left out because nobody has that level.")
    by_cohort: dict[str, ByCohort] = Field(default={}, description="Cohort by cohort, by term, where that was allowed.")

    def in_words(self) -> str:
        """Model, ties, baseline and standard errors."""
        return (
            f"{self._fitted()}, {BASELINES[self.cohort_effect or 'common']}{self._grid()}. Standard errors "
            f"are {self.std_error_type}; intervals are {100 * self.confidence:g}% Wald intervals of the log hazard "
            "ratio. Proportional hazards were tested by scaled Schoenfeld residuals (Grambsch & Therneau 1994, "
            f"Biometrika 81:515; time scale {self.time_transform})."
        )

    def _fitted(self) -> str:
        if self.baseline_form == "piecewise":
            return (
                f"{self.formula} was fitted as a proportional hazards model whose baseline hazard is constant within "
                f"{len(self.intervals)} intervals (Holford 1980, Biometrics 36:299) by maximum likelihood"
            )
        return (
            f"{self.formula} was fitted as a Cox proportional hazards model by maximum partial likelihood, ties by "
            f"{self.ties.capitalize()}'s method"
        )

    def _grid(self) -> str:
        if self.baseline_form == "adaptive":
            return f"; times were rounded up to the ends of {len(self.intervals)} intervals"
        return f"; times were rounded up to steps of {self.interval:g}" if self.interval else ""

    def statement(self) -> Exactness:
        """Equal to the pooled fit with cohorts as strata, on the grid of times, or of split records."""
        same = "equals coxph on the pooled records"
        basis = {
            None: f"{same} with the cohort as a stratum, on exact times{one_step(self.by_cohort)}",
            "grid": f"{same}, their times rounded up to the grid",
            "adaptive": f"{same}, their times rounded up to the ends of the intervals",
            "piecewise": "equals the Poisson regression of the pooled records, split at the ends of the intervals",
        }[self.baseline_form]
        return exactly(
            basis,
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
        tables = [
            report.Table("Coefficients", columns, rows),
            _tests("Tests of the model", self.tests),
            _tests(f"Proportional hazards, time scale {self.time_transform}", self.proportional_hazards),
            _concordances(self),
        ]
        if self.intervals:
            about = tuple((i.start, i.end, i.at_risk, i.events, i.leaving) for i in self.intervals)
            tables.append(report.Table("Intervals", ("start", "end", "at risk", "events", "leaving"), about))
        tables += cohort_tables(self.by_cohort, self.confidence)
        if any(count is None or count > 0 for count in self.missing.values()):
            tables.append(report.Table("Missing values", ("variable", "missing"), tuple(self.missing.items())))
        return tables

    def chart(self) -> altair.TopLevelMixin | None:
        """A forest plot of the hazard ratios, and how each would change along the time scale of the test."""
        import altair  # noqa: PLC0415 - drawing is the one thing that needs altair

        from algorithms.numerics import charts, hazard_charts  # noqa: PLC0415

        forest = charts.forest(self.coefficients, "hazard ratio")
        over_time = hazard_charts.over_time(self)
        both = forest if over_time is None else altair.vconcat(forest, over_time)
        return with_forests(both, self.by_cohort, self.coefficients, "hazard ratio")


def _concordances(result: CoxResult) -> report.Table:
    found = {"within cohorts": result.concordance, "over all cohorts": result.pooled_concordance}
    return report.Table(
        "Concordance",
        ("pairs", "C", "std. error", "concordant", "discordant", "tied score", "tied time"),
        tuple(
            (name, c.concordance, c.std_error, c.concordant, c.discordant, c.tied_score, c.tied_time)
            for name, c in found.items()
            if c is not None
        ),
    )


def _tests(title: str, found: dict[str, ChiSquared]) -> report.Table:
    rows = tuple((name, test.statistic, test.df, test.p_value) for name, test in found.items())
    return report.Table(title, ("test" if "model" in title else "term", "chi-squared", "df", "p"), rows)


def _exp(value: float) -> float:
    return math.exp(value) if value < 709.0 else math.inf
