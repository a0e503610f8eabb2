"""What came of a call is written down: by attempt and fence, everything that waits in one statement.

The lock order everywhere is outbox, log, quota. A late writer changes nothing, except that a vendor's whole
answer, however late, may settle a parked attempt.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from postroom import metrics
from postroom.domain import quota
from postroom.domain.status import State
from postroom.resources import Redis, Session, Sessions

log = logging.getLogger(__name__)

TOGETHER = 64
FREE_AGAIN = 0
FIRST_POLL = "1 minute"

Refunds = dict[tuple[UUID, date], int]


@dataclass(frozen=True, slots=True)
class Settled:
    """What becomes of one mail of an attempt."""

    project_id: UUID
    mail_id: UUID
    to_status: int  # FREE_AGAIN, State.SENT or State.FAILED
    provider_id: str | None = None
    reason: str | None = None
    pack_max: int | None = None
    wait: float | None = None  # free again, but only after so many seconds
    ask: bool = False  # the vendor can be asked what became of it
    keep_days: int = 0  # for which the content stays readable, whatever the project's retention


@dataclass(eq=False, slots=True)
class Result:
    """What a worker knows of one attempt after its call."""

    attempt_id: UUID
    fence: int
    answered: bool = True  # the vendor's whole answer was read
    mails: Sequence[Settled] = ()
    repeat_in: float | None = None  # unknown, keyed: the seconds until the same call is made again
    park: bool = False  # unknown, and no repeat could clear it up
    reason: str | None = None
    done: asyncio.Future[bool] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


_SETTLE = text(
    f"""
with u as (select * from unnest(cast(:attempt as uuid[]), cast(:fence as int[]), cast(:answered as bool[]))
             u(id, fence, answered)),
a as (
  delete from attempts t using u
  where t.id = u.id and ((t.fence = u.fence and not t.parked) or (t.parked and u.answered))
  returning t.id),
i as (
  select u.* from unnest(
      cast(:of as uuid[]), cast(:project as uuid[]), cast(:mail as uuid[]), cast(:provider_id as text[]),
      cast(:to_status as smallint[]), cast(:reason as text[]), cast(:pack as smallint[]),
      cast(:keep as smallint[]), cast(:wait as float8[]),
      cast(:ask as bool[]))
    u(attempt_id, project_id, id, provider_id, to_status, reason, pack_max, keep, wait, ask)
  join a on a.id = u.attempt_id
  -- A mail that left a parked attempt (resolved, or proven by an event) is no longer this call's to settle.
  join outbox b on b.id = u.id and b.attempt_id = u.attempt_id),
o as (
  delete from outbox o using i
  where o.id = i.id and o.attempt_id = i.attempt_id and i.to_status > {FREE_AGAIN}
  returning o.project_id, o.id, o.content, i.keep),
f as (
  update outbox o set attempt_id = null, pack_max = coalesce(i.pack_max, o.pack_max),
    waits_until = now() + make_interval(secs => i.wait)
  from i where o.id = i.id and o.attempt_id = i.attempt_id and i.to_status = {FREE_AGAIN}),
k as (
  insert into mail_contents (project_id, mail_id, content, keep_until)
    select o.project_id, o.id, o.content,
      now() + make_interval(days => greatest(p.content_retention_days, o.keep))
    from o join projects p on p.id = o.project_id
    where greatest(p.content_retention_days, o.keep) > 0
  on conflict do nothing),
-- Lateral: joined, it would be read by its status where the planner believes that hardly any mail is queued.
x as (
  select l.* from i cross join lateral (
    select m.project_id, m.id, m.paid_month from mail_logs m
    where m.project_id = i.project_id and m.id = i.id and m.status = {State.QUEUED:d} and not m.refunded
    for update) l
  where i.to_status = {State.FAILED:d}),
m as (
  update mail_logs m set
    status = case when m.status = {State.QUEUED:d} and i.to_status > {FREE_AGAIN}
             then i.to_status else m.status end,
    refunded = m.refunded or i.refund, outcome_unknown = false, attempts = m.attempts + 1,
    provider_id = coalesce(i.provider_id, m.provider_id),
    sent_at = coalesce(m.sent_at, case when i.to_status = {State.SENT:d} then now() end),
    next_poll_at = case when i.ask and m.status <= {State.DEFERRED:d}
      then coalesce(m.next_poll_at, now() + interval '{FIRST_POLL}') end,
    reason = case when m.status > {State.SENT:d} then m.reason else i.reason end
  from (select i.*, x.id is not null as refund from i left join x using (project_id, id)) i
  where m.project_id = i.project_id and m.id = i.id),
