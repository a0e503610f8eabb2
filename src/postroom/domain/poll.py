"""Mails of which nothing final was heard: ask the vendor, ever less often, inside the account's own pace.

Silence is never turned into a failure: a mail that nobody tells about stays sent. Questions are bounded three
times: by the account's pace, of which they get a share and behind every mail; by what one process spends on
them; and by the seconds of a pass, which accounts share in turn.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text

from postroom import metrics
from postroom.domain import pace, track
from postroom.domain.connections import ConnectionBook, ConnectionGone, OpenConnection
from postroom.domain.pace import Leave, Lesson, Slot
from postroom.errors import Problem, ProviderRefused, Unsealable
from postroom.providers.base import DeliveryEvent
from postroom.queue import BULK
from postroom.resources import RedisError, Resources

log = logging.getLogger(__name__)

# Seconds after the hand-over.
STEPS = (60.0, 300.0, 1800.0, 7200.0, 43_200.0, 86_400.0, 259_200.0)
SHARE = 0.2  # of an account's calls
USUAL_RATE = 10.0
MOST_A_MINUTE = 600
BATCH = 20  # questions for which an account is served before the next one is; their answers are one write
IN_FLIGHT = (
    4  # questions to one account at a time: a slow vendor holds up nobody, and few sockets are held
)
# A question costs a process about three milliseconds of its processor, much like a mail that is handed over:
# forty a second are an eighth of it, and while mails are being handed over they are hardly to be felt.
A_SECOND = 40.0
A_SECOND_WHILE_BUSY = 8.0
ACCOUNTS_AT_ONCE = 8
LONGEST_WAIT = 1.0
SECONDS_A_PASS = 45.0

# Who waits longest is served first.
_DUE = text(
    """
with recursive c as (
  (select connection_id from mail_logs where next_poll_at is not null
   order by connection_id limit 1)
 union all
  select n.connection_id from c, lateral (
    select connection_id from mail_logs where next_poll_at is not null
      and connection_id > c.connection_id order by connection_id limit 1) n)
select c.connection_id from c, lateral (
  select next_poll_at from mail_logs m where m.connection_id = c.connection_id
    and m.next_poll_at <= now() order by m.next_poll_at limit 1) m
order by m.next_poll_at
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


@dataclass(slots=True)
class _Account:
    """An account in the line of a pass, and how many questions it may still be asked in it."""

    connection: OpenConnection
    budget: int


class _Turns:
    """When the next question of this process may go, whichever account it is for."""

    def __init__(self, is_busy: Callable[[], bool]) -> None:
        self._is_busy = is_busy
        self._next = 0.0

    async def wait(self, questions: int) -> None:
        """Wait until so many may go."""
        now = asyncio.get_running_loop().time()
        at = max(now, self._next)
        self._next = at + questions / (A_SECOND_WHILE_BUSY if self._is_busy() else A_SECOND)
        await asyncio.sleep(at - now)


def _never() -> bool:
    return False


async def poll_due(
    resources: Resources, book: ConnectionBook, is_busy: Callable[[], bool] = _never
) -> int:
    """Ask about the mails that are due, as far as the bounds let a pass go; how many.

    `is_busy` tells whether this process is handing mails over, which comes first.
    """
    async with resources.sessions() as session:
        due = list(await session.scalars(_DUE))
    opened = [await _open(resources, book, connection_id) for connection_id in due]
    line = deque(account for account in opened if account is not None)
    turns = _Turns(is_busy)
    until = asyncio.get_running_loop().time() + SECONDS_A_PASS

    async def serve() -> int:
        asked = 0
        while line and asyncio.get_running_loop().time() < until:
            account = line.popleft()
            asked += await _ask_batch(resources, account, turns)
            if account.budget > 0:
                line.append(account)
        return asked

    return sum(await asyncio.gather(*(serve() for _ in range(ACCOUNTS_AT_ONCE))))


