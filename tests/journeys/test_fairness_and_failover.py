"""Who shares an account shares it fairly; who may take over does, and nobody else."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import httpx
import pytest

from postroom.app import create_app
from postroom.domain import connections, pace
from postroom.worker import PostOffice
from tests.factories import make_connection, make_project, set_columns
from tests.journeys.conftest import World

pytestmark = pytest.mark.journey


@pytest.fixture
async def shared(resources, double, world) -> AsyncIterator[World]:
    """A server whose shared account is Resend, with two keys."""
    settings = world.resources.settings.model_copy(
        update={
            "mail_provider": "resend",
            "resend_api_key": type(resources.settings.jwt_secret)("re_shared_one"),
            "resend_api_key_2": type(resources.settings.jwt_secret)("re_shared_two"),
        }
    )
    here = replace(world.resources, settings=settings)
    app = create_app(here)
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://postroom.test"
        ) as client:
            yield World(here, client, double)
    async with resources.sessions() as session:
        await connections.ensure_shared(session, resources.settings, resources.keys)


async def accounts(world: World) -> dict[int, int]:
    """The shared Resend accounts: slot to connection."""
    rows = await world.sql(
        "select slot, id from connections where project_id is null and provider = 'resend'"
        " and removed_at is null"
    )
    for row in rows:
        await world.resources.redis.zadd(f"pace:{row.id}", {str(i): 1 for i in range(10)})
        await pace.resume(world.resources.redis, row.id)
    return {row.slot: row.id for row in rows}


async def test_a_small_sender_is_not_behind_anothers_thousand(shared) -> None:
    big = await make_project(shared.resources)
    small = await make_project(shared.resources)
    slots = await accounts(shared)
    await asyncio.gather(*(shared.sent(big, to=f"u{i}@example.com") for i in range(600)))
    mail_id = await shared.sent(small)
    rows = await shared.sql(
        "select id, rank() over (order by turn) place from outbox where connection_id = :c",
        c=slots[2],
    )
    place = next(row.place for row in rows if str(row.id) == mail_id)
    # A tenth of the lane's speed is a hundred mails a second: the rest of the thousand stands behind.
    assert place < 400
    assert len(rows) == 601


async def test_two_projects_of_a_shared_account_ride_in_one_call(shared) -> None:
    first, second = await make_project(shared.resources), await make_project(shared.resources)
    await accounts(shared)
    for project in (first, second, first):
        await shared.sent(project)
    office = PostOffice(shared.resources)
    await office.open()

    async def taken() -> bool:
        return shared.double.report()["distinct_refs"] == 3

    await shared.until(taken)
    await office.close()
    assert shared.double.report()["calls"] == 1


async def test_the_first_key_takes_over_when_the_preferred_one_is_refused(shared) -> None:
    project = await make_project(shared.resources)
    slots = await accounts(shared)
    await shared.sql("update connections set stopped_at = now() where id = :c", c=slots[2])
    mail_id = await shared.sent(project)
    office = PostOffice(shared.resources)
    await office.open()
    await pace.pause(shared.resources.redis, slots[2], 60)
    await shared.until_status(project, mail_id, "sent")
    await office.close()
    rows = await shared.sql("select connection_id from mail_logs where id = :i", i=mail_id)
    assert rows[0].connection_id == slots[1]


async def test_a_projects_failover_takes_over_with_its_own_sender(world, office) -> None:
    project = await world.project()
    backup = await make_connection(
        world.resources, project.id, "sandbox", fromEmail="Backup <backup@example.com>"
    )
    await set_columns(world.resources, project.id, failover_connection_id=backup)
    world.double.faults.set(throttle=50, retry_after=30)
    mail_id = await world.sent(project)
    mail = await world.until_status(project, mail_id, "delivered")
    assert mail["provider"] == "sandbox"
    assert mail["from"] == "Backup <backup@example.com>"
    assert world.double.report()["mails_accepted"] == 0


async def test_health_data_never_fails_over_to_an_account_that_may_not_carry_it(
    world, office
) -> None:
    project = await world.project("sandbox")
    await world.sql(
        "update connections set phi_allowed = true where id = :c", c=project.connection_id
    )
    weak = await make_connection(world.resources, project.id, "resend")
    await set_columns(world.resources, project.id, phi=True, failover_connection_id=weak)
    world.client._transport.app.state.callers.forget_all()
    office.book.forget(None)
    await pace.pause(world.resources.redis, project.connection_id, 2)
    mail_id = await world.sent(project)
    await asyncio.sleep(1.5)
    assert (await world.mail(project, mail_id))["status"] == "queued"
    await world.until_status(project, mail_id, "delivered")
    assert world.double.report()["calls"] == 0


async def test_a_health_data_project_without_an_account_that_may_carry_it_is_refused(world) -> None:
    project = await world.project("resend", phi=True)
    world.client._transport.app.state.callers.forget_all()
    answer = await world.send(project)
    assert (answer.status_code, answer.json()["code"]) == (403, "phi_not_allowed")


async def test_health_data_leaves_no_trace_in_clear_columns(world, office) -> None:
    project = await world.project("sandbox")
    await world.sql(
        "update connections set phi_allowed = true where id = :c", c=project.connection_id
    )
    await set_columns(world.resources, project.id, phi=True)
    world.client._transport.app.state.callers.forget_all()
    mail_id = await world.sent(project, to="canary@example.com", subject="Canary", text="canary")
    mail = await world.until_status(project, mail_id, "delivered")
    assert mail["to"] == ["canary@example.com"]
    assert mail["subject"] == "Canary"
    for table in ("mail_logs", "outbox", "provider_events", "mail_contents"):
        rows = await world.sql(f"select t::text line from {table} t")
        # Other projects of this suite have their own canaries, and may say them in clear.
        assert not [row.line for row in rows if mail_id in row.line and "anary" in row.line]
