"""Paubox keeps what every provider keeps; its bytes, its five shapes of error, its receipts and webhooks."""

import base64
from dataclasses import replace

import httpx
import orjson
import pytest
import respx

from postroom.errors import ProviderRefused, ProviderSlow, ProviderUnreachable
from postroom.providers import paubox as paubox_module
from postroom.providers.base import Attachment, EventKind, OutcomeKind, WebhookRequest
from postroom.providers.paubox import Paubox
from tests.doubles.paubox import LITERALS, PauboxDouble
from tests.providers.contract import ProviderContract, a_mail, some_mails
from tests.providers.vendor_wire import NETWORK, Reply, Wire, page

API = "https://api.paubox.com/v1/email"
REJECTED, MISCONFIGURED = OutcomeKind.REJECTED, OutcomeKind.MISCONFIGURED
THROTTLED, UNKNOWN = OutcomeKind.THROTTLED, OutcomeKind.UNKNOWN


def errors(
    status: int, title: str = "No, canary@patients.test", details: str = "positive"
) -> Reply:
    return httpx.Response(
        status, json={"errors": [{"code": status, "title": title, "details": details}]}
    )


FAILURES: dict[str, tuple[Reply, OutcomeKind]] = {
    "400 errors as a list": (errors(400), REJECTED),
    "400 errors as a sentence": (httpx.Response(400, json={"errors": "Invalid"}), REJECTED),
    "400 message": (httpx.Response(400, json={"message": "Invalid"}), REJECTED),
    "400 error": (httpx.Response(400, json={"error": "Invalid"}), REJECTED),
    "400 code and title on top": (
        httpx.Response(
            400,
            json={
                "code": 400,
                "title": "Invalid Request",
                "details": {
                    "title": "Missing values",
                    "details": "Length of data.message.recipients should be at least 1",
                    "code": 400,
                },
            },
        ),
        REJECTED,
    ),
    "400 empty": (httpx.Response(400), REJECTED),
    "413": (httpx.Response(413, text="Payload Too Large"), REJECTED),
    "422": (errors(422), REJECTED),
    "400 unverified domain": (errors(400, "From domain is not verified"), MISCONFIGURED),
    "422 unverified domain": (errors(422, "Invalid", "unverified domain"), MISCONFIGURED),
    "401 plain text": (httpx.Response(401, text="Unauthorized"), MISCONFIGURED),
    "403": (httpx.Response(403, json={"message": "forbidden"}), MISCONFIGURED),
    "404 page of the gateway": (page(404), MISCONFIGURED),
    "404": (errors(404), MISCONFIGURED),
    "200 page": (page(200), MISCONFIGURED),
    "301 elsewhere": (httpx.Response(301, headers={"location": "https://x.test"}), MISCONFIGURED),
    "429": (httpx.Response(429, json={"message": "Too many"}), THROTTLED),
    "429 page": (page(429), THROTTLED),
    "500": (errors(500), UNKNOWN),
    "502 page": (page(502), UNKNOWN),
    "503": (httpx.Response(503), UNKNOWN),
    "408": (httpx.Response(408), UNKNOWN),
    "200 errors": (
        httpx.Response(200, json={"errors": [{"code": 400, "title": "Bad", "details": "x"}]}),
        REJECTED,
    ),
    "200 errors of the server": (
        httpx.Response(200, json={"errors": [{"code": 500, "title": "Bad", "details": "x"}]}),
        UNKNOWN,
    ),
    "200 error": (httpx.Response(200, json={"error": "Invalid"}), REJECTED),
    "200 no json": (httpx.Response(200, text="ok"), UNKNOWN),
    "200 nothing of it": (httpx.Response(200, json={"data": "Service OK"}), UNKNOWN),
    "200 too few": (httpx.Response(200, json={"messages": []}), UNKNOWN),
    **{name: (reply, OutcomeKind(kind)) for name, (reply, kind) in NETWORK.items()},
}


