"""What goes wrong in the soak: one thing after the other, from a deck that is shuffled once."""

import asyncio
import random
import signal
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic

import redis.asyncio

from bench.rig import Process, Rig, until_live
from bench.tenants import Tenant
from postroom.domain.quota import seconds_to_turn

FROZEN_FOR = 40.0  # seconds: beyond the lease of every vendor's call
AWAY_FOR = 60.0  # seconds that Redis is away, once
NEXT_MONTH_FOR = 20.0  # seconds for which one API process lives in the next month
KEY_AGE = "25 hours"  # older than any vendor remembers
DOOMED_FOR = 20.0  # seconds in which a process should have met its boundary

USUAL = {
    "resend": {"latency_ms": 30, "drop_after_accept_percent": 3, "error_percent": 2, "hang_percent": 0.2,
               "drop_before_accept_percent": 0, "throttle_percent": 0},
    "paubox": {"latency_ms": 30, "drop_after_accept_percent": 1, "error_percent": 0.5, "hang_percent": 0.1,
               "drop_before_accept_percent": 0, "throttle_percent": 0},
}  # fmt: skip
TROUBLE = {
    "latency_ms": 200, "drop_after_accept_percent": 15, "drop_before_accept_percent": 5,
    "error_percent": 10, "throttle_percent": 10, "hang_percent": 2,
}  # fmt: skip
TROUBLE_FOR = 4.0

WORKER_BOUNDARIES = (
    "mails-found", "attempt-written", "attempt-committed", "calling", "call-answered",
    "results-written", "results-committed",
)  # fmt: skip
API_BOUNDARIES = ("slots-reserved", "mails-written", "mails-committed", "bell-due")


@dataclass
class Resumed:
    """All workers died at once: seconds until the first new one was ready, and until each vendor heard again."""

    ready: float
    calls: dict[str, float]


