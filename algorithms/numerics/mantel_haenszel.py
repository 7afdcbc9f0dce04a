"""One odds ratio from many fourfold tables, and whether it is the same in all of them.

Everything is a sum over strata, so strata that lie within cohorts need not be shown: eight sums say it all.

In a stratum a, b / c, d are the cells, with n = a + b + c + d:
E(a) = (a + b)(a + c) / n, Var(a) = (a + b)(c + d)(a + c)(b + d) / (n^2 (n - 1)), R = ad / n, S = bc / n,
P = (a + d) / n, Q = (b + c) / n.
Sources: Mantel & Haenszel (1959), JNCI 22:719; Robins, Breslow & Greenland (1986), Biometrics 42:311, for the variance;
Tarone (1985), Biometrika 72:91.
"""

from __future__ import annotations

import math

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from algorithms.numerics.contingency import Measure, Test
from cohortium.quantities import Array

SUMS = 8


def stratum_sums(tables: Array) -> Array:
    """Sums over strata (strata, 2, 2) of a - E(a), Var(a), R, S, PR, PS + QR, QS, and 1 for each that informs.

    A stratum informs if each of its margins has somebody; others add nothing. How many have the event is in none of
    the sums alone.
    """
    a, b, c, d, n = _informative(tables)
    rows, columns = (a + b) * (c + d), (a + c) * (b + d)
    P, Q, R, S = (a + d) / n, (b + c) / n, a * d / n, b * c / n
    parts = (
        a - (a + b) * (a + c) / n,
        rows * columns / (n**2 * (n - 1)),
        R,
        S,
        P * R,
        P * S + Q * R,
        Q * S,
        np.ones_like(n),
    )
    return np.array([float(part.sum()) for part in parts])


def homogeneity_sums(tables: Array, odds_ratio: float) -> Array:
    """Sums over strata of (a - e)^2 / v, a - e and v, with e and v the mean and variance of a under `odds_ratio`."""
    a, b, c, d, _ = _informative(tables)
    fitted = _fitted(a + b, c + d, a + c, odds_ratio)
    variance = 1 / (1 / fitted + 1 / (a + b - fitted) + 1 / (a + c - fitted) + 1 / (d - a + fitted))
    off = a - fitted
    return np.array([float((off**2 / variance).sum()), float(off.sum()), float(variance.sum())])


class CommonOddsRatio(BaseModel):
    """The Mantel-Haenszel odds ratio over strata, with its tests."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    strata: int = Field(description="Strata that inform.")
    odds_ratio: Measure = Field(description="Mantel-Haenszel estimate.")
    log_std_error: float = Field(description="Standard error of its logarithm (Robins-Breslow-Greenland).")
    test: Test = Field(description="Cochran-Mantel-Haenszel test, without correction for continuity.")
    test_corrected: Test = Field(description="The same with the correction, as R gives it by default.")
    breslow_day: Test | None = Field(None, description="Breslow-Day test that the odds ratio is the same everywhere.")
    tarone: Test | None = Field(None, description="The same with Tarone's correction.")

    def with_homogeneity(self, sums: Array) -> CommonOddsRatio:
        """The same with the tests that `homogeneity_sums` make."""
        squares, off, variance = map(float, sums)
        df = self.strata - 1
        tests = (Test.chi_squared(squares, df), Test.chi_squared(squares - off**2 / variance, df))
        return self.model_copy(update={"breslow_day": tests[0], "tarone": tests[1]})


def common_odds_ratio(sums: Array, confidence: float) -> CommonOddsRatio | None:
    """What `stratum_sums` say; None if no stratum informs or the odds ratio is 0 or infinite."""
    from scipy import special  # noqa: PLC0415 - a client does without

    off, variance, R, S, PR, cross, QS, strata = map(float, sums)
    if strata < 1 or R <= 0 or S <= 0 or variance <= 0:
        return None
    log, error = math.log(R / S), math.sqrt(PR / (2 * R**2) + cross / (2 * R * S) + QS / (2 * S**2))
    half = float(special.ndtri(0.5 + confidence / 2)) * error
    corrected = max(abs(off) - 0.5, 0.0)
    return CommonOddsRatio(
        strata=round(strata),
        odds_ratio=Measure(estimate=math.exp(log), ci_low=math.exp(log - half), ci_high=math.exp(log + half)),
        log_std_error=error,
        test=Test.chi_squared(off**2 / variance, 1),
        test_corrected=Test.chi_squared(corrected**2 / variance, 1),
    )


def _informative(tables: Array) -> tuple[Array, Array, Array, Array, Array]:
    margins = [tables.sum(axis=axis).min(axis=-1) for axis in (-1, -2)]
    kept = tables[(margins[0] > 0) & (margins[1] > 0)]
    a, b, c, d = (kept[:, i, j] for i in (0, 1) for j in (0, 1))
    return a, b, c, d, a + b + c + d


def _fitted(first: Array, second: Array, column: Array, odds_ratio: float) -> Array:
    """The cell a that has this odds ratio, given the row totals and the total of the first column.

    The root of (1 - OR) x^2 + (second - column + OR (first + column)) x - OR first column that leaves no cell below 0,
    written so that nothing cancels.
    """
    A = 1 - odds_ratio
    B = second - column + odds_ratio * (first + column)
    C = -odds_ratio * first * column
    q = -0.5 * (B + np.where(B < 0, -1.0, 1.0) * np.sqrt(np.maximum(B * B - 4 * A * C, 0.0)))
    with np.errstate(divide="ignore", invalid="ignore"):
        roots = C / q, q / A if A else np.full_like(q, np.nan)
    low, high = np.maximum(0.0, column - second), np.minimum(first, column)
    middle = 0.5 * (low + high)
    fits = [np.abs(np.where(np.isfinite(root), root, np.inf) - middle) for root in roots]
    return np.asarray(np.where(fits[0] <= fits[1], roots[0], roots[1]))
