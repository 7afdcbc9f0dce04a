"""Approval by hand: a verified job waits for the operator, whose decision is an entry in the signed journal."""

import json
import sqlite3
from datetime import timedelta
from types import MappingProxyType

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from trusted_net import COHORTS, DICTIONARY, Net, Total, problem, totals, vector

from cohortium import analysis as contract
from cohortium.chain import next_entry
from cohortium.errors import BrokenChain, InvalidQuestion
from cohortium.messages import Undecided
from cohortium.secure_sum import add_masked
from cohortium.signing import sign
from node.approvals import Approvals, Standing
from node.disclosure import Policy
from node.journal import read
from node.memory import Memory
from node.request_console import describe, lines


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    monkeypatch.setattr(contract, "_registered", {})
    known = MappingProxyType({"totals": contract.analysis(totals)})
    monkeypatch.setattr(contract, "registry", lambda: known)


@pytest.fixture
def net(tmp_path):
    return Net(tmp_path, Policy(approval="manual"))


def operator(net, cohort="north"):
    """The operator's command line: another process with the same file and key."""
    memory = Memory(net.folder / f"{cohort}.db", cohort, net.ceremony.nodes[cohort].identity, clock=lambda: net.now)
    return Approvals(memory, clock=lambda: net.now)


def still_undecided(net, *jobs, cohort="north"):
    asked = Undecided(jobs=tuple(jobs)).to_bytes()
    return Undecided.from_bytes(net.nodes[cohort].answer("undecided", asked))[0].jobs


def waits(reply):
    return problem(reply).kind == "AwaitingApproval"


def test_a_verified_job_waits_and_is_answered_once_approved(net):
    job = net.job()
    name = job.document.digest()
    assert all(waits(net.ask(cohort, net.question(job))) for cohort in COHORTS)
    assert waits(net.ask("north", net.question(job))), "asking again changes nothing"
    assert still_undecided(net, name, "f" * 64) == (name,)
    for cohort in COHORTS:
        assert operator(net, cohort).approve(name[:8], "ada").standing is Standing.approved
    assert still_undecided(net, name) == ()
    assert add_masked(Total, {cohort: vector(net.ask(cohort, net.question(job))) for cohort in COHORTS}).n == 60
    assert [e.event for e in net.events("north")] == ["roster accepted", "approval asked", "approval given", "answered"]
    given = net.events("north")[2]
    assert (given.details["by"], given.details["job"]) == ("ada", name)


def test_the_other_rounds_of_an_approved_job_need_no_second_approval(net):
    job = net.job()
    net.ask("north", net.question(job))
    operator(net).approve(job.document.digest(), "ada")
    assert vector(net.ask("north", net.question(job)))
    assert vector(net.ask("north", net.question(job, round=2), scale=3.0))


def test_a_request_outlives_a_restart_and_so_does_the_decision(net):
    job = net.job()
    net.ask("north", net.question(job))
    net.nodes["north"] = net.node("north")
    assert waits(net.ask("north", net.question(job)))
    operator(net).approve(job.document.digest(), "ada")
    net.nodes["north"] = net.node("north")
    assert vector(net.ask("north", net.question(job)))


def test_a_refused_job_is_told_why_and_stays_refused(net):
    job = net.job()
    net.ask("north", net.question(job))
    operator(net).refuse(job.document.digest(), "ada", "Outside the aim of the study.")
    told = problem(net.ask("north", net.question(job)))
    assert (told.kind, told.rule) == ("Refused", "approval")
    assert "Outside the aim of the study." in told.message
    assert still_undecided(net, job.document.digest()) == ()
    with pytest.raises(InvalidQuestion, match="refused"):
        operator(net).approve(job.document.digest(), "ada")
    assert problem(net.ask("north", net.question(job))).rule == "approval"


def test_an_approval_can_be_taken_back_for_the_rounds_to_come(net):
    job = net.job()
    net.ask("north", net.question(job))
    operator(net).approve(job.document.digest(), "ada")
    first = net.ask("north", net.question(job))
    operator(net).refuse(job.document.digest(), "ada", "A mistake.")
    assert net.ask("north", net.question(job)) == first, "what was answered is answered"
    assert problem(net.ask("north", net.question(job, round=2), scale=2.0)).rule == "approval"


def test_the_same_question_submitted_again_needs_a_new_approval(net):
    first, second = net.job(), net.job()
    for job in (first, second):
        net.ask("north", net.question(job))
    operator(net).approve(first.document.digest(), "ada")
    assert vector(net.ask("north", net.question(first)))
    assert waits(net.ask("north", net.question(second)))


def test_a_new_roster_ends_what_waits(net):
    job = net.job()
    net.ask("north", net.question(job))
    net.ceremony.renew()
    net.now += timedelta(minutes=1)
    net.ask("north", net.question(net.job()))
    assert [r.standing for r in operator(net).all()] == [Standing.over, Standing.waiting]
    with pytest.raises(InvalidQuestion, match="over"):
        operator(net).approve(job.document.digest(), "ada")


