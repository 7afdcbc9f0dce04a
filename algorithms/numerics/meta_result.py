"""What a meta-analysis returns."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from cohortium import report
from cohortium.exactness import Exactness, exactly, lacking
from cohortium.result import Estimate, Result

if TYPE_CHECKING:
    import altair

FIXED = "common effect"


class Heterogeneity(BaseModel):
    """How much the cohorts' true effects differ."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    tau2: float = Field(description="Variance of the true effects between cohorts.")
    tau2_se: float | None = Field(description="Its standard error (expected information of REML).")
    tau2_low: float | None = Field(description="Lower confidence limit (Q-profile).")
    tau2_high: float | None = Field(description="Upper confidence limit (Q-profile).")
    i2: float = Field(description="Percentage of the variation between estimates that is not chance.")
    i2_low: float | None = Field(description="Lower confidence limit.")
    i2_high: float | None = Field(description="Upper confidence limit.")
    h2: float = Field(description="Total over chance variation.")
    q: float = Field(description="Cochran's Q.")
    q_df: int = Field(description="Its degrees of freedom.")
    q_p_value: float = Field(description="Its p-value: do the cohorts share one effect?")


class PredictionInterval(BaseModel):
    """Where the true effect of another cohort may lie."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    low: float = Field(description="Lower limit.")
    high: float = Field(description="Upper limit.")


class CohortEffect(BaseModel):
    """One cohort, where it may be shown."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    n: int = Field(description="People in the estimate.")
    estimate: float | None = Field(None, description="The cohort's own estimate; None if it has none.")
    std_error: float | None = Field(None, description="Its standard error.")
    ci_low: float | None = Field(None, description="Lower confidence limit (normal).")
    ci_high: float | None = Field(None, description="Upper confidence limit.")
    weight: float | None = Field(None, description="Share in the random-effects mean.")
    left_out: str | None = Field(None, description="Why it has no estimate.")


