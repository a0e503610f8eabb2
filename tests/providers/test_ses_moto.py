"""Amazon SES and SNS as moto plays them: a peer that nobody here wrote."""

import asyncio
import email
import email.policy
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import httpx
import orjson
import pytest
from cryptography import x509

from postroom.outgoing import Dialer, Http
from postroom.providers import sns as sns_module
from postroom.providers.base import OutcomeKind, WebhookRefused, WebhookRequest
from postroom.providers.ses import Ses
from postroom.providers.sigv4 import Signer
from tests.doubles.wire import Exchange, HttpServer
from tests.providers.contract import a_mail, with_attachment

REGION = "us-east-1"
KEYS = {"region": REGION, "accessKeyId": "AKIATEST", "secretAccessKey": "secret"}
JSON = {"content-type": "application/json"}
FORM = {"content-type": "application/x-www-form-urlencoded"}


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, **quiet) as process:  # noqa: S603 - moto itself
        yield f"http://127.0.0.1:{port}"
        process.terminate()


@pytest.fixture(scope="module")
async def client(moto) -> AsyncIterator[Http]:
    async with Http(Dialer(allow_private=True)) as client:
        async with asyncio.timeout(60):
            while not await _answers(client, moto):
                await asyncio.sleep(0.2)
        yield client


async def _answers(client: httpx.AsyncClient, moto: str) -> bool:
    try:
        return (await client.get(f"{moto}/moto-api/data.json")).is_success
    except httpx.TransportError:
        return False


async def _signed(
    client: httpx.AsyncClient, service: str, url: str, given: dict[str, str], body: bytes
) -> httpx.Response:
    signer = Signer("AKIATEST", "secret", None, REGION, service)
    method = "POST" if body else "GET"
    headers = signer.headers(method, url, given, body, datetime.now(UTC))
    return await client.request(method, url, content=body, headers=headers)


@pytest.fixture(scope="module")
async def ses(moto, client) -> Ses:
    await client.post(f"{moto}/moto-api/reset")
    body = orjson.dumps({"EmailIdentity": "clinic.test"})
    await _signed(client, "ses", f"{moto}/v2/email/identities", JSON, body)
    return Ses({**KEYS, "endpointUrl": moto}, client)


async def _taken(moto: str, client: httpx.AsyncClient, kind: str) -> list[dict[str, Any]]:
    data = (await client.get(f"{moto}/moto-api/data.json")).json()
    return data["ses"].get(kind, [])


async def test_a_simple_mail_arrives(moto, client, ses):
    answer = await ses.send([a_mail()], "key")
    assert answer.outcomes[0].kind is OutcomeKind.ACCEPTED
    (taken,) = [
        m
        for m in await _taken(moto, client, "Message")
        if m["id"] == answer.outcomes[0].provider_id
    ]
    assert taken["source"] == "Clinic <hello@clinic.test>"
    assert taken["subject"] == "Biopsy result 1"
    assert taken["body"] == "<p>positive &amp; well</p>"
    assert taken["destinations"]["ToAddresses"] == ["Jane Roe <canary@patients.test>"]


async def test_a_raw_mail_arrives_with_its_attachment(moto, client, ses):
    answer = await ses.send([with_attachment()], "key")
    assert answer.outcomes[0].kind is OutcomeKind.ACCEPTED
    taken = (await _taken(moto, client, "RawMessage"))[-1]
    message = email.message_from_string(taken["raw_data"], policy=email.policy.default)
    files = [part for part in message.walk() if part.get_filename() == "scan.txt"]
    assert [part.get_content() for part in files] == ["positive"]


async def test_an_unverified_sender_stops_the_account(ses):
    answer = await ses.send([a_mail(sender="x@elsewhere.test")], "key")
    assert answer.outcomes[0].kind is OutcomeKind.MISCONFIGURED
    assert "@" not in (answer.outcomes[0].reason or "")


async def test_too_many_recipients_reject_the_mail(ses):
    answer = await ses.send([a_mail(to=tuple(f"p{n}@x.test" for n in range(51)))], "key")
    assert answer.outcomes[0].kind is OutcomeKind.REJECTED


# ── SNS ──────────────────────────────────────────────────────────────────────────────────────────


async def _sns(moto: str, client: httpx.AsyncClient, **fields: str) -> str:
    body = urlencode({"Version": "2010-03-31", **fields}).encode()
    answer = await _signed(client, "sns", f"{moto}/", FORM, body)
    assert answer.is_success, answer.text
    return answer.text


async def test_what_moto_signs_is_verified_and_nothing_else(moto, client):
    created = await _sns(moto, client, Action="CreateTopic", Name="mail-events")
    topic = created.partition("<TopicArn>")[2].partition("</TopicArn>")[0]
    got: asyncio.Queue[bytes] = asyncio.Queue()

    def take(exchange: Exchange) -> None:
        got.put_nowait(exchange.body)
        exchange.answer_json(200, {})

    server = HttpServer(take)
    await server.start()
    await _sns(
        moto, client, Action="Subscribe", TopicArn=topic, Protocol="http", Endpoint=f"{server.url}/"
    )
    event = {
        "eventType": "Delivery",
        "mail": {"messageId": "ses-1", "timestamp": "2026-11-20T10:00:00.000Z"},
        "delivery": {"recipients": ["canary@patients.test"]},
    }
    text = orjson.dumps(event).decode()
    await _sns(moto, client, Action="Publish", TopicArn=topic, Message=text)
    async with asyncio.timeout(20):
        body = await got.get()
    await server.stop()
    message = orjson.loads(body)
    path = message["SigningCertURL"].partition("amazonaws.com")[2]
    hint = f"AWS4-HMAC-SHA256 Credential=a/20260101/{REGION}/sns/aws4_request, SignedHeaders=host, Signature=x"
    pem = await client.get(f"{moto}{path}", headers={"authorization": hint})
    certificate = x509.load_pem_x509_certificate(pem.content)
    sns_module._KEYS[message["SigningCertURL"]] = certificate.public_key()  # type: ignore[assignment]
    ses = Ses({**KEYS, "topicArns": [topic]}, client)
    (told,) = await ses.receive(WebhookRequest({}, body))
    assert (told.provider_id, told.recipient) == ("ses-1", "canary@patients.test")
    forged = body.replace(b"ses-1", b"ses-2")
    with pytest.raises(WebhookRefused):
        await ses.receive(WebhookRequest({}, forged))
