"""Broadcasts that we send ourselves: written, sent, paused, canceled; `broadcast_run` does the sending."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import text

from postroom.domain import broadcast_counts, broadcast_hold, quota
from postroom.domain.accept import resolve_sender
from postroom.domain.connections import ConnectionInfo
from postroom.domain.contacts import (
    LATEST,
    USUAL_PAGE,
    after_of,
    as_id,
    like,
    page_of,
    require_audience,
)
from postroom.domain.projects import Caller
from postroom.domain.schedule import CANCELED
from postroom.domain.settle import Refunds
from postroom.errors import Conflict, NotFound
from postroom.ids import new_id
from postroom.providers.lists import Broadcasts, Draft, Json, PageAsked
from postroom.queue import Lane, ring_quietly, ring_work
from postroom.resources import Resources, Session

_COLUMNS = """
id, project_id, audience_id, name, subject, html, text, sender, reply_to, status, pause_reason,
scheduled_at, due_at, audience, fed, suppressed, unsubscribed, canceled, created_at, started_at, finished_at
"""
_CREATE = text(
    """
insert into broadcasts (id, project_id, audience_id, name, subject, html, text, sender, reply_to, scheduled_at)
  values (:id, :project, :audience, :name, :subject, :html, :text, :sender, cast(:reply_to as text[]),
    cast(:scheduled_at as timestamptz))
"""
)
_LIST = text(
    f"""
select {_COLUMNS} from broadcasts where project_id = :project and id < :after
    and (:search = '' or name ilike :search or subject ilike :search)
  order by id desc limit :limit
"""
)
_LOCK = text(
    f"select {_COLUMNS} from broadcasts where project_id = :project and id = :id for update"
)
_UPDATE = text(
    """
update broadcasts set audience_id = :audience, name = :name, subject = :subject, html = :html, text = :text,
    sender = :sender, reply_to = cast(:reply_to as text[]), scheduled_at = cast(:scheduled_at as timestamptz)
  where project_id = :project and id = :id
"""
)
_SEND = text(
    """
update broadcasts set status = :status, scheduled_at = cast(:at as timestamptz),
    due_at = coalesce(cast(:at as timestamptz), now()),
    started_at = case when cast(:at as timestamptz) is null then now() end, pause_reason = null
  where project_id = :project and id = :id
"""
)
_BACK_TO_DRAFT = text(
    """
update broadcasts set status = 'draft', due_at = null, scheduled_at = null
  where project_id = :project and id = :id
"""
)
_CANCEL = text(
    """
update broadcasts set status = 'canceled', pause_reason = null, due_at = now(), frozen = true,
    canceled = audience - fed - suppressed - unsubscribed, finished_at = now()
  where project_id = :project and id = :id
"""
)
_PAUSE = text(
    """
update broadcasts set status = 'paused', pause_reason = :reason, due_at = now()
  where project_id = :project and id = :id
"""
)
_GO_ON = text(
    """
update broadcasts set status = 'queued', pause_reason = null, due_at = now()
  where project_id = :project and id = :id
"""
)
_RETRY = text(
    """
update broadcasts set status = 'queued', retrying = true, fed_to = null, due_at = now(),
    finished_at = null
  where project_id = :project and id = :id
