"""How a status may move: one order, one table, pure.

A mail only ever moves up. Any order and any repetition of events therefore ends in the same state, and the
slot is refunded exactly when that state is FAILED.
"""

from enum import IntEnum

from postroom.providers.base import EventKind


class State(IntEnum):
    """What we know of a mail; the order of the numbers is the order in which knowledge wins."""

    QUEUED = 0
    SENT = 1
    DEFERRED = 2
    FAILED = 3
    SOFT_BOUNCED = 4
    DELIVERED = 5
    HARD_BOUNCED = 6
    COMPLAINED = 7


SHOWN: dict[State, str] = {
    State.QUEUED: "queued",
    State.SENT: "sent",
    State.DEFERRED: "queued",  # documented: a delayed delivery shows as queued
    State.FAILED: "failed",
    State.SOFT_BOUNCED: "bounced",
    State.DELIVERED: "delivered",
    State.HARD_BOUNCED: "bounced",
    State.COMPLAINED: "complained",
}

STATES_SHOWN_AS: dict[str, tuple[State, ...]] = {
    name: tuple(state for state, shown in SHOWN.items() if shown == name) for name in SHOWN.values()
}

EVENT_STATES: dict[EventKind, State] = {
    EventKind.ACCEPTED: State.SENT,
    EventKind.DEFERRED: State.DEFERRED,
    EventKind.FAILED: State.FAILED,
    EventKind.SOFT_BOUNCED: State.SOFT_BOUNCED,
    EventKind.DELIVERED: State.DELIVERED,
    EventKind.HARD_BOUNCED: State.HARD_BOUNCED,
    EventKind.SUPPRESSED: State.HARD_BOUNCED,
    EventKind.COMPLAINED: State.COMPLAINED,
    # Opened, clicked, scheduled and unsubscribed belong to the timeline alone.
}

# Said instead of the vendor's sentence, because programs ask for these words.
EVENT_REASONS: dict[EventKind, str] = {
    EventKind.SOFT_BOUNCED: "soft",
    EventKind.SUPPRESSED: "suppressed",
}

# After these, mail to the address would harm the sender.
SUPPRESSING: dict[EventKind, str] = {
    EventKind.HARD_BOUNCED: "bounce",
    EventKind.COMPLAINED: "complaint",
}


def next_status(now: State, event: EventKind) -> State:
    """The state after an event: the higher of the two, whatever came first."""
    return max(now, EVENT_STATES.get(event, now))
