"""Analysis sessions: members, events, share links, and who is looking."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "analysis_session",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("workspace", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("owner", sa.String(length=40), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.JSON(), nullable=False),
        sa.Column("first_snapshot", sa.String(length=80), nullable=False),
        sa.Column("parent", sa.String(length=40), nullable=True),
        sa.Column("parent_seq", sa.BigInteger(), nullable=True),
        sa.Column("idempotency_key", sa.String(length=200), nullable=True),
        sa.Column("body_hash", sa.String(length=64), nullable=True),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("changed_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["workspace"], ["workspace.id"], name=op.f("fk_analysis_session_workspace_workspace"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["owner"], ["user_account.id"], name=op.f("fk_analysis_session_owner_user_account"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_analysis_session")),
        sa.UniqueConstraint(
            "workspace", "owner", "idempotency_key", name=op.f("uq_analysis_session_workspace_owner_idempotency_key")
        ),
    )
    op.create_index(op.f("ix_analysis_session_workspace"), "analysis_session", ["workspace"])
    op.create_table(
        "session_member",
        sa.Column("session", sa.String(length=40), nullable=False),
        sa.Column("user_id", sa.String(length=40), nullable=False),
        sa.Column("access", sa.String(length=10), nullable=False),
        sa.Column("joined_at", MOMENT, nullable=False),
        sa.CheckConstraint("access IN ('view', 'edit', 'owner')", name=op.f("ck_session_member_access")),
        _of_session("session_member"),
        _of_user("session_member"),
        sa.PrimaryKeyConstraint("session", "user_id", name=op.f("pk_session_member")),
    )
    op.create_index(op.f("ix_session_member_user_id"), "session_member", ["user_id"])
    op.create_table(
        "session_event",
        sa.Column("session", sa.String(length=40), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("user_id", sa.String(length=40), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("action", sa.JSON(), nullable=False),
        sa.Column("idempotency_key", sa.String(length=200), nullable=True),
        sa.Column("body_hash", sa.String(length=64), nullable=True),
        sa.Column("correlation", sa.String(length=80), nullable=True),
        _of_session("session_event"),
        sa.PrimaryKeyConstraint("session", "seq", name=op.f("pk_session_event")),
        sa.UniqueConstraint(
            "session", "user_id", "idempotency_key", name=op.f("uq_session_event_session_user_id_idempotency_key")
        ),
    )
    op.create_table(
        "session_link",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("session", sa.String(length=40), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("access", sa.String(length=10), nullable=False),
        sa.Column("created_by", sa.String(length=40), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("expires_at", MOMENT, nullable=False),
        sa.Column("revoked_at", MOMENT, nullable=True),
        _of_session("session_link"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_session_link")),
        sa.UniqueConstraint("digest", name=op.f("uq_session_link_digest")),
    )
    op.create_index(op.f("ix_session_link_session"), "session_link", ["session"])
    op.create_table(
        "session_presence",
        sa.Column("session", sa.String(length=40), nullable=False),
        sa.Column("user_id", sa.String(length=40), nullable=False),
        sa.Column("path", sa.String(length=2000), nullable=True),
        sa.Column("title", sa.String(length=200), nullable=False),
        sa.Column("seen_at", sa.Float(precision=53), nullable=False),
        _of_session("session_presence"),
        _of_user("session_presence"),
        sa.PrimaryKeyConstraint("session", "user_id", name=op.f("pk_session_presence")),
    )
    op.create_index("ix_session_presence_seen", "session_presence", ["session", "seen_at"])


def downgrade() -> None:
    for table in ("session_presence", "session_link", "session_event", "session_member", "analysis_session"):
        op.drop_table(table)


def _of_session(table: str) -> sa.ForeignKeyConstraint:
    name = op.f(f"fk_{table}_session_analysis_session")
    return sa.ForeignKeyConstraint(["session"], ["analysis_session.id"], name=name, ondelete="CASCADE")


def _of_user(table: str) -> sa.ForeignKeyConstraint:
    name = op.f(f"fk_{table}_user_id_user_account")
    return sa.ForeignKeyConstraint(["user_id"], ["user_account.id"], name=name, ondelete="CASCADE")
