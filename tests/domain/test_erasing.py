"""What is left of a deleted project, and sealing anew."""

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from postroom.crypto import Keyring
from postroom.domain import content, erasing
from postroom.domain.connections import ConnectionBook
from postroom.domain.content import Content
from postroom.domain.reseal import reseal
from postroom.errors import Unsealable
from postroom.ids import new_id
from postroom.providers.base import OutgoingMail
from postroom.resources import Keys, Resources
from tests.factories import make_project


async def sql(resources: Resources, statement: str, **values: Any) -> Any:
    async with resources.sessions() as session:
        result = await session.execute(text(statement), values)
        rows = result.all() if result.returns_rows else []
        await session.commit()
        return rows


async def put_mails(resources: Resources, project_id: UUID, count: int) -> list[UUID]:
    ids = [new_id() for _ in range(count)]
    for mail_id in ids:
        await sql(
            resources,
            "insert into mail_logs (project_id, id, connection_id, stream, paid_month, recipient_key,"
            " recipients) values (:p, :id, 1, 0, '2026-11-01', 1, '{a@b.cd}')",
            p=project_id,
            id=mail_id,
        )
    return ids


async def put_pending(
    resources: Resources, project_id: UUID, mail_id: UUID, attempt: UUID | None = None
) -> None:
    await sql(
        resources,
        "insert into outbox (id, project_id, connection_id, stream, turn, pack_max, size, recipient_keys,"
        " content, attempt_id) values (:id, :p, 1, 0, 1, 1, 1, '{}', '', :attempt)",
        p=project_id,
        id=mail_id,
        attempt=attempt,
    )


async def put_attempt(resources: Resources, mail_ids: list[UUID], *, parked: bool) -> UUID:
    attempt = new_id()
    await sql(
        resources,
        "insert into attempts (id, connection_id, stream, parked, keyed, credential, wire, lease_until,"
        " worker, mail_ids) values (:id, 1, 0, :parked, false, '', 'x', now(), 'w', :mails)",
        id=attempt,
        parked=parked,
        mails=mail_ids,
    )
    return attempt


async def left_of(resources: Resources, project_id: UUID) -> dict[str, int]:
    counts = {}
    for table in ("projects", "mail_logs", "outbox", "connections", "quota_months", "suppressions"):
        column = "id" if table == "projects" else "project_id"
        rows = await sql(
            resources, f"select count(*) n from {table} where {column} = :p", p=project_id
        )
        counts[table] = rows[0].n
    return counts


async def erase_all(resources: Resources, project_id: UUID, step: int) -> int:
    steps = 0
    async with resources.sessions() as session:
        while not await erasing.erase(session, project_id, step):
            steps += 1
            assert steps < 50
    return steps


async def test_a_deleted_project_goes_in_bounded_steps_and_others_stay(
    resources: Resources,
) -> None:
    gone = await make_project(resources, provider="sandbox")
    stays = await make_project(resources, provider="sandbox")
    for project in (gone, stays):
        (mail_id, *_) = await put_mails(resources, project.id, 7)
        await sql(
            resources,
            "insert into quota_months (project_id, month, used) values (:p, '2026-11-01', 7)",
            p=project.id,
        )
        await sql(
            resources,
            "insert into provider_events (connection_id, event_id, project_id, mail_id, kind, at)"
            " values (1, :e, :p, :m, 'delivered', now())",
            e=str(mail_id),
            p=project.id,
            m=mail_id,
        )
    before = await left_of(resources, stays.id)
    assert await erase_all(resources, gone.id, step=3) == 2
    assert set((await left_of(resources, gone.id)).values()) == {0}
    assert await left_of(resources, stays.id) == before
    events = await sql(
        resources, "select project_id from provider_events where project_id = :p", p=gone.id
    )
    assert events == []


