"""Survival curves and Fine-Gray regression over 10 cohorts in one process, beside lifelines on the pooled data."""

from __future__ import annotations

import statistics
import warnings
from typing import Any

import lifelines
import numpy as np
import pandas as pd
import polars as pl

from benchmarks.measuring import Row, side_by_side, spread, timed
from cohortium.client import Study
from simulation import network

NODES, ROWS, COVARIATES = 10, 100_000, 3
FEWER = 60  # rows per cohort for lifelines, which needs a row per person with another event and later event time
REPEATS = 3
DAYS = 3650


def measure() -> list[Row]:
    """Seconds for the same curves and fits, times in days over ten years; rounds, and how far apart."""
    return [*_kaplan_meier(people(NODES * ROWS)), *_fine_gray()]


def people(n: int) -> pd.DataFrame:
    """Times in whole days to a heart attack, to death of something else, or to the end of observation; and the arm."""
    rng = np.random.default_rng(2)
    x = rng.normal(size=(n, COVARIATES))
    times = np.array([rng.exponential(np.exp(-x @ np.linspace(-0.4, 0.4, COVARIATES)) * scale) for scale in (1.5, 3)])
    times = np.vstack([rng.exponential(2.0, n), times]) * 365
    frame = pd.DataFrame(x, columns=names())
    frame["time"] = np.ceil(times.min(axis=0)).clip(1, DAYS)
    frame["end"] = np.array(["alive", "heart", "other"])[np.where(times.min(axis=0) > DAYS, 0, times.argmin(axis=0))]
    frame["ill"] = frame["end"] == "heart"
    frame["arm"] = rng.choice(["a", "b"], n)
    return frame


def names() -> list[str]:
    return [f"x{i}" for i in range(COVARIATES)]


def _study(frame: pd.DataFrame) -> Study:
    return network({f"c-{k}": pl.from_pandas(frame[k::NODES]) for k in range(NODES)}).study()


def _kaplan_meier(frame: pd.DataFrame) -> list[Row]:
    study, found = _study(frame), {}

    def federated() -> None:
        found["federated"] = study.kaplan_meier(formula="Surv(time, ill) ~ arm").result(progress=False)

    def pooled() -> None:
        found["lifelines"] = {
            arm: lifelines.KaplanMeierFitter().fit(part["time"], part["ill"]) for arm, part in frame.groupby("arm")
        }

    taken = side_by_side({"federated": federated, "lifelines": pooled}, REPEATS)
    result, fits = found["federated"], found["lifelines"]
    curves = {arm: fit.survival_function_["KM_estimate"].to_numpy()[1:] for arm, fit in fits.items()}
    apart = max(float(np.max(np.abs(curves[arm] - result[f"arm[{arm}]"].survival))) for arm in fits)
    ratio = statistics.median(taken["lifelines"]) / statistics.median(taken["federated"])
    return [
        Row(f"Kaplan-Meier by two groups, {NODES} x {ROWS:,}, federated in one process", spread(taken["federated"]), "",
            f"{result.rounds} round, curves {apart:.0e} apart"),
        Row("… lifelines on the pooled data", spread(taken["lifelines"]), "slower than federated",
            f"{ratio:.1f} x federated"),
    ]  # fmt: skip


def _fine_gray() -> list[Row]:
    study = _study(people(NODES * ROWS))
    common = {"cohort_effect": "common", "interval": 30}
    stratified, own = _fit(study)
    pooled, on_grid = _fit(study, **common)
    few = people(NODES * FEWER)
    seconds, exact = _fit(_study(few), cohort_effect="common")
    slow: list[np.ndarray] = []
    long = timed(lambda: slow.append(lifelines_fit(few)))
    apart = float(np.max(np.abs(slow[0] - [e.estimate for e in exact.coefficients.values()])))
    size, fewer = (f"{NODES} x {rows:,} x {COVARIATES}" for rows in (ROWS, FEWER))
    return [
        Row(f"Fine-Gray stratified by cohort, {size}", spread(stratified), "", f"{own.rounds} rounds, robust errors"),
        Row("… as pooled, times in months", spread(pooled), "", f"{on_grid.rounds} rounds, robust errors"),
        Row(f"… as pooled, times in days, {fewer}", spread(seconds), "", f"{exact.rounds} rounds, robust errors"),
        Row("… lifelines on the same, with weighted intervals", f"{long:.2f} s", "slower than federated",
            f"{long / statistics.median(seconds):.0f} x federated, coefficients {apart:.0e} apart"),
    ]  # fmt: skip


def _fit(study: Study, **options: Any) -> tuple[list[float], Any]:
    """Seconds of some fits, and the last of them."""
    found: list[Any] = []
    asked = {"formula": f"Surv(time, end) ~ {' + '.join(names())}", "cause": "heart", **options}

    def fit() -> None:
        found.append(study.fine_gray(**asked).result(progress=False))

    return [timed(fit), timed(fit)], found[-1]


def lifelines_fit(frame: pd.DataFrame) -> np.ndarray:
    """What there is for it in Python: a Cox model in which people with another event stay, with falling weight."""
    time, alive = frame["time"].to_numpy(), (frame["end"] == "alive").to_numpy()
    moments, at = np.unique(time, return_inverse=True)
    watched = np.cumsum(np.bincount(at)[::-1])[::-1] - np.bincount(at[~alive], minlength=len(moments))
    censored = np.bincount(at[alive], minlength=len(moments))
    staying = np.concatenate([[1.0], np.cumprod(1 - censored / np.maximum(watched, 1))[:-1]])
    steps = np.unique(at[frame["ill"]])  # the weight matters where somebody has the event
    rows = [frame.assign(start=0.0, stop=time, weight=1.0)]
    for i in np.flatnonzero(frame["end"] == "other"):
        later = steps[steps > at[i]]
        if len(later):
            start = np.concatenate([[time[i]], moments[later[:-1]]])
            part = frame.loc[np.repeat(frame.index[i], len(later))]
            weight = staying[later] / staying[at[i]]
            rows.append(part.assign(start=start, stop=moments[later], weight=weight, ill=False))
    columns = [*names(), "start", "stop", "weight", "ill"]
    intervals = pd.concat(rows)[columns].query("weight > 0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = lifelines.CoxPHFitter().fit(
            intervals, "stop", "ill", entry_col="start", weights_col="weight", robust=True
        )  # fmt: skip
    return np.asarray(fit.params_)
