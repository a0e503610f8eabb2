"""What Amazon SES's answers mean; https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_SendEmail.html."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import httpx

from postroom.providers import mime
from postroom.providers.base import Answer, Outcome, OutcomeKind, without_addresses
from postroom.providers.network import is_page, json_of, moment_of, text_of

WRONG_ADDRESS = "This is not Amazon SES (HTTP {status}): check region and endpointUrl."
KIND_BY_NAME: Mapping[str, OutcomeKind] = {
    "TooManyRequestsException": OutcomeKind.THROTTLED,
    "LimitExceededException": OutcomeKind.THROTTLED,
    "ThrottlingException": OutcomeKind.THROTTLED,
    "Throttling": OutcomeKind.THROTTLED,
    "MessageRejected": OutcomeKind.REJECTED,
    "BadRequestException": OutcomeKind.REJECTED,
    "ValidationException": OutcomeKind.REJECTED,
    "InvalidParameterValue": OutcomeKind.REJECTED,
    "SerializationException": OutcomeKind.REJECTED,
    "MailFromDomainNotVerifiedException": OutcomeKind.MISCONFIGURED,
    "NotFoundException": OutcomeKind.MISCONFIGURED,
    "SendingPausedException": OutcomeKind.MISCONFIGURED,
    "AccountSuspendedException": OutcomeKind.MISCONFIGURED,
    "InternalServiceErrorException": OutcomeKind.UNKNOWN,
    "InternalFailure": OutcomeKind.UNKNOWN,
}
KIND_BY_STATUS: Mapping[int, OutcomeKind] = {
    400: OutcomeKind.REJECTED,
    408: OutcomeKind.UNKNOWN,
    413: OutcomeKind.REJECTED,
    425: OutcomeKind.UNKNOWN,
    429: OutcomeKind.THROTTLED,
}
# The signature is refused for the clock alone: nothing was sent, and the right time is in the answer.
_CLOCK_NAMES = frozenset({"RequestTimeTooSkewed", "RequestExpired"})
_CLOCK_WORDS = ("signature expired", "signature not yet current")
# What a key that may only send is told when it asks; the key itself is then known to AWS.
DENIED = frozenset({"AccessDeniedException", "AccessDenied"})
_QUOTA_PAUSE = 600.0


@dataclass(frozen=True, slots=True)
class VendorError:
    status: int
    name: str
    message: str

    @property
    def about_clock(self) -> bool:
        said = self.message.lower()
        return self.name in _CLOCK_NAMES or any(word in said for word in _CLOCK_WORDS)


def read_answer(response: httpx.Response, sender: str) -> Answer:
    """The outcome of a call with one mail."""
    if response.is_success and not _is_stranger(response):
        return Answer.all(1, _accepted(response))
    error = read_error(response)
    quota = "quota" in error.message.lower() or error.name == "LimitExceededException"
    outcome = refusal(error, mime.bare(sender))
    pause = _QUOTA_PAUSE if quota and outcome.kind is OutcomeKind.THROTTLED else None
    return Answer.all(1, outcome, pause=pause)


def _accepted(response: httpx.Response) -> Outcome:
    body = json_of(response)
    made = body.get("MessageId") if isinstance(body, dict) else None
    if isinstance(made, str) and made.isascii() and 0 < len(made) <= 128:
        return Outcome(OutcomeKind.ACCEPTED, provider_id=made)
    reason = "Amazon SES's answer could not be read."
    return Outcome(OutcomeKind.UNKNOWN, reason=reason, code="unreadable_answer")


def _is_stranger(response: httpx.Response) -> bool:
    """A web page; some servers that speak SES's language call their JSON one."""
    return is_page(response) and not isinstance(json_of(response), dict)


def read_error(response: httpx.Response) -> VendorError:
    """The name is in a header, before any colon; older gateways put it into the body."""
    if _is_stranger(response):
        return VendorError(response.status_code, "not_the_api", "")
    body = json_of(response)
    body = body if isinstance(body, dict) else {}
    named = response.headers.get("x-amzn-errortype") or text_of(body.get("__type")) or ""
    name = named.partition(":")[0].rpartition("#")[2].strip()[:100]
    message = text_of(body.get("message")) or text_of(body.get("Message")) or ""
    return VendorError(response.status_code, name, message)


def refusal(error: VendorError, sender: str = "") -> Outcome:
    """What an answer without acceptance means; the name decides, else the status."""
    reason = sentence_of(error)
    code = error.name or f"http_{error.status}"
    if error.about_clock:
        return Outcome(OutcomeKind.NOT_SENT, reason="This server's clock is wrong.", code=code)
    return Outcome(_kind(error, sender), reason=reason, code=code)


def _kind(error: VendorError, sender: str) -> OutcomeKind:
    if error.status >= 500:
        return OutcomeKind.UNKNOWN
    if error.name == "not_the_api":
        throttled = error.status == 429
        return OutcomeKind.THROTTLED if throttled else OutcomeKind.MISCONFIGURED
    kind = KIND_BY_NAME.get(error.name)
    if kind is None:
        kind = KIND_BY_STATUS.get(error.status, OutcomeKind.MISCONFIGURED)
        # An unknown name under 400 is more likely about the key than about the mail.
        named_otherwise = error.name and error.status == 400
        kind = OutcomeKind.MISCONFIGURED if named_otherwise else kind
    if kind is OutcomeKind.REJECTED and _names_sender(error.message, sender):
        return OutcomeKind.MISCONFIGURED
    return kind


def _names_sender(message: str, sender: str) -> bool:
    """An unverified identity is the account's fault when it is the sender's, not a recipient's."""
    said, sender = message.lower(), sender.lower()
    if "not verified" not in said:
        return False
    domain = re.escape(sender.rpartition("@")[2])
    alone = re.search(rf"(?<![@.\w-]){domain}(?![.\w-]*\w)", said)
    return "@" not in said or sender in said or alone is not None


def sentence_of(error: VendorError) -> str:
    if error.name == "not_the_api" or (error.status in (404, 405) and not error.name):
        return WRONG_ADDRESS.format(status=error.status)
    said = without_addresses(error.message) or f"Amazon SES answered HTTP {error.status}."
    return said if said.endswith((".", "!", "?")) else f"{said}."


def clock_of(response: httpx.Response) -> float | None:
    """Seconds by which AWS's clock is ahead of ours."""
    at = moment_of(response.headers.get("date"))
    return None if at is None else (at - datetime.now(UTC)).total_seconds()
