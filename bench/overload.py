"""Three times as much as the API takes, for half a minute: `python -m bench.overload`.

Requests start at their rate whatever becomes of those before them. Whoever is refused must be told when to come
again, whatever was accepted must be handed over, and once the load is over everything must be as before soon.
"""

import argparse
import asyncio
import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import load
from bench.load import run_async
from bench.load_soak import most
from bench.rig import Rig, rig
from bench.stage import UNPACED, must_be_200, must_be_equal
from bench.table import Place, machine
from postroom.domain.intake import LATE

PLACE = Place(Path(__file__).parent.parent / "docs" / "reliability.md", "overload")
TIMES = 3
CALM = 0.4  # of the rate that the API takes: what it is asked before and after
WINDOW = 0.5  # seconds for which a p99 is taken
RECOVERED_WITHIN = 5.0
# Each waits for its answer, so that the API may have more requests at once than it lets wait.
CONNECTIONS = 4000
FLOODS = 2  # processes: one alone would be the limit
BESIDE = 100  # requests a second of the client that measures
REFUSALS = {429, 503}


@dataclass(frozen=True)
class Seen:
    """An overload, and the calm before and after it."""

    rate: float
    seconds: float
    before: load.Load
    during: load.Load  # the flood
    beside: load.Load  # a client that asks a little meanwhile: what the API makes of it
    after: load.Load

    @property
    def normal(self) -> float:
        """The p99 up to which things are as before.

        Twice that of the calm before, or what the API itself takes for the bound of being in time: below it nobody
        is refused. The worker still drains at full speed what was accepted, on the same cores.
        """
        return max(LATE, 2 * self.before.percentile(0.99))

    @property
    def recovered(self) -> float | None:
        """Seconds from the load's end until every later half second is normal again; None: it never was."""
        lasted = max(self.after.starts)
        windows = [i * WINDOW for i in range(int(lasted / WINDOW))]
        late = [at for at in windows if not self._is_normal(at)]
        if late and late[-1] == windows[-1]:
            return None
        return late[-1] + WINDOW if late else 0.0

    def _is_normal(self, at: float) -> bool:
        took = self.after.latencies_of(200, at, at + WINDOW)
        return bool(took) and load.percentile(took, 0.99) <= self.normal


async def run(seconds: float, measured_with: int) -> Seen:
    async with rig(vendor=UNPACED) as r:
        rate = await most(r, measured_with)
        await r.wait_handed_over(4 * measured_with, 120)
        await r.wait_empty(60)
        before = await _calm(r, rate, 10)
        url = f"{r.url}/api/mail/send"
        sends = load.send_requests(url, r.key)
        flood = asyncio.create_task(_floods(r, url, TIMES * rate, seconds))
        beside = await load.run_at_rate(url, sends, BESIDE, seconds, CONNECTIONS)
        during = await flood
        after = await _calm(r, rate, 15)
        accepted = await _accepted(r)
        told = 4 * measured_with + sum(one.statuses[200] for one in (before, during, beside, after))
        if accepted < told:
            raise SystemExit(f"answered 200: {told}, on disk: {accepted}")
        await r.wait_handed_over(accepted, 300)
        await r.wait_empty(120)
        report = await r.report()
    must_be_200("the calm before", before, sum(before.statuses.values()))
    must_be_equal("mails handed over", report["mails_accepted"], accepted)
    must_be_equal("mails handed over twice", report["duplicates"], 0)
    return Seen(rate, seconds, before, during, beside, after)


async def _floods(r: Rig, url: str, rate: float, seconds: float) -> load.Load:
    """The flood, from processes of its own: those that fall behind must not hold up who measures."""
    share = rate / FLOODS
    parts = await asyncio.gather(*(_flood(r, url, share, seconds) for _ in range(FLOODS)))
    whole = load.Load(seconds=max(part.seconds for part in parts))
    for part in parts:
        whole.statuses += part.statuses
        whole.why += part.why
        for name in ("lost", "silent", "gave_up", "unanswered"):
            setattr(whole, name, getattr(whole, name) + getattr(part, name))
    return whole


