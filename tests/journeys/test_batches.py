"""Up to a hundred mails in one request: one result each, one step for the quota, the same way out as any mail."""

import base64
from typing import Any

import httpx
import pytest

from tests.factories import MadeProject, set_columns
from tests.journeys.conftest import World

pytestmark = pytest.mark.journey


def mail(number: int = 0, **fields: Any) -> dict[str, Any]:
    return {"to": f"u{number}@example.com", "subject": f"No {number}", "text": "x"} | fields


async def send(world: World, project: MadeProject, items: Any, **headers: str) -> httpx.Response:
    return await world.client.post(
        "/api/mail/send-batch", json=items, headers=project.key | headers
    )


async def test_of_a_hundred_with_three_bad_ones_ninety_seven_are_handed_over_once(
    world, office
) -> None:
    project = await world.project()
    items = [mail(i) for i in range(100)]
    items[10] = {"to": "not an address", "subject": "s", "text": "x"}
    items[50] = mail(50, subject="")
    items[99] = mail(99, text="", html=" ")
    answer = await send(world, project, items)
    assert answer.status_code == 200
    assert answer.json()["message"] == "Successfully dispatched batch of 97 emails."
    data = answer.json()["data"]
    assert len(data) == 100
    errors = {i: item["error"] for i, item in enumerate(data) if "error" in item}
    assert errors == {
        10: {"code": "invalid_payload", "message": "Invalid recipient email format."},
        50: {"code": "invalid_payload", "message": "Subject is required."},
        99: {
            "code": "invalid_payload",
            "message": "Provide at least one of html or text content.",
        },
    }

    async def all_sent() -> bool:
        rows = await world.sql("select 1 from outbox where project_id = :p", p=project.id)
        return not rows

    await world.until(all_sent)
    report = world.double.report()
    assert (report["distinct_refs"], report["duplicates"]) == (97, 0)
    assert await world.used(project) == 97
    # The order of the answer is the order of the request.
    subjects = {
        str(row.id): row.subject
        for row in await world.sql(
            "select id, subject from mail_logs where project_id = :p", p=project.id
        )
    }
    assert all(subjects[item["id"]] == f"No {i}" for i, item in enumerate(data) if "id" in item)


@pytest.mark.parametrize(
    "items",
    [[], [mail(i) for i in range(101)], {}, mail(), "x", [1, 2], [{"to": "nobody"}]],
    ids=["empty", "101", "object", "one mail", "text", "numbers", "all bad"],
)
async def test_what_is_no_batch_is_refused_as_a_whole(world, items) -> None:
    project = await world.project("sandbox")
    answer = await send(world, project, items)
    assert answer.status_code == 400
    assert answer.json()["message"] == "Invalid batch mail payload."
    assert await world.used(project) == 0


async def test_a_batch_of_bad_ones_says_what_is_wrong_with_each(world) -> None:
    project = await world.project("sandbox")
    answer = await send(world, project, [{"to": "nobody"}, mail(subject="")])
    assert answer.json()["issues"] == [
        {"path": "0.to", "message": "Invalid recipient email format."},
        {"path": "1.subject", "message": "Subject is required."},
    ]


async def test_a_batch_fits_under_the_limit_whole_or_not_at_all(world) -> None:
    settings = world.resources.settings.model_copy(update={"free_monthly_limit": 10})
    object.__setattr__(world.resources, "settings", settings)
    project = await world.project("sandbox", plan="free")
    assert (await send(world, project, [mail(i) for i in range(8)])).status_code == 200
    answer = await send(world, project, [mail(i) for i in range(3)])
    assert answer.status_code == 429
    assert answer.json()["message"] == "Monthly mail limit exceeded."
    assert await world.used(project) == 8
    # A bad one takes no slot: two good ones and one bad one fit.
    answer = await send(world, project, [mail(1), mail(2), mail(3, subject="")])
    assert answer.json()["message"] == "Successfully dispatched batch of 2 emails."
    assert await world.used(project) == 10


async def test_an_idempotency_key_covers_the_whole_array(world) -> None:
    project = await world.project("sandbox")
    items = [mail(1), mail(2, subject=""), mail(3)]
    first = await send(world, project, items, **{"Idempotency-Key": "batch-1"})
    again = await send(world, project, items, **{"Idempotency-Key": "batch-1"})
    assert again.json() == first.json()
    assert again.headers["Idempotent-Replayed"] == "true"
    other = await send(world, project, items[:2], **{"Idempotency-Key": "batch-1"})
    assert other.status_code == 409
    assert other.json()["code"] == "idempotency_mismatch"
    # The key of a single mail is another one.
    single = await world.send(project, headers_={"Idempotency-Key": "batch-1"})
    assert single.status_code == 200
    assert await world.used(project) == 3


async def test_mails_of_a_batch_may_have_all_that_single_ones_have(world, office) -> None:
    project = await world.project()
    content = base64.b64encode(b"hello").decode()
    items = [
        mail(1, templateName="otp", variables={"otp": "111"}, subject=None, text=None),
        mail(2, attachments=[{"filename": "a.txt", "content": content}]),
        mail(3, scheduledAt="2099-01-01T00:00:00Z"),
        mail(4, templateName="no such template"),
        mail(5, templateName="otp", templateId="a" * 24),
        mail(6, subject="Hi {{n}}", variables={"n": "Ada"}, tags=[{"name": "a", "value": "b"}]),
        mail(7, nonsense=1),
    ]
    data = (await send(world, project, items)).json()["data"]
    said = [item.get("error", {}).get("message") for item in data]
    assert said == [
        None,
        None,
        "scheduledAt is at most 30 days ahead.",
        "Template not found.",
        "Provide only one of templateId or templateName.",
        None,
        'Unknown field "nonsense".',
    ]
    for i in (0, 1, 5):
        await world.until_status(project, data[i]["id"], "sent")
    by_to = {m.mail["to"][0]: m.mail for m in world.double.mails}
    assert by_to["u1@example.com"]["subject"] == "111 is your verification code"
    assert by_to["u2@example.com"]["attachments"][0]["filename"] == "a.txt"
    assert by_to["u6@example.com"]["subject"] == "Hi Ada"
    used = (await world.mail(project, data[0]["id"]))["templateUsed"]
    assert (used["key"], used["scope"]) == ("otp", "global")


async def test_the_dashboards_door_takes_batches_too(world) -> None:
    project = await world.project("sandbox")
    answer = await world.client.post(
        f"{project.path}/mail/send-batch", json=[mail(1)], headers=project.owner.bearer
    )
    assert answer.json()["message"] == "Successfully dispatched batch of 1 emails."


async def test_a_batch_without_any_sender_is_refused_with_the_ways_to_give_one(world) -> None:
    project = await world.project("sandbox")
    await set_columns(world.resources, project.id)
    await world.sql(
        "update connections set from_email = null where id = :c", c=project.connection_id
    )
    settings = world.resources.settings.model_copy(update={"email_from": None})
    object.__setattr__(world.resources, "settings", settings)
    answer = await send(world, project, [mail(1)])
    assert answer.status_code == 400
    assert "sender" in answer.json()["issues"][0]["message"]
