"""A Postroom in a process of its own, for clients that mean no good."""

import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from bench.rig import Process, free_port, until_live

from postroom.settings import Settings


@dataclass(frozen=True, slots=True)
class Server:
    """An API process over this test run's database."""

    port: int
    pid: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def environment(settings: Settings) -> dict[str, str]:
    """The settings of the tests, as a process is told them; requests may say where they come from."""
    return {
        **os.environ,
        "DATABASE_URL": settings.database_url.get_secret_value(),
        "REDIS_URL": settings.redis_url.get_secret_value(),
        "JWT_SECRET": settings.jwt_secret.get_secret_value(),
        "ENCRYPTION_KEY": "11" * 32,
        "EMAIL_FROM": "Postroom <dev@postroom.test>",
        "MAIL_PROVIDER": "sandbox",
        "ALLOW_PRIVATE_ADDRESSES": "true",
        "REGISTRATION": "open",
        "FREE_RATE_PER_MINUTE": "-1",
        "PRO_RATE_PER_MINUTE": "-1",
        "FREE_MAX_PROJECTS": "-1",
        "TRUSTED_PROXIES": "127.0.0.1",
        "POSTROOM_LOG_LEVEL": "warning",
    }


@pytest.fixture(scope="module")
async def server(
    settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Server]:
    port = free_port()
    log: Path = tmp_path_factory.mktemp("hostile") / "api.log"
    argv = [sys.executable, "-m", "postroom.cli", "api", "--port", str(port)]
    process = Process("api", argv, environment(settings), log)
    await process.start()
    try:
        await until_live(port)
        yield Server(port, process.pid)
    finally:
        await process.stop()
    # What a client does must not become an error in the operator's log.
    assert "unexpected error" not in log.read_text()
