"""audiences, broadcasts"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "audience_copies",
        sa.Column("project_id", sa.UUID(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("audience_id", sa.UUID(), nullable=False),
        sa.Column("after", sa.Text(), nullable=True),
        sa.Column("copied", sa.Integer(), server_default="0", nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("project_id", "source", name=op.f("pk_audience_copies")),
    )
    op.create_table(
        "audiences",
        sa.Column("project_id", sa.UUID(), nullable=False),
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("project_id", "id", name=op.f("pk_audiences")),
    )
    op.create_table(
        "broadcast_recipients",
        sa.Column("broadcast_id", sa.UUID(), nullable=False),
        sa.Column("contact_id", sa.UUID(), nullable=False),
        sa.Column("project_id", sa.UUID(), nullable=False),
        sa.Column("state", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("mail_id", sa.UUID(), nullable=True),
        sa.PrimaryKeyConstraint("broadcast_id", "contact_id", name=op.f("pk_broadcast_recipients")),
        postgresql_with={"fillfactor": "60"},
    )
    op.create_table(
        "broadcasts",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("project_id", sa.UUID(), nullable=False),
        sa.Column("audience_id", sa.UUID(), nullable=False),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("html", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=True),
        sa.Column("sender", sa.Text(), nullable=True),
        sa.Column("reply_to", sa.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("status", sa.Text(), server_default="draft", nullable=False),
        sa.Column("pause_reason", sa.Text(), nullable=True),
        sa.Column("scheduled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("frozen_to", sa.UUID(), nullable=True),
        sa.Column("frozen", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("fed_to", sa.UUID(), nullable=True),
        sa.Column("retrying", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("audience", sa.Integer(), server_default="0", nullable=False),
        sa.Column("fed", sa.Integer(), server_default="0", nullable=False),
        sa.Column("suppressed", sa.Integer(), server_default="0", nullable=False),
        sa.Column("unsubscribed", sa.Integer(), server_default="0", nullable=False),
        sa.Column("canceled", sa.Integer(), server_default="0", nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_broadcasts")),
    )
    op.create_index(
        "ix_broadcasts_due",
        "broadcasts",
        ["due_at"],
        unique=False,
        postgresql_where=sa.text("due_at is not null"),
    )
    op.create_index(
        op.f("ix_broadcasts_project_id_id"), "broadcasts", ["project_id", "id"], unique=False
    )
    op.create_table(
        "contact_imports",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("project_id", sa.UUID(), nullable=False),
        sa.Column("audience_id", sa.UUID(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("columns", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("overwrite", sa.Boolean(), nullable=False),
        sa.Column("rows", sa.Integer(), server_default="0", nullable=False),
        sa.Column("total", sa.Integer(), server_default="0", nullable=False),
        sa.Column("created", sa.Integer(), server_default="0", nullable=False),
        sa.Column("updated", sa.Integer(), server_default="0", nullable=False),
        sa.Column("skipped", sa.Integer(), server_default="0", nullable=False),
        sa.Column("failed", sa.Integer(), server_default="0", nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_contact_imports")),
    )
    op.create_index(
        "ix_contact_imports_open",
        "contact_imports",
        ["id"],
        unique=False,
        postgresql_where=sa.text("status in ('receiving', 'queued', 'in_progress')"),
    )
    op.create_index(
        op.f("ix_contact_imports_project_id_audience_id"),
        "contact_imports",
        ["project_id", "audience_id"],
        unique=False,
    )
    op.create_table(
        "contacts",
        sa.Column("audience_id", sa.UUID(), nullable=False),
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("project_id", sa.UUID(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("recipient_key", sa.BigInteger(), nullable=False),
        sa.Column("first_name", sa.Text(), nullable=True),
        sa.Column("last_name", sa.Text(), nullable=True),
        sa.Column(
            "properties",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'{}'"),
            nullable=False,
        ),
        sa.Column("unsubscribed", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("audience_id", "id", name=op.f("pk_contacts")),
        sa.UniqueConstraint(
            "audience_id", "recipient_key", name=op.f("uq_contacts_audience_id_recipient_key")
        ),
    )
    op.create_table(
        "import_chunks",
        sa.Column("import_id", sa.UUID(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.UUID(), nullable=False),
        sa.Column("lines", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("import_id", "number", name=op.f("pk_import_chunks")),
    )
    op.create_table(
        "import_refusals",
        sa.Column("import_id", sa.UUID(), nullable=False),
        sa.Column("line", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.UUID(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("import_id", "line", name=op.f("pk_import_refusals")),
    )
    op.create_table(
        "vendor_broadcasts",
        sa.Column("project_id", sa.UUID(), nullable=False),
        sa.Column("vendor_id", sa.Text(), nullable=False),
        sa.Column("scheduled_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("project_id", "vendor_id", name=op.f("pk_vendor_broadcasts")),
    )
    op.create_table(
        "vendor_sends",
        sa.Column("project_id", sa.UUID(), nullable=False),
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("vendor_id", sa.Text(), nullable=False),
        sa.Column("paid_month", sa.Date(), nullable=False),
        sa.Column("refunded", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("project_id", "id", name=op.f("pk_vendor_sends")),
    )
    op.add_column("mail_logs", sa.Column("broadcast_id", sa.UUID(), nullable=True))
    op.create_index(
        "ix_mail_logs_broadcast",
        "mail_logs",
        ["broadcast_id", "status", "outcome_unknown", "project_id"],
        unique=False,
        postgresql_where=sa.text("broadcast_id is not null"),
    )
    op.create_index(
        op.f("ix_suppressions_project_id_created_at_recipient_key"),
        "suppressions",
        ["project_id", "created_at", "recipient_key"],
        unique=False,
    )


def downgrade() -> None:
    op.drop_index(
        op.f("ix_suppressions_project_id_created_at_recipient_key"), table_name="suppressions"
    )
    op.drop_index(
        "ix_mail_logs_broadcast",
        table_name="mail_logs",
        postgresql_where=sa.text("broadcast_id is not null"),
    )
    op.drop_column("mail_logs", "broadcast_id")
    op.drop_table("vendor_sends")
    op.drop_table("vendor_broadcasts")
    op.drop_table("import_refusals")
    op.drop_table("import_chunks")
    op.drop_table("contacts")
    op.drop_index(op.f("ix_contact_imports_project_id_audience_id"), table_name="contact_imports")
    op.drop_index(
        "ix_contact_imports_open",
        table_name="contact_imports",
        postgresql_where=sa.text("status in ('receiving', 'queued', 'in_progress')"),
    )
    op.drop_table("contact_imports")
    op.drop_index(op.f("ix_broadcasts_project_id_id"), table_name="broadcasts")
    op.drop_index(
        "ix_broadcasts_due", table_name="broadcasts", postgresql_where=sa.text("due_at is not null")
    )
    op.drop_table("broadcasts")
    op.drop_table("broadcast_recipients")
    op.drop_table("audiences")
    op.drop_table("audience_copies")
