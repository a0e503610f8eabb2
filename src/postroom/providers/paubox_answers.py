"""What Paubox's answers mean: five shapes of error, errors under status 200, and items without an id."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from postroom.providers.base import Answer, Outcome, OutcomeKind, without_addresses
from postroom.providers.network import is_page, json_of, seconds_of, text_of
from postroom.providers.paubox_events import ref_of

WRONG_ADDRESS = "This is not Paubox's API (HTTP {status}): check the base URL."
KIND_BY_STATUS: Mapping[int, OutcomeKind] = {
    400: OutcomeKind.REJECTED,
    408: OutcomeKind.UNKNOWN,
    409: OutcomeKind.UNKNOWN,
    413: OutcomeKind.REJECTED,
    422: OutcomeKind.REJECTED,
    425: OutcomeKind.UNKNOWN,
    429: OutcomeKind.THROTTLED,
}
# Said under 400 and 422 as well as under 403: the account is at fault, not the mail.
_ACCOUNT_WORDS = (
    "not verified",
    "unverified",
    "verified domain",
    "api key",
    "unauthorized",
    "suspended",
)
_LONGEST_PAUSE = 3600.0


@dataclass(frozen=True, slots=True)
class VendorError:
    """An error answer, whatever its shape."""

    status: int
    message: str
    code: str
    named: bool = False  # the body itself speaks of an error, whatever the HTTP status
    about_account: bool = False


def read_answer(response: httpx.Response, refs: Sequence[str]) -> Answer:
    """The outcomes of a call with mails of these refs that was answered."""
    error = read_error(response)
    if response.is_success and not is_page(response) and not error.named:
        return Answer(_accepted(json_of(response), refs))
    outcome = refusal(error)
    whole_call = len(refs) > 1 and outcome.kind is OutcomeKind.REJECTED
    return Answer.all(len(refs), outcome, whole_call=whole_call, pause=_pause(response))


def _pause(response: httpx.Response) -> float | None:
    if response.status_code != 429:
        return None
    told = seconds_of(response.headers.get("retry-after", ""))
    return None if told is None else min(told, _LONGEST_PAUSE)


# ── Errors ───────────────────────────────────────────────────────────────────────────────────────


def read_error(response: httpx.Response) -> VendorError:
    """`errors` as a list or a sentence, `message`, `error`, or code and title on top; or no JSON at all."""
    status = response.status_code
    if is_page(response):
        own = status >= 500 or status == 429
        said = f"Paubox answered HTTP {status}." if own else WRONG_ADDRESS.format(status=status)
        return VendorError(status, said, "not_the_api")
    found = _error_object(json_of(response))
    title, said, number = _title(found), _said(found), found.get("code")
    status = _status(status, number, named=bool(found))
    account = f"{title} {said}".lower()
    # `details` may echo what the mail says; titles and numbers do not.
    message = without_addresses(title or f"Paubox answered HTTP {status}.")
    return VendorError(
        status,
        message if message.endswith(".") else f"{message}.",
        f"http_{status}",
        named=bool(found),
        about_account=any(word in account for word in _ACCOUNT_WORDS),
    )


def _error_object(body: Any) -> Mapping[str, Any]:
    """What a body says went wrong; empty when it says nothing of the kind."""
    if not isinstance(body, dict):
        return {}
    errors = body.get("errors")
    if isinstance(errors, list) and errors:
        errors = errors[0]
    if isinstance(errors, dict | str) and errors:
        return errors if isinstance(errors, dict) else {"title": errors}
    if "sourceTrackingId" in body or "messages" in body:
        return {}
    named = (name for name in ("title", "error", "message", "detail") if text_of(body.get(name)))
    if (name := next(named, None)) is None:
        return {}
    return {"title": body[name], "details": body.get("details"), "code": body.get("code")}


def _title(found: Mapping[str, Any]) -> str:
    inner = found.get("details")
    inner_title = text_of(inner.get("title")) if isinstance(inner, dict) else None
    parts = [text_of(found.get("title")) or text_of(found.get("message")), inner_title]
    return ": ".join(part.rstrip(".") for part in parts if part)[:200]


def _said(found: Mapping[str, Any]) -> str:
    details = found.get("details")
    if isinstance(details, dict):
        details = details.get("details")
    return text_of(details) or ""


def _status(status: int, number: Any, *, named: bool) -> int:
    """An error under a good status goes by its own number."""
    if status >= 300 or not named:
        return status
    return number if type(number) is int and 400 <= number < 600 else 400


def refusal(error: VendorError) -> Outcome:
    """What an answer without acceptance means."""
    kind = KIND_BY_STATUS.get(error.status, OutcomeKind.MISCONFIGURED)
    if error.status >= 500:
        kind = OutcomeKind.UNKNOWN
    if kind is OutcomeKind.REJECTED and (error.about_account or error.code == "not_the_api"):
        kind = OutcomeKind.MISCONFIGURED
    reason = error.message
    if error.status in (404, 405) or error.status < 400:
        reason = WRONG_ADDRESS.format(status=error.status)
    return Outcome(kind, reason=reason, code=error.code)


# ── Accepted ─────────────────────────────────────────────────────────────────────────────────────


def _accepted(body: Any, refs: Sequence[str]) -> tuple[Outcome, ...]:
    """Each mail's outcome; an answer that cannot be matched to the mails says nothing about any."""
    items = _items(body, len(refs))
    if items is None or not _in_order(items, refs):
        return (_unreadable(),) * len(refs)
    outcomes = tuple(_sent(item) or _refused(item) for item in items)
    ids = [outcome.provider_id for outcome in outcomes if outcome.provider_id]
    if not ids and len(refs) == 1 and not _error_object(items[0]):
        return (_unreadable(),)
    return outcomes if len(set(ids)) == len(ids) else (_unreadable(),) * len(refs)


def _items(body: Any, count: int) -> list[Mapping[str, Any]] | None:
    if not isinstance(body, dict):
        return None
    items = [body] if count == 1 else body.get("messages")
    if not isinstance(items, list) or len(items) != count:
        return None
    return items if all(isinstance(item, dict) for item in items) else None


def _in_order(items: Sequence[Mapping[str, Any]], refs: Sequence[str]) -> bool:
    """Where Paubox echoes our own ids, they must be those that we sent, in order."""
    echoed = [ref_of(item.get("customHeaders")) for item in items]
    return all(echo in (None, ref) for echo, ref in zip(echoed, refs, strict=True))


def _sent(item: Mapping[str, Any]) -> Outcome | None:
    made = item.get("sourceTrackingId")
    if isinstance(made, str) and made.isascii() and 0 < len(made) <= 128:
        return Outcome(OutcomeKind.ACCEPTED, provider_id=made)
    return None


def _refused(item: Mapping[str, Any]) -> Outcome:
    title = without_addresses(_title(_error_object(item))) or "Paubox did not take this mail"
    return Outcome(OutcomeKind.REJECTED, reason=f"{title}.", code="no_tracking_id")


def _unreadable() -> Outcome:
    reason = "Paubox's answer could not be matched to the mails."
    return Outcome(OutcomeKind.UNKNOWN, reason=reason, code="unreadable_answer", alarm=True)
