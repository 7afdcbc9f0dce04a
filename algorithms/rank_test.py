"""Whether values tend to be larger in one group than in another: tests on ranks."""

from __future__ import annotations

import itertools
import math
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field
from scipy import special

from algorithms.numerics.design import refuse_specials
from algorithms.numerics.grouped_moments import whole, withheld_warning
from algorithms.numerics.grouping import Grouping, factors_of
from algorithms.numerics.rank_lattice import (
    MAX_CELLS,
    Breaks,
    Precision,
    RankLattice,
    check_names,
    lattice_of,
    mid_ranks,
    must_be_known,
    quantile,
    tied,
)
from algorithms.numerics.rank_result import DunnDifference, RankedGroup, RankTestResult
from cohortium.analysis import Confidence, Params, Rounds, analysis, ask
from cohortium.data import Data
from cohortium.errors import CannotEstimate, InvalidQuestion
from cohortium.formula import Formula, Name
from cohortium.quantities import Array, Sums, Table

if TYPE_CHECKING:
    pass


class RankTestParams(Params):
    """What to rank, and in which groups."""

    formula: Formula = Field(description="An ordered variable and a factor: `pain ~ arm`.")
    precision: dict[str, float] = Precision
    breaks: dict[str, tuple[float, ...]] = Breaks
    continuity: bool = Field(True, description="Continuity correction of the Mann-Whitney z (as R does).")
    dunn: bool = Field(False, description="Compare every pair of three or more groups (Dunn, adjusted by Holm).")
    confidence: float = Confidence

    @property
    def outcome(self) -> str:
        """The variable that is ranked."""
        if not isinstance(self.formula.response, Name):
            raise InvalidQuestion("Write one variable before the `~`: ranks do not change with log() or a power.")
        return self.formula.response.name

    @cached_property
    def grouping(self) -> Grouping:
        """The groups."""
        return Grouping(factors_of(self.formula), self.formula, self.dictionary)

    @cached_property
    def lattice(self) -> RankLattice:
        """The values that the outcome can have."""
        return lattice_of(self.outcome, self.dictionary, self.precision, self.breaks)

    @property
    def variables(self) -> tuple[str, ...]:
        """What a row must have to be used."""
        return tuple(name.name for name in self.formula.names)

    def check(self) -> None:
        """Raises FormulaError or InvalidQuestion for what cannot be ranked."""
        refuse_specials(self.formula)
        check_names({self.outcome}, self.precision, self.breaks)
        if len(self.grouping.factors) != 1 or len(self.grouping.names) < 2:
            raise InvalidQuestion("A rank test takes one factor of at least two levels after the `~`.")
        if self.lattice.points * len(self.grouping.names) > MAX_CELLS:
            raise InvalidQuestion(f"`{self.outcome}` has too many possible values to count. Give `precision`.")


class Histograms(Sums):
    """People per group and possible value, shape (groups, points)."""

    excluded: Table
    missing: Table
    cells: Table


def histograms(data: Data, params: RankTestParams) -> Histograms:
    """The values of every group of one cohort."""
    points = params.lattice.points
    cells = np.zeros((len(params.grouping.names), points))
    for block in data.blocks(params.variables):
        at = params.grouping.codes(block) * points + params.lattice.codes(block)
        cells += np.bincount(at, minlength=cells.size).reshape(cells.shape)
    return Histograms(
        excluded=np.array(len(data) - cells.sum()),
        missing=np.array([float(np.count_nonzero(data.missing(name))) for name in params.variables]),
        cells=cells,
    )


@analysis
def rank_test(params: RankTestParams) -> Rounds[RankTestResult]:
    """Rank tests: Mann-Whitney, Kruskal-Wallis.

    Do values tend to be larger in one group than in another? Two groups: Mann-Whitney (Wilcoxon) with the probability
    that somebody of the second group has the larger value (AUC, ties half) and its DeLong interval. More: Kruskal-
    Wallis, on demand with Dunn's comparisons of pairs. Everything is corrected for ties, and exact on the steps in
    which the dictionary says the variable was recorded. Where cohorts withhold small cells, ask for wider bins: who
    shares a bin is tied, and the result bounds what that can have changed. One round.
    Source: Lehmann (1975), Nonparametrics; Dunn (1964), Technometrics 6:241; DeLong et al. (1988), Biometrics 44:837.
    """
    total = yield from ask(histograms)
    must_be_known(total.cells, [f"{params.outcome}` in group `{name}" for name in params.grouping.names])
    present = [g for g, row in enumerate(total.cells) if row.any()]
    if len(present) < 2:
        raise CannotEstimate("Fewer than two groups have anybody with a value for every variable of the formula.")
    names, cells = [params.grouping.names[g] for g in present], total.cells[present]
    if np.count_nonzero(cells.sum(axis=0)) < 2:
        raise CannotEstimate(f"Everybody has the same value of `{params.outcome}`, so there are no ranks to compare.")
    found = _mann_whitney(cells, params) if len(params.grouping.names) == 2 else _kruskal_wallis(cells)
    return RankTestResult(
        n=round(cells.sum()),
        n_excluded=whole(float(total.excluded)),
        formula=str(params.formula),
        ties=tied(cells.sum(axis=0)),
        exact=not params.lattice.merged,
        groups=_groups(names, cells, params.lattice),
        dunn=_dunn(names, cells) if params.dunn and len(names) > 2 else (),
        confidence=params.confidence,
        missing={name: whole(float(m)) for name, m in zip(params.variables, total.missing, strict=True)},
        warnings=tuple(_warnings(params, total, present)),
        **found,
    )


