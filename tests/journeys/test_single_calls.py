"""Many mails, a call each, to an account that is not counted: all is known of them, and Redis asked little."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from postroom.domain import account_health
from postroom.worker import PostOffice
from tests.doubles.ses import SesDouble
from tests.factories import MadeProject, make_connection, make_project
from tests.journeys.conftest import World

pytestmark = pytest.mark.journey

MAILS = 60


@pytest.fixture
async def ses() -> AsyncIterator[SesDouble]:
    async with SesDouble() as running:
        yield running


@pytest.fixture
async def project(world: World, ses: SesDouble) -> MadeProject:
    """A project with an account whose vendor named a rate that needs no counting."""
    made = await make_project(world.resources)
    connection = await make_connection(
        world.resources,
        made.id,
        "ses",
        fromEmail="Clinic <hello@clinic.test>",
        region="us-east-1",
        accessKeyId="AKIATEST",
        secretAccessKey="secret-key",
        endpointUrl=ses.url,
    )
    await world.resources.redis.hset(f"paused:{connection}", "limit", 5000)
    return replace(made, connection_id=connection)


async def _scripts_run(world: World) -> int:
    stats: dict[str, Any] = await world.resources.redis.info("commandstats")
    return int(stats.get("cmdstat_evalsha", {}).get("calls", 0))


async def _all_sent(world: World, project: MadeProject) -> bool:
    left = await world.sql("select count(*) n from outbox where project_id = :p", p=project.id)
    return left[0].n == 0


async def _handed(world: World, project: MadeProject) -> int:
    (found,) = await account_health.examine(world.resources, project.id)
    return found.handed


async def test_every_mail_is_counted_though_redis_is_told_only_now_and_then(world, ses, project):
    for number in range(MAILS):
        await world.sent(project, to=f"p{number}@example.com")
    before = await _scripts_run(world)
    office = PostOffice(world.resources)
    await office.open()
    try:
        await world.until(lambda: _all_sent(world, project), 20)
    finally:
        await office.close()
    assert await _scripts_run(world) - before < MAILS / 2
    assert await _handed(world, project) == MAILS
    assert ses.ledger.report()["distinct_refs"] == MAILS
    assert ses.ledger.report()["duplicates"] == 0


async def test_a_strike_is_forgotten_as_soon_as_the_account_answers_again(
    world, ses, project, office
):
    redis, state = world.resources.redis, f"paused:{project.connection_id}"
    await world.sent(project)
    await world.until(lambda: _all_sent(world, project))
    ses.faults.set(throttle=1)
    mail_id = await world.sent(project)

    async def strikes() -> int:
        return int(await redis.hget(state, "strikes") or 0)

    await world.until(strikes)
    await world.until_status(project, mail_id, "sent")
    assert await strikes() == 0
