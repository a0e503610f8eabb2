"""Addresses to which a project's mails do not go: listed, added, removed, imported; sealed where they lie."""

import base64
import csv
import struct
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import text

from postroom.crypto import recipient_key
from postroom.domain.mailboxes import bare
from postroom.errors import InvalidPayload, NotFound
from postroom.resources import Keys, Session

MANUAL = "manual"
STEP = 1000
MOST_TOLD = 1000  # refused lines that an import's answer names
LONGEST_LINE = 10_000
_CURSOR = struct.Struct(">qq")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_LIST = text(
    """
select recipient_key, reason, address, created_at from suppressions
  where project_id = :project and (created_at, recipient_key) < (:at, :key)
  order by created_at desc, recipient_key desc limit :limit
"""
)
_ADD = text(
    """
insert into suppressions (project_id, recipient_key, reason, address)
  select :project, * from unnest(cast(:key as bigint[]), cast(:reason as text[]),
    cast(:address as bytea[])) on conflict do nothing returning recipient_key
"""
)
_REMOVE = text(
    "delete from suppressions where project_id = :project and recipient_key = :key returning reason"
)


@dataclass(frozen=True, slots=True)
class Page:
    items: list[dict[str, Any]]
    next_cursor: str | None


@dataclass(slots=True)
class Report:
    """What became of an imported list."""

    total: int = 0
    added: int = 0
    known: int = 0
    failed: int = 0
    refused: list[dict[str, Any]] = field(default_factory=list)

    def refuse(self, line: int, reason: str) -> None:
        self.failed += 1
        if len(self.refused) < MOST_TOLD:
            self.refused.append({"line": line, "reason": reason})


def _bound(project_id: UUID) -> bytes:
    return b"suppression:" + project_id.bytes


def _cursor(row: Any) -> str:
    at = (row.created_at - _EPOCH) // timedelta(microseconds=1)
    return base64.urlsafe_b64encode(_CURSOR.pack(at, row.recipient_key)).decode().rstrip("=")


def _read_cursor(cursor: str | None) -> tuple[datetime, int]:
    """Where the page before ended; without a cursor, later than everything."""
    if cursor is None:
        return datetime(9999, 1, 1, tzinfo=UTC), 0
    try:
        at, key = _CURSOR.unpack(base64.urlsafe_b64decode(cursor + "=="))
        return _EPOCH + timedelta(microseconds=at), key
    except (ValueError, OverflowError, struct.error):
        raise InvalidPayload.at("cursor", "This cursor is not one of ours.") from None


async def list_suppressions(
    session: Session, keys: Keys, project_id: UUID, limit: int, cursor: str | None
) -> Page:
    """A project's suppressed addresses, newest first."""
    at, key = _read_cursor(cursor)
    rows = (
        await session.execute(
            _LIST, {"project": project_id, "at": at, "key": key, "limit": limit + 1}
        )
    ).all()
    items = [_item(keys, project_id, row) for row in rows[:limit]]
    return Page(items, _cursor(rows[limit - 1]) if len(rows) > limit else None)


def _item(keys: Keys, project_id: UUID, row: Any) -> dict[str, Any]:
    address = keys.ring.unseal(bytes(row.address), _bound(project_id)).decode()
    return {"address": address, "reason": row.reason, "createdAt": row.created_at}


async def add(
    session: Session, keys: Keys, project_id: UUID, addresses: Sequence[str], reason: str = MANUAL
) -> int:
    """Suppress addresses from now on; how many were not yet. The caller commits."""
    by_key = {recipient_key(keys.index, address): address for address in addresses}
    if not by_key:
        return 0
    rows = await session.execute(
        _ADD,
        {
            "project": project_id,
            # In order, so that two imports at once never wait for each other in a circle.
            "key": sorted(by_key),
            "reason": [reason] * len(by_key),
            "address": [
                keys.ring.seal(by_key[key].encode(), _bound(project_id)) for key in sorted(by_key)
            ],
        },
    )
    return len(rows.all())


async def suppress(session: Session, keys: Keys, project_id: UUID, addresses: Sequence[str]) -> int:
    """Suppress addresses that a person named; how many were not yet."""
    added = await add(session, keys, project_id, addresses)
    # From here no hand-over to these addresses begins.
    await session.commit()
    return added


async def remove(session: Session, keys: Keys, project_id: UUID, address: str) -> None:
    """Let mail to this address be tried again. Raises NotFound."""
    values = {"project": project_id, "key": recipient_key(keys.index, address)}
    found = await session.scalar(_REMOVE, values)
    # From here it may be written to.
    await session.commit()
    if found is None:
        raise NotFound("This address is not suppressed.")


# ── Import ───────────────────────────────────────────────────────────────────────────────────────


async def import_list(
    session: Session, keys: Keys, project_id: UUID, body: AsyncIterator[bytes]
) -> Report:
    """Suppress every address of a list, one a line, as CSV or JSON lines; never all of it in memory."""
    report = Report()
    step: list[str] = []
    async for number, line in _numbered_lines(body):
        address = _address_of(line)
        if address is None or (number == 1 and "@" not in address):
            # An empty line, or the names of the columns.
            continue
        report.total += 1
        try:
            step.append(bare(address))
        except ValueError:
            report.refuse(number, "This is not an address.")
        if len(step) >= STEP:
            await _write(session, keys, project_id, step, report)
            step = []
    await _write(session, keys, project_id, step, report)
    return report


async def _write(
    session: Session, keys: Keys, project_id: UUID, step: Sequence[str], report: Report
) -> None:
    added = await add(session, keys, project_id, step, "import")
    # These are suppressed, however far the rest comes.
    await session.commit()
    report.added += added
    report.known += len(step) - added


async def _numbered_lines(body: AsyncIterator[bytes]) -> AsyncIterator[tuple[int, str]]:
    number, rest = 0, b""
    async for part in body:
        *lines, rest = (rest + part).split(b"\n")
        if len(rest) > LONGEST_LINE:
            raise InvalidPayload("A line of this list is longer than any address.")
        for line in lines:
            number += 1
            yield number, _decoded(line)
    if rest:
        yield number + 1, _decoded(rest)


def _decoded(line: bytes) -> str:
    try:
        return line.decode("utf-8-sig").replace("\x00", "").strip()
    except UnicodeDecodeError:
        raise InvalidPayload("The list must be UTF-8 text.") from None


def _address_of(line: str) -> str | None:
    """The address of a line; None where the line is empty."""
    if not line:
        return None
    if line.startswith(("{", '"{')) or (line.startswith('"') and line.endswith('"')):
        found = _from_json(line)
        if found is not None:
            return found
    cells = _cells(line)
    return next((cell.strip() for cell in cells if "@" in cell), cells[0].strip() if cells else "")


def _cells(line: str) -> list[str]:
    """The cells of a line; one that is no CSV (a carriage return in its midst) is a single cell."""
    try:
        return next(csv.reader([line.replace(";", ",")]), [])
    except csv.Error:
        return [line]


def _from_json(line: str) -> str | None:
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    if isinstance(value, dict):
        value = value.get("address") or value.get("email") or ""
    return str(value)
