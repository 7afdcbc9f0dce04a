"""Logistic regression over 10 cohorts in one process, beside statsmodels and bare numpy on the pooled array."""

from __future__ import annotations

import statistics

import numpy as np
import polars as pl
import statsmodels.api as sm
from scipy.special import expit

from benchmarks.measuring import Row, side_by_side, spread
from simulation import network

NODES, ROWS, COVARIATES = 10, 100_000, 10
REPEATS = 5


def measure() -> list[Row]:
    """Seconds for the same fit, in turn, and how far the coefficients are apart."""
    rng = np.random.default_rng(1)
    X = rng.normal(size=(NODES * ROWS, COVARIATES))
    y = (rng.random(len(X)) < expit(-0.5 + X @ np.linspace(-0.5, 0.5, COVARIATES))).astype(float)
    names = [f"x{i}" for i in range(COVARIATES)]
    frame = pl.DataFrame({**{n: X[:, i] for i, n in enumerate(names)}, "y": y.astype(bool)})
    study = network({f"cohort-{k}": frame[k * ROWS : (k + 1) * ROWS] for k in range(NODES)}).study()
    pooled = np.column_stack([np.ones(len(X)), X])
    formula = "y ~ " + " + ".join(names)

    def federated() -> np.ndarray:
        fit = study.glm(formula=formula, family="binomial", cohort_effect="common").result(progress=False)
        return np.array([c.estimate for c in fit.coefficients.values()])

    fits = {
        "federated": federated,
        "statsmodels": lambda: sm.GLM(y, pooled, sm.families.Binomial()).fit(tol=1e-12).params,
        "numpy": lambda: irls(pooled, y),
    }
    estimates = {name: fit() for name, fit in fits.items()}
    taken = side_by_side(fits, REPEATS)
    median = {name: statistics.median(seconds) for name, seconds in taken.items()}
    apart = max(float(np.max(np.abs(estimates[n] - estimates["federated"]))) for n in ("statsmodels", "numpy"))
    size = f"{NODES} x {ROWS:,} x {COVARIATES}"
    return [
        Row(f"logistic, {size}, federated in one process", spread(taken["federated"]), "",
            f"coefficients {apart:.0e} apart"),
        Row("… statsmodels GLM on the pooled array", spread(taken["statsmodels"]), "slower than federated",
            f"{median['statsmodels'] / median['federated']:.1f} x federated"),
        Row("… bare numpy IRLS on the pooled array", spread(taken["numpy"]), "federated <= 1.5 x this",
            f"federated is {median['federated'] / median['numpy']:.2f} x this"),
    ]  # fmt: skip


def irls(X: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Newton's method for the logistic likelihood, as short as numpy allows, to the same accuracy."""
    beta = np.zeros(X.shape[1])
    while True:
        p = expit(X @ beta)
        score = X.T @ (y - p)
        step = np.linalg.solve((X.T * (p * (1 - p))) @ X, score)
        beta = beta + step
        if score @ step < 1e-16:
            return beta
