"""The journal for people: what a node was asked and what it answered, and whether anybody changed that since."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from cohortium.chain import Entry, verify_chain
from cohortium.errors import BrokenChain, InvalidQuestion
from cohortium.keys import public_text
from cohortium.messages import Position
from cohortium.signing import Signed
from node.approvals import DENIED, GIVEN


def read(path: Path, key: Ed25519PublicKey, cohort: str, *, verify: bool, witness: str = "") -> list[Entry]:
    """The entries in a node's memory, oldest first. The file is only read, so a running node does not mind.

    `witness` is `number:hash` of an entry that somebody else kept. Raises BrokenChain, if they are to be verified, and
    InvalidQuestion when there is no journal.
    """
    contents, answered, decided = _contents(path)
    if not verify:
        return [Signed.from_bytes(Entry, content).document for content in contents]
    entries = verify_chain(contents, public_text(key), owner=cohort, witnessed=[_position(witness)])
    # Whoever cuts the end off must also make the node forget what it answered then.
    journalled = {(e.details.get("job"), e.details.get("round")) for e in entries if e.event in ("answered", "refused")}
    if lost := answered - journalled:
        job, round_ = min(lost)
        raise BrokenChain(f"The answer to round {round_} of job {job[:16]} is not in the journal: its end was cut off.")
    said = {(e.details.get("job"), e.number) for e in entries if e.event in (GIVEN, DENIED)}
    if unsaid := decided - said:
        raise BrokenChain(f"The decision about job {min(unsaid)[0][:16]} is not in the journal.")
    return entries


def described(entry: Entry) -> str:
    """An entry as one line."""
    details = " ".join(f"{name}={_short(value)}" for name, value in entry.details.items())
    return f"{entry.number:>6}  {entry.at:%Y-%m-%d %H:%M:%S}  {entry.event}  {details}"


def _short(value: object) -> str:
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    is_hash = len(text) == 64 and all(c in "0123456789abcdef" for c in text)
    return text[:16] if is_hash else text


def _contents(path: Path) -> tuple[list[bytes], set[tuple[str, int]], set[tuple[str, int]]]:
    try:
        with sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True) as db:
            entries = [row[0] for row in db.execute("SELECT content FROM journal ORDER BY number")]
            answered = set(db.execute("SELECT job, round FROM answers"))
            kept = db.execute("SELECT 1 FROM sqlite_master WHERE name = 'requests'").fetchone()
            query = "SELECT job, decision FROM requests WHERE decision IS NOT NULL"
            return entries, answered, set(db.execute(query)) if kept else set()
    except sqlite3.Error:
        raise InvalidQuestion(f"There is no journal in {path}; a node writes it from its first start.") from None


def _position(witness: str) -> Position:
    if not witness:
        return Position()
    number, _, digest = witness.partition(":")
    if not number.isdecimal() or len(digest) != 64:
        raise InvalidQuestion("A witnessed entry is written as `number:hash`, with the 64 digits of its hash.")
    return Position(number=int(number), entry=digest)
