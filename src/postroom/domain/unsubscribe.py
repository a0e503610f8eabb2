"""The way out of an audience: a link for each person and broadcast, which nobody else can make."""

import base64
import binascii
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import text

from postroom.domain import quota
from postroom.domain.settle import Refunds, fail_free
from postroom.errors import NotFound
from postroom.resources import Keys, Redis, Session
from postroom.settings import Settings

NOBODY = UUID(int=0)  # of a test mail's link
WITHDRAWN = "unsubscribed"

_WHERE = text("select project_id, audience_id from broadcasts where id = :id")
_UNSUBSCRIBE = text(
    """
update contacts set unsubscribed = true
  where project_id = :project and audience_id = :audience and id = :id
"""
)
# A person who told the vendor leaves the audience of the broadcast whose mail they had.
_LEFT_AT_VENDOR = text(
    """
update contacts c set unsubscribed = true
  from unnest(cast(:project as uuid[]), cast(:mail as uuid[]), cast(:key as bigint[]))
      u(project_id, mail_id, key)
    join mail_logs m on m.project_id = u.project_id and m.id = u.mail_id
    join broadcasts b on b.id = m.broadcast_id and b.project_id = m.project_id
  where c.audience_id = b.audience_id and c.recipient_key = u.key and not c.unsubscribed
  returning c.project_id, c.audience_id, c.id
"""
)
# Mails of broadcasts under way that wait for their hand-over; there are few such broadcasts.
_WAITING = text(
    """
select r.mail_id from broadcasts b
  join broadcast_recipients r on r.broadcast_id = b.id and r.contact_id = any(cast(:ids as uuid[]))
  join outbox o on o.id = r.mail_id and o.project_id = b.project_id
  where b.project_id = :project and b.audience_id = :audience and b.status in ('queued', 'paused')
    and o.attempt_id is null
  for update of o skip locked
"""
)


@dataclass(frozen=True, slots=True)
class Ticket:
    """Who leaves, by a mail of which broadcast."""

    broadcast_id: UUID
    contact_id: UUID


def _sign(keys: Keys, plain: bytes) -> bytes:
    return hmac.digest(keys.index, b"unsubscribe:" + plain, "sha256")[:16]


def token_of(keys: Keys, ticket: Ticket) -> str:
    """64 url-safe characters; they say nothing about the person to anybody else."""
    plain = ticket.broadcast_id.bytes + ticket.contact_id.bytes
    return base64.urlsafe_b64encode(plain + _sign(keys, plain)).decode()


def read_token(keys: Keys, token: str) -> Ticket:
    """The ticket that we made. Raises NotFound for anything else."""
    try:
        raw = base64.urlsafe_b64decode(token.encode("ascii"))
    except (binascii.Error, UnicodeEncodeError, ValueError):
        raw = b""
    plain, signature = raw[:32], raw[32:]
    if len(raw) != 48 or not hmac.compare_digest(_sign(keys, plain), signature):
        raise NotFound("This link is not one of ours.")
    return Ticket(UUID(bytes=plain[:16]), UUID(bytes=plain[16:]))


def link_of(settings: Settings, keys: Keys, ticket: Ticket) -> str:
    return f"{settings.public_url.rstrip('/')}/unsubscribe/{token_of(keys, ticket)}"


def headers_of(link: str) -> dict[str, str]:
    """RFC 2369 and RFC 8058: mail programs offer the way out themselves."""
    return {
        "List-Unsubscribe": f"<{link}>",
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
    }


async def unsubscribe(session: Session, redis: Redis, ticket: Ticket) -> None:
    """Take the person out of the audience, for good; doing it twice does no harm."""
    where = (await session.execute(_WHERE, {"id": ticket.broadcast_id})).one_or_none()
    if where is None or ticket.contact_id == NOBODY:
        return
    values = {"project": where.project_id, "audience": where.audience_id, "id": ticket.contact_id}
    await session.execute(_UNSUBSCRIBE, values)
    refunds = await withdraw(session, where.project_id, where.audience_id, [ticket.contact_id])
    # From here no broadcast to this audience reaches them.
    await session.commit()
    await quota.give_back(redis, refunds)


@dataclass(frozen=True, slots=True)
class Leaver:
    """Somebody whom the vendor heard, by one of our mails."""

    project_id: UUID
    mail_id: UUID
    recipient_key: int


async def note_leavers(session: Session, leavers: Sequence[Leaver]) -> Sequence[Any]:
    """Take them out of the audiences; the caller commits, and then gives the answer to `withdraw_all`."""
    values = {
        "project": [leaver.project_id for leaver in leavers],
        "mail": [leaver.mail_id for leaver in leavers],
        "key": [leaver.recipient_key for leaver in leavers],
    }
    return (await session.execute(_LEFT_AT_VENDOR, values)).all() if leavers else ()


async def withdraw_all(session: Session, redis: Redis, contacts: Sequence[Any]) -> None:
    """Take back what waits for people who left, in whatever audiences."""
    for contact in contacts:
        refunds = await withdraw(session, contact.project_id, contact.audience_id, [contact.id])
        # What waited for this person has its final state.
        await session.commit()
        await quota.give_back(redis, refunds)


async def withdraw(
    session: Session, project_id: UUID, audience_id: UUID, contact_ids: Sequence[UUID]
) -> Refunds:
    """Take back mails to people who have left that wait for their hand-over; the caller commits."""
    values = {"project": project_id, "audience": audience_id, "ids": list(contact_ids)}
    waiting = list(await session.scalars(_WAITING, values))
    _, refunds = await fail_free(session, [(project_id, mail) for mail in waiting], WITHDRAWN)
    return refunds
