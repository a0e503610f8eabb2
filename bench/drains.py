"""How fast mails leave: one worker against job queues, under a vendor's limit, and how soon on an idle system."""

import asyncio
import statistics
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from time import time
from typing import Any

import orjson
from redis.asyncio import Redis

from bench import load
from bench.rig import Rig, rig
from bench.stage import (
    CONNECTIONS,
    PEERS,
    UNPACED,
    install_peers,
    must_be_200,
    must_be_equal,
    peer_env,
    told,
    until_idle,
)
from bench.table import Goal, Row
from postroom.queue import Lane, ring

# BullMQ's rate rises until about here and stays (10, 50, 100, 200, 500 were tried).
BULLMQ_AT_ONCE = 100


@dataclass(frozen=True)
class Drained:
    accepts: float
    drains: float


async def pile(r: Rig, count: int, apis: int = 1) -> float:
    """Accept so many mails, spread over so many APIs; accepts a second."""
    share = count // apis
    runs = []
    for port in r.api_ports[:apis]:
        url = f"http://127.0.0.1:{port}/api/mail/send"
        runs.append(load.run(url, load.send_requests(url, r.key), share, CONNECTIONS // apis))
    done = await asyncio.gather(*runs)
    for one in done:
        must_be_200("accepts", one, share)
    return share * apis / max(one.seconds for one in done)


async def pile_and_drain(r: Rig, count: int) -> Drained:
    """Accept while nobody drains, then let a fresh worker drain: both rates."""
    before = await r.report()
    accepts = await pile(r, count)
    worker = await r.add_worker()
    drains = await _drained(r, before, count)
    await worker.stop()
    return Drained(accepts, drains)


async def pile_and_drain_together(r: Rig, count: int, apis: int, workers: int) -> Drained:
    """The same by several APIs and workers, the workers all ready before the first mail may leave.

    Else the first would drain while the others still load their modules on the cores that it needs.
    """
    before = await r.report()
    accepts = await pile(r, count, apis)
    await r.sql("update outbox set waits_until = now() + interval '1 hour'")
    started = [await r.add_worker() for _ in range(workers)]
    for worker in started:
        await until_idle(worker.pid)
    await r.sql("vacuum outbox")
    lanes = await r.sql("update outbox set waits_until = null returning connection_id, stream")
    redis = Redis.from_url(r.redis_url)
    await ring(redis, {Lane(row["connection_id"], row["stream"]) for row in lanes}, time())
    await redis.aclose()
    drains = await _drained(r, before, count)
    for worker in started:
        await worker.stop()
    return Drained(accepts, drains)


async def _drained(r: Rig, before: dict[str, Any], count: int) -> float:
    """Wait until everything is handed over and settled; mails a second from the first settled to the last."""
    await r.wait_handed_over(before["distinct_refs"] + count, 120 + count / 200)
    await r.wait_empty(60)
    await ask_no_more(r)
    after = await r.report()
    must_be_equal("mails handed over twice", after["duplicates"], 0)
    must_be_equal("mails handed over", after["mails_accepted"] - before["mails_accepted"], count)
    (row,) = await r.sql(
        "select extract(epoch from max(sent_at) - min(sent_at))::float8 s from (select sent_at"
        " from mail_logs where project_id = $1::uuid order by id desc limit $2) m",
        r.project_id,
        count,
    )
    return float(count / row["s"])


async def ask_no_more(r: Rig) -> None:
    """The double sends no webhooks: without this a worker would ask it about each mail a minute later."""
    await r.sql("update mail_logs set next_poll_at = null where next_poll_at is not null")


async def drain(rounds: int, count: int) -> list[Row]:
    """Mails a second that one worker hands over and settles, against the no-op jobs of two queues."""
    install_peers()
    ours, arq, tuned, bullmq = [], [], [], []
    async with rig(workers=0, vendor=UNPACED) as r:
        for number in range(rounds + 1):
            mine = (await pile_and_drain(r, count)).drains
            plain, hard = await arq_rate(r, count // 16), await arq_rate(r, count // 8, "--tuned")
            bull = await bullmq_rate(r, count)
            if number:
                ours.append(mine)
                arq.append(plain)
                tuned.append(hard)
                bullmq.append(bull)
    what = "drained mails, one worker process, batch calls over HTTP, settled in Postgres"
    at_once = f"BullMQ's no-op jobs, one worker, {BULLMQ_AT_ONCE} at once"
    return [
        Row(what, ours, Goal(15), "arq's no-op jobs, one worker, its defaults", arq),
        Row("the same", ours, None, "the same, 100 at once, polling each 10 ms", tuned),
        Row("the same", ours, Goal(2.0), at_once, bullmq),
    ]


async def arq_rate(r: Rig, jobs: int, *how: str) -> float:
    argv = [sys.executable, "-m", "bench.noop", "--arq", str(jobs), *how]
    return (await told(argv, r.env))["rate"]


async def bullmq_rate(r: Rig, jobs: int) -> float:
    argv = ["node", str(PEERS / "noop.mjs"), str(jobs), str(BULLMQ_AT_ONCE)]
    return (await told(argv, r.env | peer_env(r)))["rate"]


async def pace(rounds: int, count: int) -> list[Row]:
    """Mails a second under ten calls a second, as the vendor sees them."""
    limit, size = 10, 100
    shares, worst = [], []
    vendor = {"named_limit": limit, "rate_limit": limit, "latency_ms": 50}
    async with rig(workers=0, vendor=vendor) as r:
        for _ in range(rounds):
            await _reset(r)
            await pile(r, count)
            worker = await r.add_worker()
            await r.wait_handed_over(count, 60 + 2 * count / (limit * size))
            await r.wait_empty(60)
            await worker.stop()
            report = await r.report()
            shares.append(100 * _steady(r, 2 * limit) / (limit * size))
            worst.append(float(report["max_calls_in_a_second"]))
            refused = {k: n for k, n in report["calls_by_status"].items() if k != "200"}
            must_be_equal("calls refused by the vendor", refused, {})
    what = f"under a limit of {limit} calls a second of {size} mails, 50 ms each:"
    return [
        Row(f"{what} share of {limit * size:,} mails/s", shares, Goal(94, own=True), unit="%"),
        Row(
            f"{what} most calls in any sliding second, as the vendor sees them",
            [max(worst)],
            Goal(limit, most=True, own=True),
            unit="calls",
        ),
    ]


def _steady(r: Rig, skipped: int) -> float:
    """Mails a second by the double's journal, once so many calls have filled the first seconds' slots."""
    calls: dict[str, tuple[float, int]] = {}
    for entry in journal(r):
        at, mails = calls.get(entry["key"], (entry["at"], 0))
        calls[entry["key"]] = (at, mails + 1)
    in_order = sorted(calls.values())[skipped:]
    if len(in_order) < skipped:
        raise SystemExit(f"{len(calls)} calls are too few to tell a steady pace")
    return sum(mails for _, mails in in_order[1:]) / (in_order[-1][0] - in_order[0][0])


def journal(r: Rig) -> Iterator[dict[str, Any]]:
    """What the vendor took, mail by mail."""
    for line in (r.folder / "journal.jsonl").read_bytes().splitlines():
        yield orjson.loads(line)


async def _reset(r: Rig) -> None:
    """The vendor forgets what it took; its switches stay."""
    client = load.Client()
    host, _, port = r.vendor_url.removeprefix("http://").partition(":")
    await client.open(host, int(port))
    request = load.request_bytes(f"{r.vendor_url}/_reset", b"{}", {})
    must_be_equal("reset", load.status_of(await load.ask(client, request)), 200)
    client.close()


async def latency(rounds: int, count: int) -> list[Row]:
    """From the answer of an accept to the vendor's receipt of the call, on an idle system."""
    medians, tails = [], []
    async with rig(vendor=UNPACED) as r:
        client = load.Client()
        await client.open("127.0.0.1", r.api_ports[0])
        await _waits(r, client, 10)  # both processes load what every later one uses
        for _ in range(rounds):
            waits = await _waits(r, client, count)
            medians.append(1e3 * statistics.median(waits))
            tails.append(1e3 * load.percentile(waits, 0.99))
        client.close()
    what = "accepted → the vendor has the call, idle system:"
    return [
        Row(f"{what} median", medians, Goal(10, most=True, own=True), unit="ms"),
        Row(f"{what} p99", tails, Goal(40, most=True, own=True), unit="ms"),
    ]


async def _waits(r: Rig, client: load.Client, count: int) -> list[float]:
    """One mail after another, each long after the one before."""
    request = load.send_requests(f"{r.url}/api/mail/send", r.key)
    answered = {}
    for number in range(count):
        await asyncio.sleep(0.1)
        answer = await load.ask(client, request(number))
        now = time()
        must_be_equal("an answer", load.status_of(answer), 200)
        answered[orjson.loads(load.body_of(answer))["data"]["id"].replace("-", "")] = now
    await r.wait_empty(30)
    await ask_no_more(r)
    taken = {entry["ref"].rpartition("-")[2]: entry["at"] for entry in journal(r)}
    # The call may leave before the client has read its answer.
    return [max(0.0, taken[mail] - at) for mail, at in answered.items()]
