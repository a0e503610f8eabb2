"""Does an account still report? Events in proportion to mails, now against the account's own history.

The counts live in Redis, an hour a field. A FLUSHALL forgets the history, and with it the alarm for a while;
nothing else depends on it.
"""

import logging
from dataclasses import dataclass
from time import time
from typing import Any
from uuid import UUID

from sqlalchemy import text

from postroom import metrics
from postroom.resources import Redis, RedisError, Resources

log = logging.getLogger(__name__)

HANDED, TOLD = "handed", "told"
RECENT_HOURS = 3
HISTORY_HOURS = 168
FEWEST_RECENT = 20  # mails; fewer say nothing
FEWEST_BEFORE = 50
USUALLY_AT_LEAST = 0.2  # events a mail, of an account that reports at all
FAR_BELOW = 0.25  # of what is usual
_SILENT = "reports:silent"

_ACCOUNTS = text(
    """
select id, provider, project_id from connections where removed_at is null
  and (cast(:project as uuid) is null or project_id = :project) order by id
"""
)


@dataclass(frozen=True, slots=True)
class AccountHealth:
    """How an account reports: recently, and usually (events a mail; None: too little is known)."""

    connection_id: int
    provider: str
    project_id: UUID | None
    handed: int
    told: int
    usual: float | None
    silent: bool


async def count(redis: Redis, connection_id: int, what: str, n: int) -> None:
    """Add to this hour's figure; without Redis it is missing, which says nothing."""
    if n <= 0:
        return
    key = _key(connection_id)
    try:
        async with redis.pipeline(transaction=False) as pipe:
            pipe.hincrby(key, f"{_hour()}:{what}", n)
            pipe.expire(key, (HISTORY_HOURS + 24) * 3600)
            await pipe.execute()
    except RedisError:
        log.warning("report not counted", extra={"connection": connection_id})


async def examine(resources: Resources, project_id: UUID | None = None) -> list[AccountHealth]:
    """Every account, or those of one project, with how it reports. Raises RedisError."""
    async with resources.sessions() as session:
        rows = (await session.execute(_ACCOUNTS, {"project": project_id})).all()
    return [
        _judged(row, await _hours(resources.redis, row.id), await _is_marked(resources, row.id))
        for row in rows
    ]


async def watch(resources: Resources) -> int:
    """The minute's look: alarm for each account that fell silent since the last one; how many are silent."""
    client: Any = resources.redis
    silent = 0
    for account in await examine(resources):
        if not account.silent:
            await client.srem(_SILENT, account.connection_id)
            continue
        silent += 1
        if await client.sadd(_SILENT, account.connection_id):
            metrics.ALARMS.labels("blackout").inc()
            extra = {"connection": account.connection_id, "handed": account.handed}
            log.error("account reports far less than it used to", extra=extra)
    return silent


async def silent_accounts(redis: Redis) -> int:
    """How many accounts the last look found silent. Raises RedisError."""
    client: Any = redis
    return int(await client.scard(_SILENT))


async def silent_ids(redis: Redis) -> frozenset[int]:
    """The accounts that the last look found silent. Raises RedisError."""
    client: Any = redis
    return frozenset(int(each) for each in await client.smembers(_SILENT))


def _key(connection_id: int) -> str:
    return f"reports:{connection_id}"


def _hour() -> int:
    return int(time() // 3600)


async def _is_marked(resources: Resources, connection_id: int) -> bool:
    client: Any = resources.redis
    return bool(await client.sismember(_SILENT, connection_id))


async def _hours(redis: Redis, connection_id: int) -> dict[tuple[int, str], int]:
    """The figures by hour; what is older than the history is dropped on the way."""
    client: Any = redis
    found: dict[bytes, bytes] = await client.hgetall(_key(connection_id))
    oldest = _hour() - HISTORY_HOURS
    figures, stale = {}, []
    for field, value in found.items():
        hour, _, what = field.decode().partition(":")
        if int(hour) < oldest:
            stale.append(field)
        else:
            figures[int(hour), what] = int(value)
    if stale:
        await client.hdel(_key(connection_id), *stale)
    return figures


def _judged(row: Any, figures: dict[tuple[int, str], int], marked: bool) -> AccountHealth:
    since = _hour() - RECENT_HOURS + 1

    def total(what: str, *, recent: bool) -> int:
        return sum(n for (hour, w), n in figures.items() if w == what and (hour >= since) == recent)

    handed, told = total(HANDED, recent=True), total(TOLD, recent=True)
    before = total(HANDED, recent=False)
    usual = total(TOLD, recent=False) / before if before >= FEWEST_BEFORE else None
    silent = marked
    if handed >= FEWEST_RECENT:
        reports = usual is not None and usual >= USUALLY_AT_LEAST
        silent = reports and told / handed < FAR_BELOW * (usual or 0)
    elif told:
        silent = False
    return AccountHealth(row.id, row.provider, row.project_id, handed, told, usual, silent)
