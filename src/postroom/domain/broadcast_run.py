"""The sending of broadcasts: one bounded step after the other, each one transaction under the broadcast's lock.

A step freezes some more of the audience and makes some more mails. Two workers never take the same step, and a
worker that dies in one leaves what was before it. Only some thousand mails are ahead of the hand-over.
"""

import logging
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy import text

from postroom.domain import broadcast_hold, broadcast_mails, broadcast_people, quota
from postroom.domain.broadcast_mails import QuotaMoved, Writing
from postroom.domain.connections import ConnectionBook, ConnectionGone
from postroom.domain.plans import plans
from postroom.domain.schedule import CANCELED
from postroom.domain.settle import Refunds
from postroom.errors import InvalidPayload, Unsealable
from postroom.queue import Lane, ring_quietly
from postroom.resources import Resources, Session

log = logging.getLogger(__name__)

AHEAD = 600  # mails made and not yet handed over
AHEAD_BYTES = 64_000_000
STEP = 200  # mails a step makes
STEP_BYTES = 8_000_000
FREEZE = 2000
FREEZE_FIRST = 250  # so that the first mails leave at once
SOON = 0.1  # seconds until the next look while enough is under way
REST = 0.5  # the same while only the end is awaited

_DUE = text(
    """
select b.*, p.plan, p.phi, p.mail_connection_id, p.deleted_at is not null as erased
  from broadcasts b join projects p on p.id = b.project_id
  where b.due_at <= now() order by b.due_at limit 1 for update of b skip locked
"""
)
_SOON = text("select 1 from broadcasts where due_at <= now() + interval '1 second' limit 1")
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


async def _room(session: Session, writing: Writing) -> int:
    """Slots that the month has left, as far as can be seen without holding anybody up."""
    month = quota.this_month()
    used = await quota.read_used(session, [writing.row.project_id], month)
    return quota.most(writing.limit) - used.get(writing.row.project_id, 0)


async def _freeze(session: Session, done: Step) -> None:
    row = done.row
    most = FREEZE if row.audience else FREEZE_FIRST
    frozen = await broadcast_people.freeze(session, row, most)
    done.audience = frozen.count
    done.frozen_to = frozen.last or row.frozen_to
    done.frozen = frozen.count < most


async def _feed(
    session: Session, resources: Resources, writing: Writing, done: Step, most: int
) -> bool:
    """Make mails for the next people in line; False when nobody is left."""
    row = done.row
    rows, end = await broadcast_people.next_people(session, row, most)
    payable = broadcast_people.payable(rows, await _room(session, writing))
    if len(payable) < len(rows):
        if not payable:
            done.pause("monthly_limit")
            return True
        rows, end = payable, payable[-1].contact_id
    people = [broadcast_people.person(r) for r in rows if not r.gone and not r.suppressed]
    without = [r for r in rows if r.gone or r.suppressed]
    done.suppressed, done.unsubscribed = await broadcast_people.skip(session, row, without)
    again = [r.failed_mail for r in rows if r.failed_mail is not None]
    await broadcast_people.detach(session, row, again)
    if people:
        await broadcast_mails.write(session, resources, writing, people)
        done.ring.add(writing.lane)
    done.fed = len(people) - len(again)
    done.fed_to = end or row.fed_to
    return end is not None


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
