"""The gate in front of SuperLink: the only part of the coordinator's Flower side that the network can touch.

SuperLink's Control and Runtime APIs have no login of their own, so nothing but the Fleet API is reachable, and that
only with bodies of a bounded size. The gate also turns a node's polling into waiting: `pull-messages` is held open
until there is a message. Only a caller who has proved to be an enrolled node is held, and one request per node at most,
so that a stranger cannot tie anything up. Knows HTTP, not Flower.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

Scope = dict[str, Any]
Event = dict[str, Any]
Headers = list[tuple[bytes, bytes]]

FLEET = "/v1/fleet/"
UNPROVEN_LIMIT = 64 * 1024
"""Bytes that a caller may send before its signature is checked: more than any request that precedes a payload."""

log = logging.getLogger("cohortium.gate")


class _Refused(Exception):
    def __init__(self, status: int) -> None:
        self.status = status


class _HungUp(Exception):
    """The caller closed the connection."""


class _Wait(Enum):
    MAIL, TIMEOUT, RELEASED, HUNG_UP = auto(), auto(), auto(), auto()


@dataclass
class _Mailbox:
    """What the gate knows of one node's messages; used on the event loop only."""

    undelivered: int = 0
    held: "asyncio.Future[_Wait] | None" = None

    def end_hold(self, reason: _Wait) -> None:
        if self.held is not None and not self.held.done():
            self.held.set_result(reason)


@dataclass
class _Response:
    status: int = 500
    headers: Headers = field(default_factory=list)
    body: bytes = b""

    async def collect(self, event: Event) -> None:
        """An ASGI `send` that keeps the response instead of sending it."""
        if event["type"] == "http.response.start":
            self.status, self.headers = event["status"], list(event.get("headers", ()))
        elif event["type"] == "http.response.body":
            self.body += event.get("body", b"")

    async def send(self, send: Any) -> None:
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await send({"type": "http.response.body", "body": self.body})


