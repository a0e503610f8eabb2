"""Mails of which nothing final was heard: ask the vendor, ever less often, inside the account's own pace.

Silence is never turned into a failure: a mail that nobody tells about stays sent.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from sqlalchemy import text

from postroom import metrics
from postroom.domain import pace, track
from postroom.domain.connections import ConnectionBook, ConnectionGone, OpenConnection
from postroom.domain.deliver import rate_of
from postroom.domain.pace import Lesson, Slot
from postroom.errors import Problem, ProviderRefused, Unsealable
from postroom.queue import BULK
from postroom.resources import RedisError, Resources

log = logging.getLogger(__name__)

# Seconds after the hand-over.
STEPS = (60.0, 300.0, 1800.0, 7200.0, 43_200.0, 86_400.0, 259_200.0)
SHARE = 0.2  # of an account's calls
USUAL_RATE = 10.0
BATCH = 20
MOST_A_MINUTE = 600
ACCOUNTS_AT_ONCE = 8
LONGEST_WAIT = 1.0
SECONDS_A_PASS = 45.0

_DUE = text(
    """
with recursive c as (
  (select connection_id from mail_logs where next_poll_at is not null
   order by connection_id limit 1)
 union all
  select n.connection_id from c, lateral (
    select connection_id from mail_logs where next_poll_at is not null
      and connection_id > c.connection_id order by connection_id limit 1) n)
select connection_id from c where exists (
  select from mail_logs m where m.connection_id = c.connection_id and m.next_poll_at <= now())
"""
)

# The next step is written before the question is asked: who dies meanwhile asks again then.
_CLAIM = text(
    """
update mail_logs m set next_poll_at = (
    select min(m.sent_at + make_interval(secs => s)) from unnest(cast(:steps as float8[])) s
    where m.sent_at + make_interval(secs => s) > now())
  from (select project_id, id from mail_logs
    where connection_id = :connection and next_poll_at <= now()
    order by next_poll_at limit :most for update skip locked) d
  where m.project_id = d.project_id and m.id = d.id
  returning m.project_id, m.id, m.provider_id
"""
)

_PUT_BACK = text(
    """
update mail_logs m set next_poll_at = now()
  from unnest(cast(:project as uuid[]), cast(:mail as uuid[])) u(project_id, id)
  where m.project_id = u.project_id and m.id = u.id
"""
)

_FORGET = text(
    """
update mail_logs set next_poll_at = null
  where connection_id = :connection and next_poll_at <= now()
"""
)


async def poll_due(resources: Resources, book: ConnectionBook) -> int:
    """Ask about every mail that is due, as far as each account's share of its pace goes; how many."""
    async with resources.sessions() as session:
        due = list(await session.scalars(_DUE))
    at_once = asyncio.Semaphore(ACCOUNTS_AT_ONCE)

    async def one(connection_id: int) -> int:
        async with at_once:
            return await _poll_account(resources, book, connection_id)

    return sum(await asyncio.gather(*(one(connection_id) for connection_id in due)))


async def _poll_account(resources: Resources, book: ConnectionBook, connection_id: int) -> int:
    try:
        connection = await book.get(connection_id)
    except (ConnectionGone, Unsealable):
        await _forget(resources, connection_id)
        return 0
    if not connection.provider.capabilities.receipts:
        await _forget(resources, connection_id)
        return 0
    if connection.info.stopped:
        return 0
    asked, budget = 0, budget_of(connection)
    deadline = asyncio.get_running_loop().time() + SECONDS_A_PASS
    while asked < budget and asyncio.get_running_loop().time() < deadline:
        rows = await _claim(resources, connection_id, min(BATCH, budget - asked))
        done = await _ask_in_turn(resources, connection, rows)
        asked += done
        if done < len(rows):
            await _put_back(resources, rows[done:])
        if done < BATCH:
            break
    return asked


def budget_of(connection: OpenConnection) -> int:
    """Questions that an account may be asked in a minute."""
    rate = rate_of(connection)
    calls = rate.set_by_owner or rate.usual or USUAL_RATE
    return min(MOST_A_MINUTE, max(BATCH, int(calls * 60 * SHARE)))


async def _forget(resources: Resources, connection_id: int) -> None:
    async with resources.sessions() as session:
        await session.execute(_FORGET, {"connection": connection_id})
        # Nobody can be asked about these: what is known of them stands.
        await session.commit()


async def _claim(resources: Resources, connection_id: int, most: int) -> Sequence[Any]:
    async with resources.sessions() as session:
        rows = (
            await session.execute(
                _CLAIM, {"connection": connection_id, "most": most, "steps": list(STEPS)}
            )
        ).all()
        # From here no other process asks about these.
        await session.commit()
    return rows


async def _put_back(resources: Resources, rows: Sequence[Any]) -> None:
    async with resources.sessions() as session:
        values = {"project": [r.project_id for r in rows], "mail": [r.id for r in rows]}
        await session.execute(_PUT_BACK, values)
        # They are the next to be asked about.
        await session.commit()


async def _ask_in_turn(
    resources: Resources, connection: OpenConnection, rows: Sequence[Any]
) -> int:
    """How many were asked about before the account had to be left alone."""
    for done, row in enumerate(rows):
        if row.provider_id is None:
            continue
        try:
            slot = await _leave(resources, connection)
            if slot is None:
                return done
            await _ask(resources, connection, row.provider_id, slot)
        except (Problem, RedisError) as trouble:
            metrics.POLLS.labels(connection.provider.name, "failed").inc()
            if not _concerns_mail(trouble):
                return done
    return len(rows)


def _concerns_mail(trouble: Exception) -> bool:
    """Whether the vendor refused this question only, so that others may be asked."""
    return isinstance(trouble, ProviderRefused) and trouble.status not in (401, 403, 429)


async def _leave(resources: Resources, connection: OpenConnection) -> Slot | None:
    """Leave for one question, behind every mail that wants to go; None when there is none soon."""
    number, rate = connection.info.id, rate_of(connection)
    leave = await pace.take(resources.redis, number, 1, BULK, rate)
    if not leave.slots and leave.wait <= LONGEST_WAIT:
        await asyncio.sleep(leave.wait)
        leave = await pace.take(resources.redis, number, 1, BULK, rate)
    return leave.slots[0] if leave.slots else None


async def _ask(
    resources: Resources, connection: OpenConnection, provider_id: str, slot: Slot
) -> None:
    loop = asyncio.get_running_loop()
    await asyncio.sleep(max(0.0, slot.at - loop.time()))
    sent = loop.time()
    try:
        live = await connection.provider.fetch_status(provider_id)
    finally:
        lesson = Lesson(sent, loop.time() - sent)
        await pace.give(resources.redis, connection.info.id, slot, lesson)
    metrics.POLLS.labels(connection.provider.name, "answered").inc()
    await track.track_events(resources, connection.info.id, live.events)