def _mann_whitney(cells: Array, params: RankTestParams) -> dict[str, float | str]:
    first, second = cells
    m, n, together = first.sum(), second.sum(), cells.sum(axis=0)
    u = _larger(second, first)
    variance = m * n / 12 * (m + n + 1) * (1 - tied(together))
    away = u - m * n / 2
    shift = 0.5 * np.sign(away) if params.continuity else 0.0
    z = float((away - shift) / math.sqrt(variance))
    auc = u / (m * n)
    error = _delong(first, second, auc)
    reach = float(special.ndtri(0.5 + params.confidence / 2)) * error
    in_one_bin = float(first @ second) / (m * n) if params.lattice.merged else 0.0
    return {
        "test": "Mann-Whitney",
        "statistic": z,
        "p_value": float(2 * special.ndtr(-abs(z))),
        "auc": auc,
        "auc_se": error,
        "auc_low": max(auc - reach, 0.0),
        "auc_high": min(auc + reach, 1.0),
        "auc_error": 0.5 * in_one_bin,
    }


def _kruskal_wallis(cells: Array) -> dict[str, float | str]:
    together, n = cells.sum(axis=0), cells.sum()
    sizes = cells.sum(axis=1)
    means = cells @ mid_ranks(together) / sizes
    h = float(12 / (n * (n + 1)) * np.sum(sizes * (means - (n + 1) / 2) ** 2) / (1 - tied(together)))
    return {
        "test": "Kruskal-Wallis",
        "statistic": h,
        "df": len(cells) - 1,
        "p_value": float(special.chdtrc(len(cells) - 1, h)),
        "epsilon_squared": h / (n - 1),
    }


def _larger(cells: Array, others: Array) -> float:
    """Pairs in which a person of `cells` has a larger value than one of `others`, ties half."""
    return float(cells @ (np.cumsum(others) - 0.5 * others))


def _delong(first: Array, second: Array, auc: float) -> float:
    """Standard error of the AUC from everybody's placement among the other group; NaN for a group of one."""
    m, n = first.sum(), second.sum()
    if min(m, n) < 2:
        return math.nan
    above = (np.cumsum(first) - 0.5 * first) / m
    below = 1 - (np.cumsum(second) - 0.5 * second) / n
    spread = second @ (above - auc) ** 2 / (n - 1) / n + first @ (below - auc) ** 2 / (m - 1) / m
    return math.sqrt(float(spread))


def _groups(names: list[str], cells: Array, lattice: RankLattice) -> dict[str, RankedGroup]:
    ranks, two = mid_ranks(cells.sum(axis=0)), len(cells) == 2
    found = {}
    for g, (name, row) in enumerate(zip(names, cells, strict=True)):
        shares = {f"p{s}": lattice.value(quantile(row, s / 100)) for s in (5, 25, 50, 75, 95)}
        found[name] = RankedGroup(
            n=round(row.sum()),
            mean_rank=float(row @ ranks / row.sum()),
            u=_larger(row, cells[1 - g]) if two else None,
            **(shares if lattice.has_values else {}),
        )
    return found


def _dunn(names: list[str], cells: Array) -> tuple[DunnDifference, ...]:
    together, sizes, n = cells.sum(axis=0), cells.sum(axis=1), cells.sum()
    means = cells @ mid_ranks(together) / sizes
    variance = n * (n + 1) / 12 * (1 - tied(together))
    pairs = list(itertools.combinations(range(len(names)), 2))
    z = np.array([(means[b] - means[a]) / math.sqrt(variance * (1 / sizes[a] + 1 / sizes[b])) for a, b in pairs])
    p = 2 * special.ndtr(-np.abs(z))
    adjusted = np.empty_like(p)
    order = np.argsort(p, kind="stable")
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1.0)
    return tuple(
        DunnDifference(contrast=f"{names[b]} - {names[a]}", statistic=x, p_value=y, p_adjusted=q)
        for (a, b), x, y, q in zip(pairs, map(float, z), map(float, p), map(float, adjusted), strict=True)
    )


def _warnings(params: RankTestParams, total: Histograms, present: list[int]) -> list[str]:
    nobody = [name for g, name in enumerate(params.grouping.names) if g not in present]
    found = [f"Nobody is in {', '.join(nobody)}: left out."] if nobody else []
    if params.lattice.merged:
        found.append(
            f"`{params.outcome}` was ranked in {params.lattice.points} bins: who shares a bin is tied, so this is the "
            "test of the binned values."
        )
    return [*found, *withheld_warning(params.variables, total.missing)]
