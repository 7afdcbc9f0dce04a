"""What an attacker can do to a network, and whom it is after."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

from cohortium.analysis import Params, Question, find
from cohortium.client import Job, Network
from cohortium.dictionary import Dictionary
from cohortium.errors import CohortiumError, Refused
from cohortium.messages import JobRequest, JobState
from cohortium.result import Result
from simulation.in_process import InProcess

STUDY = "attacks"
Rounds = Callable[[Params], Generator[Question, Any, Any]]


class Blocked(Exception):
    """What the attack needed was not told."""


class OutOfReach(Exception):
    """The attack needs a power over the network that is not at hand: a coordinator of one's own."""


@dataclasses.dataclass(frozen=True)
class Target:
    """One person, and what there is to recover.

    `known` is what the attacker knows beforehand. `truth` is only for judging what was recovered: the person's own
    values by variable, and other facts that must not come out ("people without `lung`").
    """

    cohort: str
    known: Mapping[str, Any]
    truth: Mapping[str, float]

    def tolerance(self, fact: str, dictionary: Dictionary) -> float:
        """How near a guess must come to count as recovered: half a percent of the variable's range; of a count 0.4."""
        if fact not in dictionary:
            return 0.4
        variable = dictionary[fact]
        if variable.minimum is None or variable.maximum is None or variable.is_binary:
            return 0.1
        return max(0.005 * (variable.maximum - variable.minimum), 0.5 * (variable.lattice_step or 0.0))


class Heard(dict[str, Any]):
    """Totals by statistic. Raises Blocked for one that was not told."""

    def __missing__(self, statistic: str) -> Any:
        raise Blocked(f"`{statistic}` was not told")


class Attempt:
    """One attack in progress: it asks, and it is noted what was refused."""

    def __init__(self, network: Network, target: Target) -> None:
        self.network, self.target = network, target
        self.study = STUDY
        self.tries = 0
        self.refused: list[str] = []

    @property
    def dictionary(self) -> Dictionary:
        """The variables of the network."""
        return self.network.service.dictionary()

    def ask(self, analysis: str, cohorts: Sequence[str] | None = None, **params: Any) -> Any:
        """The result of an honest question, as any researcher may ask it. Raises Blocked."""
        self.tries += 1
        try:
            return self.network.study(self.study).run(analysis, cohorts=cohorts, **params).result(progress=False)
        except CohortiumError as error:
            raise self._blocked(error) from None

    def told(self, analysis: str, **params: Any) -> str:
        """What a question is answered with, in words: the kind of error, or "an answer"."""
        try:
            self.ask(analysis, **params)
        except Blocked as blocked:
            return str(blocked).split(":", 1)[0]
        return "an answer"

    def drive(self, analysis: str, rounds: Rounds, cohorts: Sequence[str] | None = None, **params: Any) -> Any:
        """What `rounds` returns, which takes the place of the analysis: the coordinator is the attacker's.

        Nodes answer the statistics of the analysis and none other, but get the broadcast values that `rounds` chooses.
        Raises Blocked, or OutOfReach where the coordinator is somebody else's.
        """
        service, returned = self.network.service, []
        if not isinstance(service, InProcess):
            raise OutOfReach
        self.tries += 1

        def run(bound: Params) -> Generator[Question, Any, Result]:
            returned.append((yield from rounds(bound)))
            return Result(n=0)

        rogue = dataclasses.replace(find(analysis), run=run)
        asked = tuple(cohorts) if cohorts is not None else None
        request = JobRequest(study=self.study, analysis=analysis, params=params, cohorts=asked)
        try:
            view = Job(service, service.start(rogue, request)).wait(progress=False)
            if view.state is not JobState.finished and view.problem is not None:
                raise CohortiumError.from_problem(view.problem)
        except CohortiumError as error:
            raise self._blocked(error) from None
        return returned[0]

    def watch(self, analysis: str, last: str = "", **params: Any) -> Heard:
        """The totals that an honest analysis asks for, by statistic (the first of each): a curious coordinator's view.

        What becomes of it does not matter: an analysis that fails, or is refused, has told what came before that. It is
        left after the statistic `last`, for an attacker in a hurry.
        """
        seen = Heard()

        def listening(bound: Params) -> Generator[Question, Any, Heard]:
            honest, answer = find(analysis).run(bound), None
            try:
                while last not in seen:
                    question = honest.send(answer)
                    answer = yield question
                    seen.setdefault(question.statistic, answer)
            except (StopIteration, CohortiumError):
                pass
            return seen

        with contextlib.suppress(Blocked):
            self.drive(analysis, listening, **params)
        return seen

    def _blocked(self, error: CohortiumError) -> Blocked:
        if isinstance(error, Refused):
            self.refused.append(error.rule)
        return Blocked(f"{type(error).__name__}: {error.message}")


def shown(value: float | None) -> float:
    """A number that was told. Raises Blocked for one that was withheld."""
    if value is None or not math.isfinite(value):
        raise Blocked("withheld")
    return float(value)
