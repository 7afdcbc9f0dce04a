"""A journal that nobody can rewrite unnoticed: each entry is signed by its owner and names the one before by its hash.

An edit breaks a signature, an entry taken out or put in breaks the chain. What a chain alone cannot show is that its
end was cut off, or that its owner wrote all of it anew: for that, others keep its *position* (number and hash of the
last entry), which node and coordinator exchange whenever they meet (`Head`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, ClassVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import Field, JsonValue

from cohortium.documents import Digest, Document, Moment, Name, Nonce, moment
from cohortium.errors import BrokenChain, Untrusted
from cohortium.messages import Position
from cohortium.signing import Signed, sign, verify

START = Position()
"""Where every journal begins."""


class Entry(Document):
    """Something that happened, and the hash of the entry before (None in the first)."""

    kind: ClassVar[str] = "entry"

    owner: Name
    number: int = Field(ge=1)
    previous: Digest | None
    at: Moment
    event: Name
    details: dict[str, JsonValue]

    @property
    def position(self) -> Position:
        """Its place in the journal."""
        return Position(number=self.number, entry=self.digest())


class Head(Document):
    """How far a journal goes. Signed over a nonce of whoever asks, it also proves that its owner holds the key."""

    kind: ClassVar[str] = "head"

    owner: Name
    number: int = Field(ge=0)
    entry: Digest | None
    nonce: Nonce

    @property
    def position(self) -> Position:
        """The last entry."""
        return Position(number=self.number, entry=self.entry)


def next_entry(
    last: Position, key: Ed25519PrivateKey, *, owner: str, at: datetime, event: str, details: Mapping[str, Any]
) -> Signed[Entry]:
    """The entry that follows `last`, signed."""
    entry = Entry(
        owner=owner,
        number=last.number + 1,
        previous=last.entry,
        at=moment(at),
        event=event,
        details=dict(details),
    )
    return sign(entry, key)


def head(position: Position, key: Ed25519PrivateKey, *, owner: str, nonce: str) -> Signed[Head]:
    """The owner's word for how far its journal goes."""
    return sign(Head(owner=owner, number=position.number, entry=position.entry, nonce=nonce), key)


def verify_head(signed: Signed[Head], key: str, *, owner: str, nonce: str) -> Position:
    """What `head` said, if the key (public) signed it for this nonce. Raises any Untrusted error."""
    said = verify(signed, Head, {key})
    if (said.owner, said.nonce) != (owner, nonce):
        raise BrokenChain("The head of the journal is another's, or an old one.")
    return said.position


def verify_chain(contents: Iterable[bytes], key: str, *, owner: str, witnessed: Iterable[Position] = ()) -> list[Entry]:
    """The entries of a journal, first to last, all of them signed with `key` (public) and none missing.

    `witnessed` are positions that others kept: an end that was cut off, or a journal written anew, does not have them.
    Raises BrokenChain, saying from which entry on the journal cannot be relied on.
    """
    entries: list[Entry] = []
    last = START
    for content in contents:
        entry = _checked(content, key, last, owner)
        entries.append(entry)
        last = entry.position
    for seen in witnessed:
        if seen.number and (seen.number > len(entries) or entries[seen.number - 1].digest() != seen.entry):
            raise BrokenChain(
                f"Entry {seen.number} is not the one that was witnessed: the journal was cut off or written anew."
            )
    return entries


def _checked(content: bytes, key: str, last: Position, owner: str) -> Entry:
    number = last.number + 1
    try:
        entry = verify(Signed.from_bytes(Entry, content), Entry, {key})
    except Untrusted as error:
        raise BrokenChain(f"Entry {number}: {error.message}") from None
    if entry.owner != owner:
        raise BrokenChain(f"Entry {number} belongs to another journal.")
    if entry.number != number or entry.previous != last.entry:
        raise BrokenChain(f"Entry {number} does not follow the one before: something was taken out or put in.")
    return entry
