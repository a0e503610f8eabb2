"""What Resend's answers mean: one of six outcomes for each mail, and how the account may be called from now on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from postroom.providers.base import Answer, Outcome, OutcomeKind, without_addresses
from postroom.providers.network import is_page, json_of, number_of, seconds_of, text_of

# https://resend.com/docs/api-reference/errors
KIND_BY_STATUS: Mapping[int, OutcomeKind] = {
    400: OutcomeKind.REJECTED,
    408: OutcomeKind.UNKNOWN,
    409: OutcomeKind.UNKNOWN,
    413: OutcomeKind.REJECTED,
    422: OutcomeKind.REJECTED,
    425: OutcomeKind.UNKNOWN,
    429: OutcomeKind.THROTTLED,
    451: OutcomeKind.REJECTED,
}
# These concern the account (or our own key), whichever status they come with: no mail is at fault.
ACCOUNT_NAMES = frozenset(
    {
        "invalid_access",
        "invalid_api_key",
        "invalid_idempotency_key",
        "invalid_permission",
        "invalid_region",
        "missing_api_key",
        "not_the_api",
        "restricted_api_key",
        "suspended_api_key",
    }
)
QUOTA_NAMES = frozenset({"daily_quota_exceeded", "monthly_quota_exceeded"})
# The vendor keeps another body under our key: a repeat can only get the same refusal.
OTHER_BYTES = "invalid_idempotent_request"

_LONGEST_PAUSE = 32 * 86400.0
_WRONG_ADDRESS = "This is not Resend's API (HTTP {status}): check the base URL."


@dataclass(frozen=True, slots=True)
class VendorError:
    """An error answer, whatever its shape."""

    status: int
    name: str | None
    message: str


def read_answer(response: httpx.Response, count: int) -> Answer:
    """The outcomes of a call of `count` mails that was answered."""
    limit, spent = named_limit(response.headers), named_turn(response)
    if not is_page(response) and response.is_success:
        return Answer(_accepted(response, count), limit=limit, spent=spent)
    pause = named_pause(response)
    error = read_error(response)
    outcome = refusal(error)
    if error.status == 429 and error.name in QUOTA_NAMES:
        pause = max(pause or 0.0, seconds_until_quota(error.name, datetime.now(UTC)))
    whole_call = count > 1 and outcome.kind is OutcomeKind.REJECTED
    return Answer.all(count, outcome, whole_call=whole_call, limit=limit, pause=pause, spent=spent)


# ── Errors ───────────────────────────────────────────────────────────────────────────────────────


def read_error(response: httpx.Response) -> VendorError:
    """Resend says {statusCode, name, message}; gateways in between nest it, list it or send text."""
    status = response.status_code
    if is_page(response):
        return VendorError(status, "not_the_api", _sentence_for_page(status))
    body = json_of(response)
    found = _error_object(body)
    name = text_of(found.get("name")) or text_of(found.get("code"))
    message = text_of(found.get("message")) or text_of(found.get("error"))
    if message is None and body is None:
        message = response.text
    sentence = without_addresses((message or "").replace("\x00", ""))
    return VendorError(status, name, sentence or f"Resend answered HTTP {status}.")


def _sentence_for_page(status: int) -> str:
    """Resend's own edge may answer an outage or a limit with a page; anything else is another server's."""
    own = status >= 500 or status in (409, 429)
    return f"Resend answered HTTP {status}." if own else _WRONG_ADDRESS.format(status=status)


def _error_object(body: Any) -> Mapping[str, Any]:
    """The innermost object that carries the message."""
    for _ in range(3):
        if isinstance(body, list):
            body = body[0] if body else None
        if not isinstance(body, dict):
            return {"message": body} if isinstance(body, str) else {}
        inner = body.get("error") or body.get("errors")
        if "message" in body or not isinstance(inner, dict | list):
            return body
        body = inner
    return {}


def refusal(error: VendorError) -> Outcome:
    """What an answer without acceptance means; the status decides, the name refines."""
    kind = _kind(error)
    reason = error.message
    if error.status in (404, 405) or error.status < 400:
        reason = _WRONG_ADDRESS.format(status=error.status)
    alarm = error.status == 409 and error.name == OTHER_BYTES
    return Outcome(kind, reason=reason, code=error.name or f"http_{error.status}", alarm=alarm)


def _kind(error: VendorError) -> OutcomeKind:
    if error.status >= 500:
        return OutcomeKind.UNKNOWN
    kind = KIND_BY_STATUS.get(error.status, OutcomeKind.MISCONFIGURED)
    if kind is OutcomeKind.REJECTED and _concerns_account(error):
        return OutcomeKind.MISCONFIGURED
    return kind


def _concerns_account(error: VendorError) -> bool:
    # An invalid key is at times reported as a plain validation_error.
    return error.name in ACCOUNT_NAMES or "api key is" in error.message.lower()


# ── Accepted ─────────────────────────────────────────────────────────────────────────────────────


def _accepted(response: httpx.Response, count: int) -> tuple[Outcome, ...]:
    """Each mail's outcome; an answer that cannot be matched to the mails says nothing about any."""
    body = json_of(response)
    if not isinstance(body, dict):
        return (_unreadable(alarm=False),) * count
    if count == 1:
        return (_sent(body.get("id")) or _unreadable(alarm=True),)
    outcomes = _match(body.get("data"), body.get("errors") or [], count)
    # The answer was whole: under the same key Resend would repeat it, so a repeat clears nothing up.
    return outcomes or (_unreadable(alarm=True),) * count


