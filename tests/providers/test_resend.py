"""Resend keeps what every provider keeps; its bytes, its answers and what each of them means."""

import base64

import httpx
import orjson
import pytest
import respx

from postroom.providers.base import Attachment, Outcome, OutcomeKind
from postroom.providers.resend import Resend
from tests.providers.contract import (
    ProviderContract,
    a_mail,
    some_mails,
    with_attachment,
)
from tests.providers.resend_wire import API, accepting, error, page

REJECTED, MISCONFIGURED = OutcomeKind.REJECTED, OutcomeKind.MISCONFIGURED
THROTTLED, NOT_SENT, UNKNOWN = OutcomeKind.THROTTLED, OutcomeKind.NOT_SENT, OutcomeKind.UNKNOWN


# https://resend.com/docs/api-reference/errors, and what networks and gateways do.
FAILURES: dict[str, tuple[httpx.Response | Exception, OutcomeKind]] = {
    "400 validation_error": (error(400, "validation_error"), REJECTED),
    "422 validation_error": (error(422, "validation_error"), REJECTED),
    "422 missing_required_field": (error(422, "missing_required_field"), REJECTED),
    "422 invalid_attachment": (error(422, "invalid_attachment"), REJECTED),
    "422 invalid_from_address": (error(422, "invalid_from_address"), REJECTED),
    "413 too large": (httpx.Response(413, text="Payload Too Large"), REJECTED),
    "451 security_error": (error(451, "security_error"), REJECTED),
    "400 invalid key as validation_error": (
        error(400, "validation_error", "API key is invalid"),
        MISCONFIGURED,
    ),
    "400 invalid_idempotency_key": (error(400, "invalid_idempotency_key"), MISCONFIGURED),
    "401 missing_api_key": (error(401, "missing_api_key"), MISCONFIGURED),
    "401 restricted_api_key": (error(401, "restricted_api_key"), MISCONFIGURED),
    "403 invalid_api_key": (error(403, "invalid_api_key"), MISCONFIGURED),
    "403 suspended_api_key": (error(403, "suspended_api_key"), MISCONFIGURED),
    "403 unverified domain": (error(403, "validation_error"), MISCONFIGURED),
    "403 page of the edge": (page(403), MISCONFIGURED),
    "404 not_found": (error(404, "not_found"), MISCONFIGURED),
    "405 method_not_allowed": (error(405, "method_not_allowed"), MISCONFIGURED),
    "200 page": (page(200), MISCONFIGURED),
    "400 page": (page(400), MISCONFIGURED),
    "301 elsewhere": (httpx.Response(301, headers={"location": "https://x.test"}), MISCONFIGURED),
    "429 rate_limit_exceeded": (error(429, "rate_limit_exceeded"), THROTTLED),
    "429 daily_quota_exceeded": (error(429, "daily_quota_exceeded"), THROTTLED),
    "429 monthly_quota_exceeded": (error(429, "monthly_quota_exceeded"), THROTTLED),
    "429 page": (page(429), THROTTLED),
    "409 concurrent": (error(409, "concurrent_idempotent_requests"), UNKNOWN),
    "409 resource_locked": (error(409, "resource_locked"), UNKNOWN),
    "409 other bytes": (error(409, "invalid_idempotent_request"), UNKNOWN),
    "500 application_error": (error(500, "application_error"), UNKNOWN),
    "500 with an account's name": (error(500, "invalid_api_key"), UNKNOWN),
    "503 service_unavailable": (error(503, "service_unavailable"), UNKNOWN),
    "502 page": (page(502), UNKNOWN),
    "408 timeout": (httpx.Response(408), UNKNOWN),
    "200 empty": (httpx.Response(200), UNKNOWN),
    "204": (httpx.Response(204), UNKNOWN),
    "200 cut": (httpx.Response(200, content=b'{"id": "49a3'), UNKNOWN),
    "200 list": (httpx.Response(200, json=[]), UNKNOWN),
    "200 no ids": (httpx.Response(200, json={"data": [], "id": 7}), UNKNOWN),
    "connect refused": (httpx.ConnectError("refused"), NOT_SENT),
    "connect timeout": (httpx.ConnectTimeout("slow"), NOT_SENT),
    "no connection free": (httpx.PoolTimeout("full"), NOT_SENT),
    "read timeout": (httpx.ReadTimeout("canary@patients.test"), UNKNOWN),
    "write timeout": (httpx.WriteTimeout("slow"), UNKNOWN),
    "write error": (httpx.WriteError("reset"), UNKNOWN),
    "read error": (httpx.ReadError("reset"), UNKNOWN),
    "protocol error": (httpx.RemoteProtocolError("disconnected"), UNKNOWN),
    "undecodable": (httpx.DecodingError("gzip"), UNKNOWN),
    "no http": (httpx.UnsupportedProtocol("ftp"), MISCONFIGURED),
    "no address": (httpx.InvalidURL("x"), MISCONFIGURED),
}


