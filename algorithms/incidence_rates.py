"""Incidence rates: events per person-year by age, group and period, and their standardisation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from algorithms.numerics.age_bands import LexisTable, beginnings, labels, own_boundaries, too_small, unions
from algorithms.numerics.groups import whole
from algorithms.numerics.lexis import Counted, count
from algorithms.numerics.rates import (
    Rate,
    RateRatio,
    Standardised,
    crude,
    directly_standardised,
    indirectly_standardised,
)
from algorithms.numerics.rates import ratio as rate_ratio
from algorithms.numerics.rates_params import IncidenceRatesParams
from algorithms.numerics.rates_result import Band, GroupRates, IncidenceRatesResult
from cohortium.analysis import Rounds, analysis, ask
from cohortium.data import Data
from cohortium.errors import CannotEstimate, Refused
from cohortium.evidence import Evidence, Plain
from cohortium.quantities import Array, Count, Counts, Flag, FlagKind, SumOver, Sums, Table


class SmallCells(Sums):
    """Which boundaries between age bands (bands - 1,) and which slices (slices,) a cohort cannot show, as votes."""

    boundaries: Annotated[Array, FlagKind()]
    slices: Annotated[Array, FlagKind()]
    without_events: Flag


class LexisCells(Sums):
    """Follow-up by slice and union of age bands (slices, unions); a slice that a cohort cannot show is 0 there."""

    n: Count
    excluded: Table
    missing: Table
    no_follow_up: Table
    outside: Table
    people: Counts
    events: Counts
    person_years: Annotated[Array, SumOver("people")]


def small_cells(data: Data, params: IncidenceRatesParams) -> SmallCells:
    """What one cohort cannot show by its own smallest group."""
    counted = count(data, params)
    hidden, table = _shown(counted, data.least_group)
    return SmallCells(
        boundaries=(~own_boundaries(table, data.least_group)).astype(np.float64),
        slices=hidden.astype(np.float64),
        without_events=float(bool(counted.inside.sum()) and not counted.table.events.any()),
    )


def lexis_cells(data: Data, params: IncidenceRatesParams, *, boundaries: Array) -> LexisCells:
    """One cohort's cells, with the `boundaries` (bands - 1,) that are 1; those at 0 are left out."""
    counted = count(data, params)
    hidden, table = _shown(counted, data.least_group)
    allowed = own_boundaries(table, data.least_group)
    if boundaries.shape != allowed.shape or np.any((boundaries != 0) & ~(allowed & (boundaries == 1))):
        raise Refused("These age bands would show small cells of this cohort.", rule="broadcast")
    starts = beginnings(boundaries)
    groups = ~hidden.reshape(len(params.groups), -1).all(axis=1)
    missing = [np.count_nonzero(data.missing(name)) for name in params.variables]
    return LexisCells(
        n=counted.inside[groups].sum(),
        excluded=np.array(float(len(data) - counted.complete)),
        missing=np.array(missing, dtype=np.float64),
        no_follow_up=np.array(float(counted.no_follow_up)),
        outside=np.array(counted.outside),
        people=table.people(starts),
        events=unions(table.events, starts),
        person_years=unions(table.person_years, starts),
        evidence=Evidence(weights=Plain("time of follow-up; the boundaries that are broadcast are checked")),
    )


def _shown(counted: Counted, least: int) -> tuple[NDArray[np.bool_], LexisTable]:
    """The slices that are too small to be shown, and the table without them."""
    hidden = too_small(counted.table, least)
    return hidden, counted.table.without(hidden)


