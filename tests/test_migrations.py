"""The migrations make exactly the tables of the models, in numbered steps that can be taken back."""

import asyncio
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect
from sqlalchemy.ext.asyncio import create_async_engine

from postroom.models import Base

ROOT = Path(__file__).parent.parent
T = TypeVar("T")


def _config(url: str) -> Config:
    config = Config(ROOT / "alembic.ini")
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    return config


@pytest.fixture
def empty_database(servers: tuple[str, str], worker_number: int) -> Iterator[str]:
    """The address of a database in which nothing has been made."""
    name = f"postroom_migrations_{worker_number}_{os.getpid()}"

    async def on_server(*statements: str) -> None:
        admin = await asyncpg.connect(servers[0])
        for statement in statements:
            await admin.execute(statement)
        await admin.close()

    drop = f"drop database if exists {name} with (force)"
    asyncio.run(on_server(drop, f"create database {name}"))
    yield urlunsplit(urlsplit(servers[0])._replace(path=f"/{name}"))
    asyncio.run(on_server(drop))


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(_config(""))


def _differences(connection: Connection) -> list[object]:
    context = MigrationContext.configure(connection, opts={"compare_type": True})
    return list(compare_metadata(context, Base.metadata))


def _shape(connection: Connection) -> dict[str, list[str]]:
    """Every table with its columns and indexes, as far as a migration can get them wrong."""
    found = inspect(connection)
    return {
        table: sorted(
            [f"{c['name']} {c['type']} {c['nullable']}" for c in found.get_columns(table)]
            + [f"index {i['name']} {i['column_names']}" for i in found.get_indexes(table)]
        )
        for table in found.get_table_names()
    }


def _tables(connection: Connection) -> set[str]:
    return set(inspect(connection).get_table_names()) - {"alembic_version"}


def _ask(url: str, question: Callable[[Connection], T]) -> T:
    """The answer to a question about the database."""

    async def ask() -> T:
        engine = create_async_engine("postgresql+asyncpg" + url[url.index("://") :])
        async with engine.connect() as connection:
            answer = await connection.run_sync(question)
        await engine.dispose()
        return answer

    return asyncio.run(ask())


def test_from_nothing_the_migrations_make_what_the_models_say(empty_database: str) -> None:
    command.upgrade(_config(empty_database), "head")
    assert _ask(empty_database, _differences) == []
    assert _ask(empty_database, _tables) == set(Base.metadata.tables)


def test_every_migration_can_be_taken_back_and_made_again(empty_database: str) -> None:
    config = _config(empty_database)
    for script in reversed(list(_scripts().walk_revisions())):
        command.upgrade(config, script.revision)
        before = _ask(empty_database, _shape)
        command.downgrade(config, "-1")
        command.upgrade(config, script.revision)
        assert _ask(empty_database, _shape) == before, script.revision
    command.downgrade(config, "base")
    assert _ask(empty_database, _tables) == set()
    command.upgrade(config, "head")
    assert _ask(empty_database, _differences) == []


def test_there_is_one_newest_migration() -> None:
    assert len(_scripts().get_heads()) == 1


def test_files_are_numbered_in_the_order_in_which_they_run() -> None:
    scripts = list(_scripts().walk_revisions())[::-1]
    names = [Path(script.path).name for script in scripts]
    assert names == sorted(names)
    for script, name in zip(scripts, names, strict=True):
        assert re.fullmatch(r"\d{4}_[a-z0-9_]+\.py", name), name
        assert name.partition("_")[0] == script.revision