d as (select project_id, paid_month, count(*) n from x group by 1, 2),
r as (
  update quota_months q set used = used - d.n from d
  where q.project_id = d.project_id and q.month = d.paid_month)
select a.id, null::uuid as project_id, null::date as month, 0::bigint as n from a
union all select null, project_id, paid_month, n from d
"""
)

_BACK_OFF = text(
    """
update attempts a set lease_until = now() + make_interval(secs => u.wait)
  from unnest(cast(:id as uuid[]), cast(:fence as int[]), cast(:wait as float8[])) u(id, fence, wait)
  where a.id = u.id and a.fence = u.fence and not a.parked returning a.id
"""
)

_SAY_WHY = text(
    """
update mail_logs m set reason = u.reason, attempts = m.attempts + 1
  from unnest(cast(:attempt as uuid[]), cast(:reason as text[])) u(attempt_id, reason)
  join outbox o on o.attempt_id = u.attempt_id and o.id = any(cast(:mail as uuid[]))
  where m.project_id = o.project_id and m.id = o.id
"""
)

_PARK = text(
    """
update attempts a set parked = true, fence = a.fence + 1
  from unnest(cast(:id as uuid[]), cast(:fence as int[])) u(id, fence)
  where a.id = u.id and a.fence = u.fence and not a.parked returning a.id, a.mail_ids
"""
)

# A mail of which an event already told needs no parking: what is known settles it. "+ 0" keeps the planner from
# reading every queued mail.
_MARK_PARKED = text(
    f"""
with o as (
  select o.id, o.project_id, o.attempt_id, m.status from outbox o
  join mail_logs m on m.project_id = o.project_id and m.id = o.id
  where o.id = any(cast(:mails as uuid[])) for update of o),
known as (delete from outbox o using o k where o.id = k.id and k.status > {State.QUEUED:d})
update mail_logs m set outcome_unknown = true, reason = coalesce(:reason, m.reason)
  from o where m.project_id = o.project_id and m.id = o.id and m.status + 0 = {State.QUEUED:d}
"""
)

_DROP_EMPTY = text(
    """
delete from attempts a where a.id = any(cast(:attempts as uuid[])) and a.parked
  and not exists (select 1 from outbox o where o.attempt_id = a.id)
"""
)

# Lateral, for the same reason as in _SETTLE.
_FAIL_FREE = text(
    f"""
with o as (
  delete from outbox o using unnest(cast(:project as uuid[]), cast(:mail as uuid[])) u(project_id, id)
  where o.id = u.id and o.project_id = u.project_id and o.attempt_id is null
  returning o.project_id, o.id, o.content),
k as (
  insert into mail_contents (project_id, mail_id, content, keep_until)
    select o.project_id, o.id, o.content, now() + make_interval(days => p.content_retention_days)
    from o join projects p on p.id = o.project_id where p.content_retention_days > 0
  on conflict do nothing),
x as (
  select l.* from o cross join lateral (
    select m.project_id, m.id, m.paid_month, m.refunded from mail_logs m
    where m.project_id = o.project_id and m.id = o.id and m.status = {State.QUEUED:d} for update) l),
m as (
  update mail_logs m set status = {State.FAILED:d}, reason = :reason, refunded = true,
    outcome_unknown = false
  from x where m.project_id = x.project_id and m.id = x.id),
d as (select project_id, paid_month, count(*) n from x where not refunded group by 1, 2),
r as (
  update quota_months q set used = used - d.n from d
  where q.project_id = d.project_id and q.month = d.paid_month)
