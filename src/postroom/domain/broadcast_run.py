"""The sending of broadcasts: one bounded step after the other, each one transaction under the broadcast's lock.

A step freezes some more of the audience and makes some more mails. Two workers never take the same step, and a
worker that dies in one leaves what was before it. Only some thousand mails are ahead of the hand-over.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import text

from postroom.domain import broadcast_hold, broadcast_mails, quota
from postroom.domain.broadcast_mails import QuotaMoved, Writing
from postroom.domain.connections import ConnectionBook, ConnectionGone
from postroom.domain.personalize import Person
from postroom.domain.plans import plans
from postroom.domain.schedule import CANCELED
from postroom.domain.settle import Refunds
from postroom.domain.status import State
from postroom.errors import InvalidPayload, Unsealable
from postroom.ids import first_id_at
from postroom.queue import Lane, ring_quietly
from postroom.resources import Resources, Session

log = logging.getLogger(__name__)

AHEAD = 600  # mails made and not yet handed over
AHEAD_BYTES = 64_000_000
STEP = 200  # mails a step makes
STEP_BYTES = 8_000_000
FREEZE = 2000
FREEZE_FIRST = 250  # so that the first mails leave at once
LOOK_AGAIN = 5000  # recipients that a step of a repeat looks through
SOON = 0.1  # seconds until the next look while enough is under way
REST = 0.5  # the same while only the end is awaited
NOBODY = UUID(int=0)

_DUE = text(
    """
select b.*, p.plan, p.phi, p.mail_connection_id, p.deleted_at is not null as erased
  from broadcasts b join projects p on p.id = b.project_id
  where b.due_at <= now() order by b.due_at limit 1 for update of b skip locked
"""
)
_SOON = text("select 1 from broadcasts where due_at <= now() + interval '1 second' limit 1")
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
_PERSON = """
c.email, c.first_name, c.last_name, c.properties, coalesce(c.unsubscribed, true) as gone,
exists (select 1 from suppressions s where s.project_id = :project
  and s.recipient_key = c.recipient_key) as suppressed
"""
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
_KEEP = text(
    """
update broadcasts set status = :status, pause_reason = :pause_reason, retrying = :retrying,
    due_at = now() + make_interval(secs => cast(:wait as float8)), frozen = :frozen,
    frozen_to = cast(:frozen_to as uuid), fed_to = cast(:fed_to as uuid),
    audience = audience + :audience, fed = fed + :fed, suppressed = suppressed + :suppressed,
    unsubscribed = unsubscribed + :unsubscribed, canceled = canceled + :canceled,
    started_at = coalesce(started_at, due_at),
    finished_at = case when :ended then now() end
  where project_id = :project and id = :id
"""
)


class CannotGoOn(Exception):
    """What a broadcast needs is missing; it pauses with the reason until somebody resumes it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(slots=True)
class Step:
    """What one step changes; written down at its end."""

    row: Any
    status: str
    frozen: bool
    frozen_to: UUID | None
    fed_to: UUID | None
    retrying: bool
    wait: float | None = 0.0  # seconds until the next step; None: there is none
    pause_reason: str | None = None
    audience: int = 0
    fed: int = 0
    suppressed: int = 0
    unsubscribed: int = 0
    canceled: int = 0
    ring: set[Lane] = field(default_factory=set)
    refunds: Refunds = field(default_factory=dict)

    @classmethod
    def of(cls, row: Any) -> "Step":
        status = "queued" if row.status == "scheduled" else row.status
        return cls(row, status, row.frozen, row.frozen_to, row.fed_to, row.retrying)

    def pause(self, reason: str) -> None:
        """Stop here; what has its mail and its slot already may leave."""
        self.status, self.pause_reason, self.wait = "paused", reason, None

    def values(self) -> dict[str, Any]:
        names = ("status", "pause_reason", "retrying", "wait", "frozen", "frozen_to", "fed_to")
        counts = ("audience", "fed", "suppressed", "unsubscribed", "canceled")
        return {name: getattr(self, name) for name in names + counts} | {
            "project": self.row.project_id,
            "id": self.row.id,
            "ended": self.status in {"sent", "canceled"},
        }


async def step(resources: Resources, book: ConnectionBook) -> bool:
    """Take one step of the broadcast that has waited longest; False when none is due."""
    async with resources.sessions() as session:
        row = (await session.execute(_DUE)).one_or_none()
        if row is None:
            return False
        done = Step.of(row)
        try:
            await _take(session, resources, book, done)
        except QuotaMoved:
            # The ledger is read anew by the next step.
            return True
        await session.execute(_KEEP, done.values())
        # From here this much is frozen, and these people have their one mail.
        await session.commit()
    await quota.give_back(resources.redis, done.refunds)
    await ring_quietly(resources.redis, done.ring)
    return True


async def is_any_soon(resources: Resources) -> bool:
    """Whether a step will be due within a second."""
    async with resources.sessions() as session:
        return await session.scalar(_SOON) is not None


async def _take(session: Session, resources: Resources, book: ConnectionBook, done: Step) -> None:
    row = done.row
    if row.erased and done.status != "canceled":
        done.status, done.frozen = "canceled", True
        done.canceled = row.audience - row.fed - row.suppressed - row.unsubscribed - row.canceled
    if done.status == "canceled":
        await _clear(session, done)
    elif done.status == "paused":
        await _hold(session, done)
    else:
        try:
            writing = await _open(resources, book, done.row)
        except CannotGoOn as why:
            done.pause(why.reason)
        else:
            await _advance(session, resources, writing, done)


async def _hold(session: Session, done: Step) -> None:
    held = await broadcast_hold.hold(session, done.row)
    done.pause_reason = done.row.pause_reason
    # A mail that was being claimed or settled just now is looked for once more.
    done.wait = SOON if held else None


