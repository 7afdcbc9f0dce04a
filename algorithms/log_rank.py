"""Comparing survival between groups: the log-rank test, and differences in restricted mean survival."""

from __future__ import annotations

import itertools
import math
from functools import cached_property
from typing import Annotated, NamedTuple

import numpy as np
from pydantic import Field

from algorithms.kaplan_meier import LifeTables, life_tables
from algorithms.numerics.chi_squared import ChiSquared
from algorithms.numerics.hypergeometric import hypergeometric
from algorithms.numerics.life_table import LifeTable, life_table, restricted_mean
from algorithms.numerics.log_rank_result import Group, LogRankResult
from algorithms.numerics.pairwise import compared, pair_sums, pairs_of
from algorithms.numerics.risk_sets import crossed, own_risk_sets, read_follow_up
from algorithms.numerics.time_grid import TimeGridParams, group_codes, names_of_groups
from cohortium.analysis import Confidence, Rounds, analysis, ask
from cohortium.data import Data
from cohortium.errors import CannotEstimate, FormulaError, InvalidQuestion
from cohortium.evidence import Evidence, Plain
from cohortium.formula import Factor
from cohortium.quantities import Array, Count, Counts, Flag, SumOver, Sums, Table
from cohortium.result import CohortEffect, Estimate, wald


class LogRankParams(TimeGridParams):
    """Whose survival is compared, and how."""

    cohort_effect: CohortEffect = Field(
        "stratified",
        description="stratified: people are compared within cohorts, and no time leaves one; common: as if pooled, on "
        "a grid of times whose intervals every cohort's policy must find wide enough.",
    )
    horizon: float | None = Field(
        None, gt=0, description="Time up to which restricted mean survival is compared; needs the grid of times."
    )
    confidence: float = Confidence

    @property
    def stratified(self) -> bool:
        """Whether cohorts are strata."""
        return self.cohort_effect == "stratified"

    @property
    def needs_grid(self) -> bool:
        """Whether people are counted on the grid of times."""
        return not self.stratified or self.horizon is not None

    @cached_property
    def factors(self) -> tuple[Factor, ...]:
        """What divides people on the grid: the groups and, where people are compared on it, strata (these faster)."""
        terms = itertools.chain.from_iterable(term.factors for term in self.formula.terms)
        return tuple(dict.fromkeys([*terms, *(() if self.stratified else self.formula.strata)]))

    @cached_property
    def compared(self) -> list[str]:
        """The groups, by name."""
        return names_of_groups(self.factors[: self.terms], self.levels[: self.terms])

    @cached_property
    def terms(self) -> int:
        """How many variables make up a group."""
        return len({factor for term in self.formula.terms for factor in term.factors})

    @property
    def strata(self) -> int:
        """Strata of the grid in each group."""
        return math.prod(map(len, self.levels[self.terms :]))

    def check(self) -> None:
        """Raises FormulaError or InvalidQuestion for what cannot be compared."""
        self.check_follow_up("strata")
        if not self.formula.terms:
            raise FormulaError("Give the groups to compare after the `~`.", self.formula.text, 0)
        for name in self.formula.strata:
            if name in {factor for term in self.formula.terms for factor in term.factors}:
                raise self.formula.error(f"`{name}` cannot be both a group and a stratum.", name)
        _ = self.levels
        if self.needs_grid:
            self._check_grid()
        if self.horizon is not None and self.horizon > self.points * self.step * (1 + 1e-9):
            raise InvalidQuestion(f"`horizon` lies beyond the end of the time grid, {self.points * self.step:g}.")


class ObservedExpected(Sums):
    """Per group: people, events, events expected if groups did not differ, and the covariance of the difference."""

    n: Count
    events: Count
    people: Counts
    excluded: Table
    missing: Table
    no_follow_up: Table
    backwards: Table
    without_events: Flag
    pair_people: Counts
    observed: Annotated[Array, SumOver("people")]
    expected: Annotated[Array, SumOver("people")]
    variance: Annotated[Array, SumOver("people")]
    pairs: Annotated[Array, SumOver("pair_people")]


