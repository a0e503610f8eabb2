"""Sealing everything anew under the first key, so that an old one can be dropped; in bounded steps."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import and_, select, tuple_, update
from sqlalchemy.orm import InstrumentedAttribute

from postroom.crypto import Keyring
from postroom.domain.connections import seal_name
from postroom.errors import Unsealable
from postroom.models import (
    Connection,
    MailContent,
    MailLog,
    OutboxMail,
    ProviderEvent,
    ServerSecret,
    Suppression,
)
from postroom.resources import Resources, Session

STEP = 500

Column = InstrumentedAttribute[Any]


@dataclass(frozen=True, slots=True)
class Sealed:
    """A column of sealed values, the key of its rows, and what each value is bound to."""

    column: Column
    key: tuple[Column, ...]
    bound_to: Callable[..., bytes]


# Mail content moves from the outbox to what is kept of it, never back: in this order nothing is missed.
EVERYTHING = (
    Sealed(ServerSecret.sealed, (ServerSecret.name,), lambda name: str(name).encode()),
    Sealed(Connection.sealed, (Connection.id,), seal_name),
    Sealed(OutboxMail.content, (OutboxMail.id,), lambda mail_id: mail_id.bytes),
    Sealed(
        MailContent.content,
        (MailContent.project_id, MailContent.mail_id),
        lambda _, mail_id: mail_id.bytes,
    ),
    Sealed(
        MailLog.sealed,
        (MailLog.project_id, MailLog.id),
        lambda _, mail_id: b"log:" + mail_id.bytes,
    ),
    Sealed(
        ProviderEvent.detail,
        (ProviderEvent.connection_id, ProviderEvent.event_id),
        lambda _, event_id: b"event:" + event_id.encode(),
    ),
    Sealed(
        Suppression.address,
        (Suppression.project_id, Suppression.recipient_key),
        lambda project_id, _: b"suppression:" + project_id.bytes,
    ),
)


class Count(NamedTuple):
    """How many values were sealed anew, and how many no key could open: those are left as they are."""

    resealed: int
    lost: int


async def reseal(resources: Resources) -> dict[str, Count]:
    """Seal anew what another key than the first one sealed; what came of it in each table."""
    rings = Rings(Keyring(resources.settings.encryption_keys[:1]), resources.keys.ring)
    return {
        sealed.column.class_.__tablename__: await _reseal_column(resources, rings, sealed)
        for sealed in EVERYTHING
    }


class Rings(NamedTuple):
    """The first key alone, and all of them."""

    first: Keyring
    every: Keyring


async def _reseal_column(resources: Resources, rings: Rings, sealed: Sealed) -> Count:
    found: list[bool | None] = []
    rows, last = [], None
    while last is None or len(rows) == STEP:
        async with resources.sessions() as session:
            rows = await _rows_after(session, sealed, last)
            found += [await _reseal_row(session, rings, sealed, row) for row in rows]
            # These open without the old keys now.
            await session.commit()
        last = rows[-1][:-1] if rows else ()
    return Count(found.count(True), found.count(None))


async def _rows_after(
    session: Session, sealed: Sealed, last: tuple[Any, ...] | None
) -> list[tuple[Any, ...]]:
    """The next rows, each its key and the sealed value."""
    wanted = select(*sealed.key, sealed.column).where(sealed.column.is_not(None))
    if last is not None:
        wanted = wanted.where(tuple_(*sealed.key) > last)
    found = await session.execute(wanted.order_by(*sealed.key).limit(STEP).with_for_update())
    return [tuple(row) for row in found]


async def _reseal_row(
    session: Session, rings: Rings, sealed: Sealed, row: tuple[Any, ...]
) -> bool | None:
    """Whether it had to be sealed anew; None when no key opens it."""
    key, value = row[:-1], bytes(row[-1])
    bound_to = sealed.bound_to(*key)
    if _open(rings.first, value, bound_to) is not None:
        return False
    if (plain := _open(rings.every, value, bound_to)) is None:
        return None
    same_row = and_(*(column == part for column, part in zip(sealed.key, key, strict=True)))
    fresh = {sealed.column: rings.first.seal(plain, bound_to)}
    await session.execute(update(sealed.column.class_).where(same_row).values(fresh))
    return True


def _open(ring: Keyring, value: bytes, bound_to: bytes) -> bytes | None:
    try:
        return ring.unseal(value, bound_to)
    except Unsealable:
        return None
