"""What a vendor's answer means: for the mails of the call, and for how its account is called from now on.

Nothing is written here, and nobody is called.
"""

import logging

from postroom import metrics
from postroom.domain.claim import Attempt, BoundMail
from postroom.domain.pace import Lesson
from postroom.domain.settle import FREE_AGAIN, Result, Settled
from postroom.domain.status import State
from postroom.providers.base import Answer, Capabilities, Outcome, OutcomeKind

log = logging.getLogger(__name__)

LONGEST_REPEAT = 60.0
SANDBOX_KEEPS_DAYS = 30

_STRIKES = {
    OutcomeKind.THROTTLED: True,
    OutcomeKind.NOT_SENT: True,
    OutcomeKind.UNKNOWN: True,
    OutcomeKind.ACCEPTED: False,
    OutcomeKind.REJECTED: False,
}
# The vendor did not take the mails, for reasons that are not theirs: they wait to be called for again.
FREED = {OutcomeKind.THROTTLED, OutcomeKind.NOT_SENT, OutcomeKind.MISCONFIGURED}


def lesson_of(answer: Answer, sent: float, took: float) -> Lesson:
    """What a call taught about the account; `sent` by the loop's clock, `took` in seconds."""
    kinds = {outcome.kind for outcome in answer.outcomes}
    kind = next(iter(kinds)) if len(kinds) == 1 else OutcomeKind.ACCEPTED
    strike = _STRIKES.get(kind)
    told = answer.pause is not None or any(o.wait is not None for o in answer.outcomes)
    if told and strike:
        # The vendor said how long, or meant one mail; doubling is for those that do not.
        strike = None
    return Lesson(sent, took, answer.limit, answer.pause, answer.spent, strike)


def result_of(attempt: Attempt, answer: Answer, can: Capabilities) -> Result:
    """What the vendor's answer means for the attempt."""
    unknown = next((o for o in answer.outcomes if o.kind is OutcomeKind.UNKNOWN), None)
    unsent = next((o for o in answer.outcomes if o.kind in FREED), None)
    if unknown is None and unsent is not None and attempt.is_repeat:
        # That this call was not taken proves nothing about the one before it.
        wait = max(_repeat_after(attempt), answer.pause or 0.0)
        return Result(attempt.id, attempt.fence, repeat_in=wait, reason=unsent.reason)
    if unknown is None:
        mails = [
            _settled(attempt, mail, outcome, answer, can)
            for mail, outcome in zip(attempt.mails, answer.outcomes, strict=True)
        ]
        # Of a keyed attempt another call may be under way: only an answer that took the mails outlives a lease.
        proves = unsent is None or not attempt.keyed
        return Result(attempt.id, attempt.fence, answered=proves, mails=mails)
    if attempt.keyed and not unknown.alarm:
        wait = _repeat_after(attempt)
        return Result(attempt.id, attempt.fence, repeat_in=wait, reason=unknown.reason)
    if unknown.alarm:
        metrics.ALARMS.labels("repeat_refused").inc()
        log.error("repeat refused by the provider", extra={"attempt": str(attempt.id)})
    return Result(attempt.id, attempt.fence, park=True, reason=unknown.reason)


def _repeat_after(attempt: Attempt) -> float:
    """Seconds until an unclear call is made again: 1, 2, 4 ... 60."""
    return min(LONGEST_REPEAT, 2.0 ** min(attempt.fence - 1, 10))


def _settled(
    attempt: Attempt, mail: BoundMail, outcome: Outcome, answer: Answer, can: Capabilities
) -> Settled:
    keep = SANDBOX_KEEPS_DAYS if can.keeps_content else 0
    if outcome.kind is OutcomeKind.ACCEPTED:
        return Settled(
            mail.project_id,
            mail.id,
            State.SENT,
            provider_id=outcome.provider_id,
            ask=can.receipts,
            keep_days=keep,
        )
    if outcome.kind is OutcomeKind.REJECTED and not (answer.whole_call and len(attempt.mails) > 1):
        return Settled(
            mail.project_id, mail.id, State.FAILED, reason=outcome.reason, keep_days=keep
        )
    if outcome.kind is OutcomeKind.REJECTED:
        # One bad mail spoils the call: smaller and smaller calls find it.
        smaller = max(1, len(attempt.mails) // 2)
        return Settled(
            mail.project_id, mail.id, FREE_AGAIN, reason=outcome.reason, pack_max=smaller
        )
    return Settled(mail.project_id, mail.id, FREE_AGAIN, reason=outcome.reason, wait=outcome.wait)
