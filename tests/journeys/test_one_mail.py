"""A mail from the request to its final state."""

import asyncio
import base64
import hashlib
import hmac
import time
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import orjson
import pytest

from postroom.domain import deliver
from postroom.domain.pace import pause
from postroom.worker import PostOffice
from tests.journeys.conftest import SECRET, World

pytestmark = pytest.mark.journey


def signed(body: bytes, event_id: str | None = None, secret: str = SECRET) -> dict[str, str]:
    event_id = event_id or f"msg_{uuid4().hex}"
    stamp = str(int(time.time()))
    key = base64.b64decode(secret.removeprefix("whsec_"))
    text = f"{event_id}.{stamp}.".encode() + body
    signature = base64.b64encode(hmac.digest(key, text, hashlib.sha256)).decode()
    return {
        "svix-id": event_id,
        "svix-timestamp": stamp,
        "svix-signature": f"v1,{signature}",
        "content-type": "application/json",
    }


def event(kind: str, provider_id: str, **data) -> bytes:
    base = {"email_id": provider_id, "to": ["ann@example.com"]}
    at = datetime.now(UTC).isoformat()
    return orjson.dumps({"type": f"email.{kind}", "created_at": at, "data": base | data})


async def webhook_path(world: World, project) -> str:
    answer = await world.client.get(f"{project.path}/mail/providers", headers=project.owner.bearer)
    rows = answer.json()["data"]
    url = next(row["webhookUrl"] for row in rows if row["provider"] == "resend")
    return url[url.index("/api/") :]


async def test_a_mail_of_the_sandbox_is_delivered_within_seconds(world, office) -> None:
    project = await world.project("sandbox")
    answer = await world.send(project)
    data = answer.json()["data"]
    assert answer.json()["message"] == "Mail queued successfully."
    assert data == {
        "id": data["id"],
        "provider": "byok",
        "monthlyUsage": 1,
        "monthlyLimit": 50_000,
        "from": "App <app@example.com>",
    }
    mail = await world.until_status(project, data["id"], "delivered")
    assert mail["sentAt"] is not None
    assert mail["attempts"] == 1
    assert await world.sql("select 1 from outbox where id = :i", i=data["id"]) == []


@pytest.mark.parametrize(
    ("to", "status"),
    [
        ("delivered@example.com", "delivered"),
        ("bounced+7@example.com", "bounced"),
        ("complained@example.com", "complained"),
        ("suppressed@example.com", "bounced"),
        ("failed@example.com", "failed"),
    ],
)
async def test_the_sandbox_obeys_its_magic_addresses(world, office, to, status) -> None:
    project = await world.project("sandbox")
    mail_id = await world.sent(project, to=to)
    await world.until_status(project, mail_id, status)
    assert await world.used(project) == (0 if status == "failed" else 1)
    assert await world.sql("select 1 from suppressions where project_id = :p", p=project.id) == []


async def test_every_field_reaches_the_vendor(world, office) -> None:
    project = await world.project()
    content = base64.b64encode(b"a file").decode()
    mail_id = await world.sent(
        project,
        to=["Ann <ann@example.com>", "bob@example.com"],
        cc="carl@example.com",
        bcc=["dora@example.com"],
        replyTo="replies@example.com",
        **{"from": "Ada <ada@example.com>"},
        html="<p>Hi</p>",
        headers={"X-Entity": "7"},
        tags=[{"name": "kind", "value": "test"}],
        attachments=[{"filename": "a.txt", "content": content, "contentType": "text/plain"}],
    )
    await world.until_status(project, mail_id, "sent")
    (got,) = world.double.mails
    sent = got.mail
    assert sent["from"] == "Ada <ada@example.com>"
    assert sent["to"] == ["Ann <ann@example.com>", "bob@example.com"]
    assert sent["cc"] == ["carl@example.com"]
    assert sent["bcc"] == ["dora@example.com"]
    assert sent["reply_to"] == ["replies@example.com"]
    assert sent["headers"] == {"X-Entity": "7"}
    assert sent["attachments"][0]["filename"] == "a.txt"
    assert {"name": "kind", "value": "test"} in sent["tags"]


