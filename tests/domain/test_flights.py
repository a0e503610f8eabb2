"""Those who ask for the same thing at the same time wait for one answer."""

import asyncio

import pytest

from postroom.domain.flights import Flights


async def test_a_thousand_who_ask_at_once_are_answered_by_one_question() -> None:
    flights: Flights[int] = Flights()
    asked = 0

    async def ask() -> int:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0.01)
        return 7

    answers = await asyncio.gather(*(flights.share("key", ask) for _ in range(1000)))
    assert (set(answers), asked) == ({7}, 1)
    assert await flights.share("key", ask) == 7
    assert asked == 2


async def test_one_who_leaves_does_not_take_the_answer_from_the_others() -> None:
    flights: Flights[int] = Flights()
    answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def ask() -> int:
        return await answer

    leaves = asyncio.create_task(flights.share("key", ask))
    stays = asyncio.create_task(flights.share("key", ask))
    await asyncio.sleep(0)
    leaves.cancel()
    await asyncio.sleep(0)
    answer.set_result(7)
    assert await stays == 7


async def test_a_question_that_fails_fails_for_all_and_may_be_asked_again() -> None:
    flights: Flights[int] = Flights()

    async def fail() -> int:
        raise KeyError("no such key")

    async def ask() -> int:
        return 7

    results = await asyncio.gather(
        *(flights.share("key", fail) for _ in range(3)), return_exceptions=True
    )
    assert [type(r) for r in results] == [KeyError] * 3
    with pytest.raises(KeyError):
        await flights.share("key", fail)
    assert await flights.share("key", ask) == 7
