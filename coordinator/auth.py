"""Who may do what: bearer tokens, of which the store keeps only the SHA-256."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from enum import StrEnum

from coordinator.store import Store, Token, now

PREFIX = "cohortium_"


class Role(StrEnum):
    """What a token is for. A role has no rights of another: no operator reads results, no researcher enrols."""

    researcher = "researcher"
    operator = "operator"


def issue(store: Store, name: str, role: Role | str) -> str:
    """Make a token for a person or program; the only time that it can be read.

    Tokens of one name are one caller: make the next before revoking the last.
    """
    token = PREFIX + secrets.token_urlsafe(32)
    store.add_token(Token(digest=_digest(token), name=name, role=Role(role).value, created=now()))
    return token


def authenticate(store: Store, token: str) -> Token | None:
    """The valid token that this is, or None."""
    digest = _digest(token)
    known = store.token(digest)
    # The lookup goes by a digest that the caller cannot steer, so its timing tells nothing of the token.
    return known if known is not None and hmac.compare_digest(known.digest, digest) else None


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()
