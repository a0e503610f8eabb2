"""What each provider can do, as a table: the capabilities in the code are the only source of it."""

from collections.abc import Callable, Sequence

from postroom.providers import PROVIDERS
from postroom.providers.base import Capabilities, EventKind, Provider

Says = Callable[[Capabilities], str]


def _yes(name: str) -> Says:
    return lambda can: "yes" if getattr(can, name) else "no"


def _reports(*kinds: EventKind) -> Says:
    def say(can: Capabilities) -> str:
        if not set(kinds) <= can.events:
            return "no"
        return "when asked" if set(kinds) <= can.polled else "yes"

    return say


def _batch(can: Capabilities) -> str:
    return str(can.batch_size) if can.batch_size > 1 else "one"


def _key(can: Capabilities) -> str:
    return f"{can.key_life_hours:g} h" if can.idempotent else "no"


def _rate(can: Capabilities) -> str:
    return f"{can.rate_per_second:g}" if can.rate_per_second else "not limited"


def _signed(can: Capabilities) -> str:
    if not can.events:
        return "none"
    return "signed" if can.signed_webhooks else "secret path, confirmed by receipt"


ROWS: Sequence[tuple[str, Says]] = (
    ("mails a call", _batch),
    ("idempotency key", _key),
    ("calls a second at first", _rate),
    ("MB a mail", lambda can: f"{can.max_mail_bytes // 1_000_000}"),
    ("attachments", _yes("attachments")),
    ("attachments in a batch", _yes("attachments_in_batch")),
    ("inline images", _yes("inline_images")),
    ("any header", _yes("any_header")),
    ("tags at the vendor", _yes("tags")),
    ("webhooks", _signed),
    ("accepted", _reports(EventKind.ACCEPTED)),
    ("delayed", _reports(EventKind.DEFERRED)),
    ("delivered", _reports(EventKind.DELIVERED)),
    ("hard bounce", _reports(EventKind.HARD_BOUNCED)),
    ("soft bounce", _reports(EventKind.SOFT_BOUNCED)),
    ("complaint", _reports(EventKind.COMPLAINED)),
    ("opened", _reports(EventKind.OPENED)),
    ("clicked", _reports(EventKind.CLICKED)),
    ("unsubscribed", _reports(EventKind.UNSUBSCRIBED)),
    ("can be asked about a mail", _yes("receipts")),
    ("own audiences", _yes("audiences")),
    ("may carry health data", _yes("health_data")),
)


def markdown(providers: Sequence[type[Provider]] = PROVIDERS) -> str:
    """The table as documents show it."""
    head = ["", *(provider.title for provider in providers)]
    lines = [head, ["---"] * len(head)]
    lines += [[name, *(say(p.capabilities) for p in providers)] for name, say in ROWS]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
