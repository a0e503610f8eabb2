"""A standing Postroom of real processes for all crash tests; each test brings its own project and its own dead."""

import asyncio
import itertools
import signal
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio
from bench.accounting import Counts, count
from bench.clients import Answers, Clients, plain_mail
from bench.rig import Process, Rig, free_port, rig, until_live
from bench.tenants import Tenant, Vendor, make_tenant, vendor

LIMIT = "10000"  # of each project: near enough that the gate is asked before a mail is written
START_SECONDS = 90.0  # for a process on a busy machine

_numbers = itertools.count(1)


@dataclass
class Place:
    """The standing servers, two API processes, the vendors' doubles, and what one test starts beside them."""

    rig: Rig
    vendors: dict[str, Vendor]
    own: list[Process] = field(default_factory=list)

    async def tenant(self, name: str, **fields: Any) -> Tenant:
        return await make_tenant(self.rig, self.vendors[name], **fields)

    def clients(self, tenant: Tenant, *ports: int, body: Any = plain_mail) -> Clients:
        """Clients of these API ports, or of the standing process."""
        prefix = f"test-{next(_numbers)}"
        return Clients(ports or self.rig.api_ports[:1], tenant.key, prefix, body)

    # ── processes ────────────────────────────────────────────────────────────────────────────────

    async def start(self, *argv: str) -> Process:
        process = self.rig.process(f"own{next(_numbers)}", *argv)
        await process.start()
        self.own.append(process)
        return process

    async def worker(self) -> Process:
        return await self.start("-m", "postroom.cli", "worker")

    async def doomed_worker(self, point: str, nth: int = 1) -> Process:
        return await self.start(*_doomed(point, nth), "worker")

    async def api(self, port: int | None = None) -> int:
        """Another API process, or one in the place of one that died; its port."""
        port = port or free_port()
        await self.start("-m", "postroom.cli", "api", "--port", str(port))
        await until_live(port, START_SECONDS)
        return port

    async def doomed_api(self, point: str, nth: int = 1) -> tuple[Process, int]:
        port = free_port()
        process = await self.start(*_doomed(point, nth), "api", "--port", str(port))
        await until_live(port, START_SECONDS)
        return process, port

    async def api_ahead(self, of_time: timedelta) -> int:
        """An API process that lives at a later time; its port."""
        port = free_port()
        seconds = f"{of_time.total_seconds():.0f}"
        await self.start("-m", "tests.crash.elsewhen", seconds, "api", "--port", str(port))
        await until_live(port, START_SECONDS)
        return port

    async def died(self, process: Process, point: str, seconds: float = START_SECONDS) -> None:
        """Wait until it has killed itself, and there."""
        try:
            async with asyncio.timeout(seconds):
                code = await process.wait()
        except TimeoutError:
            pytest.fail(
                f"the boundary {point} was never reached: {process.log.read_text()[-2000:]}"
            )
        said = process.log.read_text()
        assert f"killed itself at {point}" in said, said[-2000:]
        assert code == -signal.SIGKILL

    # ── the state of things ──────────────────────────────────────────────────────────────────────

    async def redis(self, *command: Any) -> Any:
        client = redis.asyncio.from_url(self.rig.redis_url)
        try:
            return await client.execute_command(*command)
        finally:
            await client.aclose()

    async def let_leases_lapse(self) -> None:
        """The time passes for which a dead worker's calls are its own."""
        await self.rig.sql("update attempts set lease_until = now() where not parked")

    async def settled(self, seconds: float = START_SECONDS) -> None:
        await self.rig.wait_settled(seconds)

    async def until(self, statement: str, *args: Any, seconds: float = START_SECONDS) -> None:
        """Wait until a statement finds something."""
        async with asyncio.timeout(seconds):
            while not await self.rig.sql(statement, *args):
                await asyncio.sleep(0.02)

    async def count(self, tenant: Tenant, answers: Answers) -> Counts:
        return await count(self.rig, tenant, answers)

    async def in_the_log(self, tenant: Tenant) -> int:
        query = "select count(*)::int n from mail_logs where project_id = $1::uuid"
        return int((await self.rig.sql(query, tenant.project_id))[0]["n"])


def _doomed(point: str, nth: int) -> Iterable[str]:
    return ("-m", "tests.crash.doomed", "--at", point, "--nth", str(nth), "--")


@pytest.fixture(scope="session")
async def standing() -> AsyncIterator[Place]:
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="postroom-crash-")))
        paubox = await stack.enter_async_context(vendor("paubox", folder))
        r = await stack.enter_async_context(
            rig(apis=2, workers=0, PAUBOX_BASE_URL=paubox.url, FREE_MONTHLY_LIMIT=LIMIT)
        )
        resend = Vendor("resend", r.vendor_url, r.others[0])
        yield Place(r, {"resend": resend, "paubox": paubox})


CALM = {
    "latency_ms": 0, "drop_after_accept_percent": 0, "drop_before_accept_percent": 0, "error_percent": 0,
    "webhook_url": "", "hang_percent": 0, "throttle_percent": 0,
}  # fmt: skip


@pytest.fixture
async def place(standing: Place) -> AsyncIterator[Place]:
    """The standing place, tidied up."""
    for one in standing.vendors.values():
        await one.faults(**CALM)
        await one.reset()
    await standing.rig.sql("delete from outbox")
    await standing.rig.sql("delete from attempts")
    await standing.redis("FLUSHALL")
    here = Place(standing.rig, standing.vendors)
    yield here
    for process in here.own:
        if process.is_alive:
            await process.kill()


@pytest.fixture
def kept() -> Callable[[Counts, int], None]:
    """The promise, whatever happened: nothing lost, nothing twice, the quota exact, all settled or shown."""

    def check(counts: Counts, asked: int) -> None:
        assert counts.accepted == counts.on_disk == asked
        assert counts.not_answered == 0
        assert counts.lost == 0
        assert (counts.duplicated, counts.blind_repeats) == (0, 0), counts.why_duplicated
        assert counts.repeats_with_other_bytes == 0
        assert counts.quota_minus_ledger == 0
        assert counts.left == 0
        assert counts.final + counts.parked == asked
        assert counts.most_calls_in_a_second <= 10

    return check
