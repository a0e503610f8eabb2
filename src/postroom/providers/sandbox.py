"""The sandbox: takes every mail, keeps it, and reports what its magic addresses say; it never sends anything."""

import asyncio
import hashlib
import re
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parseaddr
from typing import Any
from uuid import UUID

from postroom.errors import ProviderRefused
from postroom.providers.base import (
    Answer,
    Capabilities,
    DeliveryEvent,
    EventKind,
    LiveStatus,
    Outcome,
    OutcomeKind,
    OutgoingMail,
    Provider,
)

MOST_RECIPIENTS = 50
_ACCEPTED_AFTER = 0.02
_REMEMBERED_CALLS = 20_000


@dataclass(frozen=True, slots=True)
class Step:
    """One event of a fate, so many seconds after the hand-over."""

    seconds: float
    kind: EventKind
    reason: str | None = None
    code: str | None = None


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of a mail to a magic address; its letter stands in the provider id."""

    letter: str
    steps: tuple[Step, ...]


_DELIVERED = Step(0.25, EventKind.DELIVERED)
_NO_MAILBOX = "550 5.1.1 The mailbox does not exist."
_LISTED = "The address is on the sandbox's suppression list."
_DEFERRED = "451 4.7.1 Try again later."

FATES: Mapping[str, Fate] = {
    "delivered": Fate("d", (_DELIVERED,)),
    "bounced": Fate("b", (Step(0.25, EventKind.HARD_BOUNCED, _NO_MAILBOX, "550 5.1.1"),)),
    "complained": Fate("c", (_DELIVERED, Step(0.6, EventKind.COMPLAINED))),
    "delayed": Fate(
        "l",
        (
            Step(0.25, EventKind.DEFERRED, _DEFERRED, "451 4.7.1"),
            Step(3.0, EventKind.DELIVERED),
        ),
    ),
    "suppressed": Fate("s", (Step(0.25, EventKind.SUPPRESSED, _LISTED, "suppressed"),)),
    "failed": Fate("f", (Step(0.25, EventKind.FAILED, "The sandbox failed it.", "failed"),)),
}
_BY_LETTER = {fate.letter: fate for fate in FATES.values()}
_PROVIDER_ID = re.compile(r"sb_0[0-9a-f]{7}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}_[a-z]{1,50}")
REPORTED = frozenset({EventKind.ACCEPTED}) | {s.kind for f in FATES.values() for s in f.steps}


@dataclass(frozen=True, slots=True)
class Faults:
    """The switches in `credentials["faults"]`."""

    latency_ms: float = 0
    throttle_percent: float = 0
    drop_after_accept_percent: float = 0
    duplicate_events: bool = False
    silent_events: bool = False

    @classmethod
    def read(cls, switches: object) -> "Faults":
        given = switches if isinstance(switches, Mapping) else {}
        return cls(
            latency_ms=_number(given.get("latencyMs")),
            throttle_percent=_number(given.get("throttlePercent")),
            drop_after_accept_percent=_number(given.get("dropAfterAcceptPercent")),
            duplicate_events=bool(given.get("duplicateEvents")),
            silent_events=bool(given.get("silentEvents")),
        )


# Which mails each accepted key of this process stands for. The answer need not be kept: it is made from the key.
_KEPT: OrderedDict[str, bytes] = OrderedDict()


class Sandbox(Provider):
    """A vendor that exists only here: same key, same answer; each recipient's fate stands in the id."""

    name = "sandbox"
    title = "Sandbox"
    wire = "sandbox-1"
    capabilities = Capabilities(
        batch_size=100,
        idempotent=True,
        key_life_hours=24,
        attachments=True,
        attachments_in_batch=True,
        events=REPORTED,
        receipts=True,
        health_data=True,
        keeps_content=True,
    )

    def refuses(self, mail: OutgoingMail) -> str | None:
        if not 1 <= len(_recipients(mail)) <= MOST_RECIPIENTS:
            return f"The sandbox takes 1 to {MOST_RECIPIENTS} recipients a mail, to, cc and bcc together."
        size = sum(len(part.encode()) for part in (mail.html, mail.text) if part)
        size += sum(len(attachment.content) for attachment in mail.attachments)
        if size > self.capabilities.max_mail_bytes:
            return "The sandbox takes at most 40 MB a mail, attachments in base64 included."
        return None

    async def send(self, mails: Sequence[OutgoingMail], key: str) -> Answer:
        if not 1 <= len(mails) <= self.capabilities.batch_size:
            raise ValueError(f"a call carries 1 to 100 mails, not {len(mails)}")
        faults = Faults.read(self.credentials.get("faults"))
        in_time = await _wait(faults.latency_ms / 1000, self._patience(mails))
        digest = hashlib.sha256("\n".join(mail.ref for mail in mails).encode()).digest()
        if (kept := _KEPT.get(key)) is not None:
            same = kept == digest
            return self._accept(mails, key, faults) if same else _other_bytes(len(mails))
        if _strikes(key, "throttle", faults.throttle_percent):
            return _throttled(len(mails))
        _remember(key, digest)
        answer = self._accept(mails, key, faults)
        if in_time and not _strikes(key, "drop", faults.drop_after_accept_percent):
            return answer
        return _dropped(len(mails), answer)

    async def verify(self) -> None:
        """There is nothing that could be wrong."""

    async def fetch_status(self, provider_id: str) -> LiveStatus:
        if _PROVIDER_ID.fullmatch(provider_id) is None:
            raise ProviderRefused(404, "The sandbox does not know this mail.")
        now = datetime.now(UTC)
        due = sorted((e for e in _story(provider_id) if e.at <= now), key=lambda event: event.at)
        last = due[-1].kind.value if due else "queued"
        raw = {"object": "email", "id": provider_id, "last_event": last}
        return LiveStatus(last, raw, tuple(due))

    def _accept(self, mails: Sequence[OutgoingMail], key: str, faults: Faults) -> Answer:
        ids = [provider_id_of(mail, key, position) for position, mail in enumerate(mails)]
        later: tuple[tuple[float, DeliveryEvent], ...] = ()
        if not faults.silent_events:
            times = 2 if faults.duplicate_events else 1
            told = (
                event for mail, made in zip(mails, ids, strict=True) for event in _told(mail, made)
            )
            later = tuple(event for event in told for _ in range(times))
        outcomes = tuple(Outcome(OutcomeKind.ACCEPTED, provider_id=made) for made in ids)
        return Answer(
            outcomes, limit=_number(self.credentials.get("ratePerSecond")) or None, later=later
        )

    def _patience(self, mails: Sequence[OutgoingMail]) -> float:
        known = self.capabilities
        return known.call_timeout if len(mails) == 1 else known.batch_timeout


