"""What a person does about a mail that did not go its way: send it again, settle a parked one, read it."""

from dataclasses import dataclass
from datetime import datetime
from time import time
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import text

from postroom.domain import audit, content, logs, quota
from postroom.domain.accept import Letter
from postroom.domain.content import Content
from postroom.domain.settle import Refunds, drop_empty_attempts, fail_free
from postroom.domain.status import SHOWN, State
from postroom.errors import Conflict, Gone, Unsealable
from postroom.providers.base import OutgoingMail
from postroom.queue import Lane, ring
from postroom.resources import Keys, Redis, RedisError, Resources, Session

Outcome = Literal["sent", "resend", "failed"]
SETTLED_AS_FAILED = "Settled as failed by a member of the project."


_CONTENT = text(
    """
select content, keep_until from mail_contents
  where project_id = :project and mail_id = :id and keep_until > now()
union all
select content, null from outbox where project_id = :project and id = :id
limit 1
"""
)

# A mail that waits under a parked attempt stands free again; nothing else is touched.
_TAKE_FROM_ATTEMPT = text(
    """
with parked as (
  select o.id, o.attempt_id from outbox o join attempts a on a.id = o.attempt_id and a.parked
    where o.project_id = :project and o.id = :id for update of o)
update outbox o set attempt_id = null, turn = :now from parked p
  where o.project_id = :project and o.id = p.id
  returning p.attempt_id, o.connection_id, o.stream
"""
)
_AS_NEW = text(
    """
update mail_logs set outcome_unknown = false, reason = null
  where project_id = :project and id = :id
"""
)
# "+ 0": by its status the planner might read every queued mail.
_AS_SENT = text(
    f"""
with o as (
  delete from outbox where project_id = :project and id = :id and attempt_id is null
  returning project_id, id, content),
k as (
  insert into mail_contents (project_id, mail_id, content, keep_until)
    select o.project_id, o.id, o.content, now() + make_interval(days => p.content_retention_days)
    from o join projects p on p.id = o.project_id where p.content_retention_days > 0
  on conflict do nothing)
update mail_logs m set status = {State.SENT:d}, outcome_unknown = false, reason = null,
    sent_at = coalesce(m.sent_at, now())
  from o where m.project_id = o.project_id and m.id = o.id and m.status + 0 = {State.QUEUED:d}
"""
)


# ── Reading a mail's content ─────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Kept:
    """A mail's content, and until when it can be read (None: as long as it waits)."""

    mail: OutgoingMail
    default_sender: bool
    kept_until: datetime | None


async def _kept(session: Session, keys: Keys, row: Any) -> Kept | None:
    found = await session.execute(_CONTENT, {"project": row.project_id, "id": row.id})
    kept = found.one_or_none()
    if kept is None:
        return None
    try:
        opened: Content = content.unseal(keys.ring, row.project_id, row.id, bytes(kept.content))
    except Unsealable:
        raise Conflict(
            "The content cannot be opened: the key it was sealed under is gone.", code="unsealable"
        ) from None
    return Kept(opened.mail, opened.default_sender, kept.keep_until)


async def read_content(session: Session, keys: Keys, who: audit.Who, any_id: str) -> Kept:
    """A mail's content for a person, who is noted. Raises NotFound or Gone."""
    row = await logs.find(session, who.project_id, any_id)
    kept = await _kept(session, keys, row)
    if kept is None:
        raise Gone(
            "The content of this mail is not kept. Set contentRetentionDays on the project"
            " to keep what is sent from now on.",
            code="content_not_kept",
        )
    audit.note(session, who, "content.read", str(row.id))
    # Nobody reads without a trace: the answer follows the note.
    await session.commit()
    return kept


# ── Sending a failed mail again ──────────────────────────────────────────────────────────────────


async def letter_again(session: Session, keys: Keys, project_id: UUID, any_id: str) -> Letter:
    """A failed mail as a new one. Raises NotFound or Conflict."""
    row = await logs.find(session, project_id, any_id)
    if row.status != State.FAILED:
        shown = SHOWN[State(row.status)]
        raise Conflict(
            f"Only a failed mail can be sent again; this one is {shown}.", code="not_failed"
        )
    kept = await _kept(session, keys, row)
    if kept is None:
        raise Conflict(
            "The content of this mail is not kept, so it cannot be sent again."
            " Set contentRetentionDays on the project to keep the content of later mails.",
            code="content_not_kept",
        )
    mail = kept.mail
    return Letter(
        to=mail.to,
        subject=mail.subject,
        html=mail.html,
        text=mail.text,
        sender=None if kept.default_sender else mail.sender,
        cc=mail.cc,
        bcc=mail.bcc,
        reply_to=mail.reply_to,
        headers=dict(mail.headers),
        attachments=tuple(mail.attachments),
        tags=tuple(mail.tags),
        template=row.template,
    )


# ── Settling a parked mail ───────────────────────────────────────────────────────────────────────


async def resolve(resources: Resources, who: audit.Who, any_id: str, outcome: Outcome) -> UUID:
    """Settle a mail whose outcome nobody knows. Raises NotFound, or Conflict when it is not parked."""
    async with resources.sessions() as session:
        row = await logs.find(session, who.project_id, any_id)
        names = {"project": row.project_id, "id": row.id}
        now = {"now": int(time() * 1e6)}
        taken = (await session.execute(_TAKE_FROM_ATTEMPT, names | now)).one_or_none()
        if taken is None:
            raise Conflict(
                "The outcome of this mail is not in question, so there is nothing to settle.",
                code="not_parked",
            )
        refunds = await _settle(session, names, outcome)
        await drop_empty_attempts(session, [taken.attempt_id])
        audit.note(session, who, f"mail.resolved.{outcome}", str(row.id))
        # From here the mail has the state that a person gave it; a late answer changes nothing.
        await session.commit()
    await quota.give_back(resources.redis, refunds)
    if outcome == "resend":
        await _ring(resources.redis, Lane(taken.connection_id, taken.stream))
    return UUID(str(row.id))


async def _settle(session: Session, names: dict[str, Any], outcome: Outcome) -> Refunds:
    if outcome == "failed":
        mail = (names["project"], names["id"])
        _, refunds = await fail_free(session, [mail], SETTLED_AS_FAILED)
        return refunds
    await session.execute(_AS_SENT if outcome == "sent" else _AS_NEW, names)
    return {}


async def _ring(redis: Redis, lane: Lane) -> None:
    try:
        await ring(redis, [lane], time())
    except RedisError:
        # The sweep finds the lane within a second of Redis coming back.
        return