async def test_mails_under_way_keep_the_project_until_they_are_settled(
    resources: Resources,
) -> None:
    project = await make_project(resources)
    (mail_id,) = await put_mails(resources, project.id, 1)
    attempt = await put_attempt(resources, [mail_id], parked=False)
    await put_pending(resources, project.id, mail_id, attempt)
    async with resources.sessions() as session:
        assert await erasing.erase(session, project.id) is False
    assert (await left_of(resources, project.id))["mail_logs"] == 1
    await sql(resources, "delete from outbox where id = :id", id=mail_id)
    await sql(resources, "delete from attempts where id = :id", id=attempt)
    await erase_all(resources, project.id, step=100)
    assert set((await left_of(resources, project.id)).values()) == {0}


async def test_parked_mails_of_a_deleted_project_go_and_their_neighbours_stay(
    resources: Resources,
) -> None:
    gone, stays = await make_project(resources), await make_project(resources)
    (mine,), (theirs,) = (
        await put_mails(resources, gone.id, 1),
        await put_mails(resources, stays.id, 1),
    )
    alone = await put_attempt(resources, [mine], parked=True)
    await put_pending(resources, gone.id, mine, alone)
    (other,) = await put_mails(resources, gone.id, 1)
    together = await put_attempt(resources, [other, theirs], parked=True)
    await put_pending(resources, gone.id, other, together)
    await put_pending(resources, stays.id, theirs, together)
    await erase_all(resources, gone.id, step=100)
    left = await sql(
        resources, "select id from attempts where id = any(:ids)", ids=[alone, together]
    )
    assert [row.id for row in left] == [together]
    assert (await left_of(resources, stays.id))["outbox"] == 1
    await sql(resources, "truncate outbox, attempts")


async def test_the_worker_finds_what_was_deleted(resources: Resources) -> None:
    project = await make_project(resources)
    (mail_id,) = await put_mails(resources, project.id, 1)
    await put_pending(resources, project.id, mail_id)
    await sql(resources, "update projects set deleted_at = now() where id = :p", p=project.id)
    await erasing.erase_deleted(resources)
    assert set((await left_of(resources, project.id)).values()) == {0}


# ── Sealing anew ─────────────────────────────────────────────────────────────────────────────────


def under(resources: Resources, *keys: bytes) -> Resources:
    settings = resources.settings.model_copy()
    settings.__dict__["encryption_keys"] = list(keys)
    return replace(resources, settings=settings, keys=Keys(Keyring(keys), resources.keys.index))


async def test_after_resealing_the_old_key_is_needed_no_more(resources: Resources) -> None:
    old, new = bytes.fromhex("11" * 32), b"\x22" * 32
    project = await make_project(resources, provider="resend")
    assert project.connection_id is not None
    (mail_id,) = await put_mails(resources, project.id, 1)
    await put_pending(resources, project.id, mail_id)
    ring = resources.keys.ring
    mail = OutgoingMail(content.ref(project.id, mail_id), "a@b.cd", ("c@d.ef",), "Hello")
    sealed = {
        "update outbox set content = :v where id = :id": content.seal(
            ring, mail_id, Content(mail, default_sender=False)
        ),
        "update mail_logs set sealed = :v where id = :id": ring.seal(b"l", b"log:" + mail_id.bytes),
    }
    for statement, value in sealed.items():
        await sql(resources, statement, v=value, id=mail_id)
    both = under(resources, new, old)
    counts = await reseal(both)
    assert counts["server_secrets"] == (1, 0)
    assert counts["outbox"].resealed >= 1
    assert {count.resealed for count in (await reseal(both)).values()} == {0}
    alone = under(resources, new)
    row = (await sql(resources, "select content from outbox where id = :id", id=mail_id))[0]
    opened = content.unseal(alone.keys.ring, project.id, mail_id, bytes(row.content))
    assert opened.mail == mail
    log = (await sql(resources, "select sealed from mail_logs where id = :id", id=mail_id))[0]
    assert alone.keys.ring.unseal(bytes(log.sealed), b"log:" + mail_id.bytes) == b"l"
    assert (await ConnectionBook(alone).get(project.connection_id)).provider.credentials["apiKey"]
    with pytest.raises(Unsealable):
        await ConnectionBook(under(resources, old)).get(project.connection_id)
    # The rest of the suite goes on under the old key.
    await reseal(under(resources, old, new))
    await sql(resources, "truncate outbox")
