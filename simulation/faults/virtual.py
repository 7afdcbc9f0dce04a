"""One schedule of faults over whole jobs: genuine jobs, store, transcript, questions and nodes; the network is ours.

Everything happens in virtual time (`clock.py`), in one thread at a time, so a seed replays exactly: same messages, same
order, same end. Real time is only a limit, for what would otherwise hang here.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from coordinator.audit import Audit
from coordinator.jobs import Jobs
from coordinator.store import Store
from simulation.faults.failing_store import FailingStore, Mishaps
from simulation.faults.judging import Ending, Verdict
from simulation.faults.line import Line
from simulation.faults.schedule import Schedule, draw
from simulation.faults.subject import Subject, standard
from simulation.faults.superlink import Message

LIMIT = 4 * 3600.0
"""Virtual seconds after which the researcher gives up; every fault that heals has healed hours before."""
PATIENCE = 60.0
"""Real seconds without a sign of life: what takes longer hangs."""
GIVE_UP = "give up"


def trial(
    seed: int = 0,
    *,
    schedule: Schedule | None = None,
    subject: Subject | None = None,
    questions: Sequence[int] | None = None,
) -> Verdict:
    """Run jobs under the schedule of `seed`, or the one given, and judge how they end.

    `questions` are numbers of questions of the subject; without them, the seed chooses one to three.
    """
    subject = subject or standard()
    schedule = schedule or draw(seed, tuple(subject.nodes))
    with tempfile.TemporaryDirectory(prefix="cohortium-faults-") as folder:
        return _Trial(schedule, subject, Path(folder)).run(questions)


class _Trial:
    def __init__(self, schedule: Schedule, subject: Subject, folder: Path) -> None:
        self.subject, self.verdict = subject, Verdict(schedule)
        answers = {name: node.answer for name, node in subject.nodes.items()}
        others = {name: node.answer for name, node in subject.strangers.items()}
        self.line, self.mishaps = Line(answers, others, schedule), Mishaps(schedule)
        self.rng = random.Random(schedule.seed + 1)  # noqa: S311 - replayable is what it must be
        (folder / "store.db").write_bytes(_new_store(tuple(subject.nodes)))
        self.url = f"sqlite:///{folder / 'store.db'}"
        self.ids: dict[str, int] = {}  # jobs -> number of their question
        self.dead = False
        self.mishaps.on_kill = self.line.on_kill = self._die
        self.line.superlink.on_post = self._watch
        self.line.plan(LIMIT, GIVE_UP)

    def run(self, questions: Sequence[int] | None) -> Verdict:
        store, jobs = self._start()
        for number in questions or chosen(self.rng, self.subject):
            self.ids[jobs.submit(**self.subject.request(number), by="researcher").id] = number
        while not self._ended(store, jobs):
            self._restart(store, jobs)
            store, jobs = self._start()
        jobs.stop()
        for job, number in self.ids.items():
            view = jobs.look(job)
            self.verdict.endings.append(Ending(number, view, store.result(job), self.subject.expected(number)))
        store.close()
        self.verdict.seconds = self.line.clock.now
        return self.verdict.judge()

    def _start(self) -> tuple[FailingStore, Jobs]:
        store = FailingStore(self.url, self.mishaps)
        audit = Audit(store, self.subject.ceremony.authority)
        jobs = Jobs(store, self.subject.dictionary, self.line.open, audit, parallel=1, retry=0.0)
        self.dead = False
        jobs.start()
        return store, jobs

    def _ended(self, store: Store, jobs: Jobs) -> bool:
        """Wait until every job has ended (or hangs), and say so; or until the coordinator is no more."""
        alive, seen = time.monotonic(), (-1.0, -1)
        while not all(jobs.look(job).state.is_final for job in self.ids):
            if self.dead:
                return False
            if (now := (self.line.clock.now, self.mishaps.count)) != seen:
                alive, seen = time.monotonic(), now
            if time.monotonic() - alive > PATIENCE:
                return True
            if self.line.request is not None and self._serve(self.line.request, store, jobs):
                return False
            time.sleep(0.0005)
        return True

    def _serve(self, request: str, store: Store, jobs: Jobs) -> bool:
        """Do what the operator or the researcher does at this moment; True if that stops the coordinator."""
        match request.split():
            case ["stop"]:
                jobs.stop(within=PATIENCE)
                return True
            case ["withdraw", cohort]:
                store.withdraw(cohort)
                jobs.fail_those_of(cohort)
            case ["give", "up"]:  # one job at a time, so that the order is the same every time
                jobs.cancel(next(job for job in self.ids if not jobs.look(job).state.is_final), "researcher")
                self.line.plan(1.0, GIVE_UP)
        self.line.request = None
        return False

    def _restart(self, store: Store, jobs: Jobs) -> None:
        """What is left of the coordinator goes; after a while there is another."""
        for thread in jobs._threads:
            thread.join(PATIENCE)
        store.close()
        self.line.request = None
        self.line.restarted(self.rng.choice((0.5, 5.0, 60.0)))
        self.verdict.restarts += 1
        if self.line.clock.now > LIMIT:
            self.line.plan(1.0, GIVE_UP)

    def _die(self) -> None:
        self.dead = True

    def _watch(self, message: Message) -> None:
        """No answered round may be asked again: its totals are in the transcript."""
        self.verdict.asked += 1
        job = self.line.labels[message.run]
        if int(message.group) <= self.mishaps.recorded[job]:
            self.verdict.complaints.append(f"round {message.group} was asked again although it had been recorded")


def chosen(rng: random.Random, subject: Subject) -> list[int]:
    """One to three questions of a subject."""
    return rng.choices(range(len(subject.questions)), k=rng.randint(1, 3))


@cache
def _new_store(cohorts: tuple[str, ...]) -> bytes:
    """A store with these cohorts in it, to be copied: bringing a new one up to date takes longer than a job."""
    with tempfile.TemporaryDirectory(prefix="cohortium-faults-") as folder:
        path = Path(folder) / "store.db"
        store = Store(f"sqlite:///{path}")
        for name in cohorts:
            store.enrol(name, name.capitalize(), f"key of {name}")
        store.close()  # the last connection that closes brings the write-ahead log into the file
        return path.read_bytes()
