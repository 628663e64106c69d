"""Models made by suppressing what an audit flagged."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "audit_correction",
        sa.Column("workspace", sa.String(length=64), nullable=False),
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("audit", sa.String(length=40), nullable=False),
        sa.Column("record", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("workspace", "id", name=op.f("pk_audit_correction")),
    )
    op.create_index(op.f("ix_audit_correction_audit"), "audit_correction", ["audit"])


def downgrade() -> None:
    op.drop_index(op.f("ix_audit_correction_audit"), table_name="audit_correction")
    op.drop_table("audit_correction")
