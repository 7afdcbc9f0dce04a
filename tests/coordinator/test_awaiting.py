"""Jobs that wait for the operators of cohorts: set aside, noticed when decided, taken up by the next coordinator."""

import threading
import time

import pytest
from tally import FakeLink, node_of, signed_job

from cohortium.errors import Refused
from cohortium.messages import AnswerMessage, JobState, SignedText
from coordinator.approvals import Approvals
from node.disclosure import Policy

MANUAL = Policy.none().model_copy(update={"approval": "manual"})
VALUES = {"north": [1, 2], "south": [4, 5], "west": [6]}


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setitem(Approvals.__init__.__kwdefaults__, "pause", 0.02)


@pytest.fixture
def nodes():
    """All three cohorts, of which north and south approve by hand."""
    made = {name: node_of(name, values) for name, values in VALUES.items()}
    for name in ("north", "south"):
        made[name].node.policy = MANUAL
    return made


@pytest.fixture
def running(start_coordinator, nodes, wait_until):
    coordinator = start_coordinator(FakeLink(nodes))
    wait_until(lambda: all(view.variables for view in coordinator.catalogue.cohorts()))
    return coordinator


def submit(coordinator, **params):
    return coordinator.submit(SignedText(document=signed_job(params=params)), "researcher").id


def approve(nodes, *cohorts):
    for cohort in cohorts:
        approvals = nodes[cohort].approvals
        for request in approvals.all():
            if request.standing == "waiting":
                approvals.approve(request.job.digest(), "operator")


@pytest.fixture
def becomes(wait_until):
    def wait(coordinator, job_id, state, *waiting_for):
        def there():
            view = coordinator.jobs.look(job_id)
            waits = () if view.state.is_final else view.progress.waiting_for
            return view if (view.state, waits) == (state, waiting_for) else None

        return wait_until(there, 15)

    return wait


def test_a_job_says_whose_approval_it_waits_for_and_runs_when_all_gave_it(running, nodes, becomes):
    job_id = submit(running)
    becomes(running, job_id, JobState.awaiting_approval, "north", "south")
    assert running.store.job(job_id).progress.waiting_for == ("north", "south")
    approve(nodes, "south")
    becomes(running, job_id, JobState.awaiting_approval, "north")
    approve(nodes, "north")
    view = becomes(running, job_id, JobState.finished)
    assert view.progress.round == 3


def test_one_refusal_ends_the_job_with_the_reason(running, nodes, becomes):
    job_id = submit(running)
    becomes(running, job_id, JobState.awaiting_approval, "north", "south")
    approvals = nodes["south"].approvals
    approvals.refuse(approvals.all()[0].job.digest(), "operator", "Not this year.")
    view = becomes(running, job_id, JobState.refused)
    assert (view.problem.kind, view.problem.rule, view.problem.cohort) == ("Refused", "approval", "south")
    assert "Not this year." in view.problem.message


def test_waiting_holds_neither_a_place_nor_a_line_of_its_own(start_coordinator, nodes, wait_until, becomes):
    link = FakeLink(nodes)
    coordinator = start_coordinator(link, max_parallel_jobs=1)
    ids = [submit(coordinator) for _ in range(5)]
    for job_id in ids:
        becomes(coordinator, job_id, JobState.awaiting_approval, "north", "south")
    followers = [t.name for t in threading.enumerate() if t.name.startswith("approvals-")]
    assert sorted(followers) == ["approvals-north", "approvals-south"]
    asked = sum(kind == "question" for _, kind, _ in link.asked)
    approve(nodes, "north", "south")
    for job_id in ids:
        becomes(coordinator, job_id, JobState.finished)
    assert asked == 3 * len(ids), "while it waits, the question itself is not put again"
    wait_until(lambda: not [t for t in threading.enumerate() if t.name.startswith("approvals-")])


def test_however_long_it_waits_a_line_is_used_for_a_while_only(start_coordinator, nodes, monkeypatch, becomes):
    monkeypatch.setattr("coordinator.approvals.LOOKS", 3)
    link, opened = FakeLink(nodes), []
    usual = link.open
    monkeypatch.setattr(link, "open", lambda label: opened.append(label) or usual(label))
    coordinator = start_coordinator(link)
    job_id = submit(coordinator)
    becomes(coordinator, job_id, JobState.awaiting_approval, "north", "south")
    deadline = time.monotonic() + 15
    while opened.count("approvals of north") < 3:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    approve(nodes, "north", "south")
    becomes(coordinator, job_id, JobState.finished)


def test_a_job_that_waits_can_be_cancelled(running, nodes, becomes, wait_until):
    job_id = submit(running)
    becomes(running, job_id, JobState.awaiting_approval, "north", "south")
    running.link.leave("north")
    assert running.jobs.cancel(job_id, "researcher").state is JobState.cancelled
    wait_until(lambda: not [t for t in threading.enumerate() if t.name.startswith("approvals-")])
    approve(nodes, "south")
    assert running.jobs.look(job_id).state is JobState.cancelled


def test_the_next_coordinator_takes_up_what_waits(start_coordinator, nodes, database, running, becomes):
    job_id = submit(running)
    becomes(running, job_id, JobState.awaiting_approval, "north", "south")
    running.stop()
    approve(nodes, "south")
    second = start_coordinator(FakeLink(nodes))
    assert second.jobs.look(job_id).state is JobState.awaiting_approval
    becomes(second, job_id, JobState.awaiting_approval, "north")
    approve(nodes, "north")
    becomes(second, job_id, JobState.finished)


def test_a_node_that_is_away_is_asked_when_it_is_back(running, nodes, becomes):
    job_id = submit(running)
    becomes(running, job_id, JobState.awaiting_approval, "north", "south")
    running.link.leave("north")
    approve(nodes, "south", "north")
    becomes(running, job_id, JobState.awaiting_approval, "north")
    running.link.come_back("north")
    becomes(running, job_id, JobState.finished)


def test_a_new_roster_ends_a_job_that_waits(running, becomes):
    from tally import CEREMONY

    before = CEREMONY.roster
    job_id = submit(running)
    becomes(running, job_id, JobState.awaiting_approval, "north", "south")
    try:
        running.put_roster(CEREMONY.renew().to_bytes().decode(), "operator")
    finally:
        CEREMONY.roster = before
    view = becomes(running, job_id, JobState.failed)
    assert view.problem.kind == "Superseded"


def test_a_job_that_another_cohort_refuses_openly_waits_for_nobody(running, nodes, becomes):
    def no(kind, payload):
        refused = Refused("Never.", rule="release_per_cohort").problem()
        return AnswerMessage(problem=refused).to_bytes() if kind == "question" else answer(kind, payload)

    answer, nodes["west"].answer = nodes["west"].answer, no
    view = becomes(running, submit(running), JobState.refused)
    assert (view.problem.rule, view.problem.cohort) == ("release_per_cohort", "west")


def test_who_refuses_for_what_is_in_its_rows_is_not_told_before_all_have_answered(running, nodes, becomes):
    nodes["west"].node.policy = Policy()
    job_id = submit(running)
    becomes(running, job_id, JobState.awaiting_approval, "north", "south")
    approve(nodes, "north", "south")
    view = becomes(running, job_id, JobState.refused)
    assert (view.problem.rule, view.problem.cohort) == ("min_people", None)
