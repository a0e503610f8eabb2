"""Registering, signing in, tokens that stop, and the limit to guessing."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import jwt
import pytest
from sqlalchemy import text

from postroom.app import create_app
from postroom.resources import Resources
from postroom.settings import Settings
from tests.api.test_envelope import assert_failure
from tests.factories import make_account

PASSWORD = "a long enough password"


@pytest.fixture(autouse=True)
async def nobody_has_tried(resources: Resources) -> None:
    await resources.redis.flushdb()


def person() -> dict[str, str]:
    return {"email": f"Ann-{uuid4().hex[:8]}@Example.com", "password": PASSWORD}


async def sign_in(client: httpx.AsyncClient, email: str, password: str) -> httpx.Response:
    return await client.post("/api/auth/login", json={"email": email, "password": password})


async def test_a_registered_person_signs_in_and_is_who_they_are(client: httpx.AsyncClient) -> None:
    ann = person() | {"name": "Ann"}
    made = await client.post("/api/auth/register", json=ann)
    assert made.status_code == 201
    assert made.json()["data"] == {
        "id": made.json()["data"]["id"],
        "email": ann["email"].lower(),
        "name": "Ann",
    }
    signed_in = (await sign_in(client, ann["email"], PASSWORD)).json()["data"]
    assert signed_in["user"] == made.json()["data"]
    expires = datetime.fromisoformat(signed_in["expiresAt"])
    assert timedelta(hours=11.9) < expires - datetime.now(UTC) <= timedelta(hours=12)
    headers = {"authorization": f"Bearer {signed_in['token']}"}
    me = await client.get("/api/auth/me", headers=headers)
    assert me.json()["data"] == made.json()["data"]


async def test_an_address_registers_once_in_whatever_case(client: httpx.AsyncClient) -> None:
    ann = person()
    await client.post("/api/auth/register", json=ann)
    again = await client.post("/api/auth/register", json=ann | {"email": ann["email"].upper()})
    assert_failure(again, 409, "account_exists")


@pytest.mark.parametrize("email", ["ann", "ann@", "a b@c.de", "ann@localhost", "@b.cd", "a@b@c.de"])
async def test_what_is_no_address_does_not_register(client: httpx.AsyncClient, email: str) -> None:
    answer = await client.post("/api/auth/register", json=person() | {"email": email})
    assert assert_failure(answer, 400, "invalid_payload")["message"] == "Invalid email format."


async def test_a_wrong_password_and_an_unknown_address_answer_alike(
    client: httpx.AsyncClient,
) -> None:
    ann = person()
    await client.post("/api/auth/register", json=ann)
    wrong = await sign_in(client, ann["email"], "not the password")
    unknown = await sign_in(client, "nobody@example.com", PASSWORD)
    assert wrong.json() == unknown.json()
    assert (
        assert_failure(wrong, 401, "invalid_credentials")["message"] == "Invalid email or password."
    )


async def test_the_eleventh_wrong_try_for_an_account_has_to_wait(
    client: httpx.AsyncClient, resources: Resources
) -> None:
    ann = await make_account(resources, password=PASSWORD)
    for _ in range(10):
        assert_failure(await sign_in(client, ann.email, "wrong"), 401, "invalid_credentials")
    refused = await sign_in(client, ann.email, PASSWORD)
    assert_failure(refused, 429, "too_many_attempts")
    assert 0 < int(refused.headers["retry-after"]) <= 900


async def test_the_eleventh_wrong_try_of_an_address_has_to_wait_whatever_the_account(
    client: httpx.AsyncClient,
) -> None:
    for number in range(10):
        await sign_in(client, f"nobody-{number}@example.com", "wrong")
    assert_failure(await sign_in(client, "one-more@example.com", "x"), 429, "too_many_attempts")


async def test_right_passwords_are_never_too_many(
    client: httpx.AsyncClient, resources: Resources
) -> None:
    ann = await make_account(resources, password=PASSWORD)
    for _ in range(12):
        assert (await sign_in(client, ann.email, PASSWORD)).status_code == 200


async def test_no_address_reaches_redis(client: httpx.AsyncClient, resources: Resources) -> None:
    await sign_in(client, "canary@example.com", "wrong")
    held = [key async for key in resources.redis.scan_iter("tries:*")]
    assert len(held) == 2
    assert not [key for key in held if b"canary" in key]


async def test_a_password_change_stops_every_token_given_before(
    client: httpx.AsyncClient, resources: Resources
) -> None:
    ann = await make_account(resources, password=PASSWORD)
    change = {"currentPassword": PASSWORD, "newPassword": "another long password"}
    changed = await client.post("/api/auth/password", json=change, headers=ann.bearer)
    assert changed.status_code == 200
    old = await client.get("/api/auth/me", headers=ann.bearer)
    assert assert_failure(old, 401, "token_invalid")["message"] == "Invalid Token."
    fresh = {"authorization": f"Bearer {changed.json()['data']['token']}"}
    assert (await client.get("/api/auth/me", headers=fresh)).status_code == 200
    assert (await sign_in(client, ann.email, PASSWORD)).status_code == 401
    assert (await sign_in(client, ann.email, "another long password")).status_code == 200


async def test_a_password_is_not_changed_without_the_current_one(
    client: httpx.AsyncClient, resources: Resources
) -> None:
    ann = await make_account(resources, password=PASSWORD)
    change = {"currentPassword": "wrong", "newPassword": "another long password"}
    answer = await client.post("/api/auth/password", json=change, headers=ann.bearer)
    assert_failure(answer, 400, "invalid_payload")
    assert (await client.get("/api/auth/me", headers=ann.bearer)).status_code == 200


def forged(settings: Settings, **changes: Any) -> str:
    claims = {
        "sub": str(uuid4()),
        "password": 1,
        "exp": datetime.now(UTC) + timedelta(hours=1),
    } | changes
    return jwt.encode(claims, settings.jwt_secret.get_secret_value(), algorithm="HS256")


async def test_without_a_token_nobody_is_let_in(client: httpx.AsyncClient) -> None:
    for headers in ({}, {"authorization": "Basic YTpi"}, {"authorization": "Bearer "}):
        answer = await client.get("/api/auth/me", headers=headers)
        body = assert_failure(answer, 401, "token_missing")
        assert body["message"] == "Access Denied: No Token Provided."


async def test_tokens_that_are_not_ours_or_no_longer_valid_are_refused(
    client: httpx.AsyncClient, settings: Settings, resources: Resources
) -> None:
    ann = await make_account(resources)
    unsigned = jwt.encode({"sub": str(ann.id), "password": 1, "exp": 9999999999}, "", "none")
    for token in (
        "nonsense",
        unsigned,
        forged(settings),
        forged(settings, sub="nobody"),
        forged(settings, sub=str(ann.id), password=2),
        forged(settings, sub=str(ann.id), exp=datetime.now(UTC) - timedelta(seconds=1)),
        jwt.encode({"sub": str(ann.id), "password": 1, "exp": 9999999999}, "other " * 8, "HS256"),
    ):
        answer = await client.get("/api/auth/me", headers={"authorization": f"Bearer {token}"})
        assert_failure(answer, 401, "token_invalid")


# ── Who may register ─────────────────────────────────────────────────────────────────────────────

Open = Callable[[str], AbstractAsyncContextManager[httpx.AsyncClient]]


@pytest.fixture
def with_registration(resources: Resources) -> Open:
    @asynccontextmanager
    async def opened(mode: str) -> AsyncIterator[httpx.AsyncClient]:
        settings = resources.settings.model_copy(update={"registration": mode})
        app = create_app(replace(resources, settings=settings))
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://t") as client,
        ):
            yield client

    return opened


async def test_by_default_only_the_first_account_registers_itself(
    resources: Resources, with_registration: Open
) -> None:
    async with resources.sessions() as session:
        await session.execute(text("truncate accounts cascade"))
        await session.commit()
    async with with_registration("first") as client:
        first = await client.post("/api/auth/register", json=person())
        second = await client.post("/api/auth/register", json=person())
    assert first.status_code == 201
    assert_failure(second, 403, "registration_closed")


async def test_two_who_register_at_once_are_not_both_the_first(
    resources: Resources, with_registration: Open
) -> None:
    async with resources.sessions() as session:
        await session.execute(text("truncate accounts cascade"))
        await session.commit()
    async with with_registration("first") as client:
        answers = await asyncio.gather(
            *[client.post("/api/auth/register", json=person()) for _ in range(5)]
        )
    assert sorted(answer.status_code for answer in answers) == [201, 403, 403, 403, 403]


async def test_a_closed_server_registers_nobody(with_registration: Open) -> None:
    async with with_registration("closed") as client:
        answer = await client.post("/api/auth/register", json=person())
    assert_failure(answer, 403, "registration_closed")
