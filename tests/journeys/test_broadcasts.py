"""A mail to a whole audience: everybody once, whatever happens on the way, and numbers that add up."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from postroom.domain import broadcast_run, loops
from postroom.worker import PostOffice
from tests.journeys.people import (
    broadcast_of,
    call,
    make_audience,
    make_broadcast,
    send,
    until_counts,
)

pytestmark = pytest.mark.journey


async def kill(office: PostOffice) -> None:
    """What SIGKILL leaves of a worker: nothing runs, nothing is settled."""
    office.delivery._stopping = True
    lanes = [busy.task for busy in office.delivery._lanes.values() if busy.task]
    await loops.stop([*office._listeners, *office._writers, *office.delivery._later])
    await loops.stop([*office.delivery._calls, *lanes])
    await office._bells.aclose()
    await office._work.aclose()


async def mails_of(world, broadcast):
    return await world.sql(
        "select recipients[1] as who, status, provider_id from mail_logs where broadcast_id = :b",
        b=broadcast,
    )


async def test_a_broadcast_reaches_everybody_by_name_within_seconds(world, office) -> None:
    project = await world.project("sandbox")
    audience = await make_audience(world, project)
    for email, first in (("ann@example.com", "Ann"), ("bob@example.com", None)):
        body = {"email": email, "firstName": first}
        await call(world, project, "POST", f"/audiences/{audience}/contacts", json=body)
    await asyncio.sleep(0.002)
    broadcast = await make_broadcast(world, project, audience, name="News")
    await send(world, project, broadcast)
    found = await until_counts(world, project, broadcast, delivered=2)
    assert found["from"] == "App <app@example.com>"
    subjects = await world.sql(
        "select subject, stream from mail_logs where broadcast_id = :b order by subject",
        b=broadcast,
    )
    assert [(row.subject, row.stream) for row in subjects] == [("Hi Ann", 1), ("Hi there", 1)]

    async def ended():
        return (await broadcast_of(world, project, broadcast))["status"] == "sent"

    await world.until(ended)
    assert await world.used(project) == 2


async def test_who_left_or_is_suppressed_gets_nothing_and_costs_nothing(world, office) -> None:
    project = await world.project("sandbox")
    audience = await make_audience(
        world, project, ["a@example.com", "b@example.com", "c@example.com", "bounced@example.com"]
    )
    await call(world, project, "POST", "/suppressions", json={"address": "B@example.com"})
    contacts = (await call(world, project, "GET", f"/audiences/{audience}/contacts"))["data"]
    leaver = next(c["id"] for c in contacts if c["email"] == "c@example.com")
    await call(
        world,
        project,
        "PATCH",
        f"/audiences/{audience}/contacts/{leaver}",
        json={"unsubscribed": True},
    )
    broadcast = await make_broadcast(world, project, audience)
    reach = await call(world, project, "GET", f"/broadcasts/{broadcast}/count")
    assert reach == {"audience": 4, "unsubscribed": 1, "suppressed": 1, "recipients": 2}
    await send(world, project, broadcast, expected=2)
    await until_counts(
        world, project, broadcast, delivered=1, bounced=1, suppressed=1, unsubscribed=1
    )
    assert await world.used(project) == 2
    page = await call(world, project, "GET", f"/broadcasts/{broadcast}/recipients")
    assert {r["email"].partition("@")[0]: r["status"] for r in page["data"]} == {
        "a": "delivered",
        "b": "suppressed",
        "c": "unsubscribed",
        "bounced": "bounced",
    }


async def test_an_audience_that_moved_is_not_sent_to_unseen(world) -> None:
    project = await world.project("sandbox")
    audience = await make_audience(world, project, ["a@example.com"])
    broadcast = await make_broadcast(world, project, audience)
    refused = await call(
        world, project, "POST", f"/broadcasts/{broadcast}/send", 409, json={"expected": 7}
    )
    assert refused["code"] == "audience_changed"


async def test_a_worker_killed_twice_sends_everybody_exactly_one_mail(world) -> None:
    """Counts are sampled all along, and a mail of another kind overtakes the broadcast."""
    project = await world.project("sandbox")
    people = [f"p{i}@example.com" for i in range(3000)]
    audience = await make_audience(world, project, people)
    broadcast = await make_broadcast(world, project, audience)
    await send(world, project, broadcast)
    samples: list[dict[str, int]] = []
    watcher = asyncio.create_task(watch(world, project, broadcast, samples))
    for handed_over in (300, 1500):
        office = PostOffice(world.resources)
        await office.open()

        async def far_enough(least: int = handed_over) -> bool:
            return bool(samples) and samples[-1]["audience"] - samples[-1]["queued"] > least

        await world.until(far_enough, 60)
        await kill(office)
    office = PostOffice(world.resources)
    await office.open()
    took = await _transactional(world, project)
    # What the killed workers were calling comes back when its lease has lapsed.
    await world.sql("update attempts set lease_until = now() - interval '1 second'")
    await until_counts(world, project, broadcast, 90, audience=3000, queued=0)
    assert not watcher.done()
    await loops.stop([watcher])
    await office.close()
    rows = await mails_of(world, broadcast)
    assert sorted(row.who for row in rows) == sorted(people)
    assert len({row.provider_id for row in rows}) == 3000
    assert len(samples) > 10
    assert took < 2.0
    assert await world.used(project) == 3001


async def watch(world, project, broadcast, samples) -> None:
    """Look at the counts again and again; `broadcast_of` sees to it that they add up."""
    while True:
        samples.append((await broadcast_of(world, project, broadcast))["counts"])
        await asyncio.sleep(0.01)


async def _transactional(world, project) -> float:
    """Seconds from the request for a single mail to its hand-over."""
    began = asyncio.get_running_loop().time()
    mail_id = await world.sent(project, to="reset@example.com")

    async def gone():
        return await world.sql(
            "select 1 from mail_logs where id = :i and sent_at is not null", i=mail_id
        )

    await world.until(gone, 20)
    return asyncio.get_running_loop().time() - began


async def test_pausing_holds_what_waits_and_resuming_lets_it_go(world) -> None:
    project = await world.project("sandbox")
    audience = await make_audience(world, project, [f"p{i}@example.com" for i in range(600)])
    broadcast = await make_broadcast(world, project, audience)
    await send(world, project, broadcast)
    # Without a delivering worker the first portion waits in the outbox.
    office = PostOffice(world.resources)
    assert await broadcast_run.step(world.resources, office.book)
    await call(world, project, "POST", f"/broadcasts/{broadcast}/pause")
    await office.open()
    while await broadcast_run.step(world.resources, office.book):
        pass
    await office.sweep.once()
    mail = await world.sent(project)
    await world.until_status(project, mail, "delivered")
    found = await broadcast_of(world, project, broadcast)
    assert (found["status"], found["pause_reason"]) == ("paused", "paused")
    assert found["counts"]["queued"] == found["counts"]["audience"] == 250
    await call(world, project, "POST", f"/broadcasts/{broadcast}/resume")
    await until_counts(world, project, broadcast, audience=600, delivered=600)
    await office.close()


async def test_a_paused_broadcast_does_not_reach_who_unsubscribes_meanwhile(world) -> None:
    project = await world.project("sandbox")
    audience = await make_audience(world, project, ["a@example.com", "b@example.com"])
    broadcast = await make_broadcast(world, project, audience)
    await send(world, project, broadcast)
    office = PostOffice(world.resources)
    assert await broadcast_run.step(world.resources, office.book)
    await call(world, project, "POST", f"/broadcasts/{broadcast}/pause")
    contacts = (await call(world, project, "GET", f"/audiences/{audience}/contacts"))["data"]
    await call(
        world,
        project,
        "DELETE",
        f"/audiences/{audience}/contacts/{contacts[0]['id']}",
    )
    await office.open()
    await call(world, project, "POST", f"/broadcasts/{broadcast}/resume")
    await until_counts(world, project, broadcast, delivered=1, unsubscribed=1)
    assert await world.used(project) == 1
    await office.close()


async def test_canceling_takes_back_what_waits_and_refunds_it(world) -> None:
    project = await world.project("sandbox")
    audience = await make_audience(world, project, [f"p{i}@example.com" for i in range(700)])
    broadcast = await make_broadcast(world, project, audience)
    await send(world, project, broadcast)
    office = PostOffice(world.resources)
    assert await broadcast_run.step(world.resources, office.book)
    assert await world.used(project) == broadcast_run.STEP
    await call(world, project, "POST", f"/broadcasts/{broadcast}/cancel")
    found = await broadcast_of(world, project, broadcast)
    assert found["status"] == "canceled"
    assert found["counts"]["failed"] == found["counts"]["audience"] == 250
    assert await world.used(project) == 0
    assert await world.sql("select 1 from outbox") == []
    await office.open()
    while await broadcast_run.step(world.resources, office.book):
        pass
    assert await mails_sent(world, broadcast) == 0
    await office.close()


async def mails_sent(world, broadcast) -> int:
    rows = await mails_of(world, broadcast)
    return sum(1 for row in rows if row.provider_id)


async def test_the_months_end_pauses_a_broadcast_and_more_slots_let_it_end(world, office) -> None:
    project = await world.project("sandbox")
    audience = await make_audience(world, project, [f"p{i}@example.com" for i in range(40)])
    await world.sql(
        "insert into quota_months values (:p, date_trunc('month', now() at time zone 'utc'), 49970)",
        p=project.id,
    )
    broadcast = await make_broadcast(world, project, audience)
    await send(world, project, broadcast)

    async def paused():
        found = await broadcast_of(world, project, broadcast)
        return found if found["status"] == "paused" else None

    found = await world.until(paused)
    assert found["pause_reason"] == "monthly_limit"
    await world.sql("update quota_months set used = used - 20 where project_id = :p", p=project.id)
    await call(world, project, "POST", f"/broadcasts/{broadcast}/resume")
    await until_counts(world, project, broadcast, audience=40, delivered=40)


async def test_the_last_slots_are_enough_for_the_last_people(world, office) -> None:
    project = await world.project("sandbox")
    audience = await make_audience(world, project, [f"p{i}@example.com" for i in range(5)])
    await world.sql(
        "insert into quota_months values (:p, date_trunc('month', now() at time zone 'utc'), 49995)",
        p=project.id,
    )
    broadcast = await make_broadcast(world, project, audience)
    await send(world, project, broadcast)

    async def ended():
        return (await broadcast_of(world, project, broadcast))["status"] == "sent"

    await world.until(ended)


async def test_only_those_that_failed_get_another_mail(world, office) -> None:
    project = await world.project("sandbox")
    audience = await make_audience(world, project, ["a@example.com", "failed@example.com"])
    broadcast = await make_broadcast(world, project, audience)
    await send(world, project, broadcast)
    await until_counts(world, project, broadcast, delivered=1, failed=1)

    async def ended():
        return (await broadcast_of(world, project, broadcast))["status"] == "sent"

    await world.until(ended)
    before = {row.who: row.provider_id for row in await mails_of(world, broadcast)}
    await call(world, project, "POST", f"/broadcasts/{broadcast}/resend-failed")

    async def renewed():
        after = {row.who: row.provider_id for row in await mails_of(world, broadcast)}
        changed = after["failed@example.com"] not in (None, before["failed@example.com"])
        return after if changed else None

    after = await world.until(renewed)
    assert after["a@example.com"] == before["a@example.com"]
    await until_counts(world, project, broadcast, delivered=1, failed=1)
    assert await world.used(project) == 1


async def test_a_scheduled_broadcast_waits_and_can_become_a_draft_again(world, office) -> None:
    project = await world.project("sandbox")
    audience = await make_audience(world, project, ["a@example.com"])
    later = (datetime.now(UTC) + timedelta(hours=2)).isoformat()
    broadcast = await make_broadcast(world, project, audience, scheduledAt=later)
    assert (await broadcast_of(world, project, broadcast))["status"] == "draft"
    await send(world, project, broadcast)
    found = await broadcast_of(world, project, broadcast)
    assert found["status"] == "scheduled"
    assert datetime.fromisoformat(found["scheduled_at"]) == datetime.fromisoformat(later)
    await call(world, project, "POST", f"/broadcasts/{broadcast}/cancel")
    assert (await broadcast_of(world, project, broadcast))["status"] == "draft"
    await send(world, project, broadcast)
    await until_counts(world, project, broadcast, delivered=1)


async def test_the_time_of_the_send_wins_over_the_one_of_the_draft(world, office) -> None:
    project = await world.project("sandbox")
    audience = await make_audience(world, project, ["a@example.com"])
    later = (datetime.now(UTC) + timedelta(hours=2)).isoformat()
    broadcast = await make_broadcast(world, project, audience, scheduledAt=later)
    soon = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
    await send(world, project, broadcast, scheduledAt=soon)
    await until_counts(world, project, broadcast, delivered=1)


async def test_whoever_comes_after_the_send_is_not_written_to(world) -> None:
    project = await world.project("sandbox")
    audience = await make_audience(world, project, ["a@example.com"])
    broadcast = await make_broadcast(world, project, audience)
    await send(world, project, broadcast)
    await asyncio.sleep(0.01)
    await call(
        world, project, "POST", f"/audiences/{audience}/contacts", json={"email": "b@example.com"}
    )
    office = PostOffice(world.resources)
    await office.open()
    await until_counts(world, project, broadcast, audience=1, delivered=1)
    await office.close()


async def test_a_project_that_loses_its_plan_pauses_and_says_so(world, office) -> None:
    project = await world.project("sandbox")
    audience = await make_audience(world, project, ["a@example.com"])
    later = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
    broadcast = await make_broadcast(world, project, audience)
    await send(world, project, broadcast, scheduledAt=later)
    await world.sql("update projects set plan = 'free' where id = :p", p=project.id)

    async def paused():
        rows = await world.sql(
            "select status, pause_reason from broadcasts where id = :b", b=broadcast
        )
        return rows[0].status == "paused" and rows[0].pause_reason

    assert await world.until(paused) == "plan"


async def test_a_preview_and_a_test_mail_change_nothing(world, office) -> None:
    project = await world.project("sandbox")
    audience = await make_audience(world, project)
    ann = {"email": "ann@example.com", "firstName": "A<b>n", "properties": {"city": "Oslo"}}
    made = await call(world, project, "POST", f"/audiences/{audience}/contacts", json=ann)
    broadcast = await make_broadcast(
        world,
        project,
        audience,
        html="<p>{{{FIRST_NAME}}} of {{{contact.city|nowhere}}}</p>{{{UNSUBSCRIBE_URL}}}",
    )
    shown = await call(
        world, project, "POST", f"/broadcasts/{broadcast}/preview", json={"contactId": made["id"]}
    )
    assert shown["html"].startswith("<p>A&lt;b&gt;n of Oslo</p>http")
    assert shown["unsubscribe_link"] is True
    assert shown["subject"] == "Hi A<b>n"
    sent = await call(
        world, project, "POST", f"/broadcasts/{broadcast}/test", json={"to": "me@example.com"}
    )
    await world.until_status(project, sent["ids"][0], "delivered")
    assert (await broadcast_of(world, project, broadcast))["counts"]["audience"] == 0


async def test_a_broadcast_of_another_project_is_not_found(world) -> None:
    mine, theirs = await world.project("sandbox"), await world.project("sandbox")
    audience = await make_audience(world, theirs, ["a@example.com"])
    broadcast = await make_broadcast(world, theirs, audience)
    for method, path in (("GET", ""), ("POST", "/send"), ("POST", "/cancel"), ("DELETE", "")):
        await call(world, mine, method, f"/broadcasts/{broadcast}{path}", 404)
    body = {"audienceId": audience, "subject": "x", "html": "x"}
    await call(world, mine, "POST", "/broadcasts", 404, json=body)


async def test_a_draft_can_be_changed_and_deleted_but_not_what_was_sent(world, office) -> None:
    project = await world.project("sandbox")
    audience = await make_audience(world, project, ["a@example.com"])
    broadcast = await make_broadcast(world, project, audience)
    await call(world, project, "PATCH", f"/broadcasts/{broadcast}", json={"subject": "New"})
    assert (await broadcast_of(world, project, broadcast))["subject"] == "New"
    await send(world, project, broadcast)
    await until_counts(world, project, broadcast, delivered=1)
    for method in ("PATCH", "DELETE"):
        refused = await call(
            world, project, method, f"/broadcasts/{broadcast}", 409, json={"subject": "x"}
        )
        assert refused["code"] == "wrong_state"
    draft = await make_broadcast(world, project, audience)
    assert (await call(world, project, "DELETE", f"/broadcasts/{draft}"))["deleted"] is True
    listed = (await call(world, project, "GET", "/broadcasts"))["data"]
    assert [b["id"] for b in listed] == [broadcast]
