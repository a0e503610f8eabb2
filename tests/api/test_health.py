"""Liveness, readiness and metrics."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from time import time
from typing import Any

import httpx
from pydantic import SecretStr
from sqlalchemy import text

from postroom import metrics
from postroom.app import create_app
from postroom.domain import measure
from postroom.ids import new_id
from postroom.resources import Redis, Resources, open_redis
from tests.api.test_envelope import assert_failure


async def test_a_living_process_says_so(client: httpx.AsyncClient) -> None:
    answer = await client.get("/health/live")
    assert answer.json() == {"success": True, "data": {}, "message": "Alive."}


async def put_in_outbox(resources: Resources, age: float, **columns: Any) -> None:
    values = {
        "id": new_id(),
        "turn": int((time() - age) * 1e6),
        "connection": 1,
        "stream": 0,
        "waits": None,
    } | columns
    async with resources.sessions() as session:
        await session.execute(
            text(
                "insert into outbox (id, project_id, connection_id, stream, turn, waits_until, pack_max,"
                " size, recipient_keys, content) values (:id, :id, :connection, :stream, :turn,"
                " case when :waits then now() + interval '1 h' end, 1, 1, '{}', '')"
            ),
            values | {"waits": bool(values["waits"])},
        )
        await session.commit()


async def test_readiness_tells_the_age_of_the_oldest_due_mail(
    client: httpx.AsyncClient, resources: Resources
) -> None:
    async with resources.sessions() as session:
        await session.execute(text("truncate outbox"))
        await session.commit()
    empty = (await client.get("/health/ready")).json()["data"]
    assert empty == {"postgres": "ok", "redis": "ok", "oldestDueSeconds": 0.0}
    await put_in_outbox(resources, 5)
    await put_in_outbox(resources, 60, connection=2, stream=1)
    await put_in_outbox(resources, 600, connection=3, waits=True)
    ready = (await client.get("/health/ready")).json()["data"]
    assert 59 < ready["oldestDueSeconds"] < 65
    page = (await client.get("/metrics")).text
    assert 'postroom_due_mails{stream="transactional"} 1.0' in page
    assert 'postroom_due_mails{stream="bulk"} 1.0' in page
    async with resources.sessions() as session:
        await session.execute(text("truncate outbox"))
        await session.commit()


@asynccontextmanager
async def app_over(resources: Resources) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(resources)
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://t") as client:
            yield client


def away(resources: Resources) -> Redis:
    settings = resources.settings.model_copy(
        update={"redis_url": SecretStr("redis://127.0.0.1:1/0")}
    )
    return open_redis(settings)


async def test_without_redis_the_process_is_ready_and_says_that_it_is_away(
    resources: Resources,
) -> None:
    redis = away(resources)
    async with app_over(replace(resources, redis=redis)) as client:
        answer = await client.get("/health/ready")
        page = await client.get("/metrics")
    await redis.aclose()
    assert answer.status_code == 200
    assert answer.json()["data"]["redis"] == "away"
    assert "postroom_accepted_mails_total" in page.text


async def test_without_postgres_the_process_is_not_ready(resources: Resources) -> None:
    async with app_over(resources) as client:
        client._transport.app.state.resources = replace(  # type: ignore[attr-defined]  # the app itself
            resources, sessions=_no_sessions
        )
        answer = await client.get("/health/ready")
        page = await client.get("/metrics")
    assert page.status_code == 200
    assert "postroom_oldest_due_seconds NaN" in page.text
    assert_failure(answer, 503, "overloaded")
    assert answer.headers["retry-after"]


def _no_sessions() -> Any:
    raise ConnectionRefusedError("nobody listens")


async def test_counters_are_those_of_all_processes_and_name_no_project(
    client: httpx.AsyncClient, resources: Resources
) -> None:
    await resources.redis.delete(measure.KEY)
    # Another process has counted too.
    name = '["postroom_accepted_mails_total",[]]'
    await resources.redis.hincrbyfloat(measure.KEY, name, 41)
    metrics.ACCEPTED.inc()
    page = (await client.get("/metrics")).text
    assert "# TYPE postroom_accepted_mails_total counter" in page
    value = float(page.split("\npostroom_accepted_mails_total ")[1].split("\n")[0])
    assert value >= 41
    assert "project" not in page.replace("_project", "")


async def test_metrics_may_ask_for_their_token(resources: Resources) -> None:
    settings = resources.settings.model_copy(update={"metrics_token": SecretStr("let me see")})
    async with app_over(replace(resources, settings=settings)) as client:
        assert_failure(await client.get("/metrics"), 401, "token_invalid")
        wrong = await client.get("/metrics", headers={"authorization": "Bearer nö".encode()})
        assert_failure(wrong, 401, "token_invalid")
        right = await client.get("/metrics", headers={"authorization": "Bearer let me see"})
        assert right.status_code == 200
