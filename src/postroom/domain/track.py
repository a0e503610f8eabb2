"""The provider reports: remember the event once, move the mail, suppress, refund.

Events come twice, late, early or never. Each is kept under its own id; one whose mail is not known yet waits
without it, and is applied when the id appears.
"""

import logging
from collections.abc import Sequence
from typing import Any

import orjson
from sqlalchemy import text

from postroom.crypto import recipient_key
from postroom.domain import content, quota, unsubscribe
from postroom.domain.accept import bare_address
from postroom.domain.moves import MailKey, move_mails
from postroom.domain.settle import Refunds
from postroom.providers.base import DeliveryEvent, EventKind
from postroom.resources import Keys, Resources, Session

log = logging.getLogger(__name__)

EARLY_STEP = 500
_REMEMBER = text(
    """
insert into provider_events (connection_id, event_id, provider_id, project_id, mail_id, kind, at, code, detail)
  select :connection, * from unnest(cast(:event as text[]), cast(:provider_id as text[]),
    cast(:project as uuid[]), cast(:mail as uuid[]), cast(:kind as text[]), cast(:at as timestamptz[]),
    cast(:code as text[]), cast(:detail as bytea[]))
on conflict do nothing returning event_id
"""
)

# Shared accounts report to one address: any of their connections may have carried the mail.
_BY_PROVIDER_ID = text(
    """
select m.project_id, m.id, m.provider_id from mail_logs m
  where m.provider_id = any(cast(:ids as text[])) and m.connection_id = any(cast(:connections as int[]))
"""
)

_BY_REF = text(
    """
select m.project_id, m.id from mail_logs m
  join unnest(cast(:project as uuid[]), cast(:mail as uuid[])) u(project_id, id)
    on m.project_id = u.project_id and m.id = u.id
  where m.connection_id = any(cast(:connections as int[]))
"""
)

_NEVER_CALLED = text(
    """
select o.project_id, o.id from outbox o
  join unnest(cast(:project as uuid[]), cast(:mail as uuid[])) u(project_id, id)
    on o.project_id = u.project_id and o.id = u.id
  where o.tries = 0
"""
)

_ASK_SOON = text(
    """
update mail_logs set next_poll_at = now()
  where provider_id = any(cast(:ids as text[])) and connection_id = any(cast(:connections as int[]))
    and status in (1, 2)
"""
)

_SIBLINGS = text(
    """
select s.id from connections c join connections s
  on s.provider = c.provider and s.project_id is not distinct from c.project_id
  where c.id = :connection
"""
)

_EARLY = text(
    """
select connection_id, event_id, provider_id, kind, at, code, detail from provider_events
  where mail_id is null and received_at > now() - make_interval(secs => :young)
    and received_at <= now() - make_interval(secs => :old)
  order by received_at limit :step for update skip locked
"""
)

_NAME_EARLY = text(
    """
update provider_events e set project_id = u.project_id, mail_id = u.mail_id
  from unnest(cast(:event as text[]), cast(:project as uuid[]), cast(:mail as uuid[]))
    u(event_id, project_id, mail_id)
  where e.connection_id = :connection and e.event_id = u.event_id
"""
)

_DROP_EARLY = text(
    """
delete from provider_events where (connection_id, event_id) in (
  select connection_id, event_id from provider_events
  where mail_id is null and received_at < now() - interval '72 hours' limit :step)
"""
)


async def track_events(
    resources: Resources, connection_id: int, events: Sequence[DeliveryEvent]
) -> int:
    """Remember events of one connection and move their mails; how many were new."""
    if not events:
        return 0
    async with resources.sessions() as session:
        siblings = list(await session.scalars(_SIBLINGS, {"connection": connection_id}))
        found = await _find_mails(session, siblings, events)
        fresh = await _remember(session, resources.keys, connection_id, events, found)
        new = [(event, found.get(event.event_id)) for event in fresh]
        refunds = await move_mails(
            session, resources, [(e, key) for e, key in new if key is not None]
        )
        left = await unsubscribe.note_leavers(session, _leavers(resources.keys, new))
        # From here these events count, once.
        await session.commit()
        await unsubscribe.withdraw_all(session, resources.redis, left)
    await quota.give_back(resources.redis, refunds)
    return len(fresh)


def _leavers(
    keys: Keys, events: Sequence[tuple[DeliveryEvent, MailKey | None]]
) -> list[unsubscribe.Leaver]:
    """Who unsubscribed at the vendor."""
    return [
        unsubscribe.Leaver(*key, recipient_key(keys.index, bare_address(event.recipient)))
        for event, key in events
        if event.kind is EventKind.UNSUBSCRIBED and key is not None and event.recipient
    ]


