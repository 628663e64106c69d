"""Audits of snapshots, and the decisions about them."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "audit",
        sa.Column("workspace", sa.String(length=64), nullable=False),
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("snapshot", sa.String(length=40), nullable=False),
        sa.Column("passed", sa.Boolean(), nullable=False),
        sa.Column("record", sa.JSON(), nullable=False),
        sa.Column("artifacts", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("workspace", "id", name=op.f("pk_audit")),
    )
    op.create_index(op.f("ix_audit_snapshot"), "audit", ["snapshot"])
    op.create_table(
        "audit_sign_off",
        sa.Column("workspace", sa.String(length=64), nullable=False),
        sa.Column("audit", sa.String(length=40), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("user", sa.String(length=64), nullable=False),
        sa.Column("verdict", sa.String(length=20), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("signed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("workspace", "audit", "number", name=op.f("pk_audit_sign_off")),
    )


def downgrade() -> None:
    op.drop_table("audit_sign_off")
    op.drop_index(op.f("ix_audit_snapshot"), table_name="audit")
    op.drop_table("audit")
