"""Groups of people side by side: summaries of a variable, how far they lie apart, and tests."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from algorithms.numerics.contingency import Contingency
from algorithms.numerics.groups import whole
from algorithms.numerics.moments import mean_and_sd
from algorithms.numerics.order_statistics import Column
from algorithms.numerics.quantile_types import position
from cohortium.quantities import Array

_QUARTILES = (0.25, 0.5, 0.75)


class Summary(BaseModel):
    """One variable in one group. What is withheld is None; what is not defined for so few people is NaN."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    n: int | None = Field(description="People with a value.")
    missing: int | None = Field(description="People without one.")
    mean: float | None = Field(None, description="Mean.")
    sd: float | None = Field(None, description="Standard deviation (n - 1).")
    median: float | None = Field(None, description="Median, where it was asked for.")
    quartiles: tuple[float, float] | None = Field(None, description="First and third quartile.")
    exact_quantiles: bool | None = Field(None, description="Whether median and quartiles are exact.")
    counts: dict[str, int | None] = Field(default={}, description="People per category.")
    proportions: dict[str, float | None] = Field(default={}, description="Share of each category among `n`.")

    @property
    def is_known(self) -> bool:
        """Whether there is enough to compare it with others."""
        numbers = self.mean is not None and self.sd is not None and math.isfinite(self.mean + self.sd)
        return bool(self.n) and (None not in self.counts.values() if self.counts else numbers)


class Comparison(BaseModel):
    """A test that the groups do not differ."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    test: str = Field(description="Which test.")
    statistic: float = Field(description="Its statistic.")
    p_value: float = Field(description="Its p-value.")


class Row(BaseModel):
    """One variable over all groups."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    type: str = Field(description="Its type in the dictionary.")
    unit: str | None = Field(None, description="Unit of measurement.")
    groups: dict[str, Summary] = Field(description="Summaries by group.")
    overall: Summary | None = Field(None, description="All groups together.")
    smd: float | None = Field(
        None,
        description="Standardised mean difference, second group against first; with more groups, or levels, its size "
        "averaged over pairs of groups.",
    )
    comparison: Comparison | None = Field(None, description="The test, if it was asked for.")


def combined(groups: Sequence[Summary]) -> Summary:
    """Everybody of all groups, without the quantiles."""
    n, missing = total([g.n for g in groups]), total([g.missing for g in groups])
    if groups[0].counts:
        counts = {level: total([g.counts[level] for g in groups]) for level in groups[0].counts}
        return Summary(n=n, missing=missing, counts=counts, proportions=proportions(counts))
    some = [(g.n, g.mean, g.sd) for g in groups if g.n and g.mean is not None and g.sd is not None]
    if not n:
        return Summary(n=n, missing=missing)
    mean = sum(k * m for k, m, _ in some) / n
    squares = sum((0.0 if k == 1 else (k - 1) * s**2) + k * (m - mean) ** 2 for k, m, s in some)
    return Summary(n=n, missing=missing, mean=mean, sd=math.sqrt(squares / (n - 1)) if n > 1 else math.nan)


def proportions(counts: Mapping[str, int | None]) -> dict[str, float | None]:
    """Shares of the levels; all None if one is withheld."""
    n = total(list(counts.values()))
    return {level: None if n is None or c is None else (c / n if n else math.nan) for level, c in counts.items()}


def standardised_difference(groups: Sequence[Summary]) -> float | None:
    """Distance between the groups in standard deviations, the mean of their variances being the unit.

    Numbers and yes/no variables: (second - first) / sqrt((s1^2 + s2^2) / 2) (Austin 2009, Stat Med 28:3083). Several
    levels: Mahalanobis distance between the shares (Yang & Dalton 2012, SAS Global Forum 335). More than two groups:
    the mean of its size over all pairs. None where something is withheld or nobody is.
    """
    if len(groups) < 2 or not all(g.is_known for g in groups):
        return None
    pairs = [_difference(a, b) for a, b in itertools.combinations(groups, 2)]
    return pairs[0] if len(pairs) == 1 else float(np.mean(np.abs(pairs)))


