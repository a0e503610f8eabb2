"""The provider reports: remember the event once, move the mail, suppress, refund.

Events come twice, late, early or never. Each is kept under its own id; one whose mail is not known yet waits
without it, and is applied when the id appears.
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import text

from postroom.crypto import recipient_key
from postroom.domain import content, quota, unsubscribe
from postroom.domain.accept import bare_address
from postroom.domain.settle import Refunds, drop_empty_attempts
from postroom.domain.status import (
    EVENT_REASONS,
    EVENT_STATES,
    SUPPRESSING,
    State,
    next_status,
)
from postroom.providers import PROVIDERS
from postroom.providers.base import DeliveryEvent, EventKind, OutgoingMail, without_addresses
from postroom.providers.quoting import without_words, words_of
from postroom.resources import Keys, Resources, Session

log = logging.getLogger(__name__)

EARLY_STEP = 500
# Vendors that can be asked about a mail, and those that tell some things only when asked.
ASKED = [p.name for p in PROVIDERS if p.capabilities.receipts]
POLLED = [p.name for p in PROVIDERS if p.capabilities.polled]

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

_LOCK_OUTBOX = text(
    """
select o.id from outbox o join mail_logs m on m.project_id = o.project_id and m.id = o.id
  where (m.outcome_unknown or o.attempt_id is null) and o.id = any(cast(:mails as uuid[]))
    and o.project_id = any(cast(:projects as uuid[])) order by o.id for update of o
"""
)

_LOCK_LOGS = text(
    """
select m.project_id, m.id, m.status, m.reason, m.refunded, m.paid_month, m.recipients, m.sealed,
    m.recipient_states, m.outcome_unknown, m.provider_id
  from mail_logs m join unnest(cast(:project as uuid[]), cast(:mail as uuid[])) u(project_id, id)
    on m.project_id = u.project_id and m.id = u.id
  order by m.project_id, m.id for update of m
"""
)

_MOVE = text(
    """
update mail_logs m set status = u.status, reason = u.reason, refunded = u.refunded,
    recipient_states = u.states::jsonb, provider_id = coalesce(m.provider_id, u.provider_id),
    sent_at = case when u.status > 0 then coalesce(m.sent_at, u.at) end, outcome_unknown = false,
    next_poll_at = case
      when u.status in (1, 2) and c.provider = any(cast(:asked as text[]))
        then coalesce(m.next_poll_at, now() + interval '1 minute')
      when c.provider = any(cast(:polled as text[])) then m.next_poll_at end
  from unnest(cast(:project as uuid[]), cast(:mail as uuid[]), cast(:status as smallint[]),
    cast(:reason as text[]), cast(:refunded as bool[]), cast(:states as text[]),
    cast(:provider_id as text[]), cast(:at as timestamptz[]))
    u(project_id, id, status, reason, refunded, states, provider_id, at), connections c
  where m.project_id = u.project_id and m.id = u.id and c.id = m.connection_id
"""
)

_CHARGE = text(
    """
update quota_months q set used = used + u.n
  from (select * from unnest(cast(:project as uuid[]), cast(:month as date[]), cast(:n as int[]))
        u(project_id, month, n) order by 1, 2) u
  where q.project_id = u.project_id and q.month = u.month
"""
)

# A mail of which the vendor tells is never handed over again: parked or free, its row goes.
_TAKE_OUT = text(
    """
delete from outbox o
  where o.id = any(cast(:mails as uuid[])) and o.project_id = any(cast(:projects as uuid[]))
    and (o.attempt_id is null
      or exists (select 1 from attempts a where a.id = o.attempt_id and a.parked))
  returning o.attempt_id
"""
)

_SUPPRESS = text(
    """
insert into suppressions (project_id, recipient_key, reason, address)
  select * from unnest(cast(:project as uuid[]), cast(:key as bigint[]), cast(:reason as text[]),
    cast(:address as bytea[])) on conflict do nothing
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

MailKey = tuple[UUID, UUID]


@dataclass(slots=True)
class _Mail:
    """A locked log row on its way to its next state."""

    project_id: UUID
    id: UUID
    status: State
    reason: str | None
    refunded: bool
    was_refunded: bool
    paid_month: Any
    recipients: tuple[str, ...]
    states: dict[str, list[Any]]
    provider_id: str | None
    words: frozenset[str] = frozenset()  # what no reason may repeat
    at: Any = None


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
        refunds = await _apply(session, resources, [(e, key) for e, key in new if key is not None])
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


async def _apply(
    session: Session, resources: Resources, events: Sequence[tuple[DeliveryEvent, MailKey]]
) -> Refunds:
    """Move each event's mail, in the lock order outbox, log, quota; the refunds are for the gate."""
    moving = [(event, key) for event, key in events if event.kind in EVENT_STATES]
    if not moving:
        return {}
    keys = list({key for _, key in moving})
    names = {"projects": [p for p, _ in keys], "mails": [m for _, m in keys]}
    await session.execute(_LOCK_OUTBOX, names)
    rows = await session.execute(_LOCK_LOGS, {"project": names["projects"], "mail": names["mails"]})
    mails = {(r.project_id, r.id): _locked(resources.keys, r) for r in rows}
    for event, key in moving:
        if key in mails:
            _move(mails[key], event)
    await _write_moves(session, list(mails.values()))
    await _settle_parked(session, names)
    await _suppress(session, resources.keys, [(e, mails[k]) for e, k in moving if k in mails])
    return await _charge(session, list(mails.values()))