def accepting(request: httpx.Request) -> httpx.Response:
    data = orjson.loads(request.content)["data"]
    messages = data.get("messages") or [data["message"]]
    answers = [
        {
            "sourceTrackingId": f"id-{n}",
            "customHeaders": {"X-Postroom-Id": message["headers"]["X-Postroom-Id"]},
            "data": "Service OK",
        }
        for n, message in enumerate(messages)
    ]
    return httpx.Response(200, json={"messages": answers} if "messages" in data else answers[0])


@pytest.fixture
def wire():
    with respx.mock(base_url=API, assert_all_called=False) as router:
        replies = {name: reply for name, (reply, _) in FAILURES.items()}
        yield Wire(router, r"/v1/email/(bulk_)?messages$", accepting, replies)


@pytest.fixture
def paubox(wire, http):
    return Paubox({"apiKey": " sk-canary\n"}, http)


class TestPaubox(ProviderContract):
    provider_class = Paubox
    failures = {name: kind for name, (_, kind) in FAILURES.items()}
    misfits = {
        "nobody": lambda: a_mail(to=()),
        "a hundred and one recipients": lambda: a_mail(to=("a@x.test",) * 100),
        "nothing to read": lambda: a_mail(html=None, text=None),
        "a header that it does not carry": lambda: a_mail(headers={"In-Reply-To": "<1@x.test>"}),
        "our own header": lambda: a_mail(headers={"x-postroom-id": "1"}),
        "a header that is none": lambda: a_mail(headers={"X-A: b": "1"}),
        "an inline image": lambda: a_mail(attachments=(Attachment("a.png", "QQ==", None, "a"),)),
        "an attachment without a name": lambda: a_mail(attachments=(Attachment("", "QQ=="),)),
        "over 10 MB of attachments": lambda: a_mail(
            attachments=(Attachment("a", "A" * 13_400_000),)
        ),
    }

    @pytest.fixture
    def vendor(self, wire):
        return wire

    @pytest.fixture
    def provider(self, paubox):
        return paubox


# ── The bytes ────────────────────────────────────────────────────────────────────────────────────


async def test_one_mail_is_a_message_with_its_headers_flattened(wire, paubox):
    wire.accept()
    await paubox.send([a_mail(bcc=("b@x.test",))], "key")
    assert wire.last.url == f"{API}/messages"
    assert wire.last.headers["authorization"] == "Bearer sk-canary"
    assert orjson.loads(wire.last.content) == {
        "data": {
            "message": {
                "recipients": ["Jane Roe <canary@patients.test>"],
                "cc": ["copy@patients.test"],
                "bcc": ["b@x.test"],
                "headers": {
                    "subject": "Biopsy result 1",
                    "from": "Clinic <hello@clinic.test>",
                    "reply-to": "desk@clinic.test",
                    "List-Unsubscribe": "<https://clinic.test/u/1>",
                    "X-Ward": "7",
                    "X-Postroom-Id": "0190f5a8-0000-7000-8000-000000000001",
                },
                "content": {
                    "text/plain": "positive",
                    "text/html": base64.b64encode(b"<p>positive &amp; well</p>").decode(),
                },
                "allowNonTLS": False,
                "forceSecureNotification": False,
            }
        }
    }


async def test_several_mails_are_one_bulk_call(wire, paubox):
    wire.accept()
    await paubox.send(some_mails(3), "key")
    assert wire.last.url == f"{API}/bulk_messages"
    messages = orjson.loads(wire.last.content)["data"]["messages"]
    assert [m["headers"]["X-Postroom-Id"] for m in messages] == [m.ref for m in some_mails(3)]


async def test_attachments_are_named_and_typed(wire, paubox):
    wire.accept()
    mail = a_mail(attachments=(Attachment("a.pdf", "QQ=="), Attachment("b", "Qg==", "x/y")))
    await paubox.send([mail], "key")
    assert orjson.loads(wire.last.content)["data"]["message"]["attachments"] == [
        {"fileName": "a.pdf", "contentType": "application/pdf", "content": "QQ=="},
        {"fileName": "b", "contentType": "x/y", "content": "Qg=="},
    ]