class TestResend(ProviderContract):
    provider_class = Resend
    failures = {name: kind for name, (_, kind) in FAILURES.items()}
    misfits = {
        "nobody": lambda: a_mail(to=()),
        "fifty-one recipients": lambda: a_mail(to=("a@x.test",) * 30, cc=("b@x.test",) * 21),
        "nothing to read": lambda: a_mail(html=None, text=None),
        "over 40 MB of attachments": lambda: a_mail(
            attachments=(Attachment("a", "A" * 40_000_000),)
        ),
        "a tag that no tag can be": lambda: a_mail(tags=(("with space", "x"),)),
        "a tag without a value": lambda: a_mail(tags=(("kind", ""),)),
        "a long tag": lambda: a_mail(tags=(("kind", "x" * 257),)),
        "seventy-five tags": lambda: a_mail(tags=tuple((f"t{n}", "x") for n in range(75))),
        "our own tag": lambda: a_mail(tags=(("postroom", "x"),)),
        "an attachment without a name": lambda: a_mail(attachments=(Attachment("", "QQ=="),)),
        "a long content id": lambda: a_mail(
            attachments=(Attachment("a", "QQ==", None, "x" * 128),)
        ),
    }

    @pytest.fixture
    def vendor(self, wire):
        wire.failures = {name: answer for name, (answer, _) in FAILURES.items()}
        return wire

    @pytest.fixture
    def provider(self, resend):
        return resend


# ── The wire ─────────────────────────────────────────────────────────────────────────────────────


async def test_one_mail_is_one_call_with_everything_in_it(wire, resend):
    wire.accept()
    answer = await resend.send([with_attachment()._replace(bcc=("b@x.test",))], "key-1")
    assert answer.outcomes == (Outcome(OutcomeKind.ACCEPTED, provider_id="id-0"),)
    assert wire.last.url == f"{API}/emails"
    assert wire.last.headers["authorization"] == "Bearer re_sk-canary"
    assert wire.last.headers["idempotency-key"] == "key-1"
    assert wire.last.headers["user-agent"].startswith("postroom/")
    assert wire.last.headers["content-type"] == "application/json"
    assert "x-batch-validation" not in wire.last.headers
    assert orjson.loads(wire.last.content) == {
        "from": "Clinic <hello@clinic.test>",
        "to": ["Jane Roe <canary@patients.test>"],
        "subject": "Biopsy result 1",
        "html": "<p>positive &amp; well</p>",
        "text": "positive",
        "cc": ["copy@patients.test"],
        "bcc": ["b@x.test"],
        "reply_to": ["desk@clinic.test"],
        "headers": {"List-Unsubscribe": "<https://clinic.test/u/1>", "X-Ward": "7"},
        "attachments": [
            {
                "filename": "scan.txt",
                "content": base64.b64encode(b"positive").decode(),
                "content_type": "text/plain",
                "content_id": "scan-1",
            }
        ],
        "tags": [
            {"name": "kind", "value": "result"},
            {"name": "postroom", "value": "0190f5a8-0000-7000-8000-000000000001"},
        ],
    }


async def test_several_mails_are_one_permissive_batch_in_order(wire, resend):
    wire.accept()
    await resend.send(some_mails(100), "key-2")
    assert wire.last.url == f"{API}/emails/batch"
    assert wire.last.headers["x-batch-validation"] == "permissive"
    assert wire.last.headers["idempotency-key"] == "key-2"
    subjects = [mail["subject"] for mail in orjson.loads(wire.last.content)]
    assert subjects == [f"Biopsy result {n}" for n in range(1, 101)]


async def test_these_are_the_bytes_of_resend_1(wire, resend):
    """A repeat after an upgrade must be the same bytes, or `wire` must say that they are not."""
    wire.accept()
    plain = a_mail(html="<p>é</p>", text="", cc=(), reply_to=(), headers={}, tags=())
    await resend.send([plain], "key-3")
    assert Resend.wire == "resend-1"
    assert wire.last.content.decode() == (
        '{"from":"Clinic <hello@clinic.test>","to":["Jane Roe <canary@patients.test>"],'
        '"subject":"Biopsy result 1","html":"<p>é</p>","text":"",'
        '"tags":[{"name":"postroom","value":"0190f5a8-0000-7000-8000-000000000001"}]}'
    )


async def test_an_attachment_in_a_batch_is_a_bug_of_ours(wire, resend):
    wire.accept()
    with pytest.raises(ValueError, match="alone"):
        await resend.send([a_mail(1), with_attachment(2)], "key")
    assert wire.bodies() == []


async def test_another_base_url_is_used_as_it_is(http):
    with respx.mock(base_url="https://mail.example.test/resend") as elsewhere:
        elsewhere.post("/emails").mock(side_effect=accepting)
        credentials = {"apiKey": "re_1", "baseUrl": "https://mail.example.test/resend/"}
        answer = await Resend(credentials, http).send([a_mail()], "key")
    assert answer.outcomes[0].kind is OutcomeKind.ACCEPTED


@pytest.mark.parametrize("key", [None, "", "re_with space", "re_line\nbreak", "re_é"])
async def test_without_a_usable_key_no_call_is_made(wire, http, key):
    answer = await Resend({"apiKey": key}, http).send(some_mails(2), "key")
    assert [outcome.kind for outcome in answer.outcomes] == [MISCONFIGURED] * 2
    assert wire.bodies() == []


def test_the_webhook_secret_has_no_part_in_which_account_it_is(resend):
    other = Resend({**resend.credentials, "webhookSecret": "whsec_x"}, resend.http)
    assert other.fingerprint == resend.fingerprint
