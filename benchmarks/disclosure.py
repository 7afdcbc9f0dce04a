"""What disclosure control costs: evidence and checks beside the steps of a logistic regression, 100k rows x 10."""

from __future__ import annotations

import statistics
from unittest.mock import patch

import numpy as np
import pandas as pd

from algorithms.numerics.columns import columns_of
from benchmarks.measuring import Row, side_by_side, timed
from cohortium.analysis import find
from cohortium.evidence import Concentration
from node.disclosure import Policy, check
from simulation import network

ROWS, COVARIATES, ROUNDS, REPEATS = 100_000, 10, 8, 9
BUDGET = "<= 25 % of a step"


def measure() -> list[Row]:
    """Rows for what every step costs more, and for what is worked out once per job."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({f"x{k}": rng.normal(size=ROWS) for k in range(COVARIATES)})
    frame["y"] = rng.random(ROWS) < 1 / (1 + np.exp(-0.3 * frame["x0"]))
    names = [c for c in frame if c != "y"]
    node = network({"north": frame}, policy=Policy()).service.nodes["north"]  # type: ignore[attr-defined]
    params = find("glm").params.bind({"formula": f"y ~ {' + '.join(names)}", "family": "binomial"}, node.dictionary)
    broadcast = {"coefficients": np.full(COVARIATES, 0.05), "centre": np.zeros(COVARIATES)}
    broadcast |= {"per_unit": np.ones(COVARIATES), "units": np.array([0.0, 1.0, 1.0, 0.0]), "knots": np.zeros((0, 7))}
    statistic = find("glm").statistic("newton_terms")

    def step() -> None:
        check(statistic(node.data, params, **broadcast, expected=0.0), Policy())

    def bare() -> None:
        with patch.object(Concentration, "add", lambda _self, _parts: None):
            statistic(node.data, params, **broadcast, expected=0.0)

    step()  # what is known of the columns is kept from here on
    taken = {name: statistics.median(t) for name, t in side_by_side({"step": step, "bare": bare}, REPEATS).items()}
    once = statistics.median(timed(lambda: _columns(node.data, params)) for _ in range(3))
    each = taken["step"] / taken["bare"] - 1
    share = each + once / ROUNDS / taken["bare"]
    what = f"disclosure control: GLM step, {ROWS:,} rows x {COVARIATES}"
    return [
        Row(f"{what}, weights and check", f"{each:.0%} of {1e3 * taken['bare']:.0f} ms", BUDGET),
        Row(f"{what}, columns (once per job)", f"{1e3 * once:.0f} ms", "", "carriers, shares, leverage"),
        Row(f"{what}, all together over {ROUNDS} rounds", f"{share:.0%}", BUDGET),
    ]


def _columns(data: object, params: object) -> None:
    fresh = data.only(params.design.variables)  # type: ignore[attr-defined]
    columns_of(fresh, params.design)  # type: ignore[attr-defined]
