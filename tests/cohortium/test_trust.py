"""The pieces together, as node, coordinator and verifier use them: from keys to a sum that anyone can check."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cohortium.documents import Answer, Job, Member, Permit, Roster
from cohortium.errors import Untrusted
from cohortium.keys import new_keys, public_text
from cohortium.masks import Asked, agree
from cohortium.quantities import Array, Count, SumOver, Sums
from cohortium.secure_sum import Vector, add_masked, encode, mask
from cohortium.signing import Signed, new_nonce, sign, verify_answer, verify_mandate, verify_member

NOW = datetime(2026, 5, 1, tzinfo=UTC)
LONG = {"valid_from": NOW - timedelta(days=9), "valid_until": NOW + timedelta(days=9)}
COHORTS = ("north", "south", "west")


class Total(Sums):
    n: Count
    total: Annotated[Array, SumOver("n")]


def text(key):
    return public_text(key.public_key())


def test_from_keys_to_a_verified_sum():
    # Every cohort proves that it holds its keys; the authority lists them; a committee permits; a researcher asks.
    authority, committee, researcher = (Ed25519PrivateKey.generate() for _ in range(3))
    keys = {cohort: new_keys() for cohort in COHORTS}
    statements = [
        sign(Member(network="net", cohort=c, identity=text(k.identity), masking=text(k.masking)), k.identity)
        for c, k in keys.items()
    ]
    members = tuple(verify_member(statement, "net") for statement in statements)
    roster = Roster(network="net", version=1, previous=None, members=members, committees=(text(committee),), **LONG)
    permit = Permit(
        network="net",
        study="study",
        title="t",
        purpose="p",
        variables="all",
        analyses="all",
        cohorts=COHORTS,
        researchers=(text(researcher),),
        **LONG,
    )
    job = Job(
        network="net",
        study="study",
        analysis="a",
        version="1",
        params={"x": 0.5},
        cohorts=COHORTS,
        roster=roster.digest(),
        permit=permit.digest(),
        dictionary="0" * 64,
        nonce=new_nonce(),
        submitted=NOW,
    )
    relayed = [
        Signed.from_bytes(type(d), sign(d, k).to_bytes())
        for d, k in ((roster, authority), (permit, committee), (job, researcher))
    ]

    # Every node checks all of that by itself, computes, masks and signs.
    def answer(cohort, values):
        mandate = verify_mandate(*relayed, authority=text(authority), network="net", now=NOW)
        asked = asked_by(mandate.job)
        pairs = agree(cohort, keys[cohort].masking, mandate.roster.masking_keys(mandate.job.cohorts))
        vector = mask(encode(Total(n=len(values), total=np.array([np.sum(values)]))), asked, pairs)
        said = Answer(job=job.digest(), round=1, question=asked.digest(), cohort=cohort, vector=vector.digest())
        return vector, sign(said, keys[cohort].identity)

    def asked_by(job):
        return Asked(
            network=job.network,
            job=job.digest(),
            round=1,
            analysis=job.analysis,
            version=job.version,
            statistic="total",
            params=job.params,
            broadcast={"beta": np.array([1.0])},
            dictionary=job.dictionary,
            roster=job.roster,
            cohorts=job.cohorts,
        )

    people = {c: np.random.default_rng(i).normal(size=30) for i, c in enumerate(COHORTS)}
    answers = {cohort: answer(cohort, values) for cohort, values in people.items()}

    # Whoever holds the transcript re-adds it, and nobody can change a bit of it.
    def verified(answers):
        for cohort, (vector, signed) in answers.items():
            digests = {"question": asked_by(job).digest(), "vector": vector.digest()}
            verify_answer(signed, roster, cohort=cohort, job=job.digest(), round_=1, **digests)
        return add_masked(Total, {cohort: vector for cohort, (vector, _) in answers.items()})

    total = verified(answers)
    assert total.n == 90
    assert total.total == pytest.approx(sum(v.sum() for v in people.values()), rel=1e-15)
    vector, signed = answers["south"]
    altered = bytearray(vector.to_bytes())
    altered[3] ^= 1
    with pytest.raises(Untrusted, match="south: The answer was signed for another vector"):
        verified(answers | {"south": (Vector.from_bytes(vector.layout, bytes(altered)), signed)})
