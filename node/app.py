"""The node's side of the Flower seam: a resident daemon that answers the coordinator's questions.

The only module of the node that imports flwr; docs/adr/0002 says which of its internals it uses and why. Questions and
answers are opaque bytes. The node dials out, proves itself with its key, and calls a `ClientApp` that is installed
here; an app bundle is never fetched, only its hash is compared.
"""

import logging
import os
import secrets
import tempfile
import threading
import time
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import Any

# Read by flwr when it is imported: no telemetry, no update check, and no files in the home directory.
os.environ.update(
    FLWR_TELEMETRY_ENABLED="0",
    FLWR_DISABLE_UPDATE_CHECK="1",
    FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION="1",
    FLWR_HOME=str(Path(tempfile.gettempdir()) / f"cohortium-flwr-{secrets.token_hex(8)}"),
)
import httpx
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.app import ConfigRecord, Context, Error, Message, RecordDict
from flwr.app.message import remove_content_from_message
from flwr.clientapp import ClientApp
from flwr.common.constant import ErrorCode
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.fleet_pb2 import (
    ActivateNodeRequest,
    DeactivateNodeRequest,
    PullMessagesRequest,
    PullMessagesResponse,
    PushMessagesRequest,
)
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest
from flwr.proto.message_pb2 import ObjectTree, PullObjectRequest, PushObjectRequest
from flwr.proto.node_pb2 import Node
from flwr.proto.run_pb2 import GetRunRequest
from flwr.proto.run_pb2 import Run as RunInfo
from flwr.supercore.inflatable.inflatable_object import get_object_id, get_object_tree, no_object_id_recompute
from flwr.supercore.interceptors.http.runtime_version import RuntimeVersionHttpInterceptor
from flwr.supercore.primitives.asymmetric import public_key_to_bytes
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

from cohortium.parcel import join, split
from node.keys import load_key
from node.resident import Answer, Copies, NotEnrolled, Resident, SessionLost, Status, Undelivered, Unreachable

__all__ = ["NotEnrolled", "client_app", "serve"]

logging.getLogger("flwr").setLevel(os.environ.get("FLWR_LOG_LEVEL", "CRITICAL"))
logging.getLogger("httpx").setLevel(logging.WARNING)
log = logging.getLogger("cohortium.node")

HEARTBEAT_INTERVAL = 10
"""Seconds, the least that SuperLink accepts: it takes a node for gone after two of them."""
RUNS_KEPT = 1000
RETRY_REPLY = (0.2, 1.0, 3.0)
"""Seconds between attempts to deliver an answer."""

FAILED = "this node could not answer; its operator finds the reason in the node's log"
REFUSED = "this node has other analyses installed than the coordinator asks for"


def serve(
    coordinator: str,
    *,
    ca: Path | None,
    key: Path,
    bundle_hashes: set[str],
    answer: Answer,
    stop: threading.Event,
    workers: int = 4,
    on_status: Status | None = None,
) -> None:
    """Answer the coordinator's questions until `stop` is set.

    Waits for a coordinator that cannot be reached, at the start as well as later, and returns to one that restarted. On
    stop, answers in the making get a moment to finish; the coordinator asks the others again later.

    Args:
        coordinator: "host:port".
        ca: PEM file of the certificates that the coordinator's is checked against; None, without TLS, only on loopback.
        key: This node's private key (see `node.keys`).
        bundle_hashes: SHA-256 of the identity bundles that this node answers.
        answer: Called with the kind and the payload of a question, from several threads; must give the same answer to
            the same question. What it raises stays in this node's log.
        stop: Set it, for instance in a signal handler, to stop.
        workers: How many questions are answered at a time.
        on_status: Called with "connecting", "online", "unreachable" or "stopped" and a sentence that explains it.

    Raises:
        NotEnrolled: The coordinator does not know the key.
        ValueError: No TLS although the coordinator is not on loopback, or no usable key.

    """
    if ca is None and not _is_loopback(coordinator):
        raise ValueError(f"A node connects without TLS only to a loopback address; {coordinator!r} is none.")
    private_key = load_key(key)
    app, copies = client_app(answer), Copies()
    with _client(coordinator, ca, private_key) as client:
        Resident(
            lambda: _Session(client, private_key, frozenset(bundle_hashes), app, copies),
            on_status or _ignore,
            workers,
        ).run(stop)


def client_app(answer: Answer) -> ClientApp:
    """The Flower app that is installed at this node: one query, which hands a question to `answer`."""
    app = ClientApp()

    @app.query("question")
    def question(message: Message, context: Context) -> Message:  # noqa: ARG001
        kind, payload = join(dict(record.items()) for record in message.content.config_records.values())
        parts = split(kind, answer(kind, payload), message.metadata.message_id)
        records = {str(part["part"]): ConfigRecord(dict(part), keep_input=False) for part in parts}
        return Message(RecordDict(dict(records)), reply_to=message)

    return app


