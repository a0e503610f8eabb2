"""Everything that the database holds of a project, to see that nobody has touched it."""

from typing import Any
from uuid import UUID

from sqlalchemy import text

from postroom.resources import Resources

_TENANT_TABLES = text(
    "select table_name from information_schema.columns"
    " where column_name = 'project_id' and table_schema = 'public' order by 1"
)


async def state(resources: Resources, project_id: UUID) -> dict[str, list[Any]]:
    """The rows of every table that has projects in it."""
    found = {}
    async with resources.sessions() as session:
        for table in await session.scalars(_TENANT_TABLES):
            rows = text(f"select t::text from {table} t where project_id = :p order by 1")
            found[table] = list(await session.scalars(rows, {"p": project_id}))
        own = text("select t::text from projects t where id = :p")
        found["projects"] = list(await session.scalars(own, {"p": project_id}))
    return found
