"""Counting failed tries to sign in: ten in a quarter of an hour, for an address and for an account."""

import hashlib
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from postroom.errors import RateLimited
from postroom.resources import Redis, RedisError

log = logging.getLogger(__name__)

MOST = 10
WINDOW_SECONDS = 900
_HELD_AT_MOST = 10_000


class Count:
    """One try, counted before it is known how it ends."""

    def __init__(self, names: list[str]) -> None:
        self.names = names
        self.forgiven = False

    def forgive(self) -> None:
        """It was the right password: the try does not count."""
        self.forgiven = True


class Tries:
    """Shared by all processes through Redis; while Redis is away each process counts for itself."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._own: dict[str, int] = {}

    @asynccontextmanager
    async def counted(self, *subjects: str) -> AsyncIterator[Count]:
        """Count a try for each subject, or raise RateLimited. Counted first: parallel tries count too."""
        window = int(time.time()) // WINDOW_SECONDS
        count = Count([_name(subject, window) for subject in subjects])
        if max([await self._add(name, 1) for name in count.names]) > MOST:
            raise RateLimited(
                "Too many attempts. Please try again in 15 minutes.",
                code="too_many_attempts",
                retry_after=(window + 1) * WINDOW_SECONDS - time.time(),
            )
        try:
            yield count
        finally:
            if count.forgiven:
                for name in count.names:
                    await self._add(name, -1)

    async def _add(self, name: str, n: int) -> int:
        try:
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.incrby(name, n)
                pipe.expire(name, WINDOW_SECONDS)
                return int((await pipe.execute())[0])
        except RedisError:
            log.warning("sign-in tries are counted in this process only")
            return self._add_here(name, n)

    def _add_here(self, name: str, n: int) -> int:
        if len(self._own) > _HELD_AT_MOST:
            self._own.clear()
        self._own[name] = self._own.get(name, 0) + n
        return self._own[name]


def _name(subject: str, window: int) -> str:
    """A counter's name that does not show whom it counts."""
    return f"tries:{hashlib.sha256(subject.encode()).hexdigest()[:32]}:{window}"
