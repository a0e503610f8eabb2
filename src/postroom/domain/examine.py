"""Looking at every provider account: can it be opened, does the vendor know it, will it report back?"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select

from postroom.domain import account_health, connections
from postroom.domain.connections import ConnectionBook, ConnectionGone, OpenConnection
from postroom.errors import Problem, Unsealable, Unsupported
from postroom.models import Connection
from postroom.providers.base import WebhookNotConfigured, WebhookRefused, WebhookRequest
from postroom.resources import RedisError, Resources


@dataclass(frozen=True, slots=True)
class Finding:
    """What is to say about one thing; `cure` is empty when it is well."""

    subject: str
    state: str
    cure: str = ""


async def examine_connections(resources: Resources) -> list[Finding]:
    """Every account that is in use, shared ones first."""
    book = ConnectionBook(resources)
    findings = []
    for row in await _in_use(resources):
        findings += await _examine(resources, book, row)
    return findings + await _silent(resources)


async def _silent(resources: Resources) -> list[Finding]:
    """Accounts that report far less than they used to."""
    try:
        accounts = await account_health.examine(resources)
    except RedisError:
        return [Finding("event reports", "not known while Redis is away")]
    return [
        Finding(
            f"{account.provider} (connection {account.connection_id})",
            f"told {account.told} events of {account.handed} mails in the last hours",
            "Look at the vendor whether its webhook still points here and is switched on.",
        )
        for account in accounts
        if account.silent
    ]


async def _in_use(resources: Resources) -> Sequence[Connection]:
    async with resources.sessions() as session:
        found = await session.scalars(
            select(Connection)
            .where(Connection.removed_at.is_(None))
            .order_by(Connection.project_id.nulls_first(), Connection.id)
        )
        return found.all()


async def _examine(resources: Resources, book: ConnectionBook, row: Connection) -> list[Finding]:
    owner = f"project {row.project_id}" if row.project_id else "shared"
    subject = f"{row.provider} ({owner}, connection {row.id})"
    try:
        opened = await book.get(row.id)
    except ConnectionGone as gone:
        return [Finding(subject, str(gone), "Mails may wait for it: set it up again.")]
    except Unsealable as lost:
        return [Finding(subject, str(lost), "Restore the old ENCRYPTION_KEY, or set it up anew.")]
    webhook = await _webhook(resources, subject, row, opened)
    return [await _account(subject, row, opened), *webhook]


async def _account(subject: str, row: Connection, opened: OpenConnection) -> Finding:
    if row.stopped_at is not None:
        reason = row.stopped_reason or "the vendor refused it"
        return Finding(subject, f"stopped: {reason}", "Mend it at the vendor, or set it up anew.")
    try:
        await opened.provider.verify()
    except Unsupported:
        return Finding(subject, "cannot be tried without sending")
    except Problem as problem:
        return Finding(subject, problem.message, "Check its key and its address.")
    return Finding(subject, "answers")


async def _webhook(
    resources: Resources, subject: str, row: Connection, opened: OpenConnection
) -> list[Finding]:
    url = connections.webhook_url(resources.settings, resources.keys, row)
    if url is None:
        return []
    try:
        await opened.provider.receive(WebhookRequest({}, b""))
    except WebhookNotConfigured:
        cure = f"Set its webhook secret, and let the vendor report to {url}"
        return [Finding(subject, "reports nothing back: no webhook secret", cure)]
    except WebhookRefused:
        pass
    return [Finding(subject, "its webhook has a secret")]
