"""Every table, in the order a mail meets them; docs/architecture.md tells why each is as it is."""

from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    JSON,
    BigInteger,
    CheckConstraint,
    DateTime,
    Float,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

NOW = func.now()


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {
        str: Text,
        datetime: DateTime(timezone=True),
        UUID: postgresql.UUID(as_uuid=True),
        bytes: LargeBinary,
        dict[str, Any]: JSONB,
        list[str]: ARRAY(Text),
        list[int]: ARRAY(BigInteger),
        list[UUID]: ARRAY(postgresql.UUID(as_uuid=True)),
    }


# ── Who ──────────────────────────────────────────────────────────────────────────────────────────


class ServerSecret(Base):
    """Secrets of the installation that must outlive ENCRYPTION_KEY's rotation, sealed under it."""

    __tablename__ = "server_secrets"
    name: Mapped[str] = mapped_column(primary_key=True)
    sealed: Mapped[bytes]


class Account(Base):
    __tablename__ = "accounts"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(unique=True)  # stored in lower case
    name: Mapped[str | None]
    password_hash: Mapped[str]
    password_version: Mapped[int] = mapped_column(
        server_default="1"
    )  # in each token: a change revokes
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)


class Project(Base):
    __tablename__ = "projects"
    __table_args__ = (
        CheckConstraint("plan in ('free', 'pro')", name="plan"),
        CheckConstraint("ambiguous_policy in ('park', 'resend')", name="ambiguous_policy"),
    )
    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str]
    plan: Mapped[str] = mapped_column(server_default="free")
    secret_hash: Mapped[bytes] = mapped_column(unique=True)
    publishable_hash: Mapped[bytes] = mapped_column(unique=True)
    mail_connection_id: Mapped[int | None] = mapped_column(Integer)  # null: the shared account
    failover_connection_id: Mapped[int | None] = mapped_column(Integer)
    phi: Mapped[bool] = mapped_column(server_default=text("false"))
    ambiguous_policy: Mapped[str] = mapped_column(server_default="park")
    content_retention_days: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    deleted_at: Mapped[datetime | None]  # keys stop at once; the rows go in bounded steps


class Membership(Base):
    __tablename__ = "memberships"
    __table_args__ = (
        CheckConstraint("role in ('owner', 'admin', 'viewer')", name="role"),
        Index(None, "account_id"),
    )
    project_id: Mapped[UUID] = mapped_column(
        ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True
    )
    account_id: Mapped[UUID] = mapped_column(
        ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True
    )
    role: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)


class Connection(Base):
    """One provider account: a project's own, or (project_id null) a shared one from the environment.

    A removed connection keeps its row, because mails that wait for it name it; setting the same
    provider again revives it.
    """

    __tablename__ = "connections"
    __table_args__ = (
        UniqueConstraint("project_id", "provider", "slot", postgresql_nulls_not_distinct=True),
    )
    id: Mapped[int] = mapped_column(Integer, Identity(), primary_key=True)
    project_id: Mapped[UUID | None] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    provider: Mapped[str]
    slot: Mapped[int] = mapped_column(
        SmallInteger, server_default="1"
    )  # RESEND_API_KEY_2 is slot 2
    sealed: Mapped[
        bytes | None
    ]  # credentials as JSON; null: none of its own (or the environment's)
    key_hint: Mapped[str | None]
    from_email: Mapped[str | None]
    options: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))  # nothing secret
    phi_allowed: Mapped[bool] = mapped_column(server_default=text("false"))
    rate_per_second: Mapped[float | None] = mapped_column(Float)
    verified_at: Mapped[datetime | None]
    stopped_at: Mapped[datetime | None]  # misconfigured: no calls but a probe until it is mended
    stopped_reason: Mapped[str | None]
    removed_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)


class AuditEvent(Base):
    """Who read content or changed provider settings; ids only."""

    __tablename__ = "audit_events"
    __table_args__ = (Index(None, "project_id", "id"),)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    project_id: Mapped[UUID]
    account_id: Mapped[UUID | None]
    action: Mapped[str]
    target: Mapped[str | None]
    at: Mapped[datetime] = mapped_column(server_default=NOW)


class MailTemplate(Base):
    """A text with variables; without a project it is global, and a project's own one shadows it."""

    __tablename__ = "mail_templates"
    __table_args__ = (
        UniqueConstraint("project_id", "key", postgresql_nulls_not_distinct=True),
        UniqueConstraint("project_id", "name_key", postgresql_nulls_not_distinct=True),
    )
    id: Mapped[str] = mapped_column(primary_key=True)  # 24 hexadecimal characters
    project_id: Mapped[UUID | None] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    key: Mapped[str]
    name: Mapped[str]
    name_key: Mapped[str]  # the name in lower case, by which it is found
    subject: Mapped[str]
    html: Mapped[str | None]
    text: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    updated_at: Mapped[datetime] = mapped_column(server_default=NOW)


