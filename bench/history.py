"""Ten million mails of history, made by the database itself, and what they cost: `python -m bench history`."""

import asyncio
import statistics
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from time import monotonic, perf_counter
from uuid import UUID

import asyncpg

from bench import load
from bench.drains import pile_and_drain
from bench.rig import Rig, rig
from bench.stage import UNPACED, must_be_equal
from bench.table import Goal, Row
from postroom.crypto import recipient_key
from postroom.domain.logs import cursor_of
from postroom.domain.status import State
from postroom.resources import Keys, load_keys, open_engine
from postroom.settings import Settings

# Of a thousand mails; the rest was delivered.
SHARES = {
    State.SENT: 25,
    State.FAILED: 4,
    State.SOFT_BOUNCED: 6,
    State.HARD_BOUNCED: 14,
    State.COMPLAINED: 1,
}
PROJECTS = 500
MAILS_A_PERSON = 50
LIST_GOAL_MS = 30
# A page's first change after a checkpoint is logged whole; a quarter of an hour of mails changes each page of the
# large indexes many times, so most of these first changes come before the rounds.
WARM_UP = 60_000
PAGE = 50


@dataclass(frozen=True)
class Made:
    """What stands in the database now, and what it took."""

    rows: int
    seconds: float
    bytes: int

    def __str__(self) -> str:
        return f"{self.rows:,} rows, {self.bytes / 1e9:.1f} GB, made in {self.seconds:.0f} s"


# One hash a row gives all its chances: project, person, status, provider's id and the id's own tail.
_ROWS = """
insert into mail_logs (project_id, id, connection_id, stream, status, paid_month, refunded, attempts,
    recipient_key, recipients, subject, sender, reason, provider_id, created_at, sent_at, broadcast_id)
select case when h % 10 < 4 then $1::uuid else projects[1 + (h / 10) % {projects}] end,
    id, (select min(id) from connections), case when bulk then 1 else 0 end, status,
    date_trunc('month', at)::date, status = {failed}, 1, p.key, array[p.address],
    'Your order ' || i || ' is on its way', 'Shop <orders@example.com>',
    case when status >= {failed} and status <> {delivered} then 'mailbox unavailable' end,
    case when status <> {failed} then md5(i::text)::uuid::text end,
    at, case when status <> {failed} then at + interval '80 milliseconds' end,
    case when bulk then broadcasts[1 + (i / 5000) % 200] end
from (
  select i, at, h, (h / 7) % 5 = 0 as bulk, ('x' || substr(tail, 1, 7))::bit(28)::int % 1000 as dice,
    (lpad(to_hex((extract(epoch from at) * 1000)::bigint), 12, '0') || '7' || substr(tail, 8, 3)
      || '8' || substr(tail, 11, 15))::uuid as id
  from (
    select i, md5('mail' || i) as tail, ('x' || substr(md5(i::text), 1, 15))::bit(60)::bigint as h,
      now() - interval '1 day' - ({rows} - i) * (interval '300 days' / {rows}) as at
    from generate_series($2::bigint, $3::bigint) i) a) b
  cross join (select array_agg(md5('project' || n)::uuid) as projects from generate_series(1, {projects}) n) x
  cross join (select array_agg(md5('broadcast' || n)::uuid) as broadcasts from generate_series(1, 200) n) y
  join people p on p.number = (h / 1000) % {people}
  cross join lateral (select case {cases} else {delivered} end as status) s
order by i
"""


def _rows_statement(rows: int, people: int) -> str:
    cases, passed = [], 0
    for state, share in SHARES.items():
        passed += share
        cases.append(f"when dice < {passed} then {state:d}")
    return _ROWS.format(
        projects=PROJECTS, people=people, rows=rows, failed=int(State.FAILED),
        delivered=int(State.DELIVERED), cases=" ".join(cases),
    )  # fmt: skip