def _locked(keys: Keys, row: Any) -> _Mail:
    recipients = tuple(row.recipients)
    words: frozenset[str] = frozenset()
    if row.sealed is not None:
        opened = orjson.loads(keys.ring.unseal(bytes(row.sealed), b"log:" + row.id.bytes))
        recipients = tuple(opened["recipients"])
        # Reasons lie in clear beside what is sealed, and a mail server may quote the subject.
        words = words_of(OutgoingMail("", "", recipients, opened["subject"] or ""))
    return _Mail(
        project_id=row.project_id,
        id=row.id,
        status=State(row.status),
        reason=row.reason,
        refunded=row.refunded,
        was_refunded=row.refunded,
        paid_month=row.paid_month,
        recipients=recipients,
        states=dict(row.recipient_states or {}),
        provider_id=row.provider_id,
        words=words,
    )


def reason_of(event: DeliveryEvent, words: frozenset[str] = frozenset()) -> str | None:
    """What the log says of an event: our word where there is one, else the vendor's sentence."""
    said = EVENT_REASONS.get(event.kind)
    if said is not None:
        return said
    return without_words(without_addresses(event.reason), words) if event.reason else None


def _move(mail: _Mail, event: DeliveryEvent) -> None:
    """One event's effect on a mail and on the recipient that it names."""
    after = next_status(mail.status, event.kind)
    if after > mail.status:
        mail.reason = reason_of(event, mail.words)
        mail.status = after
    # The slot of a mail that failed comes back; that of one which arrived after all is paid again.
    mail.refunded = mail.status is State.FAILED
    mail.provider_id = mail.provider_id or event.provider_id
    mail.at = min(mail.at, event.at) if mail.at else event.at
    for index in _indexes(mail.recipients, event.recipient):
        before = State(mail.states.get(index, [0, None])[0])
        state = next_status(before, event.kind)
        if state > before:
            mail.states[index] = [int(state), reason_of(event, mail.words)]


def _indexes(recipients: Sequence[str], named: str | None) -> list[str]:
    """The places of the recipient that an event names; of all, when it names none."""
    if named is None:
        return [str(i) for i in range(len(recipients))]
    wanted = bare_address(named).lower()
    return [str(i) for i, r in enumerate(recipients) if bare_address(r).lower() == wanted]


async def _write_moves(session: Session, mails: Sequence[_Mail]) -> None:
    await session.execute(
        _MOVE,
        {
            "project": [m.project_id for m in mails],
            "mail": [m.id for m in mails],
            "status": [int(m.status) for m in mails],
            "reason": [m.reason for m in mails],
            "refunded": [m.refunded for m in mails],
            "states": [orjson.dumps(m.states).decode() if m.states else None for m in mails],
            "provider_id": [m.provider_id for m in mails],
            "at": [m.at for m in mails],
            "asked": ASKED,
            "polled": POLLED,
        },
    )


async def _settle_parked(session: Session, names: dict[str, list[UUID]]) -> None:
    rows = (await session.execute(_TAKE_OUT, names)).all()
    await drop_empty_attempts(session, [r.attempt_id for r in rows if r.attempt_id is not None])


async def _charge(session: Session, mails: Sequence[_Mail]) -> Refunds:
    """Move the ledger by the slots that came back or were paid again."""
    moved: dict[tuple[UUID, Any], int] = {}
    for mail in mails:
        if mail.refunded != mail.was_refunded:
            key = (mail.project_id, mail.paid_month)
            moved[key] = moved.get(key, 0) + (-1 if mail.refunded else 1)
    moved = {key: n for key, n in moved.items() if n}
    if moved:
        await session.execute(
            _CHARGE,
            {
                "project": [p for p, _ in moved],
                "month": [month for _, month in moved],
                "n": list(moved.values()),
            },
        )
    return {key: -n for key, n in moved.items() if n < 0}


async def _suppress(
    session: Session, keys: Keys, events: Iterable[tuple[DeliveryEvent, _Mail]]
) -> None:
    """Keep later mails away from an address that bounced for good or complained."""
    harmful = []
    for event, mail in events:
        reason = SUPPRESSING.get(event.kind)
        if reason is None or event.spares_address:
            continue
        named = event.recipient or (mail.recipients[0] if len(mail.recipients) == 1 else None)
        if named is not None:
            harmful.append((mail.project_id, bare_address(named), reason))
    if not harmful:
        return
    await session.execute(
        _SUPPRESS,
        {
            "project": [p for p, _, _ in harmful],
            "key": [recipient_key(keys.index, address) for _, address, _ in harmful],
            "reason": [reason for _, _, reason in harmful],
            "address": [
                keys.ring.seal(address.encode(), b"suppression:" + p.bytes)
                for p, address, _ in harmful
            ],
        },
    )


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
            for slot, n in (await _apply(session, resources, due)).items():
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
