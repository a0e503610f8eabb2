"""Looking before sending: how many people, what one of them would read, and a copy to oneself."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import text

from postroom.domain import personalize, unsubscribe
from postroom.domain.accept import Acceptor, Letter, resolve_sender
from postroom.domain.broadcast_mails import words_of
from postroom.domain.contacts import as_id
from postroom.domain.personalize import Person
from postroom.domain.projects import Caller
from postroom.domain.unsubscribe import NOBODY, Ticket
from postroom.errors import NotFound
from postroom.providers.lists import Json
from postroom.resources import Resources, Session

_BROADCAST = text("select * from broadcasts where project_id = :project and id = :id")
_PERSON = text(
    """
select id, email, first_name, last_name, properties from contacts
  where project_id = :project and audience_id = :audience
    and (cast(:contact as uuid) is null or id = cast(:contact as uuid))
  order by id limit 1
"""
)
_COUNT = text(
    """
select count(*) as audience, count(*) filter (where c.unsubscribed) as unsubscribed,
    count(*) filter (where not c.unsubscribed and s.recipient_key is not null) as suppressed
  from contacts c
  left join suppressions s on s.project_id = c.project_id and s.recipient_key = c.recipient_key
  where c.project_id = :project and c.audience_id = :audience
"""
)


@dataclass(frozen=True, slots=True)
class Reach:
    """How many people a broadcast would go to if it were sent now."""

    audience: int
    unsubscribed: int
    suppressed: int

    @property
    def recipients(self) -> int:
        return self.audience - self.unsubscribed - self.suppressed


async def _find(session: Session, caller: Caller, broadcast_id: str) -> Any:
    values = {"project": caller.project_id, "id": as_id(broadcast_id, "Broadcast")}
    row = (await session.execute(_BROADCAST, values)).one_or_none()
    if row is None:
        raise NotFound("Broadcast not found.")
    return row


async def reach(session: Session, caller: Caller, broadcast_id: str) -> Reach:
    """Count the audience as it is now. Raises NotFound."""
    row = await _find(session, caller, broadcast_id)
    values = {"project": caller.project_id, "audience": row.audience_id}
    found = (await session.execute(_COUNT, values)).one()
    return Reach(found.audience, found.unsubscribed, found.suppressed)


async def preview(
    resources: Resources, caller: Caller, broadcast_id: str, contact_id: str | None
) -> Json:
    """What a contact would read; without one, the audience's first, or somebody without a name."""
    wanted = as_id(contact_id, "Contact") if contact_id else None
    async with resources.sessions() as session:
        row = await _find(session, caller, broadcast_id)
        person = await _person(session, row, wanted)
    words = words_of(row)
    link = _link(resources, row.id)
    assert caller.connection is not None  # noqa: S101 - the gate asked for one
    return {
        "to": person.email,
        "from": resolve_sender(caller.connection, row.sender)[0],
        "subject": words.subject_for(person, link),
        "html": words.html_for(person, link),
        "text": words.text_for(person, link),
        "unsubscribe_link": personalize.mentions_unsubscribe(words),
    }


async def _person(session: Session, row: Any, wanted: UUID | None) -> Person:
    values = {"project": row.project_id, "audience": row.audience_id, "contact": wanted}
    found = (await session.execute(_PERSON, values)).one_or_none()
    if found is None and wanted is not None:
        raise NotFound("Contact not found.")
    if found is None:
        return _stranger("contact@example.com")
    return Person(found.id, found.email, found.first_name, found.last_name, found.properties)


def _stranger(email: str) -> Person:
    return Person(NOBODY, email, None, None, {})


def _link(resources: Resources, broadcast_id: UUID) -> str:
    """A link that looks like everybody's and takes nobody out."""
    ticket = Ticket(broadcast_id, NOBODY)
    return unsubscribe.link_of(resources.settings, resources.keys, ticket)


async def send_test(
    resources: Resources,
    acceptor: Acceptor,
    caller: Caller,
    broadcast_id: str,
    to: Sequence[str],
) -> list[str]:
    """Send the broadcast to these addresses as ordinary mails, a slot each; the mails' ids."""
    async with resources.sessions() as session:
        row = await _find(session, caller, broadcast_id)
        first = await _person(session, row, None)
    sending = await acceptor.sending(caller)
    words, link = words_of(row), _link(resources, row.id)
    mails = []
    for address in to:
        person = Person(NOBODY, address, first.first_name, first.last_name, first.properties)
        letter = Letter(
            to=(address,),
            subject=f"[Test] {words.subject_for(person, link)}"[:998],
            html=words.html_for(person, link),
            text=words.text_for(person, link),
            sender=row.sender,
            reply_to=tuple(row.reply_to),
            headers=unsubscribe.headers_of(link),
        )
        mails.append((await acceptor.compose(caller, sending, letter)).mail)
    ids = [str(mail.id) for mail in mails]
    await acceptor.submit(caller, mails, lambda usage: {"data": {"ids": ids}}, None)
    return ids
