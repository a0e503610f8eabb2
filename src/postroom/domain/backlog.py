"""How much work waits, and for how long: what scaling and alarms look at."""

import logging
import time
from dataclasses import dataclass
from math import nan

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from postroom.queue import BULK, TRANSACTIONAL
from postroom.resources import Session, Sessions

log = logging.getLogger(__name__)

# Each lane's first mail, lane by lane along the index of free rows: no count, no scan.
_FIRST_TURNS = text("""
with recursive lane as (
  (select connection_id, stream, turn from outbox where attempt_id is null and waits_until is null
    order by 1, 2, 3 limit 1)
  union all
  select n.* from lane, lateral (
    select connection_id, stream, turn from outbox where attempt_id is null and waits_until is null
      and (connection_id, stream) > (lane.connection_id, lane.stream) order by 1, 2, 3 limit 1) n
)
select min(turn) from lane
""")
_DUE = text(
    "select stream, count(*) from outbox where attempt_id is null and waits_until is null group by 1"
)


@dataclass(frozen=True, slots=True)
class Backlog:
    """Mails that could leave now, by stream; not a number while nobody can say."""

    oldest_seconds: float = nan
    transactional: float = nan
    bulk: float = nan


async def oldest_due_seconds(session: Session) -> float:
    """The age of the oldest mail that could leave now, 0 when there is none."""
    turn = await session.scalar(_FIRST_TURNS)
    return 0.0 if turn is None else round(max(0.0, time.time() - turn / 1e6), 3)


async def look(sessions: Sessions) -> Backlog:
    """The whole outbox at a glance; an outage of the database is an answer too."""
    try:
        async with sessions() as session:
            oldest = await oldest_due_seconds(session)
            due = {stream: count for stream, count in await session.execute(_DUE)}
    except (DBAPIError, PoolTimeout, OSError, TimeoutError):
        log.warning("backlog not known")
        return Backlog()
    return Backlog(oldest, due.get(TRANSACTIONAL, 0), due.get(BULK, 0))
