"""What every vendor over HTTP shares: what a call that failed means, and careful reading of answers."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import orjson

from postroom.errors import ProviderRefused, ProviderSlow, ProviderUnreachable
from postroom.outgoing import PrivateAddress, PrivateAddressError
from postroom.providers.base import Attachment, Outcome, OutcomeKind, OutgoingMail

ASK_SECONDS = 10.0  # for a call that somebody waits for

# Everything that a call may raise; none of it is a bug of ours.
CALL_ERRORS = (httpx.RequestError, httpx.InvalidURL, UnicodeError, TimeoutError)


def outcome_of_failure(title: str, failure: Exception) -> Outcome:
    """What a call that got no whole answer means; only what failed before the first byte is provably not sent."""
    match failure:
        case PrivateAddressError() | PrivateAddress():
            return Outcome(
                OutcomeKind.MISCONFIGURED, reason=private_address(title), code="private_address"
            )
        case httpx.ConnectError() | httpx.ConnectTimeout() | httpx.PoolTimeout():
            return Outcome(
                OutcomeKind.NOT_SENT, reason=f"{title} could not be reached.", code="unreachable"
            )
        case httpx.LocalProtocolError():
            return Outcome(
                OutcomeKind.MISCONFIGURED,
                reason=f"The credentials of {title} hold characters that no header may hold.",
                code="header",
            )
        case httpx.InvalidURL() | httpx.UnsupportedProtocol() | UnicodeError():
            return Outcome(
                OutcomeKind.MISCONFIGURED,
                reason=f"The base URL of {title} is not a valid address.",
                code="base_url",
            )
        case httpx.TimeoutException() | TimeoutError():
            return Outcome(
                OutcomeKind.UNKNOWN, reason=f"{title} did not answer in time.", code="timeout"
            )
    return Outcome(
        OutcomeKind.UNKNOWN, reason=f"The connection to {title} broke.", code="broken_connection"
    )


def private_address(title: str) -> str:
    """Says nothing of the address: whoever typed the name need not learn what it leads to."""
    return f"The address of {title} must not lead to a private address."


@contextmanager
def asking(title: str) -> Iterator[None]:
    """Turn what a call raises into what somebody who waits for it can read."""
    try:
        yield
    except PrivateAddressError:
        raise ProviderRefused(422, private_address(title), code="private_address") from None
    except (httpx.ConnectTimeout, httpx.PoolTimeout):
        raise ProviderUnreachable(f"{title} could not be reached.") from None
    except (httpx.TimeoutException, TimeoutError):
        raise ProviderSlow(f"{title} did not answer in time.") from None
    except (httpx.RequestError, httpx.InvalidURL, UnicodeError):
        raise ProviderUnreachable(f"{title} could not be reached.") from None


def refused(status: int, message: str, code: str | None = None) -> ProviderRefused:
    """The vendor's status and sentence; a redirect or a stranger's page is a bad gateway."""
    sentence = message if message.endswith((".", "!", "?")) else f"{message}."
    return ProviderRefused(status if status >= 400 else 502, sentence, code=code)


def is_page(response: httpx.Response) -> bool:
    """A web page: something else than a vendor's API answered."""
    return "html" in response.headers.get("content-type", "").lower()


def json_of(response: httpx.Response) -> Any:
    """The body, or None when it is no JSON."""
    try:
        return orjson.loads(response.content)
    except orjson.JSONDecodeError:
        return None


def text_of(value: Any, limit: int = 1000) -> str | None:
    """Text that a database can keep, or nothing."""
    return value.replace("\x00", "")[:limit] or None if isinstance(value, str) else None


def number_of(value: str) -> float | None:
    """A finite number that is not negative, or nothing."""
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None


def seconds_of(retry_after: str) -> float | None:
    """`retry-after` is a number or a date."""
    if (number := number_of(retry_after)) is not None:
        return number
    try:
        at = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return max(0.0, (at - datetime.now(UTC)).total_seconds())


def moment_of(value: Any) -> datetime | None:
    """A time in ISO 8601 or as in mail headers; one without a zone is UTC."""
    if not isinstance(value, str) or not value.strip():
        return None
    for read in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            at = read(value.strip())
        except ValueError:
            continue
        return at if at.tzinfo else at.replace(tzinfo=UTC)
    return None


def bytes_of(mail: OutgoingMail) -> int:
    """What a mail weighs: its texts, and its attachments in base64."""
    texts = sum(len(part.encode()) for part in (mail.html, mail.text) if part)
    return texts + sum(len(attachment.content) for attachment in mail.attachments)


def decoded_bytes(attachment: Attachment) -> int:
    """What an attachment weighs before base64."""
    return len(attachment.content) * 3 // 4
