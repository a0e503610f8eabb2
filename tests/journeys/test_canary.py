"""What a mail says, and to whom, is found in no log line, metric, Redis value, error text or clear column.

Every provider is given mails that arrive, bounce, are refused in words that quote them, and get lost. Projects
with health data keep nothing in clear. Resend may not carry any: there the log shows recipients and subjects, as
it is meant to, and everything else is looked for all the same.
"""

import base64
import logging
from typing import Any

import orjson
import pytest

from postroom.domain import measure, poll
from postroom.providers import smtp_pool
from postroom.providers import sns as sns_module
from postroom.worker import PostOffice
from tests.doubles.hooks import Hook
from tests.doubles.paubox import PauboxDouble
from tests.doubles.ses import SesDouble
from tests.doubles.smtp import SmtpDouble
from tests.journeys.conftest import SECRET, World
from tests.journeys.test_vendors import at, at_paubox, due_now, hook_path, pushed
from tests.providers.sns_signing import CERTIFICATE, TOPIC, Sns

pytestmark = pytest.mark.journey

CANARIES = (
    "canaryperson",
    "canarysubject",
    "canarybody",
    "canaryfile",
    "canaryheader",
    "canaryname",
    "canaryvariable",
)
# What the log of a project without health data shows to those who may read it.
SHOWN_IN_LOG = ("canaryperson", "canarysubject", "canaryname")
PHI = {"phi": True}


@pytest.fixture
async def office(world: World):
    office = PostOffice(world.resources)
    await office.open()
    yield office
    await office.close()


def a_letter(to: str) -> dict[str, Any]:
    content = base64.b64encode(b"canarybody").decode()
    return {
        "to": f"canaryname <{to}>",
        "cc": "canaryperson+cc@example.com",
        "subject": "canarysubject",
        "html": "<p>canarybody {{result}}</p>",
        "text": "canarybody {{result}}",
        "variables": {"result": "canaryvariable"},
        "headers": {"X-Ward": "canaryheader"},
        "attachments": [{"filename": "canaryfile.pdf", "content": content}],
    }


def found_in(text: str) -> list[str]:
    """The canaries in a text, as they are, in hex and in base64."""
    low = text.lower()
    forms = {
        canary: (
            canary,
            canary.encode().hex(),
            base64.b64encode(canary.encode()).decode().rstrip("=").lower()[:-1],
        )
        for canary in CANARIES
    }
    return [canary for canary, ways in forms.items() if any(way in low for way in ways)]


async def everything_in_redis(world: World) -> str:
    redis: Any = world.resources.redis
    readers = {
        b"string": redis.get,
        b"hash": redis.hgetall,
        b"set": redis.smembers,
        b"zset": lambda key: redis.zrange(key, 0, -1, withscores=True),
        b"list": lambda key: redis.lrange(key, 0, -1),
        b"stream": redis.xrange,
    }
    parts = []
    async for key in redis.scan_iter():
        kind = await redis.type(key)
        assert kind in readers or kind == b"none", f"nobody here reads a {kind!r}"
        parts.append(f"{key!r} {await readers[kind](key) if kind in readers else ''!r}")
    return "\n".join(parts)


async def everything_in_postgres(world: World) -> dict[str, str]:
    tables = await world.sql("select tablename from pg_tables where schemaname = 'public'")
    found = {}
    for table in tables:
        rows = await world.sql(f"select t::text as line from {table.tablename} t")
        found[table.tablename] = "\n".join(str(row.line) for row in rows)
    return found


async def send(world: World, project: Any, answers: list[str], letter: dict[str, Any]) -> Any:
    answer = await world.client.post("/api/mail/send", json=letter, headers=project.key)
    answers.append(answer.json()["message"])
    return answer.json()["data"].get("id")


async def through_paubox(world: World, office: PostOffice, answers: list[str]) -> None:
    """Delivered, bounced, lost, refused by the vendor in words of the mail, refused by us."""
    async with PauboxDouble() as paubox:
        phi = {"columns": {"phi": True}, "phiAllowed": True, "bulkSize": 1}
        clinic = await at_paubox(world, paubox, **phi)
        delivered = await send(world, clinic, answers, a_letter("canaryperson@example.com"))
        await world.until_status(clinic, delivered, "sent")
        address = "bounced+canaryperson@example.com"
        bounced = await send(world, clinic, answers, a_letter(address))
        row = await world.until_status(clinic, bounced, "sent")
        known = {"source_tracking_id": row["resendEmailId"], "to": address}
        body = pushed("permanent_failure", subject="canarysubject", **known)
        await world.client.post(hook_path(world, clinic, "paubox"), json=body)
        paubox.faults.set(drop_after_accept=1)
        lost = await send(world, clinic, answers, a_letter("canaryperson+lost@example.com"))
        await world.until(lambda: _unknown(world, clinic, lost))
        said = {"errors": [{"title": "Bad canaryperson@example.com", "details": "canarybody"}]}
        paubox.faults.set(answer={"status": 400, "message": said, "calls": 1})
        refused = await send(world, clinic, answers, a_letter("canaryperson+no@example.com"))
        failed = await world.until_status(clinic, refused, "failed")
        answers.append(str(failed["lastError"]))
        unfit = a_letter("x@example.com") | {"headers": {"In-Reply-To": "canaryheader"}}
        await send(world, clinic, answers, unfit)
        await due_now(world, clinic)
        assert await poll.poll_due(world.resources, office.book) > 0
        said = {"message": "No, canaryperson@example.com"}
        paubox.faults.set(answer={"status": 403, "message": said, "calls": 1})
        await send(world, clinic, answers, a_letter("canaryperson+stopped@example.com"))
        await world.until(lambda: _stopped(world, clinic))


