"""Whom a broadcast goes to: its audience as rows, frozen and looked through from the first contact to the last."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import text

from postroom.domain.personalize import Person
from postroom.domain.schedule import CANCELED
from postroom.domain.status import State
from postroom.ids import first_id_at
from postroom.resources import Session

LOOK_AGAIN = 5000  # recipients that a step of a repeat looks through
NOBODY = UUID(int=0)
NO_MAIL_SUPPRESSED, NO_MAIL_LEFT = 2, 3  # states of a recipient without a mail

_PERSON = """
c.email, c.first_name, c.last_name, c.properties, coalesce(c.unsubscribed, true) as gone,
exists (select 1 from suppressions s where s.project_id = :project
  and s.recipient_key = c.recipient_key) as suppressed
"""
_FREEZE = text(
    """
with c as (
  select id from contacts where project_id = :project and audience_id = :audience
    and id > :after and id < :until order by id limit :most),
i as (
  insert into broadcast_recipients (broadcast_id, contact_id, project_id)
    select :broadcast, id, :project from c)
select count(*) as n, (select id from c order by id desc limit 1) as last from c
"""
)
_NEXT = text(
    f"""
select r.contact_id, null::uuid as failed_mail, {_PERSON}
  from broadcast_recipients r
  left join contacts c on c.audience_id = :audience and c.id = r.contact_id
  where r.broadcast_id = :broadcast and r.project_id = :project and r.contact_id > :after
  order by r.contact_id limit :most
"""
)
_NEXT_FAILED = text(
    f"""
with w as (
  select contact_id, mail_id from broadcast_recipients where broadcast_id = :broadcast
    and project_id = :project and contact_id > :after order by contact_id limit {LOOK_AGAIN})
select w.contact_id, m.id as failed_mail, {_PERSON}
  from w join mail_logs m on m.project_id = :project and m.id = w.mail_id
    and m.status = {State.FAILED:d} and coalesce(m.reason, '') not in ('suppressed', 'unsubscribed', '{CANCELED}')
  left join contacts c on c.audience_id = :audience and c.id = w.contact_id
  order by w.contact_id limit :most
"""
)
_WINDOW_END = text(
    f"""
select contact_id from (
  select contact_id from broadcast_recipients where broadcast_id = :broadcast
    and project_id = :project and contact_id > :after order by contact_id limit {LOOK_AGAIN}) w
  order by contact_id desc limit 1
"""
)
_SKIP = text(
    """
update broadcast_recipients r set state = u.state, mail_id = null
  from unnest(cast(:contact as uuid[]), cast(:state as smallint[])) u(contact_id, state)
  where r.broadcast_id = :broadcast and r.project_id = :project and r.contact_id = u.contact_id
"""
)
# A failed mail that gets a successor no longer counts for the broadcast.
_DETACH = text(
    """
update mail_logs set broadcast_id = null
  where project_id = :project and id = any(cast(:mails as uuid[]))
"""
)


@dataclass(frozen=True, slots=True)
class Frozen:
    """What a step added to a frozen audience."""

    count: int
    last: UUID | None


def _of(row: Any) -> dict[str, Any]:
    return {"project": row.project_id, "broadcast": row.id, "audience": row.audience_id}


async def freeze(session: Session, row: Any, most: int) -> Frozen:
    """Write down the next people of the audience as it was when the broadcast began."""
    started = row.started_at or row.due_at
    values = _of(row) | {
        "after": row.frozen_to or NOBODY,
        "until": first_id_at(started + timedelta(milliseconds=1)),
        "most": most,
    }
    found = (await session.execute(_FREEZE, values)).one()
    return Frozen(found.n, found.last)


async def next_people(session: Session, row: Any, most: int) -> tuple[Sequence[Any], UUID | None]:
    """The next people, and the recipient up to which everybody was looked at; None at the end."""
    values = _of(row) | {"after": row.fed_to or NOBODY}
    statement = _NEXT_FAILED if row.retrying else _NEXT
    rows = (await session.execute(statement, values | {"most": most})).all()
    if len(rows) == most or not row.retrying:
        return rows, rows[-1].contact_id if rows else None
    return rows, await session.scalar(_WINDOW_END, values)


def payable(rows: Sequence[Any], room: int) -> Sequence[Any]:
    """The first of these people, as far as the month's slots go; who gets no mail costs none."""
    for place, row in enumerate(rows):
        if not (row.gone or row.suppressed):
            if room <= 0:
                return rows[:place]
            room -= 1
    return rows


def person(row: Any) -> Person:
    return Person(row.contact_id, row.email, row.first_name, row.last_name, row.properties)


async def skip(session: Session, row: Any, people: Sequence[Any]) -> tuple[int, int]:
    """Note who gets no mail; how many are suppressed, and how many left (whoever left counts as that)."""
    states = [NO_MAIL_LEFT if p.gone else NO_MAIL_SUPPRESSED for p in people]
    if people:
        contacts = [p.contact_id for p in people]
        await session.execute(_SKIP, _of(row) | {"contact": contacts, "state": states})
    return states.count(NO_MAIL_SUPPRESSED), states.count(NO_MAIL_LEFT)


async def detach(session: Session, row: Any, mails: Sequence[UUID]) -> None:
    """Take failed mails out of the broadcast's numbers: each gets a successor, or nobody wants it."""
    if mails:
        await session.execute(_DETACH, {"project": row.project_id, "mails": list(mails)})
