"""Jobs that wait for the operators of some cohorts: noticing, within seconds and at little cost, that one has decided.

Nodes only dial out, so the coordinator asks. A waiting job holds no thread and no run: per cohort that anything waits
for, one thread asks its node now and then which of all those jobs are still undecided, however many they are. What the
node says only tells when to put the question again: what counts is its answer to that.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Final

import structlog

from cohortium.errors import CohortiumError, JobCancelled
from cohortium.messages import Undecided
from coordinator.ask import Channel, OpenChannel, ask

log = structlog.get_logger()

PAUSE: Final = 1.0
"""Seconds between two looks at a node, at first: an operator may be at it already."""
LONGEST_PAUSE: Final = 5.0
"""Seconds that a decision may take to be noticed, however long it was waited for."""
LOOKS: Final = 200
"""Looks on one line, because SuperLink remembers something of each message until its run ends."""
MOST_JOBS: Final = 10_000
"""Jobs that one look asks about; see `Undecided`."""


class Approvals:
    """Who waits for whom. `decided` is called once per job, with its id and the cohorts that it still waits for."""

    def __init__(
        self, open_channel: OpenChannel, decided: Callable[[str, tuple[str, ...]], None], *, pause: float = PAUSE
    ) -> None:
        self._open_channel, self._decided, self._pause = open_channel, decided, pause
        self._waiting: dict[str, tuple[str, set[str]]] = {}  # job's hash -> its id, the cohorts that it waits for
        self._asking: dict[str, threading.Event] = {}  # cohorts that a thread asks; set, the thread looks up
        self._lock = threading.Lock()
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Ask no more."""
        self._stopping.set()
        with self._lock:
            for look_up in self._asking.values():
                look_up.set()

    def wait_for(self, digest: str, job_id: str, cohorts: Iterable[str]) -> None:
        """Tell when one of these cohorts has decided about a job, of which `digest` is the whole hash."""
        with self._lock:
            self._waiting[digest] = job_id, set(cohorts)
            idle = self._waiting[digest][1] - self._asking.keys()
            self._asking |= {cohort: threading.Event() for cohort in idle}
        for cohort in sorted(idle):
            threading.Thread(target=self._follow, args=(cohort,), name=f"approvals-{cohort}", daemon=True).start()

    def forget(self, job_id: str) -> None:
        """A job that has ended waits for nobody."""
        with self._lock:
            self._waiting = {digest: waits for digest, waits in self._waiting.items() if waits[0] != job_id}
            needed = {cohort for _, cohorts in self._waiting.values() for cohort in cohorts}
            for cohort in self._asking.keys() - needed:
                self._asking[cohort].set()

    def _follow(self, cohort: str) -> None:
        """Ask a node for as long as any job waits for it. One that is away is asked when it is back."""
        pause = self._pause
        try:
            while self._jobs_of(cohort):
                with self._open_channel(f"approvals of {cohort}") as channel:
                    for look in range(1, LOOKS + 1):
                        if not (jobs := self._jobs_of(cohort)):
                            return
                        self._settle(cohort, set(jobs) - self._undecided(channel, cohort, jobs, look))
                        self._stopping.wait(pause)
                        pause = min(1.1 * pause, LONGEST_PAUSE)
        except Exception as error:
            log.error("approvals", cohort=cohort, error=type(error).__name__)
            self._give_up(cohort)

    def _jobs_of(self, cohort: str) -> tuple[str, ...]:
        with self._lock:
            jobs = tuple(sorted(digest for digest, (_, cohorts) in self._waiting.items() if cohort in cohorts))
            if not jobs or self._stopping.is_set():
                self._asking.pop(cohort, None)
                return ()
            self._asking[cohort].clear()
            return jobs[:MOST_JOBS]

    def _undecided(self, channel: Channel, cohort: str, jobs: tuple[str, ...], look: int) -> set[str]:
        words = {cohort: Undecided(jobs=jobs).to_bytes()}
        try:
            reply = ask(channel, words, kind="undecided", round_=look, cancelled=self._asking[cohort])[cohort]
            return set(Undecided.from_bytes(reply)[0].jobs)
        except JobCancelled:  # nothing waits for it any more, or the coordinator stops
            return set(jobs)
        except CohortiumError:  # a node that cannot even say this: put the question again, and tell what comes of it
            return set()

    def _settle(self, cohort: str, jobs: Iterable[str]) -> None:
        for digest in sorted(jobs):
            with self._lock:
                # Whoever takes it out tells: two cohorts that decide at once must not start a job twice.
                job_id, cohorts = self._waiting.pop(digest, ("", set()))
            if job_id:
                self._decided(job_id, tuple(sorted(cohorts - {cohort})))

    def _give_up(self, cohort: str) -> None:
        """Put the questions of all its jobs again: whoever still waits comes back here with a new thread."""
        jobs = self._jobs_of(cohort)
        with self._lock:
            self._asking.pop(cohort, None)
        self._stopping.wait(self._pause)
        self._settle(cohort, jobs)
