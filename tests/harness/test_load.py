"""The load generator counts what happened: answers, breaks, repeats and the time from the intended start."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import perf_counter

import pytest
from bench import load

pytestmark = pytest.mark.bench

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
BUSY = b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\nretry-after: 1\r\n\r\n"
RUDE = b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n"
HANG_UP = b""


class Server:
    """Answers what it is told, in turn, then `OK`; counts what it was asked."""

    def __init__(self, *answers: bytes, seconds: float = 0.0) -> None:
        self.answers, self.seconds = list(answers), seconds
        self.bodies: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                self.bodies.append(await reader.readexactly(length))
                await asyncio.sleep(self.seconds)
                answer = self.answers.pop(0) if self.answers else OK
                if answer == HANG_UP:
                    break
                # In two pieces, as a network may deliver them.
                writer.write(answer[:10])
                await asyncio.sleep(0)
                writer.write(answer[10:])
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def serving(server: Server) -> AsyncIterator[str]:
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    async with listener:
        yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/send"


async def test_each_request_is_sent_once_and_counted() -> None:
    server = Server()
    async with serving(server) as url:
        done = await load.run(url, load.send_requests(url, "key"), 200, 8, keep_bodies=True)
    assert dict(done.statuses) == {200: 200}
    assert len(set(server.bodies)) == len(server.bodies) == 200
    assert len(done.latencies) == len(done.starts) == len(done.codes) == 200
    assert done.bodies == [b"{}"] * 200
    assert done.lost == 0


async def test_a_break_is_counted_and_not_repeated() -> None:
    async with serving(Server(OK, HANG_UP, OK)) as url:
        done = await load.run(url, load.send_requests(url, "key"), 10, 1)
    assert dict(done.statuses) == {200: 9}
    assert done.lost == 1


async def test_who_insists_repeats_the_same_bytes_until_there_is_an_answer() -> None:
    server = Server(HANG_UP, BUSY, OK, HANG_UP)
    async with serving(server) as url:
        requests = load.send_requests(url, "key", keyed="insisting")
        done = await load.run(url, requests, 3, 1, insist=True)
    assert dict(done.statuses) == {200: 3}
    assert done.lost == 2
    assert len(server.bodies) == 6
    assert len(set(server.bodies[:3])) == 1


async def test_a_refusal_without_retry_after_is_noticed() -> None:
    async with serving(Server(BUSY, RUDE, OK)) as url:
        done = await load.run(url, load.send_requests(url, "key"), 3, 1)
    assert dict(done.statuses) == {503: 2, 200: 1}
    assert done.silent == 1


async def test_an_open_loop_counts_from_when_a_request_was_meant_to_start() -> None:
    """One connection, 20 ms an answer, 100 a second: the last one waits for all before it."""
    async with serving(Server(seconds=0.02)) as url:
        done = await load.run_at_rate(url, load.send_requests(url, "key"), 100, 0.4, 1)
    assert dict(done.statuses) == {200: 40}
    assert max(done.latencies) > 0.3
    assert max(done.starts) == pytest.approx(0.39)


async def test_an_open_loop_starts_requests_whatever_became_of_those_before() -> None:
    server = Server(seconds=0.3)
    async with serving(server) as url:
        began = perf_counter()
        done = await load.run_at_rate(url, load.send_requests(url, "key"), 100, 0.3, 100)
        took = perf_counter() - began
    assert dict(done.statuses) == {200: 30}
    assert took < 2  # one after another they would take nine seconds


async def test_an_open_loop_gives_up_after_its_patience() -> None:
    async with serving(Server(seconds=30)) as url:
        requests = load.send_requests(url, "key")
        done = await load.run_at_rate(url, requests, 100, 0.1, 100, patience=0.2)
    assert dict(done.statuses) == {}
    assert done.unanswered == 10
