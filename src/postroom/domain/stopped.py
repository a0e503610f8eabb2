"""An account that its vendor refuses is stopped in Postgres, shown, and probed until it is mended."""

import logging

from sqlalchemy import text

from postroom import metrics
from postroom.domain import changes, pace
from postroom.resources import Redis, RedisError, Resources

log = logging.getLogger(__name__)

_STOP = text(
    """
update connections set stopped_at = coalesce(stopped_at, now()), stopped_reason = :reason
  where id = :id and removed_at is null
"""
)
_CLEAR = text("update connections set stopped_at = null, stopped_reason = null where id = :id")


async def stop(resources: Resources, connection_id: int, reason: str) -> None:
    """Stop calling an account; its mails wait, none is lost."""
    async with resources.sessions() as session:
        await session.execute(_STOP, {"id": connection_id, "reason": reason})
        # From here no process calls but to probe.
        await session.commit()
    metrics.ALARMS.labels("misconfigured").inc()
    log.error("provider account stopped", extra={"connection": connection_id, "reason": reason})
    await changes.publish(resources.redis, "connection", connection_id)


async def clear_stop(resources: Resources, connection_id: int) -> None:
    """The account was called and answered: it is mended."""
    async with resources.sessions() as session:
        await session.execute(_CLEAR, {"id": connection_id})
        # From here everybody calls again.
        await session.commit()
    log.info("provider account goes on", extra={"connection": connection_id})
    await changes.publish(resources.redis, "connection", connection_id)


async def mended(redis: Redis, connection_id: int) -> None:
    """New settings deserve a call at once, not at the next probe."""
    try:
        await pace.resume(redis, connection_id)
    except RedisError:
        log.warning("pause not ended", extra={"connection": connection_id})
