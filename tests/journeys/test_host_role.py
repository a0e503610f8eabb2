"""A mail leaves by the server's own AWS role, and none does once the operator took the role back."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text

from postroom.providers import ses as ses_module
from postroom.providers.host_role import HostRole
from postroom.resources import Resources
from postroom.worker import PostOffice
from tests.doubles.aws_host import AwsHost, secret_of
from tests.doubles.ses import SesDouble
from tests.journeys.conftest import World
from tests.journeys.test_vendors import at

pytestmark = pytest.mark.journey


def lending(world: World, *projects: Any) -> Resources:
    """The world's resources under an operator who lends the role to these projects."""
    named = tuple(str(project.id) for project in projects)
    settings = world.resources.settings.model_copy(update={"ses_host_role": named})
    return replace(world.resources, settings=settings)


@asynccontextmanager
async def working(resources: Resources) -> AsyncIterator[None]:
    office = PostOffice(resources)
    await office.open()
    try:
        yield
    finally:
        await office.close()


async def _stopped(world: World, connection_id: int) -> Any:
    async with world.resources.sessions() as session:
        asked = text(
            "select stopped_reason r from connections where id = :c and stopped_at is not null"
        )
        return (await session.execute(asked, {"c": connection_id})).one_or_none()


async def test_the_role_carries_mails_as_long_as_it_is_lent(world, monkeypatch):
    monkeypatch.setattr(ses_module, "HOST_ROLE", HostRole())
    async with AwsHost() as host, SesDouble({"ASIATEST1": secret_of("ASIATEST1")}) as double:
        for name, value in host.as_container.items():
            monkeypatch.setenv(name, value)
        fields = {"region": "us-east-1", "credentials": "role", "endpointUrl": double.url}
        project = await at(world, "ses", **fields)
        async with working(lending(world, project)):
            mail_id = await world.sent(project)
            await world.until_status(project, mail_id, "sent")
        async with working(lending(world)):
            waiting = await world.sent(project)
            row = await world.until(lambda: _stopped(world, project.connection_id or 0))
    assert "not lent" in row.r
    assert (await world.mail(project, waiting))["status"] == "queued"
    assert len(double.mails) == 1
