"""The outermost layer of the REST API: what is too large, too slow or not JSON never gets in, no traceback gets out.

A body is read here, up to a limit, and checked; whatever comes after that limit is thrown away unread.
"""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from contextlib import suppress
from http import HTTPStatus
from typing import Any

import pydantic_core
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cohortium.errors import ServiceError
from coordinator.problems import Declined, problem_of, respond

# How long to listen to somebody who sends too much, so that they hear why: a connection that is closed with data on
# the way is reset, and the answer lost.
LINGER_SECONDS = 2.0

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
HSTS = {"Strict-Transport-Security": "max-age=31536000"}


class Edge:
    """ASGI middleware: limits, content types, security headers, and constant words for unexpected errors."""

    def __init__(self, app: ASGIApp, *, max_body_bytes: int, body_timeout: float) -> None:
        self.app = app
        self.max_body_bytes, self.body_timeout = max_body_bytes, body_timeout

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        answer, upload = _Answer(scope, send), _Upload(receive)
        try:
            body = await self._body(Headers(scope=scope), upload)
            await self.app(scope, _replay(body, receive), answer)
        except Declined as error:
            response = respond(error.status, error.problem(), {"Connection": "close"})
            await response(scope, receive, answer if upload.ended else _lingering(upload, answer))
        except Exception as error:
            problem = problem_of(error, path=scope["path"])
            if answer.started:
                raise ServiceError("the response broke off") from None
            await respond(HTTPStatus.INTERNAL_SERVER_ERROR, problem)(scope, receive, answer)

    async def _body(self, headers: Headers, upload: _Upload) -> bytes:
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length) > self.max_body_bytes:
            raise self._too_large()
        if length in ("", "0") and "transfer-encoding" not in headers:
            return b""
        if headers.get("content-type", "").split(";")[0].strip().lower() != "application/json":
            raise Declined(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Send JSON, as `Content-Type: application/json`.")
        try:
            async with asyncio.timeout(self.body_timeout):
                body = await self._read(upload)
        except TimeoutError:
            raise Declined(HTTPStatus.REQUEST_TIMEOUT, f"The request took over {self.body_timeout:g} s.") from None
        _check_json(body)
        return body

    async def _read(self, upload: _Upload) -> bytes:
        body = bytearray()
        while not upload.ended:
            body += await upload.part()
            if len(body) > self.max_body_bytes:
                raise self._too_large()
        return bytes(body)

    def _too_large(self) -> Declined:
        message = f"A request has at most {self.max_body_bytes} bytes (setting `max_body_bytes` of the coordinator)."
        return Declined(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, message)


class _Answer:
    """Sends a response, with the security headers."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self.headers = HEADERS | (HSTS if scope["scheme"] == "https" else {})
        self.send = send
        self.started = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            headers = MutableHeaders(scope=message)
            for name, value in self.headers.items():
                headers.setdefault(name, value)
        await self.send(message)


class _Upload:
    """The body of a request while it comes in."""

    def __init__(self, receive: Receive) -> None:
        self.receive = receive
        self.ended = False

    async def part(self) -> bytes:
        message = await self.receive()
        self.ended = message["type"] != "http.request" or not message.get("more_body", False)
        part: bytes = message.get("body", b"")
        return part


def _check_json(body: bytes) -> None:
    try:
        # Stricter than Python's own: no lone surrogates, no NaN, no bottomless nesting. NUL is what PostgreSQL refuses.
        pydantic_core.from_json(body, allow_inf_nan=False)
        if b"\\u0000" in body:
            raise ValueError
    except ValueError:
        raise Declined(HTTPStatus.BAD_REQUEST, "The body is not JSON.") from None


def _replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that hands out the body that was read, then goes on to wait for the end of the connection."""
    waiting: list[MutableMapping[str, Any]] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Message:
        return waiting.pop() if waiting else await receive()

    return receive_again


def _lingering(upload: _Upload, send: Send) -> Send:
    """A `send` that, with the whole answer out, listens for a while before the connection is closed."""

    async def send_then_listen(message: Message) -> None:
        if message["type"] == "http.response.body":
            await send({**message, "more_body": True})
            await _drain(upload)
            message = {"type": "http.response.body", "body": b"", "more_body": False}
        await send(message)

    return send_then_listen


async def _drain(upload: _Upload) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(LINGER_SECONDS):
            while not upload.ended:
                await upload.part()
