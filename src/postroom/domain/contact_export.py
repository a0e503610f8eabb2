"""An audience as a file: CSV, a page at a time, whatever its size."""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC
from typing import Any
from uuid import UUID

from sqlalchemy import text

from postroom.domain.contact_files import csv_lines
from postroom.domain.contacts import as_id, look_for_audience
from postroom.resources import Resources

EXPORT_STEP = 1000
MOST_PROPERTIES = 50

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


async def export(resources: Resources, project_id: UUID, audience: str) -> AsyncIterator[bytes]:
    """An audience as CSV, a page at a time; the first step raises NotFound before anything is sent."""
    of = {"project": project_id, "audience": as_id(audience, "Audience")}
    async with resources.sessions() as session:
        await look_for_audience(session, project_id, of["audience"])
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
    return [
        row.email,
        row.first_name,
        row.last_name,
        row.unsubscribed,
        row.created_at.astimezone(UTC).isoformat(),
        *[row.properties.get(name) for name in names],
    ]