async def _clear(session: Session, done: Step) -> None:
    await broadcast_hold.hold(session, done.row)
    done.refunds = await broadcast_hold.take_out(session, done.row, CANCELED)
    left = await broadcast_hold.under_way(session, done.row, 1)
    done.wait = REST if left else None


async def _open(resources: Resources, book: ConnectionBook, row: Any) -> Writing:
    """What the mails are written with. Raises CannotGoOn."""
    plan = plans(resources.settings)[row.plan]
    if not plan.pro:
        raise CannotGoOn("plan")
    if row.mail_connection_id is None:
        raise CannotGoOn("no_provider")
    try:
        connection = await book.get(row.mail_connection_id)
    except (ConnectionGone, Unsealable):
        raise CannotGoOn("no_provider") from None
    if row.phi and not connection.info.phi_allowed:
        raise CannotGoOn("phi_not_allowed")
    words = broadcast_mails.words_of(row)
    writing = Writing(row, words, connection, row.phi, plan.monthly_limit)
    try:
        _ = writing.sender
    except InvalidPayload:
        raise CannotGoOn("no_sender") from None
    return writing


async def _advance(session: Session, resources: Resources, writing: Writing, done: Step) -> None:
    if not done.frozen:
        await _freeze(session, done)
    under_way = await broadcast_hold.under_way(session, done.row, AHEAD)
    size = len(done.row.html) + len(done.row.text or "") + 1000
    ahead = max(10, min(AHEAD, AHEAD_BYTES // size))
    most = min(max(1, STEP_BYTES // size), STEP)
    if under_way + most > ahead and under_way > 0:
        done.wait = SOON if done.frozen else 0.0
        return
    found = await _feed(session, resources, writing, done, most)
    if not found and done.frozen:
        await _finish(session, done, under_way)


async def _freeze(session: Session, done: Step) -> None:
    row = done.row
    most = FREEZE if row.audience else FREEZE_FIRST
    started = row.started_at or row.due_at
    frozen = (
        await session.execute(
            _FREEZE,
            {
                "project": row.project_id,
                "broadcast": row.id,
                "audience": row.audience_id,
                "after": row.frozen_to or NOBODY,
                "until": first_id_at(started + timedelta(milliseconds=1)),
                "most": most,
            },
        )
    ).one()
    done.audience = frozen.n
    done.frozen_to = frozen.last or row.frozen_to
    done.frozen = frozen.n < most


async def _room(session: Session, writing: Writing) -> int:
    """Slots that the month has left, as far as can be seen without holding anybody up."""
    month = quota.this_month()
    used = await quota.read_used(session, [writing.row.project_id], month)
    return quota.most(writing.limit) - used.get(writing.row.project_id, 0)


async def _feed(
    session: Session, resources: Resources, writing: Writing, done: Step, most: int
) -> bool:
    """Make mails for the next people in line; False when nobody is left."""
    rows, end = await _next(session, done, most)
    payable = _payable(rows, await _room(session, writing))
    if len(payable) < len(rows):
        if not payable:
            done.pause("monthly_limit")
            return True
        rows, end = payable, payable[-1].contact_id
    people = [_person(r) for r in rows if not r.gone and not r.suppressed]
    await _skip(session, done, [r for r in rows if r.gone or r.suppressed])
    again = [r.failed_mail for r in rows if r.failed_mail is not None]
    if again:
        await session.execute(_DETACH, {"project": done.row.project_id, "mails": again})
    if people:
        await broadcast_mails.write(session, resources, writing, people)
        done.ring.add(writing.lane)
    done.fed = len(people) - len(again)
    if end is None:
        return False
    done.fed_to = end
    return True


def _payable(rows: Sequence[Any], room: int) -> Sequence[Any]:
    """The first of these people, as far as the month's slots go; who gets no mail costs none."""
    for place, row in enumerate(rows):
        if not (row.gone or row.suppressed):
            if room <= 0:
                return rows[:place]
            room -= 1
    return rows


async def _next(session: Session, done: Step, most: int) -> tuple[Sequence[Any], UUID | None]:
    """The next people, and the recipient up to which everybody was looked at; None at the end."""
    row = done.row
    values = {
        "project": row.project_id,
        "broadcast": row.id,
        "audience": row.audience_id,
        "after": done.fed_to or NOBODY,
    }
    statement = _NEXT_FAILED if done.retrying else _NEXT
    rows = (await session.execute(statement, values | {"most": most})).all()
    if len(rows) == most or not done.retrying:
        return rows, rows[-1].contact_id if rows else None
    return rows, await session.scalar(_WINDOW_END, values)


def _person(row: Any) -> Person:
    return Person(row.contact_id, row.email, row.first_name, row.last_name, row.properties)


async def _skip(session: Session, done: Step, rows: Sequence[Any]) -> None:
    """Note who gets no mail: whoever left counts as unsubscribed, whether or not they are suppressed."""
    if not rows:
        return
    states = [3 if r.gone else 2 for r in rows]
    done.unsubscribed = states.count(3)
    done.suppressed = states.count(2)
    await session.execute(
        _SKIP,
        {
            "project": done.row.project_id,
            "broadcast": done.row.id,
            "contact": [r.contact_id for r in rows],
            "state": states,
        },
    )


async def _finish(session: Session, done: Step, under_way: int) -> None:
    """Everybody has their mail; it has ended when each of them was handed over."""
    done.retrying = False
    done.wait = REST
    if under_way:
        # What a pause had held while it was being handed over may have come back held.
        done.ring |= {Lane(*lane) for lane in await broadcast_hold.let_go(session, done.row)}
        return
    done.status, done.wait = "sent", None
    log.info("broadcast sent", extra={"broadcast": str(done.row.id), "fed": done.row.fed})
