"""The life of a job, and that no job is ever lost."""

import shutil
import sqlite3
import time

import pytest
from sqlalchemy.exc import OperationalError
from structlog.testing import capture_logs
from tally import DICTIONARY, SECRET, FakeLink, node_of, signed_job

from cohortium.dictionary import Dictionary
from cohortium.errors import InvalidQuestion, NotPermitted, Refused, UnknownName
from cohortium.messages import JobState, SignedText
from coordinator.store import Store

EXPECTED = [21.0, 21.0 + 6 * 21, 21.0 + 6 * 147]  # 1+2+3+4+5+6, then moved by what came out for each of six people


def submit(coordinator, cohorts=None, **params):
    text = signed_job(params=params, cohorts=cohorts)
    return coordinator.submit(SignedText(document=text), "researcher").id


@pytest.fixture
def ended(wait_until):
    def wait(coordinator, job_id):
        def final():
            view = coordinator.jobs.look(job_id)
            return view if view.state.is_final else None

        return wait_until(final)

    return wait


def result(coordinator, job_id):
    from tally import TallyResult

    return TallyResult.model_validate_json(coordinator.result(coordinator.jobs.look(job_id)))


def copy_of(database, tmp_path):
    """The store as a coordinator leaves it that is killed at this moment."""
    source = database.removeprefix("sqlite:///")
    target = tmp_path / "killed.db"
    with sqlite3.connect(source) as before, sqlite3.connect(target) as after:
        before.backup(after)
    return f"sqlite:///{target}"


def test_a_job_returns_the_sum_over_the_cohorts(coordinator, ended):
    job_id = submit(coordinator)
    view = ended(coordinator, job_id)
    assert view.state is JobState.finished
    assert view.cohorts == ("north", "south", "west")
    assert view.ended >= view.submitted
    assert (view.progress.round, view.progress.waiting_for) == (3, ())
    answer = result(coordinator, job_id)
    assert answer.totals == EXPECTED
    assert (answer.n, answer.rounds, answer.cohorts, answer.analysis) == (6, 3, view.cohorts, "tally")


def test_a_job_goes_to_the_cohorts_that_it_names_and_to_no_other(coordinator, ended):
    job_id = submit(coordinator, cohorts=("west", "north"), rounds=1)
    assert ended(coordinator, job_id).cohorts == ("north", "west")
    assert result(coordinator, job_id).totals == [17.0]
    assert {c for c, kind, _ in coordinator.link.asked if kind == "question"} == {"north", "west"}


def test_jobs_run_at_the_same_time_and_the_rest_wait(start_coordinator, wait_until, ended):
    coordinator = start_coordinator(max_parallel_jobs=2)
    coordinator.link.leave("south")
    ids = [submit(coordinator, rounds=1) for _ in range(3)]
    wait_until(lambda: [coordinator.jobs.look(i).state for i in ids] == ["running", "running", "submitted"])
    coordinator.link.come_back("south")
    assert [ended(coordinator, i).state for i in ids] == ["finished"] * 3


def test_a_job_says_whom_it_waits_for(coordinator, wait_until, ended):
    coordinator.link.leave_after = {"south": 2}
    job_id = submit(coordinator)
    wait_until(lambda: coordinator.jobs.look(job_id).progress.waiting_for == ("south",))
    view = coordinator.jobs.look(job_id)
    assert (view.progress.round, view.progress.statistic) == (3, "total")
    coordinator.link.come_back("south")
    assert ended(coordinator, job_id).state is JobState.finished
    assert result(coordinator, job_id).totals == EXPECTED


@pytest.mark.parametrize("moment", ["submitted", "waiting"])
def test_a_job_can_be_cancelled(start_coordinator, wait_until, ended, moment):
    coordinator = start_coordinator(max_parallel_jobs=1)
    coordinator.link.leave("south")
    first, second = submit(coordinator), submit(coordinator)
    wait_until(lambda: coordinator.jobs.look(first).progress.waiting_for)
    job_id = first if moment == "waiting" else second
    view = coordinator.jobs.cancel(job_id, "researcher")
    assert (view.state, view.problem.kind) == (JobState.cancelled, "JobCancelled")
    assert view.ended is not None
    coordinator.link.come_back("south")
    other = second if moment == "waiting" else first
    assert ended(coordinator, other).state is JobState.finished
    assert coordinator.jobs.look(job_id).state is JobState.cancelled


def test_cancelling_what_has_ended_changes_nothing(coordinator, ended):
    job_id = submit(coordinator)
    before = ended(coordinator, job_id)
    assert coordinator.jobs.cancel(job_id, "researcher") == before


def test_a_refusal_is_told_with_its_rule(coordinator, ended):
    view = ended(coordinator, submit(coordinator, trouble="refused"))
    assert view.state is JobState.refused
    assert (view.problem.kind, view.problem.rule, view.problem.cohort) == ("Refused", "min_people", "north")


