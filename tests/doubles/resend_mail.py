"""Mails as Resend checks them, answers and tells about them."""

import itertools
import os
import random
import re
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parseaddr
from typing import Any

from tests.doubles.faults import Faults
from tests.doubles.hooks import Hook, Hooks, message
from tests.doubles.ledger import Accepted

Refusal = tuple[int, dict[str, Any]]

_TAG = re.compile(r"[A-Za-z0-9_-]{1,256}")
_made = itertools.count(1)
_process = os.urandom(8).hex()

# What is told after email.sent, by the local part of the first recipient (+label allowed).
STORIES: dict[str, tuple[tuple[str, dict[str, Any]], ...]] = {
    "delivered": (("delivered", {}),),
    "bounced": (
        (
            "bounced",
            {
                "bounce": {
                    "type": "Permanent",
                    "subType": "General",
                    "message": "The recipient's mail server rejected it: 550 5.1.1 no such user",
                    "diagnosticCode": ["smtp; 550 5.1.1 user unknown"],
                }
            },
        ),
    ),
    "softbounced": (
        (
            "bounced",
            {"bounce": {"type": "Transient", "subType": "MailboxFull", "message": "Mailbox full"}},
        ),
    ),
    "complained": (("delivered", {}), ("complained", {})),
    "delayed": (("delivery_delayed", {}), ("delivered", {})),
    "failed": (("failed", {"failed": {"reason": "reached_daily_quota"}}),),
    "suppressed": (
        (
            "suppressed",
            {
                "suppressed": {
                    "type": "OnAccountSuppressionList",
                    "message": "The address is on the account's suppression list",
                    "reason": "previous_bounce",
                }
            },
        ),
    ),
}


def error(status: int, name: str, text: str) -> Refusal:
    return status, {"statusCode": status, "name": name, "message": text}


TOO_MANY = error(429, "rate_limit_exceeded", "Too many requests. Slow down.")
UNAVAILABLE = error(503, "service_unavailable", "The service is unavailable.")
BROKEN = error(500, "application_error", "An unexpected error occurred.")
CONCURRENT = error(409, "concurrent_idempotent_requests", "The same key is being processed.")
OTHER_BODY = error(409, "invalid_idempotent_request", "The same key came with another body.")
RESTRICTED = error(401, "restricted_api_key", "This API key is restricted to only send emails")
DOMAINS = {
    "object": "list",
    "has_more": False,
    "data": [
        {"id": "d91cd9bd-1176-453e-8fc1-35364d380206", "name": "example.com", "status": "verified"}
    ],
}


def new_id() -> str:
    """A UUID in form; unique in this process, improbable in another."""
    p = _process
    return f"{p[:8]}-{p[8:12]}-4{p[12:15]}-8{p[13:16]}-{next(_made):012x}"


# ── Checking ─────────────────────────────────────────────────────────────────────────────────────


def check(mails: Any, *, batch: bool, domains: Collection[str]) -> dict[int, Refusal] | Refusal:
    """The refusal of each bad mail by its place, or of the call as a whole."""
    listed = mails if batch else [mails]
    if not isinstance(listed, list) or not 1 <= len(listed) <= 100:
        return error(422, "validation_error", "The batch must have 1 to 100 emails.")
    bad: dict[int, Refusal] = {}
    for index, mail in enumerate(listed):
        refusal = _check_one(mail, domains)
        if refusal is not None and refusal[0] == 403:
            return refusal
        if refusal is not None:
            bad[index] = refusal
    return bad


def _check_one(mail: Any, domains: Collection[str]) -> Refusal | None:
    if not isinstance(mail, dict):
        return error(422, "validation_error", "The email must be an object.")
    for field in ("from", "to", "subject"):
        if not mail.get(field):
            return error(422, "missing_required_field", f"Missing `{field}` field.")
    if mail.get("html") is None and mail.get("text") is None:
        return error(422, "validation_error", "Missing `html` or `text` field.")
    if domains and (domain := parseaddr(mail["from"])[1].rpartition("@")[2]) in domains:
        return error(403, "validation_error", f"The {domain} domain is not verified.")
    return _check_recipients(mail) or _check_tags(mail.get("tags", ()))


def _check_recipients(mail: dict[str, Any]) -> Refusal | None:
    to = recipients(mail)
    if len(to) > 50:
        return error(422, "validation_error", "The `to` field has too many addresses.")
    for address in to:
        if "@" not in address or local_part(address) == "rejected":
            text = f"Invalid `to` field: {address} is no address."
            return error(422, "validation_error", text)
    return None


