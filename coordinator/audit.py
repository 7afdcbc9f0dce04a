"""The coordinator's audit: who did what, hash-chained and signed, and how far each node's journal was seen to go."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import delete, insert, select

from cohortium.chain import START, Entry, next_entry, verify_chain
from cohortium.keys import public_text, read_signing_key, write_key
from cohortium.messages import Position
from coordinator.schema import audit, witnessed
from coordinator.store import Store, now

OWNER = "coordinator"


def audit_key(path: Path) -> Ed25519PrivateKey:
    """The key that signs the audit; made at the first start. Raises InvalidKey."""
    if not path.exists():
        write_key(Ed25519PrivateKey.generate(), path)
    return read_signing_key(path)


class Audit:
    """An append-only record. Safe to use from several threads."""

    def __init__(self, store: Store, key: Ed25519PrivateKey) -> None:
        self._store, self._key = store, key
        self._lock = threading.Lock()

    @property
    def key(self) -> str:
        """The public key that verifies it."""
        return public_text(self._key.public_key())

    def note(self, event: str, **details: Any) -> Position:
        """Write an entry; its position."""
        with self._lock:
            signed = next_entry(self.position(), self._key, owner=OWNER, at=now(), event=event, details=details)
            position, text = signed.document.position, signed.to_bytes().decode()
            values = {"number": position.number, "digest": position.entry, "content": text}
            self._store.change(insert(audit).values(values))
            return position

    def position(self) -> Position:
        """The last entry."""
        query = select(audit.c.number, audit.c.digest).order_by(audit.c.number.desc()).limit(1)
        found = self._store.rows(query)
        return Position(number=found[0].number, entry=found[0].digest) if found else START

    def holds(self, position: Position) -> bool:
        """Whether the audit has this very entry."""
        query = select(audit.c.digest).where(audit.c.number == position.number)
        return position.number == 0 or [row.digest for row in self._store.rows(query)] == [position.entry]

    def entries(self, after: int = 0, limit: int | None = None) -> list[str]:
        """Entries as they were signed, first to last."""
        query = select(audit.c.content).where(audit.c.number > after).order_by(audit.c.number).limit(limit)
        return [row.content for row in self._store.rows(query)]

    def verify(self) -> list[Entry]:
        """Every entry. Raises BrokenChain when anything was changed or is missing."""
        return verify_chain((text.encode() for text in self.entries()), self.key, owner=OWNER)

    def witnessed(self, cohort: str) -> Position:
        """How far a node's journal was seen to go."""
        found = self._store.rows(select(witnessed).where(witnessed.c.owner == cohort))
        return Position(number=found[0].number, entry=found[0].entry) if found else START

    def witness(self, cohort: str, position: Position) -> None:
        """Remember how far a node's journal goes, also in the audit, which that node will witness in turn."""
        if position.number == 0 or position == self.witnessed(cohort):
            return
        values = {"owner": cohort, "number": position.number, "entry": position.entry}
        self._store.change(delete(witnessed).where(witnessed.c.owner == cohort), insert(witnessed).values(values))
        self.note("journal seen", cohort=cohort, number=position.number, entry=position.entry)
