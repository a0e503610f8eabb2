"""The short way through a real server: it answers like the long way, on the same connection, in order."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
import orjson
import pytest
import uvicorn
from sqlalchemy import text

from postroom.api.short_way import Desk, ShortWay
from postroom.app import create_app
from postroom.domain.intake import Intake
from tests.factories import make_project

GOOD = {"to": "ann@example.com", "subject": "Hello", "text": "Hi"}


@dataclass
class Running:
    """A server, and which bodies went the short way in it."""

    server: uvicorn.Server
    port: int
    short: list[bytes] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def ask(self, *requests: bytes) -> list[tuple[int, dict[str, str], Any]]:
        """Write requests on one connection, all at once; their answers in order."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(b"".join(requests))
            async with asyncio.timeout(10):
                return [await _answer(reader) for _ in requests]
        finally:
            writer.close()


async def _answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], Any]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    status, *lines = head.strip().split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    body = await reader.readexactly(int(headers["content-length"]))
    return int(status.split()[1]), headers, orjson.loads(body)


def a_request(key: str, body: Any = GOOD, *lines: str, path: str = "/api/mail/send") -> bytes:
    sent = body if isinstance(body, bytes) else orjson.dumps(body)
    head = [
        f"POST {path} HTTP/1.1",
        "Host: postroom.test",
        "Content-Type: application/json",
        f"Content-Length: {len(sent)}",
        f"x-api-key: {key}",
        *lines,
    ]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + sent


@pytest.fixture
async def running(resources, monkeypatch) -> AsyncIterator[Running]:
    app = create_app(resources)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(
            app, http=ShortWay, ws="none", lifespan="on", log_config=None, proxy_headers=False
        )
        server = uvicorn.Server(config)
        running = Running(server, listener.getsockname()[1])
        take = Desk.take

        def noticed(desk: Desk, caller: Any, headers: Any, body: bytes) -> Any:
            running.short.append(body)
            return take(desk, caller, headers, body)

        monkeypatch.setattr(Desk, "take", noticed)
        serving = asyncio.create_task(server.serve([listener]))
        while not server.started:
            await asyncio.sleep(0.01)
        yield running
        server.should_exit = True
        await serving


@pytest.fixture
async def project(resources, running):
    """A project that the server knows already, so that its mails may go the short way."""
    project = await make_project(resources, provider="sandbox")
    async with httpx.AsyncClient(base_url=running.url) as client:
        await client.post("/api/mail/send", json=GOOD, headers=project.key)
    running.short.clear()
    return project


async def on_disk(resources, project) -> int:
    async with resources.sessions() as session:
        return await session.scalar(
            text("select count(*) from mail_logs where project_id = :p"), {"p": project.id}
        )


@pytest.mark.parametrize(
    "body",
    [
        GOOD,
        GOOD | {"to": ["Ann <ann@example.com>", "bob@example.com"], "cc": "c@example.com"},
        GOOD | {"subject": "Hi {{name}}", "variables": {"name": "Ann"}},
        {"to": "ann@example.com", "templateId": "welcome", "variables": {"name": "Ann"}},
        {"to": "ann@example.com", "templateId": "there is no such template"},
        GOOD | {"to": "nobody"},
        GOOD | {"subjct": "x"},
        GOOD | {"text": "a\x00b"},
        [GOOD],
        b"{",
        b"\xff\xfe",
    ],
    ids=str,
)
async def test_it_answers_like_the_long_way(resources, running, project, body) -> None:
    # A browser's Origin makes a request take the long way.
    request, long = a_request(project.secret_key, body), "Origin: https://app.example.com"
    (short_answer,) = await running.ask(request)
    assert len(running.short) == 1
    (long_answer,) = await running.ask(a_request(project.secret_key, body, long))
    assert len(running.short) == 1
    assert short_answer[0] == long_answer[0]
    differ = {"date", "x-request-id", "content-length"}
    for name in (short_answer[1].keys() | long_answer[1].keys()) - differ - {"vary"}:
        assert short_answer[1].get(name) == long_answer[1].get(name), name
    for answer in (short_answer[2], long_answer[2]):
        if answer["success"]:
            for name in ("id", "monthlyUsage"):
                del answer["data"][name]
    assert short_answer[2] == long_answer[2]


@pytest.mark.parametrize(
    ("lines", "path"),
    [
        (["Origin: https://app.example.com"], "/api/mail/send"),
        (["Connection: close"], "/api/mail/send"),
        (["x-api-key: another"], "/api/mail/send"),
        (["Content-Encoding: identity"], "/api/mail/send"),
        ([], "/api/mail/send?x=1"),
        ([], "/api/mail/send-batch"),
    ],
)
async def test_what_is_out_of_the_ordinary_goes_the_long_way(running, project, lines, path) -> None:
    ((status, _, _),) = await running.ask(a_request(project.secret_key, GOOD, *lines, path=path))
    assert status in {200, 400, 415}
    assert running.short == []


async def test_a_stranger_is_refused_by_the_long_way(running) -> None:
    ((status, _, answer),) = await running.ask(a_request("sk_live_nobody"))
    assert (status, answer["code"]) == (401, "api_key_invalid")
    assert running.short == []


async def test_requests_sent_behind_each_other_are_answered_in_order(running, project) -> None:
    logs = f"GET /api/mail/logs HTTP/1.1\r\nHost: x\r\nx-api-key: {project.secret_key}\r\n\r\n"
    answers = await running.ask(
        a_request(project.secret_key, GOOD | {"subject": "one"}),
        a_request(project.secret_key, GOOD | {"subject": ""}),
        logs.encode(),
        a_request(project.secret_key, GOOD | {"subject": "two"}),
    )
    assert [status for status, _, _ in answers] == [200, 400, 200, 200]
    assert [mail["subject"] for mail in answers[2][2]["data"]][:1] == ["one"]
    ids = [answers[i][1]["x-request-id"] for i in range(4)]
    assert len(set(ids)) == 4


