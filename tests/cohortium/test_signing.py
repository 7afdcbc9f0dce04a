"""Signatures as an adversary meets them: whatever is changed, swapped or forged is turned away by name."""

import base64
import json
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from papers import (
    ANSWER,
    AUTHORITY,
    COMMITTEE,
    HASH,
    JOB,
    MEMBER,
    NODES,
    PERMIT,
    RESEARCHER,
    ROSTER,
    STRANGER,
    Chain,
    changed,
    text,
)
from pydantic import ValidationError

from cohortium import errors
from cohortium.canonical import canonical_json
from cohortium.documents import DOCUMENTS, Answer, Job
from cohortium.keys import new_keys, public_text
from cohortium.signing import Signed, sign, verify

DOCUMENT_AND_KEY = [
    (MEMBER, NODES["north"].identity),
    (ROSTER, AUTHORITY),
    (PERMIT, COMMITTEE),
    (JOB, RESEARCHER),
    (ANSWER, NODES["north"].identity),
]
every_document = pytest.mark.parametrize(
    ("document", "private"), DOCUMENT_AND_KEY, ids=lambda d: getattr(d, "kind", "")
)


@every_document
def test_what_was_signed_travels_and_verifies(document, private):
    signed = sign(document, private)
    again = Signed.from_bytes(type(document), signed.to_bytes())
    assert again == signed
    assert verify(again, type(document), {text(private)}) == document
    assert again.document.digest() == document.digest()


@every_document
def test_any_single_bit_that_is_changed_on_the_way_is_noticed(document, private):
    content = sign(document, private).to_bytes()
    for position in range(len(content)):
        for bit in range(8):
            altered = bytearray(content)
            altered[position] ^= 1 << bit
            with pytest.raises(errors.Untrusted):
                verify(Signed.from_bytes(type(document), bytes(altered)), type(document), {text(private)})


OTHER = {
    "network": "net2",
    "cohort": "east",
    "identity": text(STRANGER),
    "masking": public_text(new_keys().masking.public_key()),
    "version": 2,
    "previous": HASH,
    "members": [m.model_dump() for m in ROSTER.members[:2]],
    "committees": [text(STRANGER)],
    "revoked": ["x"],
    "valid_from": "2026-04-30T00:00:00Z",
    "valid_until": "2026-05-02T00:00:00Z",
    "study": "drinking",
    "title": "Drinking",
    "purpose": "Profit",
    "variables": "all",
    "analyses": "all",
    "cohorts": ["north", "south"],
    "researchers": [text(STRANGER)],
    "options": {"release_per_cohort": True, "cells": "node"},
    "analysis": "cox",
    "params": {"formula": "bmi ~ age", "level": 0.9500000000000001, "rounds": 25},
    "roster": "3" * 64,
    "permit": "3" * 64,
    "dictionary": "3" * 64,
    "nonce": "3" * 32,
    "submitted": "2026-05-01T11:59:59.999999Z",
    "job": "3" * 64,
    "round": 3,
    "question": "3" * 64,
    "vector": "3" * 64,
}
# Changing one of these alone makes no document at all; then something else is changed with it.
TOGETHER = {("roster", "version"): {"previous": HASH}, ("roster", "previous"): {"version": 2}}
ONE_FIELD = [
    (document, private, field)
    for document, private in DOCUMENT_AND_KEY
    for field in type(document).model_fields
    if (document.kind, field) != ("roster", "network")  # its members would belong to another one
]


@pytest.mark.parametrize(
    ("document", "private", "field"),
    ONE_FIELD,
    ids=lambda x: getattr(x, "kind", x) if not isinstance(x, Ed25519PrivateKey) else "",
)
def test_any_single_field_that_is_changed_breaks_signature_and_hash(document, private, field):
    value = "2+other" if (document.kind, field) == ("job", "version") else OTHER[field]
    other = changed(document, **{field: value}, **TOGETHER.get((document.kind, field), {}))
    assert other.digest() != document.digest()
    with pytest.raises(errors.BadSignature, match=document.kind):
        verify(replace(sign(document, private), document=other), type(document), {text(private)})


@given(st.data())
def test_no_other_parameters_have_the_same_signature(data):
    values = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
    params = data.draw(st.dictionaries(st.text(max_size=5), values | st.lists(values, max_size=3), max_size=4))
    other = changed(JOB, params=params)
    again = Signed.from_bytes(Job, sign(other, RESEARCHER).to_bytes())
    assert again.document.digest() == other.digest()
    assert (other.digest() == JOB.digest()) == (canonical_json(params) == canonical_json(JOB.params))


