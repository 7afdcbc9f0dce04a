"""Cohorts, tokens, jobs and their transcripts."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "cohorts",
        sa.Column("name", sa.String(40), nullable=False),
        sa.Column("title", sa.String(200), nullable=False),
        sa.Column("public_key", sa.Text, nullable=False),
        sa.Column("enrolled", sa.DateTime, nullable=False),
        sa.Column("withdrawn", sa.DateTime),
        sa.PrimaryKeyConstraint("name", name="pk_cohorts"),
    )
    op.create_table(
        "tokens",
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("name", sa.String(100), nullable=False, index=True),
        sa.Column("role", sa.String(20), nullable=False),
        sa.Column("created", sa.DateTime, nullable=False),
        sa.Column("revoked", sa.DateTime),
        sa.PrimaryKeyConstraint("digest", name="pk_tokens"),
    )
    op.create_table(
        "jobs",
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("id", sa.String(32), nullable=False, unique=True),
        sa.Column("study", sa.String(64), nullable=False, index=True),
        sa.Column("analysis", sa.String(100), nullable=False),
        sa.Column("params", sa.JSON, nullable=False),
        sa.Column("cohorts", sa.JSON, nullable=False),
        sa.Column("state", sa.String(20), nullable=False, index=True),
        sa.Column("submitted_by", sa.String(100), nullable=False, index=True),
        sa.Column("submitted", sa.DateTime, nullable=False),
        sa.Column("ended", sa.DateTime),
        sa.Column("progress", sa.JSON, nullable=False),
        sa.Column("problem", sa.JSON),
        sa.Column("result", sa.Text),
        sa.PrimaryKeyConstraint("number", name="pk_jobs"),
    )
    op.create_table(
        "transcript",
        sa.Column("job", sa.String(32), nullable=False),
        sa.Column("round", sa.Integer, nullable=False),
        sa.Column("question", sa.String(64), nullable=False),
        sa.Column("totals", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("job", "round", name="pk_transcript"),
        sa.ForeignKeyConstraint(["job"], ["jobs.id"], name="fk_transcript_job", ondelete="CASCADE"),
    )
