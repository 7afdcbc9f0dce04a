"""Signatures over documents, and whether a question can be relied on: authority -> roster -> permit -> job -> answer.

Pure functions: what the time is, which roster was seen last and which key the network's authority has are arguments.
Each raises one named error per way to fail (`Untrusted` in `errors`) and otherwise returns the document.

What stays with the caller, as it needs a memory: refusing a job whose `nonce` (rather, whose hash) it has seen before,
for as long as `max_age`; keeping the newest roster it has seen; answering each round of a job once.
"""

from __future__ import annotations

import base64
import binascii
import json
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Generic, TypeVar

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import ValidationError

from cohortium.canonical import canonical_json, framed
from cohortium.documents import Answer, Document, Job, Member, Permit, Roster, Timed, moment
from cohortium.errors import (
    BadSignature,
    Expired,
    InvalidKey,
    Malformed,
    NotPermitted,
    NotYetValid,
    Revoked,
    Superseded,
    UnknownSigner,
    WrongNetwork,
    WrongReference,
)
from cohortium.keys import public_text, signing_key

D = TypeVar("D", bound=Document)

MAX_DOCUMENT_BYTES: Final = 2**22
CLOCK_SKEW: Final = timedelta(minutes=5)
"""How far a researcher's clock may be ahead of a node's."""
MAX_AGE: Final = timedelta(days=30)
"""How long a job may wait for approval and run; nodes must remember the jobs of that long."""

_PURPOSE = b"cohortium signature 1"


@dataclass(frozen=True)
class Signed(Generic[D]):
    """A document with a signature, and who is said to have made it. Holding one proves nothing: see `verify`."""

    document: D
    signer: str
    signature: bytes

    def to_bytes(self) -> bytes:
        """As it travels and is kept: canonical JSON."""
        return canonical_json(
            {
                "kind": self.document.kind,
                "format": self.document.format,
                "document": self.document.model_dump(mode="json"),
                "signer": self.signer,
                "signature": base64.b64encode(self.signature).decode(),
            }
        )

    @classmethod
    def from_bytes(cls, kind: type[D], content: bytes) -> Signed[D]:
        """What `to_bytes` wrote, and nothing else: the same content written in any other way is not taken.

        Raises Malformed. Nothing is verified.
        """
        if len(content) > MAX_DOCUMENT_BYTES:
            raise Malformed(f"The {kind.kind} is larger than any can be.")
        try:
            parts = json.loads(content)
            document = kind.model_validate_json(json.dumps(parts["document"]))
            read = Signed(document, str(parts["signer"]), base64.b64decode(parts["signature"], validate=True))
            same = read.to_bytes() == content
        except (ValidationError, ValueError, KeyError, TypeError, RecursionError, binascii.Error):
            raise Malformed(f"This is not a {kind.kind} in its one canonical form.") from None
        if not same:
            raise Malformed(f"This is not a {kind.kind} in its one canonical form.")
        return read


def sign(document: D, key: Ed25519PrivateKey) -> Signed[D]:
    """The document, signed."""
    signer = public_text(key.public_key())
    return Signed(document, signer, key.sign(_signed_bytes(document, signer)))


def verify(signed: Signed[D], kind: type[D], signers: Collection[str]) -> D:
    """The document, if it is a `kind` and one of `signers` (public keys) signed it.

    Raises Malformed, UnknownSigner or BadSignature.
    """
    document = signed.document
    if type(document) is not kind:
        raise Malformed(f"This is not a {kind.kind}.")
    if signed.signer not in signers:
        raise UnknownSigner(f"The {kind.kind} is signed by a key that may not sign it.")
    try:
        signing_key(signed.signer).verify(signed.signature, _signed_bytes(document, signed.signer))
    except InvalidSignature:
        raise BadSignature(f"The signature does not belong to this {kind.kind}: it was changed, or forged.") from None
    except (InvalidKey, ValueError):
        raise BadSignature(f"The signature of this {kind.kind} cannot be checked.") from None
    return document


def _signed_bytes(document: Document, signer: str) -> bytes:
    return framed(_PURPOSE, signer.encode(), document.canonical())


def new_nonce() -> str:
    """A fresh nonce for a job."""
    return secrets.token_hex(16)


def verify_member(signed: Signed[Member], network: str) -> Member:
    """A cohort's keys, whose owner holds the identity key. That this is the cohort, people must check."""
    member = verify(signed, Member, {signed.document.identity})
    _same_network(member, network)
    return member


def verify_roster(
    signed: Signed[Roster], *, authority: str, network: str, now: datetime, known: Roster | None = None
) -> Roster:
    """The roster, if the authority signed it, it is valid now and not older than `known`, the newest seen so far.

    A version may be skipped; one that follows `known` directly must name it. Raises any Untrusted error.
    """
    roster = verify(signed, Roster, {authority})
    _same_network(roster, network)
    if known is not None:
        _check_succession(roster, known)
    _check_time(roster, now)
    return roster


def _check_succession(roster: Roster, known: Roster) -> None:
    same = roster.digest() == known.digest()
    if roster.version < known.version:
        raise Superseded(f"This is version {roster.version} of the roster; version {known.version} has replaced it.")
    if roster.version == known.version and not same:
        raise Superseded(f"There are two rosters of version {roster.version}: the network's authority must explain.")
    if roster.version == known.version + 1 and roster.previous != known.digest():
        raise WrongReference(f"Version {roster.version} of the roster does not follow the version before it.")


