"""Twenty minutes at four fifths of what the API takes, the worker draining: `python -m bench.load_soak`.

Looked at meanwhile: the memory of both processes, the outbox table and its dead rows, the median and the p99 of
each minute. At the end every mail that was accepted must have been handed over, once.
"""

import argparse
import asyncio
import sys
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

from bench import load
from bench.footprint import rss, slope
from bench.load import run_async
from bench.rig import Rig, rig
from bench.stage import CONNECTIONS, UNPACED, must_be_200, must_be_equal
from bench.table import Place, machine

PLACE = Place(Path(__file__).parent.parent / "docs" / "reliability.md", "soak")
SHARE = 0.8
LOOK_EVERY = 5.0

_OUTBOX = """
select pg_total_relation_size('outbox')::bigint as size, n_dead_tup as dead,
    (select count(*) from outbox) as waiting, autovacuum_count as vacuums
  from pg_stat_user_tables where relname = 'outbox'
"""


@dataclass
class Soak:
    """What was seen of a run, every five seconds."""

    rig: Rig
    began: float = field(default_factory=monotonic)
    sizes: dict[str, list[tuple[float, float]]] = field(
        default_factory=lambda: {"API": [], "worker": []}
    )
    outbox: list[dict[str, Any]] = field(default_factory=list)

    async def look_forever(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(LOOK_EVERY)

    async def look(self) -> None:
        hours = (monotonic() - self.began) / 3600
        self.sizes["API"].append((hours, rss(self.rig.apis[0])))
        self.sizes["worker"].append((hours, rss(self.rig.workers[0])))
        (row,) = await self.rig.sql(_OUTBOX)
        self.outbox.append(dict(row))


async def most(r: Rig, count: int) -> float:
    """What the API takes a second with the worker beside it: the median of three runs after a first one."""
    url = f"{r.url}/api/mail/send"
    rates = []
    for _ in range(4):
        done = await load.run(url, load.send_requests(url, r.key), count, CONNECTIONS)
        must_be_200("sends", done, count)
        rates.append(done.rate)
    return sorted(rates[1:])[1]


async def run(minutes: float, measured_with: int) -> str:
    async with rig(vendor=UNPACED) as r:
        rate = SHARE * await most(r, measured_with)
        await r.wait_handed_over(4 * measured_with, 120)
        await r.wait_empty(60)
        soak = Soak(r)
        looking = asyncio.create_task(soak.look_forever())
        url = f"{r.url}/api/mail/send"
        sends = load.send_requests(url, r.key)
        done = await load.run_at_rate(url, sends, rate, minutes * 60, 1000)
        print(f"all answered; {done.statuses}", file=sys.stderr)
        looking.cancel()
        accepted = done.statuses[200] + 4 * measured_with
        await r.wait_handed_over(accepted, 300)
        await r.wait_empty(120)
        await soak.look()
        report = await r.report()
    text = page(soak, done, rate, minutes)
    # Before what must be is looked at: who failed is looked into.
    print(text)
    must_be_200("the soak", done, int(rate * minutes * 60))
    must_be_equal("mails handed over", report["mails_accepted"], accepted)
    must_be_equal("mails handed over twice", report["duplicates"], 0)
    return text


def page(soak: Soak, done: load.Load, rate: float, minutes: float) -> str:
    middle = len(soak.outbox) // 2
    lines = [
        f"Measured on {machine()}; {minutes:g} minutes at {rate:,.0f} mails/s, four fifths of what the"
        " API took at the start with the worker beside it.",
        "",
        "| what | at the start | in the middle | at the end | most |",
        "|---|---|---|---|---|",
    ]
    for name, points in soak.sizes.items():
        values = [size for _, size in points]
        lines.append(_line(f"{name}: resident memory, MB", values, middle))
    for name, scale in (("size", 1e-6), ("dead", 1), ("waiting", 1)):
        label = {
            "size": "outbox table with its indexes, MB",
            "dead": "dead rows in it",
            "waiting": "mails in it",
        }[name]
        lines.append(_line(label, [row[name] * scale for row in soak.outbox], middle))
    lines += ["", "| what | |", "|---|---|"]
    for name, points in soak.sizes.items():
        # The first tenth fills caches and pools.
        later = points[len(points) // 10 :]
        lines.append(f"| {name}: growth by least squares | {slope(later):+,.1f} MB/hour |")
    lines += [
        f"| autovacuum runs on the outbox | {soak.outbox[-1]['vacuums']} |",
        f"| accepted | {done.statuses[200]:,} |",
        f"| handed over, each once | {done.statuses[200]:,} |",
        "",
        "| minute | median, ms | p99, ms |",
        "|---|---|---|",
    ]
    for minute in range(max(1, int(minutes))):
        took = done.latencies_of(200, minute * 60, (minute + 1) * 60)
        median, tail = 1e3 * load.percentile(took, 0.5), 1e3 * load.percentile(took, 0.99)
        lines.append(f"| {minute + 1} | {median:.1f} | {tail:.1f} |")
    return "\n".join(lines)


def _line(what: str, values: list[float], middle: int) -> str:
    figures = [values[0], values[middle], values[-1], max(values)]
    return f"| {what} | {' | '.join(f'{v:,.0f}' for v in figures)} |"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.load_soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--requests", type=int, default=20_000, help="to measure the rate with")
    parser.add_argument("--write", action="store_true", help="write docs/reliability.md")
    args = parser.parse_args()
    text = run_async(run(args.minutes, args.requests))
    if args.write:
        PLACE.write(text)


if __name__ == "__main__":
    main()
