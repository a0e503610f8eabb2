"""A command's way to the database and Redis, with every failure as one sentence."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from postroom.commands import schema
from postroom.embedded.command import CommandFailed
from postroom.errors import Problem, Unsealable
from postroom.resources import Resources, open_resources
from postroom.settings import Settings, load_settings

T = TypeVar("T")
Work = Callable[[Resources], Awaitable[T]]


def run_with_resources(work: Work[T], settings: Settings | None = None) -> T:
    """Open everything, work, close; the database must be at the newest schema."""
    known = settings or load_settings()
    return asyncio.run(_run(work, known))


async def _run(work: Work[T], settings: Settings) -> T:
    await schema.require_head(settings.database_url.get_secret_value())
    try:
        async with open_resources(settings, pool_size=2) as resources:
            return await work(resources)
    except Problem as problem:
        raise CommandFailed(problem.message) from problem
    except Unsealable as lost:
        raise CommandFailed(
            "The database was sealed under another ENCRYPTION_KEY. Put the old key behind the new one,"
            " separated by a comma."
        ) from lost


async def nothing(resources: Resources) -> None:
    """Work for those who only want to know that everything opens."""
