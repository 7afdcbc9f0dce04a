"""Tests and measures of association for one table of people, with rows and columns."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from algorithms.numerics.conditional_odds import conditional_odds
from cohortium.quantities import Array


class Test(BaseModel):
    """A test statistic with its chi-squared p-value."""

    __test__ = False  # not for pytest
    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    statistic: float = Field(description="Value of the statistic.")
    df: int = Field(description="Degrees of freedom.")
    p_value: float = Field(description="Probability of a value as large, if there is no association.")

    @classmethod
    def chi_squared(cls, statistic: float, df: int) -> Test:
        """A statistic that is chi-squared with `df` degrees of freedom."""
        from scipy import special  # noqa: PLC0415 - a client does without

        return cls(statistic=float(statistic), df=df, p_value=float(special.chdtrc(df, statistic)))


class Fisher(BaseModel):
    """Fisher's test: exact for two rows and columns, by simulation for more."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    p_value: float = Field(description="Two-sided: probability of a table as unlikely, given its margins.")
    draws: int | None = Field(None, description="Tables drawn, if the p-value is by simulation.")
    odds_ratio: float | None = Field(None, description="Conditional maximum-likelihood estimate (two by two).")
    ci_low: float | None = Field(None, description="Exact lower confidence limit of it.")
    ci_high: float | None = Field(None, description="Exact upper confidence limit of it.")


class Measure(BaseModel):
    """A measure of association with its confidence interval."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    estimate: float = Field(description="The estimate.")
    ci_low: float = Field(description="Lower confidence limit.")
    ci_high: float = Field(description="Upper confidence limit.")


@dataclass(frozen=True)
class Contingency:
    """A table without empty rows and columns; `rows` and `columns` are the positions of those that are left."""

    table: Array
    rows: tuple[int, ...]
    columns: tuple[int, ...]

    @classmethod
    def of(cls, table: Array) -> Contingency:
        """The table less the rows and columns in which nobody is."""
        rows, columns = np.flatnonzero(table.sum(axis=1)), np.flatnonzero(table.sum(axis=0))
        return cls(table[np.ix_(rows, columns)], tuple(map(int, rows)), tuple(map(int, columns)))

    @property
    def is_testable(self) -> bool:
        """Whether two rows and two columns at least are left."""
        return bool(min(self.table.shape) >= 2)

    @property
    def is_fourfold(self) -> bool:
        """Whether it is two by two."""
        return self.table.shape == (2, 2)

    @property
    def df(self) -> int:
        """Degrees of freedom of independence."""
        rows, columns = self.table.shape
        return int((rows - 1) * (columns - 1))

    @property
    def expected(self) -> Array:
        """People expected in each cell if rows and columns are independent."""
        return np.asarray(np.outer(self.table.sum(axis=1), self.table.sum(axis=0)) / self.table.sum())

    def pearson(self) -> Test:
        """Pearson's chi-squared test, without correction."""
        return Test.chi_squared(float(np.sum((self.table - self.expected) ** 2 / self.expected)), self.df)

    def yates(self) -> Test:
        """The same with Yates's correction for continuity, for two by two."""
        off = np.abs(self.table - self.expected)
        return Test.chi_squared(float(np.sum((off - np.minimum(0.5, off)) ** 2 / self.expected)), self.df)

    def likelihood_ratio(self) -> Test:
        """The likelihood-ratio test (G)."""
        seen = self.table > 0
        terms = self.table[seen] * np.log(self.table[seen] / self.expected[seen])
        return Test.chi_squared(2 * float(terms.sum()), self.df)

    def cramer(self) -> float:
        """Cramér's V: 0 for independence, 1 for complete association."""
        return math.sqrt(self.pearson().statistic / (self.table.sum() * (min(self.table.shape) - 1)))

    def trend(self, scores: Array) -> Test:
        """Cochran-Armitage: whether the share of the second column rises or falls with the scores of the rows."""
        n, events = self.table.sum(axis=1), self.table[:, 1]
        share = events.sum() / n.sum()
        centred = scores - n @ scores / n.sum()
        score, variance = centred @ events, share * (1 - share) * (n @ centred**2)
        return Test.chi_squared(float(score**2 / variance), 1)

    def fisher(self, *, draws: int, seed: int, confidence: float) -> Fisher:
        """Fisher's test: exact for two by two; else from `draws` tables with the same margins (Patefield 1981)."""
        from scipy import special, stats  # noqa: PLC0415 - takes half a second to load

        whole = self.table.astype(np.int64)
        if self.is_fourfold:
            p = float(stats.fisher_exact(whole).pvalue)
            estimate, low, high = conditional_odds(self.table, confidence)
            return Fisher(p_value=p, odds_ratio=estimate, ci_low=low, ci_high=high)
        drawn = stats.random_table(whole.sum(axis=1), whole.sum(axis=0), seed=seed).rvs(draws)
        likely = -special.gammaln(drawn + 1.0).sum(axis=(-2, -1))
        observed = -float(special.gammaln(self.table + 1.0).sum())
        as_unlikely = int(np.count_nonzero(likely <= observed + 1e-7 * abs(observed)))
        return Fisher(p_value=(1 + as_unlikely) / (draws + 1), draws=draws)

    def measures(self, confidence: float) -> dict[str, Measure]:
        """Odds ratio, risk ratio and risk difference of a fourfold table, with Wald intervals.

        The event is the second column; the second row is compared with the first. Ratios on the logarithmic scale
        (Woolf 1955; Katz 1978).
        """
        from scipy import special  # noqa: PLC0415

        z = float(special.ndtri(0.5 + confidence / 2))
        (a, b), (c, d) = self.table
        low, high = b / (a + b), d / (c + d)
        with np.errstate(divide="ignore", invalid="ignore"):
            odds = np.log(a) + np.log(d) - np.log(b) - np.log(c)
            risk = np.log(high) - np.log(low)
            odds_error = np.sqrt(1 / a + 1 / b + 1 / c + 1 / d)
            risk_error = np.sqrt(1 / d - 1 / (c + d) + 1 / b - 1 / (a + b))
        error = math.sqrt(high * (1 - high) / (c + d) + low * (1 - low) / (a + b))
        return {
            "odds ratio": _ratio(odds, odds_error, z),
            "risk ratio": _ratio(risk, risk_error, z),
            "risk difference": _interval(high - low, error, z),
        }


def _ratio(log: float, error: float, z: float) -> Measure:
    if not math.isfinite(error):
        return Measure(estimate=float(np.exp(log)), ci_low=math.nan, ci_high=math.nan)
    return Measure(**{name: float(np.exp(v)) for name, v in _interval(float(log), float(error), z)})


def _interval(estimate: float, error: float, z: float) -> Measure:
    return Measure(estimate=float(estimate), ci_low=float(estimate - z * error), ci_high=float(estimate + z * error))


def trend(table: Array, scores: Sequence[float] = ()) -> Test | None:
    """The test for trend of a table with two rows or two columns; `scores` are 0, 1, 2 ... if none are given."""
    long = table if table.shape[1] == 2 else table.T
    shown = Contingency.of(long)
    kept = np.array(scores or range(len(long)), dtype=np.float64)[list(shown.rows)]
    return shown.trend(kept) if shown.is_testable and len(set(kept)) > 1 else None
