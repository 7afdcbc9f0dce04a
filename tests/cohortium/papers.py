"""A small network's documents, honest, for tests that spoil them."""

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cohortium.documents import Answer, Document, Job, Member, Permit, Roster
from cohortium.keys import new_keys, public_text
from cohortium.signing import Mandate, new_nonce, sign, verify_mandate

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
