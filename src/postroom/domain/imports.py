"""Contacts that come in as a file: written down in chunks at the door; `import_run` makes them contacts."""

import asyncio
import logging
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import text

from postroom.domain.contact_files import ContactFile
from postroom.domain.contacts import (
    LATEST,
    as_id,
    page_of,
    require_audience,
)
from postroom.errors import NotFound
from postroom.ids import new_id
from postroom.providers.lists import Json
from postroom.queue import ring_work
from postroom.resources import Resources, Session

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
# Its request ended without a word: nobody was told that it would be done.
_ABANDONED = text(
    """
with i as (
  update contact_imports set status = 'failed', finished_at = now()
    where status = 'receiving' and created_at < now() - interval '1 hour' returning id)
delete from import_chunks where import_id in (select id from i)
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


async def abandon(session: Session) -> None:
    """Close imports whose request died while the file came in; the caller commits."""
    await session.execute(_ABANDONED)


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
