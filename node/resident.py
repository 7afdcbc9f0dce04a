"""The threads of a resident node: one waits for questions, one says that the node is alive, some answer.

Knows nothing of Flower: `node.app` says how to connect and what a connection can do.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable, Hashable
from typing import Any, Protocol

log = logging.getLogger("cohortium.node")

Answer = Callable[[str, bytes], bytes]
Status = Callable[[str, str], None]

HEARTBEAT_EVERY = 4.0
"""Seconds; the coordinator takes a node for gone after 20 s without one (see `node.app`)."""
BACKOFF = (0.1, 0.2, 0.5, 1.0, 2.0)
"""Seconds between attempts to reach the coordinator; the last one repeats."""
PAUSE = 0.1
"""Seconds after an empty answer. Two nodes with one key end each other's waiting; this keeps them from racing."""
GRACE = 1.0
"""Seconds that a node which is told to stop waits for answers in the making."""
LET_GO = 0.5
"""Seconds that it then waits for the coordinator to let go of the request that it holds open."""


class NotEnrolled(Exception):
    """The coordinator does not know this node's key."""

    def __init__(self) -> None:
        super().__init__(
            "The coordinator does not know this node's key; ask its operator to enrol the public key of this node."
        )


class Undelivered(Exception):
    """A request to the coordinator was in vain. What it was about is asked again if it still matters."""


class Unreachable(Undelivered):
    """No answer from the coordinator, or one that says to try again."""


class SessionLost(Undelivered):
    """The coordinator no longer knows this session: it restarted, or the key was withdrawn."""


class Session(Protocol):
    """A connection at which the coordinator knows this node; every method may raise `Undelivered`."""

    def pull(self) -> Any | None:
        """Wait a while for a question."""

    def handle(self, question: Any) -> None:
        """Answer it."""

    def heartbeat(self) -> None:
        """Say that the node is alive."""

    def leave(self) -> None:
        """Say that the node stops; the coordinator then ends what it holds open."""


class Resident:
    """A node that stays connected until it is told to stop.

    Args:
        connect: Makes a session; may raise `Unreachable` (tried again) or `NotEnrolled` (the end).
        on_status: Called with a word and a sentence that explains it.
        workers: How many questions are answered at a time.

    """

    def __init__(self, connect: Callable[[], Session], on_status: Status, workers: int) -> None:
        self._connect, self._on_status = connect, on_status
        self._questions: queue.SimpleQueue[tuple[Session, Any] | None] = queue.SimpleQueue()
        self._session: Session | None = None
        self._leaving = threading.Event()
        self._failure: Exception | None = None
        self._pulling, self._beating = _thread(self._pull_all), _thread(self._beat)
        self._crew = [_thread(self._answer_all) for _ in range(workers)]

    def run(self, stop: threading.Event) -> None:
        """Stay connected until `stop` is set; raises what ended the connection for good, such as `NotEnrolled`."""
        for thread in (*self._crew, self._pulling, self._beating):
            thread.start()
        # Waits on `stop` alone, in slices: a signal handler may set it, and the thread that pulls may end by itself.
        while not stop.wait(0.1) and self._pulling.is_alive():
            pass
        self._leaving.set()
        self._finish_answers()
        self._leave()
        for thread in (self._pulling, self._beating):
            thread.join(LET_GO)
        self._on_status("stopped", "The node has stopped.")
        if self._failure is not None:
            raise self._failure

    def _finish_answers(self) -> None:
        for _ in self._crew:
            self._questions.put(None)
        end = time.monotonic() + GRACE
        for thread in self._crew:
            thread.join(max(0.0, end - time.monotonic()))

    def _leave(self) -> None:
        if self._session is not None:
            try:
                self._session.leave()
            except Undelivered:
                log.info("The coordinator did not hear that this node stops.")

    def _pull_all(self) -> None:
        self._on_status("connecting", "Connecting to the coordinator.")
        failures = 0
        while not self._leaving.is_set():
            try:
                self._pull()
                failures = 0
            except SessionLost:
                self._session = None
            except Undelivered as reason:
                # A message may have been lost with the connection: a new session makes the coordinator ask again.
                self._session = None
                self._back_off(reason, BACKOFF[min(failures, len(BACKOFF) - 1)])
                failures += 1
            except Exception as failure:
                self._failure = failure
                return

    def _pull(self) -> None:
        session = self._session
        if session is None:
            session = self._session = self._connect()
            self._on_status("online", "Connected; waiting for questions.")
        question = session.pull()
        if question is None:
            self._leaving.wait(PAUSE)
        elif not self._leaving.is_set():
            self._questions.put((session, question))

    def _back_off(self, reason: Undelivered, delay: float) -> None:
        self._on_status("unreachable", f"No answer from the coordinator ({reason}); trying again in {delay} s.")
        self._leaving.wait(delay)

    def _beat(self) -> None:
        while not self._leaving.wait(HEARTBEAT_EVERY):
            try:
                if self._session is not None:
                    self._session.heartbeat()
            except Undelivered as reason:
                log.debug("heartbeat: %r", reason)  # the thread that pulls finds out by itself, and reconnects
            except Exception:
                log.exception("A heartbeat failed.")

    def _answer_all(self) -> None:
        while (item := self._questions.get()) is not None:
            session, question = item
            try:
                session.handle(question)
            except Undelivered as reason:
                log.info("An answer was not delivered (%r); it is asked for again if still wanted.", reason)
            except Exception:
                log.exception("A question could not be handled.")


class Copies:
    """Copies of a question in flight. The first is computed, and its answer serves all; none of the others waits.

    The coordinator asks again what takes longer than it expects, and after a connection was lost.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._copies: dict[Hashable, list[Any]] = {}

    def first(self, key: Hashable, copy: Any) -> bool:
        """Add a copy; True if it is the first, so that the caller computes the answer."""
        with self._lock:
            copies = self._copies.setdefault(key, [])
            copies.append(copy)
            return len(copies) == 1

    def done(self, key: Hashable) -> list[Any]:
        """All copies that have come in until now."""
        with self._lock:
            return self._copies.pop(key)


def _thread(target: Callable[[], None]) -> threading.Thread:
    """Daemon threads: a computation that does not end must not keep a stopped node from exiting."""
    return threading.Thread(target=target, name=f"node{target.__name__}", daemon=True)
