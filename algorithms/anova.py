"""Means of a number across groups: one-way, two-way, with interaction."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property, partial
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from algorithms.numerics.analysis_of_variance import CellModel, FTest, SumsOfSquares, levene, welch_anova
from algorithms.numerics.anova_table import AnovaResult, anova_row, pairwise, test_of_groups
from algorithms.numerics.design import refuse_specials
from algorithms.numerics.grouped_moments import (
    GroupSquares,
    GroupTotals,
    Moments,
    group_squares,
    group_totals,
    pooled_moments,
    summaries,
    whole,
    withheld_warning,
)
from algorithms.numerics.grouping import Codes, Comparison, Grouping, comparison, factors_of
from algorithms.numerics.newton import Steps
from algorithms.numerics.rank_lattice import RankLattice, lattice_of, quantile
from algorithms.numerics.standing_out import StandingOut
from cohortium.analysis import Confidence, Divided, Params, Rounds, analysis, ask
from cohortium.data import Data
from cohortium.errors import CannotEstimate, InvalidQuestion
from cohortium.formula import Formula
from cohortium.quantities import Array, Counts, SumOver, Sums, Table

MAX_GROUPS = 1000
MAX_COMPARED = 30


class AnovaParams(Params):
    """Which means to compare, and how."""

    formula: Formula = Field(description="A number and one or more factors: `bmi ~ arm`, `bmi ~ arm * sex`.")
    sums_of_squares: SumsOfSquares = Field(
        "II",
        description="With several factors, I: each term given those before it (R's anova); II: given all that do not "
        "contain it; III: given all others, contrasts summing to zero. Balanced groups give the same.",
    )
    levene: Literal["no", "mean", "median"] = Field(
        "no",
        description="Test of equal variances: distances from the group means, or from the group medians "
        "(Brown-Forsythe; the outcome needs a declared precision). One more round.",
    )
    confidence: float = Confidence

    @cached_property
    def grouping(self) -> Grouping:
        """The cells: every combination of levels."""
        return Grouping(factors_of(self.formula), self.formula, self.dictionary)

    @cached_property
    def comparison(self) -> Comparison:
        """The outcome in the cells."""
        return comparison(self.formula, self.grouping, self.dictionary)

    @cached_property
    def terms(self) -> dict[str, frozenset[int]]:
        """The terms in order, each with the positions of its factors."""
        at = {factor: i for i, factor in enumerate(self.grouping.factors)}
        return {str(term): frozenset(at[f] for f in term.factors) for term in self.formula.terms}

    @cached_property
    def lattice(self) -> RankLattice:
        """The values that the outcome can have, for its medians."""
        return lattice_of(str(self.formula.response), self.dictionary)

    def divides(self, statistic: str, broadcast: Mapping[str, Array]) -> Divided | None:
        """For Levene's test by group and side of a centre that was broadcast."""
        if statistic != "distances":
            return None
        centre, size = broadcast["centre"], 2 * len(self.comparison.groups)
        return Divided(f"sides of {centre.tolist()}", self.comparison.variables, size, partial(_sides, self, centre))

    def check(self) -> None:
        """Raises FormulaError or InvalidQuestion for what an analysis of variance cannot take."""
        refuse_specials(self.formula)
        if not self.formula.intercept or not self.formula.terms:
            raise InvalidQuestion("Name at least one factor after the `~`, and keep the intercept.")
        if len(self.grouping.names) > MAX_GROUPS:
            raise InvalidQuestion(f"{len(self.grouping.names)} groups are too many; at most {MAX_GROUPS}.")
        for factor, levels in zip(self.grouping.factors, self.grouping.levels, strict=True):
            if len(levels) < 2:
                raise self.formula.error(f"`{factor}` has one level only, so there is nothing to compare.", factor)
        _ = self.comparison
        terms = set(self.terms.values())
        if self.sums_of_squares == "III" and any(t - {i} not in terms for t in terms if len(t) > 1 for i in t):
            raise InvalidQuestion("Type III needs every main effect of an interaction in the formula: write `a * b`.")
        if self.levene == "median":
            if str(self.formula.response) not in self.dictionary:
                raise InvalidQuestion("Medians need a plain variable as outcome. Ask for levene='mean'.")
            _ = self.lattice


class Distances(Sums):
    """Distances from the centre of the group (in units), apart for who lies below and who does not.

    Each side has a count of its own, so that no centre can be broadcast that leaves a single person on one side.
    """

    below: Counts
    above: Counts
    below_total: Annotated[Array, SumOver("below")]
    above_total: Annotated[Array, SumOver("above")]


class Histograms(Sums):
    """People per group and possible value, shape (groups, points)."""

    cells: Table


def totals(data: Data, params: AnovaParams) -> GroupTotals:
    """What the means need."""
    return group_totals(data, params.comparison)


def squares(data: Data, params: AnovaParams, *, centre: Array, unit: float) -> GroupSquares:
    """What the variances need."""
    return group_squares(data, params.comparison, centre, unit)


def distances(data: Data, params: AnovaParams, *, centre: Array, unit: float) -> Distances:
    """Distances from the group means, for Levene's test."""
    groups = len(params.comparison.groups)
    counts, sums = np.zeros((2, groups)), np.zeros((2, groups))
    standing = StandingOut(groups)
    for block in data.blocks(params.comparison.variables):
        y, code = params.comparison.measure(block)
        standing.add(y, code)
        z = (y - centre[code]) / unit
        for side, who in enumerate((z < 0, z >= 0)):
            counts[side] += np.bincount(code[who], minlength=groups)
            sums[side] += np.bincount(code[who], np.abs(z[who]), minlength=groups)
    return Distances(
        below=counts[0],
        above=counts[1],
        below_total=sums[0],
        above_total=sums[1],
        evidence=standing.evidence(params.comparison.groups),
    )