def test_a_node_that_refuses_for_what_is_in_its_rows_is_not_named(start_coordinator, ended):
    from node.disclosure import Policy

    strict = node_of("south", [4])
    strict.node.policy = Policy()
    link = FakeLink({"north": node_of("north", [1]), "south": strict, "west": node_of("west", [2])})
    coordinator = start_coordinator(link)
    view = ended(coordinator, submit(coordinator))
    assert (view.state, view.problem.kind, view.problem.rule) == ("refused", "Refused", "min_people")
    assert view.problem.cohort is None
    assert "south" not in view.problem.message
    assert link.rounds_asked() == [1]


def test_a_refusal_by_difference_names_the_latest_jobs_of_the_study(start_coordinator, ended):
    link = FakeLink({name: node_of(name, range(20)) for name in ("north", "south", "west")})
    coordinator = start_coordinator(link)
    first = submit(coordinator, rounds=1)
    ended(coordinator, first)
    south = link.nodes["south"]
    south.node.compute = lambda *_, **__: (_ for _ in ()).throw(Refused("Job 1", rule="min_difference"))
    view = ended(coordinator, submit(coordinator, rounds=1))
    assert (view.state, view.problem.rule, view.problem.cohort) == ("refused", "min_difference", None)
    assert view.problem.message.endswith(f"The latest jobs of this study: {first}.")
    assert "south" not in view.problem.message


def test_a_node_that_refuses_whatever_its_rows_are_is_named(start_coordinator, ended):
    from node.disclosure import Policy

    strict = node_of("south", [4])
    strict.node.policy = Policy()
    link = FakeLink({"north": node_of("north", [1]), "south": strict, "west": node_of("west", [2])})
    coordinator = start_coordinator(link)
    view = ended(coordinator, submit(coordinator, cohorts=("north", "south")))
    assert (view.state, view.problem.rule, view.problem.cohort) == ("refused", "insecure", "south")


def test_an_answer_that_is_no_answer_fails_the_job_and_names_the_cohort(start_coordinator, ended):
    link = FakeLink({name: node_of(name, [1]) for name in ("north", "south", "west")})
    answer = link.nodes["west"].answer
    link.nodes["west"].answer = lambda kind, payload: b"gibberish" if kind == "question" else answer(kind, payload)
    coordinator = start_coordinator(link)
    view = ended(coordinator, submit(coordinator))
    assert (view.state, view.problem.kind, view.problem.cohort) == ("failed", "NodeFailed", "west")


def test_an_unexpected_error_is_told_in_constant_words_and_found_in_the_log(coordinator, ended):
    with capture_logs() as logs:
        view = ended(coordinator, submit(coordinator, trouble="bug"))
    assert view.state is JobState.failed
    (entry,) = [e for e in logs if e["event"] == "unexpected error"]
    assert entry["number"] in view.problem.message
    assert entry["error"] == "ValueError"
    assert any("tally.py" in line for line in entry["where"])
    assert str(SECRET) not in str(logs) + view.model_dump_json()
    # … and the thread that ran it still works
    assert ended(coordinator, submit(coordinator)).state is JobState.finished


def test_no_sum_is_logged(coordinator, ended):
    with capture_logs() as logs:
        ended(coordinator, submit(coordinator))
    assert [e for e in logs if e["event"] == "job ended"]
    assert not [value for entry in logs for value in entry.values() if isinstance(value, float)]


def test_a_killed_coordinator_goes_on_where_it_was(start_coordinator, database, tmp_path, wait_until, ended):
    first = start_coordinator()
    first.link.leave_after = {"south": 2}
    running = submit(first)
    wait_until(lambda: first.jobs.look(running).progress.waiting_for == ("south",))
    second = start_coordinator(url=copy_of(database, tmp_path))
    assert ended(second, running).state is JobState.finished
    assert result(second, running).totals == EXPECTED
    assert second.link.rounds_asked() == [3], "answered rounds are replayed, not asked again"


def test_a_coordinator_that_is_stopped_leaves_its_jobs_to_the_next(start_coordinator, database, wait_until, ended):
    first = start_coordinator(max_parallel_jobs=1)
    first.link.leave_after = {"south": 1}
    running, submitted = submit(first), submit(first)
    wait_until(lambda: first.jobs.look(running).progress.waiting_for == ("south",))
    first.stop()
    store = Store(database)
    assert [view.state for view in store.unfinished()] == [JobState.running, JobState.submitted]
    store.close()
    second = start_coordinator()
    assert [ended(second, i).state for i in (running, submitted)] == [JobState.finished] * 2
    assert result(second, running).totals == EXPECTED


