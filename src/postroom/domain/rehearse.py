"""Moving to another provider, tried without sending: what will work, what it refuses, what gets lost."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import text

from postroom.domain import byok, content
from postroom.domain.connections import open_provider
from postroom.domain.status import State
from postroom.errors import NotFound, Unsealable
from postroom.models import Connection
from postroom.providers import BY_NAME
from postroom.providers.base import Capabilities, EventKind, OutgoingMail, Provider, Step
from postroom.resources import Keys, Resources, Session

MOST = 500
USUAL = 50
EXAMPLES = 3

_PROJECT = text(
    """
select p.id, p.phi, p.mail_connection_id, c.provider from projects p
  left join connections c on c.id = p.mail_connection_id
  where p.id = :project and p.deleted_at is null
"""
)

_LAST = text(
    """
select m.id, m.project_id, m.recipients, m.to_count, m.subject, m.sealed, m.sender, m.tags, k.content
  from mail_logs m
  left join mail_contents k on k.project_id = m.project_id and k.mail_id = m.id
  where m.project_id = :project order by m.id desc limit :most
"""
)

_SEEN = text(
    f"""
select coalesce(bool_or(status > {State.QUEUED:d}), false) as taken,
    coalesce(bool_or(status = {State.DELIVERED:d}), false) as delivered,
    exists (select from provider_events where connection_id = :connection) as told
  from (select status from mail_logs where project_id = :project and connection_id = :connection
    order by id desc limit 10000) m
"""
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """One reason for which the target would refuse mails, and some that it would."""

    reason: str
    mails: int
    examples: list[UUID]


@dataclass(frozen=True, slots=True)
class Loss:
    """Something that works now and will not at the target."""

    what: str
    detail: str
    mails: int | None = None  # how many of those looked at it concerns; None: all


@dataclass(frozen=True, slots=True)
class Checked:
    """A step of the way; `done` is None where nobody but a person can tell."""

    key: str
    title: str
    detail: str
    done: bool | None


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What a move would bring."""

    provider: str
    current: str | None
    mails: int
    whole_mails: int  # of them with their content; of the others only the log is known
    carried: int
    refused: list[Refusal]
    lost: list[Loss]
    checklist: list[Checked]


@dataclass(slots=True)
class _Tried:
    whole: int = 0
    carried: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[UUID]] = field(default_factory=dict)
    with_tags: int = 0


async def rehearse(resources: Resources, project_id: UUID, to: str, last: int = USUAL) -> Rehearsal:
    """Build and check the project's last mails against a provider; nothing leaves. Raises NotFound."""
    vendor = byok.vendor_named(to)
    async with resources.sessions() as session:
        project = (await session.execute(_PROJECT, {"project": project_id})).one_or_none()
        if project is None:
            raise NotFound("Project not found.")
        values = {"project": project_id, "most": min(last, MOST)}
        rows = (await session.execute(_LAST, values)).all()
        own = {row.provider: row for row in await byok.own_connections(session, project_id)}
        seen = await _seen(session, project_id, own.get(to))
    target = _open(resources, vendor, own.get(to))
    tried = _try(resources.keys, target, rows, _refused_at_all(project, vendor))
    current = project.provider or resources.settings.shared_provider
    return Rehearsal(
        provider=to,
        current=current,
        mails=len(rows),
        whole_mails=tried.whole,
        carried=tried.carried,
        refused=[
            Refusal(reason, n, tried.examples[reason]) for reason, n in tried.reasons.most_common()
        ],
        lost=_losses(BY_NAME.get(current or ""), vendor, tried),
        checklist=[_checked(step, project, own, to, tried, seen) for step in vendor.checklist],
    )


def _open(resources: Resources, vendor: type[Provider], row: Connection | None) -> Provider:
    """The target as it is set up, as far as that may be read without its secrets."""
    given = {} if row is None else row.options | {"phiAllowed": row.phi_allowed}
    return open_provider(resources.http, resources.settings, vendor.name, given)


async def _seen(session: Session, project_id: UUID, row: Connection | None) -> Any:
    if row is None:
        return None
    return (await session.execute(_SEEN, {"project": project_id, "connection": row.id})).one()


# ── The mails ────────────────────────────────────────────────────────────────────────────────────


def _refused_at_all(project: Any, vendor: type[Provider]) -> str | None:
    """Why no mail of this project may go there, whatever is in it."""
    if project.phi and not vendor.capabilities.health_data:
        return f"This project carries health data, and {vendor.title} may not."
    return None


