"""One person's mail of a broadcast: filled, sealed and written, together with the slot that it costs."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from time import time
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import text

from postroom import metrics
from postroom.crypto import recipient_key
from postroom.domain import content, personalize, quota, unsubscribe
from postroom.domain.accept import resolve_sender
from postroom.domain.connections import OpenConnection
from postroom.domain.content import Content
from postroom.domain.personalize import Person, Words
from postroom.domain.unsubscribe import Ticket
from postroom.ids import new_id, time_of
from postroom.providers.base import OutgoingMail
from postroom.queue import BULK, Lane
from postroom.resources import Keys, Resources, Session

# After so many mails other work of the process gets its turn.
BREATH = 20

_WRITE = text(
    """
with i as (
  select * from unnest(cast(:contact as uuid[]), cast(:mail as uuid[]), cast(:key as bigint[]),
      cast(:recipient as text[]), cast(:subject as text[]), cast(:sealed as bytea[]),
      cast(:content as bytea[]), cast(:created as timestamptz[])) with ordinality
    as i(contact_id, id, recipient_key, recipient, subject, sealed, content, created_at, place)),
m as (
  insert into mail_logs (project_id, id, connection_id, stream, paid_month, recipient_key, recipients,
      subject, sender, sealed, created_at, broadcast_id)
    select :project, id, :connection, :stream, :month, recipient_key,
      case when recipient is null then '{}' else array[recipient] end,
      subject, :sender, sealed, created_at, :broadcast from i),
o as (
  insert into outbox (id, project_id, connection_id, stream, turn, pack_max, size, recipient_keys, content)
    select id, :project, :connection, :stream, cast(:turn as bigint) + place, :pack, length(content),
      array[recipient_key], content from i)
update broadcast_recipients r set state = 1, mail_id = i.id from i
  where r.broadcast_id = :broadcast and r.contact_id = i.contact_id
"""
)


class QuotaMoved(Exception):
    """Other mails took the month's last slots since we looked; nothing was written."""


@dataclass(frozen=True, slots=True)
class Writing:
    """What the mails of one step have in common."""

    row: Any  # the broadcast's
    words: Words
    connection: OpenConnection
    private: bool  # a health-data project: nothing personal in clear columns
    limit: int

    @property
    def lane(self) -> Lane:
        return Lane(self.connection.info.id, BULK)

    @property
    def sender(self) -> tuple[str, bool]:
        return resolve_sender(self.connection.info, self.row.sender)


@dataclass(frozen=True, slots=True)
class _Made:
    """One mail as its rows."""

    contact_id: UUID
    id: UUID
    recipient_key: int
    recipient: str | None
    subject: str | None
    sealed: bytes | None
    content: bytes


def outgoing(resources: Resources, writing: Writing, mail_id: UUID, person: Person) -> OutgoingMail:
    """The broadcast as this person gets it."""
    row, words = writing.row, writing.words
    ticket = Ticket(row.id, person.id)
    link = unsubscribe.link_of(resources.settings, resources.keys, ticket)
    return OutgoingMail(
        ref=content.ref(row.project_id, mail_id),
        sender=writing.sender[0],
        to=(person.email,),
        subject=words.subject_for(person, link),
        html=words.html_for(person, link),
        text=words.text_for(person, link),
        reply_to=tuple(row.reply_to),
        headers=unsubscribe.headers_of(link),
    )


def words_of(row: Any) -> Words:
    return personalize.read(row.subject, row.html, row.text)


async def write(
    session: Session, resources: Resources, writing: Writing, people: Sequence[Person]
) -> None:
    """Make these people's mails, in the caller's transaction. Raises QuotaMoved before any is kept."""
    made = []
    for number, person in enumerate(people):
        if number % BREATH == 0:
            await asyncio.sleep(0)
        made.append(_make(resources, writing, person))
    month = quota.this_month()
    await session.execute(_WRITE, _columns(writing, made) | {"month": month})
    # Last, because every other mail of the project waits for this row.
    granted = await quota.take(
        session, writing.row.project_id, month, quota.Ask(len(made), writing.limit)
    )
    if not granted:
        raise QuotaMoved
    metrics.ACCEPTED.inc(len(made))


def _make(resources: Resources, writing: Writing, person: Person) -> _Made:
    mail_id, keys = new_id(), resources.keys
    mail = outgoing(resources, writing, mail_id, person)
    return _Made(
        contact_id=person.id,
        id=mail_id,
        recipient_key=recipient_key(keys.index, person.email),
        recipient=None if writing.private else person.email,
        subject=None if writing.private else mail.subject,
        sealed=_private(keys, mail_id, mail) if writing.private else None,
        content=content.seal(keys.ring, mail_id, Content(mail, writing.sender[1])),
    )


def _private(keys: Keys, mail_id: UUID, mail: OutgoingMail) -> bytes:
    plain = orjson.dumps({"recipients": mail.to, "subject": mail.subject})
    return keys.ring.seal(plain, b"log:" + mail_id.bytes)


def _columns(writing: Writing, made: Sequence[_Made]) -> dict[str, Any]:
    can = writing.connection.provider.capabilities
    return {
        "project": writing.row.project_id,
        "broadcast": writing.row.id,
        "connection": writing.lane.connection_id,
        "stream": writing.lane.stream,
        "sender": writing.sender[0],
        "turn": int(time() * 1e6),
        "pack": can.batch_size,
        "contact": [m.contact_id for m in made],
        "mail": [m.id for m in made],
        "key": [m.recipient_key for m in made],
        "recipient": [m.recipient for m in made],
        "subject": [m.subject for m in made],
        "sealed": [m.sealed for m in made],
        "content": [m.content for m in made],
        "created": [time_of(m.id) for m in made],
    }
