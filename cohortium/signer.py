"""How a researcher's question becomes a signed job, under a roster and a permit that are verified before."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cohortium.documents import Job, Permit, Roster
from cohortium.errors import CohortiumError, InvalidKey, InvalidQuestion, NotPermitted, UnknownName, Untrusted
from cohortium.keys import read_signing_key
from cohortium.messages import JobRequest, NetworkView
from cohortium.settings import Connection
from cohortium.signing import Signed, new_nonce, sign, verify_job, verify_permit, verify_roster

PASSPHRASE_FROM = "COHORTIUM_PASSPHRASE"  # noqa: S105 - where it is, not what it is
"""Environment variable with the passphrase of the researcher's key, if it has one."""


@dataclass(frozen=True)
class Signer:
    """A researcher's key, and the public key of the network's authority that they rely on."""

    key: Ed25519PrivateKey
    authority: str

    @classmethod
    def of(cls, connection: Connection) -> Signer:
        """The key and the authority of a connection. Raises InvalidKey that says what is missing."""
        if not connection.key:
            raise InvalidKey(
                "Jobs are signed: give the file of your key as connect(key=…), COHORTIUM_KEY or `login --key`."
                " `cohortium keys new` makes one; the data access committee puts its public half in your permit."
            )
        if not connection.authority:
            raise InvalidKey(
                "Which authority signs this network's roster? Give its public key as connect(authority=…), "
                "COHORTIUM_AUTHORITY or `cohortium login --authority`; ask a person you know for it."
            )
        key = read_signing_key(Path(connection.key).expanduser(), os.environ.get(PASSPHRASE_FROM))
        return cls(key, connection.authority)

    def sign(self, request: JobRequest, network: NetworkView, roster: str, permits: Sequence[str]) -> Signed[Job]:
        """The signed job that asks `request`, under the first of `permits` (signed texts) that covers it.

        Without `cohorts` it goes to every cohort that roster and permit have in common. Raises NotPermitted without a
        permit that covers it, and any other Untrusted error if the roster cannot be relied on.
        """
        now = datetime.now(UTC)
        signed = Signed.from_bytes(Roster, roster.encode())
        members = verify_roster(signed, authority=self.authority, network=network.name, now=now)
        why: CohortiumError = NotPermitted(f"There is no permit for study `{request.study}` in this network.")
        for text in permits:
            try:
                permit = verify_permit(Signed.from_bytes(Permit, text.encode()), members, now=now)
                job = sign(_job(request, network, members, permit, now), self.key)
                verify_job(job, permit, members, now=now)
            except Untrusted as error:
                why = error
            else:
                return job
        raise why


def _job(request: JobRequest, network: NetworkView, roster: Roster, permit: Permit, now: datetime) -> Job:
    in_common = {member.cohort for member in roster.members} & set(permit.cohorts)
    cohorts = in_common if request.cohorts is None else set(request.cohorts)
    for name in cohorts:
        if roster.member(name) is None:
            raise UnknownName.of("cohort", name, [member.cohort for member in roster.members])
    if not cohorts:
        raise InvalidQuestion("Ask at least one cohort.")
    return Job(
        network=network.name,
        study=request.study,
        analysis=request.analysis,
        version=network.code,
        params=request.params,
        cohorts=tuple(sorted(cohorts)),
        roster=roster.digest(),
        permit=permit.digest(),
        dictionary=network.dictionary_digest,
        nonce=new_nonce(),
        submitted=now,
    )
