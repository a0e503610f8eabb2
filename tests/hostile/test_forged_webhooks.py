"""Webhooks that nobody sent: at the address of each vendor, none changes a mail or makes the server fail."""

import base64
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import httpx
import orjson
import pytest

from postroom.domain import connections, content
from postroom.providers.base import WebhookRequest
from postroom.resources import Resources
from tests.factories import MadeProject, make_connection, make_project
from tests.hostile.conftest import Server
from tests.hostile.victims import state
from tests.providers.sns_signing import TOPIC, Sns, request_of
from tests.providers.test_resend_events import signed

KEY, OTHER_KEY = b"the key of the forger's victim 1", b"the key of quite another address"
AWS = Sns()
FIELDS: dict[str, dict[str, Any]] = {
    "resend": {"webhookSecret": "whsec_" + base64.b64encode(KEY).decode()},
    "ses": {
        "region": "eu-west-1",
        "accessKeyId": "AKIAIOSFODNN7EXAMPLE",
        "secretAccessKey": "x" * 40,
        "topicArns": [TOPIC],
    },
    "paubox": {"apiKey": "pb-key", "baseUrl": "http://127.0.0.1:9"},
}
BOUNCE = {"bounce": {"type": "Permanent", "message": "No."}}


@dataclass
class Address:
    """A vendor's address of a project that has a mail on its way, and the mail's name there."""

    project: MadeProject
    provider: str
    path: str
    ref: str  # the mail's, as the vendor was told it

    def true_event(self) -> bytes:
        """What the vendor itself would report of the mail: that it bounced."""
        if self.provider == "ses":
            tags = {"postroom": [self.ref]}
            mail = {"messageId": "ses-1", "destination": ["ann@example.com"], "tags": tags}
            bounce = {"bounceType": "Permanent", "bouncedRecipients": []}
            return orjson.dumps(
                AWS.notification({"eventType": "Bounce", "mail": mail, "bounce": bounce})
            )
        if self.provider == "paubox":
            headers = {"X-Postroom-Id": self.ref}
            payload = {"id": 1, "to": "ann@example.com", "custom_headers": headers}
            return orjson.dumps(
                {"event_name": "api_mail_log_permanent_failure", "payload": payload}
            )
        data = {"email_id": "re-1", "tags": {"postroom": self.ref}, **BOUNCE}
        return orjson.dumps({"type": "email.bounced", "created_at": _now(), "data": data})


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


async def make_address(resources: Resources, client: httpx.AsyncClient, provider: str) -> Address:
    project = await make_project(resources, content_retention_days=1)
    number = await make_connection(
        resources, project.id, provider, fromEmail="us@example.com", **FIELDS[provider]
    )
    body = {"to": "ann@example.com", "subject": "x", "text": "y"}
    answer = await client.post("/api/mail/send", json=body, headers=project.key)
    token = connections.webhook_token(resources.keys, number)
    path = f"/api/mail/webhook/{provider}/{token}"
    ref = content.ref(project.id, UUID(answer.json()["data"]["id"]))
    return Address(replace(project, connection_id=number), provider, path, ref)


async def status_of(client: httpx.AsyncClient, address: Address) -> str:
    answer = await client.get("/api/mail/logs", headers=address.project.key)
    (mail,) = answer.json()["data"]
    return str(mail["status"])


@pytest.fixture
async def client(server: Server) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=server.url, trust_env=False, timeout=30) as http:
        yield http


def _resend_forgeries(address: Address) -> dict[str, WebhookRequest]:
    body = address.true_event()
    true = signed(body, key=KEY)
    unsigned = {name: {k: v for k, v in true.headers.items() if k != name} for name in true.headers}
    return {
        "another address's secret": signed(body, key=OTHER_KEY),
        "an old one": signed(body, key=KEY, at=time.time() - 601),
        "one of the future": signed(body, key=KEY, at=time.time() + 601),
        "other words": replace(true, body=body.replace(b"re-1", b"re-2")),
        "another id": replace(true, headers=true.headers | {"svix-id": "msg_2"}),
        "a signature of no version": replace(
            true,
            headers=true.headers | {"svix-signature": true.headers["svix-signature"][3:]},
        ),
        "a time that is none": replace(true, headers=true.headers | {"svix-timestamp": "soon"}),
        "an endless time": replace(true, headers=true.headers | {"svix-timestamp": "9" * 400}),
        "a signature that is no base64": replace(
            true, headers=true.headers | {"svix-signature": "v1,\xe9\xe9"}
        ),
        "no headers": replace(true, headers={}),
        **{f"no {name}": replace(true, headers=some) for name, some in unsigned.items()},
    }


def _ses_forgeries(address: Address) -> dict[str, WebhookRequest]:
    true = orjson.loads(address.true_event())
    stranger = Sns()
    return {
        "another's signature": request_of(stranger.notification(true["Message"])),
        "words that were not signed": request_of(
            true | {"Message": true["Message"].replace("ses-1", "ses-2")}
        ),
        "an old one": request_of(
            AWS.notification(true["Message"], Timestamp="2020-01-01T00:00:00.000Z")
        ),
        "one of the future": request_of(
            AWS.notification(true["Message"], Timestamp="2099-01-01T00:00:00.000Z")
        ),
        "no signature": request_of({k: v for k, v in true.items() if k != "Signature"}),
        "another topic": request_of(
            AWS.notification(true["Message"], TopicArn=TOPIC.replace("events", "other"))
        ),
        "a certificate of the forger's": request_of(
            AWS.notification(true["Message"], SigningCertURL="https://evil.test/a.pem")
        ),
    }