@dataclass
class Soak:
    """One run and what it saw."""

    rig: Rig
    tenants: dict[str, Tenant]
    dice: random.Random
    wanted_kills: int
    happened: Counter[str] = field(default_factory=Counter)
    kills: int = 0
    resumed: list[Resumed] = field(default_factory=list)
    aged_mails: int = 0  # of calls that were made to look older than the vendor's memory
    frozen: set[asyncio.Task[None]] = field(default_factory=set)

    # ── who runs ─────────────────────────────────────────────────────────────────────────────────

    def _workers(self) -> list[Process]:
        return [p for p in self.rig.workers if p.is_alive]

    def _api_at(self, place: int) -> Process:
        port = str(self.rig.api_ports[place])
        return next(a for a in reversed(self.rig.apis) if port in a.argv)

    async def _kill(self, what: str, *victims: Process) -> None:
        await asyncio.gather(*(v.kill() for v in victims))
        self.happened[f"{what} killed (SIGKILL)"] += len(victims)
        self.kills += len(victims)

    # ── killed ───────────────────────────────────────────────────────────────────────────────────

    async def kill_a_worker(self) -> None:
        await self._kill("worker", self.dice.choice(self._workers()))
        await self.rig.add_worker()

    async def kill_all_workers(self) -> None:
        """And measure how long it takes until mails leave again."""
        victims = self._workers()
        began = monotonic()
        await self._kill("worker", *victims)
        self.happened["all workers killed at once"] += 1
        fresh = [await self.rig.add_worker() for _ in victims]
        # What the dead had under way reaches the vendors now, and is no sign of life.
        await asyncio.sleep(0.15)
        before = {name: await self._taken(t) for name, t in self.tenants.items()}
        ready, calls = 0.0, dict[str, float]()
        while (len(calls) < len(before) or not ready) and monotonic() - began < 40:
            if not ready and any("worker is ready" in p.log.read_text() for p in fresh):
                ready = monotonic() - began
            for name, tenant in self.tenants.items():
                if name not in calls and await self._taken(tenant) > before[name]:
                    calls[name] = monotonic() - began
            await asyncio.sleep(0.03)
        self.resumed.append(Resumed(ready, calls))

    async def _taken(self, tenant: Tenant) -> int:
        return int((await tenant.vendor.report())["distinct_refs"])

    async def kill_an_api(self) -> None:
        place = self.dice.randrange(2)
        await self._kill("API", self._api_at(place))
        await self.rig.add_api(self.rig.api_ports[place])

    async def kill_a_worker_at_a_boundary(self) -> None:
        point = self.dice.choice(WORKER_BOUNDARIES)
        await self._kill("worker", self.dice.choice(self._workers()))
        doomed = self._doomed(point, "worker")
        await doomed.start()
        self.rig.workers.append(doomed)
        await self._await_death(doomed, "worker")
        await self.rig.add_worker()

    async def kill_an_api_at_a_boundary(self) -> None:
        point, place = self.dice.choice(API_BOUNDARIES), self.dice.randrange(2)
        port = self.rig.api_ports[place]
        await self._kill("API", self._api_at(place))
        doomed = self._doomed(point, "api", "--port", str(port))
        await doomed.start()
        self.rig.apis.append(doomed)
        await self._await_death(doomed, "API")
        await self.rig.add_api(port)

    def _doomed(self, point: str, *command: str) -> Process:
        number = len(self.rig.workers) + len(self.rig.apis)
        nth = str(self.dice.randint(1, 12))
        argv = ("-m", "tests.crash.doomed", "--at", point, "--nth", nth, "--", *command)
        return self.rig.process(f"doomed{number}", *argv)

    async def _await_death(self, doomed: Process, what: str) -> None:
        try:
            async with asyncio.timeout(DOOMED_FOR):
                await doomed.wait()
        except TimeoutError:
            # Its moment did not come in this traffic; it dies at a random one.
            await self._kill(what, doomed)
            return
        self.happened[f"{what} killed at an exact boundary"] += 1
        self.kills += 1

    # ── stopped, frozen, cut off ─────────────────────────────────────────────────────────────────

    async def stop_a_worker(self) -> None:
        self.happened["worker stopped by SIGTERM"] += 1
        victim = self.dice.choice(self._workers())
        await victim.signal(signal.SIGCONT)
        await victim.stop(45)
        await self.rig.add_worker()

    async def freeze_a_worker(self) -> None:
        self.happened[f"worker frozen for {FROZEN_FOR:.0f} s, beyond its lease, then thawed"] += 1
        victim = self.dice.choice(self._workers())
        await victim.signal(signal.SIGSTOP)

        async def thaw() -> None:
            await asyncio.sleep(FROZEN_FOR)
            if victim.is_alive:
                await victim.signal(signal.SIGCONT)

        task = asyncio.create_task(thaw())
        self.frozen.add(task)
        task.add_done_callback(self.frozen.discard)

    async def flush_redis(self) -> None:
        self.happened["FLUSHALL"] += 1
        client = redis.asyncio.from_url(self.rig.redis_url)
        await client.flushall()
        await client.aclose()

    async def take_redis_away_for_long(self) -> None:
        await self._redis_away(AWAY_FOR)

    async def take_redis_away(self) -> None:
        await self._redis_away(6)

    async def _redis_away(self, seconds: float) -> None:
        self.happened[f"Redis away for {seconds:.0f} s"] += 1
        assert self.rig.valkey is not None
        await asyncio.to_thread(self.rig.valkey.kill)
        await asyncio.sleep(seconds)
        await asyncio.to_thread(self.rig.valkey.start)

    async def restart_postgres(self) -> None:
        self.happened["PostgreSQL restarted (fast)"] += 1
        assert self.rig.postgres is not None
        await asyncio.to_thread(self.rig.postgres.stop)
        await asyncio.to_thread(self.rig.postgres.start)

    async def crash_postgres(self) -> None:
        self.happened["PostgreSQL restarted (immediate)"] += 1
        assert self.rig.postgres is not None
        await asyncio.to_thread(self.rig.postgres.kill)
        await asyncio.to_thread(self.rig.postgres.start)

    async def trouble_the_vendors(self) -> None:
        self.happened[f"vendors in trouble for {TROUBLE_FOR:.0f} s"] += 1
        for tenant in self.tenants.values():
            await tenant.vendor.faults(**TROUBLE)
        await asyncio.sleep(TROUBLE_FOR)
        for name, tenant in self.tenants.items():
            await tenant.vendor.faults(**USUAL[name])

    # ── time ─────────────────────────────────────────────────────────────────────────────────────

    async def turn_the_month(self) -> None:
        """One API process lives in the next month for a while: its mails are paid there, and paid back there."""
        self.happened["month turned under an API process"] += 1
        port = self.rig.api_ports[1]
        await self._api_at(1).stop(45)
        ahead = seconds_to_turn(datetime.now(UTC)) + 60
        argv = ("-m", "tests.crash.elsewhen", f"{ahead:.0f}", "api", "--port", str(port))
        ahead_of_time = self.rig.process(f"elsewhen{len(self.rig.apis)}", *argv)
        await ahead_of_time.start()
        self.rig.apis.append(ahead_of_time)
        await until_live(port)
        await asyncio.sleep(NEXT_MONTH_FOR)
        await ahead_of_time.stop(45)
        await self.rig.add_api(port)

    async def outlive_the_keys(self) -> None:
        """All workers die in mid-call and come back when the vendor has forgotten the keys of those calls."""
        self.happened["workers away for longer than the vendor remembers a key"] += 1
        keyed = self.tenants["resend"]
        await keyed.vendor.faults(**USUAL["resend"] | {"latency_ms": 700, "hang_percent": 0})
        await self._until_called_anew(keyed)
        victims = self._workers()
        await self._kill("worker", *victims)
        await asyncio.sleep(1)  # what it has read it takes
        rows = await self.rig.sql(
            "update attempts set called_at = called_at - $2::text::interval,"
            " lease_until = lease_until - $2::text::interval"
            " where connection_id = $1 and not parked returning cardinality(mail_ids) as n",
            keyed.connection_id,
            KEY_AGE,
        )
        self.aged_mails += sum(row["n"] for row in rows)
        await keyed.vendor.forget_keys()
        await keyed.vendor.faults(**USUAL["resend"])
        for _ in victims:
            await self.rig.add_worker()

    async def _until_called_anew(self, tenant: Tenant, seconds: float = 30) -> None:
        """Wait for a call that began after now, and is therefore as slow as the vendor is from now on."""
        (now,) = await self.rig.sql("select now() as now")
        called = "select 1 from attempts where connection_id = $1 and not parked and called_at > $2"
        began = monotonic()
        while not await self.rig.sql(called, tenant.connection_id, now["now"]):
            if monotonic() - began > seconds:
                return  # nothing is sent just now; the run tells that no call outlived its key
            await asyncio.sleep(0.01)


