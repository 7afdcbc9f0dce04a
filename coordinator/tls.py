"""Certificates that are renewed while the coordinator runs: new connections get the new one, no job is disturbed."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

import structlog

log = structlog.get_logger()

LOOK_EVERY = 30.0
"""Seconds between looks at the files; SIGHUP looks at once."""


class Renewal:
    """Watches a certificate and its key. `contexts` are those that the listeners use; asked for at each renewal."""

    def __init__(self, certificate: Path, key: Path, contexts: Callable[[], Iterable[ssl.SSLContext]]) -> None:
        self._certificate, self._key, self._contexts = certificate, key, contexts
        self._seen = self._state()
        self._wake, self._stopping = threading.Event(), False
        self._thread = threading.Thread(target=self._watch, name="certificates", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """Stop watching."""
        self._stopping = True
        self._wake.set()

    def look(self) -> None:
        """Look now: what SIGHUP means."""
        self._wake.set()

    def _watch(self) -> None:
        while not self._stopping:
            self._wake.wait(LOOK_EVERY)
            self._wake.clear()
            state = self._state()
            if state != self._seen and self._renew():
                self._seen = state

    def _renew(self) -> bool:
        try:
            # On a context that nobody uses: half-written files, or two that do not belong together, must not replace
            # what works.
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self._certificate, self._key)
            for context in self._contexts():
                context.load_cert_chain(self._certificate, self._key)
        except (ssl.SSLError, OSError) as error:
            log.error("certificate not renewed", reason=type(error).__name__)
            return False
        log.info("certificate renewed")
        return True

    def _state(self) -> tuple[tuple[int, int] | None, ...]:
        return tuple(_stamp(path) for path in (self._certificate, self._key))


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size
