"""Means of two groups, of two measurements of the same people, or of one group against a value."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field
from scipy import special

from algorithms.numerics.design import refuse_specials
from algorithms.numerics.grouped_moments import (
    GroupSquares,
    GroupSummary,
    GroupTotals,
    Moments,
    group_rows,
    group_squares,
    group_table,
    group_totals,
    hedges_correction,
    pooled_moments,
    summaries,
    whole,
    withheld_warning,
)
from algorithms.numerics.grouping import Codes, Comparison, Grouping, check_mean, comparison, factors_of
from cohortium import report
from cohortium.analysis import Confidence, Params, Rounds, analysis
from cohortium.data import Data
from cohortium.errors import CannotEstimate, InvalidQuestion
from cohortium.exactness import Exactness, exactly, lacking
from cohortium.formula import Formula
from cohortium.quantities import Array
from cohortium.result import Estimate, Result

if TYPE_CHECKING:
    import altair

Alternative = Literal["two-sided", "less", "greater"]


class TTestParams(Params):
    """Which means to compare, and how."""

    formula: Formula | None = Field(
        None, description="`bmi ~ sex` compares two groups, `bmi ~ 1` one mean with the value `mu`."
    )
    paired: tuple[str, ...] = Field(
        (), description="Instead of a formula: two numbers of the same people, whose mean difference is tested."
    )
    equal_variances: bool = Field(
        False, description="Whether two groups share one variance (Student); by default each has its own (Welch)."
    )
    mu: float = Field(0.0, allow_inf_nan=False, description="The difference, or the one mean, under the hypothesis.")
    alternative: Alternative = Field("two-sided", description="Direction of the test: the difference against `mu`.")
    confidence: float = Confidence

    @cached_property
    def comparison(self) -> Comparison:
        """What is measured, in which groups."""
        if self.formula is None:
            return _pair(*self.paired)
        return comparison(self.formula, self._grouping(self.formula), self.dictionary)

    def check(self) -> None:
        """Raises FormulaError or InvalidQuestion for what has no means to compare."""
        if (self.formula is None) == (not self.paired):
            raise InvalidQuestion("Give either a `formula`, such as `bmi ~ sex`, or two variables as `paired`.")
        if self.formula is None:
            self._check_pair()
        else:
            refuse_specials(self.formula)
            self._check_groups(self.formula)
        _ = self.comparison

    def _check_pair(self) -> None:
        if len(self.paired) != 2 or self.paired[0] == self.paired[1]:
            raise InvalidQuestion("`paired` takes two different variables, measured in the same people.")
        for name in self.paired:
            _ = self.dictionary[name]  # an unknown name has its own words
            check_mean(Formula(f"{name} ~ 1"), self.dictionary)

    def _check_groups(self, formula: Formula) -> None:
        factors = factors_of(formula)
        if not formula.intercept or len(factors) > 1:
            raise InvalidQuestion("A t test takes one variable with two groups after the `~`, or `1`. See `anova`.")
        grouping = self._grouping(formula)
        if factors and len(grouping.names) != 2:
            raise formula.error(
                f"`{factors[0]}` has {len(grouping.names)} levels; a t test compares two. Ask for `anova`.", factors[0]
            )

    def _grouping(self, formula: Formula) -> Grouping:
        return Grouping(factors_of(formula), formula, self.dictionary)


def _pair(first: str, second: str) -> Comparison:
    def measure(block: Data) -> tuple[Array, Codes]:
        a, b = block[first], block[second]
        return np.concatenate([a, b, a - b]), np.repeat(np.arange(3, dtype=np.intp), len(block))

    return Comparison((first, second), (first, second, f"{first} - {second}"), measure)


def totals(data: Data, params: TTestParams) -> GroupTotals:
    """What the means need."""
    return group_totals(data, params.comparison)


def squares(data: Data, params: TTestParams, *, centre: Array, unit: float) -> GroupSquares:
    """What the variances need."""
    return group_squares(data, params.comparison, centre, unit)


class TTestResult(Result):
    """A difference between means."""

    test: str = Field(description="Which t test.")
    formula: str = Field(description="What was compared.")
    groups: dict[str, GroupSummary] = Field(description="The groups, by name.")
    difference: Estimate = Field(description="First less second group, or the one mean; its test is against `mu`.")
    contrast: str = Field(description="What `difference` is.")
    df: float = Field(description="Degrees of freedom.")
    mu: float = Field(description="The value under the hypothesis.")
    alternative: str = Field(description="Direction of the test.")
    sd: float = Field(description="Standard deviation that the effect sizes are in: pooled over groups, or the one.")
    cohens_d: float = Field(description="Difference less `mu`, in standard deviations.")
    hedges_g: float = Field(description="The same without its bias in small samples.")
    hedges_g_low: float = Field(description="Lower confidence limit of `hedges_g` (normal approximation).")
    hedges_g_high: float = Field(description="Upper confidence limit of `hedges_g`.")
    confidence: float = Field(description="Level of the confidence limits.")
    missing: dict[str, int | None] = Field(default={}, description="People without a value, by variable.")

    def in_words(self) -> str:
        """Which test, and the effect sizes."""
        return (
            f"{self.formula} was tested over all cohorts together: {self.test}, {self.alternative}, "
            f"{100 * self.confidence:g}% intervals. Effect sizes are Cohen's d and Hedges' g."
        )

    def statement(self) -> Exactness:
        """Equal to the pooled test."""
        return exactly(excluded=lacking(self.missing))

    def tables(self) -> list[report.Table]:
        """The difference, then the groups."""
        level, d = f"{100 * self.confidence:g}% CI", self.difference
        columns = ("contrast", "estimate", "std. error", "t", "df", "p", f"{level} low", f"{level} high")
        row = (self.contrast, d.estimate, d.std_error, d.statistic, self.df, d.p_value, d.ci_low, d.ci_high)
        return [report.Table("Difference", columns, (row,)), group_table(self.groups, self.confidence)]

    def chart(self) -> altair.TopLevelMixin | None:
        """The means with their intervals."""
        from algorithms.numerics import comparison_charts  # noqa: PLC0415 - drawing alone needs altair

        return comparison_charts.means(group_rows(self.groups), title="mean")


@analysis
def t_test(params: TTestParams) -> Rounds[TTestResult]:
    """T test: Welch, Student, paired, one sample.

    Do the means of two groups differ, or two measurements of the same people, or one mean from a given value? By
    default the groups need not have the same variance (Welch, with Satterthwaite's degrees of freedom). The difference
    is first less second level, as in R. Effect sizes: Cohen's d over the pooled standard deviation (paired: that of the
    differences) and Hedges' g, with exact correction. Two rounds; equal to the test on the pooled records.
    Source: Welch (1947), Biometrika 34:28; Hedges & Olkin (1985), Statistical Methods for Meta-Analysis, ch. 5.
    """
    first, moments = yield from pooled_moments(totals, squares)
    asked = params.comparison
    for name, n in zip(asked.groups, moments.n, strict=True):
        if n < 2:
            raise CannotEstimate(f"`{name}` has {n:g} people with a value for every variable; a t test needs two.")
    if moments.constant:
        raise CannotEstimate("Everybody of a group has the same value: there is no spread to measure a difference by.")
    found = _two_groups(moments, params) if len(moments.n) == 2 else _one_group(moments)
    contrast = f"{asked.groups[0]} - {asked.groups[1]}" if len(moments.n) == 2 else asked.groups[-1]
    effect = (found.estimate - params.mu) / found.sd
    hedges, error = _hedges(effect, found)
    reach = float(special.ndtri(0.5 + params.confidence / 2)) * error
    return TTestResult(
        n=round(moments.n.sum() if len(moments.n) == 2 else moments.n[0]),
        n_excluded=whole(float(first.excluded)),
        test=found.test,
        formula=str(params.formula) if params.formula else contrast,
        groups=summaries(asked.groups, moments, params.confidence),
        difference=_estimate(found, params),
        contrast=contrast,
        df=found.df,
        mu=params.mu,
        alternative=params.alternative,
        sd=found.sd,
        cohens_d=effect,
        hedges_g=hedges,
        hedges_g_low=hedges - reach,
        hedges_g_high=hedges + reach,
        confidence=params.confidence,
        missing={name: whole(float(m)) for name, m in zip(asked.variables, first.missing, strict=True)},
        warnings=tuple(withheld_warning(asked.variables, first.missing)),
    )


@dataclass(frozen=True)
class _Found:
    """An estimate with its standard error. `sd`, on `sd_df` degrees of freedom, is the unit of the effect size."""

    test: str
    estimate: float
    error: float
    df: float
    sd: float
    sd_df: float
    n: Array


def _two_groups(moments: Moments, params: TTestParams) -> _Found:
    n, mean = moments.n, moments.relative
    pooled_df = float(n.sum() - 2)
    pooled = float(moments.squares.sum() / pooled_df)
    shares = (pooled if params.equal_variances else moments.variance) / n
    error = math.sqrt(float(shares.sum()))
    df = pooled_df if params.equal_variances else float(shares.sum() ** 2 / np.sum(shares**2 / (n - 1)))
    name = "Student, two groups" if params.equal_variances else "Welch, two groups"
    return _Found(name, float(mean[0] - mean[1]), error, df, math.sqrt(pooled), pooled_df, n)


def _one_group(moments: Moments) -> _Found:
    """The last group: the only one, or the differences of pairs."""
    n, df = float(moments.n[-1]), float(moments.n[-1] - 1)
    sd = math.sqrt(float(moments.variance[-1]))
    if sd <= 1e-13 * float(np.max(np.abs(moments.mean))):
        raise CannotEstimate("Everybody has the same difference: there is no spread to measure it by.")
    name = "paired" if len(moments.n) == 3 else "one sample"
    return _Found(name, float(moments.mean[-1]), sd / math.sqrt(n), df, sd, df, moments.n[-1:])


def _estimate(found: _Found, params: TTestParams) -> Estimate:
    t = (found.estimate - params.mu) / found.error
    two_sided = params.alternative == "two-sided"
    tail = 0.5 + params.confidence / 2 if two_sided else params.confidence
    reach = float(special.stdtrit(found.df, tail)) * found.error
    p = {"two-sided": 2 * special.stdtr(found.df, -abs(t)), "less": special.stdtr(found.df, t)}
    return Estimate(
        estimate=found.estimate,
        std_error=found.error,
        statistic=t,
        p_value=float(p.get(params.alternative, special.stdtr(found.df, -t))),
        ci_low=-math.inf if params.alternative == "less" else found.estimate - reach,
        ci_high=math.inf if params.alternative == "greater" else found.estimate + reach,
    )


def _hedges(effect: float, found: _Found) -> tuple[float, float]:
    """Hedges' g and its large-sample standard error."""
    g = hedges_correction(found.sd_df) * effect
    return g, math.sqrt(float(np.sum(1 / found.n) + g * g / (2 * np.sum(found.n))))
