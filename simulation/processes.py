"""A real network on this machine: one coordinator and its nodes as processes of their own, over TLS.

For the demo, for end-to-end tests and for measuring: everything is started the way an operator starts it, with
configuration files and the command line. Keys and certificates are made for the occasion.
"""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.error import URLError
from urllib.request import urlopen

import cohortium
from cohortium.client import Network
from cohortium.errors import CohortiumError
from cohortium.keys import write_key
from coordinator.auth import issue
from coordinator.config import render
from coordinator.registry import Registry
from coordinator.store import Store
from node.config import DataSettings
from node.config import render as render_node
from node.keys import new_key
from simulation.ceremony import Ceremony
from simulation.certificates import make_certificates

NETWORK = "local"
START_TIMEOUT = 60.0
STOP_TIMEOUT = 10.0


class DidNotStart(CohortiumError):
    """A process of the network ended, or did not get ready in time; the message has the end of its log."""


class LocalNetwork:
    """A coordinator with one node per cohort. A context manager: leaving it stops every process it started.

    `sources` gives each cohort's data file (CSV or Parquet), or says how its node is to read it; `dictionary` and
    `policy` are files as well. The researcher who connects has a permit for each of `studies`, for whatever they ask.
    """

    def __init__(
        self,
        folder: Path,
        dictionary: Path,
        sources: Mapping[str, Path | DataSettings],
        policy: Path,
        studies: Iterable[str] = ("unnamed",),
    ) -> None:
        self.folder, self.dictionary = folder.resolve(), dictionary.resolve()
        self.cohorts = tuple(sources)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.folder.mkdir(parents=True, exist_ok=True)
        make_certificates(self.folder)
        self.api_port, self.fleet_port = _free_ports(2)
        self.url = f"https://localhost:{self.api_port}"
        self.ca = self.folder / "ca.crt"
        self.ceremony = Ceremony(NETWORK, tuple(sources))
        self.key = self.folder / "researcher.key"
        write_key(self.ceremony.researcher, self.key)
        self._configure_coordinator(studies)
        for cohort, source in sources.items():
            data = source if isinstance(source, DataSettings) else DataSettings(source=str(source.resolve()))
            self._configure_node(cohort, data, policy.resolve())

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start everything and wait until every node is online. Raises DidNotStart."""
        try:
            self.start_coordinator()
            for cohort in self.cohorts:
                self.start_node(cohort)
            self.wait_until_online(self.cohorts)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop what runs, nodes first."""
        running = [self.processes.pop(name) for name in reversed(list(self.processes))]
        for process in running:
            process.terminate()
        for process in running:
            _wait_or_kill(process)

    def detach(self) -> list[int]:
        """Let everything run on after this network is left; returns the process ids, nodes first."""
        left = [process.pid for process in reversed(self.processes.values())]
        self.processes.clear()
        return left

    def connect(self) -> Network:
        """The network as a researcher reaches it."""
        return cohortium.connect(
            self.url, token=self.token, ca=str(self.ca), key=str(self.key), authority=self.ceremony.authority_key
        )

    def environment(self) -> dict[str, str]:
        """What the command line needs to know to reach it as that researcher."""
        return {
            "COHORTIUM_URL": self.url,
            "COHORTIUM_TOKEN": self.token,
            "COHORTIUM_CA": str(self.ca),
            "COHORTIUM_KEY": str(self.key),
            "COHORTIUM_AUTHORITY": self.ceremony.authority_key,
        }

    def start_coordinator(self) -> None:
        """Start the coordinator and wait until it answers."""
        self._spawn("coordinator", "coordinator", "start", "--config", str(self.folder / "coordinator.toml"))
        self._wait_until(self._is_healthy, "coordinator")

    def start_node(self, cohort: str) -> None:
        """Start a cohort's node; `wait_until_online` tells when it can answer."""
        self._spawn(cohort, "node", "start", "--config", str(self.folder / cohort / "node.toml"))

    def end(self, name: str, *, kill: bool = False) -> int:
        """Stop one process, or kill it as a power cut would, and return its exit code."""
        process = self.processes.pop(name)
        process.kill() if kill else process.terminate()
        return _wait_or_kill(process)

    def wait_until_online(self, cohorts: Iterable[str]) -> None:
        """Wait until the coordinator knows these nodes and what they collected."""
        network, wanted = self.connect(), set(cohorts)
        self._wait_until(lambda: wanted <= {c.name for c in network.cohorts() if c.online and c.variables}, *wanted)

    def log(self, name: str) -> str:
        """What a process wrote so far."""
        return (self.folder / f"{name}.log").read_text(encoding="utf-8", errors="replace")

    def _configure_coordinator(self, studies: Iterable[str]) -> None:
        settings = {
            "name": NETWORK,
            "authority": self.ceremony.authority_key,
            "dictionary": self.dictionary,
            "store": "sqlite:///coordinator.db",
            "api_host": "127.0.0.1",
            "api_port": self.api_port,
            "fleet_host": "127.0.0.1",
            "fleet_port": self.fleet_port,
            "certificate": "server.crt",
            "key": "server.key",
            "ca": "ca.crt",
        }
        (self.folder / "coordinator.toml").write_text(render(settings), encoding="utf-8")
        self._store = f"sqlite:///{self.folder / 'coordinator.db'}"
        store = Store(self._store)
        self.token = issue(store, "local researcher", "researcher")
        self.operator_token = issue(store, "local operator", "operator")
        registry = Registry(store, NETWORK, self.ceremony.authority_key)
        registry.put_roster(self.ceremony.roster.to_bytes().decode())
        for study in studies:
            registry.add_permit(self.ceremony.permit(study).to_bytes().decode())
        store.close()

    def _configure_node(self, cohort: str, data: DataSettings, policy: Path) -> None:
        folder = self.folder / cohort
        folder.mkdir(exist_ok=True)
        public_key = new_key(folder / "node.key")
        self.ceremony.write_node(cohort, folder)
        settings = {
            "cohort": cohort,
            "coordinator": f"localhost:{self.fleet_port}",
            "ca": str(self.ca),
            "key": "node.key",
            "dictionary": str(self.dictionary),
            "policy": str(policy),
            "trust": {"network": NETWORK, "authority": self.ceremony.authority_key},
            "data": data.model_dump(),
        }
        (folder / "node.toml").write_text(render_node(settings), encoding="utf-8")
        store = Store(self._store)
        store.enrol(cohort, cohort.capitalize(), public_key.read_text(encoding="utf-8"))
        store.close()

    def program(self, name: str) -> list[str]:  # noqa: ARG002 - a test that starts another program needs to know
        """How a process is started, before its arguments."""
        return [sys.executable, "-m", "cohortium"]

    def _spawn(self, name: str, *arguments: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(  # noqa: S603 - our own command line
                [*self.program(name), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the parent, which then stops its children in order
                env=os.environ | {"PYTHONUNBUFFERED": "1"},
            )

    def _is_healthy(self) -> bool:
        context = ssl.create_default_context(cafile=str(self.ca))
        try:
            with urlopen(f"{self.url}/api/v1/health", timeout=2, context=context) as answer:  # noqa: S310 - own https URL
                return bool(answer.status == 200)
        except (URLError, OSError):
            return False

    def _wait_until(self, condition: Callable[[], bool], *names: str) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while not condition():
            ended = [n for n in names if n not in self.processes or self.processes[n].poll() is not None]
            if ended or time.monotonic() > deadline:
                tails = "\n".join(f"--- {n}\n{self.log(n)[-2000:]}" for n in (ended or names))
                raise DidNotStart(f"{', '.join(ended or names)} did not get ready:\n{tails}")
            time.sleep(0.05)


def _wait_or_kill(process: subprocess.Popen[bytes]) -> int:
    try:
        return process.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports
