"""Every endless loop runs under one supervisor: an error is told and survived, an end is never overlooked."""

import asyncio
import logging
import os
import signal
from collections.abc import Awaitable, Callable

from postroom import metrics

log = logging.getLogger(__name__)

_FIRST_REST, _LONGEST_REST = 0.2, 5.0
_CALM = 30.0  # seconds without an error after which the next one counts as the first


async def supervise(name: str, body: Callable[[], Awaitable[None]]) -> None:
    """Run an endless loop; after an error rest a little and go on."""
    rest = _FIRST_REST
    loop = asyncio.get_running_loop()
    while True:
        began = loop.time()
        try:
            await body()
        except Exception:
            log.exception("loop failed", extra={"loop": name})
            metrics.ALARMS.labels("loop").inc()
            rest = _FIRST_REST if loop.time() - began > _CALM else min(rest * 2, _LONGEST_REST)
            await asyncio.sleep(rest)
        else:
            log.critical("loop ended", extra={"loop": name})
            return


def start(name: str, body: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
    """Start a supervised loop; should it end all the same, the process stops and says so by its exit."""
    task = asyncio.create_task(supervise(name, body), name=name)

    def ended(done: asyncio.Task[None]) -> None:
        if not done.cancelled():
            # A process that looks healthy and does half its work is worse than none.
            log.critical("process stops", extra={"loop": name})
            os.kill(os.getpid(), signal.SIGTERM)

    task.add_done_callback(ended)
    return task


async def stop(tasks: list[asyncio.Task[None]]) -> None:
    """End supervised loops."""
    running = set(tasks)
    while running:
        for task in running:
            task.cancel()
        # Python 3.11's wait_for, which redis-py uses, can swallow a cancellation: it is asked for again.
        _, running = await asyncio.wait(running, timeout=0.2)
