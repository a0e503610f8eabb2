"""Holding back a broadcast's mails that wait for their hand-over, letting them go again, taking them out.

A held mail waits for a time that never comes. That may be said of a mail that is being handed over too: if the
provider turns it away, it comes back held.
"""

from time import time
from typing import Any
from uuid import UUID

from sqlalchemy import text

from postroom.domain.settle import Refunds, fail_free
from postroom.domain.status import State
from postroom.domain.unsubscribe import WITHDRAWN
from postroom.resources import Session

STEP = 2000

# Rows that are locked are being claimed or settled at this moment; the next step sees what became of them.
_WAITING = f"""
select o.id from mail_logs m join outbox o on o.id = m.id and o.project_id = m.project_id
  where m.broadcast_id = :broadcast and m.project_id = :project and m.status = {State.QUEUED:d}
"""
_HOLD = text(
    f"""
update outbox set waits_until = 'infinity' where project_id = :project and id in (
  {_WAITING} and o.waits_until is null limit {STEP} for update of o skip locked)
"""
)
_LET_GO = text(
    f"""
update outbox o set waits_until = null, turn = cast(:turn as bigint) + x.place
  from (select id, row_number() over (order by id) as place from (
    {_WAITING} and o.waits_until is not null limit {STEP} for update of o skip locked) w) x
  where o.project_id = :project and o.id = x.id returning o.connection_id, o.stream
"""
)
_FREE = text(f"{_WAITING} and o.attempt_id is null limit {STEP} for update of o skip locked")
_LEFT = text(
    f"""
select o.id from mail_logs m join outbox o on o.id = m.id and o.project_id = m.project_id
  join broadcast_recipients r on r.broadcast_id = m.broadcast_id and r.mail_id = m.id
  left join contacts c on c.audience_id = :audience and c.id = r.contact_id
  where m.broadcast_id = :broadcast and m.project_id = :project and m.status = {State.QUEUED:d}
    and o.attempt_id is null and (c.id is null or c.unsubscribed)
  for update of o skip locked
"""
)
_UNDER_WAY = text(
    f"""
select count(*) from (select 1 from mail_logs where broadcast_id = :broadcast
  and project_id = :project and status = {State.QUEUED:d} and not outcome_unknown limit :most) x
"""
)


def _of(row: Any) -> dict[str, Any]:
    return {"broadcast": row.id, "project": row.project_id}


async def hold(session: Session, row: Any) -> int:
    """Keep a broadcast's mails from being handed over; how many were not held yet. The caller commits."""
    done = await session.execute(_HOLD, _of(row))
    return int(done.rowcount)  # type: ignore[attr-defined]  # a cursor's


async def let_go(session: Session, row: Any) -> set[tuple[int, int]]:
    """Let held mails stand in line again, at its end; the lanes to ring. The caller commits."""
    rows = await session.execute(_LET_GO, _of(row) | {"turn": int(time() * 1e6)})
    return {(r.connection_id, r.stream) for r in rows}


async def take_out(session: Session, row: Any, reason: str) -> Refunds:
    """Fail and refund the mails that are not being handed over. The caller commits."""
    ids = list(await session.scalars(_FREE, _of(row)))
    _, refunds = await fail_free(session, [(row.project_id, i) for i in ids], reason)
    return refunds


async def take_out_left(session: Session, row: Any) -> Refunds:
    """The same for mails to people who unsubscribed or went while theirs waited."""
    ids = list(await session.scalars(_LEFT, _of(row) | {"audience": row.audience_id}))
    pairs: list[tuple[UUID, UUID]] = [(row.project_id, i) for i in ids]
    _, refunds = await fail_free(session, pairs, WITHDRAWN)
    return refunds


async def under_way(session: Session, row: Any, most: int) -> int:
    """The broadcast's mails that were not handed over yet, counted up to `most`."""
    return int(await session.scalar(_UNDER_WAY, _of(row) | {"most": most}) or 0)
