"""The minute's work: what may be forgotten, what took too long, what must agree; in bounded steps."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from time import time

from sqlalchemy import text

from postroom import metrics
from postroom.domain import erasing, imports, quota, retention, track
from postroom.domain.settle import fail_free
from postroom.resources import RedisError, Resources, Session

log = logging.getLogger(__name__)

STEP = 1000
STEPS = 50
_LOCK = 7_305_041_883  # one process a minute is enough

_FORGET_KEYS = text(
    f"""
delete from idempotency_keys where (project_id, key) in (
  select project_id, key from idempotency_keys where created_at < now() - interval '24 hours' limit {STEP})
"""
)
_DROP_CONTENT = text(
    f"""
delete from mail_contents where (project_id, mail_id) in (
  select project_id, mail_id from mail_contents where keep_until < now() order by keep_until limit {STEP})
"""
)
_TOO_OLD = text(
    f"""
select project_id, id from outbox
  where attempt_id is null and waits_until is null and turn < :before
  order by turn limit {STEP} for update skip locked
"""
)


async def tidy(resources: Resources) -> None:
    """Do the minute's work unless another process is at it."""
    async with _alone(resources) as mine:
        if not mine:
            return
        await _in_steps(resources, _FORGET_KEYS)
        await _in_steps(resources, _DROP_CONTENT)
        await give_up(resources)
        await retention.drop_old_logs(resources)
        await _early(resources)
        await erasing.erase_deleted(resources)
        await _correct_gates(resources)


@asynccontextmanager
async def _alone(resources: Resources) -> AsyncIterator[bool]:
    """Whether this process may do the minute's work; no transaction stays open meanwhile."""
    async with resources.engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        mine = bool(await connection.scalar(text(f"select pg_try_advisory_lock({_LOCK})")))
        try:
            yield mine
        finally:
            if mine:
                await connection.execute(text(f"select pg_advisory_unlock({_LOCK})"))


async def _correct_gates(resources: Resources) -> None:
    async with resources.sessions() as session:
        try:
            await quota.correct_gates(session, resources.redis)
        except RedisError:
            log.warning("gates wait for redis")


async def _in_steps(resources: Resources, statement: object) -> None:
    for _ in range(STEPS):
        async with resources.sessions() as session:
            done = await _rows(session, statement)
            # What is gone is gone, however far we get.
            await session.commit()
        if done < STEP:
            return


async def _rows(session: Session, statement: object) -> int:
    result = await session.execute(statement)  # type: ignore[call-overload]
    return int(result.rowcount)


async def give_up(resources: Resources) -> int:
    """Fail and refund mails that could not be handed over within MAIL_MAX_AGE_HOURS; how many."""
    age = timedelta(hours=resources.settings.mail_max_age_hours)
    before = int((time() - age.total_seconds()) * 1e6)
    total = 0
    while True:
        async with resources.sessions() as session:
            rows = (await session.execute(_TOO_OLD, {"before": before})).all()
            mails = [(row.project_id, row.id) for row in rows]
            _, refunds = await fail_free(session, mails, "expired")
            # Each of these mails has its final state now.
            await session.commit()
        await quota.give_back(resources.redis, refunds)
        total += len(mails)
        if len(mails) < STEP:
            return total


async def _early(resources: Resources) -> None:
    """Older events without their mail get a try an hour, and are dropped after three days."""
    if int(time() / 60) % 60 == 0:
        await track.apply_early(resources, younger_than=72 * 3600, older_than=600)
    async with resources.sessions() as session:
        await imports.abandon(session)
        await track.drop_early(session)
        # Nobody will ever ask for these.
        await session.commit()


async def check(resources: Resources) -> int:
    """The day's check: does each ledger equal its mails? The number that do not; each is an alarm."""
    month = quota.this_month()
    async with resources.sessions() as session:
        differences = await quota.check_ledger(session, month)
    for difference in differences:
        metrics.ALARMS.labels("ledger").inc()
        log.error(
            "ledger differs from mails",
            extra={
                "project": str(difference.project_id),
                "used": difference.used,
                "mails": difference.mails,
            },
        )
    return len(differences)
