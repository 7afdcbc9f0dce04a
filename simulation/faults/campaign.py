"""Many seeds in a row, on several cores, and what came of them."""

from __future__ import annotations

import logging
import multiprocessing
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import structlog

from simulation.faults import real
from simulation.faults.judging import Verdict
from simulation.faults.virtual import trial


@dataclass
class Campaign:
    """What came of many schedules."""

    schedules: int = 0
    jobs: int = 0
    right: int = 0  # jobs that ended with a result; each was compared bit for bit
    reasons: Counter[str] = field(default_factory=Counter)  # problems that the other jobs ended with
    faults: Counter[str] = field(default_factory=Counter)
    restarts: int = 0
    asked: int = 0
    hours: float = 0.0  # that passed for the networks
    seconds: float = 0.0  # that it took here
    failures: list[str] = field(default_factory=list)

    def add(self, verdict: Verdict) -> None:
        """Count a verdict."""
        self.schedules += 1
        self.jobs += len(verdict.endings)
        self.right += verdict.right
        self.reasons.update(verdict.reasons)
        self.faults.update(fault.kind for fault in verdict.schedule.faults)
        self.restarts += verdict.restarts
        self.asked += verdict.asked
        self.hours += verdict.seconds / 3600
        if not verdict.passed:
            self.failures.append(verdict.sentence)

    @property
    def sentence(self) -> str:
        """All of it in a few lines."""
        told = ", ".join(f"{n} {kind}" for kind, n in self.reasons.most_common()) or "none"
        faults = ", ".join(f"{n} {kind}" for kind, n in self.faults.most_common())
        return (
            f"{self.schedules} schedules, {self.jobs} jobs: {self.right} ended with the right result, bit for bit; "
            f"{sum(self.reasons.values())} with a stated reason ({told}); {len(self.failures)} schedules FAILED.\n"
            f"Faults: {faults}.\n{self.restarts} restarts of the coordinator, {self.asked} questions posted, "
            f"{self.hours:.0f} hours of the networks in {self.seconds:.0f} s."
        )


def carry_out(verdicts: Iterable[Verdict], tell: Callable[[str], None] = print) -> Campaign:
    """Count verdicts as they come; `tell` hears of failures at once, and now and then how far it is."""
    found, started = Campaign(), time.monotonic()
    for verdict in verdicts:
        found.add(verdict)
        if not verdict.passed:
            tell(verdict.sentence)
        if found.schedules % 100 == 0:
            tell(f"{found.schedules} schedules, {len(found.failures)} failed")
    found.seconds = time.monotonic() - started
    return found


def verdicts(seeds: Iterable[int], processes: int | None = None) -> Iterator[Verdict]:
    """The schedule of every seed in virtual time, on so many processors (all of them by default)."""
    processes = processes or os.cpu_count() or 1
    if processes == 1:
        yield from map(trial, seeds)
        return
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=spawn, initializer=keep_quiet) as pool:
        yield from pool.map(trial, seeds, chunksize=4)


def real_verdicts(seeds: Iterable[int]) -> Iterator[Verdict]:
    """The schedule of every seed on one real network."""
    with (
        tempfile.TemporaryDirectory(prefix="cohortium-faults-") as folder,
        real.network_of_standard_subject(Path(folder)) as local,
    ):
        for seed in seeds:
            yield real.real_trial(seed, local)


def keep_quiet() -> None:
    """The coordinator's log of a thousand schedules is for nobody; a failing one is run again by its seed."""
    structlog.configure(processors=[_drop])
    logging.getLogger("cohortium").setLevel(logging.CRITICAL)


def _drop(_logger: object, _method: str, _event: MutableMapping[str, object]) -> NoReturn:
    raise structlog.DropEvent