# ── A mail is accepted ───────────────────────────────────────────────────────────────────────────


class QuotaMonth(Base):
    """The ledger: `used` = mails of this project paid in this month that were not refunded."""

    __tablename__ = "quota_months"
    __table_args__ = {"postgresql_with": {"fillfactor": "20"}}  # every accept moves it: keep it HOT
    project_id: Mapped[UUID] = mapped_column(primary_key=True)
    month: Mapped[date] = mapped_column(primary_key=True)
    used: Mapped[int] = mapped_column(server_default="0")


class MailLog(Base):
    """The long record of a mail. `status` holds a `State`; the states' order is their numbers' order.

    A health-data project's subject and recipients are kept in `sealed` instead of in clear.
    """

    __tablename__ = "mail_logs"
    project_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    connection_id: Mapped[int] = mapped_column(Integer)
    stream: Mapped[int] = mapped_column(SmallInteger)  # 0 transactional, 1 bulk
    status: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    outcome_unknown: Mapped[bool] = mapped_column(server_default=text("false"))
    reason: Mapped[str | None]  # never with an address in it
    paid_month: Mapped[date]
    refunded: Mapped[bool] = mapped_column(server_default=text("false"))
    attempts: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    recipient_key: Mapped[int] = mapped_column(BigInteger)  # of the first recipient
    recipients: Mapped[list[str]]  # to, then cc, then bcc
    to_count: Mapped[int] = mapped_column(SmallInteger, server_default="1")
    recipient_states: Mapped[dict[str, Any] | None]  # {"index in recipients": [state, reason]}
    subject: Mapped[str | None]
    sealed: Mapped[bytes | None]
    sender: Mapped[str | None]
    template: Mapped[dict[str, Any] | None]
    tags: Mapped[list[Any] | None] = mapped_column(JSONB)
    provider_id: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    scheduled_at: Mapped[datetime | None]
    sent_at: Mapped[datetime | None]
    broadcast_id: Mapped[UUID | None]
    next_poll_at: Mapped[datetime | None]  # when to ask the vendor, where it can be asked

    __table_args__ = (
        Index(
            "ix_mail_logs_polls",
            "connection_id",
            "next_poll_at",
            postgresql_where=text("next_poll_at is not null"),
        ),
        Index(None, "project_id", "status", "id"),
        # Counting a broadcast's mails reads this index alone.
        Index(
            "ix_mail_logs_broadcast",
            "broadcast_id",
            "status",
            "outcome_unknown",
            "project_id",
            postgresql_where=text("broadcast_id is not null"),
        ),
        Index(None, "project_id", "recipient_key", "id"),
        Index(
            "ix_mail_logs_provider_id",
            "provider_id",
            postgresql_where=text("provider_id is not null"),
        ),
        {
            "postgresql_with": {
                "autovacuum_vacuum_scale_factor": "0.02",
                "autovacuum_vacuum_insert_scale_factor": "0.05",
            }
        },
    )


class OutboxMail(Base):
    """Pending work only: a row is free, waiting (waits_until) or bound (attempt_id)."""

    __tablename__ = "outbox"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    project_id: Mapped[UUID]
    connection_id: Mapped[int] = mapped_column(Integer)
    stream: Mapped[int] = mapped_column(SmallInteger)
    turn: Mapped[int] = mapped_column(BigInteger)
    waits_until: Mapped[datetime | None]
    attempt_id: Mapped[UUID | None]
    tries: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    pack_max: Mapped[int] = mapped_column(SmallInteger)
    size: Mapped[int] = mapped_column(Integer)
    recipient_keys: Mapped[list[int]]
    content: Mapped[bytes]  # sealed, bound to the mail's id

    __table_args__ = (
        Index(
            "ix_outbox_free",
            "connection_id",
            "stream",
            "turn",
            postgresql_where=text("attempt_id is null and waits_until is null"),
        ),
        Index("ix_outbox_waits", "waits_until", postgresql_where=text("waits_until is not null")),
        {
            "postgresql_with": {
                "fillfactor": "70",
                "autovacuum_vacuum_scale_factor": "0",
                "autovacuum_vacuum_threshold": "5000",
                "autovacuum_vacuum_cost_delay": "0",
            }
        },
    )


class IdempotencyKey(Base):
    """The first answer to a request, written in the transaction that accepted its mails."""

    __tablename__ = "idempotency_keys"
    __table_args__ = (Index(None, "created_at"),)
    project_id: Mapped[UUID] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)  # "<route>:<the client's key>"
    body_hash: Mapped[bytes]
    status: Mapped[int] = mapped_column(SmallInteger)
    # Not jsonb, which would put its fields in another order: a repeat gets the same bytes.
    answer: Mapped[dict[str, Any]] = mapped_column(JSON)
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)


