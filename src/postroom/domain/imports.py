"""Contacts that come in as a file: written down in chunks at the door, made into contacts by the worker.

Each chunk becomes contacts in one transaction with the numbers that it moves, so an import goes on after a
crash where it was, and says at every moment what is done. It never subscribes anybody again.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import text

from postroom.crypto import recipient_key
from postroom.domain import quota
from postroom.domain.contact_files import ContactFile, Row, csv_lines, fields_of, read_flag
from postroom.domain.contacts import (
    LATEST,
    LONGEST_VALUE,
    UPSERT,
    as_id,
    page_of,
    require_audience,
)
from postroom.domain.mailboxes import bare
from postroom.domain.unsubscribe import withdraw
from postroom.errors import NotFound
from postroom.ids import new_id
from postroom.providers.lists import Json
from postroom.queue import ring_work
from postroom.resources import Keys, Resources, Session

log = logging.getLogger(__name__)

MOST_TOLD = 1000
EXPORT_STEP = 1000
MOST_PROPERTIES = 50
NOT_AN_ADDRESS = "This is not an address."

_BEGIN = text(
    """
insert into contact_imports (id, project_id, audience_id, status, columns, overwrite)
  values (:id, :project, :audience, 'receiving', cast(:columns as text[]), :overwrite)
"""
)
_KEEP_CHUNK = text(
    """
with u as (update contact_imports set rows = rows + :rows where id = :id and project_id = :project)
insert into import_chunks (import_id, number, project_id, lines)
  values (:id, :number, :project, cast(:lines as jsonb))
"""
)
_READY = text(
    "update contact_imports set status = 'queued' where id = :id and project_id = :project"
)
_ABANDON = text(
    """
with c as (delete from import_chunks where import_id = :id and project_id = :project)
delete from contact_imports where id = :id and project_id = :project
"""
)
_OPEN = text(
    """
select * from contact_imports where status in ('queued', 'in_progress')
  order by total, id limit 1 for update skip locked
"""
)
# Its request ended without a word: nobody was told that it would be done.
_ABANDONED = text(
    """
with i as (
  update contact_imports set status = 'failed', finished_at = now()
    where status = 'receiving' and created_at < now() - interval '1 hour' returning id)
delete from import_chunks where import_id in (select id from i)
"""
)
_CHUNK = text(
    """
delete from import_chunks where import_id = :id and project_id = :project and number = (
  select min(number) from import_chunks where import_id = :id and project_id = :project)
  returning lines
"""
)
_KNOWN = text(
    """
select recipient_key from contacts where project_id = :project and audience_id = :audience
  and recipient_key = any(cast(:keys as bigint[]))
"""
)
_REFUSE = text(
    f"""
insert into import_refusals (import_id, line, project_id, value, reason)
  select :id, u.line, :project, u.value, u.reason
    from unnest(cast(:line as int[]), cast(:value as text[]), cast(:reason as text[]))
      u(line, value, reason)
    where (select count(*) from import_refusals where import_id = :id) < {MOST_TOLD}
    limit {MOST_TOLD}
  on conflict do nothing
"""
)
_MOVE = text(
    """
update contact_imports set status = 'in_progress', started_at = coalesce(started_at, now()),
    total = total + :total, created = created + :created, updated = updated + :updated,
    skipped = skipped + :skipped, failed = failed + :failed
  where id = :id and project_id = :project
"""
)
_END = text(
    """
update contact_imports set status = 'completed', started_at = coalesce(started_at, now()),
    finished_at = now()
  where id = :id and project_id = :project
"""
)
_GET = text(
    """
select *, extract(epoch from coalesce(finished_at, now()) - started_at) as seconds
  from contact_imports where project_id = :project and audience_id = :audience and id = :id
"""
)
_LIST = text(
    """
select *, extract(epoch from coalesce(finished_at, now()) - started_at) as seconds
  from contact_imports where project_id = :project and audience_id = :audience and id < :after
  order by id desc limit :limit
"""
)
_REFUSED = text(
    """
select line, value, reason from import_refusals where import_id = :id and project_id = :project
  order by line limit 1000
"""
)
_PROPERTIES = text(
    f"""
select distinct jsonb_object_keys(properties) as name from contacts
  where project_id = :project and audience_id = :audience order by 1 limit {MOST_PROPERTIES}
"""
)
_EXPORT = text(
    """
select id, email, first_name, last_name, unsubscribed, created_at, properties from contacts
  where project_id = :project and audience_id = :audience and id > :after order by id limit :limit
