"""Opening provider accounts: own, shared, removed, sealed under a lost key."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import select, text

from postroom.crypto import Keyring
from postroom.domain import changes, connections
from postroom.domain.changes import Change
from postroom.domain.connections import ConnectionBook, ConnectionGone
from postroom.errors import Unsealable
from postroom.ids import new_id
from postroom.models import Connection
from postroom.resources import Keys, Resources
from tests.factories import make_connection, make_project


def with_settings(resources: Resources, **changed: Any) -> Resources:
    return replace(resources, settings=resources.settings.model_copy(update=changed))


async def ensure(resources: Resources) -> None:
    async with resources.sessions() as session:
        await connections.ensure_shared(session, resources.settings, resources.keys)


async def shared_rows(resources: Resources) -> list[Connection]:
    async with resources.sessions() as session:
        found = await session.scalars(
            select(Connection).where(Connection.project_id.is_(None)).order_by(Connection.id)
        )
        return list(found)


@pytest.fixture(autouse=True)
async def shared_accounts_are_put_back(resources: Resources) -> AsyncIterator[None]:
    yield
    await ensure(resources)


TWO_KEYS = {
    "mail_provider": None,
    "resend_api_key": SecretStr("re_first_key_0001"),
    "resend_api_key_2": SecretStr("re_second_key_0002"),
}


async def test_the_second_shared_key_is_preferred_and_the_first_takes_over(
    resources: Resources,
) -> None:
    here = with_settings(resources, **TWO_KEYS)
    await ensure(here)
    book = ConnectionBook(here)
    second, first = await book.shared("resend")
    assert (await book.get(second)).provider.credentials["apiKey"] == "re_second_key_0002"
    assert (await book.get(first)).provider.credentials["apiKey"] == "re_first_key_0001"
    assert await book.shared_fallback(second) == first
    assert await book.shared_fallback(first) == second
    project = await make_project(resources, provider="sandbox")
    assert project.connection_id is not None
    assert await book.shared_fallback(project.connection_id) is None


async def test_two_keys_have_two_fingerprints_that_stay(resources: Resources) -> None:
    here = with_settings(resources, **TWO_KEYS)
    await ensure(here)
    books = ConnectionBook(here), ConnectionBook(here)
    second, first = await books[0].shared("resend")
    prints = [(await book.get(i)).fingerprint for i in (first, second) for book in books]
    assert prints[0] == prints[1] != prints[2] == prints[3]
    assert b"re_" not in prints[0]


async def test_rows_of_the_environment_are_made_once_and_taken_out_with_their_key(
    resources: Resources,
) -> None:
    here = with_settings(resources, **TWO_KEYS)
    await ensure(here)
    before = {row.id for row in await shared_rows(here)}
    await asyncio.gather(*[ensure(here) for _ in range(4)])
    assert {row.id for row in await shared_rows(here)} == before
    one_key = with_settings(resources, **TWO_KEYS | {"resend_api_key_2": None})
    await ensure(one_key)
    book = ConnectionBook(one_key)
    (first,) = await book.shared("resend")
    assert (await book.get(first)).info.from_email == "Postroom <dev@postroom.test>"
    gone = next(
        row for row in await shared_rows(here) if row.provider == "resend" and row.slot == 2
    )
    with pytest.raises(ConnectionGone):
        await book.get(gone.id)


async def test_a_stopped_shared_account_may_be_called_again_under_a_new_key_only(
    resources: Resources,
) -> None:
    here = with_settings(resources, **TWO_KEYS)
    await ensure(here)
    async with here.sessions() as session:
        await session.execute(
            text("update connections set stopped_at = now() where project_id is null and slot = 2")
        )
        await session.commit()
    await ensure(here)
    second, _ = await ConnectionBook(here).shared("resend")
    assert (await ConnectionBook(here).get(second)).info.stopped is True
    mended = with_settings(here, resend_api_key_2=SecretStr("re_third_key_0003"))
    await ensure(mended)
    assert (await ConnectionBook(mended).get(second)).info.stopped is False


async def test_a_lost_key_is_loud_and_never_the_shared_account(resources: Resources) -> None:
    project = await make_project(resources, provider="resend")
    assert project.connection_id is not None
    other = replace(resources, keys=Keys(Keyring([b"\x77" * 32]), resources.keys.index))
    with pytest.raises(Unsealable):
        await ConnectionBook(other).get(project.connection_id)


async def test_sealed_credentials_do_not_open_in_another_row(resources: Resources) -> None:
    mine = await make_project(resources, provider="resend")
    theirs = await make_project(resources, provider="resend")
    async with resources.sessions() as session:
        rows = [await session.get_one(Connection, p.connection_id) for p in (mine, theirs)]
        rows[1].sealed = rows[0].sealed
        await session.commit()
        stolen = rows[1].id
    with pytest.raises(Unsealable):
        await ConnectionBook(resources).get(stolen)


async def test_an_unknown_connection_is_gone(resources: Resources) -> None:
    with pytest.raises(ConnectionGone):
        await ConnectionBook(resources).get(2_000_000_000)


async def test_a_change_in_one_process_is_forgotten_in_another(resources: Resources) -> None:
    project = await make_project(resources, provider="resend")
    assert project.connection_id is not None
    book, heard = ConnectionBook(resources), asyncio.Queue[Change]()

    def on_change(change: Change) -> None:
        heard.put_nowait(change)
        book.forget(int(change.id) if change.kind == "connection" else None)

    listener = asyncio.create_task(changes.listen(resources, on_change))
    assert (await asyncio.wait_for(heard.get(), 5)).kind == "everything"
    before = await book.get(project.connection_id)
    await make_connection(resources, project.id, "resend", apiKey="re_another_key_777")
    while (await asyncio.wait_for(heard.get(), 5)).id != str(project.connection_id):
        pass
    after = await book.get(project.connection_id)
    assert after.provider.credentials["apiKey"] == "re_another_key_777"
    assert after.fingerprint != before.fingerprint
    listener.cancel()
    await asyncio.wait([listener])


async def test_a_listener_that_lost_its_connection_forgets_everything(
    resources: Resources,
) -> None:
    heard = asyncio.Queue[Change]()
    listener = asyncio.create_task(changes.listen(resources, heard.put_nowait))
    assert (await asyncio.wait_for(heard.get(), 5)).kind == "everything"
    for client in await resources.redis.client_list(_type="pubsub"):
        await resources.redis.client_kill_filter(_id=client["id"])
    while (await asyncio.wait_for(heard.get(), 5)).kind != "everything":
        pass
    await changes.publish(resources.redis, "project", project_id := _some_id())
    while (await asyncio.wait_for(heard.get(), 5)) != Change("project", str(project_id)):
        pass
    listener.cancel()
    await asyncio.wait([listener])


def _some_id() -> Any:
    return new_id()


async def test_what_was_read_before_a_change_is_not_kept_after_it(resources: Resources) -> None:
    project = await make_project(resources, provider="resend")
    assert project.connection_id is not None
    book = ConnectionBook(resources)
    loading = asyncio.create_task(book.get(project.connection_id))
    await asyncio.sleep(0)
    book.forget(project.connection_id)
    await loading
    assert project.connection_id not in book._open
