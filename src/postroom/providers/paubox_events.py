"""What Paubox reports: its receipts, which answer when asked, and its unsigned webhooks; in our words."""

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parseaddr
from typing import Any

import orjson

from postroom.providers.base import DeliveryEvent, EventKind, LiveStatus, WebhookRequest
from postroom.providers.network import moment_of, text_of

REF_HEADER = "X-Postroom-Id"  # carries our own id to Paubox and back; recipients can see it

Digest = Callable[[str], str]

# https://docs.paubox.com/docs/paubox_email_api/webhooks
PUSHED_KINDS: Mapping[str, EventKind] = {
    "api_mail_log_delivered": EventKind.DELIVERED,
    "api_mail_log_temporary_failure": EventKind.DEFERRED,
    "api_mail_log_permanent_failure": EventKind.HARD_BOUNCED,
    "api_mail_log_opened": EventKind.OPENED,
}
# `deliveryStatus` of a receipt, in lower case; whatever is not here says nothing yet.
RECEIPT_KINDS: Mapping[str, EventKind] = {
    "processing": EventKind.ACCEPTED,
    "tls not offered, sending via secure portal": EventKind.ACCEPTED,
    "soft bounced": EventKind.DEFERRED,
    "soft bounced - mailbox full": EventKind.DEFERRED,
    "hard bounced": EventKind.HARD_BOUNCED,
    "delivered": EventKind.DELIVERED,
    "delivered via secure portal": EventKind.DELIVERED,
}
POLLED = frozenset({EventKind.CLICKED, EventKind.UNSUBSCRIBED})
REPORTED = frozenset(PUSHED_KINDS.values()) | frozenset({EventKind.ACCEPTED}) | POLLED
# What one word for several recipients must be: the worst, and delivered only when all are.
_LAST_WORDS = ("hard bounced", "soft bounced", "tls not offered", "processing", "delivered")


def ref_of(custom_headers: Any) -> str | None:
    """Our own id among the headers that Paubox echoes, in whatever case."""
    if not isinstance(custom_headers, dict):
        return None
    for name, value in custom_headers.items():
        if str(name).lower() == REF_HEADER.lower():
            return text_of(value, 128)
    return None


# ── Webhooks ─────────────────────────────────────────────────────────────────────────────────────


def read_pushed(request: WebhookRequest, digest: Digest) -> list[DeliveryEvent]:
    """The event of a webhook; its path is all that speaks for it."""
    try:
        body = orjson.loads(request.body)
    except orjson.JSONDecodeError:
        return []
    payload = body.get("payload") if isinstance(body, dict) else None
    if not isinstance(payload, dict):
        return []
    name = text_of(body.get("event_name")) or ""
    provider_id, ref = text_of(payload.get("source_tracking_id"), 128), _ref(payload)
    kind = PUSHED_KINDS.get(name)
    if kind is None or not (provider_id or ref):
        return []
    recipient = _address(payload.get("to"))
    # The id is that of a line in Paubox's log, which several events may share.
    which = (payload.get("id") or provider_id, digest(recipient or ""), payload.get("time"))
    return [
        DeliveryEvent(
            event_id=":".join(str(part) for part in (name, *which))[:300],
            kind=kind,
            at=moment_of(payload.get("time")) or datetime.now(UTC),
            provider_id=provider_id,
            ref=ref,
            recipient=recipient,
            code=name.removeprefix("api_mail_log_"),
        )
    ]


def _ref(payload: Mapping[str, Any]) -> str | None:
    return ref_of(payload.get("custom_headers"))


# ── Receipts ─────────────────────────────────────────────────────────────────────────────────────


def read_receipt(body: Mapping[str, Any], provider_id: str, digest: Digest) -> LiveStatus:
    """Paubox's own object, and what it says of each recipient as events of ours."""
    data = body.get("data")
    message = data.get("message") if isinstance(data, dict) else None
    message = message if isinstance(message, dict) else {}
    deliveries = [d for d in message.get("message_deliveries") or () if isinstance(d, dict)]
    events = [event for d in deliveries for event in _delivery(d, provider_id, digest)]
    if len(deliveries) == 1:
        events += _engagement(message, deliveries[0], provider_id)
    return LiveStatus(_last_event(deliveries), body, tuple(events))


def _last_event(deliveries: list[dict[str, Any]]) -> str | None:
    literals = [_literal(delivery) for delivery in deliveries]
    for word in _LAST_WORDS:
        for literal in literals:
            if literal.startswith(word):
                return literal
    return next((literal for literal in literals if literal), None)


def _delivery(delivery: Mapping[str, Any], provider_id: str, digest: Digest) -> Iterator[Any]:
    literal, recipient = _literal(delivery), _address(delivery.get("recipient"))
    kind = RECEIPT_KINDS.get(literal)
    if kind is None:
        return
    status = _status(delivery)
    who = digest(recipient or "")
    yield DeliveryEvent(
        event_id=f"receipt:{provider_id}:{who}:{literal}",
        kind=kind,
        at=moment_of(status.get("deliveryTime")) or datetime.now(UTC),
        provider_id=provider_id,
        recipient=recipient,
        code="via_portal" if literal == "delivered via secure portal" else literal,
    )


def _engagement(
    message: Mapping[str, Any], delivery: Mapping[str, Any], provider_id: str
) -> Iterator[DeliveryEvent]:
    """Opened, clicked, unsubscribed: told only of mails to one recipient."""
    status, recipient = _status(delivery), _address(delivery.get("recipient"))
    clicks = message.get("total_click_count")
    happened: list[tuple[EventKind, str, Any]] = []
    if text_of(status.get("openedStatus")) == "opened":
        happened.append((EventKind.OPENED, "opened", status.get("openedTime")))
    if type(clicks) is int and clicks > 0:
        happened.append((EventKind.CLICKED, f"clicked:{clicks}", None))
    if message.get("unsubscribed") is True:
        happened.append((EventKind.UNSUBSCRIBED, "unsubscribed", None))
    for kind, word, at in happened:
        yield DeliveryEvent(
            event_id=f"receipt:{provider_id}:{word}",
            kind=kind,
            at=moment_of(at) or datetime.now(UTC),
            provider_id=provider_id,
            recipient=recipient,
        )


def _status(delivery: Mapping[str, Any]) -> Mapping[str, Any]:
    status = delivery.get("status")
    return status if isinstance(status, dict) else {}


def _literal(delivery: Mapping[str, Any]) -> str:
    return " ".join((text_of(_status(delivery).get("deliveryStatus")) or "").lower().split())


def _address(value: Any) -> str | None:
    text = text_of(value, 320)
    return None if text is None else (parseaddr(text)[1] or text)
