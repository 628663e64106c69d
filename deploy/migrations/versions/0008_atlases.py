"""Atlases and their alignments with other models."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table in ("atlas", "atlas_alignment"):
        op.create_table(
            table,
            sa.Column("workspace", sa.String(length=64), nullable=False),
            sa.Column("id", sa.String(length=40), nullable=False),
            sa.Column("name", sa.String(length=80), nullable=False),
            sa.Column("record", sa.JSON(), nullable=False),
            sa.Column("artifacts", sa.JSON(), nullable=False),
            sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
            sa.PrimaryKeyConstraint("workspace", "id", name=op.f(f"pk_{table}")),
        )


def downgrade() -> None:
    op.drop_table("atlas_alignment")
    op.drop_table("atlas")
