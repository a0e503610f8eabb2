"""The crash contract in its short form: real processes, killed while mails are on their way.

`make crash` runs the long form.
"""

import asyncio
from typing import Any

import pytest
import redis.asyncio
from bench import load
from bench.rig import Rig, rig

pytestmark = [pytest.mark.crash, pytest.mark.xdist_group("crash")]

MAILS = 1000


async def sending(r: Rig, count: int, **how: Any) -> load.Load:
    """Clients that repeat a request under its Idempotency-Key until it is answered."""
    url = f"{r.url}/api/mail/send"
    requests = load.send_requests(url, r.key, keyed="crash")
    return await load.run(url, requests, count, 32, insist=True, **how)


async def until_calling(r: Rig, mails: int) -> None:
    """Wait until the vendor has taken some mails and another call is under way."""
    async with asyncio.timeout(60):
        while (await r.report())["distinct_refs"] < mails or not await r.sql(
            "select 1 from attempts where not parked limit 1"
        ):
            await asyncio.sleep(0.01)


async def assert_nothing_lost_or_twice(r: Rig, done: load.Load, count: int) -> dict[str, Any]:
    assert dict(done.statuses) == {200: count}
    await r.wait_handed_over(count, 90)
    await r.wait_empty(60)
    report = await r.report()
    assert report["distinct_refs"] == count
    assert report["duplicates"] == 0
    assert report["repeated_key_bytes_differ"] == 0
    assert report["max_calls_in_a_second"] <= 10
    (mails,) = await r.sql(
        "select count(*) n, count(*) filter (where status = 1) sent from mail_logs"
    )
    (quota,) = await r.sql("select sum(used)::int used from quota_months")
    assert (mails["n"], mails["sent"], quota["used"]) == (count, count, count)
    assert await r.sql("select 1 from attempts") == []
    return report


async def test_a_worker_killed_in_mid_call_costs_nothing() -> None:
    async with rig(fast=True, vendor={"latency_ms": 300}) as r:
        clients = asyncio.create_task(sending(r, MAILS))
        await until_calling(r, 200)
        await r.workers[0].kill()
        await r.add_worker()
        report = await assert_nothing_lost_or_twice(r, await clients, MAILS)
        # What was under way when the worker died was asked again under its key.
        assert report["repeated_keys"] >= 1


async def test_an_api_killed_between_commit_and_answer_costs_nothing() -> None:
    async with rig(fast=True) as r:
        clients = asyncio.create_task(sending(r, MAILS))
        for share in (200, 600):
            await until_accepted(r, share)
            await r.apis[-1].kill()
            await r.add_api(r.api_ports[0])
        await assert_nothing_lost_or_twice(r, await clients, MAILS)


async def until_accepted(r: Rig, count: int) -> None:
    async with asyncio.timeout(60):
        while (await r.sql("select count(*) n from mail_logs"))[0]["n"] < count:
            await asyncio.sleep(0.01)


async def test_flushall_and_answers_that_get_lost_cost_nothing() -> None:
    lossy = {"latency_ms": 50, "drop_after_accept_percent": 10, "error_percent": 5}
    async with rig(fast=True, workers=2, vendor=lossy) as r:
        clients = asyncio.create_task(sending(r, MAILS))
        await until_calling(r, 200)
        client = redis.asyncio.from_url(r.redis_url)
        await client.flushall()
        await client.aclose()
        await assert_nothing_lost_or_twice(r, await clients, MAILS)


async def test_a_worker_that_is_told_to_stop_finishes_and_ends_well() -> None:
    async with rig(fast=True, vendor={"latency_ms": 200}) as r:
        clients = asyncio.create_task(sending(r, 600))
        await until_calling(r, 100)
        assert await r.workers[0].stop() == 0
        assert await r.sql("select 1 from attempts") == []
        await r.add_worker()
        await assert_nothing_lost_or_twice(r, await clients, 600)


async def test_redis_may_go_and_come_back_while_mails_are_accepted() -> None:
    async with rig(fast=True) as r:
        assert r.valkey is not None
        clients = asyncio.create_task(sending(r, MAILS))
        await until_accepted(r, 200)
        await asyncio.to_thread(r.valkey.kill)
        before = (await r.sql("select count(*) n from mail_logs"))[0]["n"]
        await until_accepted(r, before + 100)
        await asyncio.to_thread(r.valkey.start)
        # Neither process is restarted.
        await assert_nothing_lost_or_twice(r, await clients, MAILS)
        assert r.apis[0].is_alive
        assert r.workers[0].is_alive


async def test_postgres_may_be_restarted_while_mails_are_accepted() -> None:
    async with rig(fast=True) as r:
        assert r.postgres is not None
        clients = asyncio.create_task(sending(r, MAILS))
        await until_accepted(r, 200)
        await asyncio.to_thread(r.postgres.stop)
        await asyncio.to_thread(r.postgres.start)
        await assert_nothing_lost_or_twice(r, await clients, MAILS)
