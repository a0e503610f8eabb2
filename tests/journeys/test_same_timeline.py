"""The same mails through every provider end in the same normalised timeline, as far as the vendor tells one.

`TIMELINE_MAILS=1000 pytest tests/journeys/test_same_timeline.py` does it with a thousand and prints the table.
"""

import asyncio
import os
import sys
from collections import Counter
from contextlib import AsyncExitStack
from typing import Any, cast

import orjson
import pytest

from postroom.domain import poll
from postroom.providers import smtp_pool
from postroom.providers import sns as sns_module
from postroom.worker import PostOffice
from tests.doubles.faults import Faults
from tests.doubles.hooks import Hook, Hooks
from tests.doubles.paubox import PauboxDouble
from tests.doubles.resend_mail import report_events
from tests.doubles.ses import SesDouble
from tests.doubles.smtp import SmtpDouble
from tests.factories import MadeProject
from tests.journeys.conftest import SECRET, World
from tests.journeys.test_vendors import at, hook_path
from tests.providers.sns_signing import CERTIFICATE, TOPIC, Sns

pytestmark = pytest.mark.journey

MAILS = int(os.environ.get("TIMELINE_MAILS", "20"))
ONE_IN = 10  # of so many mails one goes to a mailbox that does not exist
# Whether a vendor also says that it accepted a mail differs; that we handed it over is our own step.
DELIVERED = ("delivered", "delivered, queued, sent")
BOUNCED = ("bounced", "hard_bounced, queued, sent")
# An SMTP server tells nothing more of what it took; of a mailbox that does not exist it tells at once.
TAKEN = ("sent", "queued, sent")

Timeline = tuple[str, str]  # the status, and what happened


@pytest.fixture
async def office(world: World):
    office = PostOffice(world.resources)
    await office.open()
    yield office
    await office.close()


async def _set_up(world: World, stack: AsyncExitStack, provider: str) -> MadeProject:
    match provider:
        case "resend":
            return await at(world, "resend", webhookSecret=SECRET)
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


def _recipient(provider: str, number: int) -> str:
    """Each mail has a recipient of its own: whoever bounced gets no second one."""
    exists = number % ONE_IN != 0
    nobody = "550-5.1.1" if provider == "smtp" else "bounced"
    return f"{'ann' if exists else nobody}@n{number}.example.com"


async def _report_by_sns(world: World, project: MadeProject) -> None:
    """What Amazon SES would publish of each of the project's mails."""
    aws = Sns()
    sns_module._KEYS[CERTIFICATE] = aws.key.public_key()
    rows = await world.sql(
        "select provider_id, id from mail_logs where project_id = :p", p=project.id
    )
    to = {mail["id"]: mail["to"][0] for mail in await _all_mails(world, project)}
    for row in rows:
        recipient = to[str(row.id)]
        event: dict[str, Any] = {
            "eventType": "Delivery",
            "mail": {"messageId": row.provider_id, "timestamp": "2099-11-20T10:00:00Z"},
            "delivery": {"recipients": [recipient]},
        }
        if recipient.startswith("bounced"):
            bounced = {"emailAddress": recipient, "diagnosticCode": "smtp; 550 5.1.1 unknown"}
            kind = {"bounceType": "Permanent", "bounceSubType": "General"}
            event |= {"eventType": "Bounce", "bounce": kind | {"bouncedRecipients": [bounced]}}
        body = orjson.dumps(aws.notification(event))
        answer = await world.client.post(hook_path(world, project, "ses"), content=body)
        assert answer.status_code == 200


class _Told:
    """Keeps the webhooks that a double wants to send."""

    def __init__(self) -> None:
        self.hooks: list[Hook] = []

    def tell(self, hook: Hook, seconds: float, **how: Any) -> None:
        self.hooks.append(hook)


async def _report_by_svix(world: World, project: MadeProject) -> None:
    """What Resend pushes of each mail; asked, it would not say whether a bounce is for good."""
    told, path = _Told(), hook_path(world, project, "resend")
    faults = Faults(webhook_url=path, webhook_secret=SECRET)
    report_events(cast(Hooks, told), faults, list(world.double.ledger.mails.values()))
    for hook in told.hooks:
        answer = await world.client.post(path, content=hook.body, headers=hook.headers())
        assert answer.status_code == 200


async def _report(world: World, project: MadeProject, office: PostOffice, provider: str) -> None:
    """Let the vendor tell, in the way that it does; SMTP never does, the sandbox does by itself."""
    if provider == "resend":
        await _report_by_svix(world, project)
    if provider == "ses":
        await _report_by_sns(world, project)
    while provider == "paubox" and await _count(world, project, 5) < MAILS:
        await _due_now(world, project)
        await poll.poll_due(world.resources, office.book)


async def _all_mails(world: World, project: MadeProject) -> list[dict[str, Any]]:
    """The whole log, page by page."""
    found: list[dict[str, Any]] = []
    query: dict[str, Any] = {"limit": 100}
    while True:
        answer = await world.client.get("/api/mail/logs", params=query, headers=project.key)
        found += answer.json()["data"]
        cursor = answer.json()["pagination"]["nextCursor"]
        if cursor is None:
            return found
        query["cursor"] = cursor


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


async def _timelines(world: World, project: MadeProject) -> Counter[Timeline]:
    """How many mails have which status and timeline, as the project's owner reads them."""

    async def one(mail: dict[str, Any]) -> Timeline:
        path = f"{project.path}/mail/logs/{mail['id']}"
        answer = await world.client.get(path, headers=project.owner.bearer)
        data = answer.json()["data"]
        happened = {event["type"] for event in data["events"]} - {"accepted"}
        return data["dbLog"]["status"], ", ".join(sorted(happened))

    found: Counter[Timeline] = Counter()
    mails = await _all_mails(world, project)
    for start in range(0, len(mails), 20):
        found.update(await asyncio.gather(*(one(mail) for mail in mails[start : start + 20])))
    return found


def _print(capsys: pytest.CaptureFixture[str], provider: str, found: Counter[Timeline]) -> None:
    with capsys.disabled():
        for (status, happened), mails in found.most_common():
            row = (provider, str(mails), status, happened)
            sys.stdout.write(f"\n| {' | '.join(row)} |")


@pytest.mark.parametrize("provider", ["resend", "paubox", "ses", "smtp", "sandbox"])
async def test_every_provider_ends_in_the_same_timeline(world, office, capsys, provider):
    nobody = len(range(0, MAILS, ONE_IN))
    async with AsyncExitStack() as stack:
        project = await _set_up(world, stack, provider)
        for start in range(0, MAILS, 50):
            numbers = range(start, min(start + 50, MAILS))
            await asyncio.gather(
                *(world.sent(project, to=_recipient(provider, number)) for number in numbers)
            )

        async def all_at(status: int) -> bool:
            return await _count(world, project, status) == MAILS

        await world.until(lambda: all_at(1), 8 + MAILS / 5)
        await _report(world, project, office, provider)
        if provider != "smtp":
            await world.until(lambda: all_at(5), 8 + MAILS / 5)

        async def all_bounced() -> bool:
            return await _count(world, project, 6) == nobody

        # A refusal at hand-over is a failure first, and told as a bounce right after.
        await world.until(all_bounced, 8 + MAILS / 5)
        timelines = await _timelines(world, project)
    if "TIMELINE_MAILS" in os.environ:
        _print(capsys, provider, timelines)
    arrives = TAKEN if provider == "smtp" else DELIVERED
    assert timelines == {arrives: MAILS - nobody, BOUNCED: nobody}
