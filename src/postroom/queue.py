"""The bells: an id goes into Redis, never a letter.

A bell says that a lane has work. It is a member of a sorted set, so ringing twice is ringing once, and a
worker that waits on it with BZPOPMIN is woken within a millisecond.
"""

import contextlib
from collections.abc import Iterable
from time import time
from typing import NamedTuple

from postroom.resources import Pipeline, Redis, RedisError

TRANSACTIONAL, BULK = 0, 1
BELLS = ("bell:0", "bell:1")  # in the order in which they are heard


class Lane(NamedTuple):
    """The line of one provider account for one stream of mail."""

    connection_id: int
    stream: int


async def ring(redis: Redis, lanes: Iterable[Lane], now: float) -> None:
    """Ring each lane once: one command a stream, whatever the number of lanes. Raises RedisError."""
    pipe = redis.pipeline(transaction=False)
    put_bells(pipe, lanes, now)
    await pipe.execute()


def put_bells(pipe: Pipeline, lanes: Iterable[Lane], now: float) -> None:
    """The same, together with whatever else the pipeline carries."""
    members: dict[str, dict[str, float]] = {}
    for lane in set(lanes):
        members.setdefault(BELLS[lane.stream], {})[str(lane.connection_id)] = now
    for bell, mapping in members.items():
        pipe.zadd(bell, mapping, nx=True)


async def listen(redis: Redis, bells: tuple[str, ...] = BELLS, seconds: float = 1) -> Lane | None:
    """Wait up to `seconds` for a bell; it is put down as it is heard. Raises RedisError."""
    heard = await redis.bzpopmin(list(bells), timeout=seconds)
    if heard is None:
        return None
    bell, member, _ = heard
    return Lane(int(member), BELLS.index(bell.decode()))


async def rings(redis: Redis, stream: int) -> bool:
    """Whether a bell of this stream waits to be heard."""
    return bool(await redis.exists(BELLS[stream]))


# ── The worker's other work: broadcasts and imports; what is due stands in Postgres ──────────────

WORK_BELL = "bell:work"


async def ring_work(redis: Redis) -> None:
    """Wake a worker that looks for due steps; without Redis it looks each second by itself."""
    with contextlib.suppress(RedisError):
        await redis.zadd(WORK_BELL, {"due": 0}, nx=True)


async def listen_work(redis: Redis, seconds: float) -> None:
    """Wait for that bell, or for `seconds`. Raises RedisError."""
    await redis.bzpopmin([WORK_BELL], timeout=seconds)


async def ring_quietly(redis: Redis, lanes: Iterable[Lane]) -> None:
    """Ring lanes; without Redis the sweep finds them."""
    with contextlib.suppress(RedisError):
        await ring(redis, lanes, time())
