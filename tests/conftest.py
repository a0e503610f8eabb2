"""Real PostgreSQL and Valkey for every test; a database and a Redis number for each xdist worker."""

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from alembic import command
from alembic.config import Config

from postroom import embedded
from postroom.resources import Resources, open_resources
from postroom.settings import Settings
from tests import vendors_mock  # noqa: F401 - every use of respx goes through it

ROOT = Path(__file__).parent.parent


def _with_path(url: str, path: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{path}"))


@pytest.fixture(scope="session")
def servers() -> Iterator[tuple[str, str]]:
    """The addresses of a PostgreSQL and a Redis: those of the environment, else our own for this run."""
    given = os.environ.get("TEST_DATABASE_URL"), os.environ.get("TEST_REDIS_URL")
    if given[0] and given[1]:
        yield given[0], given[1]
        return
    with tempfile.TemporaryDirectory(prefix="postroom-test-") as folder:
        Path(folder).chmod(0o755)
        with embedded.servers(Path(folder), fast=True) as urls:
            yield urls.database_url, urls.redis_url


@pytest.fixture(scope="session")
def worker_number(request: pytest.FixtureRequest) -> int:
    """0 without xdist, else the number of this xdist worker."""
    name = getattr(request.config, "workerinput", {}).get("workerid", "gw0")
    return int(name.removeprefix("gw"))


@pytest.fixture(scope="session")
def database_url(servers: tuple[str, str], worker_number: int) -> str:
    """A fresh database made by the migrations themselves."""
    name = f"postroom_test_{worker_number}"
    url = _with_path(servers[0], name)

    async def create() -> None:
        admin = await asyncpg.connect(servers[0])
        await admin.execute(f"drop database if exists {name} with (force)")
        await admin.execute(f"create database {name}")
        await admin.close()

    asyncio.run(create())
    config = Config(ROOT / "alembic.ini")
    config.set_main_option("sqlalchemy.url", url)
    command.upgrade(config, "head")
    return url


@pytest.fixture(scope="session")
def settings(database_url: str, servers: tuple[str, str], worker_number: int) -> Settings:
    """The settings of a development server, with the rate limits out of the way of a test suite."""
    return Settings(
        database_url=database_url,
        redis_url=_with_path(servers[1], str(worker_number)),
        jwt_secret="a-secret-of-the-test-suite-and-nothing-else",
        encryption_key="11" * 32,
        mail_provider="sandbox",
        email_from="Postroom <dev@postroom.test>",
        allow_private_addresses=True,
        registration="open",
        free_rate_per_minute=-1,
        pro_rate_per_minute=-1,
        free_max_projects=-1,
        log_format="readable",
    )


@pytest.fixture(scope="session")
async def resources(settings: Settings) -> AsyncIterator[Resources]:
    async with open_resources(settings) as opened:
        await opened.redis.flushdb()
        yield opened