def _sides(params: AnovaParams, centre: Array, block: Data) -> Codes:
    """Group and side of every row as one number."""
    y, code = params.comparison.measure(block)
    return 2 * code + (y >= centre[code])


def histograms(data: Data, params: AnovaParams) -> Histograms:
    """The values of every group, for their medians."""
    cells = np.zeros((len(params.comparison.groups), params.lattice.points))
    for block in data.blocks(params.comparison.variables):
        at = params.grouping.codes(block) * params.lattice.points + params.lattice.codes(block)
        cells += np.bincount(at, minlength=cells.size).reshape(cells.shape)
    return Histograms(cells=cells)


@analysis
def anova(params: AnovaParams) -> Rounds[AnovaResult]:
    """Analysis of variance.

    Do the means of a number differ between groups? One factor: F test, Welch's test without equal variances, and every
    pair of groups by Tukey's honest significant difference (Tukey-Kramer for groups of unequal size). Several factors:
    the formula's terms with sums of squares of type I, II or III, right for groups of unequal size, from linear models
    on the cell means. Two rounds, one more for Levene's test; equal to the analysis of the pooled records.
    Source: Searle (1987), Linear Models for Unbalanced Data; Kramer (1956), Biometrics 12:307; Welch (1951),
    Biometrika 38:330; Brown & Forsythe (1974), JASA 69:364.
    """
    first, moments = yield from pooled_moments(totals, squares)
    present = np.flatnonzero(moments.n)
    if len(present) < 2:
        raise CannotEstimate("Fewer than two groups have anybody with a value for every variable of the formula.")
    if moments.constant:
        raise CannotEstimate("Nobody differs from the mean of the own group: there is no spread to compare with.")
    model = CellModel([len(levels) for levels in params.grouping.levels], list(params.terms.values()), moments)
    error = model.error
    if error.df <= 0:
        raise CannotEstimate("There are as many groups as people. Use fewer levels or factors.")
    if params.sums_of_squares == "III":
        _must_be_crossed(params, present)
    groups = tuple(params.comparison.groups[g] for g in present)
    some = moments.of(present)
    one_way = len(params.grouping.factors) == 1
    equal = (yield from _levene(params, some, present)) if params.levene != "no" else None
    total = model.between + model.within
    return AnovaResult(
        n=round(model.n),
        n_excluded=whole(float(first.excluded)),
        formula=str(params.formula),
        sums_of_squares=params.sums_of_squares,
        terms={
            name: anova_row(model.added_by(term, params.sums_of_squares), error, total)
            for name, term in params.terms.items()
        },
        df_residual=error.df,
        residual_sum_squares=error.squares,
        total_sum_squares=total,
        residual_sd=math.sqrt(error.squares / error.df),
        r_squared=1 - error.squares / total,
        groups=summaries(groups, some, params.confidence),
        welch=test_of_groups(welch_anova(some)) if one_way else None,
        levene=test_of_groups(equal),
        tukey=pairwise(some, error, groups, params.confidence) if one_way and len(groups) <= MAX_COMPARED else (),
        confidence=params.confidence,
        missing={name: whole(float(m)) for name, m in zip(params.comparison.variables, first.missing, strict=True)},
        warnings=tuple(_warnings(params, first, moments, equal)),
    )


def _levene(params: AnovaParams, some: Moments, present: Codes) -> Steps[FTest | None]:
    n = some.n
    if params.levene == "mean":
        unit = math.sqrt(float(some.squares.sum() / n.sum()))
        centre = np.zeros(len(params.comparison.groups))
        centre[present] = some.mean
        sums = yield from ask(distances, centre=centre, unit=unit)
        # Squared distances from the mean are known already.
        return levene(n, (sums.below_total + sums.above_total)[present], some.squares / unit**2)
    cells = (yield from ask(histograms)).cells[present]
    if np.isnan(cells).any():
        return None
    middle = np.array([quantile(row, 0.5) for row in cells])
    away = np.abs(np.arange(params.lattice.points) - middle[:, None])
    return levene(n, np.sum(cells * away, axis=1), np.sum(cells * away**2, axis=1))


def _must_be_crossed(params: AnovaParams, present: Codes) -> None:
    shape = [len(levels) for levels in params.grouping.levels]
    cells = np.column_stack(np.unravel_index(present, shape))
    for term in params.terms.values():
        seen = cells[:, sorted(term)]
        if len(np.unique(seen, axis=0)) < math.prod(len(np.unique(column)) for column in seen.T):
            raise CannotEstimate("Nobody has some combination of levels, so type III is not defined. Ask for type II.")


def _warnings(params: AnovaParams, first: GroupTotals, moments: Moments, equal: FTest | None) -> list[str]:
    nobody = [name for name, n in zip(params.comparison.groups, moments.n, strict=True) if not n]
    found = [f"Nobody is in {', '.join(nobody)}: left out."] if nobody else []
    if params.levene != "no" and equal is None:
        found.append("No test of equal variances: a cohort withholds small cells, or the distances do not vary.")
    if len(params.grouping.factors) == 1 and np.count_nonzero(moments.n) > MAX_COMPARED:
        found.append(f"More than {MAX_COMPARED} groups: their pairs are not compared.")
    return [*found, *withheld_warning(params.comparison.variables, first.missing)]