@analysis
def incidence_rates(params: IncidenceRatesParams) -> Rounds[IncidenceRatesResult]:
    """Incidence rates, standardisation, SIR and SMR.

    How often does the event happen per person-year, and does it happen more often in one group, or more often than
    reference rates lead one to expect? Follow-up is divided over attained age (bands), group and calendar period (a
    Lexis diagram); an event belongs to the band (a, b] in which it happens. Crude rates with exact Poisson limits,
    rates directly standardised to ESP2013, ESP1976, the WHO standard or weights of your own with gamma limits, ratios
    of rates, and observed by expected events with exact limits (reference rates count as known). People of all cohorts
    count as one population. Ages at which nobody was followed are left out and the standard's weights renormalised.
    Where a cohort's cells are small, neighbouring bands are taken together at all cohorts before anything is shown; a
    group that a cohort cannot show even so is withheld. Two rounds.
    Source: Fay & Feuer (1997), Stat Med 16:791; Breslow & Day (1987), Statistical Methods in Cancer Research II.
    """
    votes = yield from ask(small_cells)
    hidden = votes.slices > 0
    if hidden.all():
        raise CannotEstimate(
            "In every group some cohort has too few people or events to show, whatever the ages. Ask for fewer groups "
            "or periods, a more frequent event, or without small cohorts."
        )
    kept = (votes.boundaries == 0).astype(np.float64)
    total = yield from ask(lexis_cells, boundaries=kept)
    if not total.n:
        raise CannotEstimate("No cohort has anybody with follow-up at these ages and a value for every variable.")
    rates = _Rates.of(params, beginnings(kept), total, hidden)
    return IncidenceRatesResult(
        n=round(total.n),
        n_excluded=whole(float(total.excluded)),
        cohort_effect="common",
        formula=str(params.formula),
        standard=params.standard_name,
        standard_weights=rates.shares(),
        per=params.per,
        confidence=params.confidence,
        rates={name: None if hidden[i] else rates.group(i) for i, name in enumerate(params.slices)},
        outside=whole(float(total.outside)),
        missing={name: whole(c) for name, c in zip(params.variables, np.atleast_1d(total.missing), strict=True)},
        no_follow_up=whole(float(total.no_follow_up)),
        warnings=(*_cell_warnings(params, votes, kept), *rates.warnings(), *_input_warnings(total, votes)),
    )


