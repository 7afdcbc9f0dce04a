"""What a node must not forget, in one SQLite file: what it answered, the newest roster it has seen, its journal.

Every change is on the disk before the call returns. An answer that left must never be forgotten: a second one to the
same question, from data that changed meanwhile, would differ by just that change.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cohortium.chain import START, Entry, next_entry
from cohortium.keys import public_text
from cohortium.messages import Position
from cohortium.signing import Signed, verify

SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (
    job TEXT NOT NULL, round INTEGER NOT NULL, question TEXT NOT NULL, reply BLOB NOT NULL, until TEXT NOT NULL,
    PRIMARY KEY (job, round)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS rosters (version INTEGER PRIMARY KEY, content BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS journal (number INTEGER PRIMARY KEY, digest TEXT NOT NULL, content BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS witnessed (owner TEXT PRIMARY KEY, number INTEGER NOT NULL, entry TEXT NOT NULL);
"""


@dataclass(frozen=True)
class Kept:
    """What a node answered in a round: to which question (hash), in which bytes."""

    question: str
    reply: bytes


def now() -> datetime:
    """The present moment in UTC."""
    return datetime.now(UTC)


class Memory:
    """A node's memory. Safe to use from several threads, and from several processes.

    Args:
        path: The SQLite file; made, readable by its owner alone, if it is not there.
        owner: Whose journal it is.
        key: The node's identity key, which signs the journal.
        clock: Tells the time.

    """

    def __init__(self, path: Path, owner: str, key: Ed25519PrivateKey, *, clock: Callable[[], datetime] = now) -> None:
        self.owner, self._key, self._clock = owner, key, clock
        self._lock = threading.Lock()
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
        # FULL: a commit is on the disk, even if the power is cut the moment after.
        self._db.executescript(f"PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; {SCHEMA}")

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._db.close()

    def answered(self, job: str, round_: int) -> Kept | None:
        """What was answered in a round of a job (its hash), if anything was."""
        with self._lock:
            return self._answered(job, round_)

    def keep(self, job: str, round_: int, kept: Kept, *, until: datetime, event: str, details: dict[str, Any]) -> Kept:
        """Keep an answer, and journal it, before it leaves; `until` then the job is too old to be asked about.

        Returns what stands: the first answer to this round, which another thread may have given meanwhile.
        """
        with self.writing():
            first = self._answered(job, round_)
            if first is not None:
                return first
            row = (job, round_, kept.question, kept.reply, until.astimezone(UTC).isoformat())
            self._db.execute("INSERT INTO answers VALUES (?, ?, ?, ?, ?)", row)
            self.write(event, details)
            return kept

    def forget_what_is_over(self) -> int:
        """Drop the answers of jobs that have become too old to be asked about; how many there were."""
        with self.writing():
            over = self._clock().astimezone(UTC).isoformat()
            return self._db.execute("DELETE FROM answers WHERE until < ?", (over,)).rowcount

    def roster(self) -> bytes | None:
        """The newest roster that this node has accepted, as it was signed."""
        with self._lock:
            row = self._db.execute("SELECT content FROM rosters ORDER BY version DESC LIMIT 1").fetchone()
        return row[0] if row else None

    def keep_roster(self, version: int, content: bytes, **details: Any) -> None:
        """Remember a roster that was verified."""
        with self.writing():
            self._db.execute("INSERT OR IGNORE INTO rosters VALUES (?, ?)", (version, content))
            self.write("roster accepted", {"version": version, **details})

    def note(self, event: str, **details: Any) -> Position:
        """Write an entry into the journal; its position."""
        with self.writing():
            return self.write(event, details)

    def position(self) -> Position:
        """The last entry of the journal."""
        with self._lock:
            return self._position()

    def holds(self, position: Position) -> bool:
        """Whether the journal has this very entry."""
        if position.number == 0:
            return True
        with self._lock:
            row = self._db.execute("SELECT digest FROM journal WHERE number = ?", (position.number,)).fetchone()
        return row is not None and row[0] == position.entry

    def journal(self) -> list[bytes]:
        """Every entry as it was signed, first to last."""
        with self._lock:
            return [row[0] for row in self._db.execute("SELECT content FROM journal ORDER BY number")]

    def witnessed(self, owner: str) -> Position:
        """The last position that another's journal was seen at."""
        with self._lock:
            row = self._db.execute("SELECT number, entry FROM witnessed WHERE owner = ?", (owner,)).fetchone()
        return Position(number=row[0], entry=row[1]) if row else START

    def witness(self, owner: str, position: Position) -> None:
        """Remember where another's journal was seen, here and in our own journal: then neither can go back."""
        if position.number == 0 or position == self.witnessed(owner):
            return
        with self.writing():
            row = (owner, position.number, position.entry)
            self._db.execute("INSERT OR REPLACE INTO witnessed VALUES (?, ?, ?)", row)
            self.write("witnessed", {"owner": owner, "number": position.number, "entry": position.entry})

    def entry(self, number: int) -> Entry:
        """An entry of the journal, if this node's key signed it. Raises KeyError, or the Untrusted error."""
        with self.reading() as db:
            row = db.execute("SELECT content FROM journal WHERE number = ?", (number,)).fetchone()
        if row is None:
            raise KeyError(number)
        return verify(Signed.from_bytes(Entry, row[0]), Entry, {public_text(self._key.public_key())})

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The database, to read tables that others keep in it."""
        with self._lock:
            yield self._db

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction: on the disk as a whole, its journal entries (`write`) included, when the block ends."""
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def _answered(self, job: str, round_: int) -> Kept | None:
        query = "SELECT question, reply FROM answers WHERE job = ? AND round = ?"
        row = self._db.execute(query, (job, round_)).fetchone()
        return Kept(*row) if row else None

    def _position(self) -> Position:
        row = self._db.execute("SELECT number, digest FROM journal ORDER BY number DESC LIMIT 1").fetchone()
        return Position(number=row[0], entry=row[1]) if row else START

    def write(self, event: str, details: dict[str, Any]) -> Position:
        """Add an entry to the journal, inside `writing`."""
        at, last = self._clock(), self._position()
        signed = next_entry(last, self._key, owner=self.owner, at=at, event=event, details=details)
        position = signed.document.position
        self._db.execute("INSERT INTO journal VALUES (?, ?, ?)", (position.number, position.entry, signed.to_bytes()))
        return position
