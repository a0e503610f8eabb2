"""The app over the session's resources, and a client that talks to it in-process."""

from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI

from postroom.app import create_app
from postroom.resources import Resources


@pytest.fixture(scope="session")
async def app(resources: Resources) -> AsyncIterator[FastAPI]:
    application = create_app(resources)
    async with application.router.lifespan_context(application):
        yield application


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://postroom.test") as client:
        yield client
