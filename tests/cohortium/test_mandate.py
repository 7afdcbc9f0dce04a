"""The chain from authority to answer, broken at each of its links: forged, swapped, withdrawn, late or early."""

from datetime import datetime, timedelta, timezone

import pytest
from papers import (
    ANSWER,
    AUTHORITY,
    COMMITTEE,
    DAY,
    HASH,
    JOB,
    MEMBER,
    NODES,
    NOW,
    PERMIT,
    RESEARCHER,
    ROSTER,
    STRANGER,
    Chain,
    changed,
    key,
    text,
)
from pydantic import ValidationError

from cohortium import errors
from cohortium.documents import Job, Options
from cohortium.keys import new_keys, public_text
from cohortium.signing import (
    MAX_AGE,
    Mandate,
    Signed,
    check_variables,
    new_nonce,
    sign,
    verify_answer,
    verify_member,
    verify_roster,
)


def test_an_honest_chain_is_accepted():
    assert Chain().verify() == Mandate(ROSTER, PERMIT, JOB, text(RESEARCHER))


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