async def make(database_url: str, keys: Keys, project_id: str, rows: int) -> Made:
    """Fill the empty log: 300 days of mails of many projects, four tenths of them this project's.

    The indexes are those of the migrations; they are made anew after the rows, which takes a quarter of the time.
    """
    began = monotonic()
    people = max(1, rows // MAILS_A_PERSON)
    connection = await asyncpg.connect(database_url)
    try:
        await _make_people(connection, keys, people)
        async with connection.transaction():
            await connection.execute("set local maintenance_work_mem = '512MB'")
            await connection.execute("set local work_mem = '256MB'")
            # A table that is emptied and filled in one transaction needs no write-ahead log.
            await connection.execute("truncate mail_logs")
            indexes = await connection.fetch(
                "select indexname, indexdef from pg_indexes where tablename = 'mail_logs'"
                " and indexname not in (select conname from pg_constraint)"
            )
            for index in indexes:
                await connection.execute(f'drop index "{index["indexname"]}"')
            statement = _rows_statement(rows, people)
            await connection.execute(statement, UUID(project_id), 1, rows, timeout=3600)
            for index in indexes:
                await connection.execute(index["indexdef"], timeout=3600)
        await connection.execute("vacuum analyze mail_logs", timeout=3600)
        await connection.execute("checkpoint", timeout=3600)
        found = await connection.fetchval("select count(*) from mail_logs")
        must_be_equal("rows of history", found, rows)
        size = await connection.fetchval("select pg_total_relation_size('mail_logs')")
        return Made(rows, monotonic() - began, size)
    finally:
        await connection.close()


async def _make_people(connection: asyncpg.Connection, keys: Keys, people: int) -> None:
    """The recipients, with the keys by which the log finds them."""
    await connection.execute(
        "create temp table people (number bigint primary key, address text, key bigint)"
    )
    addresses = ((number, address_of(number)) for number in range(people))
    await connection.copy_records_to_table(
        "people",
        records=((number, a, recipient_key(keys.index, a)) for number, a in addresses),
    )
    await connection.execute("analyze people")


def address_of(number: int) -> str:
    return f"person{number}@example.com"


# ── What it costs ────────────────────────────────────────────────────────────────────────────────


async def history(rounds: int, rows: int) -> list[Row]:
    """Accepts, drains and the log's lists over so many rows, against an empty database beside it."""
    count = 8_000 if rows >= 1_000_000 else 2_000
    async with AsyncExitStack() as stack:
        full = await stack.enter_async_context(rig(workers=0, vendor=UNPACED))
        empty = await stack.enter_async_context(rig(workers=0, vendor=UNPACED))
        made = await make(full.database_url, await keys_of(full), full.project_id, rows)
        print(made, file=sys.stderr)
        listed = await lists(full, rows, max(rounds, 1))
        for system in (full, empty):
            await pile_and_drain(system, min(WARM_UP, rows // 10))
        ours, theirs = [], []
        for number in range(rounds + 1):
            mine = await pile_and_drain(full, count)
            other = await pile_and_drain(empty, count)
            if number:
                ours.append(mine)
                theirs.append(other)
    goal, over = Goal(0.9), f"over {made}"
    against = "an empty database"
    return [
        Row(
            f"accepted sends over {rows:,} rows of history", [d.accepts for d in ours], goal, against,
            [d.accepts for d in theirs], our_note=over,
        ),
        Row(
            "drained mails over the same history", [d.drains for d in ours], goal, against,
            [d.drains for d in theirs],
        ),
        *listed,
    ]  # fmt: skip


async def keys_of(r: Rig) -> Keys:
    """The keys of the rig's database, by which its log finds an address."""
    names = ("DATABASE_URL", "REDIS_URL", "JWT_SECRET", "ENCRYPTION_KEY")
    settings = Settings.model_validate({name.lower(): r.env[name] for name in names})
    engine = open_engine(settings, pool_size=1)
    try:
        return await load_keys(engine, settings)
    finally:
        await engine.dispose()


async def lists(r: Rig, rows: int, rounds: int) -> list[Row]:
    """p99 of each list, asked for one after another over one connection."""
    client = load.Client()
    await client.open("127.0.0.1", r.api_ports[0])
    deep = await _cursors(r, min(1000, max(1, int(rows * 0.38) // PAGE - 20)))
    people = max(1, rows // MAILS_A_PERSON)
    asked: dict[str, Callable[[int], str]] = {
        "first page": lambda n: "",
        "filtered by status": lambda n: f"?status={('bounced', 'failed', 'complained')[n % 3]}",
        "filtered by recipient": lambda n: f"?to={address_of(n * 7919 % people)}",
        "page 1,000 by its cursor": lambda n: f"?cursor={deep[n % len(deep)]}",
    }
    out = []
    for name, query in asked.items():
        medians, tails = [], []
        await _took(r, client, query, 50)
        for _ in range(rounds):
            took = await _took(r, client, query, 200)
            medians.append(1e3 * statistics.median(took))
            tails.append(1e3 * load.percentile(took, 0.99))
        note = f"median {statistics.median(medians):.1f} ms"
        goal = Goal(LIST_GOAL_MS, most=True, own=True)
        out.append(
            Row(
                f"`GET /logs` over the same history, {name}: p99",
                tails,
                goal,
                unit="ms",
                our_note=note,
            )
        )
    client.close()
    return out


async def _cursors(r: Rig, page: int) -> list[str]:
    """The cursors of twenty pages from this one on."""
    found = await r.sql(
        "select id from (select id, row_number() over (order by id desc) n from mail_logs"
        " where project_id = $1::uuid order by id desc limit $2) m where n % $3 = 0 order by n desc limit 20",
        r.project_id,
        PAGE * (page + 19),
        PAGE,
    )
    return [cursor_of(UUID(str(row["id"]))) for row in found]


async def _took(
    r: Rig, client: load.Client, query: Callable[[int], str], count: int
) -> list[float]:
    took = []
    for number in range(count):
        url = f"{r.url}/api/mail/logs{query(number)}"
        request = load.request_bytes(url, b"", {"x-api-key": r.key}, "GET")
        began = perf_counter()
        answer = await load.ask(client, request)
        took.append(perf_counter() - began)
        must_be_equal("an answer", load.status_of(answer), 200)
        await asyncio.sleep(0)
    return took
