"""What a person can do about a mail that did not go its way."""

import asyncio
import base64
from dataclasses import replace
from typing import Any

import pytest

from postroom.domain import reconcile
from postroom.providers.resend import Resend
from postroom.worker import PostOffice
from tests.factories import MadeProject, make_member
from tests.journeys.conftest import World

pytestmark = pytest.mark.journey

ATTACHMENT = {"filename": "a.txt", "content": base64.b64encode(b"hello").decode()}


@pytest.fixture
def not_keyed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A vendor that does not de-duplicate."""
    without = replace(Resend.capabilities, idempotent=False)
    monkeypatch.setattr(Resend, "capabilities", without)


async def failed(world: World, project: MadeProject, **fields: Any) -> str:
    """A mail that its provider refuses."""
    world.double.faults.set(
        answer={"status": 422, "name": "validation_error", "message": "No.", "calls": 1}
    )
    mail_id = await world.sent(project, **fields)
    await world.until_status(project, mail_id, "failed")
    return mail_id


async def parked(world: World, project: MadeProject, count: int = 1) -> list[str]:
    """Mails of which nobody knows whether the provider took them."""
    world.double.faults.set(drop_after_accept=1)
    items = [{"to": f"u{i}@example.com", "subject": "s", "text": "x"} for i in range(count)]
    answer = await world.client.post("/api/mail/send-batch", json=items, headers=project.key)
    ids = [item["id"] for item in answer.json()["data"]]

    async def unknown() -> bool:
        mails = await world.mails(project, outcomeUnknown=True)
        return len(mails) == count

    await world.until(unknown)
    return ids


async def post(world: World, project: MadeProject, path: str, json: Any = None, **headers: str):
    url = f"/api/mail/logs/{path}"
    return await world.client.post(url, json=json, headers=project.key | headers)


# ── Sending again ────────────────────────────────────────────────────────────────────────────────


async def test_a_failed_mail_is_sent_again_as_a_new_one(world, office) -> None:
    project = await world.project(content_retention_days=3)
    mail_id = await failed(
        world,
        project,
        html="<b>x</b>",
        cc="carl@example.com",
        replyTo="r@example.com",
        headers={"X-A": "1"},
        attachments=[ATTACHMENT],
        tags=[{"name": "a", "value": "b"}],
    )
    assert await world.used(project) == 0
    answer = await post(world, project, f"{mail_id}/resend")
    assert answer.status_code == 200, answer.text
    assert answer.json()["message"] == "Mail queued successfully."
    new_id = answer.json()["data"]["id"]
    assert new_id != mail_id
    await world.until_status(project, new_id, "sent")
    mail = world.double.mails[-1].mail
    assert mail["to"] == ["ann@example.com"]
    assert mail["cc"] == ["carl@example.com"]
    assert mail["html"] == "<b>x</b>"
    assert mail["attachments"][0]["filename"] == "a.txt"
    assert mail["headers"]["X-A"] == "1"
    assert (await world.mail(project, mail_id))["status"] == "failed"
    assert await world.used(project) == 1


async def test_a_second_click_with_the_same_key_is_the_same_click(world, office) -> None:
    project = await world.project(content_retention_days=3)
    mail_id = await failed(world, project)
    first = await post(world, project, f"{mail_id}/resend", **{"Idempotency-Key": "click"})
    again = await post(world, project, f"{mail_id}/resend", **{"Idempotency-Key": "click"})
    assert again.json() == first.json()
    assert await world.used(project) == 1


async def test_a_failed_mail_can_be_sent_to_somebody_else(world, office) -> None:
    project = await world.project(content_retention_days=3)
    mail_id = await failed(world, project, cc="carl@example.com")
    answer = await post(world, project, f"{mail_id}/resend", {"to": "me@example.com"})
    mail = await world.until_status(project, answer.json()["data"]["id"], "sent")
    assert [r["address"] for r in mail["recipients"]] == ["me@example.com"]


async def test_what_is_not_kept_cannot_be_sent_again(world, office) -> None:
    project = await world.project()
    mail_id = await failed(world, project)
    answer = await post(world, project, f"{mail_id}/resend")
    assert answer.status_code == 409
    assert answer.json()["code"] == "content_not_kept"
    assert "contentRetentionDays" in answer.json()["message"]


async def test_only_a_failed_mail_is_sent_again(world, office) -> None:
    project = await world.project(content_retention_days=3)
    mail_id = await world.sent(project)
    await world.until_status(project, mail_id, "sent")
    answer = await post(world, project, f"{mail_id}/resend")
    assert answer.status_code == 409
    assert answer.json()["message"] == "Only a failed mail can be sent again; this one is sent."
    stranger = await world.project()
    assert (await post(world, stranger, f"{mail_id}/resend")).status_code == 404
    viewer = await make_member(world.resources, project, "viewer")
    path = f"{project.path}/mail/logs/{mail_id}/resend"
    assert (await world.client.post(path, headers=viewer.bearer)).status_code == 403


# ── Settling ─────────────────────────────────────────────────────────────────────────────────────


async def test_a_parked_mail_that_arrived_is_settled_as_sent(world, office, not_keyed) -> None:
    project = await world.project(content_retention_days=3)
    [mail_id] = await parked(world, project)
    answer = await post(world, project, f"{mail_id}/resolve", {"outcome": "sent"})
    assert answer.json() == {
        "success": True,
        "data": {"id": mail_id, "outcome": "sent"},
        "message": "Mail settled.",
    }
    mail = await world.mail(project, mail_id)
    assert (mail["status"], mail["outcomeUnknown"], mail["lastError"]) == ("sent", False, None)
    assert mail["sentAt"] is not None
    assert await world.sql("select 1 from outbox") == []
    assert await world.sql("select 1 from attempts") == []
    assert await world.used(project) == 1
    assert (
        len(await world.sql("select 1 from mail_contents where project_id = :p", p=project.id)) == 1
    )


async def test_a_parked_mail_that_failed_gives_its_slot_back(world, office, not_keyed) -> None:
    project = await world.project()
    [mail_id] = await parked(world, project)
    path = f"{project.path}/mail/logs/{mail_id}/resolve"
    answer = await world.client.post(path, json={"outcome": "failed"}, headers=project.owner.bearer)
    assert answer.status_code == 200, answer.text
    mail = await world.mail(project, mail_id)
    assert (mail["status"], mail["outcomeUnknown"]) == ("failed", False)
    assert mail["lastError"] == "Settled as failed by a member of the project."
    assert await world.used(project) == 0
    assert await world.sql("select 1 from attempts") == []
    [noted] = await world.sql(
        "select action, account_id, target from audit_events"
        " where project_id = :p and action like 'mail.%'",
        p=project.id,
    )
    assert noted.action == "mail.resolved.failed"
    assert (noted.account_id, noted.target) == (project.owner.id, mail_id)


async def test_a_parked_mail_can_be_handed_over_anew(world, office, not_keyed) -> None:
    project = await world.project()
    ids = await parked(world, project, 3)
    answer = await post(world, project, f"{ids[1]}/resolve", {"outcome": "resend"})
    assert answer.status_code == 200
    await world.until_status(project, ids[1], "sent")
    # Its fellows of the same call stay as they are.
    unknown = {m["id"] for m in await world.mails(project, outcomeUnknown=True)}
    assert unknown == {ids[0], ids[2]}
    assert len(await world.sql("select 1 from attempts where parked")) == 1
    for mail_id in (ids[0], ids[2]):
        assert (await post(world, project, f"{mail_id}/resolve", {"outcome": "sent"})).is_success
    assert await world.sql("select 1 from attempts") == []
    assert await world.used(project) == 3


async def test_only_a_parked_mail_is_settled_and_only_once(world, office, not_keyed) -> None:
    project = await world.project()
    mail_id = await world.sent(project)
    await world.until_status(project, mail_id, "sent")
    answer = await post(world, project, f"{mail_id}/resolve", {"outcome": "failed"})
    assert answer.status_code == 409
    assert answer.json()["code"] == "not_parked"
    [unknown] = await parked(world, project)
    answers = await asyncio.gather(
        *(post(world, project, f"{unknown}/resolve", {"outcome": o}) for o in ("sent", "failed"))
    )
    assert sorted(a.status_code for a in answers) == [200, 409]
    wrong = await post(world, project, f"{unknown}/resolve", {"outcome": "maybe"})
    assert wrong.status_code == 400
    stranger = await world.project()
    other = await post(world, stranger, f"{unknown}/resolve", {"outcome": "sent"})
    assert other.status_code == 404


async def test_a_late_answer_changes_nothing_about_a_mail_that_was_settled(
    world, not_keyed
) -> None:
    project = await world.project()
    world.double.faults.set(latency_ms=1200)
    office = PostOffice(world.resources)
    await office.open()
    mail_id = await world.sent(project)

    async def bound() -> bool:
        return bool(await world.sql("select 1 from attempts"))

    await world.until(bound)
    await world.sql("update attempts set lease_until = now() - interval '1 second'")
    await office.sweep.park()
    assert (await post(world, project, f"{mail_id}/resolve", {"outcome": "failed"})).is_success
    await office.close()
    mail = await world.mail(project, mail_id)
    assert (mail["status"], await world.used(project)) == ("failed", 0)


async def test_the_projects_policy_frees_what_stayed_without_evidence(
    world, office, not_keyed
) -> None:
    careful = await world.project()
    eager = await world.project(ambiguous_policy="resend")
    [stays] = await parked(world, careful)
    [goes] = await parked(world, eager)
    # Evidence gets a quarter of an hour; then the sweep does what the project wishes.
    assert await reconcile.resend_parked(world.resources) == set()
    await world.sql("update attempts set called_at = now() - interval '16 minutes'")
    await world.until_status(eager, goes, "sent")
    assert (await world.mail(careful, stays))["outcomeUnknown"] is True
    assert (await world.mail(eager, goes))["outcomeUnknown"] is False


# ── Reading ──────────────────────────────────────────────────────────────────────────────────────


async def test_content_is_read_by_members_while_it_is_kept_and_each_reading_is_noted(
    world, office
) -> None:
    project = await world.project(content_retention_days=3)
    mail_id = await world.sent(
        project,
        html="<b>x</b>",
        bcc="b@example.com",
        attachments=[ATTACHMENT],
        headers={"X-A": "1"},
    )
    await world.until_status(project, mail_id, "sent")
    path = f"{project.path}/mail/logs/{mail_id}/content"
    answer = await world.client.get(path, headers=project.owner.bearer)
    data = answer.json()["data"]
    kept_until = data.pop("keptUntil")
    assert kept_until > (await world.mail(project, mail_id))["sentAt"]
    assert data == {
        "from": "App <app@example.com>",
        "to": ["ann@example.com"],
        "cc": [],
        "bcc": ["b@example.com"],
        "replyTo": [],
        "subject": "Hello",
        "html": "<b>x</b>",
        "text": "Hi",
        "headers": {"X-A": "1"},
        "attachments": [{"filename": "a.txt", "contentType": None, "contentId": None, "size": 5}],
    }
    noted = await world.sql(
        "select account_id, target from audit_events"
        " where project_id = :p and action = 'content.read'",
        p=project.id,
    )
    assert [(row.account_id, row.target) for row in noted] == [(project.owner.id, mail_id)]
    by_key = await world.client.get(f"/api/mail/logs/{mail_id}/content", headers=project.key)
    assert by_key.status_code == 404


async def test_content_can_be_read_while_the_mail_waits_and_not_after_it_went(world) -> None:
    project = await world.project()
    mail_id = await world.sent(project)
    path = f"{project.path}/mail/logs/{mail_id}/content"
    waiting = await world.client.get(path, headers=project.owner.bearer)
    assert waiting.json()["data"]["keptUntil"] is None
    assert waiting.json()["data"]["text"] == "Hi"
    office = PostOffice(world.resources)
    await office.open()
    await world.until_status(project, mail_id, "sent")
    await office.close()
    gone = await world.client.get(path, headers=project.owner.bearer)
    assert gone.status_code == 410
    assert gone.json()["code"] == "content_not_kept"
    stranger = await world.project()
    other = await world.client.get(
        f"{stranger.path}/mail/logs/{mail_id}/content", headers=stranger.owner.bearer
    )
    assert other.status_code == 404