async def through_smtp(world: World, answers: list[str]) -> None:
    """Refused for good, and for now, in words that name the recipient."""
    async with SmtpDouble() as smtp:
        server = {"host": "127.0.0.1", "port": smtp.port, "security": "tls"}
        who = {"username": "jane", "password": "secret", "caCertificate": smtp.certificate}
        relay = await at(world, "smtp", {"phi": True}, phiAllowed=True, **server, **who)
        smtp.replies["RCPT"] = "550 5.1.1 <canaryperson@example.com> unknown"
        refused = await send(world, relay, answers, a_letter("canaryperson+a@example.com"))
        row = await world.until_status(relay, refused, "bounced")
        answers.append(str(row["lastError"]))
        smtp.replies["RCPT"] = "451 canaryperson@example.com takes canaryfile.pdf later"
        later = await send(world, relay, answers, a_letter("canaryperson+b@example.com"))

        async def waits() -> Any:
            return await world.sql(
                "select 1 from outbox where id = :id and waits_until is not null", id=later
            )

        await world.until(waits)
        smtp_pool.close_idle()


async def through_ses(world: World, answers: list[str]) -> None:
    """Bounced by a signed event that quotes the mail, refused in its words, lost, stopped."""
    aws = Sns()
    sns_module._KEYS[CERTIFICATE] = aws.key.public_key()
    async with SesDouble() as ses:
        keys = {"region": "us-east-1", "accessKeyId": "AKIATEST", "secretAccessKey": "secret-key"}
        more = {"endpointUrl": ses.url, "topicArns": [TOPIC], "configurationSet": "tls"}
        clinic = await at(world, "ses", PHI, phiAllowed=True, **keys, **more)
        bounced = await send(world, clinic, answers, a_letter("canaryperson+a@example.com"))
        row = await world.until_status(clinic, bounced, "sent")
        event = a_bounce(row["resendEmailId"], "canaryperson+a@example.com")
        body = orjson.dumps(aws.notification(event))
        hooked = await world.client.post(hook_path(world, clinic, "ses"), content=body)
        answers.append(hooked.json()["message"])
        await world.until_status(clinic, bounced, "bounced")
        ses.faults.set(drop_after_accept=1)
        lost = await send(world, clinic, answers, a_letter("canaryperson+b@example.com"))
        await world.until(lambda: _unknown(world, clinic, lost))
        said = "Illegal filename 'canaryfile.pdf' in canarysubject to canaryperson@example.com"
        script = {"status": 400, "name": "MessageRejected", "message": said, "calls": 1}
        ses.faults.set(answer=script)
        refused = await send(world, clinic, answers, a_letter("canaryperson+c@example.com"))
        await world.until_status(clinic, refused, "failed")
        script = {"status": 403, "name": "AccessDenied", "message": "canaryperson@example.com"}
        ses.faults.set(answer=script)
        await send(world, clinic, answers, a_letter("canaryperson+d@example.com"))
        await world.until(lambda: _stopped(world, clinic))


def a_bounce(provider_id: str, address: str) -> dict[str, Any]:
    """A bounce as Amazon SES tells it, with the mail's headers in it."""
    said = f"smtp; 550 5.1.1 <{address}> does not take canarysubject with canarybody in it"
    return {
        "eventType": "Bounce",
        "mail": {
            "messageId": provider_id,
            "timestamp": "2026-11-20T10:00:00Z",
            "destination": [address],
            "headers": [{"name": "Subject", "value": "canarysubject"}],
            "commonHeaders": {"to": [f"canaryname <{address}>"], "subject": "canarysubject"},
        },
        "bounce": {
            "bounceType": "Permanent",
            "bounceSubType": "General",
            "bouncedRecipients": [{"emailAddress": address, "diagnosticCode": said}],
        },
    }


async def through_sandbox(world: World, answers: list[str]) -> None:
    """Delivered and bounced; the sandbox keeps what it is given, sealed."""
    clinic = await at(world, "sandbox", PHI, phiAllowed=True)
    for local, status in (("canaryperson", "delivered"), ("bounced+canaryperson", "bounced")):
        mail_id = await send(world, clinic, answers, a_letter(f"{local}@example.com"))
        await world.until_status(clinic, mail_id, status)
    answer = await world.client.get(
        f"{clinic.path}/mail/logs/{mail_id}/content", headers=clinic.owner.bearer
    )
    assert "canarybody canaryvariable" in answer.text
    audited = "select 1 from audit_events where project_id = :p and action = 'content.read'"
    assert len(await world.sql(audited, p=clinic.id)) == 1