# ── Ids: made from the key and the place in the call; the fates stand behind ─────────────────────


def provider_id_of(mail: OutgoingMail, key: str, position: int) -> str:
    """The same for a repeat of the same call, in this process or the next."""
    digest = hashlib.sha256(f"{key}:{position}".encode()).hexdigest()
    made = UUID(f"{_milliseconds(key):012x}{digest[:20]}")
    return f"sb_{made}_{''.join(_fate_of(address).letter for address in _recipients(mail))}"


def _milliseconds(key: str) -> int:
    """When the call was made, out of a key that carries its time (a UUIDv7); else 0."""
    try:
        made = UUID(key)
    except ValueError:
        return 0
    return made.int >> 80 if made.version == 7 else 0


def _fate_of(address: str) -> Fate:
    """The magic is in the local part, whatever the domain and the +label."""
    local = _bare(address).rpartition("@")[0]
    return FATES.get(local.partition("+")[0].lower(), FATES["delivered"])


def _recipients(mail: OutgoingMail) -> tuple[str, ...]:
    return (*mail.to, *mail.cc, *mail.bcc)


def _bare(address: str) -> str:
    return (parseaddr(address)[1] or address) if "<" in address else address


# ── Events ───────────────────────────────────────────────────────────────────────────────────────


def _told(mail: OutgoingMail, provider_id: str) -> Iterator[tuple[float, DeliveryEvent]]:
    """The events of a mail that was just handed over, each with the seconds until it is reported."""
    addresses = [_bare(address) for address in _recipients(mail)]
    now = datetime.now(UTC)
    for seconds, index, step in _steps(provider_id):
        # Of one recipient everything is told by name; "accepted" is said once for them all.
        recipient = addresses[index or 0] if index is not None or len(addresses) == 1 else None
        at = now + timedelta(seconds=seconds)
        yield seconds, _event(provider_id, index, step, at, recipient=recipient, ref=mail.ref)


