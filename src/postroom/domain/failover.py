"""A lane whose account cannot be called now gives its free mails to the account that may take over.

Only on proven refusal (throttled, not sent, misconfigured), never on unknown, and never from an account that
may carry health data to one that may not, for a project that is marked so.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from time import time
from typing import Any
from uuid import UUID

from sqlalchemy import text

from postroom.domain import content, pace, quota
from postroom.domain.connections import ConnectionBook, ConnectionGone, OpenConnection
from postroom.domain.content import Content
from postroom.domain.settle import fail_free
from postroom.errors import Unsealable
from postroom.queue import Lane, ring
from postroom.resources import RedisError, Resources, Session

log = logging.getLogger(__name__)

STEP = 200

_PROJECTS = text(
    """
select p.id, p.phi, p.failover_connection_id as target
  from (select distinct project_id from (
          select project_id from outbox where connection_id = :connection and stream = :stream
            and attempt_id is null and waits_until is null order by turn limit 5000) o) o
  join projects p on p.id = o.project_id
"""
)

_FREE_OF = text(
    """
select o.id, o.project_id, o.content, o.pack_max, o.turn from outbox o
  where o.connection_id = :connection and o.stream = :stream and o.attempt_id is null
    and o.waits_until is null and o.project_id = any(cast(:projects as uuid[]))
    and (o.turn, o.id) > (:turn, cast(:after as uuid))
    and (:phi_allowed or not exists (select from projects p where p.id = o.project_id and p.phi))
  order by o.turn, o.id limit :step for update of o skip locked
"""
)

_MOVE = text(
    """
with o as (
  update outbox o set connection_id = :target, content = u.content, size = length(u.content),
      pack_max = u.pack_max
    from unnest(cast(:project as uuid[]), cast(:mail as uuid[]), cast(:content as bytea[]),
      cast(:pack as smallint[])) u(project_id, id, content, pack_max)
    where o.id = u.id and o.project_id = u.project_id and o.attempt_id is null
    returning o.project_id, o.id)
update mail_logs m set connection_id = :target, sender = s.sender
  from o join unnest(cast(:mail as uuid[]), cast(:sender as text[])) s(id, sender) using (id)
  where m.project_id = o.project_id and m.id = o.id
"""
)

_FREE_IDS = text(
    """
select project_id, id from outbox where connection_id = :connection and stream = :stream
  and attempt_id is null and waits_until is null order by turn limit :step for update skip locked
"""
)


async def move_lane(resources: Resources, book: ConnectionBook, lane: Lane) -> bool:
    """Move the lane's free mails that have somewhere to go; True when some were moved."""
    async with resources.sessions() as session:
        rows = await session.execute(
            _PROJECTS, {"connection": lane.connection_id, "stream": lane.stream}
        )
        targets: dict[int, list[UUID]] = {}
        shared = await book.shared_fallback(lane.connection_id)
        for row in rows:
            target = row.target or shared
            if (
                target is not None
                and target != lane.connection_id
                and await _may(book, row, target)
            ):
                targets.setdefault(target, []).append(row.id)
        await session.rollback()
    moved = 0
    for target, projects in targets.items():
        moved += await _move(resources, book, lane, Lane(target, lane.stream), projects)
    return moved > 0


async def _may(book: ConnectionBook, project: object, target: int) -> bool:
    """Whether a project's mails may leave by this account now."""
    try:
        connection = await book.get(target)
    except (ConnectionGone, Unsealable):
        return False
    phi = bool(getattr(project, "phi", True))
    return not connection.info.stopped and (connection.info.phi_allowed or not phi)


async def _move(
    resources: Resources, book: ConnectionBook, lane: Lane, to: Lane, projects: list[UUID]
) -> int:
    if await pace.is_paused(resources.redis, to.connection_id):
        return 0
    target = await book.get(to.connection_id)
    moved = 0
    place: Place = (0, UUID(int=0))
    async with resources.sessions() as session:
        while True:
            step = await _move_step(session, resources, lane, target, projects, place)
            # The mails now belong to the other account's line.
            await session.commit()
            moved += step.moved
            place = step.place
            if step.seen < STEP:
                break
    if moved:
        log.warning(
            "mails moved to the failover account",
            extra={"connection": lane.connection_id, "to": to.connection_id, "mails": moved},
        )
        try:
            await ring(resources.redis, [to], time())
        except RedisError:
            log.warning("bell not rung", extra={"connection": to.connection_id})
    return moved


Place = tuple[int, UUID]


@dataclass(frozen=True, slots=True)
class _Step:
    """What one step did, and where in the line the next one begins."""

    seen: int
    moved: int
    place: Place


async def _move_step(
    session: Session,
    resources: Resources,
    lane: Lane,
    target: OpenConnection,
    projects: list[UUID],
    place: Place,
) -> _Step:
    values = {
        "connection": lane.connection_id,
        "stream": lane.stream,
        "projects": projects,
        "turn": place[0],
        "after": place[1],
        # Asked again where the row is locked: a project may have been marked meanwhile.
        "phi_allowed": target.info.phi_allowed,
        "step": STEP,
    }
    rows = (await session.execute(_FREE_OF, values)).all()
    if not rows:
        return _Step(0, 0, place)
    wholes = [(row, _for_target(resources, target, row)) for row in rows]
    # What the other account could never carry waits for its own.
    going = [(row, w) for row, w in wholes if target.provider.refuses(w.mail) is None]
    if going:
        await session.execute(_MOVE, _moves(resources, target, going))
    return _Step(len(rows), len(going), (rows[-1].turn, rows[-1].id))


def _for_target(resources: Resources, target: OpenConnection, row: Any) -> Content:
    whole = content.unseal(resources.keys.ring, row.project_id, row.id, bytes(row.content))
    sender = target.info.from_email
    return content.from_account(whole, sender) if sender else whole


def _moves(
    resources: Resources, target: OpenConnection, going: Sequence[tuple[Any, Content]]
) -> dict[str, Any]:
    ring_, can = resources.keys.ring, target.provider.capabilities
    alone = [bool(w.mail.attachments) and not can.attachments_in_batch for _, w in going]
    return {
        "target": target.info.id,
        "project": [row.project_id for row, _ in going],
        "mail": [row.id for row, _ in going],
        "content": [content.seal(ring_, row.id, w) for row, w in going],
        "pack": [1 if one else can.batch_size for one in alone],
        "sender": [w.mail.sender for _, w in going],
    }


async def fail_lane(resources: Resources, lane: Lane, reason: str) -> None:
    """Fail and refund every free mail of a lane, in bounded steps."""
    while True:
        async with resources.sessions() as session:
            rows = await session.execute(
                _FREE_IDS,
                {"connection": lane.connection_id, "stream": lane.stream, "step": STEP},
            )
            mails = [(r.project_id, r.id) for r in rows]
            _, refunds = await fail_free(session, mails, reason)
            # Each of these mails has its final state now.
            await session.commit()
        await quota.give_back(resources.redis, refunds)
        if len(mails) < STEP:
            return
