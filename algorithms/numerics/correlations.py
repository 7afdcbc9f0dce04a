"""Correlations from a matrix of cross-products, with what they allow to infer."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from scipy import special

from cohortium import report
from cohortium.exactness import Exactness, approximately, exactly, lacking
from cohortium.quantities import Array
from cohortium.result import Result

if TYPE_CHECKING:
    import altair

Method = Literal["pearson", "spearman"]


class Correlation(BaseModel):
    """Two variables."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    first: str = Field(description="One variable.")
    second: str = Field(description="The other.")
    r: float = Field(description="Correlation.")
    statistic: float = Field(description="t.")
    p_value: float = Field(description="Two-sided p-value (t).")
    ci_low: float = Field(description="Lower confidence limit (Fisher's z).")
    ci_high: float = Field(description="Upper confidence limit.")
    bin_error: float | None = Field(None, description="Most that bins can have moved `r`; None if values were exact.")


class CorrelationResult(Result):
    """Correlations of every pair."""

    method: str = Field(description="pearson or spearman.")
    variables: tuple[str, ...] = Field(description="The variables, in order.")
    given: tuple[str, ...] = Field((), description="What was held constant.")
    within_cohorts: bool = Field(description="Whether each cohort's own means were taken off.")
    df: float = Field(description="Degrees of freedom of the t tests.")
    correlations: tuple[Correlation, ...] = Field(description="Every pair.")
    matrix: tuple[tuple[float, ...], ...] = Field(description="Correlation matrix, in the order of `variables`.")
    confidence: float = Field(description="Level of the confidence limits.")
    missing: dict[str, int | None] = Field(default={}, description="People without a value, by variable.")

    def __getitem__(self, pair: tuple[str, str]) -> Correlation:
        return next(c for c in self.correlations if {c.first, c.second} == set(pair))

    def in_words(self) -> str:
        """Coefficient, what was held constant, intervals."""
        given = f", given {', '.join(self.given)}" if self.given else ""
        within = ", within cohorts (each cohort's own means taken off)" if self.within_cohorts else ""
        by = "Bonett & Wright (2000)" if self.method == "spearman" else "Fisher's z"
        return (
            f"{self.method.capitalize()} correlations of {', '.join(self.variables)} were computed{given}{within} on "
            f"people with a value of all of them, with t tests and {100 * self.confidence:g}% intervals by {by}."
        )

    def statement(self) -> Exactness:
        """Equal to those of the pooled records, unless values were ranked in bins."""
        errors, left = [c.bin_error for c in self.correlations if c.bin_error is not None], lacking(self.missing)
        if not errors:
            return exactly(excluded=left)
        return approximately("values were ranked in bins, whose people are tied", within=max(errors), excluded=left)

    def tables(self) -> list[report.Table]:
        """The pairs, and from three variables on the matrix."""
        level = f"{100 * self.confidence:g}% CI"
        columns = ("variable", "with", "r", "t", "p", f"{level} low", f"{level} high")
        rows = tuple((c.first, c.second, c.r, c.statistic, c.p_value, c.ci_low, c.ci_high) for c in self.correlations)
        found = [report.Table("Correlations", columns, rows)]
        if len(self.variables) > 2:
            lines: tuple[tuple[str | float, ...], ...] = tuple(
                (name, *row) for name, row in zip(self.variables, self.matrix, strict=True)
            )
            found.append(report.Table("Matrix", ("", *self.variables), lines))
        return found

    def chart(self) -> altair.TopLevelMixin | None:
        """The matrix as a heat map."""
        from algorithms.numerics import comparison_charts  # noqa: PLC0415 - drawing alone needs altair

        rows = [
            {"first": a, "second": b, "value": value}
            for a, row in zip(self.variables, self.matrix, strict=True)
            for b, value in zip(self.variables, row, strict=True)
        ]
        return comparison_charts.heat_map(rows, order=list(self.variables), title=self.method)


def matrix_of(products: Array) -> Array:
    """Cross-products about the mean, scaled to a unit diagonal."""
    size = np.sqrt(np.diag(products))
    found = np.clip(products / np.outer(size, size), -1.0, 1.0)
    np.fill_diagonal(found, 1.0)
    return np.asarray(found)


def partialled(products: Array, kept: int) -> Array:
    """Cross-products of the first `kept` variables once the others are swept out of them.

    Raises numpy.linalg.LinAlgError where the others are collinear.
    """
    size = np.sqrt(np.diag(products))
    unit = products / np.outer(size, size)
    given = unit[kept:, kept:]
    if len(given):
        eigenvalues = np.linalg.eigvalsh(given)
        if eigenvalues[0] < 1e-10 * eigenvalues[-1]:
            raise np.linalg.LinAlgError
        unit = unit[:kept, :kept] - unit[:kept, kept:] @ np.linalg.solve(given, unit[kept:, :kept])
    # Nothing left of a variable but rounding: it is a combination of the given ones.
    if np.any(np.diag(unit)[:kept] < 1e-10):
        raise np.linalg.LinAlgError
    return np.asarray(unit[:kept, :kept])


def infer(names: list[str], matrix: Array, df: float, method: Method, level: float) -> list[Correlation]:
    """Every pair with its t test on `df` degrees of freedom and the interval of Fisher's z.

    The z of Spearman's rho has the variance of Bonett & Wright (2000), Psychometrika 65:23.
    """
    reach = float(special.ndtri(0.5 + level / 2))
    found = []
    for i, j in itertools.combinations(range(len(names)), 2):
        r = float(matrix[i, j])
        statistic = r * math.sqrt(df / (1 - r * r)) if abs(r) < 1 else math.copysign(math.inf, r)
        variance = (1 + r * r / 2 if method == "spearman" else 1.0) / (df - 1) if df > 1 else math.nan
        centre = math.atanh(r) if abs(r) < 1 else statistic
        half = reach * math.sqrt(variance)
        found.append(
            Correlation(
                first=names[i],
                second=names[j],
                r=r,
                statistic=statistic,
                p_value=float(2 * special.stdtr(df, -abs(statistic))),
                ci_low=math.tanh(centre - half),
                ci_high=math.tanh(centre + half),
            )
        )
    return found


def bin_errors(products: Array, spare: Array) -> Array:
    """How far each rank correlation of binned values can lie from that of the values themselves.

    Ranks within a bin have lost at most `spare` = sum (t^3 - t) / 12 of their sum of squares; what is lost is
    orthogonal to the variable's own binned ranks. The Cauchy-Schwarz inequality bounds the rest.
    """
    a, b = np.diag(products)[:, None], np.diag(products)[None, :]
    lost_a, lost_b = spare[:, None], spare[None, :]
    slack = np.sqrt(a * lost_b) + np.sqrt(lost_a * b) + np.sqrt(lost_a * lost_b)
    smallest, largest = np.sqrt(a * b), np.sqrt((a + lost_a) * (b + lost_b))
    high, low = products + slack, products - slack
    upper = np.where(high > 0, high / smallest, high / largest)
    lower = np.where(low > 0, low / largest, low / smallest)
    binned = products / smallest
    return np.asarray(np.maximum(np.minimum(upper, 1.0) - binned, binned - np.maximum(lower, -1.0)))
