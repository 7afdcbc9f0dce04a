"""A node in a real network: it verifies what it is asked, answers each round once, masks and signs."""

import json
import threading
from dataclasses import replace
from datetime import timedelta
from types import MappingProxyType

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from trusted_net import COHORTS, Net, Total, asked, problem, totals, vector

from cohortium import analysis as contract
from cohortium.chain import Head, verify_head
from cohortium.documents import Answer
from cohortium.keys import public_text
from cohortium.messages import AnswerMessage, Greeting, Introduction, Position
from cohortium.secure_sum import add_masked
from cohortium.signing import Signed, new_nonce, sign, verify_answer
from node.disclosure import Policy


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    monkeypatch.setattr(contract, "_registered", {})
    known = MappingProxyType({"totals": contract.analysis(totals)})
    monkeypatch.setattr(contract, "registry", lambda: known)


@pytest.fixture
def net(tmp_path):
    return Net(tmp_path)


def test_the_masked_answers_add_up_and_are_signed(net):
    job = net.job()
    replies = {cohort: net.ask(cohort, net.question(job)) for cohort in COHORTS}
    vectors = {cohort: vector(reply) for cohort, reply in replies.items()}
    summed = add_masked(Total, vectors)
    assert summed.n == 60
    assert summed.total == pytest.approx(sum(x.sum() for x in net.data.values()), rel=1e-15)
    for cohort, reply in replies.items():
        message, _ = AnswerMessage.from_bytes(reply)
        verify_answer(
            Signed.from_bytes(Answer, message.signed.encode()),
            net.ceremony.roster.document,
            cohort=cohort,
            job=job.document.digest(),
            round_=1,
            question=asked(job).digest(),
            vector=vectors[cohort].digest(),
        )
    alone = vectors["north"].layout.arrays(vectors["north"].limbs[:, 0])
    assert int(alone["n"]) != 20, "one vector is not readable by itself"


def test_the_same_question_gets_the_same_bytes_after_a_restart_and_with_other_data(net):
    job = net.job()
    first = net.ask("north", net.question(job))
    net.data["north"] = net.data["north"] + 1
    net.nodes["north"] = net.node("north")
    assert net.ask("north", net.question(job)) == first


@pytest.mark.parametrize("scale", [2.0, np.nextafter(1.0, 2)])
def test_another_question_in_the_same_round_is_refused_and_journalled(net, scale):
    job = net.job()
    net.ask("north", net.question(job))
    refusal = problem(net.ask("north", net.question(job), scale=scale))
    assert refusal.kind == "AlreadyAnswered"
    assert net.events("north")[-1].details["kind"] == "AlreadyAnswered"
    assert not problem_kinds(net, "south")


def problem_kinds(net, cohort):
    return [e.details["kind"] for e in net.events(cohort) if e.event == "not answered"]


def test_threads_that_ask_different_questions_at_once_get_one_answer(net):
    job = net.job()
    replies = []
    threads = [
        threading.Thread(target=lambda s=s: replies.append(net.ask("north", net.question(job), scale=s)))
        for s in (1.0, 2.0, 3.0, 4.0)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    kinds = [AnswerMessage.from_bytes(r)[0].problem for r in replies]
    assert sorted(p.kind if p else "" for p in kinds) == ["", *["AlreadyAnswered"] * 3]


def test_another_choice_of_cohorts_for_the_same_job_is_refused(net):
    job = net.job()
    refusal = problem(net.ask("north", net.question(job, cohorts=("north", "south"))))
    assert (refusal.kind, refusal.message) == (
        "WrongReference",
        "The question has another cohorts than the job that the researcher signed.",
    )


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"params": {"variable": "y"}}, "parameters"),
        ({"analysis": "other"}, "analysis"),
        ({"dictionary": "0" * 64}, "dictionary"),
        ({"job": "0" * 64}, "job"),
    ],
)
def test_a_question_that_differs_from_the_signed_job_is_refused(net, changes, word):
    refusal = problem(net.ask("north", net.question(net.job(), **changes)))
    assert refusal.kind == "WrongReference"
    assert word in refusal.message


def test_no_papers_no_answer(net):
    refusal = problem(net.ask("north", net.question(net.job(), papers=None)))
    assert refusal.kind == "Untrusted"


def test_forged_papers_are_refused(net):
    stranger = Ed25519PrivateKey.generate()
    forged = sign(net.permit.document, stranger)
    assert problem(net.ask("north", net.question(net.job(), permit=forged))).kind == "UnknownSigner"
    unlisted = sign(net.job().document, stranger)
    assert problem(net.ask("north", net.question(unlisted))).kind == "UnknownSigner"
    altered = net.job()
    bent = replace(altered, document=altered.document.model_copy(update={"params": {"variable": "y"}}))
    assert problem(net.ask("north", net.question(bent))).kind == "BadSignature"
    swapped = net.ceremony.roster
    net.ceremony.roster = sign(swapped.document, stranger)
    assert problem(net.ask("north", net.question(net.job()))).kind == "UnknownSigner"
    assert problem_kinds(net, "north") == ["UnknownSigner", "UnknownSigner", "BadSignature", "UnknownSigner"]


def test_a_new_roster_ends_open_jobs_even_after_a_restart(net):
    before, job = net.ceremony.roster, net.job()
    net.ask("north", net.question(job))
    net.ceremony.renew(revoked=(public_text(net.ceremony.researcher.public_key()),))
    assert problem(net.ask("north", net.question(net.job()))).kind == "Revoked"
    net.ceremony.roster = before
    net.nodes["north"] = net.node("north")
    assert problem(net.ask("north", net.question(job))).kind == "Superseded"