def _try(keys: Keys, target: Provider, rows: Sequence[Any], refusal: str | None) -> _Tried:
    tried = _Tried()
    for row in rows:
        mail, whole = _mail_of(keys, row)
        tried.whole += whole
        tried.with_tags += bool(mail.tags)
        sentence = refusal or target.refuses(mail)
        if sentence is None:
            tried.carried += 1
            continue
        tried.reasons[sentence] += 1
        examples = tried.examples.setdefault(sentence, [])
        if len(examples) < EXAMPLES:
            examples.append(row.id)
    return tried


def _mail_of(keys: Keys, row: Any) -> tuple[OutgoingMail, bool]:
    """The mail as it was kept, or as much of it as the log tells."""
    if row.content is not None:
        try:
            return content.unseal(keys.ring, row.project_id, row.id, bytes(row.content)).mail, True
        except Unsealable:
            return _mail_of_log(keys, row), False
    return _mail_of_log(keys, row), False


def _mail_of_log(keys: Keys, row: Any) -> OutgoingMail:
    recipients, subject = list(row.recipients), row.subject or ""
    if row.sealed is not None:
        try:
            opened = orjson.loads(keys.ring.unseal(bytes(row.sealed), b"log:" + row.id.bytes))
            recipients, subject = opened["recipients"], opened["subject"]
        except Unsealable:
            recipients = ["somebody@example.com"]
    return OutgoingMail(
        ref=content.ref(row.project_id, row.id),
        sender=row.sender or "somebody@example.com",
        to=tuple(recipients[: row.to_count]),
        cc=tuple(recipients[row.to_count :]),
        subject=subject,
        text="",
        tags=tuple((tag["name"], tag["value"]) for tag in row.tags or ()),
    )


# ── What gets lost ───────────────────────────────────────────────────────────────────────────────

_TOLD_AS: dict[EventKind, str] = {
    EventKind.DELIVERED: "deliveries",
    EventKind.HARD_BOUNCED: "bounces",
    EventKind.COMPLAINED: "complaints",
    EventKind.OPENED: "opens",
    EventKind.CLICKED: "clicks",
    EventKind.UNSUBSCRIBED: "unsubscribes",
    EventKind.DEFERRED: "delays",
}


def _losses(now: type[Provider] | None, vendor: type[Provider], tried: _Tried) -> list[Loss]:
    had, has = now.capabilities if now else Capabilities(), vendor.capabilities
    lost = [
        Loss(word, f"{vendor.title} never reports {word}.")
        for kind, word in _TOLD_AS.items()
        if kind in had.events and kind not in has.events
    ]
    lost += [
        Loss(_TOLD_AS[kind], f"{vendor.title} tells of {_TOLD_AS[kind]} only when it is asked.")
        for kind in _TOLD_AS
        if kind in has.polled and kind in had.events
    ]
    if tried.with_tags and not has.tags:
        detail = f"{vendor.title} carries no tags; they stay in Postroom's own log."
        lost.append(Loss("tags", detail, tried.with_tags))
    return lost + _lost_abilities(had, has, vendor.title)


def _lost_abilities(had: Capabilities, has: Capabilities, title: str) -> list[Loss]:
    sentences = (
        ("inline_images", "inline images", f"{title} carries no inline images."),
        ("any_header", "headers", f"{title} carries only X-... and List-Unsubscribe headers."),
        ("attachments", "attachments", f"{title} carries no attachments."),
        ("receipts", "live status", f"{title} cannot be asked what became of a mail."),
        ("signed_webhooks", "signatures", f"{title} does not sign its webhooks."),
        (
            "idempotent",
            "safe repeats",
            f"{title} knows no idempotency key: a lost answer parks the mail (ambiguousPolicy).",
        ),
        (
            "audiences",
            "audiences at the vendor",
            "Audiences, contacts and broadcasts run in Postroom; `postroom audiences copy` moves them.",
        ),
    )
    return [
        Loss(what, detail)
        for name, what, detail in sentences
        if getattr(had, name) and not getattr(has, name)
    ]


# ── The way ──────────────────────────────────────────────────────────────────────────────────────


def _checked(
    step: Step, project: Any, own: dict[str, Connection], to: str, tried: _Tried, seen: Any
) -> Checked:
    row = own.get(to)
    known: dict[str, bool | None] = {
        "key": row is not None and row.verified_at is not None,
        "request": not tried.reasons,
        "health_data": (row is not None and row.phi_allowed) if project.phi else None,
        # A key is taken for health data at Amazon SES only after the configuration set was asked for.
        "tls": True if row is not None and row.phi_allowed else None,
        "domain": bool(seen and seen.taken) or None,
        "production": bool(seen and seen.delivered) or None,
        "webhook": bool(seen and seen.told),
        "test_mail": bool(seen and seen.delivered),
        "switch": row is not None and project.mail_connection_id == row.id,
        "revoke": row is not None and set(own) == {to},
    }
    return Checked(step.key, step.title, step.detail, known.get(step.key))
