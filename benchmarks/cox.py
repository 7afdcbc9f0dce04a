"""Stratified Cox regression over 10 cohorts in one process, beside bare numpy, lifelines and statsmodels pooled."""

from __future__ import annotations

import statistics
import warnings
from collections.abc import Callable

import lifelines
import numpy as np
import pandas as pd
import polars as pl
import statsmodels.api as sm

from algorithms.numerics import risk_sets
from benchmarks.measuring import Row, side_by_side, spread, timed
from simulation import network

NODES, ROWS, COVARIATES = 10, 100_000, 10
FEWER = 2_000  # rows per cohort for statsmodels, whose fit takes time and memory with the square of rows
REPEATS = 3
DAYS = 3650


def measure() -> list[Row]:
    """Seconds for the same fit, a baseline hazard per cohort, times in days over ten years; and how far apart."""
    frame = people(NODES * ROWS)
    fits: dict[str, Callable[[], np.ndarray]] = {
        "federated": federated(frame),
        "numpy": lambda: newton(frame),
    }
    estimates = {name: fit() for name, fit in fits.items()}
    taken = side_by_side(fits, REPEATS)
    median = {name: statistics.median(seconds) for name, seconds in taken.items()}
    slow: list[np.ndarray] = []
    pooled = timed(lambda: slow.append(lifelines_fit(frame)))
    apart = max(float(np.max(np.abs(e - estimates["federated"]))) for e in (estimates["numpy"], slow[0]))
    few = people(NODES * FEWER)
    small, phreg = federated(few), timed(lambda: statsmodels_fit(few))
    size, fewer = (f"{NODES} x {rows:,} x {COVARIATES}" for rows in (ROWS, FEWER))
    return [
        Row(f"Cox stratified by cohort, {size}, federated in one process", spread(taken["federated"]), "",
            f"coefficients {apart:.0e} apart; with tests, concordance and its standard error"),
        Row("… bare numpy Newton on the pooled array, coefficients only", spread(taken["numpy"]),
            "federated <= 2 x this", f"federated is {median['federated'] / median['numpy']:.2f} x this"),
        Row("… lifelines on the pooled data", f"{pooled:.2f} s", "slower than federated",
            f"{pooled / median['federated']:.1f} x federated"),
        Row(f"… statsmodels PHReg pooled, {fewer}", f"{phreg:.2f} s", "slower than federated",
            f"{phreg / timed(small):.1f} x federated"),
    ]  # fmt: skip


def people(n: int) -> pd.DataFrame:
    """Exponential times in whole days, of which a third is censored, and the cohort of everybody."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(n, COVARIATES))
    time = rng.exponential(np.exp(-x @ np.linspace(-0.5, 0.5, COVARIATES)))
    end = rng.exponential(2.0, n)
    frame = pd.DataFrame(x, columns=names())
    frame["time"] = np.ceil(np.minimum(time, end) * 365).clip(1, DAYS)
    frame["event"] = (time <= end) & (np.minimum(time, end) * 365 <= DAYS)
    frame["cohort"] = np.arange(n) * NODES // n
    return frame


def names() -> list[str]:
    return [f"x{i}" for i in range(COVARIATES)]


def federated(frame: pd.DataFrame) -> Callable[[], np.ndarray]:
    """The fit over simulated cohorts; every one starts without what an earlier one kept."""
    columns = frame.drop(columns="cohort")
    study = network({f"c-{k}": pl.from_pandas(columns[frame["cohort"] == k]) for k in range(NODES)}).study()

    def fit() -> np.ndarray:
        risk_sets.forget()
        found = study.cox(formula=f"Surv(time, event) ~ {' + '.join(names())}").result(progress=False)
        return np.array([e.estimate for e in found.coefficients.values()])

    return fit


def lifelines_fit(frame: pd.DataFrame) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = lifelines.CoxPHFitter().fit(frame, "time", "event", strata=["cohort"])
    return np.asarray(fit.params_)


def statsmodels_fit(frame: pd.DataFrame) -> np.ndarray:
    model = sm.PHReg(
        frame["time"], frame[names()], status=frame["event"].astype(int), strata=frame["cohort"], ties="efron"
    )
    return np.asarray(model.fit().params)


def newton(frame: pd.DataFrame) -> np.ndarray:
    """Newton's method for the partial likelihood with Efron's ties, sorted once, as short as numpy allows."""
    frame = frame.sort_values(["cohort", "time"])
    strata = []
    for _, part in frame.groupby("cohort"):
        x, event = np.asfortranarray(part[names()].to_numpy()), part["event"].to_numpy()
        times, at = np.unique(part["time"].to_numpy(), return_inverse=True)
        deaths = np.bincount(at[event], minlength=len(times))
        of = np.repeat(np.arange(len(times)), deaths)
        share = (np.arange(len(of)) - (np.cumsum(deaths) - deaths)[of]) / deaths[of]
        strata.append((x, event, at, np.flatnonzero(np.diff(at, prepend=-1)), of, share))
    beta = np.zeros(COVARIATES)
    while True:
        score, information = np.zeros(COVARIATES), np.zeros((COVARIATES, COVARIATES))
        for x, event, at, starts, of, share in strata:
            w = np.exp(x @ beta)
            wx = x * w[:, None]

            def risk(values: np.ndarray, starts: np.ndarray = starts) -> np.ndarray:
                return np.cumsum(np.add.reduceat(values, starts, axis=0)[::-1], axis=0)[::-1]

            def tied(values: np.ndarray, at: np.ndarray = at, event: np.ndarray = event) -> np.ndarray:
                return np.bincount(at[event], values[event], minlength=at[-1] + 1)

            s0, d0, s1 = risk(w), tied(w), risk(wx)
            d1 = np.column_stack([tied(column) for column in wx.T])
            denominator = s0[of] - share * d0[of]
            mean = (s1[of] - share[:, None] * d1[of]) / denominator[:, None]
            lived = np.cumsum(np.bincount(of, 1 / denominator, minlength=len(starts)))[at]
            lived[event] -= np.bincount(of, share / denominator, minlength=len(starts))[at[event]]
            score += x[event].sum(0) - mean.sum(0)
            information += (x.T * (w * lived)) @ x - mean.T @ mean
        step = np.linalg.solve(information, score)
        beta = beta + step
        if score @ step < 1e-16:
            return beta
