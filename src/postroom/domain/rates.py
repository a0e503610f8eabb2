"""How many requests a key may make in a minute, without a round trip for each of them.

A process leases blocks of the minute's tokens from Redis and spends them by itself. The counter in Redis
only ever grows by what is leased, so all processes together never spend more than the limit in one minute of
the clock. A block is as large as what is spent in about a second, and never more than a fiftieth of the limit, so
what a process leases and does not spend before the minute ends, and with it the number of requests refused too
early, stays small. A large block's successor is leased before it is spent, so that nobody waits for it. While
Redis is away each process has the whole limit for itself.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import UUID

from postroom import metrics
from postroom.domain.plans import UNLIMITED
from postroom.errors import RateLimited
from postroom.resources import Redis, RedisError

log = logging.getLogger(__name__)

WINDOW_SECONDS = 60
_LARGEST_SHARE = 50
_BLOCK_SECONDS = 1.0
_LARGE = 64  # tokens; the successor of such a block is leased when a quarter of it is left
_AWAY_SECONDS = 1.0
_HELD_AT_MOST = 50_000

REFUSAL = "Rate limit exceeded (per minute). Please slow down or upgrade your plan."


@dataclass(slots=True)
class _Minute:
    """What this process knows about one project's minute."""

    window: int
    block: int = 1
    leased_at: float = 0.0
    tokens: int = 0
    low: int = 0  # tokens left at which the next block is due
    spent: int = 0
    exhausted: bool = False
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def spend(self) -> bool:
        """Spend a token, if one is held."""
        if not self.tokens:
            return False
        self.tokens -= 1
        self.spent += 1
        return True


class Rates:
    """The requests of this process's callers; one for each process."""

    def __init__(self, redis: Redis, clock: Callable[[], float] = time.time) -> None:
        self._redis = redis
        self._clock = clock
        self._minutes: dict[UUID, _Minute] = {}
        self._leases: set[asyncio.Task[None]] = set()
        self._away_until = 0.0

    async def admit(self, project_id: UUID, limit: int) -> None:
        """Let one request in, or raise RateLimited. Awaits Redis only when a block was spent."""
        if limit == UNLIMITED:
            return
        if self.admits_now(project_id, limit):
            return
        minute = self._minute(project_id)
        if not minute.exhausted:
            await self._lease(project_id, minute, limit)
        # Of that minute, though it may have turned meanwhile: what was leased in it is still good.
        if not minute.spend():
            raise self._refusal()

    def admits_now(self, project_id: UUID, limit: int) -> bool:
        """Let one request in by what this process holds; False says nothing but to ask `admit`."""
        if limit == UNLIMITED:
            return True
        minute = self._minute(project_id)
        if not minute.spend():
            return False
        if minute.low and minute.tokens == minute.low:
            self._lease_ahead(project_id, minute, limit)
        return True

    def _minute(self, project_id: UUID) -> _Minute:
        window = int(self._clock()) // WINDOW_SECONDS
        minute = self._minutes.get(project_id)
        if minute is None or minute.window != window:
            self._make_room(window)
            # The demand does not end with the minute: the first block of the new one is like the last of the old.
            known = (minute.block // 2, minute.leased_at) if minute else ()
            minute = self._minutes[project_id] = _Minute(window, *known)
        return minute

    def _make_room(self, window: int) -> None:
        if len(self._minutes) >= _HELD_AT_MOST:
            self._minutes = {k: m for k, m in self._minutes.items() if m.window == window}

    def _lease_ahead(self, project_id: UUID, minute: _Minute, limit: int) -> None:
        task = asyncio.create_task(self._lease(project_id, minute, limit))
        self._leases.add(task)
        task.add_done_callback(self._leases.discard)

    async def _lease(self, project_id: UUID, minute: _Minute, limit: int) -> None:
        async with minute.lock:
            # Others may have waited for the same lock: one lease serves them all.
            if minute.tokens > minute.low or minute.exhausted:
                return
            now = self._clock()
            if now < self._away_until:
                self._lease_alone(minute, limit)
                return
            block = _next_block(minute, limit, now)
            try:
                leased = await self._take(f"rate:{project_id}:{minute.window}", block, limit)
            except RedisError:
                log.warning("request rates are counted in this process only")
                self._away_until = now + _AWAY_SECONDS
                self._lease_alone(minute, limit)
                return
            minute.block, minute.leased_at = block, now
            minute.low = block // 4 if block >= _LARGE else 0
            minute.tokens += leased
            minute.exhausted = leased < block

    async def _take(self, name: str, block: int, limit: int) -> int:
        """Lease up to `block` tokens; what is counted beyond the limit was never given out."""
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.incrby(name, block)
            pipe.expire(name, 2 * WINDOW_SECONDS)
            counted = int((await pipe.execute())[0])
        return max(0, block - max(0, counted - limit))

    def _lease_alone(self, minute: _Minute, limit: int) -> None:
        minute.tokens = max(0, min(limit - minute.spent, _largest(limit)))

    def _refusal(self) -> RateLimited:
        metrics.RATE_REFUSALS.inc()
        return RateLimited(REFUSAL, retry_after=WINDOW_SECONDS - self._clock() % WINDOW_SECONDS)


def _largest(limit: int) -> int:
    return max(1, limit // _LARGEST_SHARE)


def _next_block(minute: _Minute, limit: int, now: float) -> int:
    lasted = now - minute.leased_at
    demand = minute.block * 2 if lasted < _BLOCK_SECONDS else minute.block / lasted
    return max(1, min(int(demand), _largest(limit)))
