"""The same mails through every provider end in the same normalised timeline, as far as the vendor tells one."""

import asyncio
import os
from collections import Counter
from contextlib import AsyncExitStack
from typing import Any

import orjson
import pytest

from postroom.domain import poll
from postroom.providers import smtp_pool
from postroom.providers import sns as sns_module
from postroom.worker import PostOffice
from tests.doubles.paubox import PauboxDouble
from tests.doubles.ses import SesDouble
from tests.doubles.smtp import SmtpDouble
from tests.factories import MadeProject
from tests.journeys.conftest import World
from tests.journeys.test_vendors import at, hook_path
from tests.providers.sns_signing import CERTIFICATE, TOPIC, Sns

pytestmark = pytest.mark.journey

MAILS = int(os.environ.get("TIMELINE_MAILS", "20"))
# Whether a vendor also says that it accepted a mail differs; that we handed it over is our own step.
WHOLE = ("delivered", "queued", "sent")
SILENT = ("queued", "sent")


@pytest.fixture
async def office(world: World):
    office = PostOffice(world.resources)
    await office.open()
    yield office
    await office.close()


async def _set_up(world: World, stack: AsyncExitStack, provider: str) -> MadeProject:
    match provider:
        case "resend":
            return await at(world, "resend")
        case "sandbox":
            return await at(world, "sandbox")
        case "paubox":
            double = await stack.enter_async_context(PauboxDouble())
            return await at(world, "paubox", apiKey="k" * 20, baseUrl=double.url)
        case "ses":
            ses = await stack.enter_async_context(SesDouble())
            keys = {
                "region": "us-east-1",
                "accessKeyId": "AKIATEST",
                "secretAccessKey": "secret-key",
            }
            return await at(world, "ses", **keys, endpointUrl=ses.url, topicArns=[TOPIC])
    smtp = await stack.enter_async_context(SmtpDouble())
    stack.callback(smtp_pool.close_idle)
    server = {"host": "127.0.0.1", "port": smtp.port, "security": "tls"}
    who = {"username": "jane", "password": "secret", "caCertificate": smtp.certificate}
    return await at(world, "smtp", **server, **who)


async def _report_by_sns(world: World, project: MadeProject) -> None:
    aws = Sns()
    sns_module._KEYS[CERTIFICATE] = aws.key.public_key()
    rows = await world.sql("select provider_id from mail_logs where project_id = :p", p=project.id)
    for row in rows:
        event: dict[str, Any] = {
            "eventType": "Delivery",
            "mail": {"messageId": row.provider_id, "timestamp": "2099-11-20T10:00:00Z"},
            "delivery": {"recipients": ["ann@example.com"]},
        }
        body = orjson.dumps(aws.notification(event))
        answer = await world.client.post(hook_path(world, project, "ses"), content=body)
        assert answer.status_code == 200


async def _due_now(world: World, project: MadeProject) -> None:
    await world.sql(
        "update mail_logs set next_poll_at = now() where project_id = :p and status in (1, 2)",
        p=project.id,
    )


async def _count(world: World, project: MadeProject, status: int) -> int:
    rows = await world.sql(
        "select count(*) n from mail_logs where project_id = :p and status >= :s",
        p=project.id,
        s=status,
    )
    return int(rows[0].n)


@pytest.mark.parametrize("provider", ["resend", "paubox", "ses", "smtp", "sandbox"])
async def test_every_provider_ends_in_the_same_timeline(world, office, provider):
    async with AsyncExitStack() as stack:
        project = await _set_up(world, stack, provider)
        for start in range(0, MAILS, 50):
            together = min(50, MAILS - start)
            await asyncio.gather(*(world.sent(project) for _ in range(together)))

        async def all_at(status: int) -> bool:
            return await _count(world, project, status) == MAILS

        await world.until(lambda: all_at(1), 8 + MAILS / 5)
        if provider == "ses":
            await _report_by_sns(world, project)
        while provider in ("resend", "paubox") and not await all_at(5):
            await _due_now(world, project)
            await poll.poll_due(world.resources, office.book)
        if provider != "smtp":
            await world.until(lambda: all_at(5), 8 + MAILS / 5)
        timelines: Counter[tuple[str, ...]] = Counter()
        for row in await world.mails(project, limit=100):
            answer = await world.client.get(
                f"{project.path}/mail/logs/{row['id']}", headers=project.owner.bearer
            )
            types = {event["type"] for event in answer.json()["data"]["events"]}
            timelines[tuple(sorted(types - {"accepted"}))] += 1
    assert timelines == {SILENT if provider == "smtp" else WHOLE: min(MAILS, 100)}
