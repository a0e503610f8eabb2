"""Mails through vendors that lose answers, stay silent, or report unsigned; settled by evidence or by policy."""

import asyncio
from dataclasses import replace
from typing import Any

import httpx
import orjson
import pytest
from pydantic import SecretStr
from sqlalchemy import text

from postroom.app import create_app
from postroom.domain import account_health, connections, pace, poll, reconcile
from postroom.domain.connections import ConnectionBook
from postroom.providers import smtp_pool
from postroom.providers import sns as sns_module
from postroom.queue import TRANSACTIONAL, Lane, ring
from postroom.worker import PostOffice
from tests.doubles.paubox import PauboxDouble
from tests.doubles.ses import SesDouble
from tests.doubles.smtp import SmtpDouble
from tests.factories import MadeProject, make_connection, make_project
from tests.journeys.conftest import World
from tests.providers.sns_signing import CERTIFICATE, TOPIC, Sns

pytestmark = pytest.mark.journey


@pytest.fixture
async def office(world: World):
    office = PostOffice(world.resources)
    await office.open()
    yield office
    await office.close()


@pytest.fixture(autouse=True)
async def nobody_else_is_asked_about(resources):
    """Mails of earlier tests are not this test's work."""
    async with resources.sessions() as session:
        await session.execute(text("update mail_logs set next_poll_at = null"))
        await session.commit()


@pytest.fixture
async def paubox():
    async with PauboxDouble() as double:
        yield double


async def at(world: World, provider: str, columns: dict[str, Any] | None = None, **fields: Any):
    """A project with its own account, whose pace is known so that nothing waits for it."""
    project = await make_project(world.resources, **(columns or {}))
    fields = {"fromEmail": "Clinic <hello@clinic.test>"} | fields
    connection = await make_connection(world.resources, project.id, provider, **fields)
    await world.resources.redis.hset(f"paused:{connection}", "limit", 1000)
    slots = {str(slot): 1 for slot in range(1000)}
    await world.resources.redis.zadd(f"pace:{connection}", slots)
    return replace(project, connection_id=connection)


async def at_paubox(world: World, double: PauboxDouble, **fields: Any) -> MadeProject:
    columns = fields.pop("columns", {})
    return await at(world, "paubox", columns, apiKey="pb-key", baseUrl=double.url, **fields)


def hook_path(world: World, project: MadeProject, provider: str) -> str:
    token = connections.webhook_token(world.resources.keys, project.connection_id or 0)
    return f"/api/mail/webhook/{provider}/{token}"


def pushed(name: str, **payload: Any) -> dict[str, Any]:
    known = {"id": 1, "time": "2026-11-20T10:00:00.123Z", "to": "ann@example.com"}
    return {"event_name": f"api_mail_log_{name}", "payload": known | payload}


async def due_now(world: World, project: MadeProject) -> None:
    await world.sql(
        "update mail_logs set next_poll_at = now() where project_id = :p and next_poll_at is not null",
        p=project.id,
    )


async def next_poll(world: World, project: MadeProject) -> Any:
    rows = await world.sql(
        "select extract(epoch from next_poll_at - sent_at) s from mail_logs where project_id = :p",
        p=project.id,
    )
    return None if rows[0].s is None else round(float(rows[0].s))


# ── Asking ───────────────────────────────────────────────────────────────────────────────────────


async def test_a_silent_vendor_is_asked_and_the_mail_is_delivered(world, office, paubox):
    project = await at_paubox(world, paubox)
    mail_id = await world.sent(project)
    await world.until_status(project, mail_id, "sent")
    assert await next_poll(world, project) == 60
    assert await poll.poll_due(world.resources, office.book) == 0
    await due_now(world, project)
    assert await poll.poll_due(world.resources, office.book) == 1
    await world.until_status(project, mail_id, "delivered")


async def test_silence_is_never_turned_into_a_failure(world, office, paubox):
    project = await at_paubox(world, paubox)
    mail_id = await world.sent(project, to="processing@example.com")
    await world.until_status(project, mail_id, "sent")
    for step in (60, 300, 1800, 7200, 43_200, 86_400, 259_200):
        assert await next_poll(world, project) == step
        await world.sql(
            "update mail_logs set sent_at = now() - make_interval(secs => :s), next_poll_at = now()"
            " where project_id = :p",
            s=step + 1,
            p=project.id,
        )
        assert await poll.poll_due(world.resources, office.book) == 1
    assert await next_poll(world, project) is None
    assert (await world.mail(project, mail_id))["status"] == "sent"


