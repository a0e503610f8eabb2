"""What a process holds open: the database, Redis, an HTTP client and the keys; one opener for every process."""

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import asyncpg
import orjson
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from sqlalchemy import text
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)

from postroom.crypto import Keyring
from postroom.outgoing import Dialer, Http, origin_of
from postroom.settings import Settings

Session = AsyncSession
Sessions = async_sessionmaker[AsyncSession]
Redis = redis.asyncio.Redis
Pipeline = redis.asyncio.client.Pipeline
# The database without SQLAlchemy, for the few statements that every mail goes through.
Pg: TypeAlias = asyncpg.Pool
PgConnection = asyncpg.Connection | asyncpg.pool.PoolConnectionProxy
PgError = asyncpg.PostgresError
PgMisuse = asyncpg.InterfaceError

__all__ = [
    "Http",
    "Keys",
    "Pg",
    "PgConnection",
    "PgError",
    "PgMisuse",
    "Pipeline",
    "Redis",
    "RedisError",
    "Resources",
    "Session",
    "Sessions",
    "open_resources",
]

# A statement that waits longer than these has met a fault, not a load; see docs/operations.md.
_SESSION_SETTINGS = {
    "application_name": "postroom",
    "lock_timeout": "2s",
    "statement_timeout": "30s",
    "idle_in_transaction_session_timeout": "10s",
    "jit": "off",
    "timezone": "UTC",
}


@dataclass(frozen=True, slots=True)
class Keys:
    """The keyring that seals, and the key under which addresses are looked up (never rotated)."""

    ring: Keyring
    index: bytes


@dataclass(frozen=True, slots=True)
class Resources:
    """The outside worlds of one process."""

    settings: Settings
    engine: AsyncEngine
    sessions: Sessions
    pg: Pg
    redis: Redis
    http: Http
    keys: Keys


def _dumps(value: Any) -> str:
    return orjson.dumps(value).decode()


def open_engine(settings: Settings, *, pool_size: int = 10) -> AsyncEngine:
    """A pool of connections; connections are made when first used."""
    return create_async_engine(
        settings.sqlalchemy_url,
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_timeout=10,
        pool_recycle=1800,
        hide_parameters=True,  # they hold addresses, and errors are logged
        json_serializer=_dumps,
        json_deserializer=orjson.loads,
        connect_args={"timeout": 5, "server_settings": _SESSION_SETTINGS},
    )


async def _as_it_is(connection: asyncpg.Connection) -> None:
    """Nobody changes the state of a session here, so nothing is reset: it would cost a round trip."""


def open_pg(settings: Settings) -> Pg:
    """A small pool of plain connections; connections are made when first used."""
    return asyncpg.create_pool(
        settings.pg_url,
        min_size=0,
        max_size=4,
        reset=_as_it_is,
        timeout=5,
        server_settings=_SESSION_SETTINGS,
    )


def open_redis(settings: Settings) -> Redis:
    """A client that fails fast: every caller knows what to do without Redis."""
    return redis.asyncio.from_url(  # type: ignore[no-any-return, no-untyped-call]  # redis-py 5 leaves it untyped
        settings.redis_url.get_secret_value(),
        socket_connect_timeout=2,
        socket_timeout=5,
        health_check_interval=15,
        retry=Retry(NoBackoff(), 1),
        retry_on_error=[redis.exceptions.ConnectionError],
    )


def open_http(settings: Settings) -> Http:
    """The client for every vendor. What the operator named may be anywhere, what a user typed may not."""
    named = (settings.resend_base_url, settings.paubox_base_url)
    trusted = frozenset(origin for url in named if (origin := origin_of(url)) is not None)
    return Http(Dialer(allow_private=settings.allow_private_addresses, trusted=trusted))


async def load_keys(engine: AsyncEngine, settings: Settings) -> Keys:
    """Open the installation's index key, making it at the very first start.

    It lives sealed in the database, apart from ENCRYPTION_KEY, because addresses must still be found
    after that key was rotated.
    """
    ring = Keyring(settings.encryption_keys)
    fresh = ring.seal(os.urandom(32), b"index")
    async with engine.begin() as connection:
        await connection.execute(
            text(
                "insert into server_secrets (name, sealed) values ('index', :v) on conflict do nothing"
            ),
            {"v": fresh},
        )
        found = await connection.scalar(
            text("select sealed from server_secrets where name = 'index'")
        )
    return Keys(ring, ring.unseal(bytes(found), b"index"))


@asynccontextmanager
async def open_resources(settings: Settings, *, pool_size: int = 10) -> AsyncIterator[Resources]:
    """Open everything, hand it out, close it again in reverse order."""
    async with AsyncExitStack() as stack:
        engine = open_engine(settings, pool_size=pool_size)
        stack.push_async_callback(engine.dispose)
        pg = await stack.enter_async_context(open_pg(settings))
        client = open_redis(settings)
        stack.push_async_callback(client.aclose)
        http = await stack.enter_async_context(open_http(settings))
        keys = await load_keys(engine, settings)
        sessions = async_sessionmaker(engine, expire_on_commit=False)
        yield Resources(settings, engine, sessions, pg, client, http, keys)
