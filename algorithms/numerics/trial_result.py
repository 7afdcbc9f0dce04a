"""A trial within cohorts as a result."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from algorithms.numerics.phrases import BASELINES, INTERCEPTS
from cohortium import report
from cohortium.exactness import Exactness, exactly, lacking
from cohortium.result import Estimate, Result

if TYPE_CHECKING:
    import altair

_MEASURES = {"gaussian": "mean difference", "binomial": "risk difference", "survival": "log hazard ratio"}


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")


class Stratum(_Part):
    """One design stratum over all cohorts."""

    eligible: int | None = Field(description="Eligible people; None if withheld.")
    to_select: int | None = Field(
        description="How many of them are to be selected, every cohort rounding its own share."
    )


class BaselineRow(_Part):
    """One baseline column by what became of people; None where too few are known."""

    means: dict[str, float | None] = Field(description="Means: not selected, selected; of these refused and accepted.")
    smd: float | None = Field(description="Standardised mean difference, selected less not selected.")
    smd_accepted: float | None = Field(description="The same, accepted less refused: who takes the offer up.")


class Compliance(_Part):
    """How assignment became acceptance, and the effect on those whom it moved."""

    rise: Estimate = Field(description="By how much being selected raises the share that has the intervention.")
    first_stage_f: float = Field(description="F of assignment in the regression of acceptance; below 10 is weak.")
    robust_f: float = Field(description="The same with robust standard errors.")
    cace: Estimate = Field(
        description="Effect of accepting on those who accept when selected (two-stage least squares)."
    )
    anderson_rubin: tuple[float, float] = Field(
        description="Interval that holds for weak instruments, too; unbounded where acceptance hardly differs."
    )
    coefficients: dict[str, Estimate] = Field(description="The second stage: all coefficients.")


class TrialResult(Result):
    """Eligibility and, once people were selected, baseline and effects."""

    strata: dict[str, Stratum] = Field(description="Eligible people per design stratum.")
    share: float = Field(description="Share to be selected per stratum.")
    commitments: dict[str, str] = Field(default={}, description="Commitment to the key of the selection, by holder.")
    verified: bool | None = Field(
        None, description="Whether in every cohort the selection is that by the revealed keys; None if not checked."
    )
    groups: dict[str, int | None] = Field(
        default={}, description="People not selected, refused, accepted; None: withheld."
    )
    refusal_share: float | None = Field(None, description="Share of those selected who did not accept.")
    baseline: dict[str, BaselineRow] = Field(default={}, description="Baseline by group, refusers included.")
    formula: str | None = Field(None, description="The model of the outcome, with assignment and design strata.")
    family: str | None = Field(None, description="gaussian, binomial or survival.")
    n_outcome: int | None = Field(None, description="People in the model of the outcome.")
    n_events: int | None = Field(None, description="Events, for Surv().")
    clusters: int | None = Field(None, description="Clusters, with cluster().")
    outcome_means: tuple[float, float] | None = Field(
        None, description="Crude means of those not selected and selected."
    )
    itt: Estimate | None = Field(None, description="Intention to treat: the effect of being selected.")
    coefficients: dict[str, Estimate] = Field(default={}, description="All coefficients of the model of the outcome.")
    std_errors: str | None = Field(None, description="Kind of standard errors.")
    compliance: Compliance | None = Field(None, description="Complier average causal effect, if `accepted` was given.")
    confidence: float = Field(description="Level of the confidence intervals.")
    iterations: int | None = Field(None, description="Newton steps, for Surv().")
    missing: dict[str, int | None] = Field(default={}, description="People without a value, by variable.")

    @property
    def measure(self) -> str:
        """What the effect is called."""
        return _MEASURES.get(self.family or "", "effect")

    def in_words(self) -> str:
        """Design, selection, model and standard errors."""
        design = (
            f"In a trial within cohorts {100 * self.share:g}% of the eligible people were to be selected at random "
            f"within cohorts and {len(self.strata)} design strata, by a key of {len(self.commitments)} committed parts"
        )
        checked = {None: "", True: "; every cohort confirmed its selection", False: "; THE SELECTION DOES NOT FOLLOW"}
        if self.itt is None:
            return f"{design}{checked[self.verified]}."
        effect = self.cohort_effect or "stratified"
        how = BASELINES["stratified"] if self.family == "survival" else INTERCEPTS[effect]
        cace = (
            " The complier average causal effect was estimated by two-stage least squares, with an interval by "
            "Anderson & Rubin."
            if self.compliance
            else ""
        )
        return (
            f"{design}{checked[self.verified]}. {self.formula} was fitted by intention to treat ({self.measure}), {how}"
            f"; standard errors are robust ({self.std_errors}).{cace}"
        )

    def statement(self) -> Exactness:
        """Equal to the pooled analysis."""
        stratified = self.cohort_effect == "stratified" and self.family in {"gaussian", "binomial"}
        added = ", an indicator of every cohort added" if stratified else ""
        added = ", with the cohort as a stratum" if self.family == "survival" else added
        return exactly(
            f"equals the same analysis of the pooled records{added}",
            iterations=self.iterations,
            excluded=lacking(self.missing),
        )

    def tables(self) -> list[report.Table]:
        """Effects, if there are any; who was eligible and selected; baseline."""
        level = f"{100 * self.confidence:g}% CI"
        columns = ("effect", "estimate", "std. error", "p", f"{level} low", f"{level} high")
        rows = tuple(
            (name, e.estimate, e.std_error, e.p_value, e.ci_low, e.ci_high) for name, e in self.effects.items()
        )
        tables = [report.Table("Effects", columns, rows)] if rows else []
        if self.compliance is not None:
            low, high = self.compliance.anderson_rubin
            shown = (self.compliance.first_stage_f, self.compliance.robust_f, _bound(low), _bound(high))
            names = ("F", "robust F", f"Anderson-Rubin {level} low", f"Anderson-Rubin {level} high")
            tables.append(report.Table("First stage", names, (shown,)))
        strata = tuple((name, s.eligible, s.to_select) for name, s in self.strata.items())
        tables.append(report.Table("Eligible people", ("stratum", "eligible", "to be selected"), strata))
        if self.groups:
            groups = (*self.groups.items(), ("share of refusals", self.refusal_share))
            tables.append(report.Table("Selection", ("", "people"), groups))
        if self.baseline:
            tables.append(self._baseline())
        if self.coefficients:
            every = tuple((n, e.estimate, e.std_error, e.statistic, e.p_value) for n, e in self.coefficients.items())
            tables.append(report.Table("Model", ("term", "estimate", "std. error", "z", "p"), every))
        return tables

    @property
    def effects(self) -> dict[str, Estimate]:
        """The effects by name."""
        found = {} if self.itt is None else {f"ITT, {self.measure}": self.itt}
        return found if self.compliance is None else {**found, f"CACE, {self.measure}": self.compliance.cace}

    def _baseline(self) -> report.Table:
        names = list(next(iter(self.baseline.values())).means)
        columns = ("column", *names, "SMD selected", "SMD accepted")
        rows = tuple((c, *(r.means[n] for n in names), r.smd, r.smd_accepted) for c, r in self.baseline.items())
        return report.Table("Baseline", columns, rows)

    def chart(self) -> altair.TopLevelMixin | None:
        """Effects as a forest plot; baseline differences of the selected, and of those who accept, as a love plot."""
        from algorithms.numerics import balance_charts, charts  # noqa: PLC0415 - drawing alone needs altair

        parts: list[Any] = []
        if self.effects:
            parts.append(charts.forest(self.effects, "hazard ratio" if self.family == "survival" else None))
        if self.baseline:
            pairs = {c: (_number(r.smd), _number(r.smd_accepted)) for c, r in self.baseline.items()}
            parts.append(balance_charts.love(pairs, ("selected", "accepted")))
        if not parts:
            rows = [{"name": name, "people": s.eligible or 0} for name, s in self.strata.items()]
            parts.append(charts.bars(rows, value="people", title="eligible people"))
        return balance_charts.stacked(parts)


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _bound(value: float) -> float | str:
    return value if math.isfinite(value) else "none"
