"""What a mail says, and to whom, is found in no log line, metric, Redis value, error text or clear column."""

import base64
import logging
from typing import Any

import orjson
import pytest

from postroom.domain import measure, poll
from postroom.providers import smtp_pool
from postroom.worker import PostOffice
from tests.doubles.paubox import PauboxDouble
from tests.doubles.smtp import SmtpDouble
from tests.journeys.conftest import World
from tests.journeys.test_vendors import at, at_paubox, due_now, hook_path, pushed

pytestmark = pytest.mark.journey

CANARIES = (
    "canaryperson",
    "canarysubject",
    "canarybody",
    "canaryfile",
    "canaryheader",
    "canaryname",
)


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
        "html": "<p>canarybody</p>",
        "text": "canarybody",
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
    }
    parts = []
    async for key in redis.scan_iter():
        read = readers.get(await redis.type(key))
        parts.append(f"{key!r} {await read(key) if read else ''!r}")
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
        smtp.replies["RCPT"] = "451 canaryperson@example.com later"
        later = await send(world, relay, answers, a_letter("canaryperson+b@example.com"))

        async def waits() -> Any:
            return await world.sql(
                "select 1 from outbox where id = :id and waits_until is not null", id=later
            )

        await world.until(waits)
        smtp_pool.close_idle()


async def test_nothing_that_a_mail_says_is_found_anywhere(world, office, caplog):
    caplog.set_level(logging.DEBUG)
    answers: list[str] = []
    await through_paubox(world, office, answers)
    await through_smtp(world, answers)
    await measure.flush(world.resources.redis)
    metrics = (await world.client.get("/metrics")).text
    logged = "\n".join(
        f"{record.getMessage()} {record.__dict__} {record.exc_info}"
        for record in caplog.records
        # What the doubles and the client of this very test say is not the platform's log.
        if record.name.startswith(("postroom", "arq", "uvicorn"))
    )
    assert logged
    assert len(answers) >= 8
    assert found_in(logged) == []
    assert found_in(metrics) == []
    assert found_in(await everything_in_redis(world)) == []
    assert found_in("\n".join(answers)) == []
    for name, lines in (await everything_in_postgres(world)).items():
        assert (name, found_in(lines)) == (name, [])


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
    assert found_in(await everything_in_redis(world)) == ["canarysubject"]
    await world.resources.redis.delete("canary-test")
    encoded = base64.b64encode(orjson.dumps({"a": "xcanarybodyx"})).decode()
    assert found_in(b"canarybody".hex()) == ["canarybody"]
    assert encoded
