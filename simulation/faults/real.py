"""Faults on a real network: its processes are stopped, killed and started again while jobs run."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq

from cohortium.client import Job
from cohortium.errors import ServiceError
from cohortium.messages import JobState
from simulation import cohorts
from simulation.cohorts.dictionaries import FOLDER
from simulation.faults.judging import Ending, Verdict
from simulation.faults.schedule import REAL, Fault, draw
from simulation.faults.subject import COHORTS, PEOPLE, standard
from simulation.faults.virtual import chosen
from simulation.processes import LocalNetwork

WITHIN, LONGEST = 1.5, 4.0
"""Seconds within which faults begin, and that they last at most: a job takes about a second."""
LIMIT = 90.0
"""Seconds after the last fault within which every job must have ended."""
FIRST_PATIENCE = 6.0
"""Seconds that a researcher waits for a cohort that is dead, before giving the job up."""

Action = tuple[float, Callable[[], None]]


class Disturbances:
    """Faults that happen to a running network, in a thread of their own. Leaving the context ends them all."""

    def __init__(self, local: LocalNetwork, faults: Iterable[Fault]) -> None:
        self.told: list[str] = []
        self._local, self._faults = local, list(faults)
        self._dead: set[str] = set()
        self._leaving = threading.Event()
        self._thread = threading.Thread(target=self._run, name="disturbances", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leaving.set()
        self._thread.join()

    def join(self) -> None:
        """Wait until the last fault is over."""
        self._thread.join()

    def _run(self) -> None:
        started = time.monotonic()
        actions = [action for fault in self._faults for action in self._actions(fault)]
        for at, action in sorted(actions, key=lambda timed: timed[0]):
            if self._leaving.wait(max(0.0, started + at - time.monotonic())):
                return
            action()

    def _actions(self, fault: Fault) -> Iterator[Action]:
        if fault.kind not in REAL:
            self.told.append(f"Left out, as it cannot be done to real processes: {fault}")
            return
        name, end = fault.cohort or "coordinator", fault.at + fault.lasts
        yield fault.at, lambda: self.told.append(str(fault))
        match fault.kind:
            case "slow" | "frozen":
                yield fault.at, lambda: self._signal(name, signal.SIGSTOP)
                yield end, lambda: self._signal(name, signal.SIGCONT)
            case "restarting" | "killed" | "stopped":
                yield fault.at, lambda: self._end(name, kill=fault.kind != "stopped")
                yield end, lambda: self._start(name)
            case "flapping":
                for again in range(3):
                    yield fault.at + again * fault.lasts / 3, lambda: self._end(name, kill=True)
                    yield fault.at + again * fault.lasts / 3 + 0.1, lambda: self._start(name)
            case "dead":
                yield fault.at, lambda: self._dead.add(name)
                yield fault.at, lambda: self._end(name, kill=True)
            case "wrong-dictionary":
                yield fault.at, lambda: self._end(name, kill=True)
                yield fault.at, lambda: use_dictionary(self._local, name, version="other")
                yield fault.at, lambda: self._start(name)

    def _signal(self, name: str, number: signal.Signals) -> None:
        process = self._local.processes.get(name)
        if process is not None and process.poll() is None:
            process.send_signal(number)

    def _end(self, name: str, *, kill: bool) -> None:
        if name in self._local.processes:
            self._local.end(name, kill=kill)

    def _start(self, name: str) -> None:
        if name in self._local.processes or name in self._dead:
            return
        if name == "coordinator":
            self._local.start_coordinator()
        else:
            self._local.start_node(name)


def use_dictionary(local: LocalNetwork, cohort: str, version: str | None = None) -> None:
    """Give a node the network's dictionary, or another version of it; holds from its next start."""
    settings, path = local.folder / cohort / "node.toml", local.folder / cohort / "other.toml"
    lines = settings.read_text(encoding="utf-8").splitlines()
    ours = local.dictionary
    if version is not None:
        text = ours.read_text(encoding="utf-8").splitlines()
        path.write_text("\n".join(f'version = "{version}"' if t.startswith("version =") else t for t in text))
        ours = path
    changed = (f'dictionary = "{ours}"' if line.startswith("dictionary = ") else line for line in lines)
    settings.write_text("\n".join(changed) + "\n", encoding="utf-8")


def network_of_standard_subject(folder: Path) -> LocalNetwork:
    """The same cohorts as in the campaign in virtual time, as processes; nothing is withheld."""
    sources = {name: folder / f"{name}.parquet" for name in COHORTS}
    for name, path in sources.items():
        table = cohorts.people(name, PEOPLE, seed=1)
        absent = {v: pa.nulls(len(table)) for v in cohorts.PEOPLE.variables if v not in table.column_names}
        pq.write_table(_with(table, absent), path)
    policy = folder / "policy.toml"
    policy.write_text(next(iter(standard().plain.values())).policy.to_toml(), encoding="utf-8")
    return LocalNetwork(folder / "run", FOLDER / "people.toml", sources, policy, ["faults"])


def _with(table: pa.Table, columns: dict[str, pa.Array]) -> pa.Table:
    for name, values in columns.items():
        table = table.append_column(name, values.cast(pa.string()))
    return table


def real_trial(seed: int, local: LocalNetwork) -> Verdict:
    """The schedule of a seed on a running network, which is whole again afterwards."""
    subject, schedule = standard(), draw(seed, COHORTS, kinds=REAL, within=WITHIN, longest=LONGEST)
    verdict, started = Verdict(schedule, real=True), time.monotonic()
    study = local.connect().study("faults")
    numbers = chosen(random.Random(seed + 1), subject)  # noqa: S311 - replayable is what it must be
    asked = [subject.questions[number] for number in numbers]
    jobs = [study.run(question.analysis, **question.params) for question in asked]
    with Disturbances(local, schedule.faults) as disturbances:
        disturbances.join()
    _wait(jobs, give_up_after=FIRST_PATIENCE if "JobCancelled" in schedule.excuses else LIMIT)
    for number, job in zip(numbers, jobs, strict=True):
        finished = job.view.state is JobState.finished
        result = job.service.result(job.id).decode() if finished else None
        verdict.endings.append(Ending(number, job.view, result, subject.expected(number)))
    mend(local)
    verdict.seconds = time.monotonic() - started
    verdict.restarts = sum(fault.kind in ("killed", "stopped") for fault in schedule.faults)
    return verdict.judge()


def mend(local: LocalNetwork) -> None:
    """Bring everything back to where it was."""
    for name in local.cohorts:
        if 'dictionary = "' + str(local.dictionary) not in (local.folder / name / "node.toml").read_text("utf-8"):
            if name in local.processes:
                local.end(name, kill=True)
            use_dictionary(local, name)
        process = local.processes.get(name)
        if process is None or process.poll() is not None:
            local.processes.pop(name, None)
            local.start_node(name)
    local.wait_until_online(local.cohorts)
    net = local.connect()
    while any(cohort.problem for cohort in net.cohorts()):  # a node that had another dictionary introduces itself anew
        time.sleep(0.1)


def _wait(jobs: list[Job], give_up_after: float) -> None:
    patience = time.monotonic() + give_up_after
    limit = time.monotonic() + LIMIT
    while time.monotonic() < limit and not all(_has_ended(job) for job in jobs):
        if time.monotonic() > patience:
            for job in jobs:
                job.cancel()
        time.sleep(0.05)


def _has_ended(job: Job) -> bool:
    try:
        return job.refresh().state.is_final
    except ServiceError:  # the coordinator is not there at this moment
        return False