# ── A mail is handed over ────────────────────────────────────────────────────────────────────────


class Attempt(Base):
    """One provider call under way or parked; its id is the vendor's idempotency key."""

    __tablename__ = "attempts"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    connection_id: Mapped[int] = mapped_column(Integer)
    stream: Mapped[int] = mapped_column(SmallInteger)
    fence: Mapped[int] = mapped_column(Integer, server_default="1")
    parked: Mapped[bool] = mapped_column(server_default=text("false"))
    keyed: Mapped[bool]
    credential: Mapped[bytes]  # fingerprint: a repeat under another account proves nothing
    wire: Mapped[str]  # the adapter's format version
    lease_until: Mapped[datetime]
    called_at: Mapped[datetime] = mapped_column(server_default=NOW)
    worker: Mapped[str]
    mail_ids: Mapped[list[UUID]]

    __table_args__ = (
        Index("ix_attempts_due", "lease_until", postgresql_where=text("not parked")),
        {
            "postgresql_with": {
                "fillfactor": "50",
                "autovacuum_vacuum_scale_factor": "0",
                "autovacuum_vacuum_threshold": "500",
                "autovacuum_vacuum_cost_delay": "0",
            }
        },
    )


class MailContent(Base):
    """Content kept after hand-over, still sealed, for as long as the project's retention says."""

    __tablename__ = "mail_contents"
    __table_args__ = (Index(None, "keep_until"),)
    project_id: Mapped[UUID] = mapped_column(primary_key=True)
    mail_id: Mapped[UUID] = mapped_column(primary_key=True)
    content: Mapped[bytes]
    keep_until: Mapped[datetime]


# ── The provider reports ─────────────────────────────────────────────────────────────────────────


class ProviderEvent(Base):
    """What a vendor told about a mail; `mail_id` stays null until its mail is known."""

    __tablename__ = "provider_events"
    connection_id: Mapped[int] = mapped_column(Integer, primary_key=True)
    event_id: Mapped[str] = mapped_column(primary_key=True)
    provider_id: Mapped[str | None]
    project_id: Mapped[UUID | None]
    mail_id: Mapped[UUID | None]
    kind: Mapped[str]
    at: Mapped[datetime]
    received_at: Mapped[datetime] = mapped_column(server_default=NOW)
    code: Mapped[str | None]  # the vendor's own word for it
    detail: Mapped[bytes | None]  # sealed JSON: reason and recipient may be personal

    __table_args__ = (
        Index(
            "ix_provider_events_timeline",
            "mail_id",
            "at",
            postgresql_where=text("mail_id is not null"),
        ),
        Index(
            "ix_provider_events_early",
            "received_at",
            postgresql_where=text("mail_id is null"),
        ),
    )


class Suppression(Base):
    """An address to which this project's mails do not go."""

    __tablename__ = "suppressions"
    __table_args__ = (Index(None, "project_id", "created_at", "recipient_key"),)
    project_id: Mapped[UUID] = mapped_column(primary_key=True)
    recipient_key: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    reason: Mapped[str]
    address: Mapped[bytes]  # sealed, bound to the project
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)


# ── Who gets broadcasts ──────────────────────────────────────────────────────────────────────────


class Audience(Base):
    """A list of people, kept by us where the provider keeps none."""

    __tablename__ = "audiences"
    project_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)


class Contact(Base):
    """A person in an audience; the address is unique there, however it is written."""

    __tablename__ = "contacts"
    __table_args__ = (UniqueConstraint("audience_id", "recipient_key"),)
    audience_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    project_id: Mapped[UUID]
    email: Mapped[str]
    recipient_key: Mapped[int] = mapped_column(BigInteger)
    first_name: Mapped[str | None]
    last_name: Mapped[str | None]
    properties: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    unsubscribed: Mapped[bool] = mapped_column(server_default=text("false"))
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)


