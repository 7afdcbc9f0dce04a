"""SuperLink, Flower's server, in this process: the only module of the coordinator that imports flwr.

docs/adr/0002 says which of Flower's internals are used here and why. `SuperLink` gives `coordinator.link` what it needs
of them in plain types: nodes, runs, and messages whose payloads are opaque bytes. All state is in memory.
"""

import logging
import os
import secrets
import tempfile
from base64 import b64decode
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

# Read by flwr when it is imported: no telemetry, no update check, no package installation, no files in the home
# directory (nothing is written to FLWR_HOME with these settings), and state in memory whatever the environment says.
os.environ.update(
    FLWR_TELEMETRY_ENABLED="0",
    FLWR_DISABLE_UPDATE_CHECK="1",
    FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION="1",
    FLWR_HOME=str(Path(tempfile.gettempdir()) / f"cohortium-flwr-{secrets.token_hex(8)}"),
    FLWR_DATABASE=":flwr-in-memory:",
)
from fastapi import HTTPException, Request
from flwr.app import ConfigRecord, Message, Metadata, RecordDict
from flwr.app.message import make_message, remove_content_from_message
from flwr.common.constant import NOOP_ACCOUNT_NAME, NOOP_FLWR_AID, SUPERLINK_NODE_ID, ErrorCode, SubStatus
from flwr.common.serde import fab_to_proto
from flwr.proto.control_pb2 import RegisterNodeRequest, StartRunRequest
from flwr.proto.fleet_pb2 import PullMessagesRequest
from flwr.proto.node_pb2 import Node
from flwr.server.superlink.linkstate import InMemoryLinkState
from flwr.supercore.auth.typing import AccountInfo
from flwr.supercore.constant import FLEET_HTTP_PUBLIC_KEY_HEADER, NodeStatus
from flwr.supercore.date import now
from flwr.supercore.fab import Fab
from flwr.supercore.inflatable.inflatable_object import (
    get_all_nested_objects,
    get_object_tree,
    no_object_id_recompute,
)
from flwr.supercore.object_store import NoObjectInStoreError
from flwr.supercore.routers.runtime.tracing import RuntimeTracingMiddleware
from flwr.superlink.main import create_app
from flwr.superlink.routers.control.middlewares import (
    ControlAuthenticationMiddleware,
    ControlEventLogMiddleware,
    ControlLicenseMiddleware,
    ControlSensitiveResponseMiddleware,
)
from flwr.superlink.routers.fleet.middlewares import FleetEventLogMiddleware
from flwr.superlink.routers.fleet.node_auth import authenticate_node
from flwr.superlink.servicer.control import control_handlers
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from cohortium.parcel import Part, join
from coordinator import link
from coordinator.link import Channel, Tls
from coordinator.question import (
    BundleRefused,
    Cancelled,
    KeyConflict,
    LinkError,
    LinkStopped,
    NodeFailed,
    Outcome,
    Reply,
    Run,
)

__all__ = [
    "BundleRefused",
    "Cancelled",
    "Channel",
    "KeyConflict",
    "Link",
    "LinkError",
    "LinkStopped",
    "NodeFailed",
    "SuperLink",
    "Tls",
]

logging.getLogger("flwr").setLevel(os.environ.get("FLWR_LOG_LEVEL", "CRITICAL"))

ACCOUNT = AccountInfo(NOOP_FLWR_AID, NOOP_ACCOUNT_NAME)
QUESTION = "query.question"

UNREACHABLE: set[object] = {
    ControlAuthenticationMiddleware,
    ControlEventLogMiddleware,
    ControlLicenseMiddleware,
    ControlSensitiveResponseMiddleware,
    FleetEventLogMiddleware,
    RuntimeTracingMiddleware,
}
"""Layers of SuperLink that serve only what the gate keeps out or what is not configured: half the cost of a request."""

ABSENT = {ErrorCode.MESSAGE_UNAVAILABLE, ErrorCode.REPLY_MESSAGE_UNAVAILABLE, ErrorCode.NODE_UNAVAILABLE}
"""What SuperLink answers on behalf of a node that is away or was too late."""


