"""Audiences and contacts that we keep ourselves, for every provider that keeps none."""

import re
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import text

from postroom.crypto import recipient_key
from postroom.domain import quota
from postroom.domain.unsubscribe import withdraw
from postroom.errors import InvalidPayload, NotFound
from postroom.ids import new_id
from postroom.providers.lists import Audiences, Json, NewContact, PageAsked
from postroom.resources import Resources, Session

USUAL_PAGE = 100
LATEST = UUID(int=2**128 - 1)
MOST_PROPERTIES = 50
LONGEST_VALUE = 2000
_PROPERTY = re.compile(r"[A-Za-z0-9_]{1,50}")
_COLUMNS = "id, email, first_name, last_name, unsubscribed, properties, created_at"

_AUDIENCES = text(
    """
select a.id, a.name, a.created_at from audiences a
  where a.project_id = :project and a.id < :after and (:like = '' or a.name ilike :like)
  order by a.id desc limit :limit
"""
)
_SIZES = text(
    """
select audience_id, count(*) as contacts, count(*) filter (where not unsubscribed) as subscribed
  from contacts where project_id = :project and audience_id = any(cast(:ids as uuid[])) group by 1
"""
)
_CREATE = text("insert into audiences (project_id, id, name) values (:project, :id, :name)")
_AUDIENCE = text(
    "select id, name, created_at from audiences where project_id = :project and id = :id"
)
_DROP = text("delete from audiences where project_id = :project and id = :id returning id")
_DROP_CONTACTS = text(
    """
delete from contacts where project_id = :project and audience_id = :id and id in (
  select id from contacts where project_id = :project and audience_id = :id limit 5000)
"""
)
_CONTACTS = text(
    f"""
select {_COLUMNS} from contacts
  where project_id = :project and audience_id = :audience and id < :after
    and (:like = '' or email ilike :like or first_name ilike :like or last_name ilike :like)
  order by id desc limit :limit
"""
)
_FIND = text(
    f"""
select {_COLUMNS} from contacts
  where project_id = :project and audience_id = :audience and id = :id
"""
)
_UPDATE = text(
    """
update contacts set
    first_name = case when :set_first then :first_name else first_name end,
    last_name = case when :set_last then :last_name else last_name end,
    unsubscribed = coalesce(:unsubscribed, unsubscribed),
    properties = properties || cast(:properties as jsonb)
  where project_id = :project and audience_id = :audience and id = :id returning id
"""
)
_REMOVE = text(
    """
delete from contacts where project_id = :project and audience_id = :audience and id = :id
  returning id
"""
)
# Whoever unsubscribed stays so: no list that comes in says more than the person did.
UPSERT = text(
    """
insert into contacts as c (project_id, audience_id, id, email, recipient_key, first_name, last_name,
    properties, unsubscribed)
  select :project, :audience, i.id, i.email, i.key, i.first_name, i.last_name,
      i.properties::jsonb, coalesce(i.unsubscribed, false)
    from unnest(cast(:id as uuid[]), cast(:email as text[]), cast(:key as bigint[]),
      cast(:first_name as text[]), cast(:last_name as text[]), cast(:properties as text[]),
      cast(:unsubscribed as bool[]))
      as i(id, email, key, first_name, last_name, properties, unsubscribed)
    order by i.key
  on conflict (audience_id, recipient_key) do update set
      first_name = coalesce(excluded.first_name, c.first_name),
      last_name = coalesce(excluded.last_name, c.last_name),
      properties = c.properties || excluded.properties,
      unsubscribed = c.unsubscribed or excluded.unsubscribed
    where :overwrite and c.project_id = :project and (
      coalesce(excluded.first_name, c.first_name) is distinct from c.first_name
      or coalesce(excluded.last_name, c.last_name) is distinct from c.last_name
      or not c.properties @> excluded.properties
      or (excluded.unsubscribed and not c.unsubscribed))
  returning c.id, c.recipient_key
"""
)
_BY_KEY = text(
    """
select id from contacts where project_id = :project and audience_id = :audience
  and recipient_key = :key
"""
)
_THERE = text("select 1 from audiences where project_id = :project and id = :audience")
_LOCK_AUDIENCE = text(
    "select 1 from audiences where project_id = :project and id = :audience for key share"
)


def as_id(value: str, what: str) -> UUID:
    """The id, or NotFound for what can be no id of ours."""
    try:
        return UUID(value)
    except ValueError:
        raise NotFound(f"{what} not found.") from None