@every_document
def test_a_signature_for_one_kind_of_document_is_none_for_another(document, private):
    signed = sign(document, private)
    for kind in set(DOCUMENTS.values()) - {type(document)}:
        with pytest.raises(errors.Malformed):
            verify(signed, kind, {text(private)})
        with pytest.raises(errors.Malformed):
            Signed.from_bytes(kind, signed.to_bytes())


def test_two_kinds_with_the_same_content_have_different_signatures_and_hashes():
    class Pamphlet(Answer):
        kind = "pamphlet"

    class Later(Answer):
        format = 2

    for other in (Pamphlet, Later):
        twin = other(**ANSWER.model_dump())
        assert twin.digest() != ANSWER.digest()
        forged = replace(sign(ANSWER, RESEARCHER), document=twin)
        with pytest.raises(errors.BadSignature):
            verify(forged, other, {text(RESEARCHER)})
        with pytest.raises(errors.Malformed):
            verify(sign(twin, RESEARCHER), Answer, {text(RESEARCHER)})


def test_a_signature_counts_for_its_own_signer_only():
    signed = sign(JOB, RESEARCHER)
    with pytest.raises(errors.UnknownSigner):
        verify(signed, Job, {text(STRANGER)})
    with pytest.raises(errors.BadSignature):
        verify(replace(signed, signer=text(STRANGER)), Job, {text(STRANGER)})
    for signature in (b"", b"\0" * 64, signed.signature + b"\0"):
        with pytest.raises(errors.BadSignature):
            verify(replace(signed, signature=signature), Job, {text(RESEARCHER)})
    with pytest.raises(errors.BadSignature, match="cannot be checked"):
        verify(replace(signed, signer="nonsense"), Job, {"nonsense"})


def test_the_same_content_written_in_another_way_is_not_taken():
    content = sign(JOB, RESEARCHER).to_bytes()
    parts = json.loads(content)
    variants = [
        content + b" ",
        json.dumps(parts).encode(),
        json.dumps(dict(reversed(parts.items())), separators=(",", ":")).encode(),
        content.replace(b'"round', b'"r\\u006fund'),
        content.replace(b"0.95", b"0.950"),
        content.replace(b"0.95", b"NaN"),
        content.replace(b"0.95", b"1e999"),
        content.replace(b'{"analysis"', b'{"analysis":"x","analysis"', 1),
        content.replace(b"2026-04-30T12:00:00Z", b"2026-04-30T14:00:00+02:00"),
        canonical_json(parts | {"more": 1}),
        canonical_json(parts | {"document": parts["document"] | {"more": 1}}),
        canonical_json(parts | {"signer": [1]}),
        canonical_json(parts | {"signature": 7}),
        canonical_json(parts | {"document": None}),
        canonical_json([parts]),
        b"[" * 100_000,
        b"",
        b"\xff",
        b"7" * 10_000,
    ]
    assert content not in variants
    for variant in variants:
        with pytest.raises(errors.Malformed, match="job"):
            Signed.from_bytes(Job, variant)
    with pytest.raises(errors.Malformed, match="larger"):
        Signed.from_bytes(Job, b" " * 2**23)


def test_messages_hold_no_key_and_no_signature():
    with pytest.raises(errors.Untrusted) as caught:
        Chain(researcher=STRANGER).verify()
    shown = caught.value.message
    for private in (STRANGER, RESEARCHER):
        assert text(private) not in shown
        assert base64.b64encode(private.private_bytes_raw()).decode() not in shown


def test_documents_cannot_be_changed_and_know_no_other_fields():
    with pytest.raises(ValidationError):
        JOB.analysis = "cox"
    for document, _ in DOCUMENT_AND_KEY:
        with pytest.raises(ValidationError):
            changed(document, surprise=1)
    for field, value in (("version", True), ("version", "1"), ("version", 1.0)):
        with pytest.raises(ValidationError):
            changed(ROSTER, **{field: value})
    for field, value in (("nonce", "short"), ("roster", "A" * 64), ("cohorts", []), ("cohorts", ["b", "a"])):
        with pytest.raises(ValidationError):
            changed(JOB, **{field: value})


def test_the_signed_bytes_are_the_ones_that_were_fixed():
    """A document signed by one release must verify under the next; whoever changes a document raises its format."""
    fixed = Ed25519PrivateKey.from_private_bytes(bytes([7] * 32))
    signed = sign(Answer(job="0" * 64, round=1, question="1" * 64, cohort="north", vector="2" * 64), fixed)
    assert signed.document.digest() == "d0058dac137487c003415a2b2fa12b194499885e7fef28ea4f383efa7749b9cb"
    assert signed.signature.hex() == (
        "d9538abc75b3cd5da3faec498de920843bc7d9fcd2402c796eefdaf05e892323"
        "e965735a91d8533a26d7e7c781ee245672d8345a1f7793dea982aa58f87cdf07"
    )
