"""Redis reserves, Postgres proves."""

import asyncio
from datetime import UTC, date, datetime
from uuid import uuid4

import pytest

from postroom.domain import quota
from postroom.domain.quota import UNLIMITED, Wish

MONTH = quota.this_month()


async def _reserve(resources, wishes: list[Wish]) -> list[bool]:
    async with quota.reserved(resources.sessions, resources.redis, wishes, MONTH) as granted:
        return granted


async def _gate(resources, project_id) -> int | None:
    value = await resources.redis.get(quota.gate_key(project_id, MONTH))
    return None if value is None else int(value)


async def test_what_fits_is_granted_in_order_of_arrival_and_a_batch_whole_or_not_at_all(resources):
    project = uuid4()
    wishes = [
        Wish(project, 3, 10),
        Wish(project, 8, 10),
        Wish(project, 7, 10),
        Wish(project, 1, 10),
    ]
    assert await _reserve(resources, wishes) == [True, False, True, False]
    assert await _gate(resources, project) == 10


async def test_a_group_that_fails_gives_its_slots_back(resources) -> None:
    project = uuid4()
    with pytest.raises(asyncio.CancelledError):
        async with quota.reserved(
            resources.sessions, resources.redis, [Wish(project, 4, 10)], MONTH
        ):
            raise asyncio.CancelledError
    assert await _gate(resources, project) == 0


async def test_a_refund_never_goes_below_zero_and_never_makes_a_counter(resources) -> None:
    project = uuid4()
    await quota.give_back(resources.redis, {(project, MONTH): 3})
    assert await _gate(resources, project) is None
    await _reserve(resources, [Wish(project, 2, 10)])
    await quota.give_back(resources.redis, {(project, MONTH): 3})
    assert await _gate(resources, project) == 0


async def test_unlimited_is_never_refused(resources) -> None:
    project = uuid4()
    assert await _reserve(resources, [Wish(project, 1000, UNLIMITED)] * 3) == [True] * 3


async def test_the_gate_expires_with_its_month(resources) -> None:
    project = uuid4()
    await _reserve(resources, [Wish(project, 1, 10)])
    left = await resources.redis.ttl(quota.gate_key(project, MONTH))
    assert abs(left - quota.seconds_to_turn()) < 5


@pytest.mark.parametrize(
    ("month", "turn"),
    [
        (date(2026, 11, 1), datetime(2026, 12, 1, tzinfo=UTC)),
        (date(2026, 12, 1), datetime(2027, 1, 1, tzinfo=UTC)),
        (date(2027, 1, 1), datetime(2027, 2, 1, tzinfo=UTC)),
    ],
)
def test_the_month_turns_at_midnight_utc(month: date, turn: datetime) -> None:
    assert quota.month_after(month) == turn
