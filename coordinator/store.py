"""What the coordinator remembers: cohorts, tokens, jobs and what they were answered with.

Of a cohort's own numbers it keeps none that it could read: answers are masked, but for what an analysis asked per
cohort (`ask_each`) and the nodes released.
SQLite by default (write-ahead log, so that reading never waits for writing); PostgreSQL by URL. The schema is brought
up to date when the store is opened; `migrations/` holds the steps, forward only. Times are UTC.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict
from sqlalchemy import Engine, Executable, Row, create_engine, event, insert, select, update
from sqlalchemy.exc import SQLAlchemyError

from cohortium.errors import CohortiumError, Problem
from cohortium.messages import JobState, JobView, Papers, Progress
from coordinator.schema import cohorts, jobs, tokens, transcript


class StoreFailed(CohortiumError):
    """The store could not be opened."""


UNFINISHED = [state.value for state in JobState if not state.is_final]


class Cohort(BaseModel):
    """A cohort of the network and the public key pinned for its node."""

    model_config = ConfigDict(from_attributes=True, frozen=True)

    name: str
    title: str
    public_key: str
    enrolled: datetime
    withdrawn: datetime | None = None


class Token(BaseModel):
    """A token, as far as the store knows it."""

    model_config = ConfigDict(from_attributes=True, frozen=True)

    digest: str
    name: str
    role: str
    created: datetime
    revoked: datetime | None = None


def now() -> datetime:
    """The present moment in UTC."""
    return datetime.now(UTC)


class Store:
    """The database. Every method is one transaction, so threads share a Store freely."""

    def __init__(self, url: str) -> None:
        """Open the store and bring its schema up to date. Raises StoreFailed."""
        from alembic.util import CommandError  # noqa: PLC0415

        try:
            self.engine = _engine(url)
            _migrate(self.engine)
        except (SQLAlchemyError, ImportError) as error:
            raise StoreFailed(
                f"The store cannot be opened ({type(error).__name__}): check the setting `store`."
            ) from None
        except CommandError:
            raise StoreFailed("The store was written by a later version of Cohortium: install that one.") from None

    def close(self) -> None:
        """Let go of the database."""
        self.engine.dispose()

    def rows(self, statement: Executable) -> list[Row[Any]]:
        """What a query finds."""
        with self.engine.connect() as connection:
            return list(connection.execute(statement))

    def change(self, *statements: Executable) -> int:
        """Run the statements in one transaction; how many rows the last one touched."""
        with self.engine.begin() as connection:
            return [connection.execute(s).rowcount for s in statements][-1]

    # Cohorts

    def cohorts(self) -> list[Cohort]:
        """Who is enrolled now, by name."""
        query = select(cohorts).where(cohorts.c.withdrawn.is_(None)).order_by(cohorts.c.name)
        return [Cohort.model_validate(row) for row in self.rows(query)]

    def enrol(self, name: str, title: str, public_key: str) -> None:
        """Add a cohort, or take one in again that was withdrawn, or give one another title."""
        values = {"title": title, "public_key": public_key, "withdrawn": None}
        if self.change(update(cohorts).where(cohorts.c.name == name).values(values)) == 0:
            self.change(insert(cohorts).values(name=name, enrolled=now(), **values))

    def withdraw(self, name: str) -> None:
        """Mark a cohort as no longer part of the network."""
        self.change(update(cohorts).where(cohorts.c.name == name).values(withdrawn=now()))

    # Tokens

    def add_token(self, token: Token) -> None:
        """Remember a token by its digest."""
        self.change(insert(tokens).values(**token.model_dump()))

    def tokens(self) -> list[Token]:
        """Every token, oldest first, revoked ones included."""
        return [Token.model_validate(row) for row in self.rows(select(tokens).order_by(tokens.c.created))]

    def token(self, digest: str) -> Token | None:
        """The valid token with this digest."""
        query = select(tokens).where(tokens.c.digest == digest, tokens.c.revoked.is_(None))
        return next((Token.model_validate(row) for row in self.rows(query)), None)

    def revoke(self, name: str) -> int:
        """Revoke every valid token of that name; how many there were."""
        mine = tokens.c.name == name, tokens.c.revoked.is_(None)
        return self.change(update(tokens).where(*mine).values(revoked=now()))

    # Jobs

    def add_job(self, job: JobView, submitted_by: str, papers: Papers | None = None) -> None:
        """Remember a job that was just submitted, and the signed documents that it rests on."""
        values = job.model_dump(mode="json") | {"submitted": job.submitted, "ended": job.ended}
        signed = papers.model_dump() if papers else None
        self.change(insert(jobs).values(**values, submitted_by=submitted_by, papers=signed))

    def papers(self, job_id: str) -> Papers | None:
        """The signed documents that a job rests on."""
        found = self.rows(select(jobs.c.papers).where(jobs.c.id == job_id))
        return Papers.model_validate(found[0].papers) if found and found[0].papers else None

    def job(self, job_id: str, submitted_by: str | None = None) -> JobView | None:
        """A job, or None: if there is none, or `submitted_by` is given and somebody else submitted it."""
        query = select(jobs).where(jobs.c.id == job_id)
        if submitted_by is not None:
            query = query.where(jobs.c.submitted_by == submitted_by)
        return next((_job_view(row) for row in self.rows(query)), None)

    def jobs(
        self,
        *,
        states: Iterable[str] | None = None,
        study: str | None = None,
        submitted_by: str | None = None,
        limit: int | None = None,
        offset: int = 0,
    ) -> list[JobView]:
        """Jobs, newest first; each argument that is given narrows the choice."""
        query = select(jobs).order_by(jobs.c.number.desc()).limit(limit).offset(offset)
        if states is not None:
            query = query.where(jobs.c.state.in_(list(states)))
        if study is not None:
            query = query.where(jobs.c.study == study)
        if submitted_by is not None:
            query = query.where(jobs.c.submitted_by == submitted_by)
        return [_job_view(row) for row in self.rows(query)]

    def unfinished(self) -> list[JobView]:
        """Jobs that have not ended, in the order in which they were submitted."""
        return self.jobs(states=UNFINISHED)[::-1]

    def set_running(self, job_id: str) -> bool:
        """Mark a job as running; False if it has ended in the meantime."""
        return self._set_state(job_id, state=JobState.running.value)

    def set_awaiting(self, job_id: str, progress: Progress) -> bool:
        """Mark a job as waiting for approval, and by whom; False if it has ended in the meantime."""
        state = JobState.awaiting_approval.value
        return self._set_state(job_id, state=state, progress=progress.model_dump(mode="json"))

    def end_job(
        self, job_id: str, state: JobState, *, problem: Problem | None = None, result: str | None = None
    ) -> bool:
        """End a job, once: False, and nothing changes, if it had already ended."""
        told = problem.model_dump(mode="json") if problem else None
        return self._set_state(job_id, state=state.value, ended=now(), problem=told, result=result)

    def _set_state(self, job_id: str, **values: Any) -> bool:
        unfinished = jobs.c.id == job_id, jobs.c.state.in_(UNFINISHED)
        return self.change(update(jobs).where(*unfinished).values(values)) == 1

    def result(self, job_id: str) -> str | None:
        """The result of a finished job as JSON."""
        return next((row.result for row in self.rows(select(jobs.c.result).where(jobs.c.id == job_id))), None)

    # Transcript

    def transcript(self, job_id: str) -> dict[int, tuple[str, bytes]]:
        """What a job was answered so far: round -> digest of the question, and the round in writing."""
        query = select(transcript).where(transcript.c.job == job_id).order_by(transcript.c.round)
        return {row.round: (row.question, row.record) for row in self.rows(query)}

    def add_round(self, job_id: str, question: str, record: bytes, progress: Progress) -> None:
        """Write down an answered round, together with how far the job is now."""
        self.change(
            insert(transcript).values(job=job_id, round=progress.round, question=question, record=record),
            update(jobs).where(jobs.c.id == job_id).values(progress=progress.model_dump(mode="json")),
        )


def _job_view(row: Row[Any]) -> JobView:
    return JobView.model_validate({name: getattr(row, name) for name in JobView.model_fields})


def _engine(url: str) -> Engine:
    engine = create_engine(url)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    for pragma in (
        "journal_mode=WAL",
        # Survives the end of this process at any moment; a power cut may cost the last rounds, which are asked again.
        "synchronous=NORMAL",
        "foreign_keys=ON",
        "busy_timeout=10000",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _migrate(engine: Engine) -> None:
    from alembic import command  # noqa: PLC0415 - a moment that only opening a store should cost
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
