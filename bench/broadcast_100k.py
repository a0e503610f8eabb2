"""A broadcast to 100,000 people, its workers killed twice on the way: `python -m bench.broadcast_100k`."""

import asyncio
import sys
from collections.abc import AsyncIterator
from time import monotonic, time
from typing import Any

from bench.lists import Client, Memory, project, spread
from bench.rig import Rig, rig

PEOPLE = 100_000
NUMBERS = (
    "delivered", "sent", "bounced", "complained", "failed", "suppressed", "unsubscribed", "unknown", "queued",
)  # fmt: skip
HTML = "<p>Hello {{{contact.first_name|there}}}</p>" + "<p>News.</p>" * 40


async def people(count: int) -> AsyncIterator[bytes]:
    yield b"email,first_name\n"
    for start in range(0, count, 1000):
        yield "".join(
            f"p{i}@example.com,Ann{i}\n" for i in range(start, min(start + 1000, count))
        ).encode()


async def counts(client: Client, broadcast: str) -> dict[str, int]:
    found = (await client.call("GET", f"/broadcasts/{broadcast}"))["counts"]
    assert sum(found[name] for name in NUMBERS) == found["audience"], found
    return dict(found)


async def resets(client: Client, ids: list[str], every: float) -> None:
    """Single mails that must not wait for the broadcast."""
    while True:
        body = {"to": "reset@example.com", "subject": "Reset", "text": "Here is your link."}
        ids.append((await client.call("POST", "/send", json=body))["id"])
        await asyncio.sleep(every)


# Wall-clock times at which every worker was killed; nobody can hand anything over just then.
KILLED: list[float] = []
COMING_BACK = 4.0


async def kill_and_replace(here: Rig) -> None:
    """SIGKILL for every worker at once, then as many new ones."""
    KILLED.append(time())
    alive = [worker for worker in here.workers if worker.is_alive]
    await asyncio.gather(*(worker.kill() for worker in alive))
    for _ in alive:
        await here.add_worker()


async def run(here: Rig, client: Client, broadcast: str, count: int) -> tuple[int, float]:
    """Watch until everybody's mail was handed over; how often it was looked, and how long it took."""
    await client.call("POST", f"/broadcasts/{broadcast}/send")
    began, looks, kills = monotonic(), 0, [0.25, 0.6]
    while True:
        now = await counts(client, broadcast)
        looks += 1
        done = now["audience"] - now["queued"]
        if kills and done > count * kills[0]:
            kills.pop(0)
            await kill_and_replace(here)
        if now["audience"] == count and now["queued"] == 0:
            return looks, monotonic() - began
        assert monotonic() - began < 1800, now
        await asyncio.sleep(0.25)


async def first_mail(here: Rig, broadcast: str) -> float:
    rows = await here.sql(
        "select extract(epoch from min(m.sent_at) - b.started_at)::float8 s from broadcasts b"
        " join mail_logs m on m.broadcast_id = b.id where b.id = $1::uuid group by b.started_at",
        broadcast,
    )
    return float(rows[0]["s"])


async def main(count: int, workers: int) -> None:
    env = {"PRO_MONTHLY_LIMIT": "-1", "PRO_RATE_PER_MINUTE": "-1"}
    async with rig(apis=1, workers=workers, fast=True, **env) as here, project(here) as client:
        audience = (await client.call("POST", "/audiences", json={"name": "Everybody"}))["id"]
        await client.import_rows(audience, people(count))
        body = {"audienceId": audience, "subject": "Hi {{{FIRST_NAME|there}}}", "html": HTML}
        broadcast = (await client.call("POST", "/broadcasts", json=body))["id"]
        memory = Memory(lambda: [worker.pid for worker in here.workers if worker.is_alive])
        ids: list[str] = []
        alone = asyncio.create_task(resets(client, ids, 0.1))
        await asyncio.sleep(3)
        idle, before = list(ids), len(ids)
        alone.cancel()
        async with memory.sampled():
            single = asyncio.create_task(resets(client, ids, 0.5))
            looks, took = await run(here, client, broadcast, count)
            single.cancel()
            await asyncio.gather(alone, single, return_exceptions=True)
        # A single mail that a killed worker held comes back when its lease has lapsed.
        await here.wait_settled(90)
        await tell(here, broadcast, ids, (idle, before))
        print(
            f"took         {took:.0f} s, {count / took:.0f} mails/s; counts added up {looks} times"
        )
        print(f"workers      {memory}")
        print(f"first mail   {await first_mail(here, broadcast) * 1e3:.0f} ms after the send")


def claimed_at(provider_id: str) -> float:
    """When the call was made ready: the sandbox's id carries the time of its attempt."""
    return int(provider_id[3:16].replace("-", ""), 16) / 1000


async def tell(here: Rig, broadcast: str, ids: list[str], idle: tuple[list[str], int]) -> None:
    row: Any = (
        await here.sql(
            "select count(*) mails, count(distinct recipients[1]) people,"
            " count(distinct provider_id) provider_ids from mail_logs where broadcast_id = $1::uuid",
            broadcast,
        )
    )[0]
    print(
        f"mails        {row['mails']}, people {row['people']}, at the vendor {row['provider_ids']}"
    )
    for name, some in (("alone", idle[0]), ("during it", ids[idle[1] :])):
        found = await here.sql(
            "select extract(epoch from sent_at)::float8 sent, provider_id,"
            " extract(epoch from created_at)::float8 at from mail_logs"
            " where id = any($1::uuid[]) and sent_at is not null",
            some,
        )
        assert len(found) == len(some), (
            f"{len(some) - len(found)} single mails were not handed over"
        )
        served = [r for r in found if not any(-0.1 < r["at"] - k < COMING_BACK for k in KILLED)]
        calls = [max(0.0, claimed_at(r["provider_id"]) - r["at"]) for r in served]
        print(f"single mail  {name}, until its call: {spread(calls)}")
        print(f"             until it is settled: {spread([r['sent'] - r['at'] for r in served])}")
        if len(served) < len(found):
            print(f"             {len(found) - len(served)} more while every worker was dead")


if __name__ == "__main__":
    given = [int(a) for a in sys.argv[1:]]
    asyncio.run(main(*(given + [PEOPLE, 2][len(given) :])))
