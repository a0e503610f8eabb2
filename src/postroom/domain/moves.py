"""What provider reports do to mails: their status, their slots, and whom we write to no more."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import text

from postroom.crypto import recipient_key
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
from postroom.providers.base import DeliveryEvent, without_addresses
from postroom.providers.quoting import codes_of
from postroom.resources import Keys, Resources, Session

# Vendors that can be asked about a mail, and those that tell some things only when asked.
ASKED = [p.name for p in PROVIDERS if p.capabilities.receipts]
POLLED = [p.name for p in PROVIDERS if p.capabilities.polled]

MailKey = tuple[UUID, UUID]  # project and mail

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
    private: bool = False  # sealed in the log
    at: Any = None


async def move_mails(
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
    if row.sealed is not None:
        opened = orjson.loads(keys.ring.unseal(bytes(row.sealed), b"log:" + row.id.bytes))
        recipients = tuple(opened["recipients"])
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
        private=row.sealed is not None,
    )


def reason_of(event: DeliveryEvent, *, private: bool = False) -> str | None:
    """What the log says of an event: our word where there is one, else the vendor's sentence.

    Reasons lie in clear beside what is sealed, and a mail server may quote subject and body: of a private mail
    they keep the codes, and the sentence is sealed with the event alone.
    """
    said = EVENT_REASONS.get(event.kind)
    if said is not None or not event.reason:
        return said
    return codes_of(event.reason) if private else without_addresses(event.reason)


def _move(mail: _Mail, event: DeliveryEvent) -> None:
    """One event's effect on a mail and on the recipient that it names."""
    after = next_status(mail.status, event.kind)
    if after > mail.status:
        mail.reason = reason_of(event, private=mail.private)
        mail.status = after
    # The slot of a mail that failed comes back; that of one which arrived after all is paid again.
    mail.refunded = mail.status is State.FAILED
    mail.provider_id = mail.provider_id or event.provider_id
    mail.at = min(mail.at, event.at) if mail.at else event.at
    for index in _indexes(mail.recipients, event.recipient):
        before = State(mail.states.get(index, [0, None])[0])
        state = next_status(before, event.kind)
        if state > before:
            mail.states[index] = [int(state), reason_of(event, private=mail.private)]


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
