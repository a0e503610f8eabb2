"""Any order and any repetition of events ends in the same status."""

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroom.domain.status import EVENT_STATES, SHOWN, STATES_SHOWN_AS, State, next_status
from postroom.providers.base import EventKind

KINDS = st.lists(st.sampled_from(list(EventKind)), max_size=8)


def _after(events: list[EventKind], state: State = State.QUEUED) -> State:
    for event in events:
        state = next_status(state, event)
    return state


@given(KINDS, st.randoms(use_true_random=False))
def test_any_order_of_events_ends_in_the_same_status(events: list[EventKind], random) -> None:
    shuffled = list(events)
    random.shuffle(shuffled)
    assert _after(shuffled) == _after(events)


@given(KINDS, KINDS)
def test_a_repeated_event_changes_nothing(events: list[EventKind], more: list[EventKind]) -> None:
    assert _after(events + more + events) == _after(events + more)


@given(st.sampled_from(list(State)), st.sampled_from(list(EventKind)))
def test_a_status_never_goes_backwards(state: State, event: EventKind) -> None:
    assert next_status(state, event) >= state


@pytest.mark.parametrize(
    ("events", "shown"),
    [
        ([], "queued"),
        (["accepted"], "sent"),
        (["accepted", "deferred"], "queued"),
        (["deferred", "delivered"], "delivered"),
        (["soft_bounced", "delivered"], "delivered"),
        (["delivered", "hard_bounced"], "bounced"),
        (["delivered", "complained"], "complained"),
        (["failed", "delivered"], "delivered"),
        (["delivered", "failed"], "delivered"),
        (["accepted", "failed"], "failed"),
        (["accepted", "suppressed"], "bounced"),
        (["opened", "clicked", "unsubscribed", "scheduled"], "queued"),
    ],
)
def test_what_a_story_shows_in_the_end(events: list[str], shown: str) -> None:
    kinds = [EventKind(name) for name in events]
    assert {SHOWN[_after(list(order))] for order in permutations(kinds)} == {shown}


def test_every_state_is_shown_and_found_by_what_it_is_shown_as() -> None:
    assert set(SHOWN) == set(State)
    assert sorted(s for states in STATES_SHOWN_AS.values() for s in states) == sorted(State)
    assert set(EVENT_STATES.values()) == set(State) - {State.QUEUED}
