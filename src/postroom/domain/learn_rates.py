"""How often a vendor lets an account call, asked where it can be asked, for the pace of all processes."""

import logging
from typing import Any

from sqlalchemy import text

from postroom.domain import pace
from postroom.domain.connections import ConnectionBook, ConnectionGone
from postroom.domain.pace import Lesson, Slot
from postroom.errors import Problem, Unsealable
from postroom.providers import PROVIDERS
from postroom.providers.base import Provider
from postroom.resources import RedisError, Resources

log = logging.getLogger(__name__)

AGAIN_SECONDS = 600

_ACCOUNTS = text(
    """
select id from connections where provider = any(cast(:providers as text[]))
  and removed_at is null and stopped_at is null order by id
"""
)


async def learn_rates(resources: Resources, book: ConnectionBook) -> int:
    """Ask each account that can tell, at most every ten minutes; how many told."""
    telling = [p.name for p in PROVIDERS if p.measure_rate is not Provider.measure_rate]
    async with resources.sessions() as session:
        accounts = list(await session.scalars(_ACCOUNTS, {"providers": telling}))
    told = 0
    for connection_id in accounts:
        try:
            told += await _learn(resources, book, connection_id)
        except (Problem, ConnectionGone, Unsealable, RedisError):
            log.warning("rate not learned", extra={"connection": connection_id})
    return told


async def _learn(resources: Resources, book: ConnectionBook, connection_id: int) -> bool:
    client: Any = resources.redis
    fresh = await client.set(f"rate-asked:{connection_id}", 1, nx=True, ex=AGAIN_SECONDS)
    if not fresh:
        return False
    connection = await book.get(connection_id)
    rate = await connection.provider.measure_rate()
    if rate is None:
        return False
    await pace.give(resources.redis, connection_id, Slot("-1", "", 0), Lesson(limit=rate))
    return True
