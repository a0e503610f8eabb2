"""What is left of a deleted project goes in bounded steps; the worker takes them."""

import logging
from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import delete, select, text

from postroom.domain import schedule
from postroom.models import Project
from postroom.resources import Resources, Session

log = logging.getLogger(__name__)

STEP = 1000

# Nobody will ever settle these: the project whose policy would do it is gone.
_PARKED = text("""
with gone as (
  delete from outbox o using attempts a
    where o.project_id = :project and o.attempt_id = a.id and a.parked returning o.id, a.id as attempt)
select distinct attempt from gone
""")
_EMPTY_ATTEMPTS = text("""
delete from attempts a where a.id = any(cast(:ids as uuid[])) and a.parked
  and not exists (select 1 from outbox o where o.id = any(a.mail_ids) and o.attempt_id = a.id)
""")
_PENDING = text("select exists (select 1 from outbox where project_id = :project)")
_MAILS = text("""
with mails as (
  delete from mail_logs where (project_id, id) in (
    select project_id, id from mail_logs where project_id = :project order by id limit :step)
  returning id),
 events as (delete from provider_events where mail_id in (select id from mails))
select count(*) from mails
""")
# Everything else that carries the project's id; audit events stay: they hold ids only.
_REST = tuple(
    text(
        f"with gone as (delete from {table} where ctid = any(array(select ctid from {table}"
        " where project_id = :project limit :step)) returning 1) select count(*) from gone"
    )
    for table in (
        "mail_contents",
        "suppressions",
        "idempotency_keys",
        "quota_months",
        "import_refusals",
        "import_chunks",
        "contact_imports",
        "audience_copies",
        "vendor_broadcasts",
        "vendor_sends",
    )
)
# Large, and found by what they belong to alone: these go first, their parents when they are gone.
_CHILDREN = tuple(
    text(
        f"with gone as (delete from {table} where ctid = any(array(select c.ctid from {table} c"
        f" join {parent}s p on p.id = c.{parent}_id where p.project_id = :project limit :step))"
        " returning 1) select count(*) from gone"
    )
    for table, parent in (("contacts", "audience"), ("broadcast_recipients", "broadcast"))
)
_PARENTS = tuple(
    text(
        f"with gone as (delete from {table} where project_id = :project returning 1)"
        " select count(*) from gone"
    )
    for table in ("audiences", "broadcasts")
)


async def erase_deleted(resources: Resources, steps: int = 50) -> None:
    """Work on every deleted project for a while; what is left is taken up the next time."""
    async with resources.sessions() as session:
        for project_id in await _deleted(session):
            await schedule.cancel_all(session, resources.redis, project_id)
            for _ in range(steps):
                if await erase(session, project_id):
                    log.info("project erased", extra={"project": str(project_id)})
                    break


async def _deleted(session: Session) -> Sequence[UUID]:
    found = await session.scalars(select(Project.id).where(Project.deleted_at.is_not(None)))
    return found.all()


async def erase(session: Session, project_id: UUID, step: int = STEP) -> bool:
    """Remove up to `step` rows of each kind; True when nothing is left, the project itself included.

    While a mail of the project is on its way to a provider, its rows stay for those who settle it.
    """
    await _drop_parked(session, project_id)
    if await session.scalar(_PENDING, {"project": project_id}):
        done = False
    else:
        counts = [await _count(session, s, project_id, step) for s in (_MAILS, *_REST)]
        counts += [await _count(session, s, project_id, step) for s in _CHILDREN]
        done = max(counts) < step
        if done:
            for statement in _PARENTS:
                await _count(session, statement, project_id, step)
            await session.execute(delete(Project).where(Project.id == project_id))
    # What is gone is gone, however far we get.
    await session.commit()
    return done


async def _drop_parked(session: Session, project_id: UUID) -> None:
    attempts = (await session.scalars(_PARKED, {"project": project_id})).all()
    if attempts:
        await session.execute(_EMPTY_ATTEMPTS, {"ids": attempts})


async def _count(session: Session, statement: object, project_id: UUID, step: int) -> int:
    values = {"project": project_id, "step": step}
    return int(await session.scalar(statement, values))  # type: ignore[call-overload]
