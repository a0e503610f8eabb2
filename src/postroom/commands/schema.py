"""Where the database's schema stands, and how it is brought to the newest one."""

import asyncio
import os
from pathlib import Path
from time import monotonic
from urllib.parse import urlsplit

import asyncpg

import postroom
from postroom.embedded.command import CommandFailed

_VERSION = "select version_num from alembic_version"
_STARTS_WITHIN = 30.0  # seconds for which a server that says that it is starting is waited for


def plain_url(url: str) -> str:
    """The address without the name of a driver in it, as asyncpg takes it."""
    return "postgresql" + url[url.index("://") :]


def where(url: str) -> str:
    """Host and database, fit to be shown."""
    parts = urlsplit(url)
    return f"{parts.hostname or 'localhost'}:{parts.port or 5432}{parts.path}"


def folder() -> Path:
    """The folder with alembic.ini: beside the sources, or inside the installed package."""
    package = Path(postroom.__file__).parent
    return package if (package / "alembic.ini").exists() else package.parents[1]


def head() -> str:
    """The newest revision: migrations are numbered files."""
    versions = (folder() / "migrations" / "versions").glob("[0-9]*_*.py")
    return max(path.name.partition("_")[0] for path in versions)


async def connect(url: str) -> "asyncpg.Connection[asyncpg.Record]":
    """A connection, or CommandFailed with a sentence that holds no password."""
    give_up = monotonic() + _STARTS_WITHIN
    try:
        while True:
            try:
                return await asyncpg.connect(plain_url(url), timeout=10)
            except asyncpg.CannotConnectNowError:
                if monotonic() > give_up:
                    raise
                await asyncio.sleep(0.2)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise CommandFailed(
            f"The database at {where(url)} cannot be reached: {_first_line(error)}."
            " Check DATABASE_URL."
        ) from error


def _first_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    lines = str(error).splitlines() or [type(error).__name__]
    return lines[0].rstrip(".")


async def current(url: str) -> str | None:
    """The database's revision, None when it was never migrated."""
    connection = await connect(url)
    try:
        return str(await connection.fetchval(_VERSION))
    except asyncpg.UndefinedTableError:
        return None
    finally:
        await connection.close()


async def require_head(url: str) -> None:
    """Raise CommandFailed unless the database is at the newest revision."""
    found = await current(url)
    if found != head():
        stands = f"is at {found}" if found else "was never migrated"
        raise CommandFailed(
            f"The database at {where(url)} {stands}, and this version needs {head()}."
            " Run `postroom migrate`."
        )


def migrate_unless_at_head(url: str) -> str:
    """Bring the database to the newest revision; alembic is only loaded when there is work."""
    if asyncio.run(current(url)) != head():
        from alembic import command  # noqa: PLC0415 - a third of a second that most starts can spare
        from alembic.config import Config  # noqa: PLC0415

        config = Config(folder() / "alembic.ini")
        config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
        command.upgrade(config, "head")
    return head()