"""
)


@dataclass(slots=True)
class _Contact:
    line: int
    email: str
    first_name: str | None
    last_name: str | None
    unsubscribed: bool
    properties: dict[str, str]


@dataclass(slots=True)
class _Refused:
    line: int
    value: str
    reason: str


@dataclass(slots=True)
class _Sorted:
    """A chunk's rows: contacts by address, what is none, and how often an address came again."""

    contacts: dict[int, _Contact] = field(default_factory=dict)
    refused: list[_Refused] = field(default_factory=list)
    again: int = 0


# ── At the door ──────────────────────────────────────────────────────────────────────────────────


async def receive(
    resources: Resources, project_id: UUID, audience: str, path: Path, overwrite: bool
) -> Json:
    """Write a file's rows down in chunks; when this returns, the import will be done."""
    audience_id, import_id = as_id(audience, "Audience"), new_id()
    file = await asyncio.to_thread(ContactFile, path)
    try:
        columns = await asyncio.to_thread(file.read_header)
        of = {"id": import_id, "project": project_id}
        async with resources.sessions() as session:
            await require_audience(session, project_id, audience_id)
            values = {"audience": audience_id, "columns": columns, "overwrite": overwrite}
            await session.execute(_BEGIN, of | values)
            # Visible as `receiving`; it is no promise yet.
            await session.commit()
            await _receive_chunks(session, file, of)
    finally:
        file.close()
    await ring_work(resources.redis)
    return {"object": "contact_import", "id": str(import_id)}


async def _receive_chunks(session: Session, file: ContactFile, of: dict[str, Any]) -> None:
    try:
        number = 0
        while chunk := await asyncio.to_thread(file.next_chunk):
            number += 1
            lines = orjson.dumps(chunk).decode()
            values = {"number": number, "rows": len(chunk), "lines": lines}
            await session.execute(_KEEP_CHUNK, of | values)
            # In steps, so that no transaction is open for as long as a file is long.
            await session.commit()
    except BaseException:
        await session.rollback()
        await session.execute(_ABANDON, of)
        # A file that could not be read to its end leaves nothing behind.
        await session.commit()
        raise
    await session.execute(_READY, of)
    # From here every row becomes a contact or a line of the report.
    await session.commit()


# ── In the worker ────────────────────────────────────────────────────────────────────────────────


async def step(resources: Resources) -> bool:
    """Make the next chunk of an open import into contacts; False when there is none."""
    async with resources.sessions() as session:
        row = (await session.execute(_OPEN)).one_or_none()
        if row is None:
            return False
        of = {"id": row.id, "project": row.project_id}
        lines = await session.scalar(_CHUNK, of)
        if lines is None:
            await session.execute(_END, of)
            refunds = {}
        else:
            refunds = await _take_in(session, resources.keys, row, lines)
        # These rows are contacts or refusals now, and counted.
        await session.commit()
    await quota.give_back(resources.redis, refunds)
    return True


async def abandon(session: Session) -> None:
    """Close imports whose request died while the file came in; the caller commits."""
    await session.execute(_ABANDONED)


async def _take_in(session: Session, keys: Keys, row: Any, lines: Sequence[Row]) -> dict[Any, int]:
    rows = await asyncio.to_thread(_sort, keys, row.columns, lines)
    where = {"project": row.project_id, "audience": row.audience_id}
    known = set(await session.scalars(_KNOWN, where | {"keys": list(rows.contacts)}))
    written = await session.execute(
        UPSERT, where | {"overwrite": row.overwrite} | _columns(rows.contacts)
    )
    changed = {r.recipient_key: r.id for r in written}
    left = [changed[k] for k, c in rows.contacts.items() if c.unsubscribed and k in changed]
    refunds = await withdraw(session, row.project_id, row.audience_id, left) if left else {}
    updated = len(changed.keys() & known)
    of = {"id": row.id, "project": row.project_id}
    if rows.refused:
        await session.execute(_REFUSE, of | _refusals(rows.refused))
    await session.execute(
        _MOVE,
        of
        | {
            "total": len(lines),
            "created": len(changed) - updated,
            "updated": updated,
            "skipped": len(rows.contacts) - len(changed) + rows.again,
            "failed": len(rows.refused),
        },
    )
    return refunds


def _sort(keys: Keys, columns: Sequence[str], lines: Sequence[Row]) -> _Sorted:
    rows = _Sorted()
    for line, cells in lines:
        fields = fields_of(columns, cells)
        value = fields.get("email", "")[:320]
        try:
            contact = _contact(line, fields, too_many=len(cells) > len(columns))
        except ValueError as wrong:
            rows.refused.append(_Refused(line, value, str(wrong)))
            continue
        key = recipient_key(keys.index, contact.email)
        rows.again += key in rows.contacts
        if key in rows.contacts:
            # The later row wins, but who unsubscribed in either of them is unsubscribed.
            contact.unsubscribed |= rows.contacts[key].unsubscribed
        rows.contacts[key] = contact
    return rows


