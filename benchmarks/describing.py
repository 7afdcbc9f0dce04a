"""Describing and comparing a million people, beside pandas, scipy and statsmodels on the pooled rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import statsmodels.api as sm
from scipy import stats
from statsmodels.stats.meta_analysis import combine_effects

from benchmarks.beside import NODES, Case, compare
from benchmarks.measuring import Row

NUMBERS = ("age", "bmi", "sbp", "dbp")


def measure() -> Iterator[Row]:
    """Seconds for the same figures, in turn; rounds, memory per node, and how far they are apart."""
    yield from compare([*DESCRIBING, *COMPARING])


def _moments(frame: pd.DataFrame) -> Any:
    numbers = frame[list(NUMBERS)]
    moments = [numbers.mean(), numbers.std(), numbers.skew(), numbers.kurt()]
    return moments[:2]


def _table(frame: pd.DataFrame) -> Any:
    groups = frame.groupby("sex")[list(NUMBERS)]
    shares = pd.crosstab(frame["sex"], frame["smoking"])
    return [*groups.mean().to_numpy().ravel(), *groups.std().to_numpy().ravel(), *shares.to_numpy().ravel()]


def _of_table(result: Any) -> Any:
    rows, sexes = result.variables, ("female", "male")
    means, sds = ([getattr(rows[v].groups[s], f) for s in sexes for v in NUMBERS] for f in ("mean", "sd"))
    levels = ("current", "former", "never")
    return [*means, *sds, *(rows["smoking"].groups[s].counts[level] for s in sexes for level in levels)]


def _welch(frame: pd.DataFrame) -> Any:
    groups = dict(list(frame.groupby("sex")["sbp"]))
    return stats.ttest_ind(groups["female"], groups["male"], equal_var=False).statistic


def _anova(frame: pd.DataFrame) -> Any:
    return stats.f_oneway(*(group for _, group in frame.groupby("smoking")["sbp"])).statistic


def _mann_whitney(frame: pd.DataFrame) -> Any:
    return stats.mannwhitneyu(*(group for _, group in frame.groupby("sex")["sbp"])).statistic


def _meta_analysis(frame: pd.DataFrame) -> Any:
    effects, variances = [], []
    for cohort in np.split(frame, NODES):
        fit = sm.OLS(cohort["sbp"], sm.add_constant(cohort["age"].astype(float))).fit()
        effects.append(fit.params["age"])
        variances.append(fit.bse["age"] ** 2)
    return combine_effects(np.array(effects), np.array(variances), method_re="chi2").mean_effect_re


def _crosstab(frame: pd.DataFrame) -> Any:
    return stats.chi2_contingency(pd.crosstab(frame["smoking"], frame["ill"]), correction=False).statistic


DESCRIBING = [
    Case(
        "describe, 4 variables", "describe", {"variables": NUMBERS},
        lambda r: [[r.variables[v].mean for v in NUMBERS], [r.variables[v].sd for v in NUMBERS]],
        "pandas mean, std, skew, kurt", _moments,
    ),
    Case(
        "quantiles, 4 variables", "quantiles", {"variables": NUMBERS, "precision": 0.1, "minimum": 0, "maximum": 300},
        lambda r: [r.variables[v]["all"].values for v in NUMBERS],
        "pandas quantile", lambda f: [f[v].quantile([0.25, 0.5, 0.75]) for v in NUMBERS],
    ),
    Case(
        "histogram, 20 bins", "histogram", {"variable": "sbp", "breaks": tuple(range(60, 190, 10))},
        lambda r: [b.count for b in next(iter(r.groups.values()))],
        "numpy histogram", lambda f: np.histogram(f["sbp"], range(60, 190, 10))[0],
    ),
    Case(
        "crosstab with its tests", "crosstab", {"rows": "smoking", "columns": "ill"},
        lambda r: r.chi_squared.statistic, "pandas crosstab, scipy chi2_contingency", _crosstab,
    ),
    Case(
        "table1, 5 variables by sex", "table1", {"variables": (*NUMBERS, "smoking"), "by": "sex"},
        _of_table, "pandas groupby and crosstab", _table,
    ),
]  # fmt: skip

COMPARING = [
    Case(
        "t_test (Welch)", "t_test", {"formula": "sbp ~ sex"},
        lambda r: r.difference.statistic, "scipy ttest_ind", _welch,
    ),
    Case(
        "anova, one-way, Tukey", "anova", {"formula": "sbp ~ smoking"},
        lambda r: next(iter(r.terms.values())).statistic, "scipy f_oneway (no Tukey)", _anova,
    ),
    Case(
        "correlation, 4 variables", "correlation", {"variables": NUMBERS},
        lambda r: r.matrix, "pandas corr, complete rows", lambda f: f[list(NUMBERS)].dropna().corr(),
    ),
    Case(
        "rank_test (Mann-Whitney)", "rank_test", {"formula": "sbp ~ sex", "precision": {"sbp": 1}},
        lambda r: r.groups["female"].u, "scipy mannwhitneyu", _mann_whitney,
    ),
    Case(
        "meta_analysis, a regression per cohort", "meta_analysis",
        {"formula": "sbp ~ age", "term": "age", "family": "gaussian", "method": "dl"},
        lambda r: r.pooled.estimate, "statsmodels OLS by cohort, combine_effects", _meta_analysis,
    ),
]  # fmt: skip


if __name__ == "__main__":
    for row in measure():
        print(f"{row.what:70} {row.measured:26} {row.remark}", flush=True)