class LeaveOneOut(BaseModel):
    """The random-effects mean without one cohort."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    effect: Estimate = Field(description="The pooled effect of the others.")
    tau2: float = Field(description="The variance between the others.")


class MetaAnalysisResult(Result):
    """A two-stage meta-analysis over cohorts."""

    formula: str = Field(description="The formula that every cohort fitted.")
    effect: str = Field(description="Kind of effect.")
    term: str = Field(description="Which coefficient or contrast.")
    fit: str | None = Field(None, description="The analysis that every cohort did by itself.")
    family: str | None = Field(None, description="Distribution of the outcome in the cohorts' fits.")
    contributing: int = Field(description="Cohorts with an estimate.")
    left_out: dict[str, int] = Field(default={}, description="Cohorts without one, by reason.")
    method: str = Field(description="How the random-effects mean in `pooled` was made.")
    pooled: Estimate = Field(description="The random-effects mean with the test that was asked for.")
    ratio: str | None = Field(None, description="What exp(estimate) is, if anything.")
    models: dict[str, Estimate] = Field(description="The pooled effect by method.")
    heterogeneity: Heterogeneity | None = Field(None, description="How much the cohorts differ (two or more).")
    prediction_method: str = Field(description="How the prediction interval was made.")
    prediction: PredictionInterval | None = Field(None, description="Prediction interval (three or more cohorts).")
    predictions: dict[str, PredictionInterval] = Field(default={}, description="By every method.")
    table: tuple[tuple[int, int], tuple[int, int]] | None = Field(
        None, description="Two-by-two effects: first and second group, without and with event, of all cohorts."
    )
    cohort_effects: dict[str, CohortEffect] = Field(default={}, description="By cohort, where that may be shown.")
    leave_one_out: dict[str, LeaveOneOut] = Field(default={}, description="Without each cohort, likewise.")
    confidence: float = Field(description="Level of the intervals.")
    missing: dict[str, int | None] = Field(default={}, description="People without a value, by variable.")

    def in_words(self) -> str:
        """What every cohort estimated, and how the estimates were pooled."""
        family = f", {self.family}" if self.family else ""
        fit = f"fitted {self.formula} ({self.fit}{family})" if self.fit else f"compared {self.formula}"
        return (
            f"Every cohort {fit} on its own people; its effect ({self.effect.replace('_', ' ')}: {self.term}) was "
            f"pooled by two-stage meta-analysis ({self.method}), {self.contributing} cohorts contributing. "
            "Heterogeneity is given as Cochran's Q, I2 (Higgins & Thompson 2002, Stat Med 21:1539) and tau2 with its "
            f"Q-profile interval; the prediction interval is by the method {self.prediction_method}."
        )

    def statement(self) -> Exactness:
        """Equal to the meta-analysis of the cohorts' estimates laid side by side."""
        return exactly("equals the meta-analysis of the cohorts' own estimates", excluded=lacking(self.missing))

    def tables(self) -> list[report.Table]:
        """Pooled effects, as ratios too where they have a name; heterogeneity; cohorts where they may be shown."""
        found = self._effects("Pooled effect", self.models)
        if self.heterogeneity:
            found.append(self._differences(self.heterogeneity))
        if self.predictions:
            intervals = tuple(_row(name, map(self._shown, (p.low, p.high))) for name, p in self.predictions.items())
            title = f"Prediction interval ({self.ratio})" if self.ratio else "Prediction interval"
            found.append(report.Table(title, ("method", "low", "high"), intervals))
        if self.cohort_effects:
            columns = ("cohort", "n", "estimate", "std. error", "low", "high", "weight", "left out")
            each = [(name, *(_cell(v) for v in e.model_dump().values())) for name, e in self.cohort_effects.items()]
            found.append(report.Table("Cohorts", columns, tuple(each)))
        if self.leave_one_out:
            found += self._effects("Without one cohort", {k: v.effect for k, v in self.leave_one_out.items()})
        if self.table:
            cells = zip(("first group", "second group"), self.table, strict=True)
            found.append(
                report.Table("People", ("", "no event", "event"), tuple(_row(name, row) for name, row in cells))
            )
        return found

    def _effects(self, title: str, effects: dict[str, Estimate]) -> list[report.Table]:
        level = f"{100 * self.confidence:g}% CI"
        columns = ("", "estimate", "std. error", "statistic", "p", f"{level} low", f"{level} high")
        rows = tuple(_row(name, e.model_dump().values()) for name, e in effects.items())
        found = [report.Table(title, columns, rows)]
        if self.ratio:
            shown = tuple(
                (name, _exp(e.estimate), _exp(e.ci_low), _exp(e.ci_high), e.p_value) for name, e in effects.items()
            )
            found.append(report.Table(title, ("", self.ratio, f"{level} low", f"{level} high", "p"), shown))
        return found

    def _differences(self, found: Heterogeneity) -> report.Table:
        level = f"{100 * self.confidence:g}% CI"
        rows: tuple[tuple[report.Cell, ...], ...] = (
            ("tau²", found.tau2, _cell(found.tau2_low), _cell(found.tau2_high)),
            ("I² (%)", found.i2, _cell(found.i2_low), _cell(found.i2_high)),
            (f"Q ({found.q_df} df, p = {found.q_p_value:.2g})", found.q, "", ""),
        )
        return report.Table("Heterogeneity", ("", "estimate", f"{level} low", f"{level} high"), rows)

    def _shown(self, value: float) -> float:
        return _exp(value) if self.ratio else value

    def chart(self) -> altair.TopLevelMixin | None:
        """A forest plot: cohorts where they may be shown, and the pooled effects."""
        from algorithms.numerics import comparison_charts  # noqa: PLC0415 - drawing alone needs altair

        rows = [
            (name, (e.estimate, e.ci_low, e.ci_high), e.weight, False)
            for name, e in self.cohort_effects.items()
            if e.estimate is not None and e.ci_low is not None and e.ci_high is not None
        ]
        random = {f"random effects ({self.method})": self.pooled} if len(self.models) > 1 else {}
        for name, e in {FIXED: self.models[FIXED], **random}.items():
            rows.append((name, (e.estimate, e.ci_low, e.ci_high), 1.0, True))
        if self.prediction:
            rows.append(("prediction", (self.pooled.estimate, self.prediction.low, self.prediction.high), 0.2, True))
        shown: list[dict[str, Any]] = [
            {"name": name, "weight": weight, "pooled": pooled}
            | dict(zip(("estimate", "low", "high"), map(self._shown, numbers), strict=True))
            for name, numbers, weight, pooled in rows
            if all(math.isfinite(self._shown(x)) for x in numbers)
        ]
        title, null = self.ratio or self.term, self._shown(0.0)
        return comparison_charts.pooled_forest(shown, title=title, null=null, ratio=self.ratio is not None)


def _row(name: str, numbers: Iterable[float]) -> tuple[report.Cell, ...]:
    return (name, *numbers)


def _exp(value: float) -> float:
    return math.exp(value) if value < 709.0 else math.inf


def _cell(value: float | str | None) -> float | str:
    return "" if value is None else value
