"""The worker process: arq hosts it, its cron and the id-only jobs; the drain loops live beside arq's own."""

import asyncio
import logging
import os
import socket
from collections.abc import Sequence
from typing import Any

import orjson
from arq import cron, func
from arq.connections import RedisSettings
from arq.worker import Worker

from postroom.domain import (
    account_health,
    broadcast_run,
    changes,
    connections,
    housekeeping,
    import_run,
    learn_rates,
    loops,
    measure,
    poll,
    track,
)
from postroom.domain.changes import Change
from postroom.domain.connections import ConnectionBook
from postroom.domain.deliver import Delivery
from postroom.domain.sweep import Sweep
from postroom.providers.base import DeliveryEvent
from postroom.queue import BELLS, BULK, listen, listen_work, rings
from postroom.resources import Redis, RedisError, Resources, open_redis
from postroom.settings import Settings

log = logging.getLogger(__name__)

SWEEP_EVERY = 1.0
STOP_WITHIN = 25.0
WORK_EVERY = 1.0  # seconds between two looks for broadcasts when no bell rings
UNDER_WAY_EVERY = 0.05  # the same while one is under way
IMPORT_EVERY = 0.5
REPORTS_AT_ONCE = 2
# After so many transactional bells in a row a waiting bulk bell is heard once.
FAIR_AFTER = 16


class PostroomWorker(Worker):
    """arq's worker, which survives Redis being away (the original ends the process)."""

    async def _poll_iteration(self) -> None:
        try:
            await super()._poll_iteration()
        except (RedisError, OSError, TimeoutError):
            log.warning("jobs wait for redis")
            await asyncio.sleep(1)


class PostOffice:
    """The loops of one worker process, and what they share."""

    def __init__(self, resources: Resources) -> None:
        self.resources = resources
        self.name = f"{socket.gethostname()}:{os.getpid()}"
        self.book = ConnectionBook(resources)
        self.delivery = Delivery(resources, self.book, self._report, self.name)
        self.sweep = Sweep(resources, self.book, self.delivery, self.name)
        self._bells: Redis = open_redis(resources.settings)
        self._work: Redis = open_redis(resources.settings)
        self._reporting = asyncio.Semaphore(REPORTS_AT_ONCE)
        self._listeners: list[asyncio.Task[None]] = []
        self._writers: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        """Start every loop."""
        resources = self.resources
        async with resources.sessions() as session:
            await connections.ensure_shared(session, resources.settings, resources.keys)
        self._writers = [
            loops.start("claimer", self.delivery.claimer.claim_forever),
            loops.start("settler", self.delivery.settler.settle_forever),
            loops.start("measure", lambda: measure.flush_forever(resources.redis)),
            loops.start("changes", lambda: changes.listen(resources, self._forget)),
        ]
        self._listeners = [
            loops.start("listener", self._listen_forever),
            loops.start("sweep", self._sweep_forever),
            loops.start("broadcasts", self._broadcast_forever),
            loops.start("imports", self._import_forever),
        ]
        log.info("worker is ready", extra={"worker": self.name})

    async def close(self) -> None:
        """Hear no more, finish the calls under way, settle, close."""
        await loops.stop(self._listeners)
        await self.delivery.stop(STOP_WITHIN)
        await loops.stop(self._writers)
        await self._bells.aclose()
        await self._work.aclose()
        log.info("worker has stopped", extra={"worker": self.name})

    async def _report(self, connection_id: int, events: Sequence[DeliveryEvent]) -> None:
        # What a vendor played here reports must not take the database from mails on their way.
        async with self._reporting:
            fresh = await track.track_events(self.resources, connection_id, events)
        await account_health.count(self.resources.redis, connection_id, account_health.TOLD, fresh)

    def _forget(self, change: Change) -> None:
        if change.kind == "connection":
            self.book.forget(int(change.id))
        elif change.kind == "everything":
            self.book.forget(None)

    async def _listen_forever(self) -> None:
        in_a_row = 0
        while True:
            if not self.delivery.has_room:
                await asyncio.sleep(0.01)
                continue
            bells: tuple[str, ...] = BELLS
            if in_a_row >= FAIR_AFTER:
                in_a_row = 0
                bells = BELLS[BULK:] if await rings(self._bells, BULK) else BELLS
            lane = await listen(self._bells, bells)
            if lane is not None:
                in_a_row = 0 if lane.stream == BULK else in_a_row + 1
                self.delivery.hear(lane)

    async def _broadcast_forever(self) -> None:
        """Take the steps of broadcasts that are due; the bell is only for the first of them."""
        while True:
            if await broadcast_run.step(self.resources, self.book):
                continue
            if await broadcast_run.is_any_soon(self.resources):
                await asyncio.sleep(UNDER_WAY_EVERY)
            else:
                await self._wait_for_work()

    async def _wait_for_work(self) -> None:
        try:
            await listen_work(self._work, WORK_EVERY)
        except RedisError:
            await asyncio.sleep(WORK_EVERY)

    async def _import_forever(self) -> None:
        while True:
            if not await import_run.step(self.resources):
                await asyncio.sleep(IMPORT_EVERY)

    async def _sweep_forever(self) -> None:
        while True:
            # The first at once: whoever starts may be the one who follows a dead one.
            await self.sweep.once()
            # Workers that started together drift apart.
            await asyncio.sleep(SWEEP_EVERY + 0.1 * (hash(self.name) % 10) / 10)


async def tidy(ctx: dict[Any, Any]) -> None:
    """Each minute."""
    await housekeeping.tidy(ctx["office"].resources)


async def ask(ctx: dict[Any, Any]) -> None:
    """Each minute: ask vendors about mails nothing was heard of, and look at who fell silent."""
    office: PostOffice = ctx["office"]
    await learn_rates.learn_rates(office.resources, office.book)
    await poll.poll_due(office.resources, office.book, lambda: office.delivery.is_calling)
    await account_health.watch(office.resources)


async def check(ctx: dict[Any, Any]) -> None:
    """Each day."""
    await housekeeping.check(ctx["office"].resources)


async def _on_startup(ctx: dict[Any, Any]) -> None:
    ctx["office"] = PostOffice(ctx["resources"])
    await ctx["office"].open()


async def _on_shutdown(ctx: dict[Any, Any]) -> None:
    if (office := ctx.get("office")) is not None:
        await office.close()


class WorkerSettings:
    """What arq is told; `make_worker` adds the addresses."""

    functions = [func(tidy, name="tidy"), func(ask, name="ask"), func(check, name="check")]
    cron_jobs = [
        cron(tidy, name="cron:tidy", second=0, timeout=55),
        cron(ask, name="cron:ask", second=30, timeout=58),
        cron(check, name="cron:check", hour=3, minute=17, timeout=600),
    ]
    on_startup = _on_startup
    on_shutdown = _on_shutdown
    keep_result = 0
    poll_delay = 0.5
    max_tries = 3
    job_timeout = 300
    health_check_interval = 30
    log_results = False


def make_worker(resources: Resources, settings: Settings, **more: Any) -> PostroomWorker:
    """The worker over open resources; ready to `run()`."""
    address = RedisSettings.from_dsn(settings.redis_url.get_secret_value())
    address.conn_retries = 1_000_000  # a worker that waits for Redis is better than none
    address.conn_retry_delay = 1
    known = {k: v for k, v in vars(WorkerSettings).items() if not k.startswith("_")}
    return PostroomWorker(
        **(
            known
            | {
                "redis_settings": address,
                "ctx": {"resources": resources},
                "job_serializer": orjson.dumps,
                "job_deserializer": orjson.loads,
            }
            | more
        )
    )
