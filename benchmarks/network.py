"""The real network on one machine: start-up, rounds, and a GLM from submit to result."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.measuring import Row, spread, timed
from cohortium.client import Study
from simulation.processes import LocalNetwork

ROWS = 2_000
REPEATS = 12
COHORTS = ("north", "south", "west")
DICTIONARY = "\n".join(
    [
        'name = "bench"',
        'version = "1"',
        *(f'variables.x{i} = {{type = "number", minimum = -20, maximum = 20}}' for i in range(11)),
        'variables.y = {type = "boolean"}',
    ]
)
FORMULA = "y ~ " + " + ".join(f"x{i}" for i in range(11))


def measure() -> list[Row]:
    """Start-up times, milliseconds per round and seconds per GLM of three node processes over TLS."""
    with tempfile.TemporaryDirectory() as folder:
        local = _prepare(Path(folder))
        try:
            starting = timed(local.start_coordinator)
            nodes = [timed(lambda name=name: _start_node(local, name)) for name in COHORTS]  # type: ignore[misc]
            return [
                Row("coordinator, start to ready", f"{starting:.2f} s", "<= 3 s"),
                Row(f"node, start to ready ({ROWS:,} rows)", spread(nodes), "<= 3 s + loading"),
                *_ask(local.connect().study("bench")),
            ]
        finally:
            local.stop()


def _ask(study: Study) -> list[Row]:
    long, short = {"formula": FORMULA, "family": "binomial"}, {"formula": "x0 ~ x1", "family": "gaussian"}
    taken: dict[str, list[float]] = {"long": [], "short": [], "describe": []}
    rounds = {"long": 0, "short": 0}
    for repeat in range(REPEATS + 1):
        for name, params in (("long", long), ("short", short)):
            started = time.perf_counter()
            rounds[name] = study.glm(**params, cohort_effect="common").result(progress=False).rounds
            if repeat:  # the first of each warms up
                taken[name].append(time.perf_counter() - started)
        taken["describe"].append(timed(lambda: study.describe(variables=["x0", "y"]).result(progress=False)))
    # What a round adds: two jobs that differ in little but their number of rounds, one right after the other.
    more = rounds["long"] - rounds["short"]
    added = [(one - other) / more for one, other in zip(taken["long"], taken["short"], strict=True)]
    return [
        Row("one round, 3 nodes, TLS and node authentication", spread(added, "ms"), "<= 120 ms, aim 60 ms"),
        Row(f"logistic GLM of {rounds['long']} rounds, submit to result", spread(taken["long"]), "<= 1.5 s, aim 0.8 s"),
        Row("describe (2 rounds), submit to result", spread(taken["describe"][1:]), ""),
    ]


def _prepare(folder: Path) -> LocalNetwork:
    (folder / "dictionary.toml").write_text(DICTIONARY, encoding="utf-8")
    (folder / "policy.toml").write_text("", encoding="utf-8")
    sources = {name: folder / f"{name}.parquet" for name in COHORTS}
    for seed, path in enumerate(sources.values()):
        _people(seed).write_parquet(path)
    return LocalNetwork(folder / "run", folder / "dictionary.toml", sources, folder / "policy.toml")


def _start_node(local: LocalNetwork, name: str) -> None:
    local.start_node(name)
    local.wait_until_online([name])


def _people(seed: int) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 1.5, (ROWS, 11)).clip(-20, 20)
    p = 1 / (1 + np.exp(2.5 - x @ np.linspace(-0.6, 0.6, 11)))
    return pl.DataFrame({**{f"x{i}": x[:, i] for i in range(11)}, "y": rng.random(ROWS) < p})
