"""Choosing people at random in a way that nobody can steer and everybody can check.

Several holders (the researcher, cohorts, a steering committee) each draw a key of 32 random bytes and publish its hash,
the commitment, before the eligible people are fixed. Afterwards all keys are revealed; together they make the key of
the selection. Whoever was last to commit did not know the others' keys, and whoever chooses a key anew does not match
the commitment: as long as one holder drew a key at random and kept it, no other can steer who is chosen, try out keys
until the choice suits, or know it while people can still be declared eligible. Within every stratum of a cohort those
with the smallest HMAC-SHA256 of their identifier are chosen, so that each set of that size is equally likely.

Source: commitment and coin flipping as Blum (1983), SIGACT News 15:23; HMAC: RFC 2104.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cohortium.canonical import framed
from cohortium.errors import InvalidQuestion
from cohortium.quantities import Array

KEY_BYTES: Final = 32
_COMMITMENT, _SELECTION = b"cohortium selection commitment 1", b"cohortium selection key 1"

Mask = NDArray[np.bool_]


def new_key() -> str:
    """A key for one holder, 64 hexadecimal digits: keep it secret until the eligible people are fixed."""
    return secrets.token_hex(KEY_BYTES)


def commitment(holder: str, key: str) -> str:
    """The hash that `holder` publishes beforehand. Raises InvalidQuestion for what is no key."""
    return hashlib.sha256(framed(_COMMITMENT, holder.encode(), _bytes(holder, key))).hexdigest()


def joint_key(keys: Mapping[str, str], commitments: Mapping[str, str]) -> bytes:
    """The key of the selection. Raises InvalidQuestion unless every holder's key is the one committed to."""
    if set(keys) != set(commitments):
        odd = ", ".join(sorted(set(keys) ^ set(commitments)))
        raise InvalidQuestion(f"Every holder of a commitment reveals one key, and nobody else: look at {odd}.")
    for holder, key in keys.items():
        if not hmac.compare_digest(commitment(holder, key), commitments[holder]):
            raise InvalidQuestion(f"The key of `{holder}` is not the one that was committed to.")
    parts = (part for holder in sorted(keys) for part in (holder.encode(), _bytes(holder, keys[holder])))
    return hashlib.sha256(framed(_SELECTION, *parts)).digest()


def planned(people: Array, share: float) -> Array:
    """How many of a stratum are chosen: the share of its people, rounded to the nearest whole number."""
    return np.floor(share * people + 0.5)


def select(identifiers: Array | NDArray[np.int64], stratum: NDArray[np.intp], share: float, key: bytes) -> Mask:
    """Who is chosen, shape (rows,); `identifiers` are whole numbers, a different one for everybody.

    Raises InvalidQuestion for identifiers that are not.
    """
    if len(np.unique(identifiers)) != len(identifiers):
        raise InvalidQuestion("Two eligible rows have the same identifier; a person can be chosen once.")
    if identifiers.dtype.kind == "f" and not np.array_equal(identifiers, np.rint(identifiers)):
        raise InvalidQuestion("Identifiers must be whole numbers.")
    order = [hmac.digest(key, b"%d" % int(i), "sha256") for i in identifiers]
    chosen = np.zeros(len(identifiers), dtype=np.bool_)
    for s in np.unique(stratum):
        rows = np.flatnonzero(stratum == s)
        count = int(planned(np.array(float(len(rows))), share))
        chosen[sorted(rows, key=order.__getitem__)[:count]] = True
    return chosen


def _bytes(holder: str, key: str) -> bytes:
    try:
        found = bytes.fromhex(key)
    except ValueError:
        found = b""
    if len(found) != KEY_BYTES:
        raise InvalidQuestion(f"The key of `{holder}` must be {2 * KEY_BYTES} hexadecimal digits ({KEY_BYTES} bytes).")
    return found
