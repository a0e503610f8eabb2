"""Bearer tokens that this server did not give out, or did and has taken back."""

import base64
import hmac
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import jwt
import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from postroom.resources import Resources
from tests.factories import MadeAccount, make_account, make_project

ME = "/api/auth/me"


def part(value: Any) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(value)).rstrip(b"=").decode()


def signed_by(secret: str, algorithm: str, body: str) -> str:
    """Signed by hand: the library warns of secrets like these."""
    text = f"{part({'alg': algorithm, 'typ': 'JWT'})}.{body}"
    mac = hmac.digest(secret.encode(), text.encode(), algorithm.replace("HS", "sha"))
    return f"{text}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


def claims_of(account: MadeAccount, **changes: Any) -> dict[str, Any]:
    now = datetime.now(UTC)
    known = {"sub": str(account.id), "password": 1, "iat": now, "exp": now + timedelta(hours=1)}
    at = {k: now + v if isinstance(v, timedelta) else v for k, v in changes.items()}
    return {name: value for name, value in (known | at).items() if value is not ...}


@pytest.fixture
async def account(resources: Resources) -> MadeAccount:
    return await make_account(resources)


async def assert_refused(client: httpx.AsyncClient, token: str, what: str) -> None:
    answer = await client.get(ME, headers={"authorization": f"Bearer {token}"})
    assert (answer.status_code, answer.json()["code"]) == (401, "token_invalid"), what


async def test_our_own_way_of_signing_is_what_the_tests_take_it_for(
    client: httpx.AsyncClient, resources: Resources, account: MadeAccount
) -> None:
    secret = resources.settings.jwt_secret.get_secret_value()
    token = jwt.encode(claims_of(account), secret, algorithm="HS256")
    answer = await client.get(ME, headers={"authorization": f"Bearer {token}"})
    assert answer.json()["data"]["email"] == account.email


async def test_a_token_that_is_signed_otherwise_is_refused(
    client: httpx.AsyncClient, resources: Resources, account: MadeAccount
) -> None:
    secret = resources.settings.jwt_secret.get_secret_value()
    claims = claims_of(account)
    key = generate_private_key(65537, 2048)
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    head, body, signature = jwt.encode(claims, secret, algorithm="HS256").split(".")
    plain = claims | {"iat": int(time.time()), "exp": int(time.time()) + 3600}
    forged = {
        "alg none": f"{part({'alg': 'none', 'typ': 'JWT'})}.{part(plain)}.",
        "alg None": f"{part({'alg': 'None'})}.{part(plain)}.",
        "alg none with the old signature": f"{part({'alg': 'none'})}.{body}.{signature}",
        "no signature": f"{head}.{body}.",
        "two parts": f"{head}.{body}",
        "another's signature": f"{head}.{part(plain | {'sub': str(uuid4())})}.{signature}",
        "another secret": jwt.encode(claims, "x" * 64, algorithm="HS256"),
        "an empty secret": signed_by("", "HS256", body),
        "HS512 under the same secret": signed_by(secret, "HS512", body),
        "RS256": jwt.encode(claims, key, algorithm="RS256"),
        "a public key as a secret": f"{part({'alg': 'HS256', 'jwk': public.decode()})}.{body}.{signature}",
        "a key at an address": f"{part({'alg': 'HS256', 'jku': 'http://127.0.0.1:9/'})}.{body}.{signature}",
        "a key of a path": f"{part({'alg': 'HS256', 'kid': '/dev/null'})}.{body}.{signature}",
        "an algorithm that is a list": f"{part({'alg': ['HS256']})}.{body}.{signature}",
        "no JSON": "AAAA.BBBB.CCCC",
        "dots": "....",
        "a letter that is none": f"{head}.{body}.\xe9",
    }
    for what, token in forged.items():
        answer = await client.get(
            ME, headers=[(b"authorization", f"Bearer {token}".encode("latin-1"))]
        )
        assert (answer.status_code, answer.json()["code"]) == (401, "token_invalid"), what


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": timedelta(seconds=-1)},
        {"exp": ...},
        {"exp": "tomorrow"},
        {"exp": None},
        {"nbf": timedelta(hours=1)},
        {"iat": timedelta(hours=1)},
        {"sub": ...},
        {"sub": 7},
        {"sub": "somebody"},
        {"sub": "01a21488-33f2-7fb0-bd34-440277151dca"},
        {"password": ...},
        {"password": 2},
        {"password": 0},
        {"password": "first"},
        {"password": None},
        {"password": [1]},
        {"password": {"$gt": 0}},
        {"password": float("inf")},
    ],
    ids=str,
)
async def test_a_genuine_signature_over_wrong_claims_is_refused(
    client: httpx.AsyncClient, resources: Resources, account: MadeAccount, changes: dict[str, Any]
) -> None:
    secret = resources.settings.jwt_secret.get_secret_value()
    token = jwt.encode(claims_of(account, **changes), secret, algorithm="HS256")
    await assert_refused(client, token, str(changes))


async def test_a_token_of_before_a_password_change_opens_nothing_any_more(
    client: httpx.AsyncClient, resources: Resources
) -> None:
    account = await make_account(resources, password="the password of before")
    project = await make_project(resources, owner=account)
    body = {"currentPassword": account.password, "newPassword": "the password of after"}
    changed = await client.post("/api/auth/password", json=body, headers=account.bearer)
    assert changed.status_code == 200, changed.text
    for path in (ME, "/api/projects", project.path, f"{project.path}/mail/logs"):
        answer = await client.get(path, headers=account.bearer)
        assert answer.status_code == 401, path


async def test_a_token_of_another_account_opens_no_project_of_this_one(
    client: httpx.AsyncClient, resources: Resources
) -> None:
    project, other = await make_project(resources), await make_account(resources)
    answer = await client.get(project.path, headers=other.bearer)
    assert answer.status_code == 404
