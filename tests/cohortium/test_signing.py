"""Signatures as an adversary meets them: whatever is changed, swapped, forged, late or early is turned away by name."""

import base64
import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from cohortium import errors
from cohortium.canonical import canonical_json
from cohortium.documents import DOCUMENTS, Answer, Document, Job, Member, Options, Permit, Roster
from cohortium.keys import new_keys, public_text
from cohortium.signing import (
    MAX_AGE,
    Mandate,
    Signed,
    check_variables,
    new_nonce,
    sign,
    verify,
    verify_answer,
    verify_mandate,
    verify_member,
    verify_roster,
)

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
HASH = "0" * 64


def key():
    return Ed25519PrivateKey.generate()


def text(private):
    return public_text(private.public_key())


AUTHORITY, COMMITTEE, RESEARCHER, STRANGER = (key() for _ in range(4))
NODES = {name: new_keys() for name in ("north", "south", "west")}

ROSTER = Roster(
    network="net",
    version=1,
    previous=None,
    valid_from=NOW - 100 * DAY,
    valid_until=NOW + 100 * DAY,
    members=tuple(
        Member(
            network="net",
            cohort=name,
            identity=public_text(k.identity.public_key()),
            masking=public_text(k.masking.public_key()),
        )
        for name, k in NODES.items()
    ),
    committees=(text(COMMITTEE),),
)
PERMIT = Permit(
    network="net",
    study="smoking",
    title="Smoking",
    purpose="To know",
    variables=("age", "bmi"),
    analyses=("describe", "glm"),
    cohorts=("north", "south", "west"),
    researchers=(text(RESEARCHER),),
    valid_from=NOW - 10 * DAY,
    valid_until=NOW + 10 * DAY,
)
JOB = Job(
    network="net",
    study="smoking",
    analysis="glm",
    version="1+abc",
    params={"formula": "bmi ~ age", "level": 0.95, "rounds": 25},
    cohorts=("north", "south", "west"),
    roster=ROSTER.digest(),
    permit=PERMIT.digest(),
    dictionary=HASH,
    nonce=new_nonce(),
    submitted=NOW - DAY,
)
ANSWER = Answer(job=JOB.digest(), round=2, question="1" * 64, cohort="north", vector="2" * 64)
MEMBER = ROSTER.members[0]
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


def changed(document: Document, **values) -> Document:
    """The document with other content, checked like a new one."""
    content = document.model_dump(mode="json") | values
    return type(document).model_validate_json(json.dumps(content, default=str))


@dataclass
class Chain:
    """A whole chain, to be spoilt in one place."""

    roster: Roster = ROSTER
    permit: Permit = PERMIT
    job: Job = JOB
    authority: Ed25519PrivateKey = AUTHORITY
    committee: Ed25519PrivateKey = COMMITTEE
    researcher: Ed25519PrivateKey = RESEARCHER

    def verify(self, now=NOW, **arguments) -> Mandate:
        return verify_mandate(
            sign(self.roster, self.authority),
            sign(self.permit, self.committee),
            sign(self.job, self.researcher),
            **{"authority": text(AUTHORITY), "network": "net", "now": now} | arguments,
        )

    def relinked(self, **values) -> "Chain":
        """With these documents, and the job made for them: an adversary who can sign gets the hashes right."""
        chain = replace(self, **values)
        chain.job = changed(chain.job, roster=chain.roster.digest(), permit=chain.permit.digest())
        return chain


def test_an_honest_chain_is_accepted():
    assert Chain().verify() == Mandate(ROSTER, PERMIT, JOB)


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
@settings(max_examples=50, deadline=None)
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


# The chain, broken at each of its links.

LATER = {"version": 2, "previous": ROSTER.digest()}


