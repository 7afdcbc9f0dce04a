"""How cost grows with people, covariates and nodes: `make growth` rewrites its part of docs/performance.md.

Every figure is measured in a process of its own, all nodes in that one process. The largest network lies in files that
are mapped into memory, so it need not fit there.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.growth_report import Measured, write
from cohortium.client import Network
from cohortium.data import Data
from cohortium.dictionary import Dictionary, Variable
from cohortium.messages import AnswerMessage, QuestionMessage
from cohortium.quantities import Array
from node.answer import CohortNode
from node.disclosure import Policy
from simulation.in_process import InProcess, network

ANALYSES = ("describe", "glm", "cox")
LIMIT_SECONDS = 900.0


@dataclass(frozen=True)
class Size:
    """What is measured: an analysis over so many people (of all nodes together), covariates and nodes."""

    analysis: str
    people: int = 100_000
    covariates: int = 10
    nodes: int = 10
    mapped: bool = False  # columns in files, not in memory


def sizes(quick: bool) -> Iterator[Size]:
    """One thing grows at a time, around a network of middling size."""
    for analysis in ANALYSES:
        middle = Size(analysis)
        yield middle
        yield from (replace(middle, people=people) for people in ((10_000,) if quick else (10_000, 300_000, 1_000_000)))
        yield from (replace(middle, covariates=number) for number in ((5,) if quick else (5, 20, 50, 100)))
        yield from (replace(middle, nodes=number) for number in ((3,) if quick else (3, 30, 100, 200)))
        if not quick:
            yield replace(middle, people=17_000_000, nodes=11, mapped=True)


class CountingNode(CohortNode):
    """A node that remembers what crossed its border, to be weighed afterwards."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.crossed: list[tuple[QuestionMessage, Mapping[str, Array], AnswerMessage, dict[str, Array]]] = []

    def reply(
        self, question: QuestionMessage, broadcast: Mapping[str, Array], study: str = ""
    ) -> tuple[AnswerMessage, dict[str, Array]]:
        answer, arrays = super().reply(question, broadcast, study)
        self.crossed.append((question, broadcast, answer, arrays))
        return answer, arrays

    @property
    def bytes(self) -> int:
        return sum(len(q.to_bytes(b)) + len(a.to_bytes(arrays)) for q, b, a, arrays in self.crossed)


def measure_one(size: Size, folder: Path) -> Measured:
    """In this process: make the network, ask once, and say what that took."""
    nodes = {f"node-{i}": CountingNode(f"node-{i}", _data(size, i, folder), Policy.none()) for i in range(size.nodes)}
    dictionary = next(iter(nodes.values())).data.dictionary
    study = Network(InProcess(nodes, dictionary)).study()
    _warm_up(size)
    for node in nodes.values():
        node.crossed.clear()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak begins anew, without making the data
    before, started, worked = _memory("VmRSS"), time.perf_counter(), time.process_time()
    result = study.run(size.analysis, **_params(size)).result(progress=False)
    seconds, processor = time.perf_counter() - started, time.process_time() - worked
    beyond = _memory("VmHWM") - before if not size.mapped else _memory("RssAnon")
    crossed = sum(node.bytes for node in nodes.values())
    spent = {"seconds": seconds, "processor": processor, "bytes": crossed, "megabytes": max(beyond, 0.0)}
    return Measured(**asdict(size), rounds=result.rounds, **spent)


def _warm_up(size: Size) -> None:
    """The same question to a handful of people: everything is loaded then."""
    small = replace(size, people=200, covariates=2, nodes=2, mapped=False)
    data = {f"node-{i}": _data(small, i, Path()) for i in range(small.nodes)}
    network(data).study().run(small.analysis, **_params(small)).result(progress=False)


def _params(size: Size) -> dict[str, Any]:
    covariates = [f"x{i}" for i in range(size.covariates)]
    match size.analysis:
        case "describe":
            return {"variables": covariates}
        case "glm":
            return {"formula": f"y ~ {' + '.join(covariates)}", "family": "binomial"}
        case _:
            return {"formula": f"Surv(days, died) ~ {' + '.join(covariates)}"}


def _data(size: Size, node: int, folder: Path) -> Data:
    """One node's rows: covariates that are independent, and outcomes that depend on them a little."""
    rows, rng = size.people // size.nodes, np.random.default_rng(node)
    names = [f"x{i}" for i in range(size.covariates)]
    columns: dict[str, Any] = {}
    predictor = np.full(rows, -1.0)
    for i, name in enumerate(names):
        values = rng.standard_normal(rows)
        predictor += (0.3 if i % 2 else -0.3) / np.sqrt(size.covariates) * values
        columns[name] = _placed(values, folder / f"{node}-{name}", size.mapped)
    ill = (rng.random(rows) < 1 / (1 + np.exp(-predictor))).astype(np.float64)
    days = np.ceil(rng.exponential(4000 * np.exp(-1.0 - predictor))).clip(1, 3650)
    columns |= {
        "y": _placed(ill, folder / f"{node}-y", size.mapped),
        "days": _placed(days, folder / f"{node}-days", size.mapped),
        "died": _placed((days < 3650).astype(np.float64), folder / f"{node}-died", size.mapped),
    }
    variables = {name: Variable(type="number", minimum=-10, maximum=10) for name in names}
    yes_no, whole = Variable(type="boolean"), Variable(type="integer", minimum=0, maximum=3650)
    variables |= {"y": yes_no, "days": whole, "died": yes_no}
    return Data(Dictionary(name="growth", version="1", variables=variables), columns, rows)


def _placed(values: np.ndarray, path: Path, mapped: bool) -> np.ndarray:
    if not mapped:
        return values
    values.tofile(path)
    return np.memmap(path, dtype=np.float64, mode="r")


def _memory(field: str) -> float:
    """Megabytes of this process, as the kernel counts them."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) / 1024


def measure_apart(size: Size) -> Measured | None:
    """In a process of its own; None if it takes too long or does not fit."""
    with tempfile.TemporaryDirectory(prefix="cohortium-growth-") as folder:
        command = [sys.executable, "-m", "benchmarks.growth", json.dumps(asdict(size)), folder]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False)
        except subprocess.TimeoutExpired:
            return None
    if done.returncode:
        print(done.stderr[-2000:], file=sys.stderr)
        return None
    return Measured(**json.loads(done.stdout.splitlines()[-1]))


def main(quick: bool) -> None:
    """Measure everything, show each figure as it comes, and write the page."""
    found = []
    for size in sizes(quick):
        measured = measure_apart(size)
        print(f"{size}: {measured or 'not within the limit'}", flush=True)
        if measured is not None:
            found.append(measured)
    write(found, f"Measured {datetime.now(UTC):%Y-%m-%d} on {os.cpu_count()} cores.")


if __name__ == "__main__":
    if len(sys.argv) == 3:
        print(json.dumps(asdict(measure_one(Size(**json.loads(sys.argv[1])), Path(sys.argv[2])))))
    else:
        main("--quick" in sys.argv)
