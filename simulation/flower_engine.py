"""Simulated cohorts on Flower's simulation engine: virtual nodes in Ray's workers, on one machine or a cluster.

with flower_network({"north": df1, "south": df2, "west": df3}) as net:
    result = net.study().glm(formula="bmi ~ age + sex", family="gaussian").result()

The same questions, checks and sums as in this process (`simulation.network`), to the last bit; only where a node works
out its answer differs. Needs the extra `simulation` (`pip install cohortium[simulation]`). One of the places where flwr
is imported: like the network's two seams it relies on what flwr 1.41 has, see docs/adr/0002.
"""

from __future__ import annotations

import json
import os
import queue
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

# Read by flwr and Ray when they are imported: nothing is reported to anybody.
os.environ.update(FLWR_TELEMETRY_ENABLED="0", FLWR_DISABLE_UPDATE_CHECK="1", RAY_USAGE_STATS_ENABLED="0")
import numpy as np
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.simulation.run_simulation import _run_simulation
from flwr.supercore.telemetry import EventType

from cohortium.asking import Answer
from cohortium.client import Network
from cohortium.data import Data
from cohortium.dictionary import Dictionary
from cohortium.errors import CohortiumError, NodeFailed
from cohortium.messages import AnswerMessage, QuestionMessage
from cohortium.quantities import Array
from node.answer import CohortNode
from node.disclosure import Policy
from simulation.in_process import InProcess, network

PULL_SECONDS = 0.01
"""How often the engine is asked whether answers have come; its own default adds a tenth of a second to every round."""
POLICY, COHORTS, DICTIONARY = "policy.toml", "cohorts.json", "dictionary.json"


class EngineUnavailable(CohortiumError):
    """Ray is not installed, or the engine did not start."""


@contextmanager
def flower_network(
    frames: Mapping[str, Any],
    dictionary: Dictionary | None = None,
    policy: Policy | Mapping[str, Policy] | None = None,
    *,
    cpus: float = 1.0,
) -> Iterator[Network]:
    """A network of virtual nodes, as `simulation.network` takes them, until the end of the `with` block.

    `cpus` is what one answer takes of the processors that Ray has: as many nodes work at a time. Within a cluster
    (`RAY_ADDRESS`) the folder for temporary files must be one that all its machines see. A worker remembers what it
    released itself, so rules about differences between questions are to be rehearsed with `simulation.network`.
    Raises EngineUnavailable, and as `simulation.network` does.
    """
    service = network(frames, dictionary, policy).service
    if not isinstance(service, InProcess):
        raise TypeError("a simulated network is in this process")
    with tempfile.TemporaryDirectory(prefix="cohortium-engine-") as folder:
        _write(service.nodes, service.dictionary(), Path(folder))
        with Engine(tuple(service.nodes), Path(folder), cpus) as engine:
            yield Network(InProcess(service.nodes, service.dictionary(), engine.ask))


class Engine:
    """A Flower simulation that stays up and answers question after question. Safe to use from several threads."""

    def __init__(self, cohorts: Sequence[str], folder: Path, cpus: float) -> None:
        self._cohorts, self._folder, self._cpus = tuple(cohorts), folder, cpus
        self._questions: queue.SimpleQueue[_Asked | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="flower-engine", daemon=True)
        self._broken: BaseException | None = None

    def __enter__(self) -> Engine:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._questions.put(None)
        self._thread.join()

    def ask(
        self, nodes: Mapping[str, CohortNode], question: QuestionMessage, broadcast: Mapping[str, Array], study: str
    ) -> Mapping[str, Answer]:
        """What the virtual nodes of these cohorts answer. Raises NodeFailed or EngineUnavailable."""
        replies = self._replies(_Asked(tuple(nodes), question.to_bytes(broadcast), study))
        return {cohort: AnswerMessage.from_bytes(reply) for cohort, reply in replies.items()}

    def _replies(self, asked: _Asked) -> Mapping[str, bytes]:
        self._questions.put(asked)
        while True:
            try:
                return asked.answers.result(timeout=1.0)
            except TimeoutError:
                if not self._thread.is_alive():
                    raise EngineUnavailable(f"Flower's simulation engine has ended: {self._broken}.") from None

    def _run(self) -> None:
        server = ServerApp()
        server.main()(self._serve)
        try:
            _run_simulation(
                num_supernodes=len(self._cohorts),
                exit_event=EventType.PYTHON_API_RUN_SIMULATION_LEAVE,
                client_app=_client_app(str(self._folder)),
                server_app=server,
                backend_config={"client_resources": {"num_cpus": self._cpus, "num_gpus": 0.0}},
            )
        except (Exception, SystemExit) as error:  # flwr exits where Ray is missing
            self._broken = error

    def _serve(self, grid: Grid, context: Context) -> None:  # noqa: ARG002
        grid.pull_interval = PULL_SECONDS  # type: ignore[attr-defined]  # of the grid in memory, which this always is
        nodes = self._find(grid)
        while (asked := self._questions.get()) is not None:
            try:
                found = {self._cohorts[nodes_of]: n for n, nodes_of in nodes.items()}
                messages = [_message(found[cohort], asked.payload, asked.study) for cohort in asked.cohorts]
                replies = {nodes[r.metadata.src_node_id]: r for r in grid.send_and_receive(messages)}
                asked.answers.set_result({self._cohorts[p]: _payload(self._cohorts[p], r) for p, r in replies.items()})
            except Exception as error:
                asked.answers.set_exception(error)

    def _find(self, grid: Grid) -> dict[int, int]:
        """Which partition each of Flower's node ids is; asked of the nodes, because only they know."""
        while len(list(grid.get_node_ids())) < len(self._cohorts):
            threading.Event().wait(PULL_SECONDS)
        replies = grid.send_and_receive([_message(node) for node in grid.get_node_ids()])
        return {reply.metadata.src_node_id: int(str(reply.content["answer"]["partition"])) for reply in replies}