async def test_the_portal_can_be_forced_and_clear_text_never_allowed(wire, http):
    wire.accept()
    paubox = Paubox({"apiKey": "k", "forceSecureNotification": True, "allowNonTLS": True}, http)
    await paubox.send([a_mail()], "key")
    message = orjson.loads(wire.last.content)["data"]["message"]
    assert message["forceSecureNotification"] is True
    assert message["allowNonTLS"] is False


@pytest.mark.parametrize(
    ("credentials", "size"),
    [
        ({}, 50),
        ({"phiAllowed": True}, 10),
        ({"phiAllowed": True, "bulkSize": 25}, 25),
        ({"bulkSize": 5}, 5),
    ],
)
def test_calls_are_smaller_where_health_data_is_in_doubt(http, credentials, size):
    assert Paubox({"apiKey": "k", **credentials}, http).capabilities.batch_size == size


@pytest.mark.parametrize(
    ("credentials", "url"),
    [
        ({"baseUrl": "https://api.paubox.com/v1/email/"}, f"{API}/messages"),
        ({"endpoint": "clinic", "baseUrl": API}, "https://api.paubox.net/v1/clinic/messages"),
        ({"baseUrl": "https://proxy.test/a/v1"}, "https://proxy.test/a/v1/messages"),
    ],
)
async def test_the_address_is_what_was_set_up(http, credentials, url):
    with respx.mock() as router:
        route = router.post(url).mock(side_effect=accepting)
        answer = await Paubox({"apiKey": "k", **credentials}, http).send([a_mail()], "key")
    assert route.called
    assert answer.outcomes[0].kind is OutcomeKind.ACCEPTED


# ── Answers ──────────────────────────────────────────────────────────────────────────────────────


async def test_an_item_without_an_id_is_a_refused_mail(wire, paubox):
    items = [
        {"sourceTrackingId": "a", "customHeaders": None, "data": "Service OK"},
        {"errors": [{"code": 400, "title": "Invalid", "details": "canary@patients.test"}]},
        {"sourceTrackingId": "c", "data": "Service OK"},
    ]
    wire.answer(httpx.Response(200, json={"messages": items}))
    answer = await paubox.send(some_mails(3), "key")
    assert [o.kind.value for o in answer.outcomes] == ["accepted", "rejected", "accepted"]
    assert answer.outcomes[1].reason == "Invalid."
    assert not answer.whole_call


async def test_ids_that_belong_to_other_mails_say_nothing_of_any(wire, paubox):
    def swapped(request: httpx.Request) -> httpx.Response:
        answers = orjson.loads(accepting(request).content)["messages"]
        return httpx.Response(200, json={"messages": answers[::-1]})

    wire.answer(swapped)
    answer = await paubox.send(some_mails(2), "key")
    assert [o.kind for o in answer.outcomes] == [UNKNOWN] * 2


async def test_a_named_pause_is_kept(wire, paubox):
    wire.answer(httpx.Response(429, headers={"retry-after": "7"}))
    assert (await paubox.send([a_mail()], "key")).pause == 7


# ── Receipts ─────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
async def double():
    async with PauboxDouble() as running:
        yield running


@pytest.fixture
def account(double, http):
    return Paubox({"apiKey": "sk-1", "baseUrl": double.url}, http)


async def _sent(account: Paubox, *to: str) -> str:
    answer = await account.send([a_mail(to=to, cc=())], "key")
    assert answer.outcomes[0].provider_id
    return answer.outcomes[0].provider_id


@pytest.mark.parametrize(
    ("local", "kind", "code"),
    [
        ("anybody", EventKind.DELIVERED, "delivered"),
        ("portal", EventKind.DELIVERED, "via_portal"),
        ("bounced", EventKind.HARD_BOUNCED, "hard bounced"),
        ("delayed", EventKind.DEFERRED, "soft bounced"),
        ("full", EventKind.DEFERRED, "soft bounced - mailbox full"),
        ("notls", EventKind.ACCEPTED, "tls not offered, sending via secure portal"),
        ("processing", EventKind.ACCEPTED, "processing"),
    ],
)
async def test_each_word_of_a_receipt_has_its_meaning(account, local, kind, code):
    live = await account.fetch_status(await _sent(account, f"{local}@x.test"))
    assert [(e.kind, e.code, e.recipient) for e in live.events] == [(kind, code, f"{local}@x.test")]
    assert live.last_event == LITERALS.get(local, "delivered").lower()


