"""The net under the bells: what is due by the tables is found within a second, whatever was lost.

Each statement may run anywhere, at any time, in any number of processes.
"""

import asyncio
import logging
from collections.abc import Sequence
from time import time
from typing import Any
from uuid import UUID

from sqlalchemy import text

from postroom import metrics
from postroom.domain import pace, reconcile, track
from postroom.domain.claim import Attempt, BoundMail
from postroom.domain.connections import ConnectionBook, ConnectionGone, OpenConnection
from postroom.domain.deliver import Delivery
from postroom.domain.settle import Result, mark_parked
from postroom.errors import Unsealable
from postroom.queue import Lane, ring
from postroom.resources import RedisError, Resources, Session

log = logging.getLogger(__name__)

PROMOTE_STEP = 1000
PARK_STEP = 500
TAKE_OVER = 4
TAKE_OVERS = 8  # steps a sweep
KEY_LIFE = "23 hours"  # of the 24 h for which vendors remember a key
EVENT_YOUNG = 600.0

_DUE_LANES = text(
    """
with recursive l as (
  (select connection_id, stream from outbox where attempt_id is null and waits_until is null
   order by 1, 2 limit 1)
 union all
  select n.* from l, lateral (
    select connection_id, stream from outbox where attempt_id is null and waits_until is null
      and (connection_id, stream) > (l.connection_id, l.stream) order by 1, 2 limit 1) n)
select * from l
"""
)

_PROMOTE = text(
    f"""
update outbox set waits_until = null,
    turn = case when tries = 0 then (extract(epoch from waits_until) * 1e6)::bigint else turn end
  where id in (select id from outbox where waits_until <= now() order by waits_until
    limit {PROMOTE_STEP} for update skip locked)
  returning connection_id, stream
"""
)

_PARK = text(
    f"""
update attempts set parked = true, fence = fence + 1 where id in (
  select id from attempts where lease_until < now() and not parked
    and (not keyed or called_at <= now() - interval '{KEY_LIFE}')
  limit {PARK_STEP} for update skip locked)
  returning id, mail_ids
"""
)

_TAKE_OVER = text(
    f"""
update attempts a set fence = a.fence + 1, worker = :worker,
    lease_until = now() + make_interval(secs => :lease)
  from (select id from attempts where lease_until < now() and not parked and keyed
      and called_at > now() - interval '{KEY_LIFE}'
    order by lease_until limit {TAKE_OVER} for update skip locked) x
  where a.id = x.id
  returning a.id, a.connection_id, a.stream, a.fence, a.credential, a.wire, a.mail_ids
"""
)

_BOUND = text(
    """
select a.attempt_id, a.ord, o.id, o.project_id, o.content, o.pack_max
  from unnest(cast(:attempt as uuid[]), cast(:mail as uuid[])) with ordinality a(attempt_id, id, ord)
  join outbox o on o.id = a.id and o.attempt_id = a.attempt_id
  order by a.ord
"""
)

# The longest call there is, so that one lease fits every attempt that is taken over.
_LEASE = 65.0


