"""Never more than R calls in any sliding second, whoever asks."""

import asyncio
from dataclasses import replace
from itertools import count

import pytest

from postroom.domain import pace
from postroom.domain.pace import Lesson, Rate
from postroom.resources import Resources

_numbers = count(900_000)
TEN = Rate(usual=10)


@pytest.fixture
def connection() -> int:
    return next(_numbers)


async def _quiet(resources: Resources, connection: int, slots: int) -> None:
    """An account that has not been called for a while."""
    for slot in range(slots):
        await resources.redis.zadd(f"pace:{connection}", {str(slot): 1})


async def test_lost_state_means_a_second_of_silence_not_a_burst(resources, connection) -> None:
    leave = await pace.take(resources.redis, connection, 10, 0, TEN)
    assert leave.slots == ()
    assert 1.0 < leave.wait < 1.3


async def test_half_of_the_slots_go_at_once_and_the_rest_apart(resources, connection) -> None:
    await _quiet(resources, connection, 10)
    first = await pace.take(resources.redis, connection, 10, 0, TEN)
    assert len(first.slots) == 5
    second = await pace.take(resources.redis, connection, 10, 0, TEN)
    assert second.slots == ()
    assert 0.05 < second.wait <= 0.11


async def test_no_window_of_a_second_ever_holds_more_than_the_rate(resources, connection) -> None:
    calls: list[float] = []
    loop = asyncio.get_running_loop()
    end = loop.time() + 3.0

    async def caller() -> None:
        while loop.time() < end:
            leave = await pace.take(resources.redis, connection, 1, 0, TEN)
            for slot in leave.slots:
                await asyncio.sleep(max(0, slot.at - loop.time()))
                calls.append(loop.time())
                lesson = Lesson(sent=loop.time(), took=0.003)
                await pace.give(resources.redis, connection, slot, lesson)
            if not leave.slots:
                await asyncio.sleep(leave.wait)

    await asyncio.gather(*(caller() for _ in range(8)))
    calls.sort()
    assert max(sum(1 for c in calls if s <= c < s + 1) for s in calls) <= 10
    # The first second is silence, because nothing was known of the account.
    assert len(calls) >= 14


async def test_an_unused_slot_is_free_at_once(resources, connection) -> None:
    await _quiet(resources, connection, 10)
    for _ in range(30):
        leave = await pace.take(resources.redis, connection, 1, 0, Rate(usual=10))
        if not leave.slots:
            await asyncio.sleep(leave.wait)
            continue
        await pace.give(resources.redis, connection, leave.slots[0], Lesson())
    free = await resources.redis.zcount(f"pace:{connection}", "-inf", 2e15)
    assert free == 10


async def test_a_limit_that_the_vendor_names_is_learned(resources, connection) -> None:
    await _quiet(resources, connection, 10)
    leave = await pace.take(resources.redis, connection, 1, 0, TEN)
    lesson = Lesson(sent=leave.slots[0].at, limit=2)
    await pace.give(resources.redis, connection, leave.slots[0], lesson)
    await asyncio.sleep(0.6)
    granted = [
        len((await pace.take(resources.redis, connection, 5, 0, TEN)).slots) for _ in range(3)
    ]
    assert sum(granted) <= 2


async def test_the_owners_rate_bounds_what_the_vendor_names(resources, connection) -> None:
    await resources.redis.hset(f"paused:{connection}", "limit", 100)
    await _quiet(resources, connection, 100)
    leave = await pace.take(resources.redis, connection, 50, 0, Rate(set_by_owner=4, usual=10))
    assert len(leave.slots) <= 4


async def test_a_pause_is_kept_by_everybody(resources, connection) -> None:
    await _quiet(resources, connection, 10)
    await pace.pause(resources.redis, connection, 30)
    leave = await pace.take(resources.redis, connection, 1, 0, TEN)
    assert leave.slots == ()
    assert 29 < leave.wait <= 30
    await pace.resume(resources.redis, connection)
    assert (await pace.take(resources.redis, connection, 1, 0, TEN)).slots


async def _use(resources: Resources, connection: int, calls: int, lesson: Lesson) -> list[float]:
    """Make so many calls at once; the pause after each of them."""
    pauses = []
    for _ in range(calls):
        leave = await pace.take(resources.redis, connection, 1, 0, TEN)
        while not leave.slots:
            await asyncio.sleep(leave.wait)
            leave = await pace.take(resources.redis, connection, 1, 0, TEN)
        sent = asyncio.get_running_loop().time()
        told = replace(lesson, sent=sent)
        pauses.append(await pace.give(resources.redis, connection, leave.slots[0], told))
    return pauses


async def test_a_window_that_we_spent_ourselves_is_no_reason_to_pause(
    resources, connection
) -> None:
    await _quiet(resources, connection, 10)
    nothing_new, spent = Lesson(limit=10), Lesson(limit=10, spent=1.0)
    assert await _use(resources, connection, 9, nothing_new) == [0] * 9
    assert await _use(resources, connection, 1, spent) == [0]


async def test_a_window_that_others_spent_is_waited_for(resources, connection) -> None:
    await _quiet(resources, connection, 10)
    assert await _use(resources, connection, 4, Lesson(limit=10, spent=0.7)) == [0.7] * 4


async def test_strikes_double_the_pause_and_an_answer_forgets_them(resources, connection) -> None:
    await _quiet(resources, connection, 10)
    leave = await pace.take(resources.redis, connection, 1, 0, TEN)
    pauses = [
        await pace.give(resources.redis, connection, leave.slots[0], Lesson(strike=True))
        for _ in range(8)
    ]
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]
    await pace.give(resources.redis, connection, leave.slots[0], Lesson(strike=False))
    again = await pace.give(resources.redis, connection, leave.slots[0], Lesson(strike=True))
    assert again == 1


async def test_bulk_waits_while_a_transactional_take_is_refused(resources, connection) -> None:
    await _quiet(resources, connection, 10)
    await pace.take(resources.redis, connection, 10, 0, TEN)
    assert not (await pace.take(resources.redis, connection, 1, 0, TEN)).slots
    await asyncio.sleep(0.11)
    bulk = await pace.take(resources.redis, connection, 1, 1, TEN)
    assert bulk.slots == ()
    assert (await pace.take(resources.redis, connection, 1, 0, TEN)).slots


async def test_a_stopped_account_is_probed_by_one_call(resources, connection) -> None:
    await _quiet(resources, connection, 10)
    probe = Rate(usual=10, probe=True)
    assert len((await pace.take(resources.redis, connection, 5, 0, probe)).slots) == 1
    later = await pace.take(resources.redis, connection, 5, 0, probe)
    assert later.slots == ()
    assert later.wait > 290


async def test_without_any_rate_leave_is_given_freely_but_pauses_hold(
    resources, connection
) -> None:
    assert len((await pace.take(resources.redis, connection, 16, 0, Rate())).slots) == 16
    await pace.pause(resources.redis, connection, 5)
    assert not (await pace.take(resources.redis, connection, 16, 0, Rate())).slots


async def test_less_than_one_call_a_second_is_kept_too(resources, connection) -> None:
    await _quiet(resources, connection, 1)
    slow = Rate(set_by_owner=0.5)
    leave = await pace.take(resources.redis, connection, 1, 0, slow)
    assert len(leave.slots) == 1
    await pace.give(resources.redis, connection, leave.slots[0], Lesson(sent=leave.slots[0].at))
    await asyncio.sleep(1.2)
    assert not (await pace.take(resources.redis, connection, 1, 0, slow)).slots
