"""A first answer is kept as it was written, so that a repeat gets it byte for byte.

Revision ID: 0005
Revises: 0004
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.alter_column("idempotency_keys", "answer", type_=sa.JSON(), postgresql_using="answer::json")


def downgrade() -> None:
    op.alter_column("idempotency_keys", "answer", type_=JSONB(), postgresql_using="answer::jsonb")
