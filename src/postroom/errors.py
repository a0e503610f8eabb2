"""What can be wrong with a request, named after the situation; the doors turn each into one envelope.

Problem
├── InvalidPayload 400 · NotAuthenticated 401 · Forbidden 403 · NotFound 404 · Conflict 409 · Gone 410
├── TooSlow 408 · TooLarge 413 · WrongContentType 415 · QuotaExceeded 429 · RateLimited 429
├── HeadTooLarge 431 · Overloaded 503
└── ProviderRefused (the vendor's status) · ProviderUnreachable 502 · ProviderSlow 504
CommandFailed and SettingsMissing end a command with one sentence.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Issue:
    """One thing that is wrong with one field of a request; a template's errors know their place in it."""

    path: str
    message: str
    line: int | None = None
    column: int | None = None


class Problem(Exception):
    """Something the caller can read, with a stable code; `message` ends with a full stop."""

    status = 500
    code = "internal_error"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        issues: Sequence[Issue] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or type(self).code
        self.issues = tuple(issues)
        self.retry_after = retry_after

    def headers(self) -> Mapping[str, str]:
        """The response headers that belong to this problem."""
        if self.retry_after is None:
            return {}
        return {"Retry-After": str(max(1, round(self.retry_after + 0.5)))}


class InvalidPayload(Problem):
    status = 400
    code = "invalid_payload"

    @classmethod
    def at(cls, path: str, message: str, code: str | None = None) -> "InvalidPayload":
        """One issue: its message is the sentence."""
        return cls(message, code=code, issues=[Issue(path, message)])


class NotAuthenticated(Problem):
    status = 401
    code = "not_authenticated"


class Forbidden(Problem):
    status = 403
    code = "forbidden"


class NotFound(Problem):
    status = 404
    code = "not_found"


class Conflict(Problem):
    status = 409
    code = "conflict"


class Gone(Problem):
    status = 410
    code = "gone"


class TooSlow(Problem):
    status = 408
    code = "request_timeout"


class TooLarge(Problem):
    status = 413
    code = "payload_too_large"


class WrongContentType(Problem):
    status = 415
    code = "unsupported_media_type"


class QuotaExceeded(Problem):
    status = 429
    code = "monthly_limit_exceeded"


class RateLimited(Problem):
    status = 429
    code = "rate_limited"


class HeadTooLarge(Problem):
    status = 431
    code = "head_too_large"


class Overloaded(Problem):
    status = 503
    code = "overloaded"


class ProviderRefused(Problem):
    """The vendor answered an error to a call that the caller waits for; status and sentence are the vendor's."""

    code = "provider_error"

    def __init__(self, status: int, message: str, *, code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.status = status


class ProviderUnreachable(Problem):
    status = 502
    code = "provider_unreachable"


class ProviderSlow(Problem):
    status = 504
    code = "provider_timeout"


class Unsupported(Problem):
    """The chosen provider cannot do this; the sentence says so and what can."""

    status = 422
    code = "unsupported_by_provider"


class SettingsMissing(Exception):
    """A setting without which the process must not start; the sentence names it and the cure."""


class Unsealable(Exception):
    """Something sealed could not be opened: its key is gone or the bytes were changed."""