@pytest.mark.parametrize(
    ("chain", "error", "why"),
    [
        (Chain(authority=STRANGER), errors.UnknownSigner, "roster is signed by a key that may not"),
        (Chain(authority=COMMITTEE), errors.UnknownSigner, "roster"),
        (Chain(committee=STRANGER), errors.UnknownSigner, "permit is signed by a key that may not"),
        (Chain(committee=AUTHORITY), errors.UnknownSigner, "permit"),
        (Chain(committee=RESEARCHER), errors.UnknownSigner, "permit"),
        (Chain(committee=NODES["north"].identity), errors.UnknownSigner, "permit"),
        (Chain(researcher=STRANGER), errors.UnknownSigner, "job is signed by a key that may not"),
        (Chain(researcher=COMMITTEE), errors.UnknownSigner, "job"),
        (Chain(job=changed(JOB, roster=HASH)), errors.WrongReference, "another roster than version 1"),
        (Chain(job=changed(JOB, permit=HASH)), errors.WrongReference, "another permit"),
        (Chain(job=changed(JOB, network="net2")), errors.WrongNetwork, "job belongs to another network"),
        (Chain().relinked(permit=changed(PERMIT, network="net2")), errors.WrongNetwork, "permit belongs"),
        (Chain(job=changed(JOB, study="drinking")), errors.NotPermitted, "study `smoking`"),
        (Chain(job=changed(JOB, analysis="cox")), errors.NotPermitted, "analysis `cox`"),
        (Chain(job=changed(JOB, cohorts=["east", "north"])), errors.NotPermitted, "cohorts east"),
        (
            Chain().relinked(permit=changed(PERMIT, cohorts=["east", "north"]), job=changed(JOB, cohorts=["east"])),
            errors.NotPermitted,
            "Not in version 1 of the roster: east",
        ),
        (
            Chain().relinked(permit=changed(PERMIT, valid_from="2026-05-01T12:00:01Z")),
            errors.NotYetValid,
            "permit is valid from 2026-05-01 12:00",
        ),
        (
            Chain().relinked(permit=changed(PERMIT, valid_until="2026-05-01T12:00:00Z")),
            errors.Expired,
            "permit was valid until 2026-05-01 12:00",
        ),
        (
            Chain().relinked(permit=changed(PERMIT, valid_from="2026-05-01T00:00:00Z")),
            errors.NotYetValid,
            "before its permit",
        ),
        (Chain(job=changed(JOB, submitted="2026-05-01T12:06:00Z")), errors.NotYetValid, "clock is wrong"),
        (
            Chain().relinked(
                permit=changed(PERMIT, valid_from="2020-01-01T00:00:00Z"),
                job=changed(JOB, submitted=str(NOW - MAX_AGE - timedelta(seconds=1))),
            ),
            errors.Expired,
            "more than 30 days ago",
        ),
        (Chain().relinked(roster=changed(ROSTER, revoked=[PERMIT.digest()])), errors.Revoked, "this permit"),
        (Chain().relinked(roster=changed(ROSTER, revoked=[text(RESEARCHER)])), errors.Revoked, "signed this job"),
        (Chain().relinked(roster=changed(ROSTER, committees=[text(STRANGER)])), errors.UnknownSigner, "permit"),
    ],
)
def test_a_broken_chain_is_turned_away_by_name(chain, error, why):
    with pytest.raises(error, match=why) as caught:
        chain.verify()
    assert type(caught.value) is error
    again = errors.CohortiumError.from_problem(caught.value.problem())
    assert type(again) is error


@pytest.mark.parametrize(
    ("arguments", "error", "why"),
    [
        ({"network": "net2"}, errors.WrongNetwork, "another network than `net2`"),
        ({"authority": text(STRANGER)}, errors.UnknownSigner, "roster"),
        ({"now": NOW - 101 * DAY}, errors.NotYetValid, "roster is valid from"),
        ({"now": NOW + 100 * DAY}, errors.Expired, "roster was valid until"),
        ({"now": NOW + 10 * DAY}, errors.Expired, "permit was valid until"),
        ({"now": NOW - 2 * DAY}, errors.NotYetValid, "future"),
        ({"max_age": timedelta(hours=23)}, errors.Expired, "submitted more than"),
        ({"known": changed(ROSTER, **LATER)}, errors.Superseded, "version 2 has replaced it"),
        ({"known": changed(ROSTER, committees=[text(STRANGER)])}, errors.Superseded, "two rosters of version 1"),
    ],
)
def test_when_where_and_after_what_it_is_verified_matters(arguments, error, why):
    with pytest.raises(error, match=why):
        Chain().verify(**arguments)


def test_a_clock_without_time_zone_is_a_mistake():
    with pytest.raises(ValueError, match="time zone"):
        Chain().verify(now=datetime(2026, 5, 1, 12))
    with pytest.raises(ValidationError, match="timezone"):
        changed(JOB, submitted="2026-05-01T12:00:00")


def test_the_same_moment_in_another_zone_is_the_same_document():
    moved = Job(**JOB.model_dump() | {"submitted": JOB.submitted.astimezone(timezone(timedelta(hours=2)))})
    assert moved.digest() == JOB.digest()
    assert Chain().verify(now=NOW.astimezone(timezone(timedelta(hours=-5))))