class ContactImport(Base):
    """A file of contacts on its way in; the worker takes its chunks in order."""

    __tablename__ = "contact_imports"
    __table_args__ = (
        Index(None, "project_id", "audience_id"),
        Index(
            "ix_contact_imports_open",
            "id",
            postgresql_where=text("status in ('receiving', 'queued', 'in_progress')"),
        ),
    )
    id: Mapped[UUID] = mapped_column(primary_key=True)
    project_id: Mapped[UUID]
    audience_id: Mapped[UUID]
    status: Mapped[str]  # receiving, queued, in_progress, completed, failed
    columns: Mapped[list[str]]  # what each column of the file is
    overwrite: Mapped[bool]  # whether known contacts are updated
    rows: Mapped[int] = mapped_column(Integer, server_default="0")  # in the file
    total: Mapped[int] = mapped_column(Integer, server_default="0")  # done so far
    created: Mapped[int] = mapped_column(Integer, server_default="0")
    updated: Mapped[int] = mapped_column(Integer, server_default="0")
    skipped: Mapped[int] = mapped_column(Integer, server_default="0")
    failed: Mapped[int] = mapped_column(Integer, server_default="0")
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class ImportChunk(Base):
    """Some rows of a file, until they are contacts."""

    __tablename__ = "import_chunks"
    import_id: Mapped[UUID] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    project_id: Mapped[UUID]
    lines: Mapped[list[Any]] = mapped_column(JSONB)  # [line, [cells]]


class ImportRefusal(Base):
    """A row that is no contact, and why; the first thousand of an import."""

    __tablename__ = "import_refusals"
    import_id: Mapped[UUID] = mapped_column(primary_key=True)
    line: Mapped[int] = mapped_column(Integer, primary_key=True)
    project_id: Mapped[UUID]
    value: Mapped[str]
    reason: Mapped[str]


class Broadcast(Base):
    """A mail to an audience. What is counted here moves in the transaction of what it counts.

    `audience` = people frozen so far, `fed` = those of them who have a mail, `suppressed` and `unsubscribed`
    = those who get none; the rest wait. What became of the mails is read from their log.
    """

    __tablename__ = "broadcasts"
    __table_args__ = (
        Index(None, "project_id", "id"),
        Index("ix_broadcasts_due", "due_at", postgresql_where=text("due_at is not null")),
    )
    id: Mapped[UUID] = mapped_column(primary_key=True)
    project_id: Mapped[UUID]
    audience_id: Mapped[UUID]
    name: Mapped[str | None]
    subject: Mapped[str]
    html: Mapped[str]
    plain: Mapped[str | None] = mapped_column("text")
    sender: Mapped[str | None]  # as asked for; null: the connection's own
    reply_to: Mapped[list[str]] = mapped_column(server_default=text("'{}'"))
    status: Mapped[str] = mapped_column(server_default="draft")
    pause_reason: Mapped[str | None]
    scheduled_at: Mapped[datetime | None]
    due_at: Mapped[datetime | None]  # when the worker looks at it next; null: never
    frozen_to: Mapped[UUID | None]  # the last contact that was frozen
    frozen: Mapped[bool] = mapped_column(server_default=text("false"))
    fed_to: Mapped[UUID | None]  # the last recipient that was looked at
    retrying: Mapped[bool] = mapped_column(server_default=text("false"))
    audience: Mapped[int] = mapped_column(Integer, server_default="0")
    fed: Mapped[int] = mapped_column(Integer, server_default="0")
    suppressed: Mapped[int] = mapped_column(Integer, server_default="0")
    unsubscribed: Mapped[int] = mapped_column(Integer, server_default="0")
    canceled: Mapped[int] = mapped_column(Integer, server_default="0")
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class BroadcastRecipient(Base):
    """One person of a frozen audience; the mail is named in the transaction that makes it."""

    __tablename__ = "broadcast_recipients"
    broadcast_id: Mapped[UUID] = mapped_column(primary_key=True)
    contact_id: Mapped[UUID] = mapped_column(primary_key=True)
    project_id: Mapped[UUID]
    state: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    mail_id: Mapped[UUID | None]
    __table_args__ = ({"postgresql_with": {"fillfactor": "60"}},)


class VendorBroadcast(Base):
    """What we remember of a broadcast that the vendor keeps."""

    __tablename__ = "vendor_broadcasts"
    project_id: Mapped[UUID] = mapped_column(primary_key=True)
    vendor_id: Mapped[str] = mapped_column(primary_key=True)
    scheduled_at: Mapped[datetime]


class VendorSend(Base):
    """A slot paid for a broadcast that the vendor sends."""

    __tablename__ = "vendor_sends"
    project_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    vendor_id: Mapped[str]
    paid_month: Mapped[date]
    refunded: Mapped[bool] = mapped_column(server_default=text("false"))
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)


class AudienceCopy(Base):
    """How far a copy of a vendor's audience has come, so that it can go on."""

    __tablename__ = "audience_copies"
    project_id: Mapped[UUID] = mapped_column(primary_key=True)
    source: Mapped[str] = mapped_column(primary_key=True)  # "<provider>:<its audience's id>"
    audience_id: Mapped[UUID]
    after: Mapped[str | None]
    copied: Mapped[int] = mapped_column(Integer, server_default="0")
    finished_at: Mapped[datetime | None]
