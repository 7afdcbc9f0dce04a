"""A coordinator's link and some nodes, for the tests of the Flower seam."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from cohortium.fab import fab, fab_hash
from coordinator.flower import Link, Tls
from node.app import serve
from node.keys import new_key
from simulation.certificates import make_certificates

IDENTITY = "test+0"
ECHO_NODE = Path(__file__).with_name("echo_node.py")


def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait for a condition, or fail."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


class ThreadNode:
    """A node in a thread of this process."""

    def __init__(self, network: "Network", cohort: str, answer, identity: str, **options) -> None:
        self.stop_event, self.statuses, self.failure = threading.Event(), [], None
        self._arguments = {
            "ca": network.ca,
            "key": network.key(cohort),
            "bundle_hashes": {fab_hash(identity)},
            "answer": answer,
            "stop": self.stop_event,
            "on_status": lambda status, detail: self.statuses.append(status),
        } | options
        self._address = f"localhost:{network.link.port}"
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            serve(self._address, **self._arguments)
        except Exception as failure:
            self.failure = failure

    def stop(self) -> None:
        self.stop_event.set()
        self.thread.join(10)
        assert not self.thread.is_alive()


class Network:
    """A link over TLS, and nodes that can reach it. A context manager."""

    def __init__(self, folder: Path, **link_options) -> None:
        self.folder, self._options, self._cleanup = folder, link_options, ExitStack()
        make_certificates(folder)
        self.ca = folder / "ca.crt"
        self.link = self.new_link(0)

    def __enter__(self) -> "Network":
        self.link.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._cleanup.close()
        self.link.stop()

    def new_link(self, port: int, identity: str = IDENTITY) -> Link:
        tls = Tls(self.folder / "server.crt", self.folder / "server.key")
        return Link("127.0.0.1", port, tls, fab(identity), **self._options)

    def key(self, cohort: str) -> Path:
        path = self.folder / cohort
        if not path.exists():
            new_key(path)
        return path

    def public_key(self, cohort: str) -> bytes:
        self.key(cohort)
        return (self.folder / f"{cohort}.pub").read_bytes()

    def enrol(self, *cohorts: str) -> None:
        for cohort in cohorts:
            self.link.enrol(cohort, self.public_key(cohort))

    def node(
        self, cohort: str, answer=lambda kind, payload: payload, identity: str = IDENTITY, **options
    ) -> ThreadNode:
        node = ThreadNode(self, cohort, answer, identity, **options)
        self._cleanup.callback(node.stop)
        return node

    def nodes(self, *cohorts: str, **options) -> list[ThreadNode]:
        """Enrolled nodes, all online."""
        self.enrol(*cohorts)
        nodes = [self.node(cohort, **options) for cohort in cohorts]
        until(lambda: self.link.online() >= set(cohorts))
        return nodes

    def process(self, cohort: str, *arguments: str) -> subprocess.Popen:
        """A node as a process of its own (see echo_node.py)."""
        command = [ECHO_NODE, f"localhost:{self.link.port}", self.ca, self.key(cohort), fab_hash(IDENTITY), *arguments]
        process = subprocess.Popen([sys.executable, *map(str, command)], stderr=subprocess.PIPE)
        self._cleanup.callback(_end, process)
        return process


def _end(process: subprocess.Popen) -> None:
    if process.poll() is None:
        process.kill()
    process.communicate(timeout=10)
