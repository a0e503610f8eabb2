"""One request on its way to disk: its mails, what it is answered, and the sentences when it is refused."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any
from uuid import UUID

from postroom import metrics
from postroom.domain import quota
from postroom.domain.idempotency import Keyed
from postroom.domain.new_mails import NewMail
from postroom.errors import Conflict, InvalidPayload, Overloaded, Problem, QuotaExceeded


@dataclass(frozen=True, slots=True)
class Accepted:
    """The answer to a request whose mails are on disk."""

    answer: dict[str, Any]
    replayed: bool = False


@dataclass(eq=False, slots=True)
class Submission:
    """One request: its mails are written all or none."""

    project_id: UUID
    limit: int
    mails: Sequence[NewMail]
    answer: Callable[[int], dict[str, Any]]  # from the month's usage after these mails
    keyed: Keyed | None = None
    gated: bool = False  # its slots were reserved at the gate
    size: int = field(init=False)  # bytes
    since: float = field(init=False)  # when it began to wait, by the clock that never stands still
    done: asyncio.Future[Accepted] = field(init=False)

    def __post_init__(self) -> None:
        self.size = sum([len(mail.content) for mail in self.mails])
        self.since = monotonic()
        self.done = asyncio.get_running_loop().create_future()

    @property
    def wish(self) -> quota.Wish:
        return quota.Wish(self.project_id, len(self.mails), self.limit)

    def refuse(self, problem: Problem) -> None:
        if not self.done.done():
            self.done.set_exception(problem)

    def accept(self, accepted: Accepted) -> None:
        if not self.done.done():
            self.done.set_result(accepted)


def usage_of_each(group: Sequence[Submission], used: dict[UUID, int]) -> list[int]:
    """The month's usage right after each submission, had they come one by one."""
    left = dict(used)
    usage = []
    for submission in reversed(group):
        usage.append(left[submission.project_id])
        left[submission.project_id] -= len(submission.mails)
    return usage[::-1]


def that_fit(group: Sequence[Submission], used: dict[UUID, int]) -> list[Submission]:
    """The submissions that fit under their project's limit, chosen in order of arrival, each whole."""
    taken = dict(used)
    chosen = []
    for submission in group:
        after = taken.get(submission.project_id, 0) + len(submission.mails)
        if after <= quota.most(submission.limit):
            taken[submission.project_id] = after
            chosen.append(submission)
    return chosen


def refuse_over_limit(submissions: Iterable[Submission]) -> None:
    for submission in submissions:
        metrics.QUOTA_REFUSALS.inc()
        submission.refuse(
            QuotaExceeded("Monthly mail limit exceeded.", retry_after=quota.seconds_to_turn())
        )


def mismatch() -> Conflict:
    return Conflict(
        "This Idempotency-Key was already used with a different body.", code="idempotency_mismatch"
    )


def refused_alone(submission: Submission, state: str) -> Problem:
    if state != "55P03":
        return InvalidPayload("Invalid mail payload.")
    if submission.keyed is None:
        return unsure()
    return Conflict(
        "A request with this Idempotency-Key is still running.",
        code="idempotency_in_progress",
        retry_after=1,
    )


def busy() -> Overloaded:
    metrics.OVERLOADS.inc()
    return Overloaded("The server is busy. Try again in a moment.", retry_after=1)


def unsure() -> Overloaded:
    return Overloaded(
        "The mail could not be stored just now. Repeat the request with an Idempotency-Key to be sure"
        " that it is accepted once.",
        retry_after=2,
    )
