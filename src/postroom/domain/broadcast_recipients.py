"""What became of a broadcast for each person of its frozen audience; read from the log, where there is a mail."""

from typing import Any
from uuid import UUID

from sqlalchemy import text

from postroom.domain.broadcast_counts import SUPPRESSED, UNSUBSCRIBED
from postroom.domain.broadcast_people import NO_MAIL_LEFT, NO_MAIL_SUPPRESSED
from postroom.domain.contacts import USUAL_PAGE, after_of, as_id, page_of
from postroom.domain.status import SHOWN, State
from postroom.errors import NotFound
from postroom.providers.lists import Json, PageAsked
from postroom.resources import Session

_STATUS = text("select status from broadcasts where project_id = :project and id = :broadcast")
_LIST = text(
    """
select r.contact_id, r.state, r.mail_id, c.email, m.status, m.outcome_unknown, m.reason
  from broadcast_recipients r
  join broadcasts b on b.id = r.broadcast_id and b.project_id = r.project_id
  left join contacts c on c.audience_id = b.audience_id and c.id = r.contact_id
  left join mail_logs m on m.project_id = r.project_id and m.id = r.mail_id
  where r.project_id = :project and r.broadcast_id = :broadcast and r.contact_id > :after
  order by r.contact_id limit :limit
"""
)
_WITHOUT_MAIL = {NO_MAIL_SUPPRESSED: SUPPRESSED, NO_MAIL_LEFT: UNSUBSCRIBED}


async def list_recipients(
    session: Session, project_id: UUID, broadcast_id: str, page: PageAsked
) -> Json:
    """A page of the frozen audience, in the order of sending. Raises NotFound."""
    limit = page.limit or USUAL_PAGE
    values = {
        "project": project_id,
        "broadcast": as_id(broadcast_id, "Broadcast"),
        "after": after_of(page, UUID(int=0)),
        "limit": limit + 1,
    }
    status = await session.scalar(_STATUS, values)
    if status is None:
        raise NotFound("Broadcast not found.")
    rows = (await session.execute(_LIST, values)).all()
    return page_of(rows, limit, [_item(row, str(status)) for row in rows[:limit]])


def _item(row: Any, broadcast: str) -> Json:
    return {
        "id": str(row.contact_id),
        "email": row.email,
        "status": _shown(row, broadcast),
        "reason": row.reason,
        "mail_id": str(row.mail_id) if row.mail_id else None,
    }


def _shown(row: Any, broadcast: str) -> str:
    """One of the nine words that are counted."""
    if row.mail_id is None:
        waits = "failed" if broadcast == "canceled" else "queued"
        return _WITHOUT_MAIL.get(row.state, waits)
    if row.status is None:
        # The log no longer keeps this mail; it was handed over once.
        return "sent"
    if row.outcome_unknown:
        return "unknown"
    if row.status == State.FAILED and row.reason in {SUPPRESSED, UNSUBSCRIBED}:
        return str(row.reason)
    return SHOWN[State(row.status)]
