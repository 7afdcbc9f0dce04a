"""Three nodes of a real network, as objects, and everybody's keys: to test what a node does when it is asked."""

from typing import Annotated

import numpy as np
from pydantic import Field

from cohortium.analysis import Params, Rounds, ask
from cohortium.chain import verify_chain
from cohortium.data import Data
from cohortium.dictionary import Dictionary, Variable
from cohortium.evidence import Evidence, Plain
from cohortium.keys import public_text
from cohortium.masks import Asked
from cohortium.messages import AnswerMessage, QuestionMessage
from cohortium.quantities import Array, Count, SumOver, Sums
from cohortium.result import Result
from cohortium.secure_sum import Vector
from node.answer import CohortNode
from node.disclosure import Policy
from node.memory import Memory
from node.trusted import Trust, TrustedNode
from simulation.ceremony import Ceremony

DICTIONARY = Dictionary(name="d", version="1", variables={"x": Variable(type="number"), "y": Variable(type="number")})
COHORTS = ("north", "south", "west")


class TotalParams(Params):
    variable: str = Field(description="What to add up.")
    peek: str | None = Field(None, description="Read another variable without saying so.")


class Total(Sums):
    n: Count
    total: Annotated[Array, SumOver("n")]


def total(data: Data, params: TotalParams, scale: float) -> Total:
    if scale == 13:
        raise ValueError("whatever")
    if scale == 17 and len(data):
        raise ValueError("a value of somebody's")
    if scale == 7:
        data["y"].sum()
    evidence = Evidence(weights=Plain("a scale"))
    return Total(n=len(data), total=scale * data[params.variable].sum(keepdims=True), evidence=evidence)


def totals(params: TotalParams) -> Rounds[Result]:
    """A total."""
    answer = yield from ask(total, scale=1.0)
    return Result(n=int(answer.n))


class Net:
    """Three nodes and everybody's keys."""

    def __init__(self, folder, policy=None, cohorts=COHORTS):
        self.folder, self.policy = folder, policy or Policy()
        self.ceremony = Ceremony("net", cohorts)
        self.permit = self.ceremony.permit("s")
        self.now = self.ceremony.now
        self.data = {c: np.random.default_rng(i).normal(size=20) for i, c in enumerate(cohorts)}
        self.nodes = {cohort: self.node(cohort) for cohort in cohorts}

    def node(self, cohort):
        keys = self.ceremony.nodes[cohort]
        memory = Memory(self.folder / f"{cohort}.db", cohort, keys.identity)
        columns = {"x": self.data[cohort], "y": self.data[cohort]}
        node = CohortNode(cohort, Data(DICTIONARY, columns, 20), self.policy)
        trust = Trust("net", self.ceremony.authority_key, keys)
        return TrustedNode(node, trust, memory, clock=lambda: self.now)

    def job(self, cohorts=None, permit=None, **changes):
        params = changes.pop("params", {"variable": "x"})
        return self.ceremony.job(permit or self.permit, "totals", params, DICTIONARY.digest, cohorts, **changes)

    def question(self, signed, permit=None, **changes):
        document = signed.document
        fields = {
            "job": document.digest(),
            "round": 1,
            "analysis": document.analysis,
            "statistic": "total",
            "params": document.params,
            "dictionary": document.dictionary,
            "cohorts": document.cohorts,
            "papers": self.ceremony.papers(permit or self.permit, signed),
        }
        return QuestionMessage(**fields | changes)

    def ask(self, cohort, question, scale=1.0):
        return self.nodes[cohort].answer("question", question.to_bytes({"scale": np.asarray(scale)}))

    def events(self, cohort):
        key = public_text(self.ceremony.nodes[cohort].identity.public_key())
        return verify_chain(self.nodes[cohort].memory.journal(), key, owner=cohort)


def problem(reply):
    message, arrays = AnswerMessage.from_bytes(reply)
    assert arrays == {}
    return message.problem


def vector(reply):
    message, arrays = AnswerMessage.from_bytes(reply)
    assert message.problem is None, message.problem
    return Vector.from_bytes(message.layout, arrays["vector"].tobytes())


def asked(job, scale=1.0):
    return Asked(
        network="net",
        job=job.document.digest(),
        round=1,
        analysis="totals",
        version=job.document.version,
        statistic="total",
        params=job.document.params,
        broadcast={"scale": np.asarray(scale)},
        dictionary=job.document.dictionary,
        roster=job.document.roster,
        cohorts=job.document.cohorts,
    )