@pytest.mark.parametrize("local", ["broken", "pending"])
async def test_a_word_that_says_nothing_yet_moves_nothing(account, local):
    live = await account.fetch_status(await _sent(account, f"{local}@x.test"))
    assert live.events == ()


async def test_of_several_recipients_the_worst_word_stands(account):
    live = await account.fetch_status(await _sent(account, "a@x.test", "bounced@x.test"))
    assert live.last_event == "hard bounced"
    assert [e.kind for e in live.events] == [EventKind.DELIVERED, EventKind.HARD_BOUNCED]


async def test_asking_again_tells_the_same_events(account):
    made = await _sent(account, "a@x.test", "b@x.test")
    first, second = [(await account.fetch_status(made)).events for _ in range(2)]
    assert [e.event_id for e in first] == [e.event_id for e in second]
    assert len({e.event_id for e in first}) == 2
    assert not any("x.test" in e.event_id for e in first)


async def test_opens_clicks_and_unsubscribes_come_with_the_receipt(double, account):
    made = await _sent(account, "a@x.test")
    status = {
        "deliveryStatus": "delivered",
        "deliveryTime": "Mon, 23 Apr 2018 13:27:34 -0700",
        "openedStatus": "opened",
        "openedTime": "",
    }
    message = {
        "id": "<1@x>",
        "message_deliveries": [{"recipient": "a@x.test", "status": status}],
        "total_click_count": 2,
        "unsubscribed": True,
    }
    double.receipts[made] = {"sourceTrackingId": made, "data": {"message": message}}
    live = await account.fetch_status(made)
    assert [e.kind.value for e in live.events] == ["delivered", "opened", "clicked", "unsubscribed"]
    assert live.events[0].at.isoformat() == "2018-04-23T13:27:34-07:00"


@pytest.mark.parametrize("deliveries", [[], None, [None, {"recipient": 7, "status": None}]])
async def test_an_odd_receipt_says_nothing(double, account, deliveries):
    made = await _sent(account, "a@x.test")
    double.receipts[made] = {"data": {"message": {"message_deliveries": deliveries}}}
    assert (await account.fetch_status(made)).events == ()


async def test_an_unknown_mail_and_a_wrong_address_are_told_apart(double, account, http):
    with pytest.raises(ProviderRefused, match=r"Message was not found\.") as unknown:
        await account.fetch_status("nothing")
    assert unknown.value.status == 404
    double.page = 404
    with pytest.raises(ProviderRefused, match="check the base URL"):
        await account.fetch_status("nothing")


# ── Credentials ──────────────────────────────────────────────────────────────────────────────────


async def test_a_key_that_paubox_knows_passes(account):
    await account.verify()


@pytest.mark.parametrize(("key", "status"), [("invalid", 401), ("", 401), ("two words", 401)])
async def test_a_key_that_it_does_not_know_is_refused(double, http, key, status):
    with pytest.raises(ProviderRefused) as refused:
        await Paubox({"apiKey": key, "baseUrl": double.url}, http).verify()
    assert refused.value.status == status


async def test_a_wrong_base_url_says_so(double, http):
    wrong = double.url.replace("/email", "")
    with pytest.raises(ProviderRefused, match="check the base URL"):
        await Paubox({"apiKey": "k", "baseUrl": wrong}, http).verify()
    answer = await Paubox({"apiKey": "k", "baseUrl": wrong}, http).send([a_mail()], "key")
    assert answer.outcomes[0].kind is MISCONFIGURED
    assert "check the base URL" in (answer.outcomes[0].reason or "")


async def test_a_vendor_that_is_away_or_slow_is_named_so(monkeypatch, mute, http):
    with pytest.raises(ProviderUnreachable):
        await Paubox({"apiKey": "k", "baseUrl": "http://127.0.0.1:1"}, http).verify()
    monkeypatch.setattr(paubox_module, "ASK_SECONDS", 0.1)
    with pytest.raises(ProviderSlow):
        await Paubox({"apiKey": "k", "baseUrl": mute.url}, http).verify()


