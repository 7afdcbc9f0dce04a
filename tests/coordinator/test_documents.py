"""Roster, permits, signed jobs and the audit at the coordinator, which relays them and is not relied on."""

from copy import copy

import pytest
from tally import CEREMONY, DICTIONARY, PERMITS, FakeLink, node_of, signed_job

from cohortium.errors import BrokenChain, InvalidQuestion, NotPermitted, Superseded, Untrusted
from cohortium.keys import public_text
from cohortium.messages import JobState, SignedText
from cohortium.proof import unpack
from cohortium.verification import verify
from coordinator.schema import audit
from coordinator.store import Store
from simulation.ceremony import Ceremony


def text(signed):
    return signed.to_bytes().decode()


@pytest.fixture
def done(wait_until):
    def done(coordinator, job_id):
        return wait_until(lambda: (v := coordinator.jobs.look(job_id)).state.is_final and v)

    return done


def test_documents_of_strangers_are_not_taken(coordinator):
    stranger = Ceremony("test", ("north", "south", "west"))
    with pytest.raises(Untrusted):
        coordinator.put_roster(text(stranger.roster), "olga")
    with pytest.raises(Untrusted):
        coordinator.add_permit(text(stranger.permit("study")), "olga")
    with pytest.raises(Untrusted):
        coordinator.put_roster("{}", "olga")
    theirs = stranger.job(PERMITS["study"], "tally", {}, DICTIONARY.digest)
    with pytest.raises(Untrusted):
        coordinator.submit(SignedText(document=text(theirs)), "ada")
    assert coordinator.store.jobs() == []


def test_a_job_under_an_unknown_permit_is_not_taken(coordinator):
    unknown = CEREMONY.permit("another")
    job = CEREMONY.job(unknown, "tally", {}, DICTIONARY.digest)
    with pytest.raises(NotPermitted, match="does not have the permit"):
        coordinator.submit(SignedText(document=text(job)), "ada")


@pytest.mark.parametrize(("changes", "words"), [({"version": "0+a"}, "version of the code")])
def test_a_job_for_other_code_is_not_taken(coordinator, changes, words):
    with pytest.raises(InvalidQuestion, match=words):
        coordinator.submit(SignedText(document=signed_job(**changes)), "ada")


def test_variables_beyond_the_permit_are_named(coordinator):
    narrow = CEREMONY.permit("study", variables=("y",))
    coordinator.add_permit(text(narrow), "olga")
    job = CEREMONY.job(narrow, "tally", {}, DICTIONARY.digest)
    with pytest.raises(NotPermitted, match="variables x"):
        coordinator.submit(SignedText(document=text(job)), "ada")


def test_a_result_is_proven_and_a_permit_that_covers_less_is_noticed(coordinator, done):
    job_id = coordinator.submit(SignedText(document=signed_job()), "ada").id
    view = done(coordinator, job_id)
    assert view.state is JobState.finished
    from tally import TallyResult

    result = TallyResult.model_validate_json(coordinator.result(view))
    proof = unpack(coordinator.proof(view))
    found = verify(result, proof, CEREMONY.authority_key)
    assert (found.rounds, found.identical, found.same_code) == (3, True, True)


def test_two_cohorts_are_said_to_be_insecure(coordinator, done):
    view = done(coordinator, coordinator.submit(SignedText(document=signed_job(cohorts=("north", "west"))), "ada").id)
    assert "Insecure: a sum over fewer than 3 cohorts" in coordinator.result(view)


def test_a_node_that_is_not_in_the_roster_or_lacks_its_key_has_a_problem(start_coordinator, wait_until):
    link = FakeLink({name: node_of(name, [1]) for name in ("north", "south", "west")})
    honest = link.nodes["west"]
    link.nodes["west"] = node_of("west", [1])
    link.nodes["west"].trust = type(honest.trust)("test", CEREMONY.authority_key, CEREMONY.nodes["north"])
    coordinator = start_coordinator(link)

    def introduced():
        views = coordinator.catalogue.cohorts()
        return views if all(c.variables or c.problem for c in views) else None

    views = wait_until(introduced)
    assert [view.problem for view in views[:2]] == [None, None]
    assert "did not prove" in views[2].problem


def test_a_new_roster_ends_the_jobs_under_the_one_before(start_coordinator, wait_until, done, monkeypatch):
    ceremony = copy(CEREMONY)  # whose next roster is not that of other tests
    monkeypatch.setattr("tally.CEREMONY", ceremony)
    coordinator = start_coordinator()
    coordinator.link.leave("south")
    job_id = coordinator.submit(SignedText(document=signed_job()), "researcher").id
    wait_until(lambda: coordinator.jobs.look(job_id).progress.waiting_for)
    with pytest.raises(Superseded):
        coordinator.put_roster(text(ceremony._roster(1, None, revoked=("x",))), "olga")
    coordinator.put_roster(text(ceremony.renew()), "olga")
    view = done(coordinator, job_id)
    assert (view.state, view.problem.kind) == (JobState.failed, "Superseded")
    wait_until(lambda: coordinator.link.nodes["north"]._known.version == 2)


def test_the_audit_tells_what_happened_and_notices_a_change(coordinator, database, done):
    done(coordinator, coordinator.submit(SignedText(document=signed_job()), "ada").id)
    events = [entry.event for entry in coordinator.audit.verify()]
    assert {"roster taken", "permit taken", "started", "journal seen", "job submitted", "job ended"} <= set(events)
    assert coordinator.audit.key == public_text(coordinator.audit._key.public_key())
    store = Store(database)
    store.change(audit.delete().where(audit.c.number == 2))
    store.close()
    with pytest.raises(BrokenChain, match="Entry 2"):
        coordinator.audit.verify()


def test_an_audit_that_was_cut_off_is_noticed_by_the_nodes(coordinator, database, wait_until):
    north = coordinator.link.nodes["north"]
    seen = wait_until(lambda: north.memory.witnessed("coordinator").number and north.memory.witnessed("coordinator"))
    store = Store(database)
    store.change(audit.delete().where(audit.c.number >= seen.number - 1))
    store.close()
    coordinator.catalogue.greet_again()
    coordinator.link.come_back("north")
    entries = lambda: b"".join(north.memory.journal())  # noqa: E731
    wait_until(lambda: b"the coordinator's audit was cut off" in entries())
