"""Models of categories and of families, beside statsmodels on the pooled rows.

The pooled packages keep matrices of all rows, or go through the families one by one: where that takes minutes for a
million rows, both sides get a tenth or less, which is said in the row.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import statsmodels.api as sm
from statsmodels.genmod.cov_struct import Exchangeable
from statsmodels.miscmodels.ordinal_model import OrderedModel

from benchmarks.beside import Case, compare
from benchmarks.measuring import Row

FAMILIES, CATEGORIES = 2_000, 10_000


def measure() -> Iterator[Row]:
    """Seconds for the same fit, in turn; rounds, memory per node, and how far the coefficients are apart."""
    yield from compare(CASES)


def _design(frame: pd.DataFrame) -> Any:
    return np.column_stack([np.ones(len(frame)), frame["age"], frame["sex"] == "male"]).astype(float)


def _slopes(result: Any) -> Any:
    return [c.estimate for c in result.coefficients.values()]


def _multinomial(frame: pd.DataFrame) -> Any:
    outcome = pd.Categorical(frame["smoking"]).codes
    fit = sm.MNLogit(outcome, _design(frame)).fit(disp=0, method="newton", maxiter=50)
    return np.asarray(fit.params)[1:].T


def _ordinal(frame: pd.DataFrame) -> Any:
    outcome = pd.Series(pd.Categorical(frame["health"], ordered=True))
    return OrderedModel(outcome, _design(frame)[:, 1:], distr="logit").fit(disp=0, method="bfgs", gtol=1e-8).params[:2]


def _mixed(frame: pd.DataFrame) -> Any:
    return sm.MixedLM(frame["sbp"].astype(float), _design(frame), groups=frame["family"]).fit(reml=True).fe_params


def _gee(frame: pd.DataFrame) -> Any:
    model = sm.GEE(frame["ill"].astype(float), _design(frame), frame["family"], family=sm.families.Binomial(),
                   cov_struct=Exchangeable())  # fmt: skip
    return model.fit(ctol=1e-10, maxiter=100).params


CASES = [
    Case(
        "multinomial, 3 categories", "multinomial", {"formula": "smoking ~ age + sex", "cohort_effect": "common"},
        _slopes, "statsmodels MNLogit", _multinomial,
    ),
    Case(
        "ordinal, 4 categories", "ordinal",
        {"formula": "health ~ age + sex", "cohort_effect": "common", "brant": False},
        _slopes, "statsmodels OrderedModel", _ordinal, rows=CATEGORIES,
    ),
    Case(
        "mixed_model, random intercept of families", "mixed_model",
        {"formula": "sbp ~ age + sex + (1 | family)", "cohort_effect": "common"},
        _slopes, "statsmodels MixedLM", _mixed, rows=FAMILIES,
    ),
    Case(
        "gee, exchangeable within families", "gee",
        {"formula": "ill ~ age + sex + cluster(family)", "family": "binomial", "cohort_effect": "common"},
        _slopes, "statsmodels GEE", _gee, rows=FAMILIES,
    ),
    Case(
        "mixed_model, random intercept of families", "mixed_model",
        {"formula": "sbp ~ age + sex + (1 | family)", "cohort_effect": "common"},
        _slopes,
    ),
]  # fmt: skip


if __name__ == "__main__":
    for row in measure():
        print(f"{row.what:70} {row.measured:26} {row.remark}", flush=True)