def test_an_old_job_is_not_answered_again(net):
    job = net.job()
    net.ask("north", net.question(job))
    net.ceremony.roster = net.ceremony.renew(valid_until=net.now + timedelta(days=400))
    net.now += timedelta(days=31)
    permit = net.ceremony.permit("s", valid_until=net.now + timedelta(days=1))
    old = net.job(permit=permit, submitted=job.document.submitted)
    assert problem(net.ask("north", net.question(old, permit=permit))).kind == "Expired"


@pytest.mark.parametrize(
    ("permit", "kind"),
    [
        ({"variables": ("y",)}, "NotPermitted"),
        ({"analyses": ("glm",)}, "NotPermitted"),
        ({"cohorts": ("north", "south")}, "NotPermitted"),
    ],
)
def test_what_the_permit_does_not_cover_is_refused(net, permit, kind):
    narrow = net.ceremony.permit("s", **permit)
    assert problem(net.ask("north", net.question(net.job(permit=narrow), permit=narrow))).kind == kind


def test_a_statistic_cannot_read_what_the_permit_does_not_name(net):
    narrow = net.ceremony.permit("s", variables=("x",))
    job = net.job(permit=narrow)
    assert vector(net.ask("north", net.question(job, permit=narrow))) is not None
    refusal = problem(net.ask("south", net.question(job, permit=narrow), scale=7.0))
    assert refusal.kind == "InvalidQuestion"


def test_a_refusal_stands(net):
    net.nodes["north"].node.policy = Policy(min_people=100)
    job = net.job()
    first = net.ask("north", net.question(job))
    assert (net.events("north")[-1].event, net.events("north")[-1].details["rule"]) == ("refused", "min_people")
    net.nodes["north"].node.policy = Policy()
    assert net.ask("north", net.question(job)) == first
    assert problem(net.ask("north", net.question(job), scale=2.0)).kind == "AlreadyAnswered"


def test_two_cohorts_need_the_insecure_policy(tmp_path):
    net = Net(tmp_path)
    job = net.job(("north", "south"))
    refusal = problem(net.ask("north", net.question(job)))
    assert (refusal.kind, refusal.rule) == ("Refused", "insecure")
    (tmp_path / "more").mkdir()
    insecure = Net(tmp_path / "more", Policy(insecure="two nodes"))
    job = insecure.job(("north", "south"))
    vectors = {c: vector(insecure.ask(c, insecure.question(job))) for c in ("north", "south")}
    assert add_masked(Total, vectors).n == 40


def test_a_job_is_answered_for_so_many_rounds_only(tmp_path):
    net = Net(tmp_path, Policy(max_rounds=3))
    job = net.job()
    assert vector(net.ask("north", net.question(job, round=3)))
    refusal = problem(net.ask("north", net.question(job, round=4)))
    assert (refusal.kind, refusal.rule) == ("Refused", "max_rounds")


@pytest.mark.parametrize(
    ("policy", "permitted", "kind"), [(False, True, "Refused"), (True, False, "NotPermitted"), (True, True, None)]
)
def test_figures_per_cohort_need_permit_and_policy(tmp_path, policy, permitted, kind):
    net = Net(tmp_path, Policy(release_per_cohort=policy))
    permit = net.ceremony.permit("s", per_cohort=permitted)
    job = net.job(permit=permit)
    reply = net.ask("north", net.question(job, permit=permit, per_cohort=True))
    if kind:
        assert problem(reply).kind == kind
    else:
        assert add_masked(Total, {"north": vector(reply)}).n == 20
    single = net.job(("north",), permit=permit)
    reply = net.ask("north", net.question(single, permit=permit))
    assert (problem(reply).kind == kind) if kind else vector(reply)


def test_every_answer_is_in_the_journal_and_no_value_is(net):
    job = net.job()
    reply = net.ask("north", net.question(job))
    (_, entry) = net.events("north")
    assert (entry.event, entry.details["job"]) == ("answered", job.document.digest())
    assert entry.details["vector"] == vector(reply).digest()
    assert str(net.data["north"].sum())[:8] not in json.dumps(entry.details)


def test_a_greeting_brings_a_roster_and_is_answered_with_a_signed_head(net):
    renewed = net.ceremony.renew()
    nonce = new_nonce()
    greeting = Greeting(nonce=nonce, roster=renewed.to_bytes().decode(), head=Position(number=3, entry="a" * 64))
    told, _ = Introduction.from_bytes(net.nodes["north"].answer("introduction", greeting.to_bytes()))
    key = public_text(net.ceremony.nodes["north"].identity.public_key())
    position = verify_head(Signed.from_bytes(Head, told.head.encode()), key, owner="north", nonce=nonce)
    assert position == net.nodes["north"].memory.position()
    assert told.seen == Position(number=3, entry="a" * 64)
    shorter = Greeting(nonce=nonce, head=Position(number=2, entry="b" * 64), seen=Position(number=99, entry="c" * 64))
    net.nodes["north"].answer("introduction", shorter.to_bytes())
    events = [e.event for e in net.events("north")]
    assert "journal differs from what was witnessed" in events
    assert "the coordinator's audit was cut off" in events


def test_bytes_that_are_no_message_get_an_answer(net):
    assert problem(net.nodes["north"].answer("question", b"GET /")).kind == "MalformedMessage"
    assert Introduction.from_bytes(net.nodes["north"].answer("introduction", b"hello"))[0].head is None


def test_answers_of_jobs_that_are_over_are_dropped(net):
    net.ask("north", net.question(net.job()))
    memory = net.nodes["north"].memory
    assert memory.forget_what_is_over() == 0
    memory._clock = lambda: net.now + timedelta(days=40)
    assert memory.forget_what_is_over() == 1
