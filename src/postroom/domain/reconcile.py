"""Parked mails of projects that would rather send twice than not at all: freed after a while without evidence."""

import logging

from sqlalchemy import text

from postroom.domain.settle import drop_empty_attempts
from postroom.queue import Lane
from postroom.resources import Resources

log = logging.getLogger(__name__)

EVIDENCE_MINUTES = 15
STEP = 100

# The attempt is locked first: a late answer to it settles either before this, or nothing.
_PARKED = text(
    f"""
select a.id from attempts a
  where a.parked and a.called_at < now() - interval '{EVIDENCE_MINUTES} minutes'
    and exists (select from outbox o join projects p on p.id = o.project_id
      where o.attempt_id = a.id and o.id = any(a.mail_ids) and p.ambiguous_policy = 'resend')
  order by a.called_at limit {STEP} for update of a skip locked
"""
)

_FREE = text(
    """
with o as (
  update outbox o set attempt_id = null from projects p
    where p.id = o.project_id and p.ambiguous_policy = 'resend'
      and o.attempt_id = any(cast(:attempts as uuid[])) and o.id in (
        select unnest(a.mail_ids) from attempts a where a.id = any(cast(:attempts as uuid[])))
    returning o.project_id, o.id, o.connection_id, o.stream),
m as (
  update mail_logs m set outcome_unknown = false from o
    where m.project_id = o.project_id and m.id = o.id)
select connection_id, stream, count(*) as mails from o group by 1, 2
"""
)


async def resend_parked(resources: Resources) -> set[Lane]:
    """Free what was parked for a quarter of an hour where the project says so; the lanes that have work now."""
    async with resources.sessions() as session:
        attempts = list(await session.scalars(_PARKED))
        if not attempts:
            return set()
        freed = (await session.execute(_FREE, {"attempts": attempts})).all()
        await drop_empty_attempts(session, attempts)
        # These mails may now be sent a second time, as their project wishes.
        await session.commit()
    for row in freed:
        extra = {"connection": row.connection_id, "mails": row.mails}
        log.warning("parked mails are sent again", extra=extra)
    return {Lane(row.connection_id, row.stream) for row in freed}