async def _open(resources: Resources, book: ConnectionBook, connection_id: int) -> _Account | None:
    """The account, if it can be asked now."""
    try:
        connection = await book.get(connection_id)
    except (ConnectionGone, Unsealable):
        await _forget(resources, connection_id)
        return None
    if not connection.provider.capabilities.receipts:
        await _forget(resources, connection_id)
        return None
    return None if connection.info.stopped else _Account(connection, budget_of(connection))


def budget_of(connection: OpenConnection) -> int:
    """Questions that an account may be asked in a minute."""
    rate = pace.rate_of(connection)
    calls = rate.set_by_owner or rate.usual or USUAL_RATE
    return min(MOST_A_MINUTE, max(BATCH, int(calls * 60 * SHARE)))


async def _ask_batch(resources: Resources, account: _Account, turns: _Turns) -> int:
    """How many of the account's next mails were asked about; one to be left alone has no budget after it."""
    number, most = account.connection.info.id, min(BATCH, account.budget)
    claimed = await _claim(resources, number, most)
    rows = [row for row in claimed if row.provider_id is not None]
    told: list[DeliveryEvent] = []
    try:
        left = await _ask_in_groups(resources, account.connection, rows, turns, told)
    finally:
        await track.track_events(resources, number, told)
    if left:
        await _put_back(resources, left)
    whole = not left and len(claimed) == most
    account.budget = account.budget - most if whole else 0
    return len(rows) - len(left)


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


async def _ask_in_groups(
    resources: Resources,
    connection: OpenConnection,
    rows: Sequence[Any],
    turns: _Turns,
    told: list[DeliveryEvent],
) -> Sequence[Any]:
    """Those of which nothing was learned before the account had to be left alone; answers go to `told`."""
    while rows:
        most = min(IN_FLIGHT, len(rows))
        # First the turn, then the leave: a slot that waits for a turn would be taken from a mail.
        await turns.wait(most)
        leave = await _leave(resources, connection, most)
        group, rows = rows[: len(leave.slots)], rows[len(leave.slots) :]
        answers = await asyncio.gather(
            *(
                _ask(resources, connection, row.provider_id, slot, told)
                for row, slot in zip(group, leave.slots, strict=True)
            )
        )
        if not group or not all(answers):
            silent = [row for row, answer in zip(group, answers, strict=True) if not answer]
            return [*silent, *rows]
    return ()


async def _leave(resources: Resources, connection: OpenConnection, most: int) -> Leave:
    """Leave for some questions, behind every mail that wants to go; none when there is none soon."""
    number, rate = connection.info.id, pace.rate_of(connection)
    try:
        leave = await pace.take(resources.redis, number, most, BULK, rate)
        if not leave.slots and leave.wait <= LONGEST_WAIT:
            await asyncio.sleep(leave.wait)
            leave = await pace.take(resources.redis, number, most, BULK, rate)
    except RedisError:
        log.warning("questions wait for redis", extra={"connection": number})
        return Leave(())
    return leave


async def _ask(
    resources: Resources,
    connection: OpenConnection,
    provider_id: str,
    slot: Slot,
    told: list[DeliveryEvent],
) -> bool:
    """Ask about one mail; False when the account is better left alone."""
    loop, name = asyncio.get_running_loop(), connection.provider.name
    await asyncio.sleep(max(0.0, slot.at - loop.time()))
    sent = loop.time()
    try:
        told += (await connection.provider.fetch_status(provider_id)).events
    except Problem as trouble:
        metrics.POLLS.labels(name, "failed").inc()
        return _concerns_mail(trouble)
    finally:
        await _give(resources, connection, slot, Lesson(sent, loop.time() - sent))
    metrics.POLLS.labels(name, "answered").inc()
    return True


async def _give(
    resources: Resources, connection: OpenConnection, slot: Slot, lesson: Lesson
) -> None:
    try:
        await pace.give(resources.redis, connection.info.id, slot, lesson)
    except RedisError:
        # The slot frees itself.
        log.warning("slot not given back", extra={"connection": connection.info.id})


def _concerns_mail(trouble: Exception) -> bool:
    """Whether the vendor refused this question only, so that others may be asked."""
    if not isinstance(trouble, ProviderRefused):
        return False
    return trouble.status < 500 and trouble.status not in (401, 403, 429)
