"""From a generator's question to messages for the nodes, and from their answers back to a sum.

Two ways to ask: inside one process, where nobody has to be trusted (`compose`, `combine`), and in a real network, where
a question rests on a signed job and comes back masked and signed (`compose_signed`, `asked_by`, `combine_signed`). The
sums are the same to the last bit. Coordinator, nodes and `verify` share this, so that they mean the same by a question.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from cohortium.analysis import Analysis, Params, Question
from cohortium.documents import Answer as SignedAnswer
from cohortium.documents import Job, Roster
from cohortium.errors import AwaitingApproval, CohortiumError, NodeFailed
from cohortium.masks import MIN_COHORTS, Asked
from cohortium.messages import AnswerMessage, MalformedMessage, Papers, QuestionMessage
from cohortium.quantities import Array, Sums
from cohortium.result import Result
from cohortium.secure_sum import Vector, add_masked, add_up, decode
from cohortium.signing import Signed, verify_answer

R = TypeVar("R", bound=Result)

Answer = tuple[AnswerMessage, Mapping[str, Array]]


def compose(
    question: Question, analysis: Analysis[Any, Any], params: Params, *, job: str, round_: int, cohorts: tuple[str, ...]
) -> QuestionMessage:
    """The message that puts `question` to every cohort; the broadcast values travel beside it as arrays."""
    return QuestionMessage(
        job=job,
        round=round_,
        analysis=analysis.name,
        statistic=question.statistic,
        params=params.model_dump(mode="json"),
        dictionary=params.dictionary.digest,
        cohorts=cohorts,
        per_cohort=question.per_cohort,
    )


def compose_signed(question: Question, job: Job, round_: int, papers: Papers | None = None) -> QuestionMessage:
    """The message that puts `question` to every cohort of a signed job, with the documents that it rests on."""
    return QuestionMessage(
        job=job.digest(),
        round=round_,
        analysis=job.analysis,
        statistic=question.statistic,
        params=job.params,
        dictionary=job.dictionary,
        cohorts=job.cohorts,
        per_cohort=question.per_cohort,
        papers=papers,
    )


def asked_by(question: QuestionMessage, broadcast: Mapping[str, Array], job: Job) -> Asked:
    """What masks and signatures bind to. All but the statistic and the broadcast values is the signed job's own."""
    return Asked(
        network=job.network,
        job=job.digest(),
        round=question.round,
        analysis=job.analysis,
        version=job.version,
        statistic=question.statistic,
        params=job.params,
        broadcast=broadcast,
        dictionary=job.dictionary,
        roster=job.roster,
        cohorts=job.cohorts,
        per_cohort=question.per_cohort,
    )


def combine(question: Question, analysis: Analysis[Any, Any], answers: Mapping[str, Answer]) -> Sums | dict[str, Sums]:
    """The total of the answers by cohort or, for a per-cohort question, each cohort's own record.

    Raises the problem that a cohort reported instead of an answer (the first one by name, saying whose it is).
    """
    _raise_problems(answers)
    record = analysis.sums(question.statistic)
    arrays = {cohort: arrays for cohort, (_, arrays) in answers.items()}
    if question.per_cohort:
        return {cohort: decode(record, arrays[cohort]) for cohort in sorted(arrays)}
    return add_up(record, arrays)


def combine_signed(
    analysis: Analysis[Any, Any], asked: Asked, roster: Roster, answers: Mapping[str, bytes]
) -> Sums | dict[str, Sums]:
    """The same for the answers of a real network, as they came: verified, then added up, whereby the masks cancel.

    Raises what a cohort reported (AwaitingApproval only if nothing else was), NodeFailed or an Untrusted error that
    names the cohort whose answer is none, and NodeFailed without a name for a total that no honest answers could have.
    """
    if lacking := set(asked.cohorts) - set(answers):
        raise NodeFailed(f"There is no answer of {', '.join(sorted(lacking))} to question {asked.round}.")
    read = {cohort: _read(cohort, answers[cohort]) for cohort in asked.cohorts}
    _raise_problems(read)
    digest, record = asked.digest(), analysis.sums(asked.statistic)
    vectors = {cohort: _verified(cohort, answer, asked, digest, roster) for cohort, answer in read.items()}
    if asked.per_cohort:
        return {cohort: add_masked(record, {cohort: vector}) for cohort, vector in sorted(vectors.items())}
    return add_masked(record, vectors)


def _read(cohort: str, reply: bytes) -> Answer:
    try:
        return AnswerMessage.from_bytes(reply)
    except MalformedMessage as error:
        raise NodeFailed(f"The answer of `{cohort}` cannot be read: {error.message}.", cohort=cohort) from None


def _raise_problems(answers: Mapping[str, Answer]) -> None:
    problems = {cohort: answers[cohort][0].problem for cohort in sorted(answers)}
    undecided = []
    for cohort, problem in problems.items():
        if problem is not None and problem.kind == AwaitingApproval.__name__:
            undecided.append(cohort)
        elif problem is not None:
            named = {"cohort": cohort, "message": f"{cohort}: {problem.message}"}
            raise CohortiumError.from_problem(problem.model_copy(update=named))
    if undecided:  # after what ends the job in any case
        names = ", ".join(undecided)
        raise AwaitingApproval(f"The job waits for the approval of {names}.", cohorts=tuple(undecided))


def _verified(cohort: str, answer: Answer, asked: Asked, digest: str, roster: Roster) -> Vector:
    message, arrays = answer
    if message.layout is None or message.signed is None or set(arrays) != {"vector"}:
        raise NodeFailed(f"The answer of `{cohort}` is not masked and signed.", cohort=cohort)
    try:
        vector = Vector.from_bytes(message.layout, arrays["vector"].tobytes())
        signed = Signed.from_bytes(SignedAnswer, message.signed.encode())
    except CohortiumError as error:
        raise type(error)(f"{cohort}: {error.message}", cohort=cohort) from None
    expected = {"job": asked.job, "round_": asked.round, "question": digest, "vector": vector.digest()}
    verify_answer(signed, roster, cohort=cohort, **expected)  # type: ignore[arg-type]
    return vector


def finished(result: R) -> R:
    """The result of an analysis as it is handed out by a real network."""
    told = result.warnings
    if len(result.cohorts) < MIN_COHORTS:
        told += (f"Insecure: a sum over fewer than {MIN_COHORTS} cohorts tells each of them the others' numbers.",)
    return result.model_copy(update={"warnings": told})