def test_a_job_that_grew_too_old_waits_no_longer(net):
    job = net.job()
    net.ask("north", net.question(job))
    net.now += timedelta(days=31)
    assert still_undecided(net, job.document.digest()) == (), "so it is asked again, and ends as expired"
    assert operator(net).all()[0].standing is Standing.over


@pytest.mark.parametrize("fault", ["unsigned", "stranger", "variables", "per_cohort", "other_cohorts"])
def test_what_would_be_refused_anyway_is_no_request(net, fault):
    permit = net.ceremony.permit("s", variables=("y",)) if fault == "variables" else net.permit
    job, changes = net.job(permit=permit), {}
    match fault:
        case "unsigned":
            changes["papers"] = None
        case "stranger":
            job = sign(job.document, Ed25519PrivateKey.generate())
        case "per_cohort":
            changes["per_cohort"] = True
        case "other_cohorts":
            changes["cohorts"] = ("north", "south")
    assert not waits(net.ask("north", net.question(job, permit=permit, **changes)))
    assert operator(net).all() == []


def test_what_the_operator_was_shown_is_what_leaves(net):
    job = net.job()
    net.ask("north", net.question(job), scale=1.0)
    operator(net).approve(job.document.digest(), "ada")
    told = problem(net.ask("north", net.question(job), scale=1e6))
    assert told.kind == "WrongReference"
    assert operator(net).find(job.document.digest()).broadcast["scale"] == 1.0


def test_the_rules_come_on_top_of_an_approval(net):
    job = net.job()
    net.nodes["north"].node.policy = Policy(approval="manual", min_people=1000)
    net.ask("north", net.question(job))
    operator(net).approve(job.document.digest(), "ada")
    net.ask("north", net.question(job))
    assert (net.events("north")[-1].event, net.events("north")[-1].details["rule"]) == ("refused", "min_people")


def test_a_node_that_was_restarted_with_another_policy_does_as_that_says(net):
    job = net.job()
    net.ask("north", net.question(job))
    net.policy = Policy()
    net.nodes["north"] = net.node("north")
    assert still_undecided(net, job.document.digest()) == ()
    assert vector(net.ask("north", net.question(job)))


class TestTampering:
    """The memory's file, changed by somebody who does not have the node's key."""

    def forge(self, net, job, entry):
        with sqlite3.connect(net.folder / "north.db") as db:
            number = db.execute("SELECT max(number) FROM journal").fetchone()[0] + 1
            db.execute("INSERT INTO journal VALUES (?, ?, ?)", (number, entry.document.digest(), entry.to_bytes()))
            db.execute("UPDATE requests SET decision = ? WHERE job = ?", (number, job))

    def test_a_decision_that_another_key_signed_counts_for_nothing(self, net):
        job = net.job()
        net.ask("north", net.question(job))
        name = job.document.digest()
        position = net.nodes["north"].memory.position()
        stranger = Ed25519PrivateKey.generate()
        entry = next_entry(
            position, stranger, owner="north", at=net.now, event="approval given", details={"job": name, "by": "eve"}
        )
        self.forge(net, name, entry)
        assert waits(net.ask("north", net.question(job)))
        key = net.ceremony.nodes["north"].identity.public_key()
        with pytest.raises(BrokenChain):
            read(net.folder / "north.db", key, "north", verify=True)

    def test_the_approval_of_another_job_counts_for_nothing(self, net):
        first, second = net.job(), net.job()
        for job in (first, second):
            net.ask("north", net.question(job))
        operator(net).approve(first.document.digest(), "ada")
        with sqlite3.connect(net.folder / "north.db") as db:
            db.execute("UPDATE requests SET decision = (SELECT max(decision) FROM requests)")
        assert waits(net.ask("north", net.question(second)))
        key = net.ceremony.nodes["north"].identity.public_key()
        with pytest.raises(BrokenChain, match="decision"):
            read(net.folder / "north.db", key, "north", verify=True)


def test_an_operator_names_one_job(net):
    job = net.job()
    net.ask("north", net.question(job))
    approvals = operator(net)
    for name in ("", "abc", "0" * 64):
        with pytest.raises(InvalidQuestion):
            approvals.approve(name, "ada")
    for reason in ("", "  ", "x" * 501):
        with pytest.raises(InvalidQuestion, match="reason"):
            approvals.refuse(job.document.digest(), "ada", reason)
    assert approvals.all()[0].standing is Standing.waiting


def test_a_request_says_who_asks_what_for_which_study(net):
    permit = net.ceremony.permit("s", purpose="To learn \x1b[2J about totals.")
    job = net.job(permit=permit)
    net.ask("north", net.question(job, permit=permit))
    described = describe(operator(net).all()[0], DICTIONARY)
    assert described["researcher"] == job.signer
    assert (described["study"], described["analysis"], described["variables"]) == ("s", "totals", ["x"])
    assert described["cohorts"] == ["north", "south", "west"]
    assert json.loads(json.dumps(described)) == described
    text = "\n".join(lines(described))
    assert job.document.digest()[:16] in text
    assert '"x"' in text
    assert "\x1b" not in text, "other people's words do not steer the terminal"
    other = DICTIONARY.model_validate(DICTIONARY.model_dump() | {"version": "2"})
    assert describe(operator(net).all()[0], other)["variables"] == []
