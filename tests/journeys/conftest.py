"""One mail through API, worker and webhook: the real app, and the real worker's loops beside it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest

from postroom.app import create_app
from postroom.resources import Resources
from postroom.worker import PostOffice

Wait = Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]


@pytest.fixture(scope="session")
async def app(resources: Resources) -> AsyncIterator[Any]:
    app = create_app(resources)
    async with app.router.lifespan_context(app):
        yield app


@pytest.fixture(scope="session")
async def client(app: Any) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://postroom.test") as client:
        yield client


@pytest.fixture
async def office(resources: Resources) -> AsyncIterator[PostOffice]:
    """A worker's loops, open for one test."""
    office = PostOffice(resources)
    await office.open()
    yield office
    await office.close()


@pytest.fixture
def until() -> Wait:
    """Wait for something to become true, for five seconds at most."""

    async def wait(look: Callable[[], Awaitable[Any]], seconds: float = 5.0) -> Any:
        async with asyncio.timeout(seconds):
            while not (found := await look()):
                await asyncio.sleep(0.02)
        return found

    return wait
