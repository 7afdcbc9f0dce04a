"""One analysis over ten cohorts in one process, beside what a user would run on the pooled rows instead."""

from __future__ import annotations

import statistics
import tracemalloc
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import polars as pl

from benchmarks.measuring import Row, side_by_side, spread, timed
from cohortium.analysis import Question, conduct, find
from cohortium.client import Network
from cohortium.result import Result
from cohortium.secure_sum import add_up, decode
from simulation import network

NODES, ROWS = 10, 100_000
REPEATS = 3
MEGABYTE = 2**20


@dataclass(frozen=True)
class Case:
    """An analysis, what to compare of its result, and the same figures from a pooled package, if one can be had."""

    title: str
    analysis: str
    params: Mapping[str, Any]
    figures: Callable[[Any], Any]
    package: str = ""
    pooled: Callable[[pd.DataFrame], Any] | None = None
    rows: int = ROWS


def people(rows: int, cohort: int) -> pd.DataFrame:
    """One cohort, of families of three on average, with a twentieth of `bmi` missing."""
    rng = np.random.default_rng(cohort)
    families = np.repeat(np.arange(rows), rng.integers(1, 6, rows))[:rows]
    age, taken = rng.integers(18, 90, rows), rng.normal(size=rows)[families]
    frame = pd.DataFrame(
        {
            "family": np.char.add(f"{cohort}-", families.astype(str)),
            "age": age,
            "sex": rng.choice(["female", "male"], rows),
            "smoking": rng.choice(["current", "former", "never"], rows, p=[0.2, 0.3, 0.5]),
            "bmi": np.round(rng.normal(26, 4, rows) + 0.02 * (age - 50), 1),
            "sbp": np.round(120 + (0.35 + 0.01 * cohort) * (age - 50) + 5 * taken + rng.normal(0, 12, rows)).astype(
                int
            ),
        }
    )
    frame["dbp"] = np.round(0.4 * frame["sbp"] + rng.normal(30, 8, rows)).astype(int)
    frame["ill"] = rng.random(rows) < 1 / (1 + np.exp(2.0 - 0.02 * (age - 50) - 0.5 * taken))
    health = 0.02 * (age - 50) + rng.logistic(size=rows)
    frame["health"] = pd.Categorical.from_codes(np.digitize(health, [-1.0, 0.5, 2.0]), list("abcd")).astype(str)
    frame.loc[rng.random(rows) < 0.05, "bmi"] = np.nan
    return frame


def compare(cases: Iterable[Case]) -> Iterator[Row]:
    """Two rows per case: ours with rounds, memory per node and the largest difference; theirs with the ratio."""
    known: dict[int, tuple[pd.DataFrame, Network]] = {}
    for case in cases:
        if case.rows not in known:
            known[case.rows] = _split(case.rows)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield from _compare(case, *known[case.rows])


def _split(rows: int) -> tuple[pd.DataFrame, Network]:
    cohorts = [people(rows, k) for k in range(NODES)]
    frames = {f"cohort-{k}": pl.from_pandas(frame) for k, frame in enumerate(cohorts)}
    return pd.concat(cohorts, ignore_index=True), network(frames)


def _compare(case: Case, frame: pd.DataFrame, net: Network) -> Iterator[Row]:
    results: list[Result] = []
    actions = {"ours": lambda: results.append(net.study().run(case.analysis, **case.params).result(progress=False))}
    slow = False
    if case.pooled is not None:
        actions["theirs"] = lambda: case.pooled(frame)  # type: ignore[misc]
        slow = timed(actions["theirs"]) > 5
    taken = side_by_side(actions, 1 if slow else REPEATS)
    rounds, memory = results[-1].rounds, _memory_per_node(case, net) / MEGABYTE
    remark = f"{rounds} round{'s' * (rounds > 1)}; {memory:.1f} MB per node beyond its columns"
    if case.pooled is not None:
        remark += f"; {_apart(case.figures(results[-1]), case.pooled(frame)):.0e} apart (relative)"
    yield Row(f"{case.title}, {NODES} x {case.rows:,}, federated in one process", spread(taken["ours"]), "", remark)
    if case.pooled is not None:
        ratio = statistics.median(taken["theirs"]) / statistics.median(taken["ours"])
        yield Row(f"… {case.package} on the pooled rows", spread(taken["theirs"]), "", f"{ratio:.1f} x federated")


def _apart(ours: Any, theirs: Any) -> float:
    a, b = (np.asarray(figures, dtype=np.float64).ravel() for figures in (ours, theirs))
    return float(np.max(np.abs(a - b) / np.maximum(np.abs(b), 1e-8 * np.max(np.abs(b)))))


def _memory_per_node(case: Case, net: Network) -> float:
    """Bytes that the first node holds at most while it answers, beside its data, in a run that is not timed."""
    nodes, analysis = net.service.nodes, find(case.analysis)
    params = analysis.params.bind(dict(case.params), net.service.dictionary())
    peaks = [0]

    def ask(question: Question) -> Any:
        answers = {}
        for name, node in nodes.items():
            tracemalloc.start()
            answers[name] = node.compute(case.analysis, question.statistic, params, question.broadcast)
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        record = analysis.sums(question.statistic)
        if question.per_cohort:
            return {name: decode(record, own) for name, own in answers.items()}
        return add_up(record, answers)

    conduct(analysis, params, ask)
    return float(max(peaks))
