"""One question to all nodes of a job, and the sum of their answers.

The answers of the single cohorts exist only inside `ask_all_nodes`: they are neither stored nor logged. Masking belongs
exactly here: masked answers come in, `combine` unmasks their sum.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

from cohortium.analysis import Analysis, Question
from cohortium.asking import Answer, combine
from cohortium.errors import JobCancelled, NodeFailed
from cohortium.messages import AnswerMessage, MalformedMessage, QuestionMessage
from coordinator import question as link
from coordinator.transcript import Totals

OnProgress = Callable[[set[str]], None]


class Channel(Protocol):
    """A line to the nodes, for one job. See `coordinator.link.Channel`."""

    def ask(
        self,
        payloads: Mapping[str, bytes],
        *,
        kind: str,
        round: int,  # noqa: A002
        on_progress: OnProgress | None = None,
        cancelled: threading.Event | None = None,
    ) -> dict[str, bytes]:
        """Ask each cohort and wait for all of them, however long it takes."""


OpenChannel = Callable[[str], AbstractContextManager[Channel]]


def ask_all_nodes(
    question: Question,
    message: QuestionMessage,
    analysis: Analysis[Any, Any],
    channel: Channel,
    *,
    on_progress: OnProgress,
    cancelled: threading.Event,
) -> Totals:
    """The sum over all cohorts of `message` (for a per-cohort question: each one's own record).

    Raises whatever problem a node reported, NodeFailed naming a cohort that could not answer, JobCancelled.
    """
    payload = message.to_bytes(question.broadcast)
    replies = ask(
        channel,
        dict.fromkeys(message.cohorts, payload),
        kind="question",
        round_=message.round,
        on_progress=on_progress,
        cancelled=cancelled,
    )
    return combine(question, analysis, {cohort: _read(cohort, reply) for cohort, reply in replies.items()})


def ask(
    channel: Channel,
    payloads: Mapping[str, bytes],
    *,
    kind: str,
    round_: int,
    on_progress: OnProgress | None = None,
    cancelled: threading.Event,
) -> dict[str, bytes]:
    """`channel.ask`, with the errors of the Flower seam in our own terms. Raises NodeFailed or JobCancelled."""
    try:
        return channel.ask(payloads, kind=kind, round=round_, on_progress=on_progress, cancelled=cancelled)
    except link.NodeFailed as error:
        raise NodeFailed(
            f"The node of `{error.cohort}` could not answer: {error.reason}.", cohort=error.cohort
        ) from None
    except (link.Cancelled, link.LinkStopped):
        raise JobCancelled("The question was withdrawn before every cohort had answered.") from None


def _read(cohort: str, reply: bytes) -> Answer:
    try:
        return AnswerMessage.from_bytes(reply)
    except MalformedMessage as error:
        raise NodeFailed(f"The answer of `{cohort}` cannot be read: {error.message}.", cohort=cohort) from None
