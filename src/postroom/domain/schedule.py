"""Mails that wait for their time: cancel them, move them; a row's lock decides against a claim."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import text

from postroom.domain import quota
from postroom.domain.settle import fail_free
from postroom.errors import Conflict, NotFound
from postroom.resources import Redis, Session

CANCELED = "Canceled."
STEP = 500

_MOVE = text(
    """
with o as (
  update outbox set waits_until = :until where id = :id and project_id = :project
    and attempt_id is null returning id, project_id)
update mail_logs m set scheduled_at = :until from o
  where m.project_id = o.project_id and m.id = o.id returning m.id
"""
)
_EXISTS = text("select 1 from mail_logs where project_id = :project and id = :id")
_UNBOUND = text(
    """
select id from outbox where project_id = :project and attempt_id is null limit :step
  for update skip locked
"""
)


async def cancel(session: Session, redis: Redis, project_id: UUID, mail_id: UUID) -> None:
    """Cancel a mail that was not handed over, and refund it. Raises NotFound or Conflict."""
    gone, refunds = await fail_free(session, [(project_id, mail_id)], CANCELED)
    # From here it will never leave.
    await session.commit()
    if not gone:
        await _say_why_not(session, project_id, mail_id)
    await quota.give_back(redis, refunds)


async def move(session: Session, project_id: UUID, mail_id: UUID, until: datetime) -> None:
    """Let a mail that was not handed over wait for another time. Raises NotFound or Conflict."""
    moved = await session.scalar(_MOVE, {"project": project_id, "id": mail_id, "until": until})
    # From here it waits for the new time.
    await session.commit()
    if moved is None:
        await _say_why_not(session, project_id, mail_id)


async def _say_why_not(session: Session, project_id: UUID, mail_id: UUID) -> None:
    found = await session.scalar(_EXISTS, {"project": project_id, "id": mail_id})
    if found is None:
        raise NotFound("Mail log entry not found for this project.")
    raise Conflict(
        "The mail was already handed over, or is being handed over.", code="already_handed_over"
    )


async def cancel_all(session: Session, redis: Redis, project_id: UUID) -> int:
    """Cancel and refund everything of a project that is not under way, in bounded steps; how many."""
    total = 0
    while True:
        ids = list(await session.scalars(_UNBOUND, {"project": project_id, "step": STEP}))
        _, refunds = await fail_free(session, [(project_id, i) for i in ids], CANCELED)
        # These will never leave.
        await session.commit()
        await quota.give_back(redis, refunds)
        total += len(ids)
        if len(ids) < STEP:
            return total
