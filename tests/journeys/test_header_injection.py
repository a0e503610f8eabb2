"""Text that tries to become a header: through every door, judged by what the vendors really received."""

import asyncio
import email
from dataclasses import replace
from email.message import Message
from typing import Any

import pytest

from postroom.providers import smtp_pool
from postroom.worker import PostOffice
from tests.doubles.smtp import SmtpDouble
from tests.factories import MadeProject, make_connection, make_project
from tests.journeys.conftest import World
from tests.journeys.people import make_audience

pytestmark = pytest.mark.journey

INJECTED = "X-Injected"
# Each tries to end the line it stands on, for somebody who reads it.
BREAKS = {
    "CRLF": "\r\n",
    "LF": "\n",
    "CR": "\r",
    "NUL": "\x00",
    "vertical tab": "\x0b",
    "form feed": "\x0c",
    "file separator": "\x1c",
    "record separator": "\x1e",
    "next line": "\x85",
    "line separator": "\u2028",
    "paragraph separator": "\u2029",
    "full-width": "\uff0d\uff0a",
    "letter that loses its upper byte": "\u560d\u560a",
    "percent": "%0d%0a",
    "entity": "&#13;&#10;",
    "encoded word": "=?utf-8?q?=0d=0a?=",
    "folded": "\r\n ",
}


def text_of(how: str) -> str:
    line = BREAKS[how]
    return f"Hello{line}{INJECTED}: yes{line}Bcc: thief@evil.test{line}{line}Other body"


@pytest.fixture
async def smtp():
    async with SmtpDouble() as double:
        yield double
        smtp_pool.close_idle()
        await asyncio.sleep(0)


async def at_smtp(world: World, double: SmtpDouble) -> MadeProject:
    project = await make_project(world.resources)
    connection = await make_connection(
        world.resources,
        project.id,
        "smtp",
        host="127.0.0.1",
        port=double.port,
        security="tls",
        username="jane",
        password="secret",
        caCertificate=double.certificate,
        fromEmail="App <app@example.com>",
    )
    await world.resources.redis.zadd(f"pace:{connection}", {str(slot): 1 for slot in range(10)})
    return replace(project, connection_id=connection)


def bodies(hostile: str) -> dict[str, dict[str, Any]]:
    """A mail for each field that a client fills with text."""
    plain = {"to": "ann@example.com", "subject": "Hello", "text": "Hi"}
    file = {"filename": "a.txt", "content": "aGVsbG8="}
    return {
        "subject": plain | {"subject": hostile},
        "filled subject": plain | {"subject": "{{x}}", "variables": {"x": hostile}},
        "to": plain | {"to": f"{hostile} <ann@example.com>"},
        "quoted to": plain | {"to": f'"{hostile}" <ann@example.com>'},
        "to without a name": plain | {"to": f"ann@example.com{hostile}"},
        "inside an address": plain | {"to": f"<ann{hostile}@example.com>"},
        "cc": plain | {"cc": f"{hostile} <carl@example.com>"},
        "bcc": plain | {"bcc": f"{hostile} <bob@example.com>"},
        "from": plain | {"from": f"{hostile} <app@example.com>"},
        "replyTo": plain | {"replyTo": f"{hostile} <app@example.com>"},
        "header value": plain | {"headers": {"X-Mine": hostile}},
        "header name": plain | {"headers": {f"X-Mine{hostile}": "x"}},
        "file name": plain | {"attachments": [file | {"filename": hostile}]},
        "content id": plain
        | {"html": "<p>Hi</p>", "attachments": [file | {"contentId": hostile[:127]}]},
        "content type": plain | {"attachments": [file | {"contentType": f"text/plain{hostile}"}]},
        "tag name": plain | {"tags": [{"name": hostile, "value": "x"}]},
        "tag value": plain | {"tags": [{"name": "x", "value": hostile}]},
        "text": plain | {"text": hostile},
    }


def injected(message: Message) -> list[str]:
    """Header lines that are not ours, in the message and in all its parts."""
    return [
        f"{name}: {value}"
        for part in message.walk()
        for name, value in part.items()
        if INJECTED.lower() in name.lower() or (name.lower() == "bcc") or "thief" in name
    ]


async def until_empty(world: World) -> None:
    async def empty() -> bool:
        return not await world.sql("select 1 from outbox limit 1")

    await world.until(empty, 20)


