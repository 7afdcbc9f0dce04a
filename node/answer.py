"""How a node answers: look the statistic up in what its operator installed, compute it, check it, release it.

Nothing here knows the network. What a peer sends is looked up and validated, never executed.
"""

from __future__ import annotations

import inspect
import json
import logging
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from traceback import extract_tb
from uuid import uuid4

import numpy as np
import structlog

import cohortium
from cohortium.analysis import Params, find
from cohortium.data import Data
from cohortium.dictionary import Dictionary
from cohortium.errors import CohortiumError, InvalidQuestion, NodeFailed, Refused
from cohortium.messages import AnswerMessage, Introduction, MalformedMessage, QuestionMessage
from cohortium.quantities import Array, Sums
from cohortium.secure_sum import encode
from node.disclosure import Policy, check, check_per_cohort

# Through the standard library, so that a program that embeds a node (a simulation) hears of failures only.
log = structlog.wrap_logger(logging.getLogger("cohortium.node"))


class CohortNode:
    """One cohort's data behind its policy: bytes in, bytes out. Safe to call from several threads at once."""

    def __init__(self, cohort: str, data: Data, policy: Policy) -> None:
        self.cohort, self.policy = cohort, policy
        least = max(policy.min_people, policy.min_cell)
        self.data = Data(data.dictionary, data.columns, data.rows, least)
        # A job asks many rounds with the same parameters; binding them compiles the design, so it is kept.
        self._bound: Callable[[str, str], Params] = lru_cache(maxsize=64)(self._bind)

    @property
    def dictionary(self) -> Dictionary:
        """The dictionary that this node's data are coded by."""
        return self.data.dictionary

    def answer(self, kind: str, payload: bytes) -> bytes:
        """The reply to a message of the coordinator: kind `introduction` or `question`. Never raises."""
        if kind == "introduction":
            return self.introduction().to_bytes()
        try:
            question, broadcast = QuestionMessage.from_bytes(payload)
        except MalformedMessage as error:
            return AnswerMessage(problem=error.problem()).to_bytes()
        message, arrays = self.reply(question, broadcast)
        return message.to_bytes(arrays)

    def introduction(self) -> Introduction:
        """What this node tells about itself: no count, no value."""
        collected = tuple(name for name in self.dictionary.variables if name in self.data.columns)
        return Introduction(dictionary=self.dictionary.digest, version=cohortium.__version__, variables=collected)

    def reply(
        self, question: QuestionMessage, broadcast: Mapping[str, Array]
    ) -> tuple[AnswerMessage, dict[str, Array]]:
        """The answer to a question with its arrays, or the problem in words that hold no data. Never raises."""
        try:
            released = self._release(question, broadcast)
        except CohortiumError as error:
            kind, rule = type(error).__name__, getattr(error, "rule", None)
            log.info("not answered", job=question.job, round=question.round, kind=kind, rule=rule)
            return AnswerMessage(problem=error.problem()), {}
        except Exception as error:  # whatever it says may hold data: it stays here, under a reference
            reference = uuid4().hex[:8]
            # Where it went wrong, without the message: code has no data in it.
            where = [f"{Path(f.filename).name}:{f.lineno}" for f in extract_tb(error.__traceback__)[-3:]]
            log.error("failed", job=question.job, reference=reference, error=type(error).__name__, where=where)
            message = f"The node could not compute `{question.statistic}`; its log has the reference {reference}."
            return AnswerMessage(problem=NodeFailed(message).problem()), {}
        log.info("answered", job=question.job, round=question.round, statistic=question.statistic)
        return AnswerMessage(), released

    def _release(self, question: QuestionMessage, broadcast: Mapping[str, Array]) -> dict[str, Array]:
        if question.dictionary != self.dictionary.digest:
            raise InvalidQuestion(
                f"This node has version {self.dictionary.version} of the dictionary; the question has another."
            )
        if question.per_cohort:
            check_per_cohort(self.policy)
        statistic = find(question.analysis).statistic(question.statistic)
        params = self._bound(question.analysis, json.dumps(question.params, sort_keys=True))
        sums = statistic(self.data, params, **_arguments(statistic, broadcast))
        return encode(check(sums, self.policy))

    def _bind(self, analysis: str, params: str) -> Params:
        bound: Params = find(analysis).params.bind(json.loads(params), self.dictionary)
        return bound


def _arguments(statistic: Callable[..., Sums], broadcast: Mapping[str, Array]) -> dict[str, float | Array]:
    wanted = list(inspect.signature(statistic).parameters)[2:]
    if sorted(wanted) != sorted(broadcast):
        raise InvalidQuestion(f"`{statistic.__name__}` takes {', '.join(wanted) or 'no values'} besides the data.")
    if not all(np.all(np.isfinite(value)) for value in broadcast.values()):
        raise Refused("A broadcast value is not finite.", rule="broadcast")
    return {name: float(value) if value.ndim == 0 else value for name, value in broadcast.items()}