def test_rosters_follow_one_another():
    def check(roster, known):
        return verify_roster(sign(roster, AUTHORITY), authority=text(AUTHORITY), network="net", now=NOW, known=known)

    second = changed(ROSTER, **LATER)
    assert check(ROSTER, ROSTER) == ROSTER
    assert check(second, ROSTER) == second
    assert check(changed(second, version=7), ROSTER).version == 7, "a version may have been missed"
    with pytest.raises(errors.WrongReference, match="does not follow"):
        check(changed(second, previous=HASH), ROSTER)


def test_a_new_roster_stops_the_open_jobs_of_a_withdrawn_key():
    second = changed(ROSTER, **LATER, revoked=[text(RESEARCHER)])
    with pytest.raises(errors.Revoked):
        Chain(roster=second).verify(known=ROSTER)
    with pytest.raises(errors.Superseded):
        Chain().verify(known=second)


def test_a_roster_that_contradicts_itself_is_none():
    other = new_keys()
    twins = [
        {"members": [m.model_dump() | {"identity": MEMBER.identity} for m in ROSTER.members]},
        {"members": [m.model_dump() | {"masking": MEMBER.masking} for m in ROSTER.members]},
        {"members": [MEMBER.model_dump(), MEMBER.model_dump() | {"identity": text(key())}]},
        {"members": [m.model_dump() for m in reversed(ROSTER.members)]},
        {"members": [MEMBER.model_dump() | {"network": "net2"}]},
        {"members": []},
        {"committees": [MEMBER.identity]},
        {"committees": sorted([text(key()), text(key())], reverse=True)},
        {"committees": [public_text(other.masking.public_key())]},
        {"version": 2},
        {"version": 0},
        {"previous": HASH},
        {"valid_from": "2027-01-01T00:00:00Z"},
    ]
    for twin in twins:
        with pytest.raises(ValidationError):
            changed(ROSTER, **twin)


def test_a_permit_for_everything_says_so():
    permit = changed(PERMIT, analyses="all", variables="all")
    assert Chain().relinked(permit=permit, job=changed(JOB, analysis="cox")).verify()
    check_variables(permit, {"anything"})
    check_variables(PERMIT, {"age"})
    with pytest.raises(errors.NotPermitted, match="variables income, zip"):
        check_variables(PERMIT, {"zip", "age", "income"})
    assert PERMIT.options == Options(release_per_cohort=False, cells="node"), "nothing beyond sums by default"


def test_a_member_proves_that_it_holds_its_key():
    assert verify_member(sign(MEMBER, NODES["north"].identity), "net") == MEMBER
    with pytest.raises(errors.UnknownSigner):
        verify_member(sign(MEMBER, NODES["south"].identity), "net")
    with pytest.raises(errors.WrongNetwork):
        verify_member(sign(MEMBER, NODES["north"].identity), "net2")


EXPECTED = {"cohort": "north", "job": ANSWER.job, "round_": 2, "question": ANSWER.question, "vector": ANSWER.vector}


@pytest.mark.parametrize(
    ("answer", "private", "expected", "error", "why"),
    [
        (ANSWER, NODES["south"].identity, {}, errors.UnknownSigner, "north: "),
        (ANSWER, STRANGER, {}, errors.UnknownSigner, "north: "),
        (changed(ANSWER, cohort="south"), NODES["north"].identity, {}, errors.WrongReference, "another cohort"),
        (ANSWER, NODES["north"].identity, {"cohort": "south"}, errors.UnknownSigner, "south: "),
        (ANSWER, NODES["north"].identity, {"cohort": "east"}, errors.UnknownSigner, "east: "),
        (ANSWER, NODES["north"].identity, {"round_": 3}, errors.WrongReference, "another round"),
        (ANSWER, NODES["north"].identity, {"job": HASH}, errors.WrongReference, "another job"),
        (ANSWER, NODES["north"].identity, {"question": HASH}, errors.WrongReference, "another question"),
        (ANSWER, NODES["north"].identity, {"vector": HASH}, errors.WrongReference, "another vector"),
    ],
)
def test_an_answer_is_that_of_its_cohort_to_this_question(answer, private, expected, error, why):
    assert verify_answer(sign(ANSWER, NODES["north"].identity), ROSTER, **EXPECTED) == ANSWER
    with pytest.raises(error, match=why) as caught:
        verify_answer(sign(answer, private), ROSTER, **EXPECTED | expected)
    assert caught.value.cohort == (EXPECTED | expected)["cohort"]


def test_a_replayed_job_is_told_by_its_hash():
    """Detecting it needs a memory, which the caller has; the hash is the same for a replay and for nothing else."""
    replayed = Signed.from_bytes(Job, sign(JOB, RESEARCHER).to_bytes()).document
    assert replayed.digest() == JOB.digest()
    assert changed(JOB, nonce=new_nonce()).digest() != JOB.digest()


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
