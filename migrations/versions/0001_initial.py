"""initial"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "accounts",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("password_hash", sa.Text(), nullable=False),
        sa.Column("password_version", sa.Integer(), server_default="1", nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_accounts")),
        sa.UniqueConstraint("email", name=op.f("uq_accounts_email")),
    )
    op.create_table(
        "attempts",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("connection_id", sa.Integer(), nullable=False),
        sa.Column("stream", sa.SmallInteger(), nullable=False),
        sa.Column("fence", sa.Integer(), server_default="1", nullable=False),
        sa.Column("parked", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("keyed", sa.Boolean(), nullable=False),
        sa.Column("credential", sa.LargeBinary(), nullable=False),
        sa.Column("wire", sa.Text(), nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "called_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column("worker", sa.Text(), nullable=False),
        sa.Column("mail_ids", sa.ARRAY(sa.UUID()), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attempts")),
        postgresql_with={
            "fillfactor": "50",
            "autovacuum_vacuum_scale_factor": "0",
            "autovacuum_vacuum_threshold": "500",
            "autovacuum_vacuum_cost_delay": "0",
        },
    )
    op.create_index(
        "ix_attempts_due",
        "attempts",
        ["lease_until"],
        unique=False,
        postgresql_where=sa.text("not parked"),
    )
    op.create_table(
        "audit_events",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("project_id", sa.UUID(), nullable=False),
        sa.Column("account_id", sa.UUID(), nullable=True),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=True),
        sa.Column(
            "at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_events")),
    )
    op.create_index(
        op.f("ix_audit_events_project_id_id"), "audit_events", ["project_id", "id"], unique=False
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("project_id", sa.UUID(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("body_hash", sa.LargeBinary(), nullable=False),
        sa.Column("status", sa.SmallInteger(), nullable=False),
        sa.Column("answer", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("project_id", "key", name=op.f("pk_idempotency_keys")),
    )
    op.create_index(
        op.f("ix_idempotency_keys_created_at"), "idempotency_keys", ["created_at"], unique=False
    )
    op.create_table(
        "mail_contents",
        sa.Column("project_id", sa.UUID(), nullable=False),
        sa.Column("mail_id", sa.UUID(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("keep_until", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("project_id", "mail_id", name=op.f("pk_mail_contents")),
    )
    op.create_index(
        op.f("ix_mail_contents_keep_until"), "mail_contents", ["keep_until"], unique=False
    )
    op.create_table(
        "mail_logs",
        sa.Column("project_id", sa.UUID(), nullable=False),
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("connection_id", sa.Integer(), nullable=False),
        sa.Column("stream", sa.SmallInteger(), nullable=False),
        sa.Column("status", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("outcome_unknown", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("paid_month", sa.Date(), nullable=False),
        sa.Column("refunded", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("attempts", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("recipient_key", sa.BigInteger(), nullable=False),
        sa.Column("recipients", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("to_count", sa.SmallInteger(), server_default="1", nullable=False),
        sa.Column("recipient_states", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("subject", sa.Text(), nullable=True),
        sa.Column("sealed", sa.LargeBinary(), nullable=True),
        sa.Column("sender", sa.Text(), nullable=True),
        sa.Column("template", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("tags", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("provider_id", sa.Text(), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("scheduled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("project_id", "id", name=op.f("pk_mail_logs")),
        postgresql_with={
            "autovacuum_vacuum_scale_factor": "0.02",
            "autovacuum_vacuum_insert_scale_factor": "0.05",
        },
    )
    op.create_index(
        op.f("ix_mail_logs_project_id_recipient_key_id"),
        "mail_logs",
        ["project_id", "recipient_key", "id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_mail_logs_project_id_status_id"),
        "mail_logs",
        ["project_id", "status", "id"],
        unique=False,
    )
    op.create_index(
        "ix_mail_logs_provider_id",
        "mail_logs",
        ["provider_id"],
        unique=False,
        postgresql_where=sa.text("provider_id is not null"),
    )
    op.create_table(
        "outbox",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("project_id", sa.UUID(), nullable=False),
        sa.Column("connection_id", sa.Integer(), nullable=False),
        sa.Column("stream", sa.SmallInteger(), nullable=False),
        sa.Column("turn", sa.BigInteger(), nullable=False),
        sa.Column("waits_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("attempt_id", sa.UUID(), nullable=True),
        sa.Column("tries", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("pack_max", sa.SmallInteger(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("recipient_keys", sa.ARRAY(sa.BigInteger()), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox")),
        postgresql_with={
            "fillfactor": "70",
            "autovacuum_vacuum_scale_factor": "0",
            "autovacuum_vacuum_threshold": "5000",
            "autovacuum_vacuum_cost_delay": "0",
        },
    )
    op.create_index(
        "ix_outbox_free",
        "outbox",
        ["connection_id", "stream", "turn"],
        unique=False,
        postgresql_where=sa.text("attempt_id is null and waits_until is null"),
    )
    op.create_index(
        "ix_outbox_waits",
        "outbox",
        ["waits_until"],
        unique=False,
        postgresql_where=sa.text("waits_until is not null"),
    )
    op.create_table(
        "projects",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("plan", sa.Text(), server_default="free", nullable=False),
        sa.Column("secret_hash", sa.LargeBinary(), nullable=False),
        sa.Column("publishable_hash", sa.LargeBinary(), nullable=False),
        sa.Column("mail_connection_id", sa.Integer(), nullable=True),
        sa.Column("failover_connection_id", sa.Integer(), nullable=True),
        sa.Column("phi", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("ambiguous_policy", sa.Text(), server_default="park", nullable=False),
        sa.Column("content_retention_days", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "ambiguous_policy in ('park', 'resend')", name=op.f("ck_projects_ambiguous_policy")
        ),
        sa.CheckConstraint("plan in ('free', 'pro')", name=op.f("ck_projects_plan")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_projects")),
        sa.UniqueConstraint("publishable_hash", name=op.f("uq_projects_publishable_hash")),
        sa.UniqueConstraint("secret_hash", name=op.f("uq_projects_secret_hash")),
    )
    op.create_table(
        "provider_events",
        sa.Column("connection_id", sa.Integer(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("provider_id", sa.Text(), nullable=True),
        sa.Column("project_id", sa.UUID(), nullable=True),
        sa.Column("mail_id", sa.UUID(), nullable=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "received_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("code", sa.Text(), nullable=True),
        sa.Column("detail", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("connection_id", "event_id", name=op.f("pk_provider_events")),
    )
    op.create_index(
        "ix_provider_events_early",
        "provider_events",
        ["received_at"],
        unique=False,
        postgresql_where=sa.text("mail_id is null"),
    )
    op.create_index(
        "ix_provider_events_timeline",
        "provider_events",
        ["mail_id", "at"],
        unique=False,
        postgresql_where=sa.text("mail_id is not null"),
    )
    op.create_table(
        "quota_months",
        sa.Column("project_id", sa.UUID(), nullable=False),
        sa.Column("month", sa.Date(), nullable=False),
        sa.Column("used", sa.Integer(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("project_id", "month", name=op.f("pk_quota_months")),
        postgresql_with={"fillfactor": "20"},
    )
    op.create_table(
        "server_secrets",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_server_secrets")),
    )
    op.create_table(
        "suppressions",
        sa.Column("project_id", sa.UUID(), nullable=False),
        sa.Column("recipient_key", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("address", sa.LargeBinary(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("project_id", "recipient_key", name=op.f("pk_suppressions")),
    )
    op.create_table(
        "connections",
        sa.Column("id", sa.Integer(), sa.Identity(always=False), nullable=False),
        sa.Column("project_id", sa.UUID(), nullable=True),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("slot", sa.SmallInteger(), server_default="1", nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=True),
        sa.Column("key_hint", sa.Text(), nullable=True),
        sa.Column("from_email", sa.Text(), nullable=True),
        sa.Column(
            "options",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'{}'"),
            nullable=False,
        ),
        sa.Column("phi_allowed", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("rate_per_second", sa.Float(), nullable=True),
        sa.Column("verified_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("stopped_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("stopped_reason", sa.Text(), nullable=True),
        sa.Column("removed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["project_id"],
            ["projects.id"],
            name=op.f("fk_connections_project_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_connections")),
        sa.UniqueConstraint(
            "project_id",
            "provider",
            "slot",
            name=op.f("uq_connections_project_id_provider_slot"),
            postgresql_nulls_not_distinct=True,
        ),
    )
    op.create_table(
        "memberships",
        sa.Column("project_id", sa.UUID(), nullable=False),
        sa.Column("account_id", sa.UUID(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "role in ('owner', 'admin', 'viewer')", name=op.f("ck_memberships_role")
        ),
        sa.ForeignKeyConstraint(
            ["account_id"],
            ["accounts.id"],
            name=op.f("fk_memberships_account_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["project_id"],
            ["projects.id"],
            name=op.f("fk_memberships_project_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("project_id", "account_id", name=op.f("pk_memberships")),
    )
    op.create_index(op.f("ix_memberships_account_id"), "memberships", ["account_id"], unique=False)
    # Ciphertext does not compress; trying costs time on every accept.
    op.execute("alter table outbox alter column content set storage external")


def downgrade() -> None:
    op.drop_index(op.f("ix_memberships_account_id"), table_name="memberships")
    op.drop_table("memberships")
    op.drop_table("connections")
    op.drop_table("suppressions")
    op.drop_table("server_secrets")
    op.drop_table("quota_months")
    op.drop_index(
        "ix_provider_events_timeline",
        table_name="provider_events",
        postgresql_where=sa.text("mail_id is not null"),
    )
    op.drop_index(
        "ix_provider_events_early",
        table_name="provider_events",
        postgresql_where=sa.text("mail_id is null"),
    )
    op.drop_table("provider_events")
    op.drop_table("projects")
    op.drop_index(
        "ix_outbox_waits", table_name="outbox", postgresql_where=sa.text("waits_until is not null")
    )
    op.drop_index(
        "ix_outbox_free",
        table_name="outbox",
        postgresql_where=sa.text("attempt_id is null and waits_until is null"),
    )
    op.drop_table("outbox")
    op.drop_index(
        "ix_mail_logs_provider_id",
        table_name="mail_logs",
        postgresql_where=sa.text("provider_id is not null"),
    )
    op.drop_index(op.f("ix_mail_logs_project_id_status_id"), table_name="mail_logs")
    op.drop_index(op.f("ix_mail_logs_project_id_recipient_key_id"), table_name="mail_logs")
    op.drop_table("mail_logs")
    op.drop_index(op.f("ix_mail_contents_keep_until"), table_name="mail_contents")
    op.drop_table("mail_contents")
    op.drop_index(op.f("ix_idempotency_keys_created_at"), table_name="idempotency_keys")
    op.drop_table("idempotency_keys")
    op.drop_index(op.f("ix_audit_events_project_id_id"), table_name="audit_events")
    op.drop_table("audit_events")
    op.drop_index("ix_attempts_due", table_name="attempts", postgresql_where=sa.text("not parked"))
    op.drop_table("attempts")
    op.drop_table("accounts")
