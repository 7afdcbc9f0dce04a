"""A small network to test the coordinator with: an analysis of a few rounds, and a link that is no network at all."""

import atexit
import shutil
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated
from uuid import uuid4

import numpy as np
from pydantic import Field

from cohortium.analysis import Params, Rounds, ask
from cohortium.data import Data
from cohortium.dictionary import Dictionary, Variable
from cohortium.errors import Refused
from cohortium.evidence import Evidence, Plain
from cohortium.formula import Formula
from cohortium.quantities import Array, Count, SumOver, Sums
from cohortium.result import Result
from coordinator.question import Cancelled, KeyConflict, LinkStopped
from node.answer import CohortNode
from node.disclosure import Policy
from node.memory import Memory
from node.trusted import Trust, TrustedNode
from simulation.ceremony import Ceremony

DICTIONARY = Dictionary(
    name="d",
    version="1",
    variables={
        "x": Variable(type="number", label={"en": "Height", "nl": "Lengte"}),
        "y": Variable(type="number"),
    },
)
SECRET = 424242.125


class TallyParams(Params):
    variable: str = Field("x", description="What to add up.")
    rounds: int = Field(3, ge=1, le=50, description="How often.")
    trouble: str = Field("", description="What should go wrong.")
    formula: Formula | None = Field(None, description="Not used.")


class Total(Sums):
    n: Count
    total: Annotated[Array, SumOver("n")]


class TallyResult(Result):
    totals: list[float]


def total(data: Data, params: TallyParams, shift: float) -> Total:
    moved = np.asarray(data[params.variable].sum() + shift * len(data))
    return Total(n=len(data), total=moved, evidence=Evidence(weights=Plain("a shift")))


def tally(params: TallyParams) -> Rounds[TallyResult]:
    """Adds a variable up, again and again, each time moved by what came out before."""
    totals = [0.0]
    for _ in range(params.rounds):
        answer = yield from ask(total, shift=totals[-1])
        totals.append(float(answer.total))
    if params.trouble == "bug":
        raise ValueError(f"a message with {SECRET} in it")
    if params.trouble == "refused":
        raise Refused("too few people", rule="min_people", cohort="north")
    return TallyResult(n=int(answer.n), totals=totals[1:])


CEREMONY = Ceremony("test", ("north", "south", "west"))
PERMITS = {study: CEREMONY.permit(study) for study in ("study", "heights", "weights")}
FOLDER = Path(tempfile.mkdtemp(prefix="tally-"))
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)


def node_of(cohort, values, variables=("x", "y")):
    columns = {name: np.asarray(values, dtype=float) for name in variables}
    node = CohortNode(cohort, Data(DICTIONARY, columns, len(values)), Policy.none())
    keys = CEREMONY.nodes[cohort]
    memory = Memory(FOLDER / f"{uuid4().hex}.db", cohort, keys.identity)
    return TrustedNode(node, Trust("test", CEREMONY.authority_key, keys), memory)


def signed_job(study="study", analysis="tally", params=None, cohorts=None, **changes):
    """The text of a signed job."""
    job = CEREMONY.job(PERMITS[study], analysis, params or {}, DICTIONARY.digest, cohorts, **changes)
    return job.to_bytes().decode()


class FakeLink:
    """Nodes as objects. `away` says which are not connected; `asked` records every (cohort, kind, round)."""

    def __init__(self, nodes):
        self.nodes = dict(nodes)
        self.keys = {}
        self.away = set()
        self.lives = dict.fromkeys(nodes, 1)
        self.asked = []
        self.leave_after = {}  # cohort -> number of questions after which its node goes away
        self.stopped = threading.Event()
        self.news = threading.Condition()
        self.count = 0

    def start(self):
        pass

    def stop(self):
        self.stopped.set()
        self.wake()

    def enrol(self, cohort, public_key):
        if b"PUBLIC KEY" not in public_key:
            raise ValueError
        if self.keys.setdefault(cohort, public_key) != public_key:
            raise KeyConflict

    def withdraw(self, cohort):
        self.keys.pop(cohort, None)
        self.wake()

    def online(self):
        return {name for name in self.keys if name in self.nodes and name not in self.away}

    def node(self, cohort):
        return (1, self.lives[cohort]) if cohort in self.online() else None

    def wake(self):
        with self.news:
            self.count += 1
            self.news.notify_all()

    def wait_for_news(self, seen, timeout):
        with self.news:
            self.news.wait_for(lambda: self.count != seen, min(timeout, 0.05))
            return self.count

    def leave(self, cohort):
        self.away.add(cohort)
        self.wake()

    def come_back(self, cohort):
        self.leave_after.pop(cohort, None)
        self.away.discard(cohort)
        self.lives[cohort] += 1
        self.wake()

    def rounds_asked(self):
        return sorted({number for _, kind, number in self.asked if kind == "question"})

    @contextmanager
    def open(self, label):
        yield FakeChannel(self)


class FakeChannel:
    def __init__(self, link):
        self.link = link

    def ask(self, payloads, *, kind, round, on_progress=None, cancelled=None):  # noqa: A002
        answers = {}
        while True:
            if cancelled is not None and cancelled.is_set():
                raise Cancelled("cancelled")
            if self.link.stopped.is_set():
                raise LinkStopped("stopped")
            for cohort in payloads.keys() & self.link.online() - answers.keys():
                answers[cohort] = self._answer(cohort, kind, round, payloads[cohort])
            if on_progress is not None:
                on_progress(payloads.keys() - answers.keys())
            if len(answers) == len(payloads):
                return answers
            with self.link.news:
                self.link.news.wait(0.01)

    def _answer(self, cohort, kind, number, payload):
        link = self.link
        link.asked.append((cohort, kind, number))
        if kind == "question" and cohort in link.leave_after:
            link.leave_after[cohort] -= 1
            if link.leave_after[cohort] == 0:
                link.away.add(cohort)
        return link.nodes[cohort].answer(kind, payload)