async def test_an_account_that_is_away_is_left_alone_and_asked_again(world, office, paubox):
    project = await at_paubox(world, paubox)
    ids = [await world.sent(project) for _ in range(9)]
    for mail_id in ids:
        await world.until_status(project, mail_id, "sent")
    await due_now(world, project)
    paubox.page = 502
    before = len(paubox.calls)
    await poll.poll_due(world.resources, office.book)
    asked = len(paubox.calls) - before
    paubox.page = None
    await poll.poll_due(world.resources, office.book)
    await due_now(world, project)
    await poll.poll_due(world.resources, office.book)
    for mail_id in ids:
        await world.until_status(project, mail_id, "delivered")
    assert asked == poll.IN_FLIGHT


async def test_a_share_of_the_pace_is_all_that_questions_get(world, paubox):
    project = await at_paubox(world, paubox, ratePerSecond=2)
    book = ConnectionBook(world.resources)
    assert poll.budget_of(await book.get(project.connection_id)) == 24


async def test_clicks_are_found_after_the_delivery(world, office, paubox):
    project = await at_paubox(world, paubox)
    mail_id = await world.sent(project)
    sent = await world.until_status(project, mail_id, "sent")
    await due_now(world, project)
    await poll.poll_due(world.resources, office.book)
    status = {"deliveryStatus": "delivered", "openedStatus": "opened", "openedTime": None}
    message = {
        "message_deliveries": [{"recipient": "ann@example.com", "status": status}],
        "total_click_count": 1,
    }
    paubox.receipts[sent["resendEmailId"]] = {"data": {"message": message}}
    await due_now(world, project)
    assert await poll.poll_due(world.resources, office.book) == 1
    answer = await world.client.get(f"/api/mail/logs/{mail_id}", headers=project.key)
    assert "clicked" in [event["type"] for event in answer.json()["data"]["events"]]


# ── Unsigned webhooks ────────────────────────────────────────────────────────────────────────────


async def test_a_webhook_that_the_receipt_confirms_moves_the_mail(world, office, paubox):
    project = await at_paubox(world, paubox)
    mail_id = await world.sent(project, to="bounced@example.com")
    sent = await world.until_status(project, mail_id, "sent")
    body = pushed(
        "permanent_failure", source_tracking_id=sent["resendEmailId"], to="bounced@example.com"
    )
    answer = await world.client.post(hook_path(world, project, "paubox"), json=body)
    assert (answer.status_code, answer.json()["message"]) == (200, "Webhook processed.")
    await world.until_status(project, mail_id, "bounced")


async def test_a_webhook_that_the_receipt_denies_moves_nothing(world, office, paubox):
    project = await at_paubox(world, paubox)
    mail_id = await world.sent(project, to="processing@example.com")
    sent = await world.until_status(project, mail_id, "sent")
    for name in ("permanent_failure", "delivered"):
        body = pushed(name, source_tracking_id=sent["resendEmailId"], to="processing@example.com")
        answer = await world.client.post(hook_path(world, project, "paubox"), json=body)
        assert answer.status_code == 200
    assert (await world.mail(project, mail_id))["status"] == "sent"
    assert await world.sql("select 1 from suppressions where project_id = :p", p=project.id) == []


async def test_another_projects_mail_is_none_of_this_address_business(world, office, paubox):
    mine, other = await at_paubox(world, paubox), await at_paubox(world, paubox)
    mail_id = await world.sent(other)
    sent = await world.until_status(other, mail_id, "sent")
    receipts = len(paubox.calls)
    body = pushed("delivered", source_tracking_id=sent["resendEmailId"])
    answer = await world.client.post(hook_path(world, mine, "paubox"), json=body)
    assert answer.status_code == 200
    assert len(paubox.calls) == receipts
    assert (await world.mail(other, mail_id))["status"] == "sent"
    kept = await world.sql(
        "select 1 from provider_events where connection_id = :c", c=mine.connection_id
    )
    assert kept == []


@pytest.mark.parametrize("path", ["/api/mail/webhook/paubox/1-00000000000000000000000000000000"])
async def test_a_wrong_path_is_no_address(world, path):
    answer = await world.client.post(path, json=pushed("delivered", source_tracking_id="x"))
    assert answer.status_code == 404


# ── Lost answers ─────────────────────────────────────────────────────────────────────────────────


async def _parked(world: World, project: MadeProject) -> list[dict[str, Any]]:
    return await world.mails(project, outcomeUnknown="true", limit=100)


