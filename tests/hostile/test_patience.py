"""Clients that take their time, on purpose: none holds a place for long, and nobody else notices."""

import asyncio
import contextlib
import gc
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import orjson
import pytest
import uvicorn

from postroom.api import patience
from postroom.api.short_way import ShortWay
from postroom.resources import Resources
from tests.factories import make_project
from tests.hostile.conftest import Server

LARGE = 30_000_000


async def _app(scope: Any, receive: Any, send: Any) -> None:
    """Answers late, at length, before the body, or when it has read it."""
    if scope["type"] != "http":
        return
    path = scope["path"]
    if path == "/late":
        await asyncio.sleep(0.8)
    more = path != "/at-once"
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        more = message.get("more_body", False)
    size = LARGE if path == "/large" else 2
    headers = [(b"content-length", str(size).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for _ in range(size // 1_000_000):
        await send({"type": "http.response.body", "body": b"x" * 1_000_000, "more_body": True})
    await send({"type": "http.response.body", "body": b"ok" if size == 2 else b""})


@pytest.fixture
async def port(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[int]:
    """A server whose patience is short."""
    for name, value in {
        "HEAD_SECONDS": 0.4,
        "BODY_SECONDS": 0.4,
        "IDLE_SECONDS": 0.4,
        "WRITE_SECONDS": 1.0,
        "LOOK_SECONDS": 0.05,
        "MOST_CONNECTIONS": 16,
    }.items():
        monkeypatch.setattr(patience, name, value)
    patience._lookouts.clear()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(_app, http=ShortWay, log_level="error", ws="none")
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve([listener]))
        while not server.started:
            await asyncio.sleep(0.01)
        yield int(listener.getsockname()[1])
        server.should_exit = True
        await serving
    patience._lookouts.clear()


Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Streams]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    yield reader, writer
    writer.transport.abort()
    await asyncio.sleep(0)


def kept() -> int:
    """Connections that something still refers to."""
    return sum(type(one) is ShortWay for one in gc.get_objects())


@pytest.mark.parametrize(
    "linger", [struct.pack("ii", 1, 0), struct.pack("ii", 0, 0)], ids=["reset", "closed"]
)
async def test_a_connection_that_is_over_leaves_nothing_to_the_collector(
    port: int, linger: bytes
) -> None:
    gc.collect()
    before = kept()
    gc.disable()
    try:
        for _ in range(20):
            async with connected(port) as (reader, writer):
                ours = writer.get_extra_info("socket")
                ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")
        async with asyncio.timeout(2):
            while kept() > before:
                await asyncio.sleep(0.02)
    finally:
        gc.enable()


async def dribble(writer: asyncio.StreamWriter, text: bytes, pause: float = 0.02) -> None:
    """A byte at a time, until the other side has had enough."""
    for byte in text:
        if writer.transport.is_closing():
            return
        writer.write(bytes([byte]))
        await asyncio.sleep(pause)


async def heard(reader: asyncio.StreamReader, seconds: float = 3.0) -> bytes:
    """Everything until the server closes."""
    async with asyncio.timeout(seconds):
        return await reader.read()


async def test_a_head_that_comes_a_byte_at_a_time_is_refused(port: int) -> None:
    async with connected(port) as (reader, writer):
        sending = asyncio.create_task(dribble(writer, b"GET / HTTP/1.1\r\nx: " + b"y" * 1000))
        answer = await heard(reader)
        assert answer.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
        assert b'"code":"request_timeout"' in answer
        await sending


async def test_a_body_that_comes_a_byte_at_a_time_is_refused(port: int) -> None:
    async with connected(port) as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n")
        sending = asyncio.create_task(dribble(writer, b"y" * 1000))
        answer = await heard(reader)
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert answer.count(b"HTTP/1.1") == 1
        await sending


async def test_chunks_without_an_end_are_refused(port: int) -> None:
    async with connected(port) as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
        sending = asyncio.create_task(dribble(writer, b"1\r\ny\r\n" * 200))
        assert (await heard(reader)).startswith(b"HTTP/1.1 408 ")
        await sending


async def test_a_body_that_keeps_coming_has_as_long_as_it_needs(port: int) -> None:
    async with connected(port) as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 120000\r\n\r\n")
        for _ in range(12):
            writer.write(b"y" * 10_000)
            await asyncio.sleep(0.1)
        async with asyncio.timeout(2):
            assert (await reader.readline()) == b"HTTP/1.1 200 OK\r\n"


async def test_a_connection_that_says_nothing_is_closed_without_a_word(port: int) -> None:
    async with connected(port) as (reader, _):
        assert await heard(reader) == b""


async def test_a_connection_is_closed_when_it_was_answered_before_it_had_asked_to_the_end(
    port: int,
) -> None:
    async with connected(port) as (reader, writer):
        writer.write(b"POST /at-once HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\n")
        await asyncio.sleep(0.1)
        writer.write(b"abc")
        answer = await heard(reader)
        assert answer.count(b"HTTP/1.1") == 1
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")


async def test_a_client_that_never_reads_its_answer_is_cut_off(port: int) -> None:
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect(("127.0.0.1", port))
        deaf.sendall(b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n")
        await asyncio.sleep(2.5)
        taken = 0
        with contextlib.suppress(ConnectionResetError):
            while data := deaf.recv(1_000_000):
                taken += len(data)
        assert taken < LARGE


async def test_a_client_that_reads_slowly_gets_all_of_its_answer(port: int) -> None:
    async with connected(port) as (reader, writer):
        writer.write(b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n")
        taken = 0
        while taken < LARGE:
            data = await reader.read(2_000_000)
            assert data, f"cut off after {taken} bytes"
            taken += len(data)
            await asyncio.sleep(0.005)


async def test_our_own_slowness_is_not_held_against_a_client(port: int) -> None:
    async with httpx.AsyncClient(trust_env=False) as http:
        body = b"x" * 2_000_000
        answer = await http.post(f"http://127.0.0.1:{port}/late", content=body)
        assert answer.text == "ok"


async def test_an_endless_head_is_refused_before_it_fills_the_memory(port: int) -> None:
    async with connected(port) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n" + b"x-more: and more\r\n" * 5000)
        assert (await heard(reader)).startswith(b"HTTP/1.1 431 ")


async def test_more_connections_than_there_is_room_for_are_told_to_come_again(port: int) -> None:
    held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(16)]
    async with connected(port) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        answer = await heard(reader)
        assert answer.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
        assert b"retry-after: " in answer.lower()
    for _, writer in held:
        writer.transport.abort()
    async with httpx.AsyncClient(trust_env=False) as http, asyncio.timeout(3):
        while (await http.get(f"http://127.0.0.1:{port}/")).status_code != 200:
            await asyncio.sleep(0.05)


async def test_the_served_api_has_an_end_to_its_patience(server: Server) -> None:
    async with connected(server.port) as (reader, writer):
        writer.write(b"GET /health/live HTTP/1.1\r\n" + b"x-more: and more\r\n" * 5000)
        answer = await heard(reader)
        assert answer.startswith(b"HTTP/1.1 431 ")
        assert b'"code":"head_too_large"' in answer


async def test_a_mail_that_was_cut_short_is_no_mail(server: Server, resources: Resources) -> None:
    project = await make_project(resources, provider="sandbox")
    mail = orjson.dumps({"to": "ann@example.com", "subject": "Whole", "text": "Hi"})
    async with httpx.AsyncClient(base_url=server.url, trust_env=False, timeout=30) as http:
        headers = project.key | {"content-type": "application/json"}
        # The first one makes the key known, so that the next takes the short way.
        assert (await http.post("/api/mail/send", content=mail, headers=headers)).is_success
        async with connected(server.port) as (_, writer):
            head = f"POST /api/mail/send HTTP/1.1\r\nhost: x\r\nx-api-key: {project.secret_key}\r\n"
            head += f"content-type: application/json\r\ncontent-length: {len(mail) + 100}\r\n\r\n"
            # What has come so far would do for a mail; that more was announced says it is none yet.
            writer.write(head.encode() + mail)
            await writer.drain()
            await asyncio.sleep(0.2)
        await asyncio.sleep(0.5)
        log = await http.get("/api/mail/logs", headers=project.key)
    assert len(log.json()["data"]) == 1
