"""The bells: an id goes into Redis, never a letter.

A bell says that a lane has work. It is a member of a sorted set, so ringing twice is ringing once, and a
worker that waits on it with BZPOPMIN is woken within a millisecond.
"""

from collections.abc import Iterable
from typing import NamedTuple

from postroom.resources import Redis

TRANSACTIONAL, BULK = 0, 1
BELLS = ("bell:0", "bell:1")  # in the order in which they are heard


class Lane(NamedTuple):
    """The line of one provider account for one stream of mail."""

    connection_id: int
    stream: int


async def ring(redis: Redis, lanes: Iterable[Lane], now: float) -> None:
    """Ring each lane once: one command a stream, whatever the number of lanes. Raises RedisError."""
    members: dict[str, dict[str, float]] = {}
    for lane in set(lanes):
        members.setdefault(BELLS[lane.stream], {})[str(lane.connection_id)] = now
    for bell, mapping in members.items():
        await redis.zadd(bell, mapping, nx=True)


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
