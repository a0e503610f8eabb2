"""Counters of all processes, added up in Redis: whichever process is asked, the answer is everybody's.

Each process adds what it counted since the last time. A FLUSHALL starts them from zero, which those who
read counters know how to take.
"""

import asyncio
from collections.abc import Iterator

import orjson
from prometheus_client import REGISTRY
from prometheus_client.samples import Sample

from postroom.resources import Redis, RedisError

KEY = "postroom:counters"
FLUSH_EVERY = 1.0

_told: dict[str, float] = {}


def _counted() -> Iterator[tuple[str, float]]:
    for family in REGISTRY.collect():
        if family.type == "counter" and family.name.startswith("postroom_"):
            for sample in family.samples:
                if sample.name.endswith("_total"):
                    yield _field(sample), sample.value


def _field(sample: Sample) -> str:
    return orjson.dumps([sample.name, sorted(sample.labels.items())]).decode()


async def flush(redis: Redis) -> None:
    """Add what this process counted since its last flush. Raises RedisError; nothing is then lost."""
    fresh = {
        field: (value, value - _told.get(field, 0.0))
        for field, value in _counted()
        if field not in _told or value > _told[field]
    }
    if not fresh:
        return
    pipe = redis.pipeline(transaction=True)
    for field, (_, more) in fresh.items():
        pipe.hincrbyfloat(KEY, field, more)
    await pipe.execute()
    for field, (value, _) in fresh.items():
        _told[field] = value


async def flush_forever(redis: Redis) -> None:
    """Flush each second, and again when Redis is back."""
    while True:
        await asyncio.sleep(FLUSH_EVERY)
        try:
            await flush(redis)
        except RedisError:
            await asyncio.sleep(FLUSH_EVERY)


async def totals(redis: Redis) -> list[Sample]:
    """Every counter, added up over all processes. Raises RedisError."""
    found: dict[bytes, bytes] = await redis.hgetall(KEY)  # type: ignore[misc]  # redis-py's types
    samples = []
    for field, value in found.items():
        name, labels = orjson.loads(field)
        samples.append(Sample(name, dict(labels), float(value)))
    return samples
