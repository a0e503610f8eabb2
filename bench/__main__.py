"""`make bench`: ratios measured in one run on one machine, as a table of medians.

Each pair is measured in alternating rounds, both sides warmed up; a run fails loudly when an answer is not
200 or when mails handed over differ from mails accepted.
"""

import argparse
import asyncio
import os
import platform
import statistics
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import time

from bench import load
from bench.rig import Process, Rig, free_port, rig

OUT = Path(__file__).parent.parent / "docs" / "benchmarks.md"
CONNECTIONS = 64
BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    what: str
    ours: list[float]
    against: str
    theirs: list[float]
    goal: str
    unit: str = "/s"

    @property
    def digits(self) -> int:
        return 1 if self.unit == "ms" else 0

    @property
    def ratio(self) -> float:
        return statistics.median(self.ours) / statistics.median(self.theirs)

    def line(self) -> str:
        ours, theirs = statistics.median(self.ours), statistics.median(self.theirs)
        spread = f"{min(self.ours):,.0f} to {max(self.ours):,.0f}"
        return (
            f"| {self.what} | {ours:,.{self.digits}f} {self.unit} ({spread}) | {self.against} |"
            f" {theirs:,.0f} {self.unit} | **{self.ratio:.2f}x** | {self.goal} |"
        )


async def _until_open(port: int) -> None:
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.05)
            continue
        writer.close()
        return


async def _noop_server(r: Rig) -> tuple[Process, str]:
    port = free_port()
    server = r.process("noop", "-m", "bench.noop", "--port", str(port))
    await server.start()
    r.others.append(server)
    await _until_open(port)
    return server, f"http://127.0.0.1:{port}/noop"


async def _rate(url: str, key: str, count: int) -> float:
    done = await load.run(url, load.send_requests(url, key), count, CONNECTIONS)
    if set(done.statuses) != {200} or done.lost:
        raise SystemExit(f"{url}: answers {dict(done.statuses)}, lost {done.lost}")
    return done.rate


async def accept(rounds: int, count: int) -> list[Row]:
    """Durable accepts a second in one API process against a route that does nothing."""
    ours, theirs = [], []
    async with rig(workers=0) as r:
        _, noop = await _noop_server(r)
        send = f"{r.url}/api/mail/send"
        for number in range(rounds + 1):
            mine = await _rate(send, r.key, count)
            other = await _rate(noop, r.key, count)
            if number:  # the first round warms both sides up
                ours.append(mine)
                theirs.append(other)
        (mails,) = await r.sql("select count(*) n from mail_logs")
        if mails["n"] != count * (rounds + 1):
            raise SystemExit(f"accepted {count * (rounds + 1)}, on disk {mails['n']}")
    return [
        Row(
            "accepted sends, one API process, 64 connections, 1 kB, committed to disk",
            ours,
            "a FastAPI route with the same body and header that does nothing",
            theirs,
            "1.1x",
        )
    ]


async def _arq(r: Rig, jobs: int, *how: str) -> float:
    argv = [sys.executable, "-m", "bench.noop", "--arq", str(jobs), *how]
    child = await asyncio.create_subprocess_exec(*argv, env=r.env, stdout=asyncio.subprocess.PIPE)
    out, _ = await child.communicate()
    return float(out)


async def drain(rounds: int, count: int) -> list[Row]:
    """Mails a second that one worker hands over and settles, against arq's no-op jobs."""
    ours, theirs, tuned = [], [], []
    vendor = {"named_limit": 900}
    async with rig(workers=0, vendor=vendor) as r:
        send = f"{r.url}/api/mail/send"
        for number in range(rounds + 1):
            await _rate(send, r.key, count)
            before = await r.report()
            worker = await r.add_worker()
            await r.wait_handed_over((number + 1) * count, 120)
            await r.wait_empty(60)
            await worker.stop()
            # The double sends no webhooks: without this the worker would ask it about each mail a minute later.
            await r.sql("update mail_logs set next_poll_at = null where next_poll_at is not null")
            after = await r.report()
            if after["duplicates"] or after["mails_accepted"] - before["mails_accepted"] != count:
                raise SystemExit(f"handed over {after}, wanted {count} more than {before}")
            (row,) = await r.sql(
                "select extract(epoch from max(sent_at) - min(sent_at)) s from"
                " (select sent_at from mail_logs order by id desc limit $1) m",
                count,
            )
            other, hard = await _arq(r, count // 16), await _arq(r, count // 8, "--tuned")
            if number:
                ours.append(count / float(row["s"]))
                theirs.append(other)
                tuned.append(hard)
    what = "drained mails, one worker process, batch calls over HTTP, settled in Postgres"
    return [
        Row(what, ours, "arq's no-op jobs, one worker, its defaults", theirs, "15x"),
        Row("the same", ours, "the same, 100 jobs at once, polling each 10 ms", tuned, "reported"),
    ]


async def latency(rounds: int, count: int) -> list[Row]:
    """From the answer of an accept to the vendor's receipt of the call, on an idle system."""
    waits = []
    async with rig(vendor={"named_limit": 900}) as r:
        url = f"{r.url}/api/mail/send"
        request = load.send_requests(url, r.key)
        await load.run(url, request, 5, 1)
        await r.wait_handed_over(5, 30)
        for number in range(count):
            await asyncio.sleep(0.1)
            await load.run(url, request, 1, 1)
            answered = time()
            await r.wait_handed_over(number + 6, 10)
            waits.append((await r.report())["last_at"] - answered)
    waits.sort()
    median = [1000 * max(0.0, statistics.median(waits))]
    tail = [1000 * waits[int(len(waits) * 0.99)]]
    what = "accepted → the vendor has the call, idle system"
    return [
        Row(f"{what}: median", median, "the goal", [25.0], "at most 1x", "ms"),
        Row(f"{what}: p99", tail, "the goal", [40.0], "at most 1x", "ms"),
    ]


def machine() -> str:
    return (
        f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()} {platform.release()},"
        f" Python {platform.python_version()}, {datetime.now(UTC):%Y-%m-%d}"
    )


def table(rows: list[Row], rounds: int) -> str:
    lines = [
        f"Measured on {machine()}; medians of {rounds} alternating rounds, spread in brackets. The load"
        " generator, the vendor's double, PostgreSQL and Valkey share the machine's cores.",
        "",
        "| what | Postroom | against | it | ratio | goal |",
        "|---|---|---|---|---|---|",
        *(row.line() for row in rows),
    ]
    return "\n".join(lines)


def write(text: str) -> None:
    """Put the table into the document, between its marks."""
    page = OUT.read_text()
    head, _, rest = page.partition(BEGIN)
    _, _, tail = rest.partition(END)
    OUT.write_text(f"{head}{BEGIN}\n{text}\n{END}{tail}")


Bench = Callable[[int, int], Awaitable[list[Row]]]
BENCHES: dict[str, tuple[Bench, int]] = {
    "accept": (accept, 6000),
    "drain": (drain, 20_000),
    "latency": (latency, 100),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("names", nargs="*", default=list(BENCHES), help=", ".join(BENCHES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--scale", type=float, default=1.0, help="times the usual number of requests"
    )
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md")
    args = parser.parse_args()
    rows: list[Row] = []
    for name in args.names:
        bench, count = BENCHES[name]
        print(f"measuring {name} ...", file=sys.stderr)
        rows += asyncio.run(bench(args.rounds, int(count * args.scale)))
    text = table(rows, args.rounds)
    print(text)
    if args.write:
        write(text)


if __name__ == "__main__":
    main()
