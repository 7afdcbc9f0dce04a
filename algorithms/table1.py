"""Table 1 of a paper: who the people are, group beside group."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from algorithms.numerics import grouped
from algorithms.numerics.baseline import (
    Row,
    Summary,
    category_summaries,
    combined,
    comparison,
    number_summaries,
    quartile_ranks,
    standardised_difference,
    with_quartiles,
)
from algorithms.numerics.baseline_result import Table1Result
from algorithms.numerics.expressions import value_levels
from algorithms.numerics.groups import Groups, refuse_repeats, whole
from algorithms.numerics.lattice import Lattice
from algorithms.numerics.order_statistics import Column, Multisection, OnLattices, Searched, first_thresholds, sections
from cohortium.analysis import Params, Rounds, analysis, ask
from cohortium.data import Data
from cohortium.errors import InvalidQuestion
from cohortium.quantities import Array, Counts, Flag, FlagKind, SumOver, Sums, Table

if TYPE_CHECKING:
    pass


class Table1Params(Params):
    """Which variables, of which groups."""

    variables: tuple[str, ...] = Field(
        (), description="Variables to describe; none means every variable that is not an identifier."
    )
    by: str | None = Field(None, description="A category or yes/no variable: its groups stand side by side.")
    medians: tuple[str, ...] = Field((), description="Numbers among them whose median and quartiles are wanted too.")
    tests: bool = Field(False, description="Whether to test that the groups do not differ (Welch; chi-squared).")

    @cached_property
    def chosen(self) -> tuple[str, ...]:
        """The variables in order, each once."""
        known = self.dictionary.variables.items()
        everything = [name for name, v in known if v.type not in {"identifier", "date"} and name != self.by]
        return tuple(dict.fromkeys(self.variables or everything))

    @cached_property
    def numbers(self) -> tuple[str, ...]:
        """Those that have a mean."""
        return tuple(name for name in self.chosen if not value_levels(self.dictionary[name]))

    @cached_property
    def categories(self) -> dict[str, tuple[str, ...]]:
        """Those whose values are counted, with their levels."""
        return {name: found for name in self.chosen if (found := value_levels(self.dictionary[name]))}

    @cached_property
    def groups(self) -> Groups:
        """Who stands side by side."""
        return Groups(self.dictionary, () if self.by is None else (self.by,))

    @cached_property
    def searched(self) -> tuple[OnLattices, OnLattices]:
        """Whose medians are looked for: those of the groups, and of all of them together if there are any."""
        lattices = tuple(Lattice.of(self.dictionary, name) for name in dict.fromkeys(self.medians))
        together = Groups(self.dictionary, self.groups.variables, together=True)
        return Searched(lattices, self.groups), Searched(lattices if self.by else (), together)

    def check(self) -> None:
        """Raises UnknownName or InvalidQuestion."""
        refuse_repeats([*dict.fromkeys(self.variables), self.by])
        for name in self.variables:
            if self.dictionary[name].type == "identifier":
                raise InvalidQuestion(f"`{name}` is an identifier: it names people or groups and is never described.")
        if not self.chosen:
            raise InvalidQuestion("The dictionary has no variable that can be described.")
        for name in self.medians:
            if name not in self.numbers:
                raise InvalidQuestion(f"`medians` has `{name}`, which is not among the numbers of `variables`.")
        _ = self.searched, self.groups.names


class Search(Sums):
    """People between thresholds, per group and of everybody, as in `Sections`."""

    ending: Table
    beginning: Table
    ending_overall: Table
    beginning_overall: Table


class Totals(Sums):
    """First round: numbers (numbers, groups), categories (categories, levels and missing, groups), first thresholds.

    `n` leaves out who is too few at this cohort to be summed over; `known` does not, and is withheld then.
    """

    people: Table
    no_group: Table
    n: Counts
    known: Table
    missing: Table
    sums: Annotated[Array, SumOver("n")]
    spreads: Annotated[Array, SumOver("n")]
    cells: Table
    asked: Flag
    collected: Annotated[Array, FlagKind()]
    ending: Table
    beginning: Table
    ending_overall: Table
    beginning_overall: Table


class Moments(Sums):
    """Second round: first two powers of standardised deviations (numbers, groups, 2); the search goes on."""

    n: Counts
    powers: Annotated[Array, SumOver("n")]
    ending: Table
    beginning: Table
    ending_overall: Table
    beginning_overall: Table


def totals(data: Data, params: Table1Params) -> Totals:
    """What the means and tables of every group need."""
    groups = params.groups
    people = grouped.people(data, groups)
    shape = (3, len(params.numbers), len(groups))
    each = [grouped.spreads(data, name, groups) for name in params.numbers]
    known, sums, spreads = np.array(each).transpose(1, 0, 2) if each else np.zeros(shape)
    enough = known >= data.least_group
    found = _search(data, params, *(first_thresholds(view) for view in params.searched))
    return Totals(
        people=people,
        no_group=np.array(len(data) - people.sum()),
        n=known * enough,
        known=np.where(enough | (known == 0), known, np.nan),
        missing=people - known,
        sums=sums * enough,
        spreads=spreads * enough,
        cells=grouped.level_cells(data, params.categories, groups),
        asked=1.0,
        collected=np.array([float(name in data.columns) for name in params.chosen]),
        **found.arrays(),
        evidence=grouped.standing_out(data, params.numbers, groups, data.least_group),
    )


def moments(
    data: Data, params: Table1Params, *, centre: Array, unit: Array, thresholds: Array, overall: Array
) -> Moments:
    """Sums of (x - centre) / unit and of its square, per number and group, and people between thresholds."""
    each = [grouped.powers(data, name, params.groups, centre[i], unit[i]) for i, name in enumerate(params.numbers)]
    n, powers = np.array([part[0] for part in each]), np.array([part[1] for part in each])
    few = n < data.least_group
    n[few], powers[few] = 0.0, 0.0
    standing = grouped.standing_out(data, params.numbers, params.groups, data.least_group)
    return Moments(n=n, powers=powers, **_search(data, params, thresholds, overall).arrays(), evidence=standing)


def narrowing(data: Data, params: Table1Params, *, thresholds: Array, overall: Array) -> Search:
    """People between thresholds, when nothing but medians is left to find."""
    return _search(data, params, thresholds, overall)


@analysis
def table1(params: Table1Params) -> Rounds[Table1Result]:
    """Table 1: baseline characteristics by group.

    Who are the people, and are the groups alike? Means and standard deviations (two passes), counts and shares, if
    asked for medians with quartiles (exact order statistics, definition 7), missing values, and standardised mean
    differences, which unlike p-values do not grow with the number of people. Everything in two rounds; with medians
    three to five, for any number of variables. What is too small at some cohort is withheld, variable by variable.
    Source: Austin (2009), Stat Med 28:3083; Yang & Dalton (2012), SAS Global Forum 335, for several levels.
    """
    searches = [Multisection(view, quartile_ranks) for view in params.searched]
    first = yield from ask(totals)
    _learn(searches, Search.from_arrays({name: first.arrays()[name] for name in Search.kinds}))
    n = np.maximum(first.n, 1.0)
    mean, spread = first.sums / n, first.spreads / n
    unit = np.where(spread > 0, spread, np.where(mean != 0, np.abs(mean), 1.0))
    powers = np.zeros((*n.shape, 2))
    if params.numbers:
        asked, overall = (search.thresholds for search in searches)
        second = yield from ask(moments, centre=mean, unit=unit, thresholds=asked, overall=overall)
        powers = np.asarray(second.powers)
        _learn(searches, Search.from_arrays({name: second.arrays()[name] for name in Search.kinds}))
    while not all(search.is_done for search in searches):
        asked, overall = (search.thresholds for search in searches)
        _learn(searches, (yield from ask(narrowing, thresholds=asked, overall=overall)))
    known, missing = np.asarray(first.known), np.asarray(first.missing)
    summaries = number_summaries(params.numbers, known, missing, (mean, unit), powers)
    summaries |= category_summaries(params.categories, np.asarray(first.cells))
    for i, name in enumerate(dict.fromkeys(params.medians)):
        columns = searches[0].columns[i]
        summaries[name] = [with_quartiles(s, c) for s, c in zip(summaries[name], columns, strict=True)]
    everybody = {row[0].lattice.name: row[0] for row in searches[1].columns}
    rows = {name: _row(params, name, summaries[name], everybody.get(name)) for name in params.chosen}
    people = np.asarray(first.people)
    return Table1Result(
        n=round(float(np.nansum(people))),
        n_excluded=whole(float(first.no_group)),
        by=params.by,
        people=dict(zip(params.groups.names, map(whole, people), strict=True)),
        variables=rows,
        warnings=tuple(_warnings(params, first, rows)),
    )


def _search(data: Data, params: Table1Params, thresholds: Array, overall: Array) -> Search:
    groups, everybody = params.searched
    ending, beginning = sections(data, groups, thresholds)
    ending_overall, beginning_overall = sections(data, everybody, overall)
    return Search(
        ending=ending, beginning=beginning, ending_overall=ending_overall, beginning_overall=beginning_overall
    )


def _learn(searches: list[Multisection], answer: Search) -> None:
    groups, everybody = searches
    groups.learn(np.asarray(answer.ending), np.asarray(answer.beginning))
    everybody.learn(np.asarray(answer.ending_overall), np.asarray(answer.beginning_overall))


def _row(params: Table1Params, name: str, summaries: list[Summary], everybody: Column | None) -> Row:
    variable = params.dictionary[name]
    overall = combined(summaries) if params.by else None
    if overall and everybody:
        overall = with_quartiles(overall, everybody)
    return Row(
        type=variable.type,
        unit=variable.unit,
        groups=dict(zip(params.groups.names, summaries, strict=True)),
        overall=overall,
        smd=standardised_difference(summaries),
        comparison=comparison(summaries) if params.tests else None,
    )


def _warnings(params: Table1Params, first: Totals, rows: dict[str, Row]) -> list[str]:
    said = [
        f"`{name}` was collected by {count:g} of {first.asked:g} cohorts; people of the others count as missing."
        for name, count in zip(params.chosen, first.collected, strict=True)
        if count < first.asked
    ]
    each = {name: list(row.groups.values()) for name, row in rows.items()}
    withheld = [n for n, row in each.items() if any(s.n is None or s.missing is None for s in row)]
    if withheld:
        said.append(f"Withheld, because a cohort's cell is small: some numbers of {', '.join(withheld)}.")
    bracketed = [n for n, row in each.items() if any(s.exact_quantiles is False for s in row)]
    if bracketed:
        said.append(
            f"Quartiles of {', '.join(bracketed)} are interpolated where cohorts do not tell small groups apart; "
            "`quantiles` reports the brackets."
        )
    empty = [name for name, n in zip(params.groups.names, first.people, strict=True) if n == 0]
    if empty:
        said.append(f"Nobody is in {', '.join(empty)}.")
    return said