@pytest.mark.parametrize("how", BREAKS)
async def test_no_text_becomes_a_header_of_an_smtp_message(
    world: World, office: PostOffice, smtp: SmtpDouble, how: str
) -> None:
    project = await at_smtp(world, smtp)
    asked = bodies(text_of(how))
    answers = [await world.send(project, **body) for body in asked.values()]
    batch = await world.client.post(
        "/api/mail/send-batch", json=list(asked.values()), headers=project.key
    )
    assert {answer.status_code for answer in answers} <= {200, 400}
    # NUL in one mail of it spoils the whole body.
    assert batch.status_code == (400 if how == "NUL" else 200)
    await until_empty(world)
    # The body's own text is always taken, without NUL: there it is nothing but text.
    assert smtp.mails or how == "NUL"
    for envelope in smtp.mails:
        assert isinstance(envelope.content, bytes)
        assert injected(email.message_from_bytes(envelope.content)) == []
        people = {"ann@example.com", "bob@example.com", "carl@example.com"}
        assert set(envelope.rcpt_tos) <= people
        head = envelope.content.partition(b"\r\n\r\n")[0]
        assert head.isascii()
        assert b"\r" not in head.replace(b"\r\n", b"")
        assert b"\n" not in head.replace(b"\r\n", b"")


@pytest.mark.parametrize("how", BREAKS)
async def test_no_text_becomes_a_header_at_a_vendor_of_json(
    world: World, office: PostOffice, how: str
) -> None:
    project = await world.project()
    for body in bodies(text_of(how)).values():
        assert (await world.send(project, **body)).status_code in {200, 400}
    template = {"name": "Hostile", "subject": text_of(how), "text": "Hi"}
    path = f"{project.path}/mail/templates"
    made = await world.client.post(path, json=template, headers=project.owner.bearer)
    if made.status_code == 201:
        await world.send(project, templateName="hostile", subject=None)
    await until_empty(world)
    assert world.double.mails or how == "NUL"
    for accepted in world.double.mails:
        mail = accepted.mail
        headers = mail.get("headers") or {}
        assert not any(INJECTED.lower() in name.lower() for name in headers)
        one_line = [mail["subject"], mail["from"], *_listed(mail, "to", "cc", "bcc", "reply_to")]
        one_line += [*headers, *headers.values()]
        one_line += [f["filename"] for f in mail.get("attachments") or ()]
        for text in one_line:
            assert not set(text) & set("\r\n\x00\x0b\x0c\x1c\x1e"), text


def _listed(mail: dict[str, Any], *names: str) -> list[str]:
    found: list[str] = []
    for name in names:
        value = mail.get(name) or []
        found += [value] if isinstance(value, str) else value
    return found


@pytest.mark.parametrize("how", ["CRLF", "NUL", "line separator", "next line", "encoded word"])
async def test_no_contact_and_no_broadcast_brings_a_header_along(
    world: World, office: PostOffice, smtp: SmtpDouble, how: str
) -> None:
    project = await at_smtp(world, smtp)
    hostile = text_of(how)
    audience = await make_audience(world, project)
    contacts = f"/api/mail/audiences/{audience}/contacts"
    for number, person in enumerate(
        ({"email": "ann@example.com", "firstName": hostile[:200]}, {"email": f"b{hostile}@x.test"})
    ):
        answer = await world.client.post(contacts, json=person, headers=project.key)
        assert answer.status_code in ({200, 400} if number == 0 else {400}), answer.text
    file = f'email,first_name\ncarl@example.com,"{hostile}"\n"d{hostile}@x.test",Dan\n'
    headers = project.key | {"content-type": "text/csv"}
    answer = await world.client.post(f"{contacts}/import", content=file.encode(), headers=headers)
    assert answer.status_code in {200, 400}

    async def imported() -> bool:
        return not await world.sql(
            "select 1 from import_chunks where project_id = :p limit 1", p=project.id
        )

    await world.until(imported, 20)
    letter = {"audienceId": audience, "html": "<p>Hi</p>", "subject": "Hi {{{FIRST_NAME|you}}}"}
    for field in ({}, {"subject": hostile}, {"from": f"{hostile} <a@example.com>"}):
        body = letter | field
        answer = await world.client.post("/api/mail/broadcasts", json=body, headers=project.key)
        assert answer.status_code in {200, 400}
        if answer.status_code == 200:
            # The audience is frozen as of the moment of sending; its people came before that.
            await asyncio.sleep(0.002)
            path = f"/api/mail/broadcasts/{answer.json()['data']['id']}/send"
            await world.client.post(path, headers=project.key)

    async def sent() -> bool:
        return not await world.sql(
            "select 1 from broadcasts where status in ('queued') and project_id = :p", p=project.id
        )

    await world.until(sent, 20)
    await until_empty(world)
    assert smtp.mails
    for envelope in smtp.mails:
        assert isinstance(envelope.content, bytes)
        assert injected(email.message_from_bytes(envelope.content)) == []
        assert set(envelope.rcpt_tos) <= {"ann@example.com", "carl@example.com"}
