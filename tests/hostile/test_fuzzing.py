"""The OpenAPI document under fire, in its short form; `make fuzz` runs the long one."""

import asyncio
from uuid import UUID

from postroom.app import create_app
from postroom.resources import Resources
from tests.factories import set_columns
from tests.hostile.conftest import Server
from tests.hostile.fuzzing import fuzz

EACH = 3  # requests an operation


async def test_whatever_is_asked_the_answer_is_one_that_the_document_declares(
    server: Server, resources: Resources
) -> None:
    loop = asyncio.get_running_loop()

    def promote(project_id: str) -> None:
        change = set_columns(resources, UUID(project_id), plan="pro")
        asyncio.run_coroutine_threadsafe(change, loop).result(30)

    found = await asyncio.to_thread(fuzz, server.url, promote, EACH, 7)
    assert found.report() == ""
    operations = sum(len(methods) for methods in create_app(resources).openapi()["paths"].values())
    assert len(found.asked) == operations
    assert found.total > 2 * operations
    # Most of it must get past the doors, or little is tried behind them.
    assert found.statuses[200] + found.statuses[201] > found.total / 4
    assert len(found.succeeded) > operations / 2
