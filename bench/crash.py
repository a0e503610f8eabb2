"""`make crash`: a bounded soak in which everything that can die does, while clients keep sending.

Two API and three worker processes, PostgreSQL, Valkey and the vendor's double run throughout. Clients repeat a
request under its Idempotency-Key until it is answered, as the documentation tells them to. At the end every
mail is counted: on disk, handed over, twice, parked, and against the quota's ledger.
"""

import argparse
import asyncio
import random
import signal
import statistics
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

import redis.asyncio

from bench import load
from bench.__main__ import machine
from bench.rig import Process, Rig, rig

OUT = Path(__file__).parent.parent / "docs" / "reliability.md"
BEGIN, END = "<!-- crash:begin -->", "<!-- crash:end -->"
FROZEN_FOR = 22.0  # seconds: beyond the lease of a batch call


@dataclass
class Soak:
    """One run and what it saw."""

    rig: Rig
    dice: random.Random
    happened: Counter[str] = field(default_factory=Counter)
    resumed: list[float] = field(default_factory=list)
    frozen: set[asyncio.Task[None]] = field(default_factory=set)

    def note(self, what: str) -> None:
        self.happened[what] += 1

    def _alive(self, processes: list[Process]) -> list[Process]:
        return [p for p in processes if p.is_alive]

    async def kill_a_worker(self) -> None:
        self.note("worker killed")
        await self.dice.choice(self._alive(self.rig.workers)).kill()
        await self.rig.add_worker()

    async def kill_all_workers(self) -> None:
        """And measure how long it takes until mails leave again."""
        victims = self._alive(self.rig.workers)
        await asyncio.gather(*(v.kill() for v in victims))
        self.happened["worker killed"] += len(victims)
        self.note("all workers killed at once")
        began, before = monotonic(), (await self.rig.report())["distinct_refs"]
        for _ in victims:
            await self.rig.add_worker()
        while (await self.rig.report())["distinct_refs"] <= before and monotonic() - began < 30:
            await asyncio.sleep(0.05)
        self.resumed.append(monotonic() - began)

    async def kill_an_api(self) -> None:
        self.note("API killed")
        place = self.dice.randrange(2)
        port = str(self.rig.api_ports[place])
        victim = next(a for a in reversed(self.rig.apis) if port in a.argv)
        await victim.kill()
        await self.rig.add_api(int(port))

    async def stop_a_worker(self) -> None:
        self.note("worker stopped by SIGTERM")
        await self.dice.choice(self._alive(self.rig.workers)).stop()
        await self.rig.add_worker()

    async def freeze_a_worker(self) -> None:
        self.note("worker frozen beyond its lease, then thawed")
        victim = self.dice.choice(self._alive(self.rig.workers))
        await victim.signal(signal.SIGSTOP)

        async def thaw() -> None:
            await asyncio.sleep(FROZEN_FOR)
            await victim.signal(signal.SIGCONT)

        task = asyncio.create_task(thaw())
        self.frozen.add(task)
        task.add_done_callback(self.frozen.discard)

    async def flush_redis(self) -> None:
        self.note("FLUSHALL")
        client = redis.asyncio.from_url(self.rig.redis_url)
        await client.flushall()
        await client.aclose()

    async def take_redis_away(self) -> None:
        self.note("Valkey away for 6 s")
        assert self.rig.valkey is not None
        await asyncio.to_thread(self.rig.valkey.kill)
        await asyncio.sleep(6)
        await asyncio.to_thread(self.rig.valkey.start)

    async def restart_postgres(self) -> None:
        self.note("PostgreSQL restarted (fast)")
        assert self.rig.postgres is not None
        await asyncio.to_thread(self.rig.postgres.stop)
        await asyncio.to_thread(self.rig.postgres.start)

    async def crash_postgres(self) -> None:
        self.note("PostgreSQL restarted (immediate)")
        assert self.rig.postgres is not None
        await asyncio.to_thread(self.rig.postgres.kill)
        await asyncio.to_thread(self.rig.postgres.start)

    async def trouble_the_vendor(self) -> None:
        self.note("vendor in trouble for 4 s (drops, 503, 429, delays)")
        await self.rig.faults(
            latency_ms=200, drop_after_accept_percent=15, drop_before_accept_percent=5,
            error_percent=10, throttle_percent=5,
        )  # fmt: skip
        await asyncio.sleep(4)
        await self.rig.faults(
            latency_ms=30, drop_after_accept_percent=3, drop_before_accept_percent=0,
            error_percent=2, throttle_percent=0,
        )  # fmt: skip


Action = Callable[[Soak], Awaitable[None]]
ACTIONS: list[tuple[Action, int]] = [
    (Soak.kill_a_worker, 14),
    (Soak.kill_all_workers, 6),
    (Soak.kill_an_api, 8),
    (Soak.stop_a_worker, 3),
    (Soak.freeze_a_worker, 2),
    (Soak.flush_redis, 3),
    (Soak.take_redis_away, 1),
    (Soak.restart_postgres, 1),
    (Soak.crash_postgres, 1),
    (Soak.trouble_the_vendor, 3),
]


