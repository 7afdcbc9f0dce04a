"""The tables of the store. A change here needs a step in `migrations/versions`; a test compares the two."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import (
    JSON,
    Column,
    Dialect,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
)
from sqlalchemy import DateTime as NaiveDateTime


class UtcTime(TypeDecorator[datetime]):
    """A moment: aware in Python, UTC without a zone in the database."""

    impl = NaiveDateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """To the database."""
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """From the database."""
        return None if value is None else value.replace(tzinfo=UTC)


schema = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
    }
)

cohorts = Table(
    "cohorts",
    schema,
    Column("name", String(40), primary_key=True),
    Column("title", String(200), nullable=False),
    Column("public_key", Text, nullable=False),
    Column("enrolled", UtcTime, nullable=False),
    Column("withdrawn", UtcTime),
)

tokens = Table(
    "tokens",
    schema,
    Column("digest", String(64), primary_key=True),  # SHA-256 of the token; the token itself is nowhere
    Column("name", String(100), nullable=False, index=True),
    Column("role", String(20), nullable=False),
    Column("created", UtcTime, nullable=False),
    Column("revoked", UtcTime),
)

jobs = Table(
    "jobs",
    schema,
    Column("number", Integer, primary_key=True),  # order of submission
    Column("id", String(32), nullable=False, unique=True),
    Column("study", String(64), nullable=False, index=True),
    Column("analysis", String(100), nullable=False),
    Column("params", JSON, nullable=False),
    Column("cohorts", JSON, nullable=False),
    Column("state", String(20), nullable=False, index=True),
    Column("submitted_by", String(100), nullable=False, index=True),
    Column("submitted", UtcTime, nullable=False),
    Column("ended", UtcTime),
    Column("progress", JSON, nullable=False),
    Column("problem", JSON(none_as_null=True)),
    Column("result", Text),
    Column("papers", JSON(none_as_null=True)),  # the signed documents; None in jobs of a time before there were any
)

transcript = Table(
    "transcript",
    schema,
    Column("job", String(32), ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("round", Integer, primary_key=True),
    Column("question", String(64), nullable=False),  # SHA-256 of the question, broadcast values included
    Column("record", LargeBinary, nullable=False),  # a `cohortium.transcript.Round`
)

rosters = Table(
    "rosters",
    schema,
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("content", Text, nullable=False),
    Column("taken", UtcTime, nullable=False),
)

permits = Table(
    "permits",
    schema,
    Column("digest", String(64), primary_key=True),
    Column("study", String(64), nullable=False, index=True),
    Column("content", Text, nullable=False),
    Column("taken", UtcTime, nullable=False),
)

audit = Table(
    "audit",
    schema,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("digest", String(64), nullable=False),
    Column("content", Text, nullable=False),
)

# The last entry of each node's journal that this coordinator was told of.
witnessed = Table(
    "witnessed",
    schema,
    Column("owner", String(40), primary_key=True),
    Column("number", Integer, nullable=False),
    Column("entry", String(64), nullable=False),
)