class Gate:
    """ASGI application around SuperLink's.

    Args:
        app: SuperLink's ASGI application.
        identify: The node (its Flower id) whose key signed a request, or None; called with the ASGI scope and, for
            `pull-messages`, the body.
        on_arrival: Called with a node's id before its request to be activated reaches SuperLink.
        on_departure: Called with the id of a node that hung up while its request was held: it died, or lost its line.
        on_change: Called with a node's id after it was activated or deactivated.
        on_reply: Called after a node pushed a reply or a part of one.
        body_limit: Bytes allowed in one request.
        hold: Seconds that an empty `pull-messages` is held open; under the 30 s of Flower's client.

    """

    def __init__(
        self,
        app: Any,
        *,
        identify: Callable[..., int | None],
        on_arrival: Callable[[int], None],
        on_departure: Callable[[int], None],
        on_change: Callable[[int], None],
        on_reply: Callable[[], None],
        body_limit: int,
        hold: float,
    ) -> None:
        self._app = app
        self._identify, self._on_reply = identify, on_reply
        self._on_arrival, self._on_departure, self._on_change = on_arrival, on_departure, on_change
        self._body_limit, self._hold = body_limit, hold
        self._boxes: defaultdict[int, _Mailbox] = defaultdict(_Mailbox)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    def announce(self, node: int) -> None:
        """One more message waits for this node, with all of its objects; callable from any thread."""
        self._on_loop(self._count_message, node)

    def release(self, node: int) -> None:
        """End this node's held request now, if there is one; callable from any thread."""
        self._on_loop(self._release, node)

    def close(self) -> None:
        """Hold nothing any more; callable from any thread."""
        self._on_loop(self._close)

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Serve one request (ASGI)."""
        if scope["type"] != "http":
            return  # no lifespan; web sockets do not come through the server
        self._loop = asyncio.get_running_loop()
        try:
            response = await self._respond(scope, receive)
        except _Refused as refusal:
            # The rest of the body is not read, so this connection cannot carry another request.
            response = _Response(refusal.status, [(b"connection", b"close"), (b"content-length", b"0")])
        except _HungUp:
            return
        await response.send(send)

    async def _respond(self, scope: Scope, receive: Any) -> _Response:
        if not scope["path"].startswith(FLEET):
            raise _Refused(404)
        body = await self._read(scope, receive)
        match scope["path"].removeprefix(FLEET):
            case "pull-messages":
                return await self._pull(scope, body, receive)
            case "activate-node" | "deactivate-node" as action:
                return await self._change(scope, body, arriving=action == "activate-node")
            case "push-messages" | "push-object":
                response = await self._call(scope, body)
                self._on_reply()
                return response
        return await self._call(scope, body)

    async def _read(self, scope: Scope, receive: Any) -> bytes:
        """The body, refused as soon as it is too large; a stranger's may not even be as large as a node's."""
        declared = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        self._check_size(scope, int(declared))
        chunks, size, more = [], 0, True
        while more:
            event = await receive()
            if event["type"] == "http.disconnect":
                raise _HungUp
            chunks.append(event.get("body", b""))
            more = event.get("more_body", False)
            size += len(chunks[-1])
            if size > int(declared):  # chunked: there was no length to check beforehand
                self._check_size(scope, size)
        return b"".join(chunks)

    def _check_size(self, scope: Scope, size: int) -> None:
        if size > self._body_limit:
            raise _Refused(413)
        if size > UNPROVEN_LIMIT and self._identify(scope) is None:
            raise _Refused(401)

    async def _pull(self, scope: Scope, body: bytes, receive: Any) -> _Response:
        node = self._identify(scope, body)
        if node is None:
            return await self._call(scope, body)  # SuperLink says what is wrong, at once
        box = self._boxes[node]
        reason = _Wait.MAIL if box.undelivered else await self._wait(box, receive)
        if reason is _Wait.HUNG_UP:
            self._on_departure(node)
            raise _HungUp  # SuperLink must not hand its message to a connection that is gone
        if reason is _Wait.RELEASED:
            return _Response(200, [(b"content-type", b"application/protobuf"), (b"content-length", b"0")])
        response = await self._call(scope, body)
        # An empty protobuf is no bytes at all: nothing was waiting, whatever we had counted.
        box.undelivered = max(box.undelivered - 1, 0) if response.body else 0
        return response

    async def _wait(self, box: _Mailbox, receive: Any) -> _Wait:
        """Wait for a message, but no longer than the caller does; a node's newer request replaces its older one."""
        box.end_hold(_Wait.RELEASED)
        if self._closed:
            return _Wait.RELEASED
        box.held = held = asyncio.get_running_loop().create_future()
        hang_up = asyncio.ensure_future(receive())
        try:
            await asyncio.wait({held, hang_up}, timeout=self._hold, return_when=asyncio.FIRST_COMPLETED)
            if hang_up.done():
                return _Wait.HUNG_UP
            return held.result() if held.done() else _Wait.TIMEOUT
        finally:
            hang_up.cancel()
            held.cancel()

    async def _change(self, scope: Scope, body: bytes, *, arriving: bool) -> _Response:
        node = self._identify(scope)
        if node is not None and arriving:
            self._on_arrival(node)
        response = await self._call(scope, body)
        if node is not None and response.status == 200:
            self._release(node)
            self._on_change(node)
        return response

    async def _call(self, scope: Scope, body: bytes) -> _Response:
        """Ask SuperLink, with the body already read."""
        events = iter([{"type": "http.request", "body": body, "more_body": False}])
        response = _Response()

        async def receive() -> Event:
            return next(events, None) or await asyncio.get_running_loop().create_future()

        await self._app(scope, receive, response.collect)
        if response.status == 500:
            # SuperLink's handlers trip over well-formed protobuf that makes no sense; all state is in memory, so what
            # fails is what the caller sent, and the caller must not take it for our fault and try again.
            log.warning("SuperLink could not handle a request to %s", scope["path"])
            raise _Refused(400)
        return response

    def _on_loop(self, function: Callable[..., None], *args: Any) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function, *args)

    def _count_message(self, node: int) -> None:
        self._boxes[node].undelivered += 1
        self._boxes[node].end_hold(_Wait.MAIL)

    def _release(self, node: int) -> None:
        self._boxes[node].end_hold(_Wait.RELEASED)

    def _close(self) -> None:
        self._closed = True
        for box in self._boxes.values():
            box.end_hold(_Wait.RELEASED)
