"""What Amazon SES reports through SNS, in both of its formats, in our words.

https://docs.aws.amazon.com/ses/latest/dg/event-publishing-retrieving-sns-contents.html
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from postroom.providers.base import DeliveryEvent, EventKind, without_addresses
from postroom.providers.network import moment_of, text_of

REF_TAG = "postroom"  # the tag that carries our own id to SES and back
REF_HEADER = "X-Postroom-Id"  # for classic notifications, which know no tags

_SUPPRESSED = frozenset({"Suppressed", "OnAccountSuppressionList"})
_INNOCENT = frozenset({"not-spam"})


@dataclass(frozen=True, slots=True)
class Told:
    """One recipient's share of an event; None stands for the mail as a whole."""

    kind: EventKind
    recipient: str | None = None
    reason: str | None = None
    code: str | None = None
    spares_address: bool = False


def read_notification(text: str) -> list[DeliveryEvent]:
    """The events of a proven notification; what is no event of a mail is none."""
    try:
        event = orjson.loads(text)
    except orjson.JSONDecodeError:
        return []  # such as the sentence that AWS sends when a topic was set up
    if not isinstance(event, dict) or not isinstance(mail := event.get("mail"), dict):
        return []
    name = text_of(event.get("eventType")) or text_of(event.get("notificationType")) or ""
    provider_id, ref = text_of(mail.get("messageId"), 128), _ref(mail)
    reader = _READERS.get(name)
    if reader is None or not (provider_id or ref):
        return []
    field, read = reader
    detail = event.get(field)
    detail = detail if isinstance(detail, dict) else {}
    at = detail.get("timestamp") or mail.get("timestamp")
    # Both formats, and a repeat under another message of SNS, make the same id.
    which = text_of(detail.get("feedbackId")) or text_of(at) or ""
    return [
        DeliveryEvent(
            event_id=f"{name}:{provider_id}:{which}:{number}"[:300],
            kind=told.kind,
            at=moment_of(at) or datetime.now(UTC),
            provider_id=provider_id,
            ref=ref,
            recipient=told.recipient,
            reason=told.reason,
            code=told.code,
            spares_address=told.spares_address,
        )
        for number, told in enumerate(read(detail, mail))
    ]


def _ref(mail: Mapping[str, Any]) -> str | None:
    tags = mail.get("tags")
    values = tags.get(REF_TAG) if isinstance(tags, dict) else None
    if isinstance(values, list) and values:
        return text_of(values[0], 128)
    for header in mail.get("headers") or ():
        if isinstance(header, dict) and str(header.get("name")).lower() == REF_HEADER.lower():
            return text_of(header.get("value"), 128)
    return None


# ── Each type of event ───────────────────────────────────────────────────────────────────────────


def _bounce(detail: Mapping[str, Any], mail: Mapping[str, Any]) -> Iterator[Told]:
    """Out-of-office answers come as bounces of nobody; a transient bounce is final for its mail."""
    bounce_type = text_of(detail.get("bounceType"))
    sub_type = text_of(detail.get("bounceSubType"))
    kind = EventKind.HARD_BOUNCED if bounce_type == "Permanent" else EventKind.SOFT_BOUNCED
    if sub_type in _SUPPRESSED:
        kind = EventKind.SUPPRESSED
    for bounced in _list(detail.get("bouncedRecipients")):
        said = text_of(bounced.get("diagnosticCode"))
        yield Told(
            kind,
            text_of(bounced.get("emailAddress"), 320),
            without_addresses(said) if said else None,
            f"{bounce_type}/{sub_type}",
        )


def _complaint(detail: Mapping[str, Any], mail: Mapping[str, Any]) -> Iterator[Told]:
    feedback = text_of(detail.get("complaintFeedbackType"))
    listed = text_of(detail.get("complaintSubType")) in _SUPPRESSED
    if feedback in _INNOCENT:
        return
    kind = EventKind.SUPPRESSED if listed else EventKind.COMPLAINED
    complained = _list(detail.get("complainedRecipients"))
    for one in complained:
        # Of several addresses at one mailbox provider nobody knows which complained.
        yield Told(
            kind,
            text_of(one.get("emailAddress"), 320),
            code=feedback,
            spares_address=len(complained) > 1,
        )


def _delivery(detail: Mapping[str, Any], mail: Mapping[str, Any]) -> Iterator[Told]:
    for recipient in detail.get("recipients") or ():
        yield Told(EventKind.DELIVERED, text_of(recipient, 320))


def _delay(detail: Mapping[str, Any], mail: Mapping[str, Any]) -> Iterator[Told]:
    for delayed in _list(detail.get("delayedRecipients")):
        said = text_of(delayed.get("diagnosticCode"))
        yield Told(
            EventKind.DEFERRED,
            text_of(delayed.get("emailAddress"), 320),
            without_addresses(said) if said else None,
            text_of(detail.get("delayType")),
        )


def _failure(detail: Mapping[str, Any], mail: Mapping[str, Any]) -> Iterator[Told]:
    said = text_of(detail.get("reason")) or text_of(detail.get("errorMessage"))
    reason = without_addresses(said) if said else "Amazon SES rejected the mail."
    yield Told(EventKind.FAILED, reason=reason, code="rejected")


def _of_kind(kind: EventKind) -> "Reader":
    def read(detail: Mapping[str, Any], mail: Mapping[str, Any]) -> Iterator[Told]:
        to = mail.get("destination")
        # Opens and clicks of a mail to several people belong to nobody in particular.
        alone = text_of(to[0], 320) if isinstance(to, list) and len(to) == 1 else None
        yield Told(kind, alone)

    return read


def _subscription(detail: Mapping[str, Any], mail: Mapping[str, Any]) -> Iterator[Told]:
    now = detail.get("newTopicPreferences")
    now = now if isinstance(now, dict) else {}
    topics = _list(now.get("topicSubscriptionStatus"))
    out = now.get("unsubscribeAll") is True or any(
        topic.get("subscriptionStatus") == "OptOut" for topic in topics
    )
    if out:
        yield from _of_kind(EventKind.UNSUBSCRIBED)(detail, mail)


def _list(value: Any) -> Sequence[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


Reader = Callable[[Mapping[str, Any], Mapping[str, Any]], Iterator[Told]]
_READERS: Mapping[str, tuple[str, Reader]] = {
    "Send": ("send", _of_kind(EventKind.ACCEPTED)),
    "Delivery": ("delivery", _delivery),
    "Bounce": ("bounce", _bounce),
    "Complaint": ("complaint", _complaint),
    "Reject": ("reject", _failure),
    "Rendering Failure": ("failure", _failure),
    "DeliveryDelay": ("deliveryDelay", _delay),
    "Open": ("open", _of_kind(EventKind.OPENED)),
    "Click": ("click", _of_kind(EventKind.CLICKED)),
    "Subscription": ("subscription", _subscription),
}
REPORTED = frozenset(EventKind) - {EventKind.SCHEDULED}