async def test_a_body_may_come_in_pieces(running, project) -> None:
    request = a_request(project.secret_key)
    reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
    for start in range(0, len(request), 40):
        writer.write(request[start : start + 40])
        await writer.drain()
        await asyncio.sleep(0.001)
    status, headers, _ = await _answer(reader)
    writer.close()
    assert status == 200
    assert headers["x-content-type-options"] == "nosniff"
    assert len(running.short) == 1


async def test_a_repeat_under_its_key_gets_the_first_answer(running, project) -> None:
    key = "Idempotency-Key: once"
    ((_, _, first),) = await running.ask(a_request(project.secret_key, GOOD, key))
    ((_, headers, again),) = await running.ask(a_request(project.secret_key, GOOD, key))
    ((status, _, other),) = await running.ask(
        a_request(project.secret_key, GOOD | {"subject": "Other"}, key)
    )
    assert again == first
    assert headers["idempotent-replayed"] == "true"
    assert (status, other["code"]) == (409, "idempotency_mismatch")
    assert len(running.short) == 3


async def test_a_given_request_id_comes_back(running, project) -> None:
    ((_, headers, _),) = await running.ask(
        a_request(project.secret_key, GOOD, "X-Request-Id: mine-1")
    )
    assert headers["x-request-id"] == "mine-1"


async def test_over_the_rate_it_is_refused_with_the_time_to_wait(resources, running) -> None:
    project = await make_project(resources, provider="sandbox", plan="free")
    limits = resources.settings.model_copy(update={"free_rate_per_minute": 3})
    running.server.config.loaded_app.state.callers._resources = replace(resources, settings=limits)
    answers = [(await running.ask(a_request(project.secret_key)))[0] for _ in range(4)]
    assert [status for status, _, _ in answers] == [200, 200, 200, 429]
    assert 0 < int(answers[3][1]["retry-after"]) <= 60


@pytest.fixture
def held(monkeypatch) -> asyncio.Event:
    """The writer waits for this before it writes a group."""
    held, write = asyncio.Event(), Intake._write_and_answer

    async def held_up(intake: Intake, group: Any) -> None:
        await held.wait()
        await write(intake, group)

    monkeypatch.setattr(Intake, "_write_and_answer", held_up)
    return held


async def test_a_client_that_left_before_its_mail_was_taken_up_sends_nothing(
    resources, running, project, held
) -> None:
    before = await on_disk(resources, project)
    first = asyncio.create_task(running.ask(a_request(project.secret_key)))
    while len(running.short) < 1:
        await asyncio.sleep(0.01)
    _, writer = await asyncio.open_connection("127.0.0.1", running.port)
    writer.write(a_request(project.secret_key))
    while len(running.short) < 2:
        await asyncio.sleep(0.01)
    writer.transport.abort()
    await asyncio.sleep(0.05)
    held.set()
    assert (await first)[0][0] == 200
    assert await on_disk(resources, project) == before + 1


async def test_a_server_that_is_told_to_stop_answers_what_it_took_up(
    running, project, held
) -> None:
    asking = asyncio.create_task(running.ask(a_request(project.secret_key)))
    while not running.short:
        await asyncio.sleep(0.01)
    running.server.should_exit = True
    await asyncio.sleep(0.3)
    held.set()
    ((status, headers, _),) = await asking
    assert status == 200
    assert headers["connection"] == "close"


async def test_under_too_large_a_load_it_is_refused_before_it_is_looked_at(
    running, project, monkeypatch
) -> None:
    monkeypatch.setattr(Intake, "is_late", True)
    ((status, headers, answer),) = await running.ask(a_request(project.secret_key, b"{"))
    assert (status, answer["code"]) == (503, "overloaded")
    assert 1 <= int(headers["retry-after"]) <= 2


async def test_a_client_that_was_refused_for_the_load_is_not_read_for_a_while(
    running, project, monkeypatch
) -> None:
    monkeypatch.setattr("postroom.api.short_way.REST", 0.4)
    monkeypatch.setattr(Intake, "is_late", True)
    reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
    writer.write(a_request(project.secret_key))
    assert (await _answer(reader))[0] == 503
    monkeypatch.setattr(Intake, "is_late", False)
    began = asyncio.get_running_loop().time()
    writer.write(a_request(project.secret_key))
    assert (await _answer(reader))[0] == 200
    assert asyncio.get_running_loop().time() - began > 0.3
    writer.close()


async def test_what_nobody_foresaw_is_answered_without_details(
    running, project, monkeypatch
) -> None:
    def broken(*_: Any) -> Any:
        raise ZeroDivisionError("ann@example.com")

    monkeypatch.setattr(Desk, "take", broken)
    ((status, _, answer),) = await running.ask(a_request(project.secret_key))
    assert status == 500
    assert "ann@" not in str(answer)


async def test_an_idle_connection_is_closed_after_a_while(running, project) -> None:
    running.server.config.timeout_keep_alive = 0.2
    reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
    writer.write(a_request(project.secret_key))
    assert (await _answer(reader))[0] == 200
    async with asyncio.timeout(3):
        assert await reader.read() == b""
    with contextlib.suppress(ConnectionError):
        writer.close()
        await writer.wait_closed()