def _contact(line: int, fields: dict[str, str], *, too_many: bool) -> _Contact:
    """A row as a contact; raises ValueError with the sentence for the report."""
    if too_many:
        raise ValueError("The row has more cells than the file has columns.")
    email = fields.pop("email", "")
    if not email:
        raise ValueError("The row has no address.")
    try:
        email = bare(email)
    except ValueError:
        raise ValueError(NOT_AN_ADDRESS) from None
    unsubscribed = read_flag(fields.pop("unsubscribed", ""))
    long = next((name for name, value in fields.items() if len(value) > LONGEST_VALUE), None)
    if long is not None:
        raise ValueError(f'"{long}" has more than {LONGEST_VALUE} characters.')
    first, last = fields.pop("first_name", None), fields.pop("last_name", None)
    return _Contact(line, email, first, last, unsubscribed, fields)


def _columns(contacts: dict[int, _Contact]) -> dict[str, Any]:
    rows = list(contacts.values())
    return {
        "id": [new_id() for _ in rows],
        "key": list(contacts),
        "email": [c.email for c in rows],
        "first_name": [c.first_name for c in rows],
        "last_name": [c.last_name for c in rows],
        "properties": [orjson.dumps(c.properties).decode() for c in rows],
        "unsubscribed": [c.unsubscribed for c in rows],
    }


def _refusals(refused: Sequence[_Refused]) -> dict[str, Any]:
    return {
        "line": [r.line for r in refused],
        "value": [r.value for r in refused],
        "reason": [r.reason for r in refused],
    }


# ── What one may ask ─────────────────────────────────────────────────────────────────────────────


def _item(row: Any) -> Json:
    seconds = float(row.seconds or 0)
    return {
        "object": "contact_import",
        "id": str(row.id),
        "audience_id": str(row.audience_id),
        "status": "queued" if row.status == "receiving" else row.status,
        "rows": row.rows,
        "counts": {
            "total": row.total,
            "created": row.created,
            "updated": row.updated,
            "skipped": row.skipped,
            "failed": row.failed,
        },
        "rows_per_second": round(row.total / seconds, 1) if seconds > 0 else None,
        "created_at": row.created_at,
        "finished_at": row.finished_at,
    }


async def get(session: Session, project_id: UUID, audience: str, import_id: str) -> Json:
    """How far an import is, and which rows it refused. Raises NotFound."""
    values = {
        "project": project_id,
        "audience": as_id(audience, "Audience"),
        "id": as_id(import_id, "Import"),
    }
    row = (await session.execute(_GET, values)).one_or_none()
    if row is None:
        raise NotFound("Import not found.")
    refused = await session.execute(_REFUSED, values)
    told = [{"line": r.line, "value": r.value, "reason": r.reason} for r in refused]
    return _item(row) | {"refused": told}


async def list_imports(session: Session, project_id: UUID, audience: str, limit: int) -> Json:
    """An audience's imports, newest first."""
    values = {
        "project": project_id,
        "audience": as_id(audience, "Audience"),
        "after": LATEST,
        "limit": limit + 1,
    }
    rows = (await session.execute(_LIST, values)).all()
    return page_of(rows, limit, [_item(row) for row in rows[:limit]])


async def export(resources: Resources, project_id: UUID, audience: str) -> AsyncIterator[bytes]:
    """An audience as CSV, a page at a time; the first step raises NotFound before anything is sent."""
    of = {"project": project_id, "audience": as_id(audience, "Audience")}
    async with resources.sessions() as session:
        await require_audience(session, project_id, of["audience"])
        names = list(await session.scalars(_PROPERTIES, of))
    return _export(resources, of, names)


async def _export(
    resources: Resources, of: dict[str, Any], names: Sequence[str]
) -> AsyncIterator[bytes]:
    header = ["email", "first_name", "last_name", "unsubscribed", "created_at", *names]
    yield csv_lines([header])
    after = UUID(int=0)
    while True:
        async with resources.sessions() as session:
            page = of | {"after": after, "limit": EXPORT_STEP}
            rows = (await session.execute(_EXPORT, page)).all()
        if not rows:
            return
        after = rows[-1].id
        yield csv_lines([_exported(row, names) for row in rows])


def _exported(row: Any, names: Sequence[str]) -> list[Any]:
    made = row.created_at.astimezone(UTC)
    assert isinstance(made, datetime)  # noqa: S101 - the column is a time
    return [
        row.email,
        row.first_name,
        row.last_name,
        row.unsubscribed,
        made.isoformat(),
        *[row.properties.get(name) for name in names],
    ]
