"""Incidence rates as a result: by group and period, as a whole and by age band."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from algorithms.numerics.rates import Rate, RateRatio, Standardised
from cohortium import report
from cohortium.exactness import POOLED, Exactness, exactly, lacking
from cohortium.result import Result

if TYPE_CHECKING:
    import altair


class Band(BaseModel):
    """One group's events and person-time at some ages."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    events: int = Field(description="Events.")
    person_years: float = Field(description="Person-years of follow-up.")
    rate: Rate | None = Field(description="Events per person-year, with exact limits; None without follow-up.")


class GroupRates(BaseModel):
    """One group, in one period if there are periods."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    events: int = Field(description="Events at the ages of the bands.")
    person_years: float = Field(description="Person-years there.")
    crude: Rate | None = Field(description="Crude rate with exact limits.")
    standardised: Rate | None = Field(description="Directly standardised rate with gamma limits (Fay-Feuer).")
    ratio: RateRatio | None = Field(description="Crude rate by the baseline's.")
    standardised_ratio: RateRatio | None = Field(description="Standardised rate by the baseline's.")
    smr: Standardised | None = Field(description="Observed by expected events (SIR or SMR).")
    bands: dict[str, Band] = Field(description="The age bands.")


class IncidenceRatesResult(Result):
    """Incidence rates by group and period; what a disclosure rule withholds is None."""

    formula: str = Field(description="The formula as it was asked.")
    standard: str | None = Field(description="Standard population.")
    standard_weights: dict[str, float] = Field(description="Its shares by band, of the bands that are used.")
    per: float = Field(description="Person-years that the tables show rates for.")
    confidence: float = Field(description="Level of the confidence limits.")
    rates: dict[str, GroupRates | None] = Field(description="The rates, by group and period; None: withheld.")
    outside: int | None = Field(description="Events at ages or in years that no cell covers.")
    missing: dict[str, int | None] = Field(description="People without a value, by variable.")
    no_follow_up: int | None = Field(description="People whose follow-up has no length.")

    def __getitem__(self, group: str) -> GroupRates:
        found = self.rates[group]
        if found is None:
            raise KeyError(f"{group} is withheld")
        return found

    def in_words(self) -> str:
        """Rates, their limits, and what they are standardised by."""
        level = f"{100 * self.confidence:g}%"
        direct = f" and, standardised directly to {self.standard}, gamma (Fay-Feuer) limits" if self.standard else ""
        indirect = " Observed were compared with expected events, with exact limits." if self._smrs() else ""
        return (
            f"Events and person-years ({self.formula}) were counted by attained age, group and period over all cohorts "
            f"together; rates have {level} exact Poisson limits{direct}. Ratios of rates have limits on the log "
            f"scale.{indirect}"
        )

    def statement(self) -> Exactness:
        """Equal to the pooled rates in the age bands that are shown."""
        none = {} if self.no_follow_up == 0 else {"no follow-up": self.no_follow_up}
        return exactly(f"{POOLED}, in the age bands that are shown", excluded=lacking(self.missing) | none)

    def tables(self) -> list[report.Table]:
        """Groups; ratios; SIR or SMR; bands."""
        level = f"{100 * self.confidence:g}% CI"
        limits = (f"{level} low", f"{level} high")
        shown = {name: found for name, found in self.rates.items() if found is not None}
        found = [self._groups(limits), *_ratios(shown, limits)]
        if smr := tuple((name, s.observed, s.expected, s.ratio, s.ci_low, s.ci_high) for name, s in self._smrs()):
            columns = ("group", "observed", "expected", "SIR or SMR", *limits)
            found.append(report.Table("Standardised incidence or mortality ratio", columns, smr))
        headings = ("group", "age", "events", "person-years", "rate", *limits)
        rows = tuple(
            (name, age, band.events, band.person_years, *self._shown(band.rate))
            for name, g in shown.items()
            for age, band in g.bands.items()
            if band.person_years > 0 or band.events
        )
        return [*found, report.Table(f"Age bands, per {self.per:g} person-years", headings, rows)]

    def chart(self) -> altair.TopLevelMixin | None:
        """The standardised rates with their limits, or the crude ones where there are none."""
        shown = {name: g for name, g in self.rates.items() if g is not None}
        standardised = any(g.standardised for g in shown.values())
        rates = {name: g.standardised if standardised else g.crude for name, g in shown.items()}
        rows = [
            {"group": name, "mean": r.rate * self.per, "low": r.ci_low * self.per, "high": r.ci_high * self.per}
            for name, r in rates.items()
            if r is not None
        ]
        if not rows:
            return None
        from algorithms.numerics import comparison_charts  # noqa: PLC0415 - altair, only to draw

        what = f"standardised rate ({self.standard})" if standardised else "crude rate"
        return comparison_charts.means(rows, title=f"{what} per {self.per:g} person-years")

    def _smrs(self) -> list[tuple[str, Standardised]]:
        return [(name, g.smr) for name, g in self.rates.items() if g is not None and g.smr is not None]

    def _groups(self, limits: tuple[str, str]) -> report.Table:
        named = ("group", "events", "person-years", "crude rate", *limits)
        columns = (*named, *((f"standardised {name}" for name in ("rate", "low", "high")) if self.standard else ()))
        rows = tuple(
            (name, *((None,) * (len(columns) - 1) if g is None else self._row(g))) for name, g in self.rates.items()
        )
        return report.Table(f"Rates per {self.per:g} person-years", columns, rows)

    def _row(self, group: GroupRates) -> tuple[report.Cell, ...]:
        standardised = self._shown(group.standardised) if self.standard else ()
        return (group.events, group.person_years, *self._shown(group.crude), *standardised)

    def _shown(self, rate: Rate | None) -> tuple[report.Cell, ...]:
        if rate is None:
            return ("", "", "")
        return (rate.rate * self.per, rate.ci_low * self.per, rate.ci_high * self.per)


def _ratios(shown: dict[str, GroupRates], limits: tuple[str, str]) -> list[report.Table]:
    pairs = [
        (name, kind, ratio)
        for name, g in shown.items()
        for kind, ratio in (("crude", g.ratio), ("standardised", g.standardised_ratio))
        if ratio is not None
    ]
    rows = tuple((name, kind, r.baseline, r.ratio, r.ci_low, r.ci_high, r.p_value) for name, kind, r in pairs)
    columns = ("group", "rates", "compared to", "rate ratio", *limits, "p")
    return [report.Table("Rate ratios", columns, rows)] if rows else []
