"""The coordinator as a process: the REST API and the link to the nodes, on two ports, until told to stop."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import ssl
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
import uvicorn

from cohortium.analysis import registry
from cohortium.dictionary import Dictionary
from cohortium.errors import CohortiumError
from cohortium.fab import fab
from cohortium.identity import code_identity
from coordinator.app import create_app
from coordinator.config import InvalidSettings, Settings
from coordinator.flower import SuperLink
from coordinator.link import Link, Tls
from coordinator.service import Coordinator
from coordinator.store import Store
from coordinator.tls import Renewal

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class CannotListen(CohortiumError):
    """An address is taken, or is not of this machine."""


def serve(settings: Settings) -> None:
    """Run a coordinator until SIGTERM or SIGINT. Raises CohortiumError if it cannot start."""
    set_up_log(settings.log_format)
    _check_tls(settings)
    dictionary = Dictionary.from_toml(settings.path(settings.dictionary))
    registry()  # an installation whose analyses do not load should not start
    store = Store(settings.store_url)
    coordinator = Coordinator(settings, store, dictionary, _link(settings))
    with _started(coordinator):
        asyncio.run(_serve_api(coordinator))


def set_up_log(form: str) -> None:
    """Write the log to standard error, as JSON or for people."""
    renderer = (
        structlog.processors.JSONRenderer()
        if form == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            renderer,
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)


@contextmanager
def _started(coordinator: Coordinator) -> Iterator[None]:
    settings = coordinator.settings
    try:
        try:
            coordinator.start()
        except OSError as error:
            where = f"{settings.fleet_host}:{settings.fleet_port}"
            raise CannotListen(f"Nodes cannot connect to {where} (`fleet_host`, `fleet_port`): {error}") from None
        yield
    finally:
        coordinator.stop()


async def _serve_api(coordinator: Coordinator) -> None:
    server = _Api(coordinator)
    for number in STOP_SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, server.stop)
    with _certificates_renewed(server, coordinator):
        await server.serve(sockets=[_listen(coordinator.settings)])


@contextmanager
def _certificates_renewed(server: _Api, coordinator: Coordinator) -> Iterator[None]:
    tls = coordinator.settings.tls()
    if tls is None:
        yield
        return
    listeners = server.config, coordinator.link

    def contexts() -> list[ssl.SSLContext]:
        found = [getattr(listener, name, None) for listener in listeners for name in ("ssl", "tls_context")]
        return [context for context in found if isinstance(context, ssl.SSLContext)]

    renewal = Renewal(tls[0], tls[1], contexts)
    renewal.start()
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, renewal.look)
    try:
        yield
    finally:
        renewal.stop()


class _Api(uvicorn.Server):
    """The REST API. Signals are ours: uvicorn would raise them again once it has stopped."""

    def __init__(self, coordinator: Coordinator) -> None:
        self.coordinator = coordinator
        tls = coordinator.settings.tls()
        config = uvicorn.Config(
            create_app(coordinator),
            http="h11",  # it limits the size of a request's head; httptools does not
            lifespan="off",
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=1,
            ssl_certfile=str(tls[0]) if tls else None,
            ssl_keyfile=str(tls[1]) if tls else None,
        )
        super().__init__(config)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to answer, and say so."""
        await super().startup(sockets=sockets)
        settings, link = self.coordinator.settings, self.coordinator.link
        scheme = "https" if settings.tls() else "http"
        port = sockets[0].getsockname()[1] if sockets else settings.api_port
        print(  # noqa: T201 - the one line on standard output, for whoever started this
            f"ready: researchers at {scheme}://{settings.api_host}:{port}/api/v1, "
            f"nodes at {settings.fleet_host}:{getattr(link, 'port', settings.fleet_port)}",
            flush=True,
        )

    def stop(self) -> None:
        """Stop answering; those who follow a job are sent home at once."""
        structlog.get_logger().info("stopping")
        self.coordinator.jobs.board.close()
        self.should_exit = True


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.api_host else socket.AF_INET
    try:
        return socket.create_server((settings.api_host, settings.api_port), family=family, backlog=512)
    except OSError as error:
        where = f"{settings.api_host}:{settings.api_port}"
        raise CannotListen(f"The REST API cannot use {where} (`api_host`, `api_port`): {error}") from None


def _link(settings: Settings) -> Link:
    tls = settings.tls()
    return Link(
        SuperLink(),
        settings.fleet_host,
        settings.fleet_port,
        Tls(tls[0], tls[1]) if tls else None,
        fab(code_identity()),
    )


def _check_tls(settings: Settings) -> None:
    """Tell a certificate that cannot be used by the name of its setting."""
    tls = settings.tls()
    if tls is None:
        return
    certificate, key, ca = tls
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
    except (ssl.SSLError, OSError) as error:
        raise InvalidSettings(f"`certificate` and `key` do not go together, or are not PEM: {_reason(error)}") from None
    try:
        ssl.create_default_context(cafile=ca)
    except (ssl.SSLError, OSError) as error:
        raise InvalidSettings(f"`ca` is not a certificate in PEM form: {_reason(error)}") from None


def _reason(error: OSError) -> str:
    return getattr(error, "reason", None) or error.strerror or type(error).__name__
