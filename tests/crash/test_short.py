"""The crash contract in its short form: servers and processes stopped while mails are on their way.

`make crash` runs the long form.
"""

import asyncio
from typing import Any

import pytest
from bench.tenants import Tenant

from tests.crash.conftest import Place

pytestmark = [pytest.mark.crash, pytest.mark.xdist_group("crash")]

MAILS = 600


async def unhurried(number: int) -> None:
    """Clients that are still at it when a server goes and comes back."""
    await asyncio.sleep(0.06)


async def until_accepted(place: Place, tenant: Tenant, count: int) -> None:
    async with asyncio.timeout(60):
        while await place.in_the_log(tenant) < count:
            await asyncio.sleep(0.01)


async def until_at_work(place: Place, tenant: Tenant) -> None:
    """Wait until the API has taken mails in and the worker, which has to start first, has handed some over."""
    await until_accepted(place, tenant, 100)
    async with asyncio.timeout(60):
        while (await tenant.vendor.report())["distinct_refs"] < 1:
            await asyncio.sleep(0.01)


async def until_calling(place: Place, tenant: Tenant, mails: int) -> None:
    """Wait until the vendor has taken some mails and another call is under way."""
    async with asyncio.timeout(60):
        while (await tenant.vendor.report())["distinct_refs"] < mails or not await place.rig.sql(
            "select 1 from attempts where not parked limit 1"
        ):
            await asyncio.sleep(0.01)


async def test_flushall_and_answers_that_get_lost_cost_nothing(place: Place, kept: Any):
    tenant = await place.tenant("resend")
    await tenant.vendor.faults(latency_ms=50, drop_after_accept_percent=20, error_percent=10)
    for _ in range(2):
        await place.worker()
    sending = asyncio.create_task(place.clients(tenant).send(range(MAILS), 16))
    await until_calling(place, tenant, 100)
    await place.redis("FLUSHALL")
    answers = await sending
    await place.settled(60)
    counts = await place.count(tenant, answers)
    kept(counts, MAILS)
    assert counts.parked == 0


async def test_a_worker_that_is_told_to_stop_finishes_and_ends_well(place: Place, kept: Any):
    tenant = await place.tenant("paubox")
    await tenant.vendor.faults(latency_ms=300)
    worker = await place.worker()
    sending = asyncio.create_task(place.clients(tenant).send(range(MAILS), 16))
    await until_calling(place, tenant, 50)
    assert await worker.stop() == 0
    # The calls that were under way are settled: a vendor without keys leaves nothing in doubt.
    assert await place.rig.sql("select 1 from attempts") == []
    await tenant.vendor.faults(latency_ms=0)
    await place.worker()
    answers = await sending
    await place.settled()
    counts = await place.count(tenant, answers)
    kept(counts, MAILS)
    assert counts.parked == 0


async def test_redis_may_go_and_come_back_while_mails_are_accepted(place: Place, kept: Any):
    tenant, valkey = await place.tenant("resend"), place.rig.valkey
    assert valkey is not None
    worker = await place.worker()
    clients = place.clients(tenant)
    clients.pace = unhurried
    sending = asyncio.create_task(clients.send(range(MAILS), 8))
    await until_at_work(place, tenant)
    await asyncio.to_thread(valkey.kill)
    before = await place.in_the_log(tenant)
    await until_accepted(place, tenant, min(MAILS, before + 100))
    await asyncio.to_thread(valkey.start)
    answers = await sending
    await place.settled(60)
    kept(await place.count(tenant, answers), MAILS)
    # Neither process was restarted.
    assert place.rig.apis[0].is_alive
    assert worker.is_alive


@pytest.mark.parametrize("how", [pytest.param("stop", marks=pytest.mark.long), "kill"])
async def test_postgres_may_be_restarted_while_mails_are_accepted(
    place: Place, kept: Any, how: str
):
    tenant, postgres = await place.tenant("resend"), place.rig.postgres
    assert postgres is not None
    worker = await place.worker()
    clients = place.clients(tenant)
    clients.pace = unhurried
    sending = asyncio.create_task(clients.send(range(MAILS), 8))
    await until_at_work(place, tenant)
    await asyncio.to_thread(getattr(postgres, how))
    await asyncio.to_thread(postgres.start)
    answers = await sending
    await place.settled(60)
    kept(await place.count(tenant, answers), MAILS)
    assert place.rig.apis[0].is_alive
    assert worker.is_alive
