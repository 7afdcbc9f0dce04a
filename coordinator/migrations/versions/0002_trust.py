"""Signed rosters, permits and jobs; masked and signed answers instead of totals; the audit."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create and change the tables. Totals of unsigned jobs prove nothing, and no node would go on with those jobs."""
    op.add_column("jobs", sa.Column("papers", sa.JSON))
    op.drop_table("transcript")
    op.create_table(
        "transcript",
        sa.Column("job", sa.String(32), nullable=False),
        sa.Column("round", sa.Integer, nullable=False),
        sa.Column("question", sa.String(64), nullable=False),
        sa.Column("record", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("job", "round", name="pk_transcript"),
        sa.ForeignKeyConstraint(["job"], ["jobs.id"], name="fk_transcript_job", ondelete="CASCADE"),
    )
    op.create_table(
        "rosters",
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("taken", sa.DateTime, nullable=False),
        sa.PrimaryKeyConstraint("version", name="pk_rosters"),
    )
    op.create_table(
        "permits",
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("study", sa.String(64), nullable=False, index=True),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("taken", sa.DateTime, nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_permits"),
    )
    op.create_table(
        "audit",
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_audit"),
    )
    op.create_table(
        "witnessed",
        sa.Column("owner", sa.String(40), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("entry", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("owner", name="pk_witnessed"),
    )
