"""One mail through API, worker and webhook: the real app, and the real worker's loops beside it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from postroom.app import create_app
from postroom.resources import Resources
from postroom.worker import PostOffice
from tests.doubles.resend import ResendDouble
from tests.factories import MadeProject, make_connection, make_project

SECRET = "whsec_" + "c2VjcmV0LW9mLXRoZS10ZXN0LXN1aXRlLTMyLWJ5dGVz"


@dataclass
class World:
    """A running Postroom whose Resend is a server on loopback."""

    resources: Resources
    client: httpx.AsyncClient
    double: ResendDouble

    async def project(self, provider: str = "resend", **columns: Any) -> MadeProject:
        project = await make_project(self.resources, **columns)
        fields = {"fromEmail": "App <app@example.com>"}
        if provider == "resend":
            fields["webhookSecret"] = SECRET
        connection = await make_connection(self.resources, project.id, provider, **fields)
        # A fresh account would be silent for a second, because nothing is known of its calls.
        await self.resources.redis.zadd(f"pace:{connection}", {str(slot): 1 for slot in range(10)})
        return replace(project, connection_id=connection)

    async def send(self, project: MadeProject, **fields: Any) -> httpx.Response:
        headers = project.key | fields.pop("headers_", {})
        body = {"to": "ann@example.com", "subject": "Hello", "text": "Hi"} | fields
        return await self.client.post("/api/mail/send", json=body, headers=headers)

    async def sent(self, project: MadeProject, **fields: Any) -> str:
        """The id of a mail that was accepted."""
        answer = await self.send(project, **fields)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["data"]["id"])

    async def mail(self, project: MadeProject, mail_id: str) -> dict[str, Any]:
        """The mail as the log lists it."""
        rows = await self.mails(project)
        return next(row for row in rows if row["id"] == mail_id)

    async def mails(self, project: MadeProject, **query: Any) -> list[dict[str, Any]]:
        answer = await self.client.get("/api/mail/logs", params=query, headers=project.key)
        assert answer.status_code == 200, answer.text
        return list(answer.json()["data"])

    async def sql(self, statement: str, **values: Any) -> list[Any]:
        async with self.resources.sessions() as session:
            result = await session.execute(text(statement), values)
            rows = list(result.all()) if result.returns_rows else []
            await session.commit()
            return rows

    async def used(self, project: MadeProject) -> int:
        rows = await self.sql(
            "select coalesce(sum(used), 0)::int n from quota_months where project_id = :p",
            p=project.id,
        )
        return int(rows[0].n)

    async def until(self, look: Callable[[], Awaitable[Any]], seconds: float = 8.0) -> Any:
        """Wait for something to become true."""
        async with asyncio.timeout(seconds):
            while not (found := await look()):
                await asyncio.sleep(0.02)
        return found

    async def until_status(self, project: MadeProject, mail_id: str, status: str) -> dict[str, Any]:
        async def look() -> dict[str, Any] | None:
            mail = await self.mail(project, mail_id)
            return mail if mail["status"] == status else None

        return dict(await self.until(look))


@pytest.fixture
async def double() -> AsyncIterator[ResendDouble]:
    async with ResendDouble(ratelimit_headers=False) as double:
        yield double


@pytest.fixture
async def world(resources: Resources, double: ResendDouble) -> AsyncIterator[World]:
    settings = resources.settings.model_copy(update={"resend_base_url": double.url})
    here = replace(resources, settings=settings)
    async with resources.sessions() as session:
        # What an earlier test left undone is not this test's work.
        await session.execute(text("delete from outbox"))
        await session.execute(text("delete from attempts"))
        await session.execute(text("update broadcasts set due_at = null"))
        await session.execute(text("delete from contact_imports"))
        await session.commit()
    app = create_app(here)
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://postroom.test"
        ) as client:
            yield World(here, client, double)


@pytest.fixture
async def office(world: World) -> AsyncIterator[PostOffice]:
    """A worker's loops, open for one test."""
    office = PostOffice(world.resources)
    await office.open()
    yield office
    await office.close()