# For these AWS's certificate is needed, which no test may fetch; tests/providers/test_sns.py has it at hand.
UNPROVEN = {"another's signature", "words that were not signed"}
SHAPES: dict[str, bytes] = {
    "deep arrays": b"[" * 200_000,
    "deep objects": b'{"payload":' * 50_000,
    "closed, and deeper than a parser goes": b"[" * 2_000 + b"]" * 2_000,
    "not JSON": b"<xml/>",
    "not UTF-8": b'{"type":"\xff\xfe"}',
    "half a surrogate": b'{"type":"\\ud800","event_name":"\\ud800","payload":{}}',
    "NUL": b'{"type":"email.sent","event_name":"api_mail_log_delivered",'
    b'"data":{"email_id":"\\u0000"},"payload":{"source_tracking_id":"\\u0000"}}',
    "nothing": b"",
    "a number": b"7",
    "numbers for words": b'{"type":7,"data":7,"event_name":7,"payload":{"id":7,"to":7,"time":7}}',
    "a huge number": b'{"event_name":"api_mail_log_delivered","payload":{"id":'
    + b"9" * 5000
    + b"}}",
}


@pytest.mark.parametrize("provider", ["resend", "ses"])
async def test_a_forged_signature_is_refused_and_nothing_changes(
    client: httpx.AsyncClient, resources: Resources, provider: str
) -> None:
    address = await make_address(resources, client, provider)
    forgeries = (_resend_forgeries if provider == "resend" else _ses_forgeries)(address)
    before = await state(resources, address.project.id)
    for name, request in forgeries.items():
        headers = {k.encode(): v.encode("latin-1") for k, v in request.headers.items()}
        answer = await client.post(
            address.path, content=request.body, headers=list(headers.items())
        )
        if name in UNPROVEN:
            assert answer.json()["code"] in {"webhook_refused", "provider_unreachable"}, name
        else:
            assert (answer.status_code, answer.json()["code"]) == (400, "webhook_refused"), name
    assert await state(resources, address.project.id) == before


@pytest.mark.parametrize("provider", FIELDS)
async def test_odd_bodies_are_answered_and_nothing_changes(
    client: httpx.AsyncClient, resources: Resources, provider: str
) -> None:
    address = await make_address(resources, client, provider)
    before = await state(resources, address.project.id)
    for name, body in SHAPES.items():
        headers = signed(body, key=KEY).headers if provider == "resend" else {}
        for kind in ("application/json", "text/plain", "multipart/form-data", "\xe9"):
            content_type = (b"content-type", kind.encode("latin-1"))
            given = [*((k.encode(), v.encode()) for k, v in headers.items()), content_type]
            answer = await client.post(address.path, content=body, headers=given)
            # A verified one is thanked for whatever it says; SNS's and Paubox's prove nothing in these.
            assert answer.status_code in {200, 400}, (name, kind, answer.text)
    assert await state(resources, address.project.id) == before


async def test_a_true_webhook_counts_once_however_often_it_is_replayed(
    client: httpx.AsyncClient, resources: Resources
) -> None:
    address = await make_address(resources, client, "resend")
    request = signed(address.true_event(), key=KEY)
    states = []
    for _ in range(3):
        answer = await client.post(
            address.path, content=request.body, headers=dict(request.headers)
        )
        assert answer.status_code == 200
        states.append(await state(resources, address.project.id))
    assert await status_of(client, address) == "bounced"
    assert states[0] == states[1] == states[2]


async def test_a_webhook_at_another_projects_address_changes_neither(
    client: httpx.AsyncClient, resources: Resources
) -> None:
    victim = await make_address(resources, client, "resend")
    forger = await make_address(resources, client, "resend")
    before = await state(resources, victim.project.id)
    # The forger knows the victim's mail, and has an address and a secret of their own.
    request = signed(victim.true_event(), key=KEY, id="msg_forged")
    answer = await client.post(forger.path, content=request.body, headers=dict(request.headers))
    assert answer.status_code == 200
    assert await state(resources, victim.project.id) == before


async def test_an_unsigned_webhook_moves_no_mail_that_was_never_handed_over(
    client: httpx.AsyncClient, resources: Resources
) -> None:
    address = await make_address(resources, client, "paubox")
    answer = await client.post(address.path, content=address.true_event())
    assert answer.status_code == 200
    # Its address is a secret, but of a mail that still waits here nobody can know anything.
    assert await status_of(client, address) == "queued"


@pytest.mark.parametrize("provider", FIELDS)
async def test_a_webhook_that_is_too_large_is_refused_announced_or_not(
    client: httpx.AsyncClient, resources: Resources, provider: str
) -> None:
    address = await make_address(resources, client, provider)

    async def unannounced() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b"x" * 50_000

    for body in (b"x" * 1_000_001, unannounced()):
        answer = await client.post(address.path, content=body)
        assert (answer.status_code, answer.json()["code"]) == (413, "payload_too_large")


async def test_an_address_that_was_guessed_leads_nowhere(
    client: httpx.AsyncClient, resources: Resources
) -> None:
    address = await make_address(resources, client, "paubox")
    number, _, token = address.path.rpartition("/")[2].partition("-")
    wrong = f"{number}-{'0' if token[0] != '0' else '1'}{token[1:]}"
    for guess in (wrong, f"{int(number) + 1}-{token}", number, f"-{token}", "a-b", "٣-" + token):
        for provider in FIELDS:
            answer = await client.post(f"/api/mail/webhook/{provider}/{guess}", content=b"{}")
            assert answer.status_code == 404, guess
    # A true token at another vendor's path is as good as none.
    answer = await client.post(address.path.replace("/paubox/", "/resend/"), content=b"{}")
    assert answer.status_code == 404
