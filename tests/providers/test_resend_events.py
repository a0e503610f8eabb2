"""What Resend reports by webhook, and what it answers when it is asked."""

import base64
import hashlib
import hmac
import time
from datetime import UTC, datetime

import httpx
import orjson
import pytest

from postroom.errors import ProviderRefused, ProviderSlow, ProviderUnreachable
from postroom.providers.base import (
    EventKind,
    WebhookNotConfigured,
    WebhookRefused,
    WebhookRequest,
)
from postroom.providers.resend import Resend
from postroom.providers.resend_events import EVENT_KINDS
from tests.providers.resend_wire import error, page

KEY = b"0123456789abcdef0123456789abcdef"
SECRET = "whsec_" + base64.b64encode(KEY).decode()
MAIL_ID = "56761188-7520-42d8-8898-ff6fc54ce618"
REF = "0190f5a8-7b1c-7def-8abc-0123456789ab"


def data(**more: object) -> dict[str, object]:
    return {
        "email_id": MAIL_ID,
        "message_id": "<1@email.test>",
        "created_at": "2026-11-22T23:41:11.894Z",
        "from": "Acme <onboarding@resend.dev>",
        "to": ["delivered@resend.dev"],
        "subject": "Sending this example",
        "tags": {"category": "confirm_email", "postroom": REF},
        **more,
    }


def payload(kind: str = "email.delivered", **more: object) -> dict[str, object]:
    return {"type": kind, "created_at": "2026-11-22T23:41:12.126Z", "data": data(**more)}


def signed(body: bytes, *, key: bytes = KEY, at: float | None = None, id: str = "msg_1"):
    """Signed here by hand, so that it is not the library that agrees with itself."""
    stamp = str(int(time.time() if at is None else at))
    mac = hmac.new(key, f"{id}.{stamp}.".encode() + body, hashlib.sha256).digest()
    signature = f"v1,{base64.b64encode(mac).decode()}"
    headers = {"svix-id": id, "svix-timestamp": stamp, "svix-signature": signature}
    return WebhookRequest(headers, body)


def read(body: object, secret: object = SECRET):
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    provider = Resend({"apiKey": "re_1", "webhookSecret": secret}, httpx.AsyncClient())
    return provider.read_webhook(signed(raw))


def bounce(kind: object, **more: object) -> dict[str, object]:
    return {"bounce": {"type": kind, "subType": "General", "message": "Said no.", **more}}


# https://resend.com/docs/dashboard/webhooks/event-types
TABLE = [
    ("email.scheduled", {}, EventKind.SCHEDULED, None, None),
    ("email.sent", {}, EventKind.ACCEPTED, None, None),
    ("email.delivery_delayed", {}, EventKind.DEFERRED, None, None),
    ("email.delivered", {}, EventKind.DELIVERED, None, None),
    ("email.complained", {}, EventKind.COMPLAINED, None, None),
    ("email.opened", {}, EventKind.OPENED, None, None),
    ("email.clicked", {"click": {"link": "https://x.test"}}, EventKind.CLICKED, None, None),
    ("email.bounced", bounce("Permanent"), EventKind.HARD_BOUNCED, "Said no.", "General"),
    ("email.bounced", bounce("Transient"), EventKind.SOFT_BOUNCED, "Said no.", "General"),
    ("email.bounced", bounce("Undetermined"), EventKind.SOFT_BOUNCED, "Said no.", "General"),
    ("email.bounced", bounce("New"), EventKind.SOFT_BOUNCED, "Said no.", "General"),
    ("email.bounced", bounce(7), EventKind.SOFT_BOUNCED, "Said no.", "General"),
    ("email.bounced", {"bounce": "?"}, EventKind.SOFT_BOUNCED, None, None),
    ("email.bounced", {}, EventKind.SOFT_BOUNCED, None, None),
    (
        "email.bounced",
        {"bounce": {"type": "Permanent", "diagnosticCode": ["550 5.1.1 <jane@x.test> unknown"]}},
        EventKind.HARD_BOUNCED,
        "550 5.1.1 <<address>> unknown",
        "Permanent",
    ),
    (
        "email.failed",
        {"failed": {"reason": "reached_daily_quota"}},
        EventKind.FAILED,
        "reached_daily_quota",
        None,
    ),
    (
        "email.suppressed",
        {"suppressed": {"type": "OnAccountSuppressionList", "message": "On the list."}},
        EventKind.SUPPRESSED,
        "On the list.",
        "OnAccountSuppressionList",
    ),
]


@pytest.mark.parametrize(("kind", "more", "event_kind", "reason", "code"), TABLE)
def test_each_event_has_its_meaning(kind, more, event_kind, reason, code):
    (event,) = read(payload(kind, **more))
    assert (event.kind, event.reason, event.code) == (event_kind, reason, code)
    assert (event.event_id, event.provider_id, event.ref) == ("msg_1", MAIL_ID, REF)
    assert event.at == datetime(2026, 11, 22, 23, 41, 12, 126000, tzinfo=UTC)
    assert event.recipient == "delivered@resend.dev"


