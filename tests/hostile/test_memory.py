"""Bodies that are meant to fill the memory: a real API process is watched while it is sent them."""

import asyncio
import base64
import gzip
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
import orjson
import psutil
import pytest

from postroom.resources import Resources
from tests.factories import MadeProject, make_project
from tests.hostile.conftest import Server

MB = 1_000_000
SEND = "/api/mail/send"
AT_ONCE = 8
# Of a body of 40 MB there are, for a moment: its pieces, the whole, its text, the file, and what is sealed.
ROOM = 700 * MB


@dataclass
class Watched:
    """The most memory that the process was seen with, beyond what it began with."""

    began: int
    most: int = 0

    @property
    def grown(self) -> int:
        return self.most - self.began


@asynccontextmanager
async def watching(server: Server) -> AsyncIterator[Watched]:
    process = psutil.Process(server.pid)
    seen = Watched(process.memory_info().rss)

    async def look() -> None:
        while True:
            seen.most = max(seen.most, process.memory_info().rss)
            await asyncio.sleep(0.01)

    looking = asyncio.create_task(look())
    yield seen
    looking.cancel()


@pytest.fixture
async def project(resources: Resources) -> MadeProject:
    return await make_project(resources, provider="sandbox")


@pytest.fixture
async def client(server: Server) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=server.url, trust_env=False, timeout=120) as http:
        yield http


def large_mail(size: int = 39 * MB) -> bytes:
    file = base64.b64encode(os.urandom(size * 3 // 4 - 1000)).decode()
    mail = {"to": "ann@example.com", "subject": "Large", "text": "Hi"}
    return orjson.dumps(mail | {"attachments": [{"filename": "a.bin", "content": file}]})


async def test_many_mails_of_40_mb_at_once_stay_under_a_ceiling(
    server: Server, client: httpx.AsyncClient, project: MadeProject
) -> None:
    body = large_mail()
    headers = project.key | {"content-type": "application/json"}
    async with watching(server) as seen:
        answers = await asyncio.gather(
            *(client.post(SEND, content=body, headers=headers) for _ in range(AT_ONCE))
        )
    statuses = [answer.status_code for answer in answers]
    assert set(statuses) <= {200, 503}
    assert 200 in statuses
    assert all(a.headers.get("retry-after") for a in answers if a.status_code == 503)
    assert seen.grown < ROOM, f"{seen.grown / MB:.0f} MB more"


async def test_a_body_over_the_limit_is_refused_without_being_kept(
    server: Server, client: httpx.AsyncClient, project: MadeProject
) -> None:
    piece = b"x" * 65_536

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(3200):
            yield piece
            # A client that listens while it talks: the answer comes long before the end.
            await asyncio.sleep(0)

    headers = project.key | {"content-type": "application/json"}
    async with watching(server) as seen:
        announced = await client.post(
            SEND, content=endless(), headers=headers | {"content-length": str(3200 * len(piece))}
        )
        streamed = await client.post(SEND, content=endless(), headers=headers)
    assert announced.status_code == streamed.status_code == 413
    assert seen.grown < 100 * MB, f"{seen.grown / MB:.0f} MB more"


@pytest.mark.parametrize(
    "path",
    ["/api/auth/login", "/api/auth/register", "/api/mail/webhook", "/api/mail/webhook/ses/1-a"],
)
async def test_a_stranger_is_not_listened_to_for_long(
    client: httpx.AsyncClient, server: Server, path: str
) -> None:
    headers = {"content-type": "application/json"}
    async with watching(server) as seen:
        answers = await asyncio.gather(
            *(client.post(path, content=b"x" * 20 * MB, headers=headers) for _ in range(4))
        )
    assert {answer.status_code for answer in answers} == {413}
    assert seen.grown < 20 * MB


async def test_a_compressed_body_is_never_inflated(
    server: Server, client: httpx.AsyncClient, project: MadeProject
) -> None:
    bomb = gzip.compress(b" " * 300 * MB)
    headers = project.key | {"content-type": "application/json", "content-encoding": "gzip"}
    async with watching(server) as seen:
        answer = await client.post(SEND, content=bomb, headers=headers)
    assert answer.status_code == 415
    assert seen.grown < 20 * MB


HUGE = {
    "deep arrays": b"[" * 5 * MB,
    "deep objects": b'{"a":' * (MB // 2),
    "deep and closed": b'{"variables":' + b"[" * 900 + b"]" * 900 + b"}",
    "many small keys": b'{"variables":{' + b",".join(b'"%d":1' % i for i in range(450_000)) + b"}}",
    "many empty objects": b'{"variables":[' + b"{}," * 500_000 + b"{}]}",
    "one long number": b'{"variables":{"a":' + b"9" * 5 * MB + b"}}",
    "one long string": b'{"subject":"' + b"x" * 30 * MB + b'"}',
    "a million recipients": b'{"to":[' + b'"a@b.cd",' * 1_000_000 + b'"a@b.cd"]}',
}


@pytest.mark.parametrize("what", HUGE)
async def test_json_that_is_huge_in_any_way_is_refused_soon(
    server: Server, client: httpx.AsyncClient, project: MadeProject, what: str
) -> None:
    headers = project.key | {"content-type": "application/json"}
    async with watching(server) as seen:
        asked = asyncio.create_task(client.post(SEND, content=HUGE[what], headers=headers))
        # Meanwhile everybody else is served.
        others = [(await client.get("/health/live")).elapsed.total_seconds() for _ in range(20)]
        answer = await asked
    assert answer.status_code == 400, answer.text
    assert answer.elapsed.total_seconds() < 10
    assert max(others) < 3
    assert seen.grown < 300 * MB, f"{seen.grown / MB:.0f} MB more"
