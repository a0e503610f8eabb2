"""One attempt for each request, and what went wrong is told as exactly as it can be known."""

import asyncio
import socket
import struct
from typing import Any

import httpx
import pytest

from postroom.outgoing import Dialer, Http
from postroom.outgoing import transport as transport_module
from postroom.outgoing import wire as wire_module
from postroom.outgoing.transport import Transport
from postroom.providers.base import OutcomeKind
from postroom.providers.network import outcome_of_failure
from tests.doubles.smtp import make_certificate
from tests.outgoing.listener import OK, Listener

ANYWHERE = Dialer(allow_private=True)
METHODS = ("GET", "POST", "PUT", "DELETE")


@pytest.fixture
async def http():
    async with Http(ANYWHERE) as client:
        yield client


def saying(*chunks: bytes, pause: float = 0.0, then_close: bool = False) -> Listener:
    """A server that says the same after each request."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await server.take(reader)
            for chunk in chunks:
                writer.write(chunk)
                await writer.drain()
                await asyncio.sleep(pause)
            if then_close:
                return

    server = Listener(talk)
    return server


def _kind(failure: Exception) -> OutcomeKind:
    return outcome_of_failure("Vendor", failure).kind


# ── Once ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("method", METHODS)
async def test_a_server_that_hangs_up_after_the_request_is_not_asked_again(http, method):
    async with saying(then_close=True) as server:
        with pytest.raises(httpx.RemoteProtocolError) as failed:
            await http.request(method, server.url, content=b"{}")
        await asyncio.sleep(0.05)
        assert (server.connections, len(server.requests)) == (1, 1)
    assert _kind(failed.value) is OutcomeKind.UNKNOWN


@pytest.mark.parametrize("method", METHODS)
async def test_a_kept_connection_that_breaks_under_a_request_is_not_replaced(http, method):
    async def once_only(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.take(reader)
        writer.write(OK)
        await server.take(reader)  # and hangs up

    async with Listener(once_only) as server:
        await http.request(method, server.url, content=b"{}")
        with pytest.raises(httpx.RemoteProtocolError) as failed:
            await http.request(method, server.url, content=b"{}")
        await asyncio.sleep(0.05)
        assert (server.connections, len(server.requests)) == (1, 2)
    assert _kind(failed.value) is OutcomeKind.UNKNOWN


async def test_a_kept_connection_that_was_closed_meanwhile_is_left_alone(http):
    async with saying(OK, then_close=True) as server:
        for _ in range(3):
            assert (await http.post(server.url, content=b"{}")).status_code == 200
            await asyncio.sleep(0.02)
        assert (server.connections, len(server.requests)) == (3, 3)


async def test_connections_are_kept_and_not_for_long(http, monkeypatch):
    async with saying(OK) as server:
        for _ in range(3):
            await http.get(server.url)
        assert server.connections == 1
        monkeypatch.setattr(transport_module, "KEPT_SECONDS", 0.0)
        await http.get(server.url)
        assert server.connections == 2


async def test_a_reset_after_the_request_leaves_open_what_became_of_it(http):
    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.take(reader)
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    async with Listener(reset) as server:
        with pytest.raises(httpx.ReadError) as failed:
            await http.post(server.url, content=b"{}")
        assert len(server.requests) == 1
    assert _kind(failed.value) is OutcomeKind.UNKNOWN


async def test_a_call_that_is_given_up_closes_its_connection(http):
    gone = asyncio.Event()

    async def wait_for_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.take(reader)
        await reader.read()
        gone.set()

    async with Listener(wait_for_end) as server:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await http.get(server.url)
        async with asyncio.timeout(1):
            await gone.wait()


# ── Not sent ─────────────────────────────────────────────────────────────────────────────────────


async def _unknown_host(host: str, port: int) -> list[str]:
    raise socket.gaierror(-2, "Name or service not known")


async def _slow_names(host: str, port: int) -> list[str]:
    await asyncio.sleep(5)
    return ["127.0.0.1"]


async def test_what_failed_before_the_first_byte_is_proven_not_sent(http):
    async with Http(Dialer(resolve=_unknown_host)) as nowhere:
        with pytest.raises(httpx.ConnectError) as unknown:
            await nowhere.get("http://nobody.example/")
    async with Http(Dialer(resolve=_slow_names)) as slow:
        with pytest.raises(httpx.ConnectTimeout) as late:
            await slow.call("POST", "http://slow.example/", 0.1, headers={}, content=b"{}")
    with pytest.raises(httpx.ConnectError) as closed:
        await http.post("http://127.0.0.1:1/")
    async with saying(OK) as server:
        with pytest.raises(httpx.ConnectTimeout) as no_tls:  # it waits for a request in clear
            await http.call("POST", f"https://127.0.0.1:{server.port}/", 0.3, headers={})
        assert server.requests == []
    for failed in (unknown, late, closed, no_tls):
        assert _kind(failed.value) is OutcomeKind.NOT_SENT


async def test_a_request_that_finds_no_room_was_not_sent(monkeypatch):
    monkeypatch.setattr(transport_module, "AT_ONCE", 1)
    async with saying() as server, Http(ANYWHERE) as http:
        first = asyncio.create_task(http.call("POST", server.url, 0.5, headers={}))
        await asyncio.sleep(0.05)
        with pytest.raises(httpx.PoolTimeout) as full:
            await http.call("POST", server.url, 0.1, headers={})
        with pytest.raises(httpx.ReadTimeout):
            await first
        assert len(server.requests) == 1
    assert _kind(full.value) is OutcomeKind.NOT_SENT


async def test_a_header_that_ends_its_line_early_is_not_sent(http):
    async with saying(OK) as server:
        for value in ("a\r\nx-evil: 1", "a\nb", "a\rb", "a\0b"):
            with pytest.raises(httpx.LocalProtocolError) as failed:
                await http.get(server.url, headers={"x-key": value})
            assert _kind(failed.value) is OutcomeKind.MISCONFIGURED
        assert server.connections == 0


async def test_tls_proves_the_name_that_was_asked_for_at_the_address_that_was_checked():
    context, certificate = make_certificate("vendor.test")
    asked: list[str | None] = []
    context.sni_callback = lambda sock, name, of: asked.append(name)
    trust = transport_module._tls_context()
    trust.load_verify_locations(cadata=certificate)

    async def home(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    dialer = Dialer(resolve=home, allow_private=True)
    async with Listener(ssl=context) as server, Http(transport=Transport(dialer, trust)) as http:
        answer = await http.get(f"https://vendor.test:{server.port}/x")
        assert answer.status_code == 200
        assert f"host: vendor.test:{server.port}".encode() in server.requests[0].lower()
        with pytest.raises(httpx.ConnectError) as stranger:
            await http.get(f"https://other.test:{server.port}/x")
        assert asked == ["vendor.test", "other.test"]
        assert len(server.requests) == 1
    assert _kind(stranger.value) is OutcomeKind.NOT_SENT


# ── Answers ──────────────────────────────────────────────────────────────────────────────────────

ANSWERS = {
    "chunked": [
        b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{"\r\n',
        b'4\r\na":1\r\n1\r\n}\r\n0\r\n\r\n',
    ],
    "after interim answers": [
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n",
        b'HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n{"a":1}',
    ],
    "byte by byte": [bytes([b]) for b in b'HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n{"a":1}'],
    "until it hangs up": [b'HTTP/1.1 200 OK\r\n\r\n{"a"', b":1}"],
    "of an older time": [b'HTTP/1.0 200 OK\r\ncontent-length: 7\r\n\r\n{"a":1}'],
}


@pytest.mark.parametrize("answer", ANSWERS)
async def test_an_answer_is_read_whole_however_it_comes(http, answer):
    async with saying(*ANSWERS[answer], then_close=answer == "until it hangs up") as server:
        found = await http.get(server.url)
    assert (found.status_code, found.json()) == (200, {"a": 1})


BROKEN = {
    "cut": (b'HTTP/1.1 200 OK\r\ncontent-length: 70\r\n\r\n{"a":1}',),
    "cut chunks": (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{",),
    "no HTTP": (b"220 mail.example.test ESMTP\r\n",),
    "two lengths": (b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n{}",),
    "another protocol": (b"HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",),
    "an endless head": (b"HTTP/1.1 200 OK\r\n", b"x: " + b"y" * 70_000 + b"\r\n\r\n"),
    "an endless body": (b"HTTP/1.1 200 OK\r\n\r\n" + b"z" * 3000,),
    "compressed": (b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 2\r\n\r\n{}",),
    "nothing": (),
}


@pytest.mark.parametrize("answer", BROKEN)
async def test_an_answer_that_is_none_leaves_open_what_became_of_the_request(
    http, monkeypatch, answer
):
    monkeypatch.setattr(wire_module, "LARGEST_BODY", 2000)
    async with saying(*BROKEN[answer], then_close=True) as server:
        with pytest.raises(httpx.RequestError) as failed:
            await http.post(server.url, content=b"{}")
        assert len(server.requests) == 1
    assert _kind(failed.value) is OutcomeKind.UNKNOWN


async def test_a_server_that_trickles_gets_no_more_time_than_one_that_is_silent(http):
    began = asyncio.get_running_loop().time()
    async with saying(b"HTTP/1.1 200 OK\r\n", *[b"x: y\r\n"] * 100, pause=0.05) as server:
        with pytest.raises(httpx.ReadTimeout) as slow:
            await http.call("POST", server.url, 0.3, headers={}, content=b"{}")
    assert asyncio.get_running_loop().time() - began < 1
    assert _kind(slow.value) is OutcomeKind.UNKNOWN


@pytest.mark.parametrize("early", ["with it", "later"])
async def test_what_nobody_asked_for_never_answers_the_next_request(http, early):
    forged = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged"

    async def twice(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await server.take(reader)
            writer.write(OK + forged if early == "with it" else OK)
            await asyncio.sleep(0.02)
            if early == "later":
                writer.write(forged)

    async with Listener(twice) as server:
        for _ in range(3):
            answer = await http.get(server.url)
            assert answer.content == b"{}"
            assert "forged" not in str(answer.headers)
            await asyncio.sleep(0.06)
        assert server.connections == 3


async def test_a_large_body_arrives_whole(http):
    body = bytes(range(256)) * 8000
    async with saying(OK) as server:
        await http.post(server.url, content=body)
        assert server.requests[0].endswith(body)


async def test_many_requests_at_once_each_get_their_own_answer(http):
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            path = (await server.take(reader)).split()[1]
            await asyncio.sleep(0.001)
            head = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(path)
            writer.write(head + path)

    async def ask(number: int) -> Any:
        return (await http.get(f"{server.url}/{number}")).text

    async with Listener(echo) as server:
        assert await asyncio.gather(*(ask(n) for n in range(300))) == [f"/{n}" for n in range(300)]
        assert server.connections <= transport_module.AT_ONCE
