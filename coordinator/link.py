"""The link to the nodes: questions out, answers back. Payloads are opaque bytes, addressed by cohort name.

A `Link` is SuperLink behind the gate, listening in this process. A `Channel` is one Flower run, and `Channel.ask` is
one round: it waits for every cohort asked, for as long as that takes.
"""

import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Self

import uvicorn

from cohortium.parcel import PART_SIZE
from coordinator.edge import HSTS
from coordinator.gate import Gate
from coordinator.node_key import canonical
from coordinator.question import Cancelled, KeyConflict, LinkStopped, Question, Run

if TYPE_CHECKING:
    from coordinator.flower import SuperLink

TASK_HEARTBEAT = 15.0
ENVELOPE = 64 * 1024


@dataclass(frozen=True)
class Tls:
    """PEM files: the certificate chain that the coordinator presents to nodes, and its private key."""

    cert: Path
    key: Path


class Link:
    """SuperLink, hosted in this process behind the gate.

    Flower's state is in memory, so whoever starts a Link enrols the cohorts from its own store; best before `start`, so
    that no node meets a coordinator that does not know it yet.

    Args:
        superlink: SuperLink, not shared with another link.
        host: Address that nodes connect to.
        port: Port that nodes connect to; 0 takes any free one (see the attribute `port`).
        tls: None only on a loopback address.
        bundle: The identity bundle; every node must have its hash on its list.
        message_ttl: Seconds after which an unanswered question is asked again, although its node seems to be there.
        body_limit: Bytes allowed in one request from a node.
        hold: Seconds that a node's request for messages is held open.

    Raises:
        ValueError: Without TLS on an address that is not loopback, or a limit too small to work.

    """

    def __init__(
        self,
        superlink: "SuperLink",
        host: str,
        port: int,
        tls: Tls | None,
        bundle: bytes,
        *,
        message_ttl: float = 600.0,
        body_limit: int = 64 * 1024 * 1024,
        hold: float = 20.0,
    ) -> None:
        if tls is None and not _is_loopback(host):
            raise ValueError(f"Nodes may connect without TLS only on a loopback address; {host!r} is none.")
        if body_limit < PART_SIZE + ENVELOPE:
            raise ValueError(f"A request must be allowed {PART_SIZE + ENVELOPE} bytes, or no part of an answer fits.")
        self.host, self.port, self.message_ttl = host, port, message_ttl
        self._tls, self._bundle = tls, bundle
        self.superlink = superlink
        self.gate = Gate(
            self.superlink.app,
            identify=self.superlink.identify,
            # SuperLink refuses to activate a node that it takes to be online, as it does a killed one for a while.
            on_arrival=self.superlink.set_offline,
            on_departure=self._node_gone,
            on_change=self._node_changed,
            on_reply=self.wake,
            body_limit=body_limit,
            hold=hold,
        )
        self._server: uvicorn.Server | None = None
        self.tls_context: ssl.SSLContext | None = None
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._nodes: dict[str, tuple[int, bytes]] = {}  # cohort -> Flower's node id, PEM of the pinned key
        self._lives: Counter[int] = Counter()  # node id -> how often it came or went
        self._runs: set[Run] = set()
        self._news = threading.Condition()
        self._news_count = 0
        self.stopped = threading.Event()

    def start(self) -> None:
        """Listen for nodes; returns when they can connect.

        Raises:
            OSError: The address is taken or is not ours, or a TLS file cannot be used.

        """
        config = uvicorn.Config(
            self.gate,
            http="h11",  # it limits the size of a request's head; httptools does not
            headers=list(HSTS.items()) if self._tls else [],
            server_header=False,
            lifespan="off",
            ws="none",
            log_config=None,
            access_log=False,
            # Longer than Flower's client keeps idle connections: or it would now and then reuse one as we close it.
            timeout_keep_alive=75,
            timeout_graceful_shutdown=1,
            ssl_certfile=str(self._tls.cert) if self._tls else None,
            ssl_keyfile=str(self._tls.key) if self._tls else None,
        )
        config.load()
        self.tls_context = config.ssl
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        listener = socket.create_server((self.host, self.port), family=family, backlog=512)
        self.port = listener.getsockname()[1]
        self._server = uvicorn.Server(config)
        self._threads = [
            threading.Thread(target=self._server.run, args=([listener],), name="superlink", daemon=True),
            threading.Thread(target=self._keep_runs_alive, name="superlink-runs", daemon=True),
        ]
        for thread in self._threads:
            thread.start()
        while not self._server.started and self._threads[0].is_alive():
            time.sleep(0.005)

    def stop(self) -> None:
        """Stop listening, and end every open `ask` with `LinkStopped`; idempotent."""
        self.stopped.set()
        self.wake()
        self.gate.close()
        if self._server is not None:
            self._server.should_exit = True
        for thread in self._threads:
            thread.join(5)

    def enrol(self, cohort: str, public_key: bytes) -> None:
        """Pin the key that a cohort's node proves itself with: PEM or OpenSSH text, on a NIST curve; idempotent.

        Raises:
            ValueError: Not such a key.
            KeyConflict: The cohort has another key pinned (withdraw it first), or another cohort has this key.

        """
        pem = canonical(public_key)
        with self._lock:
            known = self._nodes.get(cohort)
            if known is not None and known[1] == pem:
                return
            if known is not None or any(pem == other for _, other in self._nodes.values()):
                raise KeyConflict(f"The key offered for cohort {cohort!r} conflicts with one that is enrolled.")
            self._nodes[cohort] = self.superlink.register(cohort, pem), pem

    def withdraw(self, cohort: str) -> None:
        """Forget a cohort's key: its node is turned away from its next request on. Unknown cohorts are ignored."""
        with self._lock:
            known = self._nodes.pop(cohort, None)
        if known is not None:
            self.superlink.unregister(*known)
            self.gate.release(known[0])

    def online(self) -> set[str]:
        """The cohorts whose nodes are connected now, or were within their last two heartbeats."""
        with self._lock:
            cohorts = {node: cohort for cohort, (node, _) in self._nodes.items()}
        return {cohorts[node] for node in self.superlink.online(cohorts)}

    def open(self, label: str) -> "Channel":
        """A Flower run, to be used as a context manager; `label` names it in messages."""
        return Channel(self, label)

    def node(self, cohort: str) -> tuple[int, int] | None:
        """The id of a cohort's node and the number of its present life; None while it is not online."""
        with self._lock:
            node, _ = self._nodes.get(cohort, (0, b""))
        return (node, self._lives[node]) if node and self.superlink.online([node]) else None

    def start_run(self) -> Run:
        """Start a Flower run and keep it alive."""
        run = self.superlink.start_run(self._bundle)
        self._runs.add(run)
        return run

    def finish_run(self, run: Run, *, failed: bool) -> None:
        """End a Flower run."""
        self._runs.discard(run)
        self.superlink.finish_run(run, failed=failed)

    def wake(self) -> None:
        """Let every open `ask` look: a reply came in, or a node came or went."""
        with self._news:
            self._news_count += 1
            self._news.notify_all()

    def wait_for_news(self, seen: int, timeout: float) -> int:
        """Wait for other news than number `seen`, up to `timeout` seconds; returns the number of the latest."""
        with self._news:
            self._news.wait_for(lambda: self._news_count != seen, timeout)
            return self._news_count

    def _node_gone(self, node: int) -> None:
        self.superlink.set_offline(node)
        self._node_changed(node)

    def _node_changed(self, node: int) -> None:
        self._lives[node] += 1
        self.wake()

    def _keep_runs_alive(self) -> None:
        while not self.stopped.wait(TASK_HEARTBEAT):
            for run in list(self._runs):
                self.superlink.keep_alive(run)