def _match(data: Any, errors: Any, count: int) -> tuple[Outcome, ...] | None:
    """Ids and refusals put back in the order of the mails, or nothing when they do not add up."""
    if not isinstance(data, list) or not isinstance(errors, list):
        return None
    refused = _refused(errors, count)
    sent = [_sent(item.get("id")) if isinstance(item, dict) else None for item in data]
    ids = {outcome.provider_id for outcome in sent if outcome}
    if refused is None or len(sent) + len(refused) != count or len(ids) != len(sent):
        return None
    accepted = iter(sent)
    return tuple(refused.get(i) or next(accepted) or _unreadable(alarm=True) for i in range(count))


def _refused(errors: Sequence[Any], count: int) -> dict[int, Outcome] | None:
    refused: dict[int, Outcome] = {}
    for error in errors:
        index = error.get("index") if isinstance(error, dict) else None
        if type(index) is not int or not 0 <= index < count or index in refused:
            return None
        reason = without_addresses(text_of(error.get("message")) or "Resend refused this mail.")
        name = text_of(error.get("name")) or "validation_error"
        refused[index] = Outcome(OutcomeKind.REJECTED, reason=reason, code=name)
    return refused


def _sent(provider_id: Any) -> Outcome | None:
    if isinstance(provider_id, str) and provider_id.isascii() and 0 < len(provider_id) <= 128:
        return Outcome(OutcomeKind.ACCEPTED, provider_id=provider_id)
    return None


def _unreadable(*, alarm: bool) -> Outcome:
    reason = "Resend's answer could not be matched to the mails."
    return Outcome(OutcomeKind.UNKNOWN, reason=reason, code="unreadable_answer", alarm=alarm)


# ── How the account may be called: https://resend.com/docs/api-reference/rate-limit ──────────────


def named_limit(headers: httpx.Headers) -> float | None:
    """Calls a second from `ratelimit-limit`, over the window that `ratelimit-policy` names."""
    limit = number_of(headers.get("ratelimit-limit", "").split(",")[0].split(";")[0])
    if limit is None or limit <= 0:
        return None
    return limit / _window(headers.get("ratelimit-policy", ""), limit)


def _window(policies: str, limit: float) -> float:
    for policy in policies.split(","):
        quota, *parameters = (part.strip() for part in policy.split(";"))
        if number_of(quota) != limit:
            continue
        for parameter in parameters:
            name, _, value = parameter.partition("=")
            if name == "w" and (window := number_of(value)):
                return window
    return 1.0


def named_pause(response: httpx.Response) -> float | None:
    """Seconds without calls, as told on 429."""
    if response.status_code != 429:
        return None
    retry_after = seconds_of(response.headers.get("retry-after", ""))
    return _reset(response.headers) if retry_after is None else min(retry_after, _LONGEST_PAUSE)


def named_turn(response: httpx.Response) -> float | None:
    """Seconds until the window turns, when nothing is left of it; a 429 names its own pause."""
    left = number_of(response.headers.get("ratelimit-remaining", ""))
    return _reset(response.headers) if left == 0 and response.status_code != 429 else None


def _reset(headers: httpx.Headers) -> float | None:
    reset = number_of(headers.get("ratelimit-reset", ""))
    return None if reset is None else min(reset, _LONGEST_PAUSE)


def seconds_until_quota(name: str, now: datetime) -> float:
    """Seconds until a used-up quota can change: the next UTC day or month."""
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    turn = midnight + timedelta(days=1)
    if name == "monthly_quota_exceeded":
        turn = (midnight.replace(day=28) + timedelta(days=4)).replace(day=1)
    return (turn - now).total_seconds() + 1