select o.id, null::uuid as project_id, null::date as month, 0::bigint as n from o
union all select null, project_id, paid_month, n from d
"""
)


async def fail_free(
    session: Session, mails: Sequence[tuple[UUID, UUID]], reason: str
) -> tuple[set[UUID], Refunds]:
    """Fail (project, mail) pairs that wait or are free, and refund them; those that are bound stay.

    The caller commits, and gives the refunds back to the gate afterwards.
    """
    if not mails:
        return set(), {}
    rows = await session.execute(
        _FAIL_FREE,
        {"project": [p for p, _ in mails], "mail": [m for _, m in mails], "reason": reason},
    )
    return _ids_and_refunds(rows.all())


def _ids_and_refunds(rows: Sequence[Any]) -> tuple[set[UUID], Refunds]:
    ids = {row.id for row in rows if row.id is not None}
    refunds = {(row.project_id, row.month): row.n for row in rows if row.id is None}
    return ids, refunds


class Settler:
    """One task that writes all results that wait, for as long as it takes Postgres to be there."""

    def __init__(self, sessions: Sessions, redis: Redis) -> None:
        self._sessions = sessions
        self._redis = redis
        self._waiting: deque[Result] = deque()
        self._arrived = asyncio.Event()

    async def settle(self, result: Result) -> bool:
        """Write a result down; whether it was ours to write (a lapsed lease may have passed it on)."""
        self._waiting.append(result)
        self._arrived.set()
        return await asyncio.shield(result.done)

    async def settle_forever(self) -> None:
        """The settler: results that cannot be written stay first in line."""
        while True:
            if not self._waiting:
                self._arrived.clear()
                await self._arrived.wait()
            together = [self._waiting[i] for i in range(min(TOGETHER, len(self._waiting)))]
            await self._write(together)
            for _ in together:
                self._waiting.popleft()

    async def _write(self, results: list[Result]) -> None:
        delay = 0.05
        while True:
            try:
                ours, refunds = await self._write_once(results)
                break
            except (DBAPIError, OSError, TimeoutError):
                log.warning("results are written again", extra={"calls": len(results)})
                await asyncio.sleep(delay)
                delay = min(delay * 2, 2.0)
        for result in results:
            if result.attempt_id not in ours:
                metrics.FENCED_OUT.inc()
            if not result.done.done():
                result.done.set_result(result.attempt_id in ours)
        await quota.give_back(self._redis, refunds)

    async def _write_once(self, results: list[Result]) -> tuple[set[UUID], Refunds]:
        known = [r for r in results if r.mails]
        repeats = [r for r in results if r.repeat_in is not None]
        parks = [r for r in results if r.park]
        ours: set[UUID] = set()
        refunds: Refunds = {}
        async with self._sessions() as session:
            if known:
                ours, refunds = await _settle_known(session, known)
            if repeats:
                ours |= await _back_off(session, repeats)
            for result in parks:
                ours |= await _park(session, result)
            await session.commit()
        return ours, refunds


async def _settle_known(session: Session, results: Sequence[Result]) -> tuple[set[UUID], Refunds]:
    mails = [(r.attempt_id, mail) for r in results for mail in r.mails]
    rows = await session.execute(
        _SETTLE,
        {
            "attempt": [r.attempt_id for r in results],
            "fence": [r.fence for r in results],
            "answered": [r.answered for r in results],
            "of": [attempt_id for attempt_id, _ in mails],
            "project": [mail.project_id for _, mail in mails],
            "mail": [mail.mail_id for _, mail in mails],
            "provider_id": [mail.provider_id for _, mail in mails],
            "to_status": [mail.to_status for _, mail in mails],
            "reason": [mail.reason for _, mail in mails],
            "pack": [mail.pack_max for _, mail in mails],
            "keep": [mail.keep_days for _, mail in mails],
            "wait": [mail.wait for _, mail in mails],
            "ask": [mail.ask for _, mail in mails],
        },
    )
    return _ids_and_refunds(rows.all())


async def _back_off(session: Session, results: Sequence[Result]) -> set[UUID]:
    rows = await session.execute(
        _BACK_OFF,
        {
            "id": [r.attempt_id for r in results],
            "fence": [r.fence for r in results],
            "wait": [r.repeat_in for r in results],
        },
    )
    return {row.id for row in rows}


async def _park(session: Session, result: Result) -> set[UUID]:
    rows = await session.execute(_PARK, {"id": [result.attempt_id], "fence": [result.fence]})
    row = rows.one_or_none()
    if row is None:
        return set()
    await mark_parked(session, {row.id: row.mail_ids}, result.reason)
    return {row.id}


async def mark_parked(
    session: Session, attempts: Mapping[UUID, Sequence[UUID]], reason: str | None
) -> None:
    """Show the mails of parked attempts as outcome unknown, in the transaction that parks them."""
    mails = [mail_id for ids in attempts.values() for mail_id in ids]
    await session.execute(_MARK_PARKED, {"mails": mails, "reason": reason})
    await drop_empty_attempts(session, list(attempts))
    metrics.PARKED.inc(len(mails))


async def drop_empty_attempts(session: Session, attempt_ids: Sequence[UUID]) -> None:
    """Forget parked attempts whose every mail was settled by what is known."""
    if attempt_ids:
        await session.execute(_DROP_EMPTY, {"attempts": list(set(attempt_ids))})
