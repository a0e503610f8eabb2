"""The benchmarks run: every side answers, what is piled is drained, history is found by the log."""

from collections.abc import AsyncIterator

import asyncpg
import pytest
import redis.asyncio
from bench import drains, footprint, history, stage
from bench.accepts import send_side
from bench.rig import Rig, rig

pytestmark = [pytest.mark.bench, pytest.mark.xdist_group("bench")]


@pytest.fixture(scope="module")
async def here() -> AsyncIterator[Rig]:
    async with rig(workers=0, fast=True, vendor=stage.UNPACED) as r:
        yield r


async def test_our_sides_and_the_no_op_route_answer_and_their_time_is_counted(here: Rig) -> None:
    for side in (send_side(here), await stage.noop_server(here), await stage.ungrouped_api(here)):
        await side.round(here.key, 200)
        assert side.rates[0] > 0
        assert side.costs[0] > 0
    (mails,) = await here.sql("select count(*) n, count(distinct paid_month) months from mail_logs")
    assert mails["n"] == 400


async def test_a_round_with_another_answer_than_200_ends_the_run(here: Rig) -> None:
    side = stage.Side(f"{here.url}/api/mail/nowhere", [here.apis[0].pid])
    with pytest.raises(SystemExit, match="404"):
        await side.round(here.key, 10)


async def test_what_is_piled_is_drained_by_fresh_workers(here: Rig) -> None:
    await here.sql("truncate mail_logs, outbox")
    done = await drains.pile_and_drain(here, 300)
    assert done.accepts > 0
    assert done.drains > 0
    assert (await here.report())["distinct_refs"] == 300


async def test_history_is_as_real_and_the_log_finds_it(here: Rig) -> None:
    rows = 3000
    before = await _indexes(here)
    made = await history.make(here.database_url, await history.keys_of(here), here.project_id, rows)
    assert made.rows == rows
    assert await _indexes(here) == before
    (found,) = await here.sql(
        "select count(distinct project_id) projects, count(distinct status) statuses,"
        " bool_and(created_at < now()) past, count(*) filter (where project_id = $1::uuid) own from mail_logs",
        here.project_id,
    )
    assert found["projects"] > 100
    assert found["statuses"] == len(history.SHARES) + 1
    assert found["past"]
    assert 0.3 * rows < found["own"] < 0.5 * rows
    (person,) = await here.sql(
        "select recipients[1] address from mail_logs where project_id = $1::uuid limit 1",
        here.project_id,
    )
    keys = await history.keys_of(here)
    (by_key,) = await here.sql(
        "select count(*) n, count(distinct recipients) people from mail_logs where recipient_key = $1",
        history.recipient_key(keys.index, person["address"]),
    )
    assert by_key["n"] > 1
    assert by_key["people"] == 1
    listed = await history.lists(here, rows, 1)
    assert len(listed) == 4


async def _indexes(r: Rig) -> set[str]:
    rows = await r.sql("select indexdef from pg_indexes where tablename = 'mail_logs'")
    return {row["indexdef"] for row in rows}


@pytest.mark.skipif(
    not (stage.PEERS / "node_modules").exists(), reason="the peers are installed by their first run"
)
async def test_the_peers_in_node_do_the_work_they_are_compared_by(here: Rig) -> None:
    express = await stage.express_server(here)
    await express.round(here.key, 100)
    env = here.env | stage.peer_env(here)
    connection = await asyncpg.connect(env["DATABASE_URL"])
    try:
        assert await connection.fetchval("select count(*) from peer_mails") == 100
    finally:
        await connection.close()
    client = redis.asyncio.from_url(env["REDIS_URL"])
    try:
        assert await client.llen("bull:mails:wait") == 100
    finally:
        await client.aclose()
    assert await drains.bullmq_rate(here, 500) > 0


def test_growth_is_the_slope_of_the_line_through_all_points() -> None:
    assert footprint.slope([(0, 100), (1, 103), (2, 106)]) == pytest.approx(3)
    assert footprint.slope([(1, 5)]) == 0
