"""What Resend reports: its webhooks and its answer about one mail, in our words."""

import base64
import binascii
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parseaddr
from typing import Any

import orjson
from standardwebhooks import Webhook, WebhookVerificationError

from postroom.providers.base import (
    DeliveryEvent,
    EventKind,
    LiveStatus,
    WebhookNotConfigured,
    WebhookRefused,
    WebhookRequest,
    without_addresses,
)
from postroom.providers.network import text_of

REF_TAG = "postroom"  # the tag that carries our own id to Resend and back

# https://resend.com/docs/dashboard/webhooks/event-types
EVENT_KINDS: Mapping[str, EventKind] = {
    "email.scheduled": EventKind.SCHEDULED,
    "email.sent": EventKind.ACCEPTED,
    "email.delivery_delayed": EventKind.DEFERRED,
    "email.delivered": EventKind.DELIVERED,
    "email.bounced": EventKind.SOFT_BOUNCED,
    "email.complained": EventKind.COMPLAINED,
    "email.failed": EventKind.FAILED,
    "email.suppressed": EventKind.SUPPRESSED,
    "email.opened": EventKind.OPENED,
    "email.clicked": EventKind.CLICKED,
}
# Only a permanent bounce says that the address is no good; "Undetermined" does not.
BOUNCE_KINDS: Mapping[str, EventKind] = {"Permanent": EventKind.HARD_BOUNCED}
# `last_event` of GET /emails/{id}; it does not tell a hard bounce from a soft one.
LAST_EVENT_KINDS: Mapping[str, EventKind] = {
    **{name.removeprefix("email."): kind for name, kind in EVENT_KINDS.items()},
    "canceled": EventKind.FAILED,
}
REPORTED = frozenset(EVENT_KINDS.values()) | frozenset(BOUNCE_KINDS.values())


def read_signed(request: WebhookRequest, secret: object) -> list[DeliveryEvent]:
    """The events of a webhook whose signature is Resend's."""
    try:
        Webhook(_key(secret)).verify(request.body, _signed(request.headers), json_parse=False)
    except (WebhookVerificationError, ValueError):
        raise WebhookRefused("Webhook signature verification failed.") from None
    # What was verified is these very bytes.
    try:
        payload = orjson.loads(request.body)
    except orjson.JSONDecodeError:
        return []
    event_id = request.headers.get("svix-id") or request.headers["webhook-id"]
    event = _read_event(payload, event_id)
    return [event] if event else []


def _signed(headers: Mapping[str, str]) -> dict[str, str]:
    """Resend signs by Svix, whose headers are the standard's under an older name."""
    return {
        f"webhook-{name}": headers.get(f"svix-{name}", headers.get(f"webhook-{name}", ""))
        for name in ("id", "timestamp", "signature")
    }


def read_status(mail: Mapping[str, Any], provider_id: str) -> LiveStatus:
    """Resend's own object, and its last event as one of ours."""
    last = text_of(mail.get("last_event"))
    kind = LAST_EVENT_KINDS.get(last or "")
    if kind is None:
        return LiveStatus(last, mail)
    event = DeliveryEvent(
        event_id=f"status:{provider_id}:{last}",
        kind=kind,
        at=datetime.now(UTC),
        provider_id=provider_id,
        ref=_ref(mail.get("tags")),
        recipient=_recipient(mail.get("to")),
        reason="Canceled at Resend." if last == "canceled" else None,
    )
    return LiveStatus(last, mail, (event,))


def _key(secret: object) -> bytes:
    """The signing key in `whsec_...`; an empty or undecodable secret means off."""
    text = secret.strip().removeprefix("whsec_") if isinstance(secret, str) else ""
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not key:
        raise WebhookNotConfigured("The webhook secret of Resend is missing or not a whsec_ value.")
    return key


def _read_event(payload: Any, event_id: str) -> DeliveryEvent | None:
    """One event about one mail; what is not about a mail, or not in our table, is none."""
    if not isinstance(payload, dict) or not isinstance(data := payload.get("data"), dict):
        return None
    kind = EVENT_KINDS.get(text_of(payload.get("type")) or "")
    provider_id, ref = text_of(data.get("email_id")), _ref(data.get("tags"))
    if kind is None or not (provider_id or ref):
        return None
    detail = _detail(data)
    if kind is EventKind.SOFT_BOUNCED:
        kind = BOUNCE_KINDS.get(text_of(detail.get("type")) or "", kind)
    return DeliveryEvent(
        event_id=event_id,
        kind=kind,
        at=_moment(payload.get("created_at")),
        provider_id=provider_id,
        ref=ref,
        recipient=_recipient(data.get("to")),
        reason=_reason(detail),
        code=text_of(detail.get("subType")) or text_of(detail.get("type")),
    )


def _detail(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """What came along: `bounce`, `failed` or `suppressed`."""
    for name in ("bounce", "failed", "suppressed"):
        if isinstance(detail := data.get(name), dict):
            return detail
    return {}


def _reason(detail: Mapping[str, Any]) -> str | None:
    diagnostics = detail.get("diagnosticCode")
    first = diagnostics[0] if isinstance(diagnostics, list) and diagnostics else None
    said = text_of(detail.get("message")) or text_of(first) or text_of(detail.get("reason"))
    return without_addresses(said) if said else None


def _ref(tags: Any) -> str | None:
    """Our own id; tags come as an object in webhooks and as a list elsewhere."""
    if isinstance(tags, dict):
        return text_of(tags.get(REF_TAG))
    for tag in tags if isinstance(tags, list) else ():
        if isinstance(tag, dict) and tag.get("name") == REF_TAG:
            return text_of(tag.get("value"))
    return None


def _recipient(to: Any) -> str | None:
    """The one address that an event is about; of several nobody can say which."""
    to = [to] if isinstance(to, str) else to
    if not isinstance(to, list) or len(to) != 1 or not isinstance(to[0], str):
        return None
    return text_of(parseaddr(to[0])[1]) or text_of(to[0])


def _moment(value: Any) -> datetime:
    try:
        at = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return datetime.now(UTC)
    return at if at.tzinfo else at.replace(tzinfo=UTC)
