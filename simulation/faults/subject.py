"""What a schedule of faults is tried on: a few cohorts, questions to them, and the answers that are right."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from cohortium.analysis import find
from cohortium.client import Network
from cohortium.dictionary import Dictionary
from cohortium.errors import CohortiumError
from node.answer import CohortNode
from node.memory import Memory
from node.trusted import Trust, TrustedNode
from simulation import cohorts
from simulation.ceremony import Ceremony
from simulation.in_process import InProcess, network

COHORTS = ("nutrition", "seniors", "twins")
PEOPLE = 160


@dataclass(frozen=True)
class Question:
    """An analysis with its parameters."""

    analysis: str
    params: Mapping[str, Any]
    cohorts: tuple[str, ...] | None = None  # all, if none are named


# Few rounds and many, one cohort effect and the other, sums and grids.
QUESTIONS = (
    Question("describe", {"variables": ["age", "sex", "sbp", "smoking"]}),
    Question("glm", {"formula": "sbp ~ age + sex + bmi", "family": "gaussian", "cohort_effect": "common"}),
    Question("glm", {"formula": "hypertension ~ age + sex + bmi", "family": "binomial"}),
    Question("glm", {"formula": "hypertension ~ age + bmi", "family": "binomial", "cohort_effect": "common"}),
    Question("glm", {"formula": "death ~ age + sex + offset(log(followup_time))", "family": "poisson"}),
    Question("cox", {"formula": "Surv(followup_time, death) ~ age + sex"}),
    Question("kaplan_meier", {"formula": "Surv(followup_time, death) ~ sex", "interval": 1000}),
)


class Subject:
    """Nodes and questions. The nodes are those of a real network: they answer signed jobs, masked and signed."""

    def __init__(
        self, nodes: Mapping[str, CohortNode], dictionary: Dictionary, questions: tuple[Question, ...]
    ) -> None:
        self.plain, self.dictionary, self.questions = nodes, dictionary, questions
        self.ceremony = Ceremony("faults", tuple(nodes))
        self.permit = self.ceremony.permit("faults")
        self.nodes = self._trusted(nodes)
        self._network = Network(InProcess(nodes, dictionary))
        self._expected: dict[int, str] = {}

    def expected(self, number: int) -> str:
        """How a question ends when nothing goes wrong: its result as JSON, or the kind of its problem."""
        if number not in self._expected:
            asked = self.questions[number]
            job = self._network.study("faults").run(asked.analysis, cohorts=asked.cohorts, **asked.params)
            try:
                self._expected[number] = job.result(progress=False).model_dump_json()
            except CohortiumError as error:
                self._expected[number] = type(error).__name__
        return self._expected[number]

    def request(self, number: int) -> dict[str, Any]:
        """A question, newly signed, as `coordinator.jobs.Jobs.submit` takes it."""
        asked = self.questions[number]
        params = find(asked.analysis).params.bind(asked.params, self.dictionary).model_dump(mode="json")
        job = self.ceremony.job(self.permit, asked.analysis, params, self.dictionary.digest, asked.cohorts)
        return {"job": job.document, "papers": self.ceremony.papers(self.permit, job), "params": params}

    def _trusted(self, nodes: Mapping[str, CohortNode]) -> dict[str, TrustedNode]:
        folder = Path(tempfile.mkdtemp(prefix="cohortium-faults-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        trusted = {}
        for name, node in nodes.items():
            keys = self.ceremony.nodes[name]
            trust = Trust(self.ceremony.network, self.ceremony.authority_key, keys)
            trusted[name] = TrustedNode(node, trust, Memory(folder / f"{name}.db", name, keys.identity))
        return trusted

    @cached_property
    def strangers(self) -> dict[str, TrustedNode]:
        """The same cohorts, whose operators installed another version of the dictionary."""
        # Not model_copy: that would take along a digest that was worked out already.
        other = Dictionary.model_validate(
            self.dictionary.model_dump() | {"version": f"{self.dictionary.version}-other"}
        )
        frames = {name: type(node.data)(other, node.data.columns, node.data.rows) for name, node in self.plain.items()}
        service = network(frames).service
        return self._trusted(service.nodes) if isinstance(service, InProcess) else {}


@cache
def standard() -> Subject:
    """Three synthetic cohorts and the questions above; made once per process."""
    frames = {name: cohorts.people(name, PEOPLE, seed=1) for name in COHORTS}
    service = network(frames, dictionary=cohorts.PEOPLE).service
    if not isinstance(service, InProcess):
        raise TypeError("a simulated network is in this process")
    return Subject(service.nodes, cohorts.PEOPLE, QUESTIONS)
