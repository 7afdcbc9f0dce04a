"""Means and sums of squares of a number per group, in two rounds: centred on the group's own mean before squaring."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from algorithms.numerics.grouping import Codes, Comparison
from algorithms.numerics.newton import Steps
from algorithms.numerics.standing_out import StandingOut
from cohortium import report
from cohortium.analysis import ask
from cohortium.data import Data
from cohortium.evidence import Evidence
from cohortium.quantities import Array, Counts, SumOver, Sums, Table


class GroupTotals(Sums):
    """First round, per group; nothing is squared, so any unit fits the range of a secure sum.

    `spreads` is the number of people times their standard deviation within this cohort: a scale and no more.
    """

    n: Counts
    excluded: Table
    missing: Table
    totals: Annotated[Array, SumOver("n")]
    spreads: Annotated[Array, SumOver("n")]


class GroupSquares(Sums):
    """Second round: first and second power of the standardised deviations from the group's mean."""

    n: Counts
    deviations: Annotated[Array, SumOver("n")]
    squares: Annotated[Array, SumOver("n")]


def group_totals(data: Data, asked: Comparison) -> GroupTotals:
    """One cohort's first round."""
    n, shifted, squares, origin = np.zeros((4, len(asked.groups)))
    standing = StandingOut(len(asked.groups))
    for block in data.blocks(asked.variables):
        y, code = asked.measure(block)
        standing.add(y, code)
        # Values relative to the group's first one, so that a constant group has a spread of exactly 0.
        new = n[code] == 0
        if new.any():
            groups, first = np.unique(code[new], return_index=True)
            origin[groups] = y[new][first]
        y = y - origin[code]
        n += _per_group(code, asked)
        shifted += _per_group(code, asked, y)
        squares += _per_group(code, asked, y * y)
    people = np.maximum(n, 1.0)
    return GroupTotals(
        n=n,
        excluded=np.array(float(np.count_nonzero(~data.complete(asked.variables)))),
        missing=np.array([float(np.count_nonzero(data.missing(name))) for name in asked.variables]),
        totals=n * origin + shifted,
        spreads=n * np.sqrt(np.maximum(squares / people - (shifted / people) ** 2, 0.0)),
        evidence=standing.evidence(asked.groups),
    )


def group_squares(data: Data, asked: Comparison, centre: Array, unit: float) -> GroupSquares:
    """One cohort's second round, with z = (y - centre of the group) / unit."""
    n, deviations, squares = np.zeros((3, len(asked.groups)))
    standing = StandingOut(len(asked.groups))
    for block in data.blocks(asked.variables):
        y, code = asked.measure(block)
        standing.add(y, code)
        z = (y - centre[code]) / unit
        n += _per_group(code, asked)
        deviations += _per_group(code, asked, z)
        squares += _per_group(code, asked, z * z)
    return GroupSquares(n=n, deviations=deviations, squares=squares, evidence=standing.evidence(asked.groups))


def moments_evidence(data: Data, asked: Comparison) -> Evidence:
    """Whether one person makes up the sums of a group."""
    standing = StandingOut(len(asked.groups))
    for block in data.blocks(asked.variables):
        standing.add(*asked.measure(block))
    return standing.evidence(asked.groups)


def _per_group(code: Codes, asked: Comparison, weights: Array | None = None) -> Array:
    return np.bincount(code, weights, minlength=len(asked.groups)).astype(np.float64)


@dataclass(frozen=True)
class Moments:
    """People, mean and sum of squares about the mean of every group, each of shape (groups,).

    A mean is `centre` plus `off`, what rounding took off the centre: far from zero their sum would lose it again.
    """

    n: Array
    centre: Array
    off: Array
    squares: Array

    @property
    def mean(self) -> Array:
        """The means themselves."""
        return self.centre + self.off

    @property
    def relative(self) -> Array:
        """The means less the centre of the first group that has anybody: their differences keep all digits."""
        return np.asarray(self.centre - self.centre[int(np.argmax(self.n > 0))] + self.off)

    def of(self, groups: Codes) -> Moments:
        """Some of the groups."""
        return Moments(self.n[groups], self.centre[groups], self.off[groups], self.squares[groups])

    @property
    def variance(self) -> Array:
        """Variance (n - 1); NaN for fewer than two people."""
        return self.squares / np.where(self.n > 1, self.n - 1, math.nan)

    @property
    def constant(self) -> bool:
        """Whether nobody differs from the mean of the own group by more than rounding."""
        size = np.max(np.abs(self.mean), initial=0.0)
        return bool(np.sum(self.squares) <= 1e-26 * np.sum(self.n) * size**2)


