"""From a generator's question to messages for the nodes, and from their answers back to a sum.

What the coordinator and the in-process simulation share: they differ only in how a message reaches a node.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cohortium.analysis import Analysis, Params, Question
from cohortium.errors import CohortiumError
from cohortium.messages import AnswerMessage, QuestionMessage
from cohortium.quantities import Array, Sums
from cohortium.secure_sum import add_up, decode

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


def combine(question: Question, analysis: Analysis[Any, Any], answers: Mapping[str, Answer]) -> Sums | dict[str, Sums]:
    """The total of the answers by cohort or, for a per-cohort question, each cohort's own record.

    Raises the problem that a cohort reported instead of an answer (the first one by name, saying whose it is).
    """
    for cohort in sorted(answers):
        problem = answers[cohort][0].problem
        if problem is not None:
            named = {"cohort": cohort, "message": f"{cohort}: {problem.message}"}
            raise CohortiumError.from_problem(problem.model_copy(update=named))
    record = analysis.sums(question.statistic)
    arrays = {cohort: arrays for cohort, (_, arrays) in answers.items()}
    if question.per_cohort:
        return {cohort: decode(record, arrays[cohort]) for cohort in sorted(arrays)}
    return add_up(record, arrays)