Action = Callable[[Soak], Awaitable[None]]
# What one action kills, and its share of all kills.
KILLS: tuple[tuple[Action, int, float], ...] = (
    (Soak.kill_all_workers, 3, 0.30),
    (Soak.kill_an_api, 1, 0.20),
    (Soak.kill_a_worker_at_a_boundary, 2, 0.20),
    (Soak.kill_an_api_at_a_boundary, 2, 0.10),
    (Soak.kill_a_worker, 1, 0.20),
)
# So many for each hundred kills, but one at the least.
OTHERS: tuple[tuple[Action, float], ...] = (
    (Soak.stop_a_worker, 4),
    (Soak.freeze_a_worker, 3),
    (Soak.flush_redis, 6),
    (Soak.take_redis_away, 1),
    (Soak.restart_postgres, 1.5),
    (Soak.crash_postgres, 1.5),
    (Soak.trouble_the_vendors, 6),
    (Soak.take_redis_away_for_long, 0.5),
    (Soak.turn_the_month, 0.5),
    (Soak.outlive_the_keys, 1),
)


def deck(dice: random.Random, kills: int) -> list[Action]:
    """Enough of everything for so many kills, in the order of the dice."""
    cards: list[Action] = []
    for action, each, share in KILLS:
        cards += [action] * max(1, -(-round(kills * share) // each))
    for action, in_a_hundred in OTHERS:
        cards += [action] * max(1, round(kills * in_a_hundred / 100))
    dice.shuffle(cards)
    return cards


async def disturb(soak: Soak, is_due: Callable[[int], bool], over: Callable[[], bool]) -> None:
    """Play the whole deck, a card when it is due; then kill on until there were enough kills."""
    cards = deck(soak.dice, soak.wanted_kills)
    played = 0
    while not over() and (played < len(cards) or soak.kills < soak.wanted_kills):
        if not is_due(round(1000 * played / len(cards))):
            await asyncio.sleep(0.05)
            continue
        card = cards[played] if played < len(cards) else Soak.kill_a_worker
        played += 1
        await card(soak)
        await asyncio.sleep(soak.dice.uniform(0.1, 0.6))
    await asyncio.gather(*soak.frozen)