async def disturb(soak: Soak, until: float, sent: asyncio.Event) -> None:
    """One thing after another goes wrong, until the time is up or all is sent."""
    actions, weights = [a for a, _ in ACTIONS], [w for _, w in ACTIONS]
    while monotonic() < until and not sent.is_set():
        await soak.dice.choices(actions, weights)[0](soak)
        await asyncio.sleep(soak.dice.uniform(0.2, 1.2))
    await asyncio.gather(*soak.frozen)


async def clients(r: Rig, mails: int, connections: int) -> load.Load:
    """Clients of both API processes, each mail under a key of its own."""
    halves = []
    for place in range(2):
        url = f"http://127.0.0.1:{r.api_ports[place]}/api/mail/send"
        requests = load.send_requests(url, r.key, keyed=f"soak-{place}", text="x" * 300)
        halves.append(load.run(url, requests, mails // 2, connections // 2, insist=True))
    first, second = await asyncio.gather(*halves)
    first.statuses += second.statuses
    first.lost += second.lost
    return first


async def count_everything(r: Rig, done: load.Load, mails: int) -> dict[str, Any]:
    report = await r.report()
    (log,) = await r.sql(
        "select count(*) n, count(*) filter (where status > 0) final,"
        " count(*) filter (where outcome_unknown) parked, count(*) filter (where not refunded) paid"
        " from mail_logs"
    )
    (quota,) = await r.sql("select coalesce(sum(used), 0)::int used from quota_months")
    (left,) = await r.sql("select count(*) n from outbox o left join attempts a on a.id = o.attempt_id"
                          " where a.parked is not true")  # fmt: skip
    return {
        "accepted": done.statuses[200],
        "on disk": log["n"],
        "final": log["final"],
        "lost": mails
        - report["distinct_refs"]
        - log["parked"]
        + await _parked_but_taken(r, report),
        "duplicated": report["duplicates"],
        "parked": log["parked"],
        "left in the outbox": left["n"],
        "calls repeated under their key": report["repeated_keys"],
        "repeats with other bytes": report["repeated_key_bytes_differ"],
        "connections lost by clients": done.lost,
        "quota counter minus ledger": quota["used"] - log["paid"],
        "most calls in a second": report["max_calls_in_a_second"],
    }


async def _parked_but_taken(r: Rig, report: dict[str, Any]) -> int:
    """Parked mails that the vendor has: they count once."""
    rows = await r.sql("select project_id, id from mail_logs where outcome_unknown")
    if not rows:
        return 0
    taken = set(await r.refs())
    return sum(f"{row['project_id'].hex}-{row['id'].hex}" in taken for row in rows)


async def run(minutes: float, mails: int, seed: int) -> tuple[Soak, dict[str, Any]]:
    vendor = {
        "latency_ms": 30,
        "drop_after_accept_percent": 3,
        "error_percent": 2,
        "named_limit": 40,
    }
    async with rig(apis=2, workers=3, vendor=vendor) as r:
        soak = Soak(r, random.Random(seed))
        sent = asyncio.Event()
        sending = asyncio.create_task(clients(r, mails, 16))
        sending.add_done_callback(lambda _: sent.set())
        began = monotonic()
        await disturb(soak, began + minutes * 60, sent)
        done = await sending
        print(
            f"all answered after {monotonic() - began:.0f} s; waiting for the rest", file=sys.stderr
        )
        await r.wait_settled(300)
        return soak, await count_everything(r, done, mails)


def page(soak: Soak, counts: dict[str, Any], minutes: float) -> str:
    kills = soak.happened["worker killed"] + soak.happened["API killed"]
    lines = [
        f"Measured on {machine()}; {kills} kills in {minutes:.0f} minutes at the most.",
        "",
        "| what happened | times |",
        "|---|---|",
        *(f"| {what} | {times} |" for what, times in soak.happened.most_common()),
        "",
        "| what became of the mails | |",
        "|---|---|",
        *(f"| {what} | {value:,} |" for what, value in counts.items()),
    ]
    if soak.resumed:
        median = statistics.median(soak.resumed)
        lines.append(
            f"| all workers killed → first new hand-over | median {median:.1f} s, longest"
            f" {max(soak.resumed):.1f} s |"
        )
    return "\n".join(lines)


def write(text: str) -> None:
    """Put the tables into the document, between its marks."""
    whole = OUT.read_text()
    head, _, rest = whole.partition(BEGIN)
    _, _, tail = rest.partition(END)
    OUT.write_text(f"{head}{BEGIN}\n{text}\n{END}{tail}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="make crash", description=__doc__)
    parser.add_argument("--minutes", type=float, default=25)
    parser.add_argument("--mails", type=int, default=220_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", action="store_true", help="write docs/reliability.md")
    args = parser.parse_args()
    soak, counts = asyncio.run(run(args.minutes, args.mails, args.seed))
    text = page(soak, counts, args.minutes)
    print(text)
    if args.write:
        write(text)
    broken = [
        name
        for name in ("lost", "duplicated", "repeats with other bytes", "quota counter minus ledger")
        if counts[name]
    ]
    for name in broken:
        print(f"THE CONTRACT IS BROKEN: {name} = {counts[name]}", file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
