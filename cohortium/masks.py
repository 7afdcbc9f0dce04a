"""Masks that hide each cohort's vector and cancel in the sum.

Every two cohorts of a question share a secret: X25519 between their masking keys (RFC 7748). From it and from *what is
asked*, HKDF-SHA256 (RFC 5869) makes a key, and ChaCha20 under that key as many random words as the vector has. The
cohort whose name comes first adds them, the other takes them away, so the sum of all vectors is the sum of what was
masked, exactly, modulo 2^128. After Bonawitz et al. (2017), without its recovery of absent nodes: a job waits.

The same question gives the same mask and every other question another one. A node must therefore answer a question
once, and keep what it answered: two answers under one mask would differ by what differs in the data.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from cohortium.canonical import array_parts, canonical_json, digest, framed
from cohortium.errors import InvalidQuestion
from cohortium.fixed_point import Limbs, accumulate, blocks, deduct
from cohortium.keys import masking_key, public_text
from cohortium.quantities import Array

MIN_COHORTS: Final = 3
"""Fewest cohorts behind a mask: of two, each knows the other's vector once it knows the sum."""

_PURPOSE = b"cohortium pairwise mask 1"


@dataclass(frozen=True, eq=False)  # of two questions, the digests are compared
class Asked:
    """Everything that one question says. Whatever is not in here could be changed without changing the mask.

    `network`, `job` (hash of the signed job), `roster` and `dictionary` (hashes) say under what it is asked; `cohorts`,
    in order of name, of whom. Raises InvalidQuestion unless the cohorts are distinct and in order.
    """

    network: str
    job: str
    round: int
    analysis: str
    version: str
    statistic: str
    params: Mapping[str, Any]
    broadcast: Mapping[str, Array]
    dictionary: str
    roster: str
    cohorts: tuple[str, ...]
    per_cohort: bool = False

    def __post_init__(self) -> None:
        if list(self.cohorts) != sorted(set(self.cohorts)):
            raise InvalidQuestion("The cohorts of a question must be distinct and in order of their names.")

    def digest(self) -> str:
        """SHA-256 over all of it, the broadcast values to their last bit."""
        said = {
            "network": self.network,
            "job": self.job,
            "round": self.round,
            "analysis": self.analysis,
            "version": self.version,
            "statistic": self.statistic,
            "params": dict(self.params),
            "dictionary": self.dictionary,
            "roster": self.roster,
            "cohorts": list(self.cohorts),
            "per_cohort": self.per_cohort,
        }
        return digest(b"cohortium question 1", canonical_json(said), *array_parts(self.broadcast))


@dataclass(frozen=True)
class Pair:
    """What a cohort shares with one other: the secret of their two keys, and who is who in order of name."""

    first: str
    second: str
    first_key: str
    second_key: str
    secret: bytes = field(repr=False)


@dataclass(frozen=True)
class Pairs:
    """All pairs of one cohort. Making it costs a key agreement per peer; it serves as long as the keys do."""

    own: str
    by_peer: Mapping[str, Pair] = field(repr=False)


def agree(own: str, private: X25519PrivateKey, masking_keys: Mapping[str, str]) -> Pairs:
    """The pairs of cohort `own` with every other cohort of `masking_keys` (public keys by cohort, as in the roster).

    Raises InvalidQuestion when a key is useless, or when the roster has another key for `own` than this one.
    """
    own_key = public_text(private.public_key())
    if masking_keys.get(own) != own_key:
        raise InvalidQuestion(f"The roster has another masking key for `{own}` than the one that this node holds.")
    if len(set(masking_keys.values())) != len(masking_keys):
        raise InvalidQuestion("Two cohorts of the roster have the same masking key.")
    return Pairs(own, {p: _pair(own, private, p, masking_keys) for p in masking_keys if p != own})


def _pair(own: str, private: X25519PrivateKey, peer: str, masking_keys: Mapping[str, str]) -> Pair:
    try:
        secret = private.exchange(masking_key(masking_keys[peer]))
    except ValueError:  # a point of low order: the secret would be known to everybody
        raise InvalidQuestion(f"The masking key of `{peer}` in the roster is not usable.") from None
    first, second = sorted((own, peer))
    return Pair(first, second, masking_keys[first], masking_keys[second], secret)


def add_masks(limbs: Limbs, asked: Asked, layout: str, pairs: Pairs, at_least: int = MIN_COHORTS) -> Limbs:
    """The encoded vector (entries, limbs) of cohort `pairs.own`, masked against every other cohort of the question.

    `layout` is the digest of what the entries mean. Raises InvalidQuestion when the question goes to fewer than
    `at_least` cohorts, not to this one, or to one that has no key.
    """
    streams = list(_streams(asked, layout, pairs, at_least))
    masked = limbs.copy()
    for part in blocks(len(masked)):
        # Entry i takes the next bytes of each stream: the masks do not depend on how the work is cut into blocks.
        words, zeros = np.empty_like(masked[part]), np.zeros_like(masked[part])
        for stream, adds in streams:
            stream.update_into(zeros.data.cast("B"), words.data.cast("B"))
            (accumulate if adds else deduct)(masked[part], words)
    return masked


def _streams(asked: Asked, layout: str, pairs: Pairs, at_least: int) -> Iterator[tuple[CipherContext, bool]]:
    if len(asked.cohorts) < at_least:
        raise InvalidQuestion(f"A masked sum needs at least {at_least} cohorts; this question goes to fewer.")
    if pairs.own not in asked.cohorts:
        raise InvalidQuestion(f"The question is not put to `{pairs.own}`.")
    peers = [cohort for cohort in asked.cohorts if cohort != pairs.own]
    unknown = [peer for peer in peers if peer not in pairs.by_peer]
    if unknown:
        raise InvalidQuestion(f"The roster has no masking key for {', '.join(unknown)}.")
    question = asked.digest()
    for peer in peers:
        yield _stream(pairs.by_peer[peer], asked, question, layout), pairs.own < peer


def mask_info(pair: Pair, asked: Asked, question: str, layout: str) -> bytes:
    """What HKDF binds a mask to (RFC 5869, `info`)."""
    said = (asked.network, asked.job, str(asked.round), question, layout)
    who = (pair.first, pair.second, pair.first_key, pair.second_key)
    return framed(_PURPOSE, *(part.encode() for part in said + who))


def _stream(pair: Pair, asked: Asked, question: str, layout: str) -> CipherContext:
    info = mask_info(pair, asked, question, layout)
    key = HKDF(algorithm=SHA256(), length=32, salt=_PURPOSE, info=info).derive(pair.secret)
    # A key serves one stream only, so counter and nonce start at zero.
    return Cipher(ChaCha20(key, bytes(16)), mode=None).encryptor()