@dataclass(frozen=True)
class _Rates:
    """Cells over all cohorts, and the bands that each kind of standardisation can use."""

    params: IncidenceRatesParams
    starts: NDArray[np.intp]
    bands: list[str]
    events: Array
    person_years: Array
    shown: NDArray[np.bool_]  # slices that have follow-up and are not withheld
    weights: Array | None  # of the standard, by union; 0 where it is left out

    @classmethod
    def of(
        cls, params: IncidenceRatesParams, starts: NDArray[np.intp], total: LexisCells, hidden: NDArray[np.bool_]
    ) -> _Rates:
        shown = ~hidden & (total.person_years.sum(axis=1) > 0)
        covered = (total.person_years[shown] > 0).all(axis=0)
        weights = None if params.weights is None else unions(params.weights, starts) * covered
        if weights is not None and not weights.sum() > 0:
            weights = None
        bands = labels(params.age_edges, starts)
        return cls(params, starts, bands, total.events, total.person_years, shown, weights)

    def shares(self) -> dict[str, float]:
        """The standard's weights as they are used, adding up to 1."""
        if self.weights is None:
            return {}
        return {band: float(w) for band, w in zip(self.bands, self.weights / self.weights.sum(), strict=True) if w > 0}

    def group(self, i: int) -> GroupRates:
        """Everything about one slice."""
        crude_rate, standardised, baseline = self._crude(i), self._standardised(i), self._baseline(i)
        return GroupRates(
            events=round(self.events[i].sum()),
            person_years=float(self.person_years[i].sum()),
            crude=crude_rate,
            standardised=standardised,
            ratio=self._ratio(crude_rate, baseline, self._crude),
            standardised_ratio=self._ratio(standardised, baseline, self._standardised),
            smr=self._smr(i),
            bands={
                name: Band(events=round(d), person_years=float(t), rate=crude(d, t, self.params.confidence))
                for name, d, t in zip(self.bands, self.events[i], self.person_years[i], strict=True)
            },
        )

    def warnings(self) -> list[str]:
        """What was done to the standard and to reference rates."""
        return [*self._about_standard(), *self._about_references()]

    def _crude(self, i: int) -> Rate | None:
        return crude(float(self.events[i].sum()), float(self.person_years[i].sum()), self.params.confidence)

    def _standardised(self, i: int) -> Rate | None:
        if self.weights is None or not self.shown[i]:
            return None
        used = self.weights > 0
        return directly_standardised(
            self.events[i, used], self.person_years[i, used], self.weights[used], self.params.confidence
        )

    def _baseline(self, i: int) -> int | None:
        """The first group in the same period; without groups the first period. None for the baseline itself."""
        periods = len(self.params.period_names)
        first = i % periods if len(self.params.groups) > 1 else 0
        return None if first == i or not self.shown[first] else first

    def _ratio(self, rate: Rate | None, baseline: int | None, of: object) -> RateRatio | None:
        below = of(baseline) if callable(of) and baseline is not None else None
        if rate is None or below is None or baseline is None:
            return None
        return rate_ratio(rate, below, self.params.slices[baseline], self.params.confidence)

    def _smr(self, i: int) -> Standardised | None:
        known = self._reference(i)
        if known is None or not self.shown[i]:
            return None
        used = np.isfinite(known)
        expected = float(known[used] @ self.person_years[i, used])
        return indirectly_standardised(float(self.events[i, used].sum()), expected, self.params.confidence)

    def _reference(self, i: int) -> Array | None:
        """Reference rates of a slice by union, NaN where there is none."""
        params, periods = self.params, len(self.params.period_names)
        if params.reference_group is not None:
            j = params.groups.index(params.reference_group) * periods + i % periods
            if i == j or not self.shown[j]:
                return None
            with np.errstate(divide="ignore", invalid="ignore"):
                return np.where(self.person_years[j] > 0, self.events[j] / self.person_years[j], math.nan)
        given = params.reference_rates
        names = (params.slices[i], params.groups[i // periods], "all")
        rates = next((given[name] for name in names if name in given), None)
        if rates is None:
            return None
        # The rate of a union of bands: as in the standard population, or plainly averaged where it has nobody.
        weights = np.ones(len(rates)) if params.weights is None else params.weights
        weights = np.where(np.repeat(unions(weights, self.starts), self._sizes()) > 0, weights, 1.0)
        return np.asarray(unions(np.array(rates) * weights, self.starts) / unions(weights, self.starts))

    def _sizes(self) -> NDArray[np.intp]:
        return np.diff(np.append(self.starts, len(self.params.age_edges) - 1))

    def _about_standard(self) -> list[str]:
        if self.params.weights is None:
            return []
        if self.weights is None:
            return ["No standardised rates: no age band with weight has follow-up in every group and period."]
        used = [band for band, w in zip(self.bands, self.weights, strict=True) if w > 0]
        if self.weights.sum() >= self.params.standard_total * (1 - 1e-12):
            return []
        there = [i for i, w in enumerate(self.weights) if w > 0]
        ages = f"{used[0]} to {used[-1]}" if there[-1] - there[0] == len(there) - 1 else ", ".join(used)
        return [
            f"The standard is truncated to the ages {ages}, the only ones that are asked for and have follow-up in "
            "every group and period; its weights are renormalised there."
        ]

    def _about_references(self) -> list[str]:
        found = []
        if self.params.reference_rates and len(self.bands) < len(self.params.age_edges) - 1:
            found.append(
                "Where bands were taken together, their reference rates were averaged by the standard's weights."
            )
        for i in np.flatnonzero(self.shown):
            known = self._reference(int(i))
            if known is not None and np.any(np.isnan(known) & (self.person_years[i] > 0)):
                name = self.params.slices[i]
                found.append(
                    f"{name}: ages without follow-up in the reference group are left out of observed and expected."
                )
        return found


def _cell_warnings(params: IncidenceRatesParams, votes: SmallCells, kept: Array) -> list[str]:
    starts, found = beginnings(kept), []
    ends = np.append(starts[1:], len(params.age_edges) - 1)
    merged = [name for name, a, b in zip(labels(params.age_edges, starts), starts, ends, strict=True) if b - a > 1]
    if merged:
        found.append(f"Age bands were taken together because a cohort has small cells there: {', '.join(merged)}.")
    withheld = [name for name, v in zip(params.slices, np.atleast_1d(votes.slices), strict=True) if v]
    if withheld:
        found.append(
            f"Withheld, because a cohort has too few people or events to show: {', '.join(withheld)}. Ask for wider "
            "groups or longer periods."
        )
    return found


def _input_warnings(total: LexisCells, votes: SmallCells) -> list[str]:
    found = []
    if votes.without_events:
        found.append(f"{votes.without_events:g} of the cohorts have follow-up and no event at all.")
    if total.outside != 0:  # NaN, which differs from 0, where it is withheld
        found.append("Some events happened at ages or in years that no cell covers: they are not counted.")
    if total.no_follow_up != 0:
        found.append(
            "Some people's follow-up has no length: they bring no person-time, and an event only where they are "
            "followed from the start."
        )
    return found