async def test_lost_answers_park_mails_and_echoes_settle_them(world, office, paubox):
    paubox.faults.set(drop_after_accept_percent=5)
    project = await at_paubox(world, paubox, bulkSize=1)
    for hundred in range(10):
        numbers = range(hundred * 100, hundred * 100 + 100)
        await asyncio.gather(*(world.sent(project, to=f"p{n}@example.com") for n in numbers))

    async def nothing_free() -> bool:
        rows = await world.sql(
            "select count(*) n from outbox o left join attempts a on a.id = o.attempt_id"
            " where o.project_id = :p and coalesce(a.parked, false) is false",
            p=project.id,
        )
        return rows[0].n == 0

    async def without_rests() -> None:
        # The account would rest for a second and more after each of the fifty, which is another test's matter.
        while True:
            await pace.resume(world.resources.redis, project.connection_id)
            await asyncio.sleep(0.05)

    resuming = asyncio.create_task(without_rests())
    await world.until(nothing_free, 150)
    resuming.cancel()
    report = paubox.ledger.report()
    assert report["mails_accepted"] == report["distinct_refs"] == 1000
    assert report["duplicates"] == 0
    lost = paubox.ledger.counts["dropped"]
    assert lost > 0
    parked = await _parked(world, project)
    assert len(parked) == lost
    assert {mail["status"] for mail in parked} == {"queued"}
    for mail in paubox.mails:
        echo = mail.mail["headers"]["X-Postroom-Id"]
        body = pushed(
            "delivered",
            source_tracking_id=mail.id,
            to=mail.mail["recipients"][0],
            custom_headers={"X-Postroom-Id": echo},
        )
        if echo.replace("-", "")[32:] in {m["id"].replace("-", "") for m in parked}:
            await world.client.post(hook_path(world, project, "paubox"), json=body)
    assert await _parked(world, project) == []
    left = await world.sql("select count(*) n from outbox where project_id = :p", p=project.id)
    assert left[0].n == 0
    assert paubox.ledger.report()["duplicates"] == 0


async def test_who_knows_the_secret_address_cannot_keep_a_mail_from_being_handed_over(
    world, paubox
) -> None:
    project = await at_paubox(world, paubox)
    mail_id = await world.sent(project)
    echo = f"{project.id.hex}-{mail_id.replace('-', '')}"
    for kind in ("delivered", "temporary_failure"):
        body = pushed(kind, source_tracking_id="forged", custom_headers={"X-Postroom-Id": echo})
        answer = await world.client.post(hook_path(world, project, "paubox"), json=body)
        assert answer.status_code == 200
    assert (await world.mail(project, mail_id))["status"] == "queued"
    assert len(await world.sql("select 1 from outbox where id = :i", i=mail_id)) == 1
    assert await world.sql("select 1 from provider_events where mail_id = :i", i=mail_id) == []


async def test_a_policy_of_resending_frees_parked_mails_after_a_while(world, office, paubox):
    paubox.faults.set(drop_before_accept_percent=100)
    ours = await at_paubox(world, paubox, columns={"ambiguous_policy": "resend"})
    theirs = await at_paubox(world, paubox)
    ids = {project.id: await world.sent(project) for project in (ours, theirs)}
    await world.until(lambda: _parked(world, ours))
    await world.until(lambda: _parked(world, theirs))
    assert await reconcile.resend_parked(world.resources) == set()
    paubox.faults.set(drop_before_accept_percent=0)
    await world.sql(
        "update attempts set called_at = called_at - interval '16 minutes' where parked"
    )
    lanes = await world.until(lambda: _freed(world, ours))
    await ring(world.resources.redis, lanes, 0)
    await world.until_status(ours, ids[ours.id], "sent")
    assert len(await _parked(world, theirs)) == 1
    assert len(paubox.mails) == 1


async def _freed(world: World, project: MadeProject) -> list[Any]:
    """The project's lanes once nothing of it is parked; the sweep of the office may have been first."""
    lanes = list(await reconcile.resend_parked(world.resources))
    return lanes if lanes or await _parked(world, project) else [_lane(project)]


def _lane(project: MadeProject) -> Any:
    return Lane(project.connection_id or 0, TRANSACTIONAL)


# ── SMTP and SES on the whole way ────────────────────────────────────────────────────────────────


