"""What became of each mail: lists by cursor, one mail with its timeline, and the vendor's live answer."""

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import text

from postroom.crypto import recipient_key
from postroom.domain import pace, track
from postroom.domain.connections import ConnectionBook, ConnectionGone, OpenConnection
from postroom.domain.status import EVENT_STATES, SHOWN, State
from postroom.errors import InvalidPayload, NotFound, Unsealable, Unsupported
from postroom.ids import first_id_at
from postroom.providers.base import DeliveryEvent, LiveStatus
from postroom.queue import BULK, TRANSACTIONAL
from postroom.resources import Keys, RedisError, Resources, Session

STREAMS = {"transactional": TRANSACTIONAL, "bulk": BULK}
_ANY_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
_COLUMNS = """
m.id, m.project_id, m.connection_id, m.stream, m.status, m.outcome_unknown, m.reason, m.attempts,
m.recipients, m.to_count, m.recipient_states, m.subject, m.sealed, m.sender, m.template, m.tags,
m.provider_id, m.created_at, m.scheduled_at, m.sent_at, c.provider, c.project_id is not null as own
"""


@dataclass(frozen=True, slots=True)
class Filters:
    """Which mails of a project are asked for."""

    states: tuple[State, ...] = ()
    to: str | None = None
    subject: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    stream: int | None = None
    outcome_unknown: bool | None = None


@dataclass(frozen=True, slots=True)
class Page:
    items: list[dict[str, Any]]
    next_cursor: str | None


def cursor_of(mail_id: UUID) -> str:
    return base64.urlsafe_b64encode(mail_id.bytes).decode().rstrip("=")


def read_cursor(cursor: str) -> UUID:
    """The mail that the page before ended with."""
    try:
        return UUID(bytes=base64.urlsafe_b64decode(cursor + "=="))
    except ValueError:
        raise InvalidPayload.at("cursor", "This cursor is not one of ours.") from None


async def list_mails(
    session: Session, keys: Keys, project_id: UUID, filters: Filters, limit: int, cursor: str | None
) -> Page:
    """A project's mails, newest first; every filter but the subject is a range of an index."""
    conditions, values = _conditions(keys, filters, cursor)
    values |= {"project": project_id, "limit": limit + 1}
    # A range of the index for each state, merged: one range over several would have to be sorted.
    parts = [
        f"(select * from mail_logs where project_id = :project{conditions}{state}"
        " order by id desc limit :limit)"
        for state in [f" and status = {s:d}" for s in filters.states] or [""]
    ]
    rows = await session.execute(
        text(
            f"select {_COLUMNS} from ({' union all '.join(parts)}) m"
            " left join connections c on c.id = m.connection_id order by m.id desc limit :limit"
        ),
        values,
    )
    found = rows.all()
    items = [item(keys, row) for row in found[:limit]]
    return Page(items, cursor_of(found[limit - 1].id) if len(found) > limit else None)


def _conditions(keys: Keys, filters: Filters, cursor: str | None) -> tuple[str, dict[str, Any]]:
    wanted: list[tuple[str, str, Any]] = []
    if cursor is not None:
        wanted.append(("id < :cursor", "cursor", read_cursor(cursor)))
    if filters.since is not None:
        wanted.append(("id >= :since", "since", first_id_at(filters.since)))
    if filters.until is not None:
        wanted.append(("id < :until", "until", first_id_at(filters.until)))
    if filters.to is not None:
        wanted.append(("recipient_key = :to", "to", recipient_key(keys.index, filters.to)))
    if filters.subject is not None:
        escaped = re.sub(r"([\\%_])", r"\\\1", filters.subject)
        wanted.append(("subject ilike :subject", "subject", f"%{escaped}%"))
    if filters.stream is not None:
        wanted.append(("stream = :stream", "stream", filters.stream))
    if filters.outcome_unknown is not None:
        wanted.append(("outcome_unknown = :unknown", "unknown", filters.outcome_unknown))
    return "".join(f" and {c}" for c, _, _ in wanted), {name: v for _, name, v in wanted}


def item(keys: Keys, row: Any) -> dict[str, Any]:
    """A row of the log as it is documented."""
    recipients, subject = _private(keys, row)
    return {
        "id": str(row.id),
        "resendEmailId": row.provider_id,
        "provider": row.provider,
        "to": recipients[: row.to_count],
        "from": row.sender,
        "subject": subject,
        "status": SHOWN[State(row.status)],
        "outcomeUnknown": row.outcome_unknown,
        "usingByok": bool(row.own),
        "templateUsed": row.template,
        "sentAt": row.sent_at,
        "createdAt": row.created_at,
        "scheduledAt": row.scheduled_at,
        "lastError": row.reason,
        "attempts": row.attempts,
        "tags": row.tags or [],
        "stream": "bulk" if row.stream == BULK else "transactional",
        "recipients": _recipients(row, recipients),
    }