def test_the_table_is_whole():
    assert {row[0] for row in TABLE} == set(EVENT_KINDS)
    assert {row[2] for row in TABLE} == Resend.capabilities.events


@pytest.mark.parametrize(
    "body",
    [
        payload("email.received"),
        payload("contact.updated"),
        payload("domain.created"),
        payload("email.from_next_year"),
        {"type": "email.sent", "data": {}},
        {"type": "email.sent", "data": {"email_id": 7, "tags": [1, {"name": "postroom"}]}},
        {"type": "email.sent", "data": []},
        {"type": ["email.sent"], "data": data()},
        {"type": "email.sent"},
        [],
        "text",
        None,
        b"",
        b"not json",
        b"{",
    ],
)
def test_what_is_not_about_a_mail_of_ours_is_no_event(body):
    assert read(body) == []


@pytest.mark.parametrize(
    ("more", "recipient", "ref"),
    [
        ({"to": ["a@x.test", "b@x.test"]}, None, REF),
        ({"to": []}, None, REF),
        ({"to": "a@x.test"}, "a@x.test", REF),
        ({"to": ["Jane Roe <a@x.test>"]}, "a@x.test", REF),
        ({"to": [7]}, None, REF),
        ({"to": None}, None, REF),
        ({"to": ["a@x.test"], "tags": [{"name": "postroom", "value": "r"}]}, "a@x.test", "r"),
        ({"to": ["a@x.test"], "tags": [{"name": "other", "value": "r"}]}, "a@x.test", None),
        ({"to": ["a@x.test"], "tags": {}}, "a@x.test", None),
        ({"to": ["a@x.test"], "tags": "?"}, "a@x.test", None),
    ],
)
def test_one_webhook_is_one_event_about_one_recipient_or_nobody_by_name(more, recipient, ref):
    (event,) = read(payload(**more))
    assert (event.recipient, event.ref) == (recipient, ref)


@pytest.mark.parametrize("at", [None, "yesterday", 7, "2026-11-22T23:41:12"])
def test_a_time_that_cannot_be_read_is_now(at):
    (event,) = read({**payload(), "created_at": at})
    assert event.at.tzinfo is not None


def test_text_that_no_database_keeps_is_cleaned():
    (event,) = read(payload("email.bounced", **bounce("Permanent", message="no\x00 such user")))
    assert event.reason == "no such user"


# ── Signatures ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "change",
    [
        {"svix-signature": "v1,AAAA"},
        {"svix-signature": "v1"},
        {"svix-signature": "v1,a,b"},
        {"svix-signature": "v1,é"},
        {"svix-signature": ""},
        {"svix-timestamp": "0"},
        {"svix-timestamp": "soon"},
        {"svix-timestamp": "nan"},
        {"svix-id": "msg_2"},
        {"svix-id": ""},
    ],
)
def test_a_changed_header_is_refused(change):
    provider = Resend({"webhookSecret": SECRET}, httpx.AsyncClient())
    request = signed(orjson.dumps(payload()))
    changed = WebhookRequest({**request.headers, **change}, request.body)
    with pytest.raises(WebhookRefused):
        provider.read_webhook(changed)


@pytest.mark.parametrize("minutes", [-6, 6])
def test_a_stale_signature_is_refused(minutes):
    provider = Resend({"webhookSecret": SECRET}, httpx.AsyncClient())
    with pytest.raises(WebhookRefused):
        provider.read_webhook(signed(b"{}", at=time.time() + minutes * 60))


def test_the_raw_bytes_are_what_is_signed():
    provider = Resend({"webhookSecret": SECRET}, httpx.AsyncClient())
    request = signed(b'{"type":"email.sent", "data":{}}')
    with pytest.raises(WebhookRefused):
        provider.read_webhook(WebhookRequest(request.headers, request.body + b" "))
    for foreign in (b"\xff\xfe", b""):
        with pytest.raises(WebhookRefused):
            provider.read_webhook(WebhookRequest(request.headers, foreign))
    with pytest.raises(WebhookRefused):
        provider.read_webhook(WebhookRequest({}, request.body))


def test_one_good_signature_among_several_is_enough():
    provider = Resend({"webhookSecret": SECRET}, httpx.AsyncClient())
    request = signed(orjson.dumps(payload()))
    both = f"v1,{base64.b64encode(b'x' * 32).decode()} {request.headers['svix-signature']}"
    rotated = WebhookRequest({**request.headers, "svix-signature": both}, request.body)
    assert len(provider.read_webhook(rotated)) == 1


@pytest.mark.parametrize("secret", [None, "", "  ", "whsec_", "whsec_!!!", "whsec_ab c", 7, "é"])
def test_a_missing_or_undecodable_secret_means_off(secret):
    with pytest.raises(WebhookNotConfigured):
        read(payload(), secret)


def test_a_secret_without_prefix_or_padding_is_as_good():
    bare = base64.b64encode(KEY).decode().rstrip("=")
    assert len(read(payload(), bare)) == 1


# ── Asking ───────────────────────────────────────────────────────────────────────────────────────