class _Session:
    """One activation at the coordinator, and the requests it is good for (a `node.resident.Session`)."""

    def __init__(
        self,
        client: FleetHttpClient,
        key: ec.EllipticCurvePrivateKey,
        bundle_hashes: frozenset[str],
        app: ClientApp,
        copies: Copies,
    ) -> None:
        self._client, self._bundle_hashes, self._app, self._copies = client, bundle_hashes, app, copies
        self._runs: dict[int, RunInfo] = {}
        request = ActivateNodeRequest(
            public_key=public_key_to_bytes(key.public_key()), heartbeat_interval=HEARTBEAT_INTERVAL
        )
        try:
            self.node = Node(node_id=_call(client.ActivateNode, request).node_id)
        except _Rejected as reason:
            raise (NotEnrolled() if reason.status == httpx.codes.PRECONDITION_FAILED else reason) from None
        except SessionLost:
            raise Unreachable("it does not accept our signature; is the clock of this machine right?") from None

    def heartbeat(self) -> None:
        request = SendNodeHeartbeatRequest(node=self.node, heartbeat_interval=HEARTBEAT_INTERVAL)
        _call(self._client.SendNodeHeartbeat, request)

    def leave(self) -> None:
        _call(self._client.DeactivateNode, DeactivateNodeRequest(node_id=self.node.node_id))

    def pull(self) -> PullMessagesResponse | None:
        """The next message, still without its records; the coordinator holds the request open while there is none."""
        response: PullMessagesResponse = _call(self._client.PullMessages, PullMessagesRequest(node=self.node))
        return response if response.messages_list else None

    def handle(self, question: PullMessagesResponse) -> None:
        """Answer a message, or say why not; the wording is constant, whatever went wrong."""
        message = message_from_proto(question.messages_list[0])
        run = self._run(message.metadata.run_id)
        if run.fab_hash not in self._bundle_hashes:
            self._reply(Message(Error(ErrorCode.INVALID_FAB, REFUSED), reply_to=message))
            return
        (records,) = question.message_object_trees[0].children
        message.content = self._records(run.run_id, records)
        key = run.run_id, message.metadata.group_id, records.object_id
        if self._copies.first(key, message):
            try:
                answer = self._answer(message, run)
            finally:
                copies = self._copies.done(key)
            for copy in copies:
                self._reply(Message(answer, reply_to=copy))

    def _answer(self, message: Message, run: RunInfo) -> RecordDict | Error:
        context = Context(run.run_id, self.node.node_id, {}, RecordDict(), {}, run.series_id)
        try:
            return self._app(message, context).content
        except Exception:
            log.exception("A question could not be answered.")
            return Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, FAILED)

    def _run(self, run_id: int) -> RunInfo:
        if run_id not in self._runs:
            if len(self._runs) >= RUNS_KEPT:
                self._runs.clear()
            self._runs[run_id] = _call(self._client.GetRun, GetRunRequest(node=self.node, run_id=run_id)).run
        return self._runs[run_id]

    def _records(self, run_id: int, records: ObjectTree) -> RecordDict:
        """Only the records of a message are pulled: its other objects repeat what came with it.

        Nor is the message confirmed, which would make SuperLink delete its objects: the coordinator does that itself
        when it has the answer. Each request saved is a few milliseconds of every round.
        """
        return RecordDict({part.object_id: self._record(run_id, part.object_id) for part in records.children})

    def _record(self, run_id: int, object_id: str) -> ConfigRecord:
        request = PullObjectRequest(node=self.node, run_id=run_id, object_id=object_id)
        content: bytes = _call(self._client.PullObject, request).object_content
        if get_object_id(content) != object_id:
            raise Undelivered("a part of the question is gone, or is not what its name says")
        return ConfigRecord.inflate(content)

    def _reply(self, message: Message) -> None:
        """Push a reply, if need be more than once: a computation should not be lost to a line that drops."""
        for delay in RETRY_REPLY:
            try:
                self._push(message)
                return
            except Unreachable:
                time.sleep(delay)
        self._push(message)

    def _push(self, message: Message) -> None:
        """Its envelope, then its records. Its other objects repeat these, and nobody reads them."""
        with no_object_id_recompute():
            message.metadata.__dict__["_message_id"] = message.object_id
            request = PushMessagesRequest(
                node=self.node,
                messages_list=[message_to_proto(remove_content_from_message(message))],
                message_object_trees=[get_object_tree(message)],
                # How long it took says something about the data, and nobody needs it.
                clientapp_runtime_list=[0.0],
            )
        session_id = _call(self._client.PushMessages, request).session_id
        for record in message.content.values() if message.has_content() else ():
            self._push_object(message.metadata.run_id, session_id, record.deflate())

    def _push_object(self, run_id: int, session_id: str, content: bytes) -> None:
        request = PushObjectRequest(
            node=self.node,
            run_id=run_id,
            session_id=session_id,
            object_id=get_object_id(content),
            object_content=content,
        )
        _call(self._client.PushObject, request)


class _Rejected(Undelivered):
    """The coordinator does not take this request, for instance because its run has ended."""

    def __init__(self, status: int) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status


def _call(method: Callable[..., Any], request: Any) -> Any:
    """One request. Flower's retrying is not used: it cannot be stopped, and it ends the process on a 401."""
    try:
        return method(request)
    except httpx.TransportError as error:
        raise Unreachable(type(error).__name__) from None
    except httpx.HTTPStatusError as error:
        status = error.response.status_code
        if status == httpx.codes.UNAUTHORIZED:
            raise SessionLost from None
        if status >= httpx.codes.INTERNAL_SERVER_ERROR:
            raise Unreachable(f"HTTP {status}") from None
        raise _Rejected(status) from None


def _ignore(status: str, detail: str) -> None:
    log.info("%s: %s", status, detail)


def _client(coordinator: str, ca: Path | None, key: ec.EllipticCurvePrivateKey) -> FleetHttpClient:
    return FleetHttpClient.from_server_address(
        coordinator,
        ca is None,
        ca.read_bytes() if ca else None,
        [
            RuntimeVersionHttpInterceptor(component_name="SuperNode"),
            NodeAuthHttpInterceptor(key, key.public_key()),
        ],
    )


def _is_loopback(address: str) -> bool:
    host = address.rpartition(":")[0].strip("[]")
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