def _check_tags(tags: Sequence[Any]) -> Refusal | None:
    for tag in tags:
        if not (_TAG.fullmatch(tag["name"]) and _TAG.fullmatch(tag["value"])):
            return error(422, "validation_error", "Tags have letters, numbers, _ and - only.")
    return None


def recipients(mail: dict[str, Any]) -> list[str]:
    to = mail["to"]
    return [to] if isinstance(to, str) else to


def local_part(address: str) -> str:
    if "<" in address:
        address = parseaddr(address)[1]
    return address.partition("@")[0].partition("+")[0].lower()


def ref_of(mail: dict[str, Any]) -> str:
    """What tells one mail from another: the sender's own id in a tag, else recipient and subject."""
    for tag in mail.get("tags", ()):
        if tag["name"] == "postroom":
            return str(tag["value"])
    return f"{recipients(mail)[0]}|{mail['subject']}"


def drop_attachments(mails: Sequence[dict[str, Any]]) -> int:
    """A batch call loses attachments without a word."""
    return sum(len(mail.pop("attachments", ())) for mail in mails)


# ── Answering and telling ────────────────────────────────────────────────────────────────────────


def batch_answer(
    accepted: Sequence[Accepted], refused: dict[int, Refusal], *, permissive: bool
) -> dict[str, Any]:
    answer: dict[str, Any] = {"data": [{"id": mail.id} for mail in accepted]}
    if permissive:
        answer["errors"] = [
            {"index": index, "message": body["message"]} for index, (_, body) in refused.items()
        ]
    return answer


def status_of(accepted: Accepted, age: float, step_seconds: float) -> dict[str, Any]:
    """GET /emails/{id}: its last event by the time that has passed."""
    mail = accepted.mail
    told = int(age / step_seconds) if step_seconds else 99
    story = ["sent", *(name for name, _ in _story(accepted))]
    return {
        "object": "email",
        "id": accepted.id,
        "message_id": f"<{accepted.id}@email.example.com>",
        "to": recipients(mail) if mail else [],
        "from": mail.get("from"),
        "created_at": _stamp(accepted.at).replace("T", " ").replace("Z", "+00"),
        "subject": mail.get("subject"),
        "html": mail.get("html"),
        "text": mail.get("text"),
        "bcc": mail.get("bcc"),
        "cc": mail.get("cc"),
        "reply_to": mail.get("reply_to"),
        "last_event": story[min(told, len(story) - 1)],
        "scheduled_at": None,
        "tags": mail.get("tags", []),
    }


def report_events(hooks: Hooks, faults: Faults, accepted: Sequence[Accepted]) -> None:
    """Send each mail's story as signed webhooks, where an address is set."""
    if not faults.webhook_url or not faults.webhook_secret:
        return
    step = faults.webhook_delay_ms / 1000
    for mail in accepted:
        for place, (name, detail) in enumerate([("sent", {}), *_story(mail)]):
            if random.uniform(0, 100) < faults.webhook_silent_percent:
                continue
            body = message(f"email.{name}", _stamp(mail.at, step * place), _data(mail, detail))
            hook = Hook(f"msg_{mail.id}_{place}", faults.webhook_url, faults.webhook_secret, body)
            hooks.tell(
                hook,
                step * (place + 1),
                duplicate_percent=faults.webhook_duplicate_percent,
                shuffle=faults.webhook_shuffle,
            )


def _story(accepted: Accepted) -> tuple[tuple[str, dict[str, Any]], ...]:
    to = recipients(accepted.mail) if accepted.mail else []
    return STORIES.get(local_part(to[0]) if to else "", STORIES["delivered"])


def _data(accepted: Accepted, detail: dict[str, Any]) -> dict[str, Any]:
    mail = accepted.mail
    return {
        "email_id": accepted.id,
        "message_id": f"<{accepted.id}@email.example.com>",
        "created_at": _stamp(accepted.at),
        "from": mail["from"],
        "to": recipients(mail),
        "subject": mail["subject"],
        "tags": {tag["name"]: tag["value"] for tag in mail.get("tags", ())},
        **detail,
    }


def _stamp(at: float, later: float = 0) -> str:
    moment = datetime.fromtimestamp(at, UTC) + timedelta(seconds=later)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