async def test_smtp_tells_of_each_refused_recipient_and_lets_one_mail_wait(world, office):
    async with SmtpDouble() as double:
        project = await at(
            world,
            "smtp",
            host="127.0.0.1",
            port=double.port,
            security="tls",
            username="jane",
            password="secret",
            caCertificate=double.certificate,
        )
        greylisted = await world.sent(project, to="450-4.2.0@example.com")
        mixed = await world.sent(project, to=["good@example.com", "550-5.1.1@example.com"])
        mail = await world.until_status(project, mixed, "bounced")
        assert [r["status"] for r in mail["recipients"]] == ["sent", "bounced"]
        rows = await world.sql(
            "select waits_until > now() + interval '4 minutes' w from outbox where id = :id",
            id=greylisted,
        )
        assert rows[0].w is True
        assert (await world.mail(project, greylisted))["status"] == "queued"
        smtp_pool.close_idle()


async def test_amazon_ses_reports_through_a_signed_topic(world, office):
    aws = Sns()
    sns_module._KEYS[CERTIFICATE] = aws.key.public_key()
    async with SesDouble() as double:
        project = await at(
            world,
            "ses",
            region="us-east-1",
            accessKeyId="AKIATEST",
            secretAccessKey="secret-key",
            endpointUrl=double.url,
            topicArns=[TOPIC],
        )
        mail_id = await world.sent(project)
        sent = await world.until_status(project, mail_id, "sent")
        event = {
            "eventType": "Delivery",
            "mail": {"messageId": sent["resendEmailId"], "timestamp": "2026-11-20T10:00:00Z"},
            "delivery": {"recipients": ["ann@example.com"]},
        }
        path = hook_path(world, project, "ses")
        forged = aws.notification(event) | {"Message": "{}"}
        refused = await world.client.post(path, content=orjson.dumps(forged))
        assert refused.status_code == 400
        taken = await world.client.post(path, content=orjson.dumps(aws.notification(event)))
        assert taken.status_code == 200
        await world.until_status(project, mail_id, "delivered")


# ── An account that falls silent ─────────────────────────────────────────────────────────────────


async def _history(world: World, project: MadeProject, handed: int, told: int) -> None:
    hour = account_health._hour() - 24
    key = f"reports:{project.connection_id}"
    figures = {f"{hour}:handed": handed, f"{hour}:told": told}
    await world.resources.redis.hset(key, mapping=figures)


async def _health(world: World, project: MadeProject) -> account_health.AccountHealth:
    (found,) = await account_health.examine(world.resources, project.id)
    return found


async def test_an_account_that_reports_far_less_than_it_used_to_raises_an_alarm(world):
    project = await world.project("sandbox")
    redis, number = world.resources.redis, project.connection_id or 0
    await _history(world, project, handed=1000, told=1900)
    await account_health.count(redis, number, account_health.HANDED, 40)
    await account_health.count(redis, number, account_health.TOLD, 3)
    await account_health.watch(world.resources)
    found = await _health(world, project)
    assert (found.handed, found.told, found.usual, found.silent) == (40, 3, 1.9, True)
    metrics = await world.client.get("/metrics")
    assert "postroom_silent_accounts 1.0" in metrics.text
    await account_health.count(redis, number, account_health.TOLD, 60)
    await account_health.watch(world.resources)
    assert not (await _health(world, project)).silent


@pytest.mark.parametrize(
    ("before", "handed"), [((1000, 0), 100), ((10, 20), 100), ((1000, 1900), 5)]
)
async def test_too_little_knowledge_is_no_alarm(world, before, handed):
    project = await world.project("sandbox")
    await _history(world, project, *before)
    number = project.connection_id or 0
    await account_health.count(world.resources.redis, number, account_health.HANDED, handed)
    assert not (await _health(world, project)).silent


# ── The shared account ───────────────────────────────────────────────────────────────────────────


async def test_a_shared_account_reports_at_the_path_that_its_operator_chose(resources, paubox):
    shared = {
        "mail_provider": "paubox",
        "paubox_api_key": SecretStr("pb-shared"),
        "paubox_base_url": paubox.url,
        "paubox_webhook_token": SecretStr("chosen-by-the-operator"),
    }
    here = replace(resources, settings=resources.settings.model_copy(update=shared))
    app = create_app(here)
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://p.test") as client:
            path = "/api/mail/webhook/paubox/chosen-by-the-operator"
            answer = await client.post(path, json=pushed("delivered", source_tracking_id="x"))
            assert answer.json()["message"] == "Webhook processed."
            other = await client.post(path.replace("paubox", "resend"), json={})
            assert other.status_code == 404
    async with resources.sessions() as session:
        await connections.ensure_shared(session, resources.settings, resources.keys)