class Sweep:
    """The second's work of one worker."""

    def __init__(
        self, resources: Resources, book: ConnectionBook, delivery: Delivery, worker: str
    ) -> None:
        self._resources = resources
        self._book = book
        self._delivery = delivery
        self._worker = worker

    async def once(self) -> None:
        """Promote, park, repeat, ring, apply what came early."""
        lanes = await self.promote()
        lanes |= await reconcile.resend_parked(self._resources)
        await self.park()
        await self.repeat_lapsed()
        lanes |= await self.due_lanes()
        await self._ring(lanes)
        await track.apply_early(self._resources, younger_than=EVENT_YOUNG)

    async def _ring(self, lanes: set[Lane]) -> None:
        if not lanes:
            return
        try:
            await ring(self._resources.redis, lanes, time())
        except RedisError:
            log.warning("due lanes wait for redis", extra={"lanes": len(lanes)})

    async def promote(self) -> set[Lane]:
        """Free the mails whose time has come."""
        lanes: set[Lane] = set()
        while True:
            async with self._resources.sessions() as session:
                rows = (await session.execute(_PROMOTE)).all()
                # These mails now stand in their lane's line.
                await session.commit()
            lanes |= {Lane(r.connection_id, r.stream) for r in rows}
            if len(rows) < PROMOTE_STEP:
                return lanes

    async def park(self) -> None:
        """Park lapsed attempts that must not be repeated: nobody can say whether they were sent."""
        while True:
            async with self._resources.sessions() as session:
                rows = (await session.execute(_PARK)).all()
                if rows:
                    lost = (
                        "The worker stopped during the call; the provider may have taken the mail."
                    )
                    await mark_parked(session, {r.id: r.mail_ids for r in rows}, lost)
                # Parked and shown in one transaction: a crash in between would hide them for ever.
                await session.commit()
            if len(rows) < PARK_STEP:
                return

    async def due_lanes(self) -> set[Lane]:
        """Every lane with a free mail."""
        async with self._resources.sessions() as session:
            rows = (await session.execute(_DUE_LANES)).all()
        return {Lane(r.connection_id, r.stream) for r in rows}

    async def repeat_lapsed(self) -> None:
        """Make lapsed calls again as they were: same key, same mails, same order, same account."""
        for _ in range(TAKE_OVERS):
            async with self._resources.sessions() as session:
                rows = (
                    await session.execute(_TAKE_OVER, {"worker": self._worker, "lease": _LEASE})
                ).all()
                # Whoever held these attempts is fenced out.
                await session.commit()
                bound = await _load(session, rows) if rows else {}
            for row in rows:
                await self._repeat(row, bound.get(row.id, []))
            if len(rows) < TAKE_OVER:
                return

    async def _repeat(self, row: Any, mails: list[BoundMail]) -> None:
        attempt = Attempt(
            id=row.id,
            lane=Lane(row.connection_id, row.stream),
            fence=row.fence,
            keyed=True,
            lease=_LEASE,
            claimed_at=asyncio.get_running_loop().time(),
            mails=tuple(mails),
        )
        connection, why_not = await self._may_repeat(row, mails)
        if connection is None:
            await self._delivery.settler.settle(
                Result(attempt.id, attempt.fence, park=True, reason=why_not)
            )
            return
        await self._call_again(connection, attempt)

    async def _may_repeat(
        self, row: Any, mails: Sequence[BoundMail]
    ) -> tuple[OpenConnection | None, str | None]:
        """The account to repeat at, or why a repeat would prove nothing."""
        if len(mails) != len(row.mail_ids):
            metrics.ALARMS.labels("attempt_incomplete").inc()
            log.error("attempt has lost mails", extra={"attempt": str(row.id)})
            return None, "Some mails of the same call are gone; it cannot be repeated as it was."
        try:
            connection = await self._book.get(row.connection_id)
        except (ConnectionGone, Unsealable):
            return None, "The provider connection was removed during the call."
        if connection.fingerprint != bytes(row.credential):
            return None, "The provider connection's credentials were replaced during the call."
        return connection, None

    async def _call_again(self, connection: OpenConnection, attempt: Attempt) -> None:
        try:
            leave = await pace.take(
                self._resources.redis,
                attempt.lane.connection_id,
                1,
                attempt.lane.stream,
                pace.rate_of(connection),
            )
        except RedisError:
            leave = pace.Leave((), 1.0)
        if leave.slots:
            self._delivery.start_call(connection, attempt, leave.slots[0])
            return
        wait = max(0.05, leave.wait)
        await self._delivery.settler.settle(Result(attempt.id, attempt.fence, repeat_in=wait))


async def _load(session: Session, rows: Sequence[Any]) -> dict[UUID, list[BoundMail]]:
    pairs = [(row.id, mail_id) for row in rows for mail_id in row.mail_ids]
    found = await session.execute(
        _BOUND, {"attempt": [a for a, _ in pairs], "mail": [m for _, m in pairs]}
    )
    bound: dict[UUID, list[BoundMail]] = {}
    for r in found:
        mail = BoundMail(r.project_id, r.id, bytes(r.content), r.pack_max)
        bound.setdefault(r.attempt_id, []).append(mail)
    return bound
