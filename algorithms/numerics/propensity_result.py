"""A comparison of two treatments as a result: is it balanced, and what is the effect?"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from cohortium import report
from cohortium.exactness import Exactness, approximately, exactly, lacking
from cohortium.result import Estimate, Result

if TYPE_CHECKING:
    import altair


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")


class Arm(_Part):
    """The people with one treatment."""

    n: int = Field(description="People.")
    weight: float = Field(description="Sum of their weights.")
    effective: float = Field(description="Kish's effective number of people: (sum of weights)^2 / sum of squares.")
    crude: float | None = Field(None, description="Mean (or share) of the outcome, without weights.")


class Balance(_Part):
    """One column of the propensity model in both arms, before and after weighting."""

    mean: tuple[float, float] = Field(description="Means of untreated and treated.")
    weighted_mean: tuple[float, float] = Field(description="The same, weighted.")
    smd: float = Field(description="Standardised mean difference: treated less untreated, in standard deviations.")
    weighted_smd: float = Field(description="The same, weighted, in the same standard deviations.")
    variance_ratio: float | None = Field(
        description="Weighted variance of treated over untreated; None for indicators."
    )


class Effect(_Part):
    """What one estimator says."""

    means: tuple[float, float] = Field(description="Mean outcome if nobody, and if everybody, were treated.")
    covariance: tuple[tuple[float, float], tuple[float, float]] = Field(description="Their covariance matrix.")
    difference: Estimate = Field(description="Their difference: the average treatment effect.")
    log_risk_ratio: Estimate | None = Field(None, description="Logarithm of their ratio, for a binary outcome.")
    log_odds_ratio: Estimate | None = Field(None, description="Logarithm of the marginal odds ratio.")


class WeightedCurve(_Part):
    """Weighted survival of one arm, at each time of the grid where somebody leaves."""

    time: tuple[float, ...] = Field(description="Times, in the time variable's unit.")
    at_risk: tuple[int, ...] = Field(description="People at risk.")
    weight_at_risk: tuple[float, ...] = Field(description="Their weight.")
    survival: tuple[float, ...] = Field(description="Adjusted Kaplan-Meier estimate.")
    std_error: tuple[float, ...] = Field(description="Its standard error (Xie & Liu).")
    ci_low: tuple[float, ...] = Field(description="Lower confidence limit (log-log).")
    ci_high: tuple[float, ...] = Field(description="Upper confidence limit.")


class PropensityResult(Result):
    """Balance, and effects of the treatment."""

    formula: str = Field(description="Treatment and confounders, as asked.")
    outcome: str | None = Field(None, description="The outcome.")
    family: str | None = Field(None, description="How it was modelled.")
    estimand: str = Field(description="Whose average effect it is.")
    confidence: float = Field(description="Level of the confidence intervals.")
    arms: dict[str, Arm] = Field(description="Both arms: untreated, treated.")
    balance: dict[str, Balance] = Field(description="Confounders before and after weighting, by column.")
    propensity: dict[str, Estimate] = Field(description="Coefficients of the propensity model: log odds ratios.")
    scores: dict[str, tuple[int | None, ...]] = Field(
        description="People by score, in equal bins from 0 to 1, per arm; groups of few neighbours stay together."
    )
    limits: tuple[float, float] | None = Field(None, description="What weights were cut at.")
    effects: dict[str, Effect] = Field(default={}, description="ipw, g_computation and aipw, for a number or yes/no.")
    crude_difference: float | None = Field(None, description="Difference of the arms without any adjustment.")
    log_hazard_ratio: Estimate | None = Field(None, description="Weighted Cox model, baseline per cohort, robust SE.")
    n_events: int | None = Field(None, description="Events, for Surv().")
    curves: dict[str, WeightedCurve] = Field(default={}, description="Weighted survival per arm, with `interval`.")
    missing: dict[str, int | None] = Field(default={}, description="People without a value, by variable.")
    iterations: int = Field(description="Newton steps of the propensity model.")
    decrement: float = Field(description="Squared distance to its optimum in standard errors before the last step.")
    dropped: tuple[str, ...] = Field((), description="Columns left out because nobody has that level.")

    @property
    def largest_imbalance(self) -> float:
        """The largest standardised mean difference after weighting, whatever its sign."""
        return max((abs(b.weighted_smd) for b in self.balance.values()), default=0.0)

    def in_words(self) -> str:
        """Weights, models, estimators and standard errors."""
        own = ", with intercepts per cohort" if self.cohort_effect == "stratified" else ""
        cut = f", cut at {self.limits[0]:.4g} and {self.limits[1]:.4g}" if self.limits else ""
        weights = "overlap weights" if self.estimand == "overlap" else f"inverse probability weights ({self.estimand})"
        return (
            f"Propensity scores were estimated by logistic regression ({self.formula}){own}, and turned into {weights}"
            f"{cut}. Balance was judged by standardised mean differences before and after weighting."
            f"{self._effect_in_words()}"
        )

    def _effect_in_words(self) -> str:
        if self.log_hazard_ratio is not None:
            curves = (
                " Weighted survival curves have the variance of Xie & Liu (2005), Stat Med 24:3089."
                if self.curves
                else ""
            )
            return (
                f" The hazard ratio of {self.outcome} comes from a weighted Cox model with a baseline hazard per "
                f"cohort and a robust standard error that takes the weights as known.{curves}"
            )
        if not self.effects:
            return ""
        models = (
            f" Predictions come from a {self.family} model of {self.outcome} in either arm with the same confounders."
            if len(self.effects) > 1
            else ""
        )
        return (
            f" Effects on {self.outcome} were estimated by {', '.join(self.effects).replace('_', '-')}.{models} "
            f"Standard errors are stacked (sandwich) over all models, with {100 * self.confidence:g}% intervals."
        )

    def statement(self) -> Exactness:
        """Equal to the estimates from pooled records, unless weights are cut where only groups of them are known."""
        told: dict[str, Any] = {"iterations": self.iterations, "decrement": self.decrement}
        told["excluded"] = lacking(self.missing)
        if self.limits:
            why = "weights are cut at quantiles that are known up to groups of neighbours, because no weight is told"
            return approximately(why, **told)
        added = ", an indicator of every cohort added to every model" if self.cohort_effect == "stratified" else ""
        hazard = "; the hazards with the cohort as a stratum" if self.log_hazard_ratio is not None else ""
        return exactly(f"equals the same estimates from the pooled records{added}{hazard}", **told)

    def tables(self) -> list[report.Table]:
        """Effects first, if an outcome was given; balance; arms; scores; the propensity model."""
        shown = [*self._effects(), self._balance(), self._arms(), self._scores()]
        columns = ("term", "log odds ratio", "std. error", "z", "p", "odds ratio")
        rows = tuple(
            (name, e.estimate, e.std_error, e.statistic, e.p_value, _exp(e.estimate))
            for name, e in self.propensity.items()
        )
        return [*shown, report.Table("Propensity model", columns, rows)]

    def _effects(self) -> list[report.Table]:
        level = f"{100 * self.confidence:g}% CI"
        columns = (
            "estimator",
            "untreated",
            "treated",
            "difference",
            "std. error",
            "p",
            f"{level} low",
            f"{level} high",
        )
        rows = tuple(
            (name, *e.means, d.estimate, d.std_error, d.p_value, d.ci_low, d.ci_high)
            for name, e in self.effects.items()
            for d in [e.difference]
        )
        tables = [report.Table(f"Effect ({self.estimand})", columns, rows)] if rows else []
        found = [
            (f"{what}, {name}", _exp(e.estimate), e.p_value, _exp(e.ci_low), _exp(e.ci_high))
            for name, what, e in self._ratios()
        ]
        if found:
            tables.append(
                report.Table("Ratios", ("ratio", "estimate", "p", f"{level} low", f"{level} high"), tuple(found))
            )
        return tables

    def _ratios(self) -> list[tuple[str, str, Estimate]]:
        found = [("weighted Cox", "hazard ratio", self.log_hazard_ratio)]
        for name, effect in self.effects.items():
            found += [(name, "risk ratio", effect.log_risk_ratio), (name, "odds ratio", effect.log_odds_ratio)]
        return [(name, what, e) for name, what, e in found if e is not None]

    def _balance(self) -> report.Table:
        columns = ("column", "untreated", "treated", "SMD", "weighted untreated", "weighted treated", "weighted SMD")
        rows = tuple((name, *b.mean, b.smd, *b.weighted_mean, b.weighted_smd) for name, b in self.balance.items())
        return report.Table("Balance", columns, rows)

    def _arms(self) -> report.Table:
        columns = ("arm", "people", "weight", "effective people", "crude outcome")
        rows = tuple((name, a.n, a.weight, a.effective, a.crude) for name, a in self.arms.items())
        return report.Table("Arms", columns, rows)

    def _scores(self) -> report.Table:
        bins = len(next(iter(self.scores.values())))
        rows = tuple((f"{k / bins:g}-{(k + 1) / bins:g}", *(of[k] for of in self.scores.values())) for k in range(bins))
        return report.Table("Propensity scores", ("score", *self.scores), rows)

    def chart(self) -> altair.TopLevelMixin | None:
        """Balance (love plot), scores per arm, and effects: a forest plot, or curves."""
        from algorithms.numerics import balance_charts, charts  # noqa: PLC0415 - drawing alone needs altair

        balance = {name: (b.smd, b.weighted_smd) for name, b in self.balance.items()}
        parts: list[Any] = [balance_charts.love(balance), balance_charts.mirrored(self.scores)]
        if self.effects:
            parts.append(charts.forest({name: e.difference for name, e in self.effects.items()}, None))
        elif self.log_hazard_ratio is not None:
            parts.append(charts.forest({"weighted Cox": self.log_hazard_ratio}, "hazard ratio"))
        if self.curves:
            rows = [row for name, curve in self.curves.items() for row in _curve_rows(name, curve)]
            parts.append(charts.curves(rows, time="time", survival="weighted survival"))
        return balance_charts.stacked(parts)


def _curve_rows(name: str, curve: WeightedCurve) -> list[dict[str, Any]]:
    first: dict[str, Any] = {"group": name, "time": 0.0, "survival": 1.0, "low": 1.0, "high": 1.0}
    columns = zip(curve.time, curve.survival, curve.ci_low, curve.ci_high, strict=True)
    rows = [dict(zip(first, (name, *row), strict=True)) for row in columns]
    return [
        first,
        *({k: None if isinstance(v, float) and math.isnan(v) else v for k, v in row.items()} for row in rows),
    ]


def _exp(value: float) -> float:
    return math.exp(value) if value < 709.0 else math.inf
