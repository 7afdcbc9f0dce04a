"""A store that dies, or finds its disk full, at the write that a schedule says."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

from sqlalchemy.exc import OperationalError

from cohortium.errors import Problem
from cohortium.messages import JobState, Progress
from coordinator.store import Store
from simulation.faults.line import KILLED
from simulation.faults.schedule import WRITES, Fault, Schedule

FULL_FOR = 4
"""Writes that a full disk turns down before somebody makes room."""


class Mishaps:
    """The writes of jobs, counted over every life of the coordinator, and which of them go wrong."""

    def __init__(self, schedule: Schedule) -> None:
        self.count = 0
        self.recorded: Counter[str] = Counter()  # rounds of each job that are in the transcript
        self.on_kill: Callable[[], None] = lambda: None
        self._faults = [fault for fault in schedule.faults if fault.kind in WRITES]

    def write(self, action: Callable[[], Any]) -> Any:
        """Write, or suffer what the schedule says for this write.

        Only what the threads of jobs write is counted: other writes come at no certain moment between those.
        """
        if not threading.current_thread().name.startswith("job-"):
            return action()
        self.count += 1
        if self._now("full-disk", FULL_FOR):
            raise OperationalError("write", {}, Exception("database or disk is full"))
        if self._now("killed-before-write"):
            self.on_kill()
            raise KILLED
        written = action()
        if self._now("killed-after-write"):
            self.on_kill()
            raise KILLED
        return written

    def _now(self, kind: str, writes: int = 1) -> list[Fault]:
        return [f for f in self._faults if f.kind == kind and f.write <= self.count < f.write + writes]


class FailingStore(Store):
    """The genuine store, but for its mishaps."""

    def __init__(self, url: str, mishaps: Mishaps) -> None:
        super().__init__(url)
        self._mishaps = mishaps

    def set_running(self, job_id: str) -> bool:
        """As the store does, unless something befalls it."""
        return bool(self._mishaps.write(lambda: super(FailingStore, self).set_running(job_id)))

    def add_round(self, job_id: str, question: str, record: bytes, progress: Progress) -> None:
        """As the store does, unless something befalls it."""
        self._mishaps.write(lambda: self._add_round(job_id, question, record, progress))

    def _add_round(self, job_id: str, question: str, record: bytes, progress: Progress) -> None:
        super().add_round(job_id, question, record, progress)
        self._mishaps.recorded[job_id] = progress.round

    def end_job(
        self, job_id: str, state: JobState, *, problem: Problem | None = None, result: str | None = None
    ) -> bool:
        """As the store does, unless something befalls it."""
        written = self._mishaps.write(
            lambda: super(FailingStore, self).end_job(job_id, state, problem=problem, result=result)
        )
        return bool(written)