def _story(provider_id: str) -> Iterator[DeliveryEvent]:
    """The same events told from the id alone, as after a restart."""
    milliseconds = int(provider_id[3:16].replace("-", ""), 16)
    # Without a time in the id all of it is long past.
    known = datetime.fromtimestamp(milliseconds / 1000, UTC) if milliseconds else None
    start = known or datetime.now(UTC) - timedelta(minutes=1)
    for seconds, index, step in _steps(provider_id):
        yield _event(provider_id, index, step, start + timedelta(seconds=seconds))


def _steps(provider_id: str) -> Iterator[tuple[float, int | None, Step]]:
    """Seconds, place of the recipient (none: all of them), step."""
    yield _ACCEPTED_AFTER, None, Step(_ACCEPTED_AFTER, EventKind.ACCEPTED)
    for index, letter in enumerate(provider_id.rpartition("_")[2]):
        for step in _BY_LETTER.get(letter, FATES["delivered"]).steps:
            yield step.seconds, index, step


def _event(
    provider_id: str, index: int | None, step: Step, at: datetime, **known: Any
) -> DeliveryEvent:
    place = "all" if index is None else index
    return DeliveryEvent(
        event_id=f"{provider_id}:{place}:{step.kind}",
        kind=step.kind,
        at=at,
        provider_id=provider_id,
        reason=step.reason,
        code=step.code,
        spares_address=True,
        **known,
    )


# ── Faults and memory ────────────────────────────────────────────────────────────────────────────


async def _wait(seconds: float, patience: float) -> bool:
    """Be slow; longer than a caller waits means that the answer is lost."""
    if seconds > 0:
        await asyncio.sleep(min(seconds, patience))
    return seconds < patience


def _strikes(key: str, fault: str, percent: float) -> bool:
    """Whether a fault meets this call: by chance, but the same for the same key."""
    digest = hashlib.sha256(f"{fault}:{key}".encode()).digest()
    return int.from_bytes(digest[:4], "big") / 2**32 * 100 < percent


def _remember(key: str, digest: bytes) -> None:
    _KEPT[key] = digest
    while len(_KEPT) > _REMEMBERED_CALLS:
        _KEPT.popitem(last=False)


def _throttled(count: int) -> Answer:
    reason = "The sandbox asks to slow down (its fault switch says so)."
    outcome = Outcome(OutcomeKind.THROTTLED, reason=reason, code="rate_limit_exceeded")
    return Answer.all(count, outcome, pause=1.0)


def _dropped(count: int, answer: Answer) -> Answer:
    """Accepted, but nobody heard it; the events come all the same."""
    reason = "The sandbox took it and closed the connection (its fault switch says so)."
    outcome = Outcome(OutcomeKind.UNKNOWN, reason=reason, code="dropped")
    return Answer.all(count, outcome, later=answer.later)


def _other_bytes(count: int) -> Answer:
    reason = "The sandbox knows this key with other mails."
    outcome = Outcome(
        OutcomeKind.UNKNOWN, reason=reason, code="invalid_idempotent_request", alarm=True
    )
    return Answer.all(count, outcome)


def _number(value: object) -> float:
    """A switch's number; what is none, or negative, is off."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0.0
    return max(0.0, float(value))
