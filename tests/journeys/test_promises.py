"""No accepted mail is lost or blindly sent twice; the quota is exact; the first answer is the answer."""

import asyncio
from dataclasses import replace

import pytest

from postroom.domain import housekeeping, quota
from postroom.domain.deliver import Delivery
from postroom.domain.intake import Intake
from postroom.domain.pace import pause, resume
from postroom.providers.resend import Resend
from postroom.worker import PostOffice
from tests.factories import set_columns
from tests.journeys.conftest import World

pytestmark = pytest.mark.journey


@pytest.fixture
def not_keyed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A vendor that does not de-duplicate: the double would, but nobody relies on it."""
    without = replace(Resend.capabilities, idempotent=False)
    monkeypatch.setattr(Resend, "capabilities", without)


async def kill(office: PostOffice) -> None:
    """What SIGKILL leaves of a worker: tasks that never finish, rows under a lease."""
    for task in [*office._listeners, *office._writers]:
        task.cancel()
    delivery: Delivery = office.delivery
    delivery._stopping = True
    for task in [*delivery._calls, *(b.task for b in delivery._lanes.values() if b.task)]:
        task.cancel()
    await asyncio.sleep(0.05)


async def lapse(world: World) -> None:
    """Let every lease run out now."""
    await world.sql(
        "update attempts set lease_until = now() - interval '1 second' where not parked"
    )


async def with_limit(world: World, limit: int) -> World:
    settings = world.resources.settings.model_copy(update={"free_monthly_limit": limit})
    object.__setattr__(world.resources, "settings", settings)
    return world


# ── The quota ────────────────────────────────────────────────────────────────────────────────────


async def test_a_thousand_parallel_sends_on_a_quota_of_a_hundred_give_exactly_a_hundred(
    world,
) -> None:
    world = await with_limit(world, 100)
    project = await world.project(plan="free")
    answers = await asyncio.gather(
        *(world.send(project, to=f"u{i}@example.com") for i in range(1000))
    )
    codes = [a.status_code for a in answers]
    assert (codes.count(200), codes.count(429)) == (100, 900)
    refused = next(a for a in answers if a.status_code == 429)
    assert refused.json()["message"] == "Monthly mail limit exceeded."
    assert refused.json()["code"] == "monthly_limit_exceeded"
    assert int(refused.headers["Retry-After"]) > 0
    usage = sorted(a.json()["data"]["monthlyUsage"] for a in answers if a.status_code == 200)
    assert usage == list(range(1, 101))
    assert await world.used(project) == 100
    assert (
        len(await world.sql("select 1 from mail_logs where project_id = :p", p=project.id)) == 100
    )


async def test_the_ledger_refuses_when_the_gate_was_flushed_or_is_too_low(world) -> None:
    world = await with_limit(world, 5)
    project = await world.project(plan="free")
    for _ in range(5):
        await world.sent(project)
    key = quota.gate_key(project.id, quota.this_month())
    await world.resources.redis.set(key, 0)
    assert (await world.send(project)).status_code == 429
    assert int(await world.resources.redis.get(key)) == 5
    await world.resources.redis.delete(key)
    assert (await world.send(project)).status_code == 429
    assert await world.used(project) == 5


async def test_a_gate_that_is_too_high_is_set_right_by_the_minute(world) -> None:
    world = await with_limit(world, 5)
    project = await world.project(plan="free")
    await world.sent(project)
    key = quota.gate_key(project.id, quota.this_month())
    await world.resources.redis.set(key, 5, keepttl=True)
    assert (await world.send(project)).status_code == 429
    await housekeeping.tidy(world.resources)
    assert (await world.send(project)).status_code == 200


async def test_the_ledger_equals_the_mails_and_a_difference_is_found(world) -> None:
    project = await world.project()
    for _ in range(3):
        await world.sent(project)
    async with world.resources.sessions() as session:
        found = await quota.check_ledger(session, quota.this_month())
    assert project.id not in {d.project_id for d in found}
    await world.sql("update quota_months set used = 4 where project_id = :p", p=project.id)
    async with world.resources.sessions() as session:
        found = await quota.check_ledger(session, quota.this_month())
    (mine,) = [d for d in found if d.project_id == project.id]
    assert (mine.used, mine.mails) == (4, 3)
    assert await housekeeping.check(world.resources) >= 1


async def test_nothing_of_a_bad_request_is_written_or_counted(world) -> None:
    project = await world.project()
    for body in ({"to": "nobody"}, {"subject": "x\r\ny"}, {"tags": [{"name": "ä", "value": "b"}]}):
        answer = await world.send(project, **body)
        assert answer.status_code == 400
        assert answer.json()["issues"]
    assert await world.used(project) == 0
    assert await world.mails(project) == []


# ── Idempotency ──────────────────────────────────────────────────────────────────────────────────


async def test_the_same_key_from_fifty_parallel_clients_is_one_mail(world) -> None:
    project = await world.project()
    headers = {"Idempotency-Key": "order-1"}
    answers = await asyncio.gather(*(world.send(project, headers_=headers) for _ in range(50)))
    assert {a.status_code for a in answers} == {200}
    assert len({a.json()["data"]["id"] for a in answers}) == 1
    assert sum("Idempotent-Replayed" not in a.headers for a in answers) == 1
    assert await world.used(project) == 1


async def test_two_processes_with_the_same_key_write_one_mail(world, resources) -> None:
    project = await world.project()
    first = world.client._transport.app.state.acceptor
    second_intake = Intake(resources.pg, resources.sessions, resources.redis)
    writer = asyncio.create_task(second_intake.write_forever())
    intakes = [first._intake, second_intake]
    sends = []
    for i in range(40):
        first._intake = intakes[i % 2]
        sends.append(
            asyncio.create_task(world.send(project, headers_={"Idempotency-Key": f"k{i // 4}"}))
        )
        await asyncio.sleep(0)
    answers = await asyncio.gather(*sends)
    first._intake = intakes[0]
    writer.cancel()
    assert {a.status_code for a in answers} == {200}
    assert len({a.json()["data"]["id"] for a in answers}) == 10
    assert await world.used(project) == 10


async def test_a_key_with_another_body_is_refused(world) -> None:
    project = await world.project()
    headers = {"Idempotency-Key": "order-2"}
    await world.sent(project, headers_=headers)
    answer = await world.send(project, subject="Another", headers_=headers)
    assert (answer.status_code, answer.json()["code"]) == (409, "idempotency_mismatch")


async def test_a_refused_request_leaves_its_key_free(world) -> None:
    world = await with_limit(world, 0)
    project = await world.project(plan="free")
    headers = {"Idempotency-Key": "order-3"}
    assert (await world.send(project, headers_=headers)).status_code == 429
    await set_columns(world.resources, project.id, plan="pro")
    world.client._transport.app.state.callers.forget_all()
    answer = await world.send(project, headers_=headers)
    assert answer.status_code == 200
    assert "Idempotent-Replayed" not in answer.headers


async def test_a_key_of_more_than_256_characters_is_refused(world) -> None:
    project = await world.project()
    answer = await world.send(project, headers_={"Idempotency-Key": "k" * 257})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_idempotency_key")


# ── Workers that die ─────────────────────────────────────────────────────────────────────────────


async def test_a_killed_workers_call_is_repeated_byte_for_byte(world) -> None:
    project = await world.project()
    world.double.faults.set(latency_ms=400)
    first = PostOffice(world.resources)
    await first.open()
    ids = await asyncio.gather(*(world.sent(project, to=f"u{i}@example.com") for i in range(20)))

    async def called() -> bool:
        return len(await world.sql("select 1 from attempts")) > 0

    await world.until(called)
    await asyncio.sleep(0.15)
    await kill(first)
    world.double.faults.set(latency_ms=0)
    await lapse(world)
    second = PostOffice(world.resources)
    await second.open()
    for mail_id in ids:
        await world.until_status(project, mail_id, "sent")
    await second.close()
    report = world.double.report()
    assert report["duplicates"] == 0
    assert report["distinct_refs"] == 20
    assert report["repeated_key_bytes_differ"] == 0


async def test_without_a_key_a_lost_call_is_parked_and_never_repeated(world, not_keyed) -> None:
    project = await world.project()
    world.double.faults.set(latency_ms=300)
    first = PostOffice(world.resources)
    await first.open()
    mail_id = await world.sent(project)

    async def called() -> bool:
        return world.double.report()["calls"] > 0 or bool(await world.sql("select 1 from attempts"))

    await world.until(called)
    await kill(first)
    await lapse(world)
    second = PostOffice(world.resources)
    await second.open()

    async def parked() -> bool:
        return bool((await world.mail(project, mail_id))["outcomeUnknown"])

    await world.until(parked)
    calls = world.double.report()["calls"]
    await asyncio.sleep(1.5)
    assert world.double.report()["calls"] == calls
    mail = await world.mail(project, mail_id)
    assert (mail["status"], mail["outcomeUnknown"]) == ("queued", True)
    assert [m["id"] for m in await world.mails(project, outcomeUnknown=True)] == [mail_id]
    await second.close()


async def test_without_a_key_an_unclear_answer_parks_at_once(world, office, not_keyed) -> None:
    project = await world.project()
    world.double.faults.set(drop_after_accept=1)
    mail_id = await world.sent(project)

    async def parked() -> bool:
        return bool((await world.mail(project, mail_id))["outcomeUnknown"])

    await world.until(parked)
    assert world.double.report()["calls"] == 1


async def test_a_late_answer_settles_what_was_parked(world, not_keyed) -> None:
    project = await world.project()
    world.double.faults.set(latency_ms=1200)
    office = PostOffice(world.resources)
    await office.open()
    mail_id = await world.sent(project)

    async def bound() -> bool:
        return bool(await world.sql("select 1 from attempts"))

    await world.until(bound)
    await lapse(world)
    await office.sweep.park()
    assert (await world.mail(project, mail_id))["outcomeUnknown"]
    mail = await world.until_status(project, mail_id, "sent")
    assert not mail["outcomeUnknown"]
    assert await world.sql("select 1 from attempts") == []
    await office.close()


async def test_a_writer_whose_lease_was_taken_over_changes_nothing(world) -> None:
    project = await world.project()
    world.double.faults.set(latency_ms=800)
    slow = PostOffice(world.resources)
    await slow.open()
    mail_id = await world.sent(project)

    async def bound() -> bool:
        return bool(await world.sql("select 1 from attempts"))

    await world.until(bound)
    await world.sql(
        "update attempts set fence = fence + 1, lease_until = now() + interval '1 hour'"
    )
    await asyncio.sleep(1.2)
    assert (await world.mail(project, mail_id))["status"] == "queued"
    await lapse(world)
    await world.until_status(project, mail_id, "sent")
    assert world.double.report()["duplicates"] == 0
    await slow.close()


async def test_an_attempt_of_replaced_credentials_is_parked_not_repeated(world) -> None:
    project = await world.project()
    world.double.faults.set(latency_ms=500)
    first = PostOffice(world.resources)
    await first.open()
    mail_id = await world.sent(project)

    async def bound() -> bool:
        return bool(await world.sql("select 1 from attempts"))

    await world.until(bound)
    await kill(first)
    other = {"apiKey": "re_another_account", "fromEmail": "a@example.com"}
    await world.client.put(
        f"{project.path}/mail/providers/resend", json=other, headers=project.owner.bearer
    )
    await lapse(world)
    second = PostOffice(world.resources)
    await second.open()

    async def parked() -> bool:
        return bool((await world.mail(project, mail_id))["outcomeUnknown"])

    await world.until(parked)
    await second.close()


async def test_a_key_older_than_its_life_is_not_used_again(world) -> None:
    project = await world.project()
    world.double.faults.set(latency_ms=500)
    first = PostOffice(world.resources)
    await first.open()
    mail_id = await world.sent(project)

    async def bound() -> bool:
        return bool(await world.sql("select 1 from attempts"))

    await world.until(bound)
    await kill(first)
    await world.sql("update attempts set called_at = now() - interval '23 hours'")
    await lapse(world)
    second = PostOffice(world.resources)
    await second.open()

    async def parked() -> bool:
        return bool((await world.mail(project, mail_id))["outcomeUnknown"])

    await world.until(parked)
    await second.close()


async def test_flushall_costs_neither_a_mail_nor_a_slot(world, office) -> None:
    project = await world.project()
    ids = []
    for i in range(30):
        ids.append(await world.sent(project, to=f"u{i}@example.com"))
        if i % 10 == 9:
            await world.resources.redis.flushdb()
    for mail_id in ids:
        await world.until_status(project, mail_id, "sent")
    assert world.double.report()["distinct_refs"] == 30
    assert world.double.report()["duplicates"] == 0
    assert await world.used(project) == 30


async def test_a_mail_that_cannot_leave_in_time_fails_and_is_refunded(world) -> None:
    project = await world.project()
    mail_id = await world.sent(project)
    await world.sql("update outbox set turn = 1 where id = :i", i=mail_id)
    await housekeeping.give_up(world.resources)
    mail = await world.mail(project, mail_id)
    assert (mail["status"], mail["lastError"]) == ("failed", "expired")
    assert await world.used(project) == 0


async def test_a_stopping_worker_finishes_its_calls(world) -> None:
    project = await world.project()
    world.double.faults.set(latency_ms=500)
    office = PostOffice(world.resources)
    await office.open()
    mail_id = await world.sent(project)

    async def bound() -> bool:
        return bool(await world.sql("select 1 from attempts"))

    await world.until(bound)
    await office.close()
    assert (await world.mail(project, mail_id))["status"] == "sent"
    assert await world.sql("select 1 from attempts") == []


async def test_a_connection_whose_secret_is_lost_fails_its_mails_loudly(world, office) -> None:
    project = await world.project()
    await world.sql(
        "update connections set sealed = '\\x00112233445566778899aabbccddeeff00112233445566778899'"
        " where id = :c",
        c=project.connection_id,
    )
    office.book.forget(None)
    mail_id = await insert_behind(world, project)
    mail = await world.until_status(project, mail_id, "failed")
    assert "secret cannot be opened" in mail["lastError"]
    assert await world.used(project) == 0


async def insert_behind(world: World, project) -> str:
    """A mail that was accepted while the secret could still be opened."""
    world.client._transport.app.state.connections.forget(None)
    good = await world.project()
    mail_id = await world.sent(good)
    await world.sql(
        "update outbox set connection_id = :c, project_id = :p where id = :i",
        c=project.connection_id, p=project.id, i=mail_id,
    )  # fmt: skip
    await world.sql(
        "update mail_logs set connection_id = :c, project_id = :p where id = :i",
        c=project.connection_id, p=project.id, i=mail_id,
    )  # fmt: skip
    await world.sql(
        "update quota_months set project_id = :p where project_id = :g", p=project.id, g=good.id
    )
    return mail_id


async def test_content_that_cannot_be_opened_stops_the_account_and_keeps_the_mail(
    world, office
) -> None:
    project = await world.project()
    await pause(world.resources.redis, project.connection_id, 0.5)
    mail_id = await world.sent(project)
    await world.sql("update outbox set content = '\\x0011' where id = :i", i=mail_id)

    async def stopped() -> bool:
        rows = await world.sql(
            "select stopped_reason from connections where id = :c", c=project.connection_id
        )
        return "ENCRYPTION_KEY" in (rows[0].stopped_reason or "")

    await world.until(stopped)
    assert (await world.mail(project, mail_id))["status"] == "queued"
    assert world.double.report()["calls"] == 0


async def test_mails_of_a_removed_connection_wait_for_it(world) -> None:
    project = await world.project()
    mail_id = await world.sent(project)
    path = f"{project.path}/mail/providers/resend"
    await world.client.delete(path, headers=project.owner.bearer)
    office = PostOffice(world.resources)
    await office.open()
    await asyncio.sleep(1.5)
    assert (await world.mail(project, mail_id))["status"] == "queued"
    again = {"apiKey": "re_test_again", "fromEmail": "a@example.com"}
    await world.client.put(path, json=again, headers=project.owner.bearer)
    await world.until_status(project, mail_id, "sent")
    await office.close()


async def test_a_late_answer_leaves_a_mail_alone_that_was_resolved_meanwhile(
    world, not_keyed
) -> None:
    project = await world.project()
    ids = [await world.sent(project, to=f"u{i}@example.com") for i in range(2)]
    world.double.faults.set(latency_ms=1500)
    office = PostOffice(world.resources)
    await office.open()

    async def bound() -> bool:
        return bool(await world.sql("select 1 from attempts"))

    await world.until(bound)
    await pause(world.resources.redis, project.connection_id, 60)
    await lapse(world)
    await office.sweep.park()
    resolved = await world.client.post(
        f"/api/mail/logs/{ids[0]}/resolve", json={"outcome": "resend"}, headers=project.key
    )
    assert resolved.status_code == 200, resolved.text
    await world.until_status(project, ids[1], "sent")
    # The first one waits for its own second call: the first call's answer is not its answer any more.
    assert (await world.mail(project, ids[0]))["status"] == "queued"
    assert len(await world.sql("select 1 from outbox where id = :i", i=ids[0])) == 1
    await office.close()


@pytest.mark.parametrize(
    "obstacle",
    [
        {"throttle": 2, "retry_after": 1},
        {"answer": {"status": 401, "name": "missing_api_key", "message": "no key", "calls": 1}},
    ],
)
async def test_a_repeat_that_is_refused_proves_nothing_about_the_call_before_it(
    world, office, obstacle
) -> None:
    project = await world.project()
    world.double.faults.set(drop_after_accept=1)
    mail_id = await world.sent(project)

    async def repeats() -> bool:
        return bool(
            await world.sql("select 1 from attempts where lease_until < now() + interval '3 s'")
        )

    await world.until(repeats)
    world.double.faults.set(**obstacle)
    await asyncio.sleep(2.5)
    await pause_ended(world, project)
    await lapse(world)
    await world.until_status(project, mail_id, "sent")
    report = world.double.report()
    assert report["calls"] >= 3
    assert (report["duplicates"], report["distinct_refs"]) == (0, 1)


async def pause_ended(world: World, project) -> None:
    """As when a person mends the account."""
    await resume(world.resources.redis, project.connection_id)
    await world.sql(
        "update connections set stopped_at = null where id = :c", c=project.connection_id
    )