class _Asked:
    """One question to several cohorts, and the answers once they are there."""

    def __init__(self, cohorts: tuple[str, ...], payload: bytes, study: str) -> None:
        self.cohorts, self.payload, self.study = cohorts, payload, study
        self.answers: Future[dict[str, bytes]] = Future()


def _message(node: int, payload: bytes = b"", study: str = "") -> Message:
    content = RecordDict({"question": ConfigRecord({"payload": payload, "study": study})})
    return Message(content, message_type="query.question", dst_node_id=node)


def _payload(cohort: str, reply: Message) -> bytes:
    if not reply.has_content():
        raise NodeFailed(f"The virtual node of `{cohort}` failed: {reply.error.reason}", cohort=cohort)
    payload = reply.content["answer"]["payload"]
    if not isinstance(payload, bytes):
        raise NodeFailed(f"The virtual node of `{cohort}` sent no answer.", cohort=cohort)
    return payload


def _client_app(folder: str) -> ClientApp:
    """What runs in Ray's workers: the partition says whose data to answer from."""
    app = ClientApp()

    @app.query("question")
    def question(message: Message, context: Context) -> Message:
        partition = int(context.node_config["partition-id"])
        asked = message.content["question"]
        payload, study = asked["payload"], str(asked["study"])
        told = _reply(_node(folder, partition), payload, study) if isinstance(payload, bytes) and payload else b""
        record = ConfigRecord({"payload": told, "partition": partition})
        return Message(RecordDict({"answer": record}), reply_to=message)

    return app


def _reply(node: CohortNode, payload: bytes, study: str) -> bytes:
    question, broadcast = QuestionMessage.from_bytes(payload)
    answer, arrays = node.reply(question, broadcast, study)
    return answer.to_bytes(arrays)


def _write(nodes: Mapping[str, CohortNode], dictionary: Dictionary, folder: Path) -> None:
    """The cohorts as files that every worker maps into memory, so that they are there once however many workers."""
    (folder / DICTIONARY).write_text(dictionary.model_dump_json(), encoding="utf-8")
    (folder / COHORTS).write_text(json.dumps(list(nodes)), encoding="utf-8")
    for number, node in enumerate(nodes.values()):
        place = folder / str(number)
        place.mkdir()
        (place / POLICY).write_text(node.policy.to_toml(), encoding="utf-8")
        np.save(place / "rows", np.array(node.data.rows))
        for name, column in node.data.columns.items():
            np.save(place / f"column-{name}", column)


@lru_cache(maxsize=256)
def _node(folder: str, partition: int) -> CohortNode:
    place = Path(folder) / str(partition)
    cohort = json.loads((Path(folder) / COHORTS).read_text(encoding="utf-8"))[partition]
    dictionary = Dictionary.model_validate_json((Path(folder) / DICTIONARY).read_text(encoding="utf-8"))
    files = {path.stem.removeprefix("column-"): path for path in place.glob("column-*.npy")}
    columns = {name: np.load(path, mmap_mode="r") for name, path in files.items()}
    data = Data(dictionary, columns, int(np.load(place / "rows.npy")))
    return CohortNode(cohort, data, Policy.from_toml(place / POLICY))