async def through_resend(world: World, answers: list[str]) -> Any:
    """Bounced by a signed event that quotes the mail, refused in its words, lost and repeated, in a batch."""
    shop = await at(world, "resend", webhookSecret=SECRET)
    bounced = await send(world, shop, answers, a_letter("canaryperson+a@example.com"))
    row = await world.until_status(shop, bounced, "sent")
    said = {"type": "Permanent", "message": "550 <canaryperson+a@example.com> canarysubject"}
    data = {"email_id": row["resendEmailId"], "subject": "canarysubject", "bounce": said}
    body = orjson.dumps(
        {"type": "email.bounced", "created_at": "2026-11-20T10:00:00Z", "data": data}
    )
    hook = Hook("msg_canary", hook_path(world, shop, "resend"), SECRET, body)
    hooked = await world.client.post(hook.url, content=body, headers=hook.headers())
    answers.append(hooked.json()["message"])
    await world.until_status(shop, bounced, "bounced")
    world.double.faults.set(drop_after_accept=1)
    letters = [a_letter(f"canaryperson+{n}@example.com") for n in range(3)]
    batch = await world.client.post("/api/mail/send-batch", json=letters, headers=shop.key)
    answers.append(batch.json()["message"])
    for item in batch.json()["data"]:
        await world.until_status(shop, item["id"], "sent")
    said = {
        "status": 422,
        "name": "validation_error",
        "message": "canaryperson@example.com",
        "calls": 1,
    }
    world.double.faults.set(answer=said)
    refused = await send(world, shop, answers, a_letter("canaryperson+no@example.com"))
    failed = await world.until_status(shop, refused, "failed")
    answers.append(str(failed["lastError"]))
    return shop


async def test_nothing_that_a_mail_says_is_found_anywhere(world, office, caplog):
    caplog.set_level(logging.DEBUG)
    answers: list[str] = []
    in_redis = []
    for journey in (
        through_paubox(world, office, answers),
        through_smtp(world, answers),
        through_ses(world, answers),
        through_sandbox(world, answers),
    ):
        await journey
        in_redis.append(await everything_in_redis(world))
    in_postgres = await everything_in_postgres(world)
    shop = await through_resend(world, answers)
    await measure.flush(world.resources.redis)
    metrics = (await world.client.get("/metrics")).text
    logged = "\n".join(
        f"{record.getMessage()} {record.__dict__} {record.exc_info}"
        for record in caplog.records
        if is_ours(record)
    )
    assert logged
    assert len(answers) >= 20
    assert found_in(logged) == []
    assert found_in(metrics) == []
    assert found_in("\n".join([*in_redis, await everything_in_redis(world)])) == []
    assert found_in("\n".join(answers)) == []
    for name, lines in in_postgres.items():
        assert (name, found_in(lines)) == (name, [])
    for name, lines in (await everything_in_postgres(world)).items():
        shown = SHOWN_IN_LOG if name.startswith("mail_logs") else ()
        assert (name, sorted(set(found_in(lines)) - set(shown))) == (name, [])
    assert (await world.mails(shop))[0]["subject"] == "canarysubject"


def is_ours(record: logging.LogRecord) -> bool:
    """Whether a process would write this line; what the doubles and this very test's client say is no log."""
    if record.name.startswith(("postroom", "arq", "uvicorn")):
        return True
    quiet = ("httpx", "httpcore")
    least = logging.WARNING if record.name.startswith(quiet) else logging.INFO
    return record.levelno >= least and record.name != "mail.log"


async def _stopped(world: World, project: Any) -> Any:
    return await world.sql(
        "select 1 from connections where id = :c and stopped_at is not null",
        c=project.connection_id,
    )


async def _unknown(world: World, project: Any, mail_id: str | None) -> bool:
    rows = await world.sql(
        "select outcome_unknown u from mail_logs where project_id = :p and id = :m",
        p=project.id,
        m=mail_id,
    )
    return bool(rows and rows[0].u)


async def test_a_canary_would_be_found(world):
    await world.resources.redis.set("canary-test", "canarysubject")
    await world.resources.redis.xadd("canary-stream", {"a": "canaryname"})
    assert found_in(await everything_in_redis(world)) == ["canarysubject", "canaryname"]
    await world.resources.redis.delete("canary-test", "canary-stream")
    project = await world.project("sandbox")
    await world.sql("update projects set name = 'of canaryperson' where id = :p", p=project.id)
    in_postgres = await everything_in_postgres(world)
    assert found_in(in_postgres["projects"]) == ["canaryperson"]
    await world.sql("update projects set name = 'x' where id = :p", p=project.id)
    assert found_in(b"canarybody".hex()) == ["canarybody"]