def _difference(first: Summary, second: Summary) -> float:
    if not first.counts:
        unit = math.sqrt(((first.sd or 0.0) ** 2 + (second.sd or 0.0) ** 2) / 2)
        return _ratio((second.mean or 0.0) - (first.mean or 0.0), unit)
    shares = [np.array([p or 0.0 for p in g.proportions.values()])[1:] for g in (first, second)]
    spread = sum((np.diag(p) - np.outer(p, p) for p in shares), np.zeros((len(shares[0]),) * 2)) / 2
    apart = shares[1] - shares[0]
    if len(apart) == 1:
        return _ratio(float(apart[0]), math.sqrt(float(spread[0, 0])))
    # Levels that nobody has leave the matrix singular, and add nothing.
    return math.sqrt(max(float(apart @ np.linalg.pinv(spread, hermitian=True) @ apart), 0.0))


def _ratio(difference: float, unit: float) -> float:
    return difference / unit if unit else (0.0 if difference == 0 else math.copysign(math.inf, difference))


def comparison(groups: Sequence[Summary]) -> Comparison | None:
    """Welch's test of means, or Pearson's of counts, over the groups that have people; None if something is withheld.

    Source: Welch (1951), Biometrika 38:330; for two groups it is Welch's t test, F = t^2.
    """
    if any(g.n is None or None in g.counts.values() for g in groups):
        return None
    some = [g for g in groups if g.n]
    if len(some) < 2:
        return None
    if some[0].counts:
        shown = Contingency.of(np.array([list(g.counts.values()) for g in some], dtype=np.float64))
        if not shown.is_testable:
            return None
        found = shown.pearson()
        return Comparison(test="chi-squared", statistic=found.statistic, p_value=found.p_value)
    if not all(g.is_known and g.sd for g in some):
        return None
    return _welch(*(np.array([getattr(g, part) for g in some], dtype=np.float64) for part in ("n", "mean", "sd")))


def _welch(n: Array, mean: Array, sd: Array) -> Comparison:
    from scipy import special  # noqa: PLC0415 - a client does without

    weight, k = n / sd**2, len(n)
    centre = weight @ mean / weight.sum()
    off = float(np.sum((1 - weight / weight.sum()) ** 2 / (n - 1)))
    statistic = (weight @ (mean - centre) ** 2 / (k - 1)) / (1 + 2 * (k - 2) / (k**2 - 1) * off)
    p = float(special.fdtrc(k - 1, (k**2 - 1) / (3 * off), statistic))
    return Comparison(test="Welch", statistic=float(statistic), p_value=p)


def total(parts: Sequence[int | None]) -> int | None:
    """The sum; None if a part is withheld."""
    known = [part for part in parts if part is not None]
    return sum(known) if len(known) == len(parts) else None


def quartile_ranks(n: int) -> list[int]:
    """The order statistics that median and quartiles of `n` values need."""
    return [rank for p in _QUARTILES for rank in position(n, p, 7)[:2]] if n else []


def with_quartiles(about: Summary, column: Column) -> Summary:
    """The summary with median and quartiles, as far as they were found."""
    if not column.ranks:
        return about
    found = [column.quantile(p, 7) for p in _QUARTILES]
    first, middle, third = (q.value for q in found)
    exact = all(q.low == q.high for q in found)
    return about.model_copy(update={"median": middle, "quartiles": (first, third), "exact_quantiles": exact})


def number_summaries(
    names: Sequence[str], known: Array, missing: Array, scale: tuple[Array, Array], powers: Array
) -> dict[str, list[Summary]]:
    """Means and standard deviations, (numbers, groups); None where a cohort had too few people to be part of them."""
    found: dict[str, list[Summary]] = {}
    for i, name in enumerate(names):
        row = found[name] = []
        for g, n in enumerate(map(float, known[i])):
            about = Summary(n=whole(n), missing=whole(missing[i, g]))
            if n > 0:
                mean, sd = mean_and_sd(n, float(scale[0][i, g]), float(scale[1][i, g]), powers[i, g])
                about = about.model_copy(update={"mean": mean, "sd": sd})
            row.append(about)
    return found


def category_summaries(categories: Mapping[str, tuple[str, ...]], cells: Array) -> dict[str, list[Summary]]:
    """Counts and shares, from the cells (categories, levels and missing, groups)."""
    found: dict[str, list[Summary]] = {}
    for i, (name, levels) in enumerate(categories.items()):
        row = found[name] = []
        for column in cells[i].T:
            counts = {level: whole(c) for level, c in zip(levels, column, strict=False)}
            # A total beside its other cells would give a withheld cell away.
            n = whole(float(column[: len(levels)].sum()))
            row.append(Summary(n=n, missing=whole(column[-1]), counts=counts, proportions=proportions(counts)))
    return found