def verify_permit(signed: Signed[Permit], roster: Roster, *, now: datetime) -> Permit:
    """The permit, if a committee of the (verified) roster signed it, it is valid now and was not revoked."""
    permit = verify(signed, Permit, roster.committees)
    _same_network(permit, roster.network)
    if permit.digest() in roster.revoked:
        raise Revoked("The roster withdrew this permit.")
    _check_time(permit, now)
    return permit


def verify_job(
    signed: Signed[Job], permit: Permit, roster: Roster, *, now: datetime, max_age: timedelta = MAX_AGE
) -> Job:
    """The job, if the (verified) permit and roster cover it: who asks, what, of whom, when.

    Which variables the job uses only its bound parameters tell: see `check_variables`. Raises any Untrusted error.
    """
    job = verify(signed, Job, permit.researchers)
    if signed.signer in roster.revoked:
        raise Revoked("The roster withdrew the key that signed this job.")
    _same_network(job, roster.network)
    _check_references(job, permit, roster)
    _check_freshness(job, permit, now, max_age)
    _check_scope(job, permit, roster)
    return job


def _check_references(job: Job, permit: Permit, roster: Roster) -> None:
    if job.roster != roster.digest():
        raise WrongReference(f"The job was made under another roster than version {roster.version}: submit it again.")
    if job.permit != permit.digest():
        raise WrongReference("The job was made under another permit than this one.")


def _check_freshness(job: Job, permit: Permit, now: datetime, max_age: timedelta) -> None:
    age = moment(now) - job.submitted
    if age < -CLOCK_SKEW:
        raise NotYetValid("The job was submitted in the future: a clock is wrong.")
    if age > max_age:
        raise Expired(f"The job was submitted more than {max_age.days} days ago: submit it again.")
    if job.submitted < permit.valid_from - CLOCK_SKEW:
        raise NotYetValid("The job was submitted before its permit was valid.")


def _check_scope(job: Job, permit: Permit, roster: Roster) -> None:
    if job.study != permit.study:
        raise NotPermitted(f"The permit is for study `{permit.study}`, the job for `{job.study}`.")
    if permit.analyses != "all" and job.analysis not in permit.analyses:
        raise NotPermitted(f"The permit does not name the analysis `{job.analysis}`.")
    beyond = sorted(set(job.cohorts) - set(permit.cohorts))
    if beyond:
        raise NotPermitted(f"The permit does not name the cohorts {', '.join(beyond)}.")
    absent = [cohort for cohort in job.cohorts if roster.member(cohort) is None]
    if absent:
        raise NotPermitted(f"Not in version {roster.version} of the roster: {', '.join(absent)}.")


@dataclass(frozen=True)
class Mandate:
    """What a node acts on, verified from the network's authority down."""

    roster: Roster
    permit: Permit
    job: Job
    researcher: str
    """The public key that signed the job."""


def verify_mandate(
    roster: Signed[Roster],
    permit: Signed[Permit],
    job: Signed[Job],
    *,
    authority: str,
    network: str,
    now: datetime,
    known: Roster | None = None,
    max_age: timedelta = MAX_AGE,
) -> Mandate:
    """The whole chain. `authority` (public key) and `network` are what this node's operator pinned.

    Call it for every round, with the newest roster: so time, or a new roster, stops the open jobs of what ended.
    Raises any Untrusted error.
    """
    members = verify_roster(roster, authority=authority, network=network, now=now, known=known)
    granted = verify_permit(permit, members, now=now)
    asked = verify_job(job, granted, members, now=now, max_age=max_age)
    return Mandate(members, granted, asked, job.signer)


def check_variables(permit: Permit, used: Collection[str]) -> None:
    """Whether the permit names every variable that a job's bound parameters use. Raises NotPermitted."""
    beyond = [] if permit.variables == "all" else sorted(set(used) - set(permit.variables))
    if beyond:
        raise NotPermitted(f"The permit does not name the variables {', '.join(beyond)}.")


def verify_answer(
    signed: Signed[Answer], roster: Roster, *, cohort: str, job: str, round_: int, question: str, vector: str
) -> Answer:
    """The answer, if the node of `cohort` signed it for this job, round, question and vector (hashes).

    Raises any Untrusted error, naming the cohort.
    """
    try:
        return _verify_answer(
            signed, roster, Answer(job=job, round=round_, question=question, cohort=cohort, vector=vector)
        )
    except (Malformed, UnknownSigner, BadSignature, WrongReference) as error:
        raise type(error)(f"{cohort}: {error.message}", cohort=cohort) from None


def _verify_answer(signed: Signed[Answer], roster: Roster, expected: Answer) -> Answer:
    member = roster.member(expected.cohort)
    answer = verify(signed, Answer, set() if member is None else {member.identity})
    differs = [name for name in Answer.model_fields if getattr(answer, name) != getattr(expected, name)]
    if differs:
        raise WrongReference(f"The answer was signed for another {', '.join(differs)}.")
    return answer


def _same_network(document: Member | Roster | Permit | Job, network: str) -> None:
    if document.network != network:
        raise WrongNetwork(f"The {document.kind} belongs to another network than `{network}`.")


def _check_time(document: Timed, now: datetime) -> None:
    if moment(now) < document.valid_from:
        raise NotYetValid(f"The {document.kind} is valid from {document.valid_from:%Y-%m-%d %H:%M} UTC only.")
    if moment(now) >= document.valid_until:
        raise Expired(f"The {document.kind} was valid until {document.valid_until:%Y-%m-%d %H:%M} UTC.")