def observed_expected(data: Data, params: LogRankParams) -> ObservedExpected:
    """The comparison within one cohort, by its own exact times."""
    variables = [name.name for name in params.formula.names]
    start, stop, event = read_follow_up(data, params, variables)
    sets = own_risk_sets(start, stop, event, crossed(data, variables, [n.name for n in params.formula.strata]))
    blocks = [group_codes(block, params) // params.strata for block in data.blocks(variables)]
    group = np.concatenate([np.empty(0, np.intp), *blocks])
    used = np.ones(len(stop), dtype=bool) if start is None else start < stop
    groups, everybody = len(params.compared), slice(None)
    at_risk, events = np.zeros((2, groups, sets.nowhere))
    for j in range(groups):
        mine = (group == j).astype(np.float64)
        entering = None if sets.before is None else sets.per_event_time(everybody, mine, at=sets.before)
        at_risk[j] = sets.over_risk_sets(sets.per_event_time(everybody, mine), entering)
        events[j] = sets.of_events(everybody, mine)
    expected, variance = hypergeometric(at_risk, events)
    people = np.bincount(group[used], minlength=groups).astype(np.float64)
    backwards = 0.0 if start is None else float(np.count_nonzero(stop < start))
    return ObservedExpected(
        n=sets.rows,
        events=sets.events,
        people=people,
        excluded=np.array(float(len(data) - len(stop))),
        missing=np.array([float(np.count_nonzero(data.missing(name))) for name in variables]),
        no_follow_up=np.array(float(sets.no_follow_up) - backwards),
        backwards=np.array(backwards),
        without_events=float(sets.rows > 0 and not sets.events),
        pair_people=np.array([people[a] + people[b] for a, b in pairs_of(groups)]),
        observed=events.sum(axis=1),
        expected=expected,
        variance=variance,
        pairs=pair_sums(at_risk, events),
        evidence=Evidence(weights=Plain("no value is broadcast, and everybody counts alike")),
    )


@analysis
def log_rank(params: LogRankParams) -> Rounds[LogRankResult]:
    """Log-rank test.

    Do groups differ in how soon the event happens? Observed events are compared with those expected at each event
    time if all groups had the same hazard. With cohort_effect "stratified" each cohort makes the comparison by its own
    exact times and only its sums leave it; with "common" people of all cohorts are compared with each other, on the
    grid of times. Further strata by `strata(v)`. Every two groups are compared as well, with Peto's one-step estimate
    of their hazard ratio and p-values adjusted by Holm's method. With `horizon` also the differences in mean survival
    up to then.
    Source: Mantel (1966), Cancer Chemother Rep 50:163; Peto & Peto (1972), JRSSA 135:185.
    """
    own = (yield from ask(observed_expected)) if params.stratified else None
    grid = (yield from ask(life_tables)) if params.needs_grid else None
    counted = own if own is not None else grid
    assert counted is not None
    found = counted if isinstance(counted, ObservedExpected) else _from_grid(counted, params)
    there = np.flatnonzero(found.people)
    if len(there) < 2:
        raise CannotEstimate("Fewer than two of the groups have anybody in them, so there is nothing to compare.")
    names = [params.compared[j] for j in there]
    tables = {} if grid is None or params.horizon is None else _life_tables(grid, params)
    means = {name: restricted_mean(table, params.horizon or 0.0) for name, table in tables.items()}
    variables = [name.name for name in params.formula.names]
    return LogRankResult(
        n=round(counted.n),
        n_excluded=_whole(counted.excluded),
        cohort_effect=params.cohort_effect,
        formula=str(params.formula),
        groups=_groups(names, found.people[there], found.observed[there], found.expected[there], means),
        test=_test(found.observed - found.expected, found.variance),
        variance=tuple(tuple(map(float, row)) for row in found.variance[np.ix_(there, there)]),
        pairs=compared(np.asarray(found.pairs), params.compared, params.confidence),
        horizon=params.horizon,
        rmst_differences=_differences(means, params.confidence) if means else None,
        missing={name: _whole(count) for name, count in zip(variables, counted.missing, strict=True)},
        no_follow_up=_whole(counted.no_follow_up),
        backwards=_whole(counted.backwards),
        warnings=tuple(_warnings(params, names, found.expected[there], counted, tables)),
    )


class _Found(NamedTuple):
    """What is compared by group, and of every two groups, summed over strata."""

    people: Array
    observed: Array
    expected: Array
    variance: Array
    pairs: Array


def _from_grid(grid: LifeTables, params: LogRankParams) -> _Found:
    """The comparison over all cohorts, summed over the strata of the grid."""
    shape = (len(params.compared), params.strata, params.points + 1)
    entries, exits, events = (a.reshape(shape) for a in (grid.entries, grid.exits, grid.events))
    expected, variance = np.zeros(shape[0]), np.zeros((shape[0], shape[0]))
    pairs = np.zeros((len(pairs_of(shape[0])), 2))
    entered = np.cumsum(entries, axis=2) - entries if params.delayed else entries.sum(axis=2, keepdims=True)
    at_risk = entered - (np.cumsum(exits, axis=2) - exits)
    for stratum in range(params.strata):
        found = hypergeometric(at_risk[:, stratum], events[:, stratum])
        expected, variance = expected + found[0], variance + found[1]
        pairs += pair_sums(at_risk[:, stratum], events[:, stratum])
    return _Found(exits.sum(axis=(1, 2)), events.sum(axis=(1, 2)), expected, variance, pairs)


def _life_tables(grid: LifeTables, params: LogRankParams) -> dict[str, LifeTable]:
    shape = (len(params.compared), params.strata, params.points + 1)
    entries, exits, events = (a.reshape(shape).sum(axis=1) for a in (grid.entries, grid.exits, grid.events))
    return {
        name: life_table(params.step, entries[j], exits[j], events[j], delayed=params.delayed)
        for j, name in enumerate(params.compared)
        if exits[j].any()
    }


def _test(difference: Array, variance: Array) -> ChiSquared:
    """The differences add up to 0, so one group is left out; groups that were never at risk tell nothing."""
    used = np.flatnonzero(np.diag(variance) > 0)[1:]
    if not len(used):
        raise CannotEstimate("At no event time are people of two groups at risk, so nothing can be compared.")
    u, v = difference[used], variance[np.ix_(used, used)]
    return ChiSquared.of(float(u @ np.linalg.lstsq(v, u, rcond=None)[0]), int(np.linalg.matrix_rank(v, hermitian=True)))


def _groups(
    names: list[str], people: Array, observed: Array, expected: Array, means: dict[str, tuple[float, float]]
) -> dict[str, Group]:
    found = {}
    for name, n, o, e in zip(names, people, observed, expected, strict=True):
        rmst, error = means.get(name, (None, None))
        found[name] = Group(n=round(n), observed=round(o), expected=float(e), rmst=rmst, rmst_se=error)
    return found


def _differences(means: dict[str, tuple[float, float]], level: float) -> dict[str, Estimate]:
    (first, (base, base_error)), *others = means.items()
    names = [f"{name} - {first}" for name, _ in others]
    estimates = np.array([mean - base for _, (mean, _) in others])
    errors = np.array([error**2 for _, (_, error) in others])
    return wald(names, estimates, np.diag(errors) + base_error**2, level)


def _warnings(
    params: LogRankParams,
    names: list[str],
    expected: Array,
    counted: ObservedExpected | LifeTables,
    tables: dict[str, LifeTable],
) -> list[str]:
    found = [f"Nobody is in {group}." for group in params.compared if group not in names]
    if np.any(expected < 5):
        found.append("Fewer than five events are expected in a group: the chi-squared distribution is a rough guide.")
    if counted.no_follow_up != 0:  # NaN, which differs from 0, where it is withheld
        found.append("Some people's follow-up has no length.")
    if counted.backwards != 0:
        found.append("Some rows stop before they start: a mistake in the data. They are left out.")
    if counted.without_events:
        silent = "with comparisons within cohorts they tell nothing" if params.stratified else "they add people at risk"
        found.append(f"{counted.without_events:g} of the cohorts have follow-up and no event at all: {silent}.")
    for group, table in tables.items():
        if params.horizon is not None and table.time[-1] < params.horizon and table.survival[-1] > 0:
            found.append(f"Nobody of {group} is followed to the horizon; its curve is carried on at the last level.")
    return found


def _whole(count: float | Array) -> int | None:
    return None if math.isnan(float(count)) else round(float(count))
