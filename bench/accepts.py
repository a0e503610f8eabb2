"""How fast mails are accepted: against peers, near the limit, and by two processes."""

from bench import load
from bench.drains import pile_and_drain_together
from bench.rig import Rig, rig
from bench.stage import (
    UNPACED,
    Side,
    express_server,
    must_be_200,
    must_be_equal,
    noop_server,
    ungrouped_api,
)
from bench.table import Goal, Row

WHAT = "accepted sends, one API process, 64 connections, 1 kB, committed to disk"
NOOP = "a FastAPI route with the same body and header that does nothing"


def send_side(r: Rig, api: int = 0) -> Side:
    return Side(f"http://127.0.0.1:{r.api_ports[api]}/api/mail/send", [r.apis[api].pid])


async def accept(rounds: int, count: int) -> list[Row]:
    """Durable accepts a second in one API process."""
    async with rig(workers=0) as r:
        ours, noop = send_side(r), await noop_server(r)
        express, ungrouped = await express_server(r), await ungrouped_api(r)
        # The slower sides are asked less, so that each is asked for about as long.
        shares = [(ours, count), (noop, count), (express, count // 3), (ungrouped, count // 6)]
        for number in range(rounds + 1):
            for side, requests in shares:
                await side.round(r.key, requests, counts=number > 0)
        (mails,) = await r.sql("select count(*) n from mail_logs")
        must_be_equal("mails on disk", mails["n"], (count + count // 6) * (rounds + 1))
    peers = [
        (NOOP, noop, Goal(1.5)),
        ("Express, BullMQ and pg: one insert and one job a request", express, Goal(2.5)),
        ("our own send with group commit switched off", ungrouped, None),
    ]
    return [
        Row(WHAT, ours.rates, goal, name, peer.rates, our_note=ours.note, their_note=peer.note)
        for name, peer, goal in peers
    ]


async def tail(rounds: int, count: int) -> list[Row]:
    """p99 of /send at half the maximum rate while the worker drains, against the no-op route's median.

    And at a quarter: accepting, draining, this generator and the vendor's double together fill two cores at half.
    """
    lasts = 5.0 * count / 6000
    async with rig(workers=0, vendor=UNPACED) as r:
        send, noop = send_side(r), await noop_server(r)
        for number in range(3):
            await send.round(r.key, count, counts=number > 0)
        taken = 3 * count
        await r.add_worker()
        await r.wait_handed_over(taken, 120)
        rows = []
        for what, share, goal in (("half", 2, Goal(10, most=True)), ("a quarter of", 4, None)):
            ours, theirs, rate = [], [], max(send.rates) / share
            for number in range(rounds + 1):
                mine = await at_rate(send.url, r.key, rate, lasts)
                taken += mine.statuses[200]
                await r.wait_handed_over(taken, 60)
                await r.wait_empty(30)
                other = await at_rate(noop.url, r.key, rate, lasts)
                if number:
                    ours.append(1e3 * mine.percentile(0.99))
                    theirs.append(1e3 * other.percentile(0.5))
            rows.append(
                Row(
                    f"p99 of a send at {what} the maximum rate, a worker draining meanwhile",
                    ours,
                    goal,
                    "the median of the no-op route at the same rate",
                    theirs,
                    "ms",
                    f"at {rate:,.0f}/s",
                )
            )
    return rows


async def at_rate(url: str, key: str, rate: float, seconds: float) -> load.Load:
    done = await load.run_at_rate(url, load.send_requests(url, key), rate, seconds, 1000)
    must_be_200(url, done, int(rate * seconds))
    return done


async def two(rounds: int, count: int) -> list[Row]:
    """Two APIs and two workers against one of each."""
    one, both = [], []
    one_drain, both_drain = [], []
    async with rig(apis=2, workers=0, vendor=UNPACED) as r:
        for number in range(rounds + 1):
            for apis, rates, drains in ((1, one, one_drain), (2, both, both_drain)):
                done = await pile_and_drain_together(r, count, apis, apis)
                if number:
                    rates.append(done.accepts)
                    drains.append(done.drains)
        report = await r.report()
        must_be_equal("mails handed over twice", report["duplicates"], 0)
        (quota,) = await r.sql("select sum(used)::int used from quota_months")
        must_be_equal("the quota's counter", quota["used"], 2 * count * (rounds + 1))
    goal = Goal(1.0)
    return [
        Row("accepted sends, two API processes", both, goal, "one API process", one),
        Row("drained mails, two workers", both_drain, goal, "one worker", one_drain),
    ]
