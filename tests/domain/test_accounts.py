"""What the doors rely on: sign-in tries, callers' caches, client addresses, public addresses."""

import asyncio
from typing import Any

import pytest
from pydantic import SecretStr
from starlette.requests import Request

from postroom.api.deps import client_address
from postroom.domain import accounts
from postroom.domain.projects import CallerCache
from postroom.domain.tries import Tries
from postroom.errors import RateLimited
from postroom.outgoing import is_public
from postroom.resources import Resources, open_redis
from tests.factories import make_project


async def test_an_unknown_account_takes_as_long_as_a_wrong_password() -> None:
    loop = asyncio.get_running_loop()
    hashed = await accounts.hash_password("the right one")

    async def took(known: str | None) -> float:
        before = loop.time()
        assert await accounts.password_fits("wrong", known) is False
        return loop.time() - before

    pairs = [(await took(hashed), await took(None)) for _ in range(8)]
    # The shortest times are those that the machine disturbed least.
    known, unknown = (min(times) for times in zip(*pairs, strict=True))
    assert 0.5 < unknown / known < 2


async def test_tries_at_the_same_moment_are_all_counted(resources: Resources) -> None:
    await resources.redis.flushdb()
    tries = Tries(resources.redis)
    inside = 0

    async def attempt() -> None:
        nonlocal inside
        async with tries.counted("account x"):
            inside += 1
            await asyncio.sleep(0.05)

    answers = await asyncio.gather(*[attempt() for _ in range(30)], return_exceptions=True)
    assert inside == 10
    assert sum(isinstance(answer, RateLimited) for answer in answers) == 20


async def test_while_redis_is_away_a_process_counts_tries_for_itself(resources: Resources) -> None:
    settings = resources.settings.model_copy(
        update={"redis_url": SecretStr("redis://127.0.0.1:1/0")}
    )
    redis = open_redis(settings)
    tries = Tries(redis)
    for _ in range(10):
        async with tries.counted("account y"):
            pass
    with pytest.raises(RateLimited):
        async with tries.counted("account y"):
            pass
    await redis.aclose()


async def test_a_caller_is_known_without_a_query_until_it_is_forgotten(
    resources: Resources,
) -> None:
    project = await make_project(resources)
    callers = CallerCache(resources)
    assert callers.peek(project.secret_key) is None
    caller = await callers.by_key(project.secret_key)
    assert callers.peek(project.secret_key) is caller
    callers.forget(project.id)
    assert callers.peek(project.secret_key) is None


async def test_a_caller_read_before_a_change_is_not_kept_after_it(resources: Resources) -> None:
    project = await make_project(resources)
    callers = CallerCache(resources)
    loading = asyncio.create_task(callers.by_key(project.secret_key))
    await asyncio.sleep(0)
    callers.forget(project.id)
    await loading
    assert callers.peek(project.secret_key) is None


def request_from(address: str, forwarded: str | None = None) -> Request:
    headers = [(b"x-forwarded-for", forwarded.encode())] if forwarded is not None else []
    scope: dict[str, Any] = {"type": "http", "client": (address, 1), "headers": headers}
    return Request(scope)


@pytest.mark.parametrize(
    ("peer", "forwarded", "trusted", "seen"),
    [
        ("203.0.113.9", None, "", "203.0.113.9"),
        ("203.0.113.9", "198.51.100.1", "", "203.0.113.9"),
        ("203.0.113.9", "198.51.100.1", "10.0.0.0/8", "203.0.113.9"),
        ("10.0.0.1", "198.51.100.1", "10.0.0.0/8", "198.51.100.1"),
        ("10.0.0.1", "6.6.6.6, 198.51.100.1", "10.0.0.0/8", "198.51.100.1"),
        ("10.0.0.1", "198.51.100.1, 10.0.0.2", "10.0.0.0/8, 127.0.0.1", "198.51.100.1"),
        ("10.0.0.1", None, "10.0.0.0/8", "10.0.0.1"),
        ("::1", "2001:db8::7", "::1/128", "2001:db8::7"),
    ],
)
def test_a_forwarded_address_counts_as_far_as_trusted_proxies_wrote_it(
    peer: str, forwarded: str | None, trusted: str, seen: str
) -> None:
    assert client_address(request_from(peer, forwarded), trusted) == seen


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.0.0.1", "192.168.1.1", "172.16.0.1", "169.254.169.254", "100.64.0.1",
        "0.0.0.1", "224.0.0.1", "::1", "fe80::1%eth0", "fd00::1", "::ffff:10.0.0.1", "::",
    ],
)  # fmt: skip
def test_private_addresses_are_told_from_public_ones(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1::1", "::ffff:93.184.216.34"])
def test_public_addresses_are_public(address: str) -> None:
    assert is_public(address)
