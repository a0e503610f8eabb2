"""Who is asked for all the time is read again before they are forgotten, and nobody waits for it."""

import asyncio

import pytest

from postroom.domain import projects
from postroom.domain.projects import CallerCache
from postroom.resources import Resources
from tests.factories import MadeProject, make_project, set_columns


@pytest.fixture
async def project(resources: Resources) -> MadeProject:
    return await make_project(resources)


@pytest.fixture
async def callers(
    resources: Resources, project: MadeProject, monkeypatch: pytest.MonkeyPatch
) -> CallerCache:
    """A cache that knows the project, and reads it again whenever it is asked for."""
    monkeypatch.setattr(projects, "_RENEW_BEFORE", projects._HOLD_SECONDS)
    callers = CallerCache(resources)
    await callers.by_key(project.secret_key)
    return callers


async def renewed(callers: CallerCache) -> None:
    await asyncio.gather(*callers._renewals.values())


async def test_a_busy_caller_is_read_again_before_it_is_forgotten(
    resources: Resources, project: MadeProject, callers: CallerCache
) -> None:
    await set_columns(resources, project.id, plan="free")
    plans = [callers.peek(project.secret_key).plan.name for _ in range(100)]
    assert set(plans) == {"pro"}
    await renewed(callers)
    assert callers.peek(project.secret_key).plan.name == "free"
    await renewed(callers)


async def test_a_key_that_is_gone_is_not_held_any_longer_once_it_was_read_again(
    resources: Resources, project: MadeProject, callers: CallerCache
) -> None:
    await set_columns(resources, project.id, secret_hash=b"another key's hash")
    assert callers.peek(project.secret_key) is not None
    await renewed(callers)
    assert callers.peek(project.secret_key) is None
