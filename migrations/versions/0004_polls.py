"""When to ask the vendor about a mail again.

Revision ID: 0004
Revises: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("mail_logs", sa.Column("next_poll_at", sa.DateTime(timezone=True)))
    op.create_index(
        "ix_mail_logs_polls",
        "mail_logs",
        ["connection_id", "next_poll_at"],
        postgresql_where=sa.text("next_poll_at is not null"),
    )


def downgrade() -> None:
    op.drop_index("ix_mail_logs_polls", "mail_logs")
    op.drop_column("mail_logs", "next_poll_at")