def _private(keys: Keys, row: Any) -> tuple[list[str], str | None]:
    """Recipients and subject; those of a health-data project are sealed."""
    if row.sealed is None:
        return list(row.recipients), row.subject
    opened = orjson.loads(keys.ring.unseal(bytes(row.sealed), b"log:" + row.id.bytes))
    return opened["recipients"], opened["subject"]


def _recipients(row: Any, addresses: Sequence[str]) -> list[dict[str, Any]]:
    """Each recipient with what is known of it; without news it shares the mail's status, but no one's fate."""
    states: dict[str, list[Any]] = row.recipient_states or {}
    common = [row.status, row.reason]
    if states and row.status > State.SENT and row.status != State.FAILED:
        # The mail's status is that of those who were named.
        common = [State.SENT, None]
    out = []
    for i, address in enumerate(addresses):
        state, reason = states.get(str(i), common)
        out.append({"address": address, "status": SHOWN[State(state)], "reason": reason})
    return out


_FIND = text(
    f"""
select {_COLUMNS} from mail_logs m left join connections c on c.id = m.connection_id
  where m.project_id = :project and (m.id = :uuid or m.provider_id = :id) limit 1
"""
)


def _as_uuid(value: str) -> UUID | None:
    try:
        return UUID(value)
    except ValueError:
        return None


async def find(session: Session, project_id: UUID, any_id: str) -> Any:
    """The row of a mail by our id or the provider's. Raises InvalidPayload or NotFound."""
    if not _ANY_ID.fullmatch(any_id):
        raise InvalidPayload("Invalid resendId format.", code="invalid_id")
    values = {"project": project_id, "id": any_id, "uuid": _as_uuid(any_id)}
    row = (await session.execute(_FIND, values)).one_or_none()
    if row is None:
        raise NotFound("Mail log entry not found for this project.")
    return row


_TIMELINE = text(
    """
select event_id, kind, at, code, detail from provider_events
  where project_id = :project and mail_id = :id order by at, received_at limit 500
"""
)


async def timeline(session: Session, keys: Keys, row: Any) -> list[dict[str, Any]]:
    """What happened to a mail, in order: our own steps and the provider's events."""
    steps: list[dict[str, Any]] = [_step("queued", row.created_at)]
    if row.sent_at is not None:
        steps.append(_step("sent", row.sent_at))
    events = await session.execute(_TIMELINE, {"project": row.project_id, "id": row.id})
    for event in events:
        detail = track.open_detail(keys, event.event_id, event.detail)
        steps.append(
            _step(event.kind, event.at)
            | {
                "recipient": detail.get("recipient"),
                "reason": detail.get("reason"),
                "code": event.code,
                "source": "provider",
            }
        )
    return sorted(steps, key=lambda step: step["at"])


def _step(kind: str, at: datetime) -> dict[str, Any]:
    return {
        "type": kind,
        "at": at,
        "recipient": None,
        "reason": None,
        "code": None,
        "source": "postroom",
    }


async def live_status(resources: Resources, book: ConnectionBook, row: Any) -> LiveStatus | None:
    """Ask the vendor about a mail, within the account's pace, and learn from the answer.

    None when it was not handed over, or the vendor cannot be asked now; its errors pass through.
    """
    if row.provider_id is None:
        return None
    try:
        connection = await book.get(row.connection_id)
        if not connection.provider.capabilities.receipts or not await _may_ask(
            resources, connection
        ):
            return None
        live = await connection.provider.fetch_status(row.provider_id)
    except (ConnectionGone, Unsealable, Unsupported):
        return None
    await track.track_events(resources, row.connection_id, _news(row, live.events))
    return live


def _news(row: Any, events: Sequence[DeliveryEvent]) -> Sequence[DeliveryEvent]:
    """Those that say more than is known: an answer is a state, and nothing happens because somebody looks.

    Resend's answer does not even tell a hard bounce from a soft one, when the webhook already did.
    """
    moving = [event for event in events if event.kind in EVENT_STATES]
    if len(moving) != 1:
        return events  # of several recipients, each of whom has a state of their own
    known = SHOWN[State(row.status)]
    return [e for e in events if e not in moving or SHOWN[EVENT_STATES[e.kind]] != known]


async def _may_ask(resources: Resources, connection: OpenConnection) -> bool:
    """Leave for one question; its slot frees itself."""
    try:
        leave = await pace.take(
            resources.redis, connection.info.id, 1, TRANSACTIONAL, pace.rate_of(connection)
        )
    except RedisError:
        return False
    return bool(leave.slots)
