"""Old lines of the log go, with their events and what is left of their content, in bounded steps."""

import logging
from datetime import UTC, datetime, timedelta

from sqlalchemy import text

from postroom.domain import quota
from postroom.ids import first_id_at
from postroom.resources import Resources

log = logging.getLogger(__name__)

STEP = 500
STEPS = 40

# Ids sort by time, so each project's oldest mails are a range of the primary key, read from its beginning.
# A mail that still waits or is parked stays.
_DROP_OLD = text(
    """
with old as (
  select m.project_id, m.id from projects p, lateral (
    select m.project_id, m.id from mail_logs m
      where m.project_id = p.id and m.id < :before and m.paid_month < :month
        and not exists (select 1 from outbox o where o.id = m.id)
      order by m.id limit :step) m
  limit :step),
 mails as (
  delete from mail_logs m using old where m.project_id = old.project_id and m.id = old.id
  returning m.project_id, m.id),
 events as (delete from provider_events e using mails where e.mail_id = mails.id),
 contents as (
  delete from mail_contents c using mails where c.project_id = mails.project_id and c.mail_id = mails.id)
select count(*) from mails
"""
)


async def drop_old_logs(resources: Resources) -> int:
    """Remove what is older than LOG_RETENTION_DAYS; how many mails were. 0 days: everything is kept."""
    days = resources.settings.log_retention_days
    if not days:
        return 0
    month = quota.this_month()
    # The ledger of the month that is under way is checked against its mails: they stay.
    this_month = datetime(month.year, month.month, 1, tzinfo=UTC)
    oldest = min(this_month, datetime.now(UTC) - timedelta(days=days))
    values = {"before": first_id_at(oldest), "month": month, "step": STEP}
    total = 0
    for _ in range(STEPS):
        async with resources.sessions() as session:
            dropped = int(await session.scalar(_DROP_OLD, values) or 0)
            # What is gone is gone, however far we get.
            await session.commit()
        total += dropped
        if dropped < STEP:
            break
    if total:
        log.info("old mails dropped from the log", extra={"mails": total})
    return total
