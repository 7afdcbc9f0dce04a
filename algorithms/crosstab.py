"""Tables of two categorical variables, and what they say."""

from __future__ import annotations

from collections.abc import Generator
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field

from algorithms.numerics.contingency import Contingency, trend
from algorithms.numerics.crosstab_result import CrosstabResult
from algorithms.numerics.crosstab_tables import (
    expected_people,
    people,
    strata_tables,
)
from algorithms.numerics.groups import MAX_CELLS, Groups, refuse_repeats, tally, whole
from algorithms.numerics.mantel_haenszel import (
    SUMS,
    CommonOddsRatio,
    common_odds_ratio,
    homogeneity_sums,
    stratum_sums,
)
from algorithms.numerics.withholding import withhold_strata
from cohortium.analysis import Confidence, Params, Question, Rounds, analysis, ask
from cohortium.data import Data
from cohortium.errors import InvalidQuestion, Refused
from cohortium.evidence import Evidence, Plain
from cohortium.quantities import Array, Count, Flag, SumOver, Sums, Table
from cohortium.result import CohortEffect

if TYPE_CHECKING:
    pass


class CrosstabParams(Params):
    """Which variables are set out against each other."""

    rows: str = Field(description="Category or yes/no variable of the rows: the groups that are compared.")
    columns: str = Field(description="Category or yes/no variable of the columns: what may depend on them.")
    strata: tuple[str, ...] = Field((), description="Categories or yes/no variables that make strata.")
    cohort_effect: CohortEffect = Field(
        "stratified",
        description="For the Mantel-Haenszel odds ratio. stratified: every cohort's strata are strata of their own, "
        "and no stratum's table need be shown. common: a stratum spread over cohorts is one, added up first.",
    )
    scores: tuple[float, ...] = Field(
        (), description="Scores of the levels for the test for trend; 0, 1, 2 ... by default."
    )
    draws: int = Field(10_000, ge=100, le=1_000_000, description="Tables drawn for Fisher's test beyond two by two.")
    seed: int = Field(1, ge=0, description="Seed of those draws.")
    confidence: float = Confidence

    @cached_property
    def groups(self) -> Groups:
        """Every cell: stratum, row and column."""
        return Groups(self.dictionary, (*self.strata, self.rows, self.columns))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Strata, rows, columns."""
        *strata, rows, columns = (len(levels) for levels in self.groups.levels)
        return int(np.prod(strata, dtype=np.int64)), rows, columns

    @property
    def is_fourfold(self) -> bool:
        """Whether the table is two by two."""
        return self.shape[1:] == (2, 2)

    @property
    def by_cohort(self) -> bool:
        """Whether cohorts hand over sums over their own strata."""
        return self.is_fourfold and self.cohort_effect == "stratified"

    @property
    def trending(self) -> bool:
        """Whether there is a trend to test: two levels against more than two."""
        return min(self.shape[1:]) == 2 and not self.is_fourfold

    def check(self) -> None:
        """Raises UnknownName or InvalidQuestion."""
        refuse_repeats([self.rows, self.columns, *self.strata])
        if len(self.groups) > MAX_CELLS:
            raise InvalidQuestion(f"{len(self.groups)} cells are too many. Give fewer strata.")
        if self.scores and not self.trending:
            raise InvalidQuestion("`scores` are for a trend: two levels on one side, more than two on the other.")
        if self.scores and len(self.scores) != max(self.shape[1:]):
            raise InvalidQuestion(f"Give {max(self.shape[1:])} `scores`, one per level.")
        if self.scores and (len(set(self.scores)) == 1 or not np.isfinite(self.scores).all()):
            raise InvalidQuestion("`scores` must be finite and differ.")


WITHIN = Evidence(weights=Plain("functions of a cohort's tables, added up over its strata"))


class Cells(Sums):
    """People per row and column (rows, columns), the same per stratum, and without a value.

    `within` are the sums over the cohort's own strata that `mantel_haenszel` defines, over `n` people; a cohort of too
    few for its policy adds nothing there, and says so in `too_few`.
    """

    table: Table
    strata: Table
    missing: Table
    n: Count
    within: Annotated[Array, SumOver("n")]
    too_few: Flag
    asked: Flag
    collected: Flag


class Homogeneity(Sums):
    """Sums over the cohort's own strata of (a - e)^2 / v, a - e and v."""

    n: Count
    sums: Annotated[Array, SumOver("n")]


def cells(data: Data, params: CrosstabParams) -> Cells:
    """One cohort's table."""
    table, least = _table(data, params), data.least_group
    n = table.sum()
    too_few = params.by_cohort and 0 < n < least
    summed = params.by_cohort and not too_few
    shown, strata = withhold_strata(table, least)
    return Cells(
        table=shown,
        strata=strata,
        missing=np.array(len(data) - n),
        n=n if summed else 0.0,
        within=stratum_sums(table) if summed else np.zeros(SUMS),
        too_few=float(too_few),
        asked=1.0,
        collected=float(params.groups.collected(data)),
        evidence=WITHIN,
    )


def homogeneity(data: Data, params: CrosstabParams, *, odds_ratio: float) -> Homogeneity:
    """How far one cohort's strata are from this odds ratio."""
    if not 1e-4 <= odds_ratio <= 1e4:
        raise Refused("An odds ratio this far from 1 would single out strata.", rule="broadcast")
    table = _table(data, params)
    if table.sum() < data.least_group:
        table = np.zeros_like(table)
    return Homogeneity(n=table.sum(), sums=homogeneity_sums(table, odds_ratio), evidence=WITHIN)