class SuperLink:
    """The genuine SuperLink application and its state.

    Attributes:
        app: The ASGI application, to be served behind the gate.

    """

    def __init__(self) -> None:
        self.app: Any = create_app()
        self.app.state.enable_supernode_auth = True  # nodes are enrolled by the coordinator, never by themselves
        self.app.user_middleware = [layer for layer in self.app.user_middleware if layer.cls not in UNREACHABLE]
        self._state: InMemoryLinkState = self.app.state.linkstate_factory.state()

    # Nodes

    def register(self, cohort: str, pem: bytes) -> int:
        """Admit the node that has this key; its Flower id."""
        request = RegisterNodeRequest(public_key=pem, name=cohort)
        return int(control_handlers.register_node(request, ACCOUNT, self._state).node_id)

    def unregister(self, node: int, pem: bytes) -> None:
        """Turn a node away from its next request on."""
        self._state.delete_node(NOOP_FLWR_AID, node)
        # SuperLink never forgets a key that it has seen, so that it could not be admitted again.
        self._state.node_public_key_to_node_id.pop(pem, None)

    def online(self, nodes: Iterable[int]) -> set[int]:
        """Those of these nodes that are connected, or were within their last two heartbeats."""
        active = self._state.get_node_info(node_ids=list(nodes), statuses=[NodeStatus.ONLINE])
        return {info.node_id for info in active}

    def set_offline(self, node: int) -> None:
        """Take a node for gone, if it is not yet."""
        self._state.deactivate_node(node)

    def identify(self, scope: dict[str, Any], pull: bytes | None = None) -> int | None:
        """The node whose key signed a request, judged by SuperLink's own code; None if nobody we know.

        Args:
            scope: The request's ASGI scope. The signature is in its headers and does not cover the body.
            pull: The body of a `pull-messages` request, which must name the same node.

        """
        request = Request({**scope, "app": self.app, "state": {}})
        with suppress(KeyError, ValueError, HTTPException, DecodeError):
            key = b64decode(request.headers[FLEET_HTTP_PUBLIC_KEY_HEADER], validate=True)
            node = self._state.get_node_id_by_public_key(key)
            if node is None:
                return None
            claim = PullMessagesRequest(node=Node(node_id=node))
            request.state.protobuf_request = claim if pull is None else PullMessagesRequest.FromString(pull)
            authenticate_node(request)
            return node
        return None

    # Runs

    def start_run(self, bundle: bytes) -> Run:
        """Start a run of this bundle."""
        request = StartRunRequest(fab=fab_to_proto(Fab("", bundle, {})))
        run_id = control_handlers.start_run(request, ACCOUNT, self._state, None).run_id
        task_id = self._state.get_run_info(run_ids=[run_id])[0].primary_task_id
        if task_id is None or self._state.claim_task(task_id) is None or not self._state.activate_task(task_id):
            raise RuntimeError("SuperLink did not start the run.")
        return Run(run_id, task_id)

    def keep_alive(self, run: Run) -> None:
        """SuperLink ends a run whose task has been silent for a minute."""
        self._state.acknowledge_task_heartbeat(run.task)

    def finish_run(self, run: Run, *, failed: bool) -> None:
        """End a run and free what is stored for it."""
        self._state.finish_task(run.task, SubStatus.FAILED if failed else SubStatus.COMPLETED, "")
        self._state.cleanup_run(run.id)

    # Messages

    def records(self, parts: Iterable[Part]) -> RecordDict:
        """The parts of a payload as Flower stores them, one object each."""
        return RecordDict({str(part["part"]): ConfigRecord(dict(part)) for part in parts})

    def post(self, run: Run, node: int, records: RecordDict, *, group: str, ttl: float) -> str | None:
        """Store a message for a node; its id, or None if SuperLink does not know the node."""
        with no_object_id_recompute():
            message = _message(run, node, records, group, ttl)
            objects = get_all_nested_objects(message)
            session = self._state.start_session(run.id)
            # Objects first: a message that is visible before its objects are there would be pulled too early.
            for object_id in self._state.preregister_object_tree(get_object_tree(message), session):
                self._state.store_object(run.id, session, object_id, objects[object_id].deflate())
            message_id = message.object_id
        stored = self._state.store_message_ins(remove_content_from_message(message))
        if stored is None:
            self._state.object_store.delete(message_id)
        return stored

    def replies(self, run: Run, messages: Iterable[str]) -> list[Reply]:
        """What is new about these messages; each reply is told once."""
        found = self._state.get_message_res(set(messages), run.id)
        return [_reply(message) for message in found]

    def payload(self, run: Run, reply: str) -> bytes | None:
        """The payload of a reply, or None while its parts are still being uploaded: a reply shows up before they do.

        Raises:
            LookupError: The upload was broken off.
            ValueError: The reply is malformed.

        """
        try:
            (records,) = self._state.object_store.get_object_tree(reply).children
        except NoObjectInStoreError:
            raise LookupError(reply) from None
        contents = [self._state.get_object(run.id, part.object_id) for part in records.children]
        if None in contents:
            raise LookupError(reply)
        if not all(contents):
            return None
        return join(_part(content) for content in contents if content)[1]

    def discard(self, messages: set[str], replies: set[str]) -> None:
        """Delete messages and replies, with their objects."""
        self._state.delete_messages(messages)
        for object_id in messages | replies:
            self._state.object_store.delete(object_id)


class Link(link.Link):
    """The link to the nodes through the genuine SuperLink; see `coordinator.link.Link`."""

    def __init__(self, host: str, port: int, tls: Tls | None, bundle: bytes, **options: Any) -> None:
        super().__init__(SuperLink(), host, port, tls, bundle, **options)


def _message(run: Run, node: int, content: RecordDict, group: str, ttl: float) -> Message:
    """Not `Message(...)`: that reads the run from a global of the process, and jobs run in parallel."""
    metadata = Metadata(
        run_id=run.id,
        message_id="",
        src_node_id=SUPERLINK_NODE_ID,
        dst_node_id=node,
        reply_to_message_id="",
        group_id=group,
        created_at=now().timestamp(),
        ttl=ttl,
        message_type=QUESTION,
    )
    message = make_message(metadata, content)
    metadata.__dict__["_message_id"] = message.object_id  # has no setter, and the id is the hash of the rest
    return message


def _reply(message: Message) -> Reply:
    outcome, detail = Outcome.ANSWERED, ""
    if message.has_error():
        code, detail = message.error.code, message.error.reason or ""
        outcome = Outcome.LOST if code in ABSENT else Outcome.FAILED
        if code == ErrorCode.INVALID_FAB:
            outcome = Outcome.REFUSED
    return Reply(message.metadata.reply_to_message_id, message.metadata.message_id, outcome, detail)


def _part(content: bytes) -> dict[str, Any]:
    try:
        return dict(ConfigRecord.inflate(content).items())
    except TypeError:
        raise ValueError("A part of the reply is malformed.") from None
