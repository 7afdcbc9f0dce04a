"""Whether a result is what its cohorts answered: checked by anybody, offline, without trust in the coordinator.

From the network's authority down every signature is verified. Then the analysis runs again on this machine. Each
question that it asks must be the one that was put to the nodes, each sum is added up anew from the vectors that the
nodes signed, and the result must be the one that was handed out: identical, or within `TOLERANCE` where another BLAS
rounds the last bits differently.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from cohortium.analysis import Question, conduct, find
from cohortium.asking import asked_by, combine_signed, compose_signed, finished
from cohortium.documents import Job, Permit, Roster
from cohortium.errors import CohortiumError, NotVerified, Untrusted, WrongReference
from cohortium.identity import code_identity
from cohortium.mentioned import variables_of
from cohortium.proof import Proof
from cohortium.quantities import Array, Sums
from cohortium.result import Result
from cohortium.signing import check_variables, verify_mandate
from cohortium.transcript import Round

TOLERANCE: Final = 1e-9
"""Largest relative difference of a question or a number of the result, between two machines."""


@dataclass(frozen=True)
class Verified:
    """What was found to be true."""

    roster: Roster
    permit: Permit
    job: Job
    rounds: int
    identical: bool
    same_code: bool


def verify(result: Result, proof: Proof, authority: str) -> Verified:
    """What is true of a result. `authority` is the public key of the network's authority, as this reader knows it.

    Raises the Untrusted error that says what is wrong, such as NotVerified for a result or a question that the analysis
    does not lead to, and NodeFailed for answers that do not add up.
    """
    job = proof.job.document
    mandate = verify_mandate(
        proof.roster, proof.permit, proof.job, authority=authority, network=job.network, now=job.submitted
    )
    if proof.dictionary.digest != job.dictionary:
        raise WrongReference("The job was signed for another dictionary than the one in the proof.")
    if (result.analysis, result.cohorts) != (job.analysis, job.cohorts):
        raise NotVerified("The result is of another analysis, or of other cohorts, than the job that was signed.")
    analysis = find(job.analysis)
    params = analysis.params.bind(job.params, proof.dictionary)
    check_variables(mandate.permit, variables_of(params))
    replay = _Replay(job, mandate.roster, proof.rounds)
    try:
        again = finished(conduct(analysis, params, replay.ask, job.cohorts))
    except Untrusted:
        raise
    except CohortiumError as error:
        raise NotVerified(f"The analysis, run again, ends without a result: {error.message}") from None
    if replay.asked != len(proof.rounds):
        raise NotVerified(f"The nodes were asked {len(proof.rounds)} questions; the analysis asks {replay.asked}.")
    return Verified(
        roster=mandate.roster,
        permit=mandate.permit,
        job=job,
        rounds=replay.asked,
        identical=_compared(again, result) and replay.identical,
        same_code=job.version == code_identity(),
    )


@dataclass
class _Replay:
    job: Job
    roster: Roster
    rounds: tuple[Round, ...]
    asked: int = 0
    identical: bool = field(default=True)

    def ask(self, question: Question) -> Sums | dict[str, Sums]:
        """The sum of what the nodes signed as their answers to this very question."""
        self.asked += 1
        if self.asked > len(self.rounds):
            raise NotVerified(f"The analysis asks a question {self.asked}; the proof ends before it.")
        recorded = self.rounds[self.asked - 1]
        if recorded.question != compose_signed(question, self.job, self.asked):
            raise NotVerified(f"Question {self.asked} that was put to the nodes is not the one that the analysis asks.")
        if set(recorded.answers) != set(self.job.cohorts):
            raise NotVerified(f"The answers to question {self.asked} are not those of the cohorts of the job.")
        self._compare(recorded.broadcast, question.broadcast)
        asked = asked_by(recorded.question, recorded.broadcast, self.job)
        analysis = find(self.job.analysis)
        return combine_signed(analysis, asked, self.roster, recorded.answers)

    def _compare(self, recorded: Mapping[str, Array], asked: Mapping[str, Array]) -> None:
        same = set(recorded) == set(asked) and all(recorded[name].shape == asked[name].shape for name in asked)
        if not same or not all(_near(recorded[name], asked[name]) for name in asked):
            raise NotVerified(f"Question {self.asked} was put to the nodes with other values than the analysis gives.")
        self.identical &= all(recorded[name].tobytes() == asked[name].tobytes() for name in asked)


def _near(a: Array, b: Array) -> bool:
    scale = float(np.max(np.abs(b), initial=0.0))
    return bool(np.allclose(a, b, rtol=TOLERANCE, atol=TOLERANCE * scale))


def _compared(again: Result, result: Result) -> bool:
    """Whether the results are identical. Raises NotVerified, naming the number, when they are not even near."""
    if result.exactness is None:  # it was saved before this was stated
        again = again.model_copy(update={"exactness": None})
    elif again.exactness is not None:  # the job that was signed says by which code it is answered
        stated = again.exactness.model_copy(update={"version": result.exactness.version})
        again = again.model_copy(update={"exactness": stated})
    if again.model_dump_json() == result.model_dump_json():
        return True
    _check_near(again.model_dump(mode="json"), result.model_dump(mode="json"), "result")
    return False


def _check_near(again: Any, given: Any, where: str) -> None:
    if isinstance(again, dict) and isinstance(given, dict) and again.keys() == given.keys():
        for name in again:
            _check_near(again[name], given[name], f"{where}.{name}")
    elif isinstance(again, list) and isinstance(given, list) and len(again) == len(given):
        for number, (one, other) in enumerate(zip(again, given, strict=True)):
            _check_near(one, other, f"{where}[{number}]")
    elif isinstance(again, float) and isinstance(given, float):
        if not math.isclose(again, given, rel_tol=TOLERANCE, abs_tol=TOLERANCE):
            raise NotVerified(f"`{where}` is not what the answers of the cohorts lead to: it was changed.")
    elif again != given:
        raise NotVerified(f"`{where}` is not what the answers of the cohorts lead to: it was changed.")
