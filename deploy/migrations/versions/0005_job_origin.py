"""Jobs remember the request that they came from: its correlation id and its trace."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("job", sa.Column("correlation", sa.String(length=64), nullable=True))  # no copy of the table: its
    op.add_column(
        "job", sa.Column("traceparent", sa.String(length=64), nullable=True)
    )  # stages would go with the old one


def downgrade() -> None:
    op.drop_column("job", "traceparent")
    op.drop_column("job", "correlation")