def test_stopping_is_quick_whatever_jobs_wait_for(start_coordinator, wait_until):
    coordinator = start_coordinator()
    coordinator.link.leave("south")
    ids = [submit(coordinator) for _ in range(3)]
    wait_until(lambda: all(coordinator.jobs.look(i).progress.waiting_for for i in ids))
    started = time.monotonic()
    coordinator.stop()
    assert time.monotonic() - started < 2


def test_a_replay_that_asks_something_else_fails_the_job_and_says_so(
    start_coordinator, database, tmp_path, wait_until, ended
):
    first = start_coordinator()
    first.link.leave_after = {"south": 1}
    job_id = submit(first)
    wait_until(lambda: first.jobs.look(job_id).progress.waiting_for == ("south",))
    url = copy_of(database, tmp_path)
    changed = Dictionary.model_validate(DICTIONARY.model_dump() | {"version": "2"})
    second = start_coordinator(url=url, dictionary=changed)
    view = ended(second, job_id)
    assert (view.state, view.problem.kind) == (JobState.failed, "ReplayDiffers")
    assert "dictionary" in view.problem.message
    assert second.link.rounds_asked() == []


def test_a_job_whose_analysis_is_gone_fails_with_that_reason(start_coordinator, database, tmp_path, wait_until, ended):
    first = start_coordinator()
    first.link.leave("south")
    job_id = submit(first)
    url = copy_of(database, tmp_path)
    with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
        connection.execute("UPDATE jobs SET analysis = 'old_analysis'")
    view = ended(start_coordinator(url=url), job_id)
    assert (view.state, view.problem.kind) == (JobState.failed, "UnknownName")


def test_a_withdrawn_cohort_fails_the_jobs_that_wait_for_it(coordinator, wait_until, ended):
    coordinator.link.leave("south")
    waiting, other = submit(coordinator), submit(coordinator, cohorts=("north",))
    wait_until(lambda: coordinator.jobs.look(waiting).progress.waiting_for == ("south",))
    coordinator.withdraw("south", "operator")
    view = ended(coordinator, waiting)
    assert (view.state, view.problem.cohort) == (JobState.failed, "south")
    assert ended(coordinator, other).state is JobState.finished
    assert [c.name for c in coordinator.catalogue.cohorts()] == ["north", "west"]
    with pytest.raises(UnknownName):
        submit(coordinator, cohorts=("south",))


def test_a_job_of_a_cohort_that_was_withdrawn_while_the_coordinator_was_down_fails(
    start_coordinator, database, tmp_path, ended
):
    first = start_coordinator()
    first.link.leave("south")
    job_id = submit(first)
    url = copy_of(database, tmp_path)
    store = Store(url)
    store.withdraw("south")
    store.close()
    view = ended(start_coordinator(url=url), job_id)
    assert (view.state, view.problem.cohort) == (JobState.failed, "south")


@pytest.mark.parametrize(
    ("cohorts", "params", "error", "words"),
    [
        (("nort",), {}, NotPermitted, "does not name the cohorts nort"),
        (None, {"rounds": 0}, InvalidQuestion, "rounds"),
        (None, {"speed": 1}, InvalidQuestion, "speed"),
    ],
)
def test_a_question_that_cannot_be_asked_is_turned_down(coordinator, cohorts, params, error, words):
    with pytest.raises(error, match=words):
        submit(coordinator, cohorts, **params)
    assert coordinator.store.jobs() == []


def test_the_store_is_not_needed_beyond_the_file(database, tmp_path, start_coordinator, ended):
    coordinator = start_coordinator()
    job_id = submit(coordinator)
    ended(coordinator, job_id)
    coordinator.stop()
    source = tmp_path / "store.db"
    shutil.copy(source, tmp_path / "elsewhere.db")
    store = Store(f"sqlite:///{tmp_path / 'elsewhere.db'}")
    assert store.job(job_id).state is JobState.finished
    assert len(store.transcript(job_id)) == 3
    store.close()


def test_a_store_that_cannot_be_written_to_for_a_while_loses_no_job(start_coordinator, monkeypatch, wait_until, ended):
    """A full disk: not even that the job failed can be written down, so it goes on when there is room again."""
    coordinator = start_coordinator()
    monkeypatch.setattr(coordinator.jobs, "_retry", 0.01)
    full = OperationalError("write", {}, Exception("database or disk is full"))
    write, turned_down = coordinator.store.add_round, []

    def add_round(job_id, question, totals, progress):
        if progress.round == 2 and len(turned_down) < 3:
            turned_down.append(job_id)
            raise full
        write(job_id, question, totals, progress)

    monkeypatch.setattr(coordinator.store, "add_round", add_round)
    job_id = submit(coordinator)
    assert ended(coordinator, job_id).state is JobState.finished
    assert result(coordinator, job_id).totals == EXPECTED
    assert len(turned_down) == 3