def after_of(page: PageAsked, start: UUID) -> UUID:
    """The last item of the page before, or where the first page starts."""
    if page.after is None:
        return start
    try:
        return UUID(page.after)
    except ValueError:
        raise InvalidPayload.at("after", "after must be the id of the last item before.") from None


def like(search: str | None) -> str:
    if not search:
        return ""
    return "%" + re.sub(r"([\\%_])", r"\\\1", search) + "%"


def page_of(rows: Sequence[Any], limit: int, items: Sequence[Json]) -> Json:
    """A list in the shape that all lists have."""
    return {"object": "list", "has_more": len(rows) > limit, "data": list(items)}


def check_properties(properties: Mapping[str, Any]) -> None:
    """Refuse what could be no property: names of letters and digits, short plain values."""
    if len(properties) > MOST_PROPERTIES:
        raise InvalidPayload.at(
            "properties", f"A contact has at most {MOST_PROPERTIES} properties."
        )
    for name, value in properties.items():
        if not _PROPERTY.fullmatch(name):
            raise InvalidPayload.at(
                "properties", "A property's name has 1 to 50 letters, digits or underscores."
            )
        if (
            not isinstance(value, str | int | float | bool | None)
            or len(str(value)) > LONGEST_VALUE
        ):
            raise InvalidPayload.at(
                "properties",
                f"A property's value is a text of at most {LONGEST_VALUE} characters, or a number.",
            )


def contact_json(row: Any) -> Json:
    return {
        "id": str(row.id),
        "email": row.email,
        "first_name": row.first_name,
        "last_name": row.last_name,
        "created_at": row.created_at,
        "unsubscribed": row.unsubscribed,
    }


def _typed(value: Any) -> Json:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return {"type": "number" if is_number else "string", "value": value}


async def require_audience(session: Session, project_id: UUID, audience_id: UUID) -> None:
    """Hold the audience until the commit, so that nothing is added to one that goes. Raises NotFound."""
    values = {"project": project_id, "audience": audience_id}
    if await session.scalar(_LOCK_AUDIENCE, values) is None:
        raise NotFound("Audience not found.")


async def look_for_audience(session: Session, project_id: UUID, audience_id: UUID) -> None:
    """Raise NotFound unless the audience is there, for those who only read."""
    values = {"project": project_id, "audience": audience_id}
    if await session.scalar(_THERE, values) is None:
        raise NotFound("Audience not found.")


