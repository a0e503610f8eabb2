"""`postroom doctor`: check the set-up and say what to mend."""

import argparse
import asyncio
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

from postroom.commands import schema
from postroom.domain.examine import Finding, examine_connections
from postroom.embedded.command import CommandFailed
from postroom.errors import SettingsMissing, Unsealable
from postroom.resources import RedisError, open_redis, open_resources
from postroom.settings import Settings, load_settings

POSTGRES_AT_LEAST = 150_000
REDIS_AT_LEAST = (6, 2)


def configure(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Check environment, database, Redis, provider accounts and webhooks, and say what to mend."
        " Exit code 1 when there is something to mend."
    )


def run(args: argparse.Namespace) -> int:
    return asyncio.run(_tell())


async def _tell() -> int:
    to_mend = 0
    async for finding in _findings():
        print(f"{'mend' if finding.cure else 'ok':5} {finding.subject}: {finding.state}")
        if finding.cure:
            to_mend += 1
            print(f"      {finding.cure}")
    print("Nothing to mend." if not to_mend else f"{to_mend} to mend.")
    return 1 if to_mend else 0


async def _findings() -> AsyncIterator[Finding]:
    try:
        settings = load_settings()
    except SettingsMissing as missing:
        yield Finding("environment", str(missing), "Set it, and try again.")
        return
    for finding in environment(settings):
        yield finding
    database = await _database(settings)
    yield database
    yield await _redis(settings)
    if database.cure:
        return
    try:
        async with open_resources(settings, pool_size=2) as resources:
            for finding in await examine_connections(resources):
                yield finding
    except Unsealable:
        yield Finding(
            "encryption key",
            "the database was sealed under another one",
            "Put the old key into ENCRYPTION_KEY, behind the new one.",
        )


def environment(settings: Settings) -> list[Finding]:
    """What the environment says, and what it leaves open."""
    found = [Finding("environment", "is complete"), _shared_account(settings)]
    host = urlsplit(settings.public_url).hostname or ""
    if host in {"localhost", "127.0.0.1", "::1"} and not settings.allow_private_addresses:
        found.append(
            Finding(
                "PUBLIC_URL",
                f"is {settings.public_url}, which no vendor can reach",
                "Set it to the address under which the internet knows this server.",
            )
        )
    return found


def _shared_account(settings: Settings) -> Finding:
    subject = "shared provider account"
    provider = settings.shared_provider
    if provider is None:
        return Finding(subject, "none; every project needs its own connection")
    keys = {
        "resend": settings.resend_api_key or settings.resend_api_key_2,
        "paubox": settings.paubox_api_key,
    }
    if provider in keys and keys[provider] is None:
        name = f"{provider.upper()}_API_KEY"
        return Finding(
            subject, f"MAIL_PROVIDER is {provider}, but {name} is not set", f"Set {name}."
        )
    if settings.email_from is None:
        return Finding(
            subject, f"{provider}, without a sender", "Set EMAIL_FROM, such as App <me@domain.com>."
        )
    return Finding(subject, f"{provider}, sends as {settings.email_from}")


async def _database(settings: Settings) -> Finding:
    url = settings.database_url.get_secret_value()
    subject = f"database at {schema.where(url)}"
    try:
        connection = await schema.connect(url)
        try:
            version = int(await connection.fetchval("show server_version_num"))
        finally:
            await connection.close()
        await schema.require_head(url)
    except CommandFailed as failed:
        return Finding(subject, "is not usable", str(failed))
    if version < POSTGRES_AT_LEAST:
        return Finding(subject, f"is PostgreSQL {version // 10_000}", "Use PostgreSQL 15 or newer.")
    return Finding(subject, f"PostgreSQL {version // 10_000}, at revision {schema.head()}")


async def _redis(settings: Settings) -> Finding:
    parts = urlsplit(settings.redis_url.get_secret_value())
    subject = f"Redis at {parts.hostname or 'localhost'}:{parts.port or 6379}"
    redis = open_redis(settings)
    try:
        info = await redis.info()
    except RedisError as error:
        return Finding(subject, f"cannot be reached ({type(error).__name__})", "Check REDIS_URL.")
    finally:
        await redis.aclose()
    version, policy = str(info["redis_version"]), info.get("maxmemory_policy", "unknown")
    if tuple(int(part) for part in version.split(".")[:2]) < REDIS_AT_LEAST:
        return Finding(subject, f"is version {version}", "Use Redis 6.2 or newer, or Valkey.")
    if policy != "noeviction":
        return Finding(
            subject,
            f"may evict keys (maxmemory-policy {policy})",
            "Set maxmemory-policy to noeviction: bells and rates must not vanish.",
        )
    return Finding(subject, f"version {version}, noeviction")
