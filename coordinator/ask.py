"""One question to all nodes of a job, and the errors of the line to them in our own terms."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Protocol

from cohortium.errors import JobCancelled, NodeFailed
from coordinator import question as link

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