async def _flood(r: Rig, url: str, rate: float, seconds: float) -> load.Load:
    flood = ["-m", "bench.overload", "--flood", url, r.key, str(rate), str(seconds)]
    child = await asyncio.create_subprocess_exec(
        sys.executable, *flood, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await child.communicate()
    told = json.loads(out)
    done = load.Load(**told | {"statuses": Counter(), "why": Counter(told["why"])})
    done.statuses.update({int(code): n for code, n in told["statuses"].items()})
    return done


async def flood(url: str, key: str, rate: float, seconds: float) -> None:
    """Flood, and tell what came of it in JSON."""
    sends = load.send_requests(url, key)
    done = await load.run_at_rate(url, sends, rate, seconds, CONNECTIONS // FLOODS)
    names = ("statuses", "seconds", "lost", "why", "silent", "gave_up", "unanswered")
    print(json.dumps({name: getattr(done, name) for name in names}))


async def _calm(r: Rig, rate: float, seconds: float) -> load.Load:
    url = f"{r.url}/api/mail/send"
    return await load.run_at_rate(url, load.send_requests(url, r.key), CALM * rate, seconds, 2000)


async def _accepted(r: Rig) -> int:
    (row,) = await r.sql("select count(*) n from mail_logs")
    return int(row["n"])


def problems(seen: Seen) -> list[str]:
    """What must not be."""
    found = []
    others: Counter[int] = Counter(
        {code: n for code, n in seen.during.statuses.items() if code not in {200, *REFUSALS}}
    )
    if others:
        found.append(f"other answers than 200, 429 and 503: {dict(others)}")
    if seen.during.unanswered:
        found.append(f"{seen.during.unanswered} requests were not answered within 30 s")
    if seen.during.silent:
        found.append(f"{seen.during.silent} refusals without Retry-After")
    if seen.recovered is None or seen.recovered > RECOVERED_WITHIN:
        found.append(f"not as before within {RECOVERED_WITHIN:g} s: {seen.recovered}")
    return found


def page(seen: Seen) -> str:
    during = seen.during
    refused = sum(during.statuses[code] for code in REFUSALS)
    took, told = seen.beside.latencies_of(200), seen.beside.latencies_of(503)
    recovered = "never" if seen.recovered is None else f"{seen.recovered:.1f} s"
    accepted = during.statuses[200] / during.seconds
    lines = [
        f"Measured on {machine()}; {TIMES} times {seen.rate:,.0f} requests/s for {seen.seconds:g} s, a worker"
        f" draining; {CALM:.0%} of that rate before and after.",
        "",
        "| what | |",
        "|---|---|",
        f"| answered 200 | {during.statuses[200]:,} ({accepted:,.0f}/s) |",
        *(f"| answered {code} | {during.statuses[code]:,} |" for code in sorted(REFUSALS)),
        f"| of these with Retry-After | {refused - during.silent:,} of {refused:,} |",
        f"| connections lost | {during.lost:,}{_why(during)} |",
        f"| given up by their senders after {load.GIVE_UP:g} s without a connection | {during.gave_up:,} |",
        f"| never answered | {during.unanswered:,} |",
        f"| median, p99 of the calm before | {_ms(seen.before, 0.5)}, {_ms(seen.before, 0.99)} |",
        f"| a client beside it: accepted, median and p99 | {len(took)}, {_spread(took)} |",
        f"| a client beside it: refused, median and p99 | {len(told)}, {_spread(told)} |",
        f"| load's end → p99 as before (at most {1e3 * seen.normal:.0f} ms) | {recovered} |",
        "| accepted and not handed over | 0 |",
        "| handed over twice | 0 |",
    ]
    return "\n".join(lines)


def _why(done: load.Load) -> str:
    told = ", ".join(f"{n:,} {why}" for why, n in done.why.most_common())
    return f" ({told})" if told else ""


def _spread(took: Sequence[float]) -> str:
    if not took:
        return "none"
    return (
        f"{1e3 * load.percentile(took, 0.5):,.0f} ms, {1e3 * load.percentile(took, 0.99):,.0f} ms"
    )


def _ms(done: load.Load, share: float) -> str:
    return f"{1e3 * done.percentile(share):.1f} ms"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.overload", description=__doc__)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--requests", type=int, default=12_000, help="to measure the rate with")
    parser.add_argument("--write", action="store_true", help="write docs/reliability.md")
    parser.add_argument("--flood", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.flood:
        url, key, rate, seconds = args.flood
        run_async(flood(url, key, float(rate), float(seconds)))
        return 0
    seen = run_async(run(args.seconds, args.requests))
    text = page(seen)
    print(text)
    if args.write:
        PLACE.write(text)
    found = problems(seen)
    for problem in found:
        print(f"MISSED: {problem}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