def stored(last_event: object) -> dict[str, object]:
    tags = [{"name": "postroom", "value": REF}]
    return {"object": "email", **data(tags=tags), "last_event": last_event}


@pytest.mark.parametrize(
    ("last", "kind"),
    [
        ("sent", EventKind.ACCEPTED),
        ("delivered", EventKind.DELIVERED),
        ("delivery_delayed", EventKind.DEFERRED),
        ("bounced", EventKind.SOFT_BOUNCED),
        ("complained", EventKind.COMPLAINED),
        ("suppressed", EventKind.SUPPRESSED),
        ("failed", EventKind.FAILED),
        ("canceled", EventKind.FAILED),
        ("opened", EventKind.OPENED),
        ("clicked", EventKind.CLICKED),
        ("scheduled", EventKind.SCHEDULED),
    ],
)
async def test_what_became_of_a_mail(wire, resend, last, kind):
    route = wire.router.get(f"/emails/{MAIL_ID}").respond(json=stored(last))
    live = await resend.fetch_status(MAIL_ID)
    assert live.last_event == last
    assert live.raw["subject"] == "Sending this example"
    (event,) = live.events
    assert (event.kind, event.provider_id, event.ref) == (kind, MAIL_ID, REF)
    assert event.event_id == (await resend.fetch_status(MAIL_ID)).events[0].event_id
    assert route.calls.last.request.headers["authorization"] == "Bearer re_sk-canary"


@pytest.mark.parametrize("last", ["queued", "from_next_year", None, 7])
async def test_a_last_event_without_meaning_is_no_event(wire, resend, last):
    wire.router.get(f"/emails/{MAIL_ID}").respond(json=stored(last))
    assert (await resend.fetch_status(MAIL_ID)).events == ()


async def test_an_id_cannot_leave_its_place_in_the_path(wire, resend):
    route = wire.router.get(url__regex=r"/emails/.*").respond(json=stored("sent"))
    await resend.fetch_status("../domains?x=1")
    assert route.calls.last.request.url.raw_path == b"/emails/..%2Fdomains%3Fx%3D1"


ASKING = {
    "not found": (error(404, "not_found", "Email not found"), (404, "Email not found.")),
    "crowded": (error(429, "rate_limit_exceeded", "Slow down."), (429, "Slow down.")),
    "down": (httpx.Response(503, text=""), (503, "Resend answered HTTP 503.")),
    "page": (page(200), (502, "This is not Resend's API (HTTP 200): check the base URL.")),
    "moved": (httpx.Response(302), (502, "Resend answered HTTP 302.")),
    "no json": (httpx.Response(200, text="ok"), (502, "Resend's answer could not be read.")),
    "no object": (httpx.Response(200, json=[]), (502, "Resend's answer could not be read.")),
}


@pytest.mark.parametrize("case", ASKING)
async def test_the_vendors_refusal_is_passed_on(wire, resend, case):
    answer, expected = ASKING[case]
    wire.router.get(f"/emails/{MAIL_ID}").mock(side_effect=[answer])
    with pytest.raises(ProviderRefused) as refused:
        await resend.fetch_status(MAIL_ID)
    assert (refused.value.status, refused.value.message) == expected


@pytest.mark.parametrize(
    ("failure", "problem"),
    [
        (httpx.ConnectError("x"), ProviderUnreachable),
        (httpx.ConnectTimeout("x"), ProviderUnreachable),
        (httpx.RemoteProtocolError("x"), ProviderUnreachable),
        (httpx.InvalidURL("x"), ProviderUnreachable),
        (httpx.ReadTimeout("x"), ProviderSlow),
    ],
)
async def test_a_vendor_that_does_not_answer_is_unreachable_or_slow(wire, resend, failure, problem):
    wire.router.get(url__regex=".*").mock(side_effect=failure)
    with pytest.raises(problem):
        await resend.fetch_status(MAIL_ID)
    with pytest.raises(problem):
        await resend.verify()


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, json={"object": "list", "data": []}),
        error(401, "restricted_api_key", "This API key is restricted to only send emails"),
    ],
)
async def test_a_key_that_may_send_is_good(wire, resend, answer):
    wire.router.get("/domains").mock(return_value=answer)
    await resend.verify()


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (error(401, "validation_error", "API key is invalid"), 401),
        (error(403, "restricted_api_key", "This API key is not active."), 403),
        (error(403, "suspended_api_key"), 403),
        (error(404, "not_found"), 404),
        (page(200), 502),
        (httpx.Response(500), 500),
    ],
)
async def test_a_key_that_may_not_is_refused_with_the_vendors_words(wire, resend, answer, status):
    wire.router.get("/domains").mock(return_value=answer)
    with pytest.raises(ProviderRefused) as refused:
        await resend.verify()
    assert refused.value.status == status
    assert refused.value.message.endswith(".")
    assert "canary" not in refused.value.message


async def test_without_a_key_nobody_is_asked(wire, http):
    with pytest.raises(ProviderRefused) as refused:
        await Resend({}, http).verify()
    assert refused.value.status == 401
