"""Parked mails of projects that would rather send twice than not at all (`ambiguousPolicy: resend`)."""

import logging

from sqlalchemy import text

from postroom.domain.settle import drop_empty_attempts
from postroom.resources import Resources

log = logging.getLogger(__name__)

STEP = 500
WITHOUT_EVIDENCE = "15 minutes"

# The turn stays: a mail that is never answered for expires as any other.
_FREE = text(
    f"""
with parked as (
  select o.id, o.project_id, o.attempt_id from attempts a
    join outbox o on o.attempt_id = a.id
    join projects p on p.id = o.project_id and p.ambiguous_policy = 'resend'
    where a.parked and a.called_at < now() - interval '{WITHOUT_EVIDENCE}'
    limit :step for update of o skip locked),
 freed as (
  update outbox o set attempt_id = null from parked p
    where o.project_id = p.project_id and o.id = p.id returning p.project_id, p.id, p.attempt_id),
 told as (
  update mail_logs m set outcome_unknown = false from freed f
    where m.project_id = f.project_id and m.id = f.id)
select attempt_id from freed
"""
)


async def free_parked(resources: Resources) -> int:
    """Free what stayed without evidence for long enough; how many mails. The sweep rings for them."""
    total = 0
    while True:
        async with resources.sessions() as session:
            attempts = list(await session.scalars(_FREE, {"step": STEP}))
            await drop_empty_attempts(session, attempts)
            # From here these mails are handed over anew, under a new key.
            await session.commit()
        total += len(attempts)
        if len(attempts) < STEP:
            break
    if total:
        log.info("parked mails freed by policy", extra={"mails": total})
    return total