# ── A socket that misbehaves ─────────────────────────────────────────────────────────────────────


class Hasty(Paubox):
    """Paubox for callers who wait a moment only."""

    capabilities = replace(Paubox.capabilities, call_timeout=0.25, batch_timeout=0.25)


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize(
    ("fault", "kind", "taken"),
    [
        ({"drop_after_accept": 1}, "unknown", True),
        ({"drop_before_accept_percent": 100}, "unknown", False),
        ({"hang_percent": 100}, "unknown", True),
        ({"error_after_accept_percent": 100}, "unknown", True),
        ({"error": 1}, "unknown", False),
        ({"throttle": 1}, "throttled", False),
        ({"latency_ms": 400}, "unknown", False),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else str(value),
)
async def test_a_call_that_goes_wrong_is_called_by_its_name(
    double, http, count, fault, kind, taken
):
    double.faults.set(**fault)
    account = Hasty({"apiKey": "k", "baseUrl": double.url}, http)
    answer = await account.send(some_mails(count), "key")
    assert [o.kind.value for o in answer.outcomes] == [kind] * count
    assert bool(double.mails) == taken


# ── Webhooks ─────────────────────────────────────────────────────────────────────────────────────


def _hook(**payload: object) -> WebhookRequest:
    known = {
        "id": 7,
        "subject": "Biopsy result",
        "source_tracking_id": "track-1",
        "time": "2026-11-20T10:00:00.123Z",
        "from": "hello@clinic.test",
        "to": "canary@patients.test",
        "custom_headers": {"x-postroom-id": "ref-1"},
    }
    body = {"event_name": "api_mail_log_delivered", "payload": known | payload}
    return WebhookRequest({}, orjson.dumps(body))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("api_mail_log_delivered", EventKind.DELIVERED),
        ("api_mail_log_temporary_failure", EventKind.DEFERRED),
        ("api_mail_log_permanent_failure", EventKind.HARD_BOUNCED),
        ("api_mail_log_opened", EventKind.OPENED),
    ],
)
def test_the_four_events_are_read(paubox, name, kind):
    request = WebhookRequest({}, _hook().body.replace(b"api_mail_log_delivered", name.encode()))
    (event,) = paubox.read_webhook(request)
    assert (event.kind, event.provider_id, event.ref) == (kind, "track-1", "ref-1")
    assert event.recipient == "canary@patients.test"
    assert "canary" not in event.event_id


def test_the_same_line_of_the_log_can_tell_of_two_recipients(paubox):
    (first,) = paubox.read_webhook(_hook())
    (again,) = paubox.read_webhook(_hook())
    (other,) = paubox.read_webhook(_hook(to="copy@patients.test"))
    assert first.event_id == again.event_id != other.event_id


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"{}", b'{"payload": 7}', b'{"event_name": 7, "payload": {"id": 1}}'],
)
def test_odd_bodies_tell_nothing(paubox, body):
    assert paubox.read_webhook(WebhookRequest({}, body)) == []


async def test_a_final_state_counts_when_the_receipt_says_the_same(double, account):
    made = await _sent(account, "bounced@x.test")
    events = account.read_webhook(
        WebhookRequest(
            {},
            _hook(source_tracking_id=made, to="bounced@x.test").body.replace(
                b"api_mail_log_delivered", b"api_mail_log_permanent_failure"
            ),
        )
    )
    assert await account.confirm(events) == events


@pytest.mark.parametrize("known", [True, False])
async def test_a_final_state_that_the_receipt_does_not_say_is_not_confirmed(account, known):
    made = await _sent(account, "bounced@x.test") if known else "track-1"
    events = account.read_webhook(_hook(source_tracking_id=made, to="bounced@x.test"))
    assert await account.confirm(events) == []


async def test_another_recipients_state_confirms_nothing(account):
    made = await _sent(account, "good@x.test", "bounced@x.test")
    events = account.read_webhook(_hook(source_tracking_id=made, to="bounced@x.test"))
    assert await account.confirm(events) == []
