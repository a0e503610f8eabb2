"""Imports under way: the worker makes a chunk after the other into contacts.

Each chunk becomes contacts in one transaction with the numbers that it moves, so an import goes on after a
crash where it was, and says at every moment what is done. It never subscribes anybody again.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from sqlalchemy import text

from postroom.crypto import recipient_key
from postroom.domain import quota
from postroom.domain.contact_files import Row, fields_of, read_flag
from postroom.domain.contacts import LONGEST_VALUE, UPSERT
from postroom.domain.mailboxes import bare
from postroom.domain.unsubscribe import withdraw
from postroom.ids import new_id
from postroom.resources import Keys, Resources, Session

MOST_TOLD = 1000
NOT_AN_ADDRESS = "This is not an address."

_OPEN = text(
    """
select * from contact_imports where status in ('queued', 'in_progress')
  order by total, id limit 1 for update skip locked
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
