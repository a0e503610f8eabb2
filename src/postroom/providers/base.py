"""What every provider is: a mail as a vendor may see it, six outcomes, capabilities, events."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar, NamedTuple

from postroom.errors import Unsupported
from postroom.outgoing import Http
from postroom.providers.lists import Audiences, Broadcasts

_ADDRESS = re.compile(r"[^\s<>@\"'(),:;\[\]]+@[^\s<>@\"'(),:;\[\]]+")


def without_addresses(sentence: str, limit: int = 300) -> str:
    """A vendor's sentence, fit for a log row: one line, bounded, every address taken out."""
    line = " ".join(_ADDRESS.sub("<address>", sentence).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


@dataclass(frozen=True, slots=True)
class Attachment:
    filename: str
    content: str  # base64
    content_type: str | None = None
    content_id: str | None = None


class OutgoingMail(NamedTuple):
    """A mail as a vendor may see it. It is final at accept: a repeat of a call is made from the same values."""

    ref: str  # our opaque id, sent along where the vendor returns it in events
    sender: str
    to: tuple[str, ...]
    subject: str
    html: str | None = None
    text: str | None = None
    cc: tuple[str, ...] = ()
    bcc: tuple[str, ...] = ()
    reply_to: tuple[str, ...] = ()
    headers: Mapping[str, str] = {}
    attachments: tuple[Attachment, ...] = ()
    tags: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a vendor can do; everything else is refused with a sentence, never dropped."""

    batch_size: int = 1  # mails one call may carry
    idempotent: bool = False  # the vendor de-duplicates calls by our key
    key_life_hours: float = 0  # for how long it does
    attachments: bool = True
    attachments_in_batch: bool = False
    max_mail_bytes: int = 40_000_000
    call_timeout: float = 30.0  # seconds for one mail
    batch_timeout: float = 10.0  # seconds for a batch call
    rate_per_second: float | None = None  # calls an account may make when nothing else is known
    audiences: bool = False  # has audiences, contacts and broadcasts of its own (else ours)
    events: frozenset["EventKind"] = frozenset()  # what it will ever report
    receipts: bool = False  # can be asked what became of a mail
    polled: frozenset["EventKind"] = frozenset()  # told only when asked
    signed_webhooks: bool = True  # proves where they come from; else only known mails move by them
    any_header: bool = True  # carries every header; else only X-... and List-Unsubscribe
    tags: bool = True  # carries tags; else they stay in our own log
    inline_images: bool = True  # carries attachments that the html shows
    health_data: bool = False  # may be allowed to carry it
    keeps_content: bool = False  # its mails stay readable in the log, as in a developer's inbox
    user_given_address: bool = False  # calls go to an address that a user typed


class OutcomeKind(StrEnum):
    ACCEPTED = "accepted"
    REJECTED = "rejected"  # this mail, for good
    MISCONFIGURED = "misconfigured"  # the account: credentials, unverified domain, paused
    THROTTLED = "throttled"  # provably not sent; wait as told
    NOT_SENT = "not_sent"  # connect, DNS or TLS failure: provably not sent
    UNKNOWN = "unknown"  # nobody can say


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one mail of a call."""

    kind: OutcomeKind
    provider_id: str | None = None
    reason: str | None = None  # a sentence without addresses
    code: str | None = None  # the vendor's word
    alarm: bool = False  # unknown in a way that a repeat cannot clear up: park at once
    wait: float | None = None  # throttled for this mail alone: seconds until it is tried again


@dataclass(frozen=True, slots=True)
class Answer:
    """What one call taught: an outcome for each mail in order, and how the account may be called from now on."""

    outcomes: tuple[Outcome, ...]
    whole_call: bool = False  # a refusal that concerns the call, not one mail: look for the bad one
    limit: float | None = None  # calls a second that the vendor named
    pause: float | None = None  # seconds for which it wants no calls
    # Seconds until the vendor's window turns, when it says that nothing is left of it for anybody.
    spent: float | None = None
    later: tuple[
        tuple[float, "DeliveryEvent"], ...
    ] = ()  # events the provider itself will report (sandbox)

    @classmethod
    def all(cls, count: int, outcome: Outcome, **more: Any) -> "Answer":
        """The same outcome for each of `count` mails."""
        return cls(outcomes=(outcome,) * count, **more)


class EventKind(StrEnum):
    ACCEPTED = "accepted"
    DEFERRED = "deferred"
    DELIVERED = "delivered"
    SOFT_BOUNCED = "soft_bounced"
    HARD_BOUNCED = "hard_bounced"
    COMPLAINED = "complained"
    FAILED = "failed"
    SUPPRESSED = "suppressed"
    SCHEDULED = "scheduled"
    OPENED = "opened"
    CLICKED = "clicked"
    UNSUBSCRIBED = "unsubscribed"


@dataclass(frozen=True, slots=True)
class DeliveryEvent:
    """One thing a vendor reports about one mail, in our words."""

    event_id: str  # unique at this connection; a repeat carries the same
    kind: EventKind
    at: datetime
    provider_id: str | None = None
    ref: str | None = None  # our own id, where the vendor returns it
    recipient: str | None = None
    reason: str | None = None
    code: str | None = None
    spares_address: bool = False  # a play: the address is never suppressed for it


@dataclass(frozen=True, slots=True)
class WebhookRequest:
    """A vendor's call as it arrived."""

    headers: Mapping[str, str]  # names in lower case
    body: bytes
    query: Mapping[str, str] = field(default_factory=dict)


class WebhookRefused(Exception):
    """The request does not come from whom it says."""


class WebhookNotConfigured(Exception):
    """Nothing to verify with: an empty or undecodable secret means off."""


@dataclass(frozen=True, slots=True)
class LiveStatus:
    """What the vendor says now about one mail."""

    last_event: str | None
    raw: Mapping[str, Any]  # the vendor's own object, for the owner's eyes only
    events: tuple[DeliveryEvent, ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """One step of moving to a vendor, in the order of its own guide."""

    key: str  # what the domain may know how to check
    title: str
    detail: str


class Provider:
    """One vendor account. It knows its API and nothing of us; unsupported things raise a sentence."""

    name: ClassVar[str]
    title: ClassVar[str]
    wire: ClassVar[str]  # version of the bytes that `send` makes from a mail
    capabilities: Capabilities  # the vendor's; an account may narrow them for itself
    secret_fields: ClassVar[tuple[str, ...]] = ()
    checklist: ClassVar[tuple[Step, ...]] = ()  # how to move to this vendor

    def __init__(self, credentials: Mapping[str, Any], http: Http) -> None:
        self.credentials = credentials
        self.http = http

    @property
    def fingerprint(self) -> str:
        """What tells this account from another, for a repeat under the same idempotency key."""
        return "\n".join(f"{k}={self.credentials.get(k)}" for k in sorted(self.secret_fields))

    def refuses(self, mail: OutgoingMail) -> str | None:
        """A sentence when this vendor could never carry this mail; checked before it is accepted."""
        if mail.attachments and not self.capabilities.attachments:
            return f"{self.title} does not carry attachments."
        return None

    async def send(self, mails: Sequence[OutgoingMail], key: str) -> Answer:
        """Hand over 1..batch_size mails in one call; never raises for what a vendor or a network does."""
        raise Unsupported(f"{self.title} cannot send mail.")

    async def verify(self) -> None:
        """Try the credentials without sending; raises ProviderRefused or a relative with the cure."""
        raise Unsupported(f"{self.title} offers no way to try credentials without sending.")

    async def fetch_status(self, provider_id: str) -> LiveStatus:
        """Ask what became of a mail."""
        raise Unsupported(f"{self.title} cannot be asked what became of a mail.")

    def read_webhook(self, request: WebhookRequest) -> list[DeliveryEvent]:
        """Verify and translate a webhook; raises WebhookRefused or WebhookNotConfigured."""
        raise Unsupported(f"{self.title} sends no webhooks.")

    def audiences(self) -> Audiences:
        """The vendor's own audiences and contacts."""
        raise Unsupported(f"{self.title} keeps no audiences.")

    def broadcasts(self) -> Broadcasts:
        """The vendor's own broadcasts."""
        raise Unsupported(f"{self.title} sends no broadcasts of its own.")

    async def receive(self, request: WebhookRequest) -> list[DeliveryEvent]:
        """The same for vendors whose proof has to be fetched; most need no network for it."""
        return self.read_webhook(request)

    async def confirm(self, events: Sequence[DeliveryEvent]) -> list[DeliveryEvent]:
        """Those of an unsigned webhook's events that the vendor, asked, tells as well."""
        return list(events)

    async def measure_rate(self) -> float | None:
        """Calls a second that the vendor grants this account, where it can be asked; else None."""
        return None

    async def check_health_data(self) -> None:
        """Raise what stands against this account carrying health data, where the vendor can be asked."""
