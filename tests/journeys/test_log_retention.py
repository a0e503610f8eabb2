"""Old mails leave the log when LOG_RETENTION_DAYS says so, and nothing else does."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from postroom.domain import quota, retention
from postroom.ids import first_id_at, new_id
from postroom.resources import Resources
from tests.journeys.conftest import World

pytestmark = pytest.mark.journey


def keeping(world: World, days: int) -> Resources:
    settings = world.resources.settings.model_copy(update={"log_retention_days": days})
    return replace(world.resources, settings=settings)


async def aged(world: World, project: Any, days: int, **columns: Any) -> UUID:
    """A mail of the log as it was accepted so many days ago, with an event and kept content."""
    then = datetime.now(UTC) - timedelta(days=days)
    mail_id = UUID(int=first_id_at(then).int | (new_id().int & ((1 << 80) - 1)))
    month = columns.pop("month", (then.replace(day=1) - timedelta(days=31)).date().replace(day=1))
    await world.sql(
        "insert into mail_logs (project_id, id, connection_id, stream, status, paid_month,"
        " recipient_key, recipients, created_at) values"
        " (:p, :i, :c, 0, 5, :m, 1, '{a@example.com}', :t)",
        p=project.id, i=mail_id, c=project.connection_id, m=month, t=then,
    )  # fmt: skip
    await world.sql(
        "insert into provider_events (connection_id, event_id, project_id, mail_id, kind, at)"
        " values (:c, :e, :p, :i, 'delivered', now())",
        c=project.connection_id, e=mail_id.hex, p=project.id, i=mail_id,
    )  # fmt: skip
    await world.sql(
        "insert into mail_contents (project_id, mail_id, content, keep_until)"
        " values (:p, :i, '\\x00', now() + interval '1 day')",
        p=project.id, i=mail_id,
    )  # fmt: skip
    return mail_id


async def left(world: World, project: Any) -> dict[str, set[UUID]]:
    tables = {"mail_logs": "id", "provider_events": "mail_id", "mail_contents": "mail_id"}
    return {
        table: {
            row.id
            for row in await world.sql(
                f"select {column} as id from {table} where project_id = :p", p=project.id
            )
        }
        for table, column in tables.items()
    }


async def test_old_mails_go_with_their_events_and_content_and_young_ones_stay(world) -> None:
    project, other = await world.project("sandbox"), await world.project("sandbox")
    old = [await aged(world, project, days) for days in (400, 101)]
    young = await aged(world, project, 99)
    foreign = await aged(world, other, 200)
    assert await retention.drop_old_logs(keeping(world, 100)) == 3
    for rows in (await left(world, project)).values():
        assert rows == {young}
    assert foreign not in (await left(world, other))["mail_logs"]
    assert old[0] != old[1]


async def test_without_the_setting_everything_is_kept(world) -> None:
    project = await world.project("sandbox")
    old = await aged(world, project, 3_000)
    assert await retention.drop_old_logs(keeping(world, 0)) == 0
    assert (await left(world, project))["mail_logs"] == {old}
    await world.sql("delete from mail_logs where project_id = :p", p=project.id)


async def test_mails_of_the_month_under_way_stay_because_its_ledger_is_checked(world) -> None:
    project = await world.project("sandbox")
    this_month = await aged(world, project, 40, month=quota.this_month())
    await retention.drop_old_logs(keeping(world, 1))
    assert (await left(world, project))["mail_logs"] == {this_month}


async def test_a_mail_that_still_waits_stays(world) -> None:
    project = await world.project("sandbox")
    waiting = await aged(world, project, 200)
    await world.sql(
        "insert into outbox (id, project_id, connection_id, stream, turn, pack_max, size,"
        " recipient_keys, content, waits_until) values"
        " (:i, :p, :c, 0, 1, 1, 1, '{1}', '\\x00', now() + interval '1 day')",
        i=waiting, p=project.id, c=project.connection_id,
    )  # fmt: skip
    await retention.drop_old_logs(keeping(world, 100))
    assert (await left(world, project))["mail_logs"] == {waiting}


async def test_many_old_mails_go_in_bounded_steps(world, monkeypatch) -> None:
    project = await world.project("sandbox")
    # What other tests left is not this test's work.
    await retention.drop_old_logs(keeping(world, 100))
    for _ in range(7):
        await aged(world, project, 200)
    monkeypatch.setattr(retention, "STEP", 2)
    monkeypatch.setattr(retention, "STEPS", 2)
    assert await retention.drop_old_logs(keeping(world, 100)) == 4
    assert await retention.drop_old_logs(keeping(world, 100)) == 3
    assert (await left(world, project))["mail_logs"] == set()
