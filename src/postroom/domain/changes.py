"""Telling every process that something it may have cached has changed."""

import asyncio
import logging
from collections.abc import Callable
from typing import Literal, NamedTuple
from uuid import UUID

from postroom.resources import Redis, RedisError, Resources

log = logging.getLogger(__name__)

Kind = Literal["project", "connection", "account", "everything"]
CHANNEL = "postroom:changed"
_KINDS: dict[str, Kind] = {"project": "project", "connection": "connection", "account": "account"}
_RETRY_SECONDS = 1.0


class Change(NamedTuple):
    """What to forget; `everything` after a time in which messages may have been missed."""

    kind: Kind
    id: str = ""


OnChange = Callable[[Change], None]


async def publish(redis: Redis, kind: Kind, changed_id: UUID | int) -> None:
    """Tell all processes; while Redis is away they notice by the age of what they hold."""
    try:
        await redis.publish(CHANNEL, f"{kind} {changed_id}")
    except RedisError:
        log.warning("change not announced", extra={"kind": kind, "changed": str(changed_id)})


async def listen(resources: Resources, on_change: OnChange) -> None:
    """Call `on_change` for each change, for ever; a (re)connection counts as a change of everything."""
    while True:
        try:
            await _listen_once(resources.redis, on_change)
        except RedisError:
            log.warning("changes are not heard while Redis is away")
            await asyncio.sleep(_RETRY_SECONDS)


async def _listen_once(redis: Redis, on_change: OnChange) -> None:
    async with redis.pubsub() as channel:
        await channel.subscribe(CHANNEL)
        while True:
            message = await channel.get_message(timeout=30)
            if message is None:
                continue
            # The client reconnects silently; the confirmation of a subscription is how we know.
            if message["type"] == "subscribe":
                on_change(Change("everything"))
            elif message["type"] == "message":
                _announce(message["data"], on_change)


def _announce(data: bytes, on_change: OnChange) -> None:
    kind, _, changed_id = data.decode().partition(" ")
    on_change(Change(_KINDS.get(kind, "everything"), changed_id))