async def _find_mails(
    session: Session, siblings: list[int], events: Sequence[DeliveryEvent]
) -> dict[str, MailKey]:
    """The mail of each event: by our own id where the vendor returns it, else by the vendor's."""
    refs = {e.event_id: content.parse_ref(e.ref) for e in events if e.ref}
    pairs = [pair for pair in refs.values() if pair is not None]
    known: set[MailKey] = set()
    if pairs:
        rows = await session.execute(
            _BY_REF,
            {
                "project": [p for p, _ in pairs],
                "mail": [m for _, m in pairs],
                "connections": siblings,
            },
        )
        known = {(r.project_id, r.id) for r in rows}
    ids = list({e.provider_id for e in events if e.provider_id})
    by_provider: dict[str, MailKey] = {}
    if ids:
        rows = await session.execute(_BY_PROVIDER_ID, {"ids": ids, "connections": siblings})
        by_provider = {r.provider_id: (r.project_id, r.id) for r in rows}
    found: dict[str, MailKey] = {}
    for event in events:
        own = refs.get(event.event_id)
        key = own if own in known else by_provider.get(event.provider_id or "")
        if key is not None:
            found[event.event_id] = key
    return found


async def known_among(
    resources: Resources, connection_id: int, events: Sequence[DeliveryEvent]
) -> list[DeliveryEvent]:
    """The events whose mail this connection was called for: of any other, nobody can know anything yet."""
    async with resources.sessions() as session:
        siblings = list(await session.scalars(_SIBLINGS, {"connection": connection_id}))
        found = await _find_mails(session, siblings, events)
        keys = list(found.values())
        names = {"project": [p for p, _ in keys], "mail": [m for _, m in keys]}
        waiting = {(r.project_id, r.id) for r in await session.execute(_NEVER_CALLED, names)}
    return [e for e in events if e.event_id in found and found[e.event_id] not in waiting]


async def ask_soon(resources: Resources, connection_id: int, provider_ids: Sequence[str]) -> None:
    """Let these mails be the next that the vendor is asked about."""
    async with resources.sessions() as session:
        siblings = list(await session.scalars(_SIBLINGS, {"connection": connection_id}))
        await session.execute(_ASK_SOON, {"ids": list(provider_ids), "connections": siblings})
        # The minute's work finds them.
        await session.commit()


def _detail(keys: Keys, event: DeliveryEvent) -> bytes | None:
    said = {"reason": event.reason, "recipient": event.recipient, "ref": event.ref}
    kept = {name: value for name, value in said.items() if value}
    if not kept:
        return None
    return keys.ring.seal(orjson.dumps(kept), b"event:" + event.event_id.encode())


def open_detail(keys: Keys, event_id: str, sealed: bytes | None) -> dict[str, str]:
    """Reason, recipient and ref of a remembered event."""
    if sealed is None:
        return {}
    opened: dict[str, str] = orjson.loads(
        keys.ring.unseal(bytes(sealed), b"event:" + event_id.encode())
    )
    return opened


async def _remember(
    session: Session,
    keys: Keys,
    connection_id: int,
    events: Sequence[DeliveryEvent],
    found: dict[str, MailKey],
) -> list[DeliveryEvent]:
    """Write the events that are new; a repeat is not among the answer."""
    once = list({event.event_id: event for event in reversed(events)}.values())[::-1]
    rows = await session.execute(
        _REMEMBER,
        {
            "connection": connection_id,
            "event": [e.event_id for e in once],
            "provider_id": [e.provider_id for e in once],
            "project": [found.get(e.event_id, (None, None))[0] for e in once],
            "mail": [found.get(e.event_id, (None, None))[1] for e in once],
            "kind": [e.kind.value for e in once],
            "at": [e.at for e in once],
            "code": [e.code for e in once],
            "detail": [_detail(keys, e) for e in once],
        },
    )
    new = {row.event_id for row in rows}
    return [event for event in once if event.event_id in new]


async def apply_early(resources: Resources, *, younger_than: float, older_than: float = 0) -> int:
    """Try again the events whose mail was not known; how many found theirs."""
    async with resources.sessions() as session:
        rows = (
            await session.execute(
                _EARLY, {"young": younger_than, "old": older_than, "step": EARLY_STEP}
            )
        ).all()
        applied = 0
        refunds: Refunds = {}
        for connection_id in {row.connection_id for row in rows}:
            mine = [_event(resources.keys, r) for r in rows if r.connection_id == connection_id]
            siblings = list(await session.scalars(_SIBLINGS, {"connection": connection_id}))
            found = await _find_mails(session, siblings, mine)
            if not found:
                continue
            await session.execute(
                _NAME_EARLY,
                {
                    "connection": connection_id,
                    "event": list(found),
                    "project": [p for p, _ in found.values()],
                    "mail": [m for _, m in found.values()],
                },
            )
            due = [(e, found[e.event_id]) for e in mine if e.event_id in found]
            for slot, n in (await move_mails(session, resources, due)).items():
                refunds[slot] = refunds.get(slot, 0) + n
            applied += len(found)
        # From here the events that overtook us count.
        await session.commit()
    await quota.give_back(resources.redis, refunds)
    return applied


def _event(keys: Keys, row: Any) -> DeliveryEvent:
    detail = open_detail(keys, row.event_id, row.detail)
    return DeliveryEvent(
        event_id=row.event_id,
        kind=EventKind(row.kind),
        at=row.at,
        provider_id=row.provider_id,
        ref=detail.get("ref"),
        recipient=detail.get("recipient"),
        reason=detail.get("reason"),
        code=row.code,
    )


async def drop_early(session: Session) -> None:
    """Give up on events whose mail never appeared; the caller commits."""
    await session.execute(_DROP_EARLY, {"step": 1000})
