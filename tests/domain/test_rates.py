"""The request rate: never more than the limit over all processes, and mostly without a round trip."""

import asyncio
from dataclasses import dataclass
from uuid import uuid4

import pytest

from postroom.domain.rates import Rates
from postroom.errors import RateLimited
from postroom.resources import Redis, Resources, open_redis


@dataclass
class Clock:
    """A time that stands still until it is moved."""

    now: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


async def admitted(rates: Rates, project_id, limit: int, asked: int) -> int:
    count = 0
    for _ in range(asked):
        try:
            await rates.admit(project_id, limit)
        except RateLimited:
            continue
        count += 1
    return count


async def test_one_process_admits_exactly_the_limit(resources: Resources, clock: Clock) -> None:
    rates = Rates(resources.redis, clock)
    assert await admitted(rates, uuid4(), 100, 150) == 100


async def test_many_processes_together_never_admit_more_and_hardly_less(
    resources: Resources, clock: Clock
) -> None:
    project_id, limit = uuid4(), 1000
    processes = [Rates(resources.redis, clock) for _ in range(4)]
    counts = await asyncio.gather(
        *[admitted(rates, project_id, limit, 600) for rates in processes for _ in range(2)]
    )
    assert limit * 0.9 <= sum(counts) <= limit


async def test_the_next_minute_starts_anew(resources: Resources, clock: Clock) -> None:
    rates, project_id = Rates(resources.redis, clock), uuid4()
    assert await admitted(rates, project_id, 10, 20) == 10
    clock.now += 60
    assert await admitted(rates, project_id, 10, 20) == 10


async def test_the_refusal_says_when_the_minute_ends(resources: Resources, clock: Clock) -> None:
    clock.now = 1_800_000_000 - 1_800_000_000 % 60 + 45
    rates, project_id = Rates(resources.redis, clock), uuid4()
    await rates.admit(project_id, 1)
    with pytest.raises(RateLimited) as caught:
        await rates.admit(project_id, 1)
    assert caught.value.message == (
        "Rate limit exceeded (per minute). Please slow down or upgrade your plan."
    )
    assert caught.value.retry_after == pytest.approx(15)


async def test_projects_do_not_share_a_limit(resources: Resources, clock: Clock) -> None:
    rates = Rates(resources.redis, clock)
    for _ in range(3):
        assert await admitted(rates, uuid4(), 5, 10) == 5


async def test_an_unlimited_plan_asks_nobody(clock: Clock) -> None:
    nobody: Redis = None  # type: ignore[assignment]  # it must not be asked
    assert await admitted(Rates(nobody, clock), uuid4(), -1, 1000) == 1000


class Counting:
    """Redis, and how often it was asked."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self.asked = 0

    def pipeline(self, **options: bool):
        self.asked += 1
        return self._redis.pipeline(**options)


async def test_a_busy_key_costs_a_round_trip_in_many_requests(
    resources: Resources, clock: Clock
) -> None:
    counting = Counting(resources.redis)
    rates = Rates(counting, clock)  # type: ignore[arg-type]  # all that it needs of Redis
    assert await admitted(rates, uuid4(), 60_000, 10_000) == 10_000
    assert counting.asked < 25


async def test_a_quiet_key_holds_no_tokens_back_from_others(
    resources: Resources, clock: Clock
) -> None:
    project_id, limit = uuid4(), 600
    idle, busy = Rates(resources.redis, clock), Rates(resources.redis, clock)
    for _ in range(5):
        await idle.admit(project_id, limit)
        clock.now += 2
    assert await admitted(busy, project_id, limit, 700) == limit - 5


async def test_while_redis_is_away_each_process_has_the_whole_limit(
    resources: Resources, clock: Clock
) -> None:
    settings = resources.settings.model_copy(
        update={"redis_url": type(resources.settings.redis_url)("redis://127.0.0.1:1/0")}
    )
    redis = open_redis(settings)
    project_id = uuid4()
    for _ in range(2):
        assert await admitted(Rates(redis, clock), project_id, 50, 70) == 50
    await redis.aclose()


async def test_a_minute_that_turns_while_tokens_are_leased_refuses_nobody(
    resources: Resources, clock: Clock, monkeypatch
) -> None:
    rates, project_id = Rates(resources.redis, clock), uuid4()
    take = rates._take

    async def slow(name: str, block: int, limit: int) -> int:
        leased = await take(name, block, limit)
        clock.now += 60
        return leased

    monkeypatch.setattr(rates, "_take", slow)
    assert await admitted(rates, project_id, 1_000_000, 3) == 3


async def test_a_busy_keys_next_block_is_there_before_the_last_one_is_spent(
    resources: Resources, clock: Clock
) -> None:
    rates, project_id, limit = Rates(resources.redis, clock), uuid4(), 1_000_000
    assert await admitted(rates, project_id, limit, 500) == 500
    waited = 0
    for _ in range(20_000):
        if not rates.admits_now(project_id, limit):
            waited += 1
            await rates.admit(project_id, limit)
        await asyncio.gather(*rates._leases)
        clock.now += 0.0001
    assert waited == 0


async def test_demand_goes_on_when_the_minute_turns(resources: Resources, clock: Clock) -> None:
    counting = Counting(resources.redis)
    rates = Rates(counting, clock)  # type: ignore[arg-type]  # all that it needs of Redis
    project_id, limit = uuid4(), 600_000
    assert await admitted(rates, project_id, limit, 10_000) == 10_000
    clock.now += 60 - clock.now % 60
    asked = counting.asked
    rates._minutes[project_id].leased_at = clock.now  # as it is when requests come all the time
    assert await admitted(rates, project_id, limit, 2_000) == 2_000
    assert counting.asked - asked <= 2