async def test_mails_that_wait_together_ride_together(world) -> None:
    project = await world.project()
    await asyncio.gather(*(world.sent(project, to=f"u{i}@example.com") for i in range(120)))
    office = PostOffice(world.resources)
    await office.open()

    async def all_taken() -> bool:
        return world.double.report()["distinct_refs"] == 120

    await world.until(all_taken)
    await office.close()
    report = world.double.report()
    assert report["duplicates"] == 0
    assert sorted(int(size) for size in report["calls_by_size"]) == [20, 100]


async def test_mails_that_come_one_after_another_ride_together_too(world, office) -> None:
    project = await world.project()
    redis, number = world.resources.redis, project.connection_id
    await redis.hset(f"paused:{number}", "limit", 900)
    await redis.zadd(f"pace:{number}", {str(slot): 1 for slot in range(900)})
    clock = asyncio.get_running_loop().time
    began = clock()
    for i in range(80):
        await world.sent(project, to=f"u{i}@example.com")

    async def all_taken() -> bool:
        return world.double.report()["distinct_refs"] == 80

    await world.until(all_taken)
    assert world.double.report()["calls"] <= 2 + (clock() - began) / deliver.GATHER


async def test_a_mail_with_an_attachment_goes_alone(world) -> None:
    project = await world.project()
    attachment = [{"filename": "a.txt", "content": "YWJj"}]
    await asyncio.gather(
        *(world.sent(project) for _ in range(5)), world.sent(project, attachments=attachment)
    )
    office = PostOffice(world.resources)
    await office.open()

    async def all_taken() -> bool:
        return world.double.report()["distinct_refs"] == 6

    await world.until(all_taken)
    await office.close()
    assert sorted(int(size) for size in world.double.report()["calls_by_size"]) == [1, 5]
    assert world.double.report()["attachments_dropped"] == 0


async def test_the_webhook_moves_a_mail_and_the_timeline_tells_it(world, office) -> None:
    project = await world.project()
    path = await webhook_path(world, project)
    mail_id = await world.sent(project)
    mail = await world.until_status(project, mail_id, "sent")
    body = event("delivered", mail["resendEmailId"])
    answer = await world.client.post(path, content=body, headers=signed(body))
    assert answer.json()["message"] == "Webhook processed."
    assert (await world.mail(project, mail_id))["status"] == "delivered"
    detail = await world.client.get(f"/api/mail/logs/{mail_id}", headers=project.key)
    kinds = [step["type"] for step in detail.json()["data"]["events"]]
    assert kinds[:2] == ["queued", "sent"]
    assert "delivered" in kinds


@pytest.mark.parametrize(
    ("told", "detail", "step"),
    [
        ("delivered", {}, "delivered"),
        ("bounced", {"bounce": {"type": "Permanent"}}, "hard_bounced"),
    ],
)
async def test_looking_at_a_mail_adds_nothing_that_is_known_to_its_timeline(
    world, office, told, detail, step
) -> None:
    project = await world.project()
    mail_id = await world.sent(project, to=f"{told}@example.com")
    mail = await world.until_status(project, mail_id, "sent")
    body = event(told, mail["resendEmailId"], **detail)
    path = await webhook_path(world, project)
    await world.client.post(path, content=body, headers=signed(body))
    for _ in range(2):
        answer = await world.client.get(f"/api/mail/logs/{mail_id}", headers=project.key)
    assert answer.json()["data"]["last_event"] == told
    happened = [e["type"] for e in answer.json()["data"]["events"] if e["source"] == "provider"]
    assert happened == [step]