"""
)
_DELETE = text("delete from broadcasts where project_id = :project and id = :id")

BY_HAND = "paused"


def summary(row: Any) -> Json:
    """A broadcast as it stands in a list."""
    skipped = row.suppressed + row.unsubscribed + row.canceled
    return {
        "id": str(row.id),
        "name": row.name,
        "audience_id": str(row.audience_id),
        "segment_id": str(row.audience_id),
        "subject": row.subject,
        "status": row.status,
        "pause_reason": row.pause_reason,
        "created_at": row.created_at,
        "scheduled_at": row.scheduled_at,
        "sent_at": row.started_at,
        "finished_at": row.finished_at,
        "progress": {"done": row.fed + skipped, "total": row.audience},
    }


class OwnBroadcasts(Broadcasts):
    """A project's broadcasts in our own database."""

    def __init__(self, resources: Resources, caller: Caller, info: ConnectionInfo) -> None:
        self._resources = resources
        self._project = caller.project_id
        self._info = info

    async def list_broadcasts(self, page: PageAsked) -> Json:
        limit = page.limit or USUAL_PAGE
        values = {
            "project": self._project,
            "after": after_of(page, LATEST),
            "search": like(page.search),
            "limit": limit + 1,
        }
        async with self._resources.sessions() as session:
            rows = (await session.execute(_LIST, values)).all()
        return page_of(rows, limit, [summary(row) for row in rows[:limit]])

    async def create(self, draft: Draft) -> Json:
        broadcast_id = new_id()
        values = asdict(draft) | self._of(broadcast_id)
        # Said now rather than when it is to leave.
        resolve_sender(self._info, draft.sender)
        values["audience"] = as_id(draft.audience_id, "Audience")
        async with self._resources.sessions() as session:
            await require_audience(session, self._project, values["audience"])
            await session.execute(_CREATE, values | {"reply_to": list(draft.reply_to)})
            # From here it can be sent.
            await session.commit()
        return {"object": "broadcast", "id": str(broadcast_id)}

    async def get(self, broadcast_id: str) -> Json:
        wanted = as_id(broadcast_id, "Broadcast")
        async with self._resources.sessions() as session:
            row, counts = await broadcast_counts.read(session, self._project, wanted)
        return {
            "object": "broadcast",
            **summary(row),
            "from": row.sender or self._info.from_email,
            "reply_to": list(row.reply_to),
            "html": row.html,
            "text": row.text,
            "counts": asdict(counts),
        }

    async def update(self, broadcast_id: str, changes: Mapping[str, Any]) -> Json:
        async with self._resources.sessions() as session:
            row = await self._locked(session, broadcast_id, "draft")
            values = self._of(row.id) | {
                name: changes.get(name, getattr(row, name))
                for name in ("name", "subject", "html", "text", "sender", "scheduled_at")
            }
            values["reply_to"] = list(changes.get("reply_to", row.reply_to))
            values["audience"] = as_id(str(changes.get("audience_id", row.audience_id)), "Audience")
            await require_audience(session, self._project, values["audience"])
            await session.execute(_UPDATE, values)
            # From here this is what will be sent.
            await session.commit()
        return {"object": "broadcast", "id": broadcast_id}

    async def send(self, broadcast_id: str, scheduled_at: datetime | None) -> Json:
        async with self._resources.sessions() as session:
            row = await self._locked(session, broadcast_id, "draft", "scheduled")
            resolve_sender(self._info, row.sender)
            await require_audience(session, self._project, row.audience_id)
            at = scheduled_at or row.scheduled_at
            if at is not None and at <= datetime.now(UTC):
                at = None
            status = "queued" if at is None else "scheduled"
            await session.execute(_SEND, self._of(row.id) | {"status": status, "at": at})
            # From here the worker sends it, whatever becomes of this process.
            await session.commit()
        await ring_work(self._resources.redis)
        return {"object": "broadcast", "id": broadcast_id, "status": status, "scheduled_at": at}

    async def cancel(self, broadcast_id: str) -> Json:
        """A scheduled one becomes a draft again; one under way ends, as far as it was not handed over."""
        refunds: Refunds = {}
        async with self._resources.sessions() as session:
            row = await self._locked(session, broadcast_id, "scheduled", "queued", "paused")
            if row.status == "scheduled":
                await session.execute(_BACK_TO_DRAFT, self._of(row.id))
            else:
                await session.execute(_CANCEL, self._of(row.id))
                await broadcast_hold.hold(session, row)
                refunds = await broadcast_hold.take_out(session, row, CANCELED)
            # From here nothing of it is handed over any more.
            await session.commit()
        await quota.give_back(self._resources.redis, refunds)
        return {"object": "broadcast", "id": broadcast_id}

    async def pause(self, broadcast_id: str) -> Json:
        async with self._resources.sessions() as session:
            row = await self._locked(session, broadcast_id, "queued")
            await session.execute(_PAUSE, self._of(row.id) | {"reason": BY_HAND})
            await broadcast_hold.hold(session, row)
            # From here no call begins that carries a mail of it.
            await session.commit()
        return {"object": "broadcast", "id": broadcast_id, "status": "paused"}

    async def resume(self, broadcast_id: str) -> Json:
        async with self._resources.sessions() as session:
            row = await self._locked(session, broadcast_id, "paused")
            refunds = await broadcast_hold.take_out_left(session, row)
            lanes = await broadcast_hold.let_go(session, row)
            await session.execute(_GO_ON, self._of(row.id))
            # From here it goes on where it stopped.
            await session.commit()
        await quota.give_back(self._resources.redis, refunds)
        await ring_quietly(self._resources.redis, [Lane(*lane) for lane in lanes])
        await ring_work(self._resources.redis)
        return {"object": "broadcast", "id": broadcast_id, "status": "queued"}

    async def resend_failed(self, broadcast_id: str) -> Json:
        """Make new mails for those whose mail failed; everybody else is left alone."""
        async with self._resources.sessions() as session:
            row = await self._locked(session, broadcast_id, "sent")
            await session.execute(_RETRY, self._of(row.id))
            # From here the worker looks for them.
            await session.commit()
        await ring_work(self._resources.redis)
        return {"object": "broadcast", "id": broadcast_id, "status": "queued"}

    async def delete(self, broadcast_id: str) -> Json:
        async with self._resources.sessions() as session:
            row = await self._locked(session, broadcast_id, "draft", "scheduled")
            await session.execute(_DELETE, self._of(row.id))
            # From here it is forgotten.
            await session.commit()
        return {"object": "broadcast", "id": broadcast_id, "deleted": True}

    async def _locked(self, session: Session, broadcast_id: str, *wanted: str) -> Any:
        """The broadcast, held against the worker's next step, if it is in one of these states."""
        values = self._of(as_id(broadcast_id, "Broadcast"))
        row = (await session.execute(_LOCK, values)).one_or_none()
        if row is None:
            raise NotFound("Broadcast not found.")
        if row.status not in wanted:
            raise wrong_state(row.status, wanted)
        return row

    def _of(self, broadcast_id: UUID) -> dict[str, Any]:
        return {"project": self._project, "id": broadcast_id}


def wrong_state(status: str, wanted: Sequence[str]) -> Conflict:
    needed = " or ".join(wanted)
    return Conflict(
        f"This broadcast is {status}; that needs one that is {needed}.", code="wrong_state"
    )


def check_moved(expected: int | None, now: int) -> None:
    """Refuse to send to another number of people than was shown, beyond one in a hundred."""
    if expected is not None and abs(now - expected) > max(expected, 1) / 100:
        raise Conflict(
            f"The audience has changed: {now} people would get this broadcast, not {expected}.",
            code="audience_changed",
        )
