"""The store: its schema is what the migrations build, and it says what it was told."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from cohortium.errors import Problem
from cohortium.messages import JobState, JobView, Progress
from coordinator.auth import PREFIX, authenticate, issue
from coordinator.schema import cohorts, schema
from coordinator.store import Store, StoreFailed


@pytest.fixture
def store(database):
    opened = Store(database)
    yield opened
    opened.close()


def view(job_id, **changes):
    fields = {
        "id": job_id,
        "study": "s",
        "analysis": "a",
        "params": {"formula": "y ~ x", "level": 0.95, "none": None},
        "cohorts": ("north",),
        "state": JobState.submitted,
        "submitted": datetime.now(UTC),
    }
    return JobView(**fields | changes)


def test_the_migrations_build_exactly_the_tables(store):
    with store.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), schema) == []


def test_opening_a_store_again_keeps_what_is_in_it(store, database):
    store.enrol("north", "North", "key")
    again = Store(database)
    assert [c.name for c in again.cohorts()] == ["north"]
    again.close()


def test_a_store_of_a_later_version_is_left_alone(store, database):
    with store.engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StoreFailed, match="later version"):
        Store(database)


@pytest.mark.parametrize("url", ["sqlite:////no/such/folder/x.db", "nonsense", "martian://x"])
def test_a_store_that_cannot_be_opened_says_so(url):
    with pytest.raises(StoreFailed, match="`store`"):
        Store(url)


def test_sqlite_reads_while_it_writes(store):
    with store.engine.connect() as connection:
        assert connection.execute(sa.text("PRAGMA journal_mode")).scalar() == "wal"
        assert connection.execute(sa.text("PRAGMA foreign_keys")).scalar() == 1


def test_times_are_utc(store):
    moment = datetime(2026, 11, 22, 12, 0, tzinfo=timezone(timedelta(hours=1)))
    store.add_job(view("a" * 16, submitted=moment), "ada")
    told = store.job("a" * 16).submitted
    assert told == moment
    assert told.utcoffset() == timedelta(0)
    assert store.cohorts() == []
    store.enrol("north", "", "key")
    assert store.cohorts()[0].enrolled.tzinfo is UTC


def test_a_job_comes_back_as_it_was(store):
    job = view("a" * 16)
    store.add_job(job, "ada")
    assert store.job(job.id) == job
    assert store.job(job.id, submitted_by="bea") is None
    assert store.job("b" * 16) is None


def test_a_job_ends_once(store):
    store.add_job(view("a" * 16), "ada")
    assert store.set_running("a" * 16)
    problem = Problem(kind="Refused", message="no", rule="min_people", cohort="north")
    assert store.end_job("a" * 16, JobState.refused, problem=problem)
    assert not store.end_job("a" * 16, JobState.finished, result="{}")
    assert not store.set_running("a" * 16)
    job = store.job("a" * 16)
    assert (job.state, job.problem) == (JobState.refused, problem)
    assert job.ended is not None
    assert store.result("a" * 16) is None


def test_unfinished_jobs_in_order_of_submission(store):
    for name in "abc":
        store.add_job(view(name * 16), "ada")
    store.set_running("b" * 16)
    store.end_job("a" * 16, JobState.finished, result="{}")
    assert [j.id[0] for j in store.unfinished()] == ["b", "c"]
    assert [j.id[0] for j in store.jobs()] == ["c", "b", "a"]


def test_the_transcript_and_the_progress_are_written_together(store):
    store.add_job(view("a" * 16), "ada")
    store.add_round("a" * 16, "q1", b"one", Progress(round=1, statistic="total"))
    with pytest.raises(sa.exc.IntegrityError):
        store.add_round("a" * 16, "q1", b"again", Progress(round=1, statistic="other"))
    assert store.transcript("a" * 16) == {1: ("q1", b"one")}
    assert store.job("a" * 16).progress == Progress(round=1, statistic="total")


def test_a_cohort_is_withdrawn_and_may_come_back_with_another_key(store):
    store.enrol("north", "North", "key")
    store.withdraw("north")
    assert store.cohorts() == []
    with store.engine.connect() as connection:
        assert connection.execute(sa.select(cohorts.c.withdrawn)).scalar() is not None
    store.enrol("north", "North again", "another")
    assert [(c.title, c.public_key, c.withdrawn) for c in store.cohorts()] == [("North again", "another", None)]


def test_a_token_is_kept_as_a_digest_only(store, database, tmp_path):
    token = issue(store, "ada", "researcher")
    assert token.startswith(PREFIX)
    assert len(token) > 40
    assert (authenticate(store, token).name, authenticate(store, token).role) == ("ada", "researcher")
    assert authenticate(store, token + "x") is None
    assert authenticate(store, "") is None
    store.close()
    assert token.encode() not in b"".join(f.read_bytes() for f in tmp_path.iterdir())


def test_revoking_ends_every_token_of_a_name(store):
    first, second, other = (
        issue(store, "ada", "researcher"),
        issue(store, "ada", "operator"),
        issue(store, "bea", "operator"),
    )
    assert first != second
    assert store.revoke("ada") == 2
    assert [authenticate(store, t) is None for t in (first, second, other)] == [True, True, False]
    assert store.revoke("ada") == 0
    with pytest.raises(ValueError, match="king"):
        issue(store, "x", "king")