def pooled_moments(
    totals: Callable[..., GroupTotals], squares: Callable[..., GroupSquares]
) -> Steps[tuple[GroupTotals, Moments]]:
    """Both rounds. `squares` is asked with the broadcasts `centre` and `unit`."""
    first = yield from ask(totals)
    centre, unit = _scale(first)
    second = yield from ask(squares, centre=centre, unit=unit)
    return first, _moments(second, centre, unit)


def own_moments(data: Data, asked: Comparison) -> Moments:
    """Both rounds of one cohort alone, at the node; nothing of it leaves by itself."""
    centre, unit = _scale(group_totals(data, asked))
    return _moments(group_squares(data, asked, centre, unit), centre, unit)


def _scale(first: GroupTotals) -> tuple[Array, float]:
    mean = first.totals / np.maximum(first.n, 1.0)
    return mean, float(np.sum(first.spreads) / max(np.sum(first.n), 1.0)) or float(np.max(np.abs(mean))) or 1.0


def _moments(second: GroupSquares, centre: Array, unit: float) -> Moments:
    # The mean that was broadcast may lie beside the true one by a rounding; the deviations put that right.
    off = second.deviations / np.maximum(second.n, 1.0)
    within = np.maximum(second.squares - second.deviations * off, 0.0)
    return Moments(second.n, centre, unit * off, unit * unit * within)


def hedges_correction(df: float) -> float:
    """What takes the small-sample bias off a standardised difference (Hedges 1981); NaN without a degree of freedom."""
    return math.exp(math.lgamma(df / 2) - math.lgamma((df - 1) / 2)) / math.sqrt(df / 2) if df > 1 else math.nan


class GroupSummary(BaseModel):
    """One group. What is not defined for so few people is NaN."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    n: int = Field(description="People.")
    mean: float = Field(description="Mean.")
    sd: float = Field(description="Standard deviation (n - 1).")
    std_error: float = Field(description="Standard error of the mean.")
    ci_low: float = Field(description="Lower confidence limit of the mean (t, from this group alone).")
    ci_high: float = Field(description="Upper confidence limit of the mean.")


def summaries(names: tuple[str, ...], moments: Moments, level: float) -> dict[str, GroupSummary]:
    """The groups that have anybody, by name."""
    from scipy import special  # noqa: PLC0415 - a client does without

    sd = np.sqrt(moments.variance)
    error = sd / np.sqrt(np.maximum(moments.n, 1.0))
    half = special.stdtrit(np.where(moments.n > 1, moments.n - 1, math.nan), 0.5 + level / 2) * error
    columns = (moments.mean, sd, error, moments.mean - half, moments.mean + half)
    fields = ("mean", "sd", "std_error", "ci_low", "ci_high")
    return {
        name: GroupSummary(n=round(moments.n[g]), **dict(zip(fields, (float(c[g]) for c in columns), strict=True)))
        for g, name in enumerate(names)
        if moments.n[g]
    }


def whole(count: float) -> int | None:
    """A count for a result; None where it was withheld."""
    return None if math.isnan(count) else round(count)


def withheld_warning(variables: tuple[str, ...], missing: Array) -> list[str]:
    """Says of which variables the number of missing values is withheld, if of any."""
    names = [name for name, count in zip(variables, missing, strict=True) if math.isnan(count)]
    return [f"How many people lack {', '.join(names)} is withheld: a cohort's number is small."] if names else []


def group_table(groups: dict[str, GroupSummary], confidence: float) -> report.Table:
    """The groups with means and spreads."""
    level = f"{100 * confidence:g}% CI"
    columns = ("group", "n", "mean", "SD", "std. error", f"{level} low", f"{level} high")
    rows = tuple((name, g.n, g.mean, g.sd, g.std_error, g.ci_low, g.ci_high) for name, g in groups.items())
    return report.Table("Groups", columns, rows)


def group_rows(groups: dict[str, GroupSummary]) -> list[dict[str, str | float | None]]:
    """The groups as rows of a chart."""
    return [
        {"group": name, "mean": g.mean, "low": g.ci_low, "high": g.ci_high}
        for name, g in groups.items()
        if math.isfinite(g.ci_low)
    ]
