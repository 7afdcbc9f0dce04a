"""Who is behind a row: a number per row that stays the same however often, and in whatever order, data are loaded.

A row is known by the dictionary's identifier with the most values and, where somebody has several rows, by which of
them it is; without an identifier by what it says of every variable. A row that is changed then counts as another one.

Only digests under a key of the ledger's own are kept: AES of key and place, of which 64 bits are enough to tell ten
million rows apart (two share them by chance with probability 3e-6).
"""

from __future__ import annotations

import secrets
import sqlite3

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

from cohortium.data import Data
from node.coding import NO_KEY

SCHEMA = """
CREATE TABLE IF NOT EXISTS people (
    one INTEGER PRIMARY KEY CHECK (one = 1), secret BLOB NOT NULL, digests BLOB NOT NULL, owners BLOB NOT NULL
);
"""
_MIX = tuple(np.uint64(number) for number in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


class People:
    """The rows that a ledger has ever seen, numbered from 0, and whose they are.

    `owners` has the number of the person behind each row, shape (rows ever seen,); `most` is the most rows of anybody.
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        row = db.execute("SELECT secret, digests, owners FROM people").fetchone()
        self._secret: bytes
        self._secret, digests, owners = row or (secrets.token_bytes(32), b"", b"")
        self._digests = np.frombuffer(digests, dtype=np.uint64)
        self.owners = np.frombuffer(owners, dtype=np.uint32)
        self.most = self._most()

    def number(self, data: Data) -> NDArray[np.uint32]:
        """The number of each row, shape (rows,). Rows that were never seen before get new ones, on the disk."""
        persons, places = _identity(data)
        digests = self._digest(persons, places)
        known, numbers = self._look_up(digests)
        new = ~known
        if new.any():
            numbers[new] = len(self._digests) + np.arange(np.count_nonzero(new))
            self._add(digests[new], numbers[new], persons[new], places[new])
        return numbers

    def _digest(self, persons: NDArray[np.int64], places: NDArray[np.int64]) -> NDArray[np.uint64]:
        blocks = np.column_stack([persons, places]).astype("<i8").tobytes()
        # One block per row, and no row twice: what a mode would hide is just what these are for, equality.
        encrypted = Cipher(algorithms.AES(self._secret), modes.ECB()).encryptor().update(blocks)  # noqa: S305
        return np.frombuffer(encrypted, dtype=np.uint64)[::2]

    def _look_up(self, digests: NDArray[np.uint64]) -> tuple[NDArray[np.bool_], NDArray[np.uint32]]:
        """Which rows are known, and the numbers of those."""
        known, numbers = np.zeros(len(digests), dtype=np.bool_), np.zeros(len(digests), dtype=np.uint32)
        if len(self._digests):
            order, asked = np.argsort(self._digests), np.argsort(digests)
            # Both in order, so that a search stays where the last one ended.
            at = np.searchsorted(self._digests[order], digests[asked])
            numbers[asked] = order[np.minimum(at, len(order) - 1)]
            known = self._digests[numbers] == digests
        return known, numbers

    def _add(
        self,
        digests: NDArray[np.uint64],
        numbers: NDArray[np.uint32],
        persons: NDArray[np.int64],
        places: NDArray[np.int64],
    ) -> None:
        """New rows. A person's number is that of the first of their rows, which is one of these or known."""
        self._digests = np.concatenate([self._digests, digests])
        owners, later = numbers.copy(), places > 0
        if later.any():
            owners[later] = self._look_up(self._digest(persons[later], np.zeros_like(places[later])))[1]
        self.owners = np.concatenate([self.owners, owners])
        self.most = self._most()
        row = (self._secret, self._digests.tobytes(), self.owners.tobytes())
        self._db.execute("INSERT OR REPLACE INTO people VALUES (1, ?, ?, ?)", row)

    def _most(self) -> int:
        return int(np.bincount(self.owners).max()) if len(self.owners) else 1


def _identity(data: Data) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Whose each row is, and which of their rows, from 0."""
    if data.keys is None:
        return _unlike(_content(data)), np.zeros(len(data), dtype=np.int64)
    nobodys = data.keys == NO_KEY
    places = _places(data.keys)
    keys = data.keys
    if nobodys.any():
        keys, places = keys.copy(), places.copy()
        keys[nobodys], places[nobodys] = _unlike(_content(data)[nobodys]), 0
    return keys, places


def _places(keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many rows before each one have the same key, shape (rows,)."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1])) if len(keys) else np.zeros(0, dtype=np.intp)
    lengths = np.diff(np.append(starts, len(keys)))
    places = np.empty(len(keys), dtype=np.int64)
    places[order] = np.arange(len(keys)) - np.repeat(starts, lengths)
    return places


def _content(data: Data) -> NDArray[np.int64]:
    """64 bits that depend on every value of a row but its identifiers, whose codes mean nothing elsewhere."""
    mixed = np.zeros(len(data), dtype=np.uint64)
    for name in sorted(name for name in data.columns if data.dictionary[name].type != "identifier"):
        values = data[name] if data.dictionary[name].is_numeric else data.codes(name).astype(np.float64)
        # One NaN for all, and no negative zero.
        plain = np.where(np.isnan(values), np.nan, values + 0.0)
        mixed = _mix(mixed ^ plain.view(np.uint64))
    return mixed.view(np.int64)


def _unlike(content: NDArray[np.int64]) -> NDArray[np.int64]:
    """Keys of people of whom nothing else is known: those who are alike in everything are told apart by counting."""
    return _mix(content.view(np.uint64) ^ _mix(_places(content).view(np.uint64))).view(np.int64)


def _mix(bits: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Steele, Lea & Flood (2014), Fast splittable pseudorandom number generators (SplitMix64)."""
    bits = bits + _MIX[0]
    bits = (bits ^ (bits >> np.uint64(30))) * _MIX[1]
    bits = (bits ^ (bits >> np.uint64(27))) * _MIX[2]
    return bits ^ (bits >> np.uint64(31))
