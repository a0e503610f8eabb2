"""The switches of a double: what goes wrong, how often, and what it tells by webhook."""

import random
from dataclasses import dataclass, fields
from typing import Any


@dataclass(slots=True)
class Faults:
    """The switches. Percentages are of calls; each call throws its own dice."""

    latency_ms: float = 0  # mails are taken when it is over, even if the caller has gone
    throttle: int = 0  # so many calls from now on answer 429
    throttle_percent: float = 0
    retry_after: int = 1
    error: int = 0  # so many calls from now on answer 503 and take nothing
    error_percent: float = 0
    error_after_accept_percent: float = 0  # takes the mails and answers 500
    hang_percent: float = 0  # takes the mails and never answers
    drop_after_accept: int = 0  # so many calls: takes the mails and closes without an answer
    drop_after_accept_percent: float = 0
    drop_before_accept: int = 0  # so many calls: closes without having read the mails
    drop_before_accept_percent: float = 0
    rate_limit: int = 0  # enforced in fixed windows of a second, for each API key; 0 is off
    ratelimit_headers: bool = True
    named_limit: int = 10  # what the headers say while nothing is enforced
    answer: dict[str, Any] | None = None  # {status, name, message, calls}: what calls get instead
    unverified_domains: tuple[str, ...] = ()
    webhook_url: str = ""
    webhook_secret: str = ""
    webhook_delay_ms: float = 50
    webhook_duplicate_percent: float = 0
    webhook_shuffle: bool = False
    webhook_silent_percent: float = 0

    def set(self, **switches: Any) -> None:
        known = {field.name for field in fields(self)}
        if unknown := set(switches) - known:
            raise ValueError(f"unknown switches: {', '.join(sorted(unknown))}")
        for name, value in switches.items():
            setattr(self, name, value)

    def strikes(self, name: str) -> bool:
        """Whether a fault meets this call: one of the next n, or by its percentage."""
        left = getattr(self, name, 0)
        if left > 0:
            setattr(self, name, left - 1)
            return True
        percent = getattr(self, f"{name}_percent", 0)
        return percent > 0 and random.uniform(0, 100) < percent

    def scripted(self) -> dict[str, Any] | None:
        script = self.answer
        if script is not None and (left := script.get("calls")) is not None:
            script["calls"] = left - 1
            self.answer = script if left > 1 else None
        return script