class Channel:
    """One Flower run, for the questions of one job. Several threads may have a channel each."""

    def __init__(self, link: Link, label: str) -> None:
        self.link, self.label = link, label
        self.run: Run | None = None

    def __enter__(self) -> Self:
        self.run = self.link.start_run()
        return self

    def __exit__(self, failure: type[BaseException] | None, *_: object) -> None:
        if self.run is not None:
            self.link.finish_run(self.run, failed=failure is not None)
            self.run = None

    def ask(
        self,
        payloads: Mapping[str, bytes],
        *,
        kind: str,
        round: int,  # noqa: A002
        on_progress: Callable[[set[str]], None] | None = None,
        cancelled: threading.Event | None = None,
    ) -> dict[str, bytes]:
        """Ask each cohort its question and wait until all have answered, for as long as it takes.

        A question is asked again whenever it may have been lost (its node restarted, its time was over), so nodes must
        give the same answer to the same question.

        Args:
            payloads: The question for each cohort.
            kind: What sort of question it is; handed to the node's `answer`.
            round: The number of this round.
            on_progress: Called with the cohorts still waited for: once they are asked, then on every change.
            cancelled: Set it to give up.

        Raises:
            Cancelled: `cancelled` was set.
            BundleRefused: A node has other analyses installed.
            NodeFailed: A node could not answer.
            LinkStopped: The link was stopped.

        """
        if self.run is None:
            raise RuntimeError("A channel is open only inside its `with` block.")
        question = Question(self.link, self.run, payloads, kind, str(round))
        reported: set[str] | None = None
        seen = self.link.wait_for_news(-1, 0)
        try:
            while True:
                self._check(cancelled)
                question.collect()
                question.send()
                if on_progress is not None and question.waiting != reported:
                    reported = question.waiting
                    on_progress(set(reported))
                if not question.waiting:
                    return question.answers
                seen = self.link.wait_for_news(seen, 0.1)
        finally:
            question.forget(payloads)

    def _check(self, cancelled: threading.Event | None) -> None:
        if cancelled is not None and cancelled.is_set():
            raise Cancelled(f"{self.label} was cancelled.")
        if self.link.stopped.is_set():
            raise LinkStopped(f"{self.label}: the coordinator is stopping.")


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