async def test_a_webhook_that_comes_twice_counts_once(world, office) -> None:
    project = await world.project()
    path = await webhook_path(world, project)
    mail_id = await world.sent(project)
    mail = await world.until_status(project, mail_id, "sent")
    body = event("failed", mail["resendEmailId"], failed={"reason": "reached_daily_quota"})
    headers = signed(body, "msg_once")
    for _ in range(3):
        assert (await world.client.post(path, content=body, headers=headers)).status_code == 200
    assert (await world.mail(project, mail_id))["status"] == "failed"
    assert await world.used(project) == 0
    rows = await world.sql("select 1 from provider_events where event_id = 'msg_once'")
    assert len(rows) == 1


async def test_a_webhook_that_overtakes_the_worker_is_not_lost(world, office) -> None:
    project = await world.project()
    path = await webhook_path(world, project)
    body = event("delivered", "not-known-yet")
    assert (await world.client.post(path, content=body, headers=signed(body))).status_code == 200
    mail_id = await world.sent(project)
    await world.until_status(project, mail_id, "sent")
    await world.sql("update mail_logs set provider_id = 'not-known-yet' where id = :i", i=mail_id)
    await world.until_status(project, mail_id, "delivered")


async def test_an_event_with_our_own_id_may_come_before_the_answer(world) -> None:
    project = await world.project()
    path = await webhook_path(world, project)
    mail_id = await world.sent(project)
    ref = f"{project.id.hex}-{mail_id.replace('-', '')}"
    body = event("delivered", "its-id", tags={"postroom": ref})
    await world.client.post(path, content=body, headers=signed(body))
    assert (await world.mail(project, mail_id))["status"] == "delivered"
    # The vendor has it: it must not be handed over again.
    assert await world.sql("select 1 from outbox where id = :i", i=mail_id) == []


async def test_another_projects_webhook_cannot_move_a_mail(world, office) -> None:
    project, other = await world.project(), await world.project()
    mail_id = await world.sent(project)
    mail = await world.until_status(project, mail_id, "sent")
    path = await webhook_path(world, other)
    ref = f"{project.id.hex}-{mail_id.replace('-', '')}"
    for body in (
        event("bounced", mail["resendEmailId"]),
        event("bounced", "x", tags={"postroom": ref}),
    ):
        assert (
            await world.client.post(path, content=body, headers=signed(body))
        ).status_code == 200
    assert (await world.mail(project, mail_id))["status"] == "sent"


async def test_a_forged_webhook_is_refused_and_an_unknown_address_is_not_found(world) -> None:
    project = await world.project()
    path = await webhook_path(world, project)
    body = event("delivered", "x")
    forged = signed(body, secret="whsec_" + base64.b64encode(b"x" * 32).decode())
    answer = await world.client.post(path, content=body, headers=forged)
    assert (answer.status_code, answer.json()["message"]) == (
        400,
        "Webhook signature verification failed.",
    )
    answer = await world.client.post(path[:-1] + "x", content=body, headers=signed(body))
    assert answer.status_code == 404


async def test_a_hard_bounce_suppresses_the_address_for_the_project_alone(world, office) -> None:
    project, other = await world.project(), await world.project()
    path = await webhook_path(world, project)
    mail_id = await world.sent(project)
    mail = await world.until_status(project, mail_id, "sent")
    body = event("bounced", mail["resendEmailId"], bounce={"type": "Permanent", "message": "gone"})
    await world.client.post(path, content=body, headers=signed(body))
    assert (await world.mail(project, mail_id))["status"] == "bounced"

    again = await world.sent(project, to="ANN@example.com")
    failed = await world.until_status(project, again, "failed")
    assert failed["lastError"] == "suppressed"
    assert await world.used(project) == 1
    await world.until_status(other, await world.sent(other), "sent")

    part = await world.sent(project, to=["ann@example.com", "bob@example.com"])
    await world.until_status(project, part, "sent")
    assert world.double.mails[-1].mail["to"] == ["bob@example.com"]