@analysis
def crosstab(params: CrosstabParams) -> Rounds[CrosstabResult]:
    """Cross-tabulation with tests of association.

    Do two categorical variables go together? Pearson's chi-squared with and without Yates's correction, likelihood
    ratio, Fisher (exact for two by two, else by simulation), Cochran-Armitage trend; odds ratio, risk ratio and risk
    difference. For two by two also the Mantel-Haenszel odds ratio over strata with its test, and whether it is the same
    in all (Breslow-Day, Tarone): by default every cohort's strata count apart, so that cohorts need not be alike, and
    sums over strata leave a cohort, never a stratum's table; this works where cells are withheld. One round, or two.
    Source: Mantel & Haenszel (1959), JNCI 22:719; Agresti (2013), Categorical Data Analysis, for the rest.
    """
    total = yield from ask(cells)
    table, strata = np.asarray(total.table), np.asarray(total.strata)
    common = yield from _common(total, strata, params)
    shown = Contingency.of(table) if not np.isnan(table).any() else None
    tested = shown if shown is not None and shown.is_testable else None
    fourfold = tested if tested is not None and params.is_fourfold else None
    levels = params.groups.levels
    return CrosstabResult(
        n=round(float(np.nansum(table))),
        n_excluded=whole(float(total.missing)),
        cohort_effect=params.cohort_effect if params.is_fourfold else None,
        rows=params.rows,
        columns=params.columns,
        row_levels=levels[-2],
        column_levels=levels[-1],
        counts=people(table),
        expected=expected_people(table) if tested else None,
        strata=strata_tables(Groups(params.dictionary, params.strata), strata),
        confidence=params.confidence,
        chi_squared=tested.pearson() if tested else None,
        chi_squared_yates=fourfold.yates() if fourfold else None,
        likelihood_ratio=tested.likelihood_ratio() if tested else None,
        fisher=tested.fisher(draws=params.draws, seed=params.seed, confidence=params.confidence) if tested else None,
        trend=trend(table, params.scores) if tested and params.trending else None,
        cramer_v=tested.cramer() if tested else None,
        measures=fourfold.measures(params.confidence) if fourfold else {},
        mantel_haenszel=common,
        warnings=tuple(_warnings(params, total, shown, common)),
    )


def _common(total: Cells, strata: Array, params: CrosstabParams) -> Generator[Question, Any, CommonOddsRatio | None]:
    """The odds ratio over strata that lie within cohorts, or that are added up first."""
    if not params.is_fourfold or (not params.by_cohort and np.isnan(strata).any()):
        return None
    sums = np.asarray(total.within) if params.by_cohort else stratum_sums(strata)
    found = common_odds_ratio(sums, params.confidence)
    if found is None or found.strata < 2:
        return found
    odds_ratio = found.odds_ratio.estimate
    if not params.by_cohort:
        return found.with_homogeneity(homogeneity_sums(strata, odds_ratio))
    if not 1e-4 <= odds_ratio <= 1e4:
        return found
    second = yield from ask(homogeneity, odds_ratio=odds_ratio)
    return found.with_homogeneity(np.asarray(second.sums))


def _table(data: Data, params: CrosstabParams) -> Array:
    """People per stratum, row and column."""
    counts = np.zeros(params.shape)
    if params.groups.collected(data):
        for block in data.blocks(params.groups.variables):
            counts += tally(params.groups.codes(block), counts.size).reshape(params.shape)
    return counts


def _warnings(
    params: CrosstabParams, total: Cells, shown: Contingency | None, common: CommonOddsRatio | None
) -> list[str]:
    said = []
    if total.collected < total.asked:
        said.append(
            f"{total.collected:g} of {total.asked:g} cohorts collected every variable; people of the others count as "
            "missing."
        )
    if shown is None:
        rest = " The Mantel-Haenszel odds ratio needs sums only, and stands." if params.by_cohort and common else ""
        said.append(
            "Withheld, because a cohort's cell is small: some counts. Tests and measures of the table need them all, "
            f"so there are none; `n` counts the cells that are shown. Merge levels to see more.{rest}"
        )
    elif not shown.is_testable:
        said.append("There is nothing to test: people are in one row or one column only.")
    elif shown.table.shape != params.shape[1:]:
        said.append("Levels in which nobody is are left out of the tests.")
    if shown is not None and shown.is_testable and (shown.expected < 5).any():
        said.append("Some expected counts are below 5: rely on Fisher's test, not on chi-squared.")
    if params.is_fourfold and shown is not None and shown.is_testable and (shown.table == 0).any():
        said.append("A cell is empty: ratios have no confidence interval.")
    if total.too_few:
        said.append(f"{total.too_few:g} cohorts have too few people to be part of the Mantel-Haenszel odds ratio.")
    if np.isnan(total.strata).any() and params.strata and not params.by_cohort and params.is_fourfold:
        said.append("No Mantel-Haenszel odds ratio: it needs strata that are withheld. Use cohort_effect='stratified'.")
    elif params.is_fourfold and common is None:
        said.append("No Mantel-Haenszel odds ratio: no stratum informs, or it would be 0 or infinite.")
    return said