class OwnAudiences(Audiences):
    """A project's audiences in our own database."""

    def __init__(self, resources: Resources, project_id: UUID) -> None:
        self._resources = resources
        self._project = project_id

    async def list_audiences(self, page: PageAsked) -> Json:
        limit = page.limit or USUAL_PAGE
        values = {"after": after_of(page, LATEST), "like": like(page.search), "limit": limit + 1}
        async with self._resources.sessions() as session:
            rows = (await session.execute(_AUDIENCES, {"project": self._project} | values)).all()
            sizes = await self._sizes(session, [row.id for row in rows[:limit]])
        items = [self._audience(row, sizes) for row in rows[:limit]]
        return page_of(rows, limit, items)

    async def _sizes(self, session: Session, ids: Sequence[UUID]) -> dict[UUID, tuple[int, int]]:
        rows = await session.execute(_SIZES, {"project": self._project, "ids": list(ids)})
        return {row.audience_id: (row.contacts, row.subscribed) for row in rows}

    def _audience(self, row: Any, sizes: Mapping[UUID, tuple[int, int]]) -> Json:
        contacts, subscribed = sizes.get(row.id, (0, 0))
        return {
            "id": str(row.id),
            "name": row.name,
            "created_at": row.created_at,
            "contacts": contacts,
            "subscribed": subscribed,
        }

    async def create_audience(self, name: str) -> Json:
        audience_id = new_id()
        async with self._resources.sessions() as session:
            await session.execute(
                _CREATE, {"project": self._project, "id": audience_id, "name": name}
            )
            # From here contacts may be added to it.
            await session.commit()
        return {"object": "audience", "id": str(audience_id), "name": name}

    async def get_audience(self, audience_id: str) -> Json:
        wanted = as_id(audience_id, "Audience")
        async with self._resources.sessions() as session:
            values = {"project": self._project, "id": wanted}
            row = (await session.execute(_AUDIENCE, values)).one_or_none()
            if row is None:
                raise NotFound("Audience not found.")
            return {"object": "audience"} | self._audience(
                row, await self._sizes(session, [wanted])
            )

    async def delete_audience(self, audience_id: str) -> Json:
        values = {"project": self._project, "id": as_id(audience_id, "Audience")}
        async with self._resources.sessions() as session:
            if await session.scalar(_DROP, values) is None:
                raise NotFound("Audience not found.")
            # From here it takes no contacts; those it has go in steps.
            await session.commit()
            while (await session.execute(_DROP_CONTACTS, values)).rowcount:  # type: ignore[attr-defined]  # a cursor's
                await session.commit()
        return {"object": "audience", "id": audience_id, "deleted": True}

    async def list_contacts(self, audience_id: str, page: PageAsked) -> Json:
        limit = page.limit or USUAL_PAGE
        values = self._of(audience_id) | {
            "after": after_of(page, LATEST),
            "like": like(page.search),
            "limit": limit + 1,
        }
        async with self._resources.sessions() as session:
            await look_for_audience(session, self._project, values["audience"])
            rows = (await session.execute(_CONTACTS, values)).all()
        return page_of(rows, limit, [contact_json(row) for row in rows[:limit]])

    async def create_contact(self, audience_id: str, contact: NewContact) -> Json:
        check_properties(contact.properties)
        values = self._of(audience_id)
        key = recipient_key(self._resources.keys.index, contact.email)
        async with self._resources.sessions() as session:
            await require_audience(session, self._project, values["audience"])
            rows = (await session.execute(UPSERT, values | _one(contact, key))).all()
            contact_id = rows[0].id if rows else None
            if contact_id is None:
                # Nothing was new about a contact that is known.
                contact_id = await session.scalar(_BY_KEY, values | {"key": key})
            # From here it belongs to the audience.
            await session.commit()
        return {"object": "contact", "id": str(contact_id)}

    async def get_contact(self, audience_id: str, contact_id: str) -> Json:
        values = self._of(audience_id, contact_id)
        async with self._resources.sessions() as session:
            row = (await session.execute(_FIND, values)).one_or_none()
        if row is None:
            raise NotFound("Contact not found.")
        properties = {name: _typed(value) for name, value in row.properties.items()}
        return {"object": "contact", **contact_json(row), "properties": properties}

    async def update_contact(
        self, audience_id: str, contact_id: str, changes: Mapping[str, Any]
    ) -> Json:
        properties = changes.get("properties") or {}
        check_properties(properties)
        values = self._of(audience_id, contact_id) | {
            "set_first": "first_name" in changes,
            "first_name": changes.get("first_name"),
            "set_last": "last_name" in changes,
            "last_name": changes.get("last_name"),
            "unsubscribed": changes.get("unsubscribed"),
            "properties": orjson.dumps(properties).decode(),
        }
        async with self._resources.sessions() as session:
            if await session.scalar(_UPDATE, values) is None:
                raise NotFound("Contact not found.")
            gone = [values["id"]] if changes.get("unsubscribed") else []
            refunds = await withdraw(session, self._project, values["audience"], gone)
            # From here broadcasts see it so.
            await session.commit()
        await quota.give_back(self._resources.redis, refunds)
        return {"object": "contact", "id": contact_id}

    async def delete_contact(self, audience_id: str, contact_id: str) -> Json:
        values = self._of(audience_id, contact_id)
        async with self._resources.sessions() as session:
            if await session.scalar(_REMOVE, values) is None:
                raise NotFound("Contact not found.")
            refunds = await withdraw(session, self._project, values["audience"], [values["id"]])
            # From here no broadcast reaches it any more.
            await session.commit()
        await quota.give_back(self._resources.redis, refunds)
        return {"object": "contact", "contact": contact_id, "deleted": True}

    def _of(self, audience_id: str, contact_id: str | None = None) -> dict[str, Any]:
        values: dict[str, Any] = {
            "project": self._project,
            "audience": as_id(audience_id, "Audience"),
        }
        if contact_id is not None:
            values["id"] = as_id(contact_id, "Contact")
        return values


def _one(contact: NewContact, key: int) -> dict[str, Any]:
    return {
        "id": [new_id()],
        "email": [contact.email],
        "key": [key],
        "first_name": [contact.first_name or None],
        "last_name": [contact.last_name or None],
        "properties": [orjson.dumps(dict(contact.properties)).decode()],
        "unsubscribed": [contact.unsubscribed],
        "overwrite": True,
    }