async def test_a_rejected_mail_fails_alone_and_its_slot_comes_back_once(world, office) -> None:
    project = await world.project()
    await pause(world.resources.redis, project.connection_id, 0.5)
    good = [await world.sent(project, to=f"u{i}@example.com") for i in range(9)]
    bad = await world.sent(project, to="rejected@example.com")
    mail = await world.until_status(project, bad, "failed")
    assert mail["lastError"]
    assert "@" not in mail["lastError"]
    for mail_id in good:
        await world.until_status(project, mail_id, "sent")
    assert await world.used(project) == 9


async def test_a_throttled_call_is_repeated_and_nothing_is_lost(world, office) -> None:
    project = await world.project()
    world.double.faults.set(throttle=2, retry_after=1)
    mail_id = await world.sent(project)
    mail = await world.until_status(project, mail_id, "sent")
    assert mail["attempts"] >= 2
    assert world.double.report()["duplicates"] == 0


async def test_an_answer_that_was_lost_is_asked_for_again_under_the_same_key(world, office) -> None:
    project = await world.project()
    world.double.faults.set(drop_after_accept=1)
    mail_id = await world.sent(project)
    await world.until_status(project, mail_id, "sent")
    report = world.double.report()
    assert report["duplicates"] == 0
    assert report["repeated_keys"] == 1
    assert report["repeated_key_bytes_differ"] == 0


async def test_a_refused_account_keeps_its_mails_and_goes_on_when_it_is_mended(
    world, office
) -> None:
    project = await world.project()
    wrong = {"apiKey": "re_invalid_key", "webhookSecret": SECRET, "fromEmail": "a@example.com"}
    put = f"{project.path}/mail/providers/resend"
    await world.client.put(put, json=wrong, headers=project.owner.bearer)
    mail_id = await world.sent(project)

    async def stopped() -> bool:
        rows = await world.sql(
            "select stopped_reason from connections where id = :c", c=project.connection_id
        )
        return rows[0].stopped_reason is not None

    await world.until(stopped)
    assert (await world.mail(project, mail_id))["status"] == "queued"
    right = wrong | {"apiKey": "re_good_key"}
    await world.client.put(put, json=right, headers=project.owner.bearer)
    await world.until_status(project, mail_id, "sent")


async def test_a_scheduled_mail_waits_and_can_be_moved_or_canceled(world, office) -> None:
    project = await world.project("sandbox")
    later = (datetime.now(UTC) + timedelta(hours=2)).isoformat()
    canceled = await world.sent(project, scheduledAt=later)
    moved = await world.sent(project, scheduledAt=later)
    assert await world.used(project) == 2
    gone = await world.client.delete(f"/api/mail/scheduled/{canceled}", headers=project.key)
    assert gone.status_code == 200
    mail = await world.mail(project, canceled)
    assert (mail["status"], mail["lastError"]) == ("failed", "Canceled.")
    assert await world.used(project) == 1
    soon = (datetime.now(UTC) + timedelta(seconds=0.3)).isoformat()
    patched = await world.client.patch(
        f"/api/mail/scheduled/{moved}", json={"scheduledAt": soon}, headers=project.key
    )
    assert patched.status_code == 200, patched.text
    await world.until_status(project, moved, "delivered")
    late = await world.client.delete(f"/api/mail/scheduled/{moved}", headers=project.key)
    assert (late.status_code, late.json()["code"]) == (409, "already_handed_over")


async def test_an_address_suppressed_after_scheduling_is_not_sent_to(world, office) -> None:
    project = await world.project()
    soon = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
    mail_id = await world.sent(project, scheduledAt=soon)
    await world.sql(
        "insert into suppressions (project_id, recipient_key, reason, address)"
        " select project_id, recipient_key, 'bounce', '' from mail_logs where id = :i",
        i=mail_id,
    )
    mail = await world.until_status(project, mail_id, "failed")
    assert mail["lastError"] == "suppressed"
    assert world.double.report()["mails_accepted"] == 0
