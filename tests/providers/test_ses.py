"""Amazon SES keeps what every provider keeps; its bytes, its errors, its clock, and what it allows."""

import base64
import email
import email.policy
from dataclasses import replace
from datetime import timedelta

import httpx
import orjson
import pytest
import respx

from postroom.errors import ProviderRefused, ProviderSlow, ProviderUnreachable
from postroom.providers import ses as ses_module
from postroom.providers.base import Attachment, OutcomeKind
from postroom.providers.ses import Ses
from tests.doubles.ses import SesDouble
from tests.providers.contract import ProviderContract, a_mail, with_attachment
from tests.providers.vendor_wire import NETWORK, Reply, Wire, page

API = "https://email.eu-west-1.amazonaws.com"
REJECTED, MISCONFIGURED = OutcomeKind.REJECTED, OutcomeKind.MISCONFIGURED
THROTTLED, UNKNOWN, NOT_SENT = OutcomeKind.THROTTLED, OutcomeKind.UNKNOWN, OutcomeKind.NOT_SENT
KEYS = {"region": "eu-west-1", "accessKeyId": "AKIATEST", "secretAccessKey": "secret-key"}


def said(status: int, name: str, message: str = "No, canary@patients.test") -> Reply:
    headers = {"x-amzn-errortype": f"{name}:http://internal.amazon.com/coral/"}
    return httpx.Response(status, headers=headers, json={"message": message})


FAILURES: dict[str, tuple[Reply, OutcomeKind]] = {
    "429 rate": (
        said(429, "TooManyRequestsException", "Maximum sending rate exceeded."),
        THROTTLED,
    ),
    "400 quota": (said(400, "LimitExceededException"), THROTTLED),
    "400 throttling": (
        said(400, "ThrottlingException", "Daily message quota exceeded."),
        THROTTLED,
    ),
    "429 without a name": (httpx.Response(429), THROTTLED),
    "429 page": (page(429), THROTTLED),
    "400 rejected content": (said(400, "MessageRejected", "Illegal content"), REJECTED),
    "400 unverified recipient": (
        said(
            400,
            "MessageRejected",
            "Email address is not verified. The following identities failed the check in region"
            " EU-WEST-1: canary@patients.test",
        ),
        REJECTED,
    ),
    "400 unverified sender": (
        said(
            400,
            "MessageRejected",
            "Email address is not verified. The following identities failed the check in region"
            " EU-WEST-1: clinic.test, hello@clinic.test",
        ),
        MISCONFIGURED,
    ),
    "400 bad request": (said(400, "BadRequestException"), REJECTED),
    "400 without a name": (httpx.Response(400, text="?"), REJECTED),
    "413": (httpx.Response(413), REJECTED),
    "400 mail from": (said(400, "MailFromDomainNotVerifiedException"), MISCONFIGURED),
    "400 paused": (said(400, "SendingPausedException"), MISCONFIGURED),
    "400 suspended": (said(400, "AccountSuspendedException"), MISCONFIGURED),
    "404 configuration set": (said(404, "NotFoundException"), MISCONFIGURED),
    "403 denied": (said(403, "AccessDeniedException"), MISCONFIGURED),
    "403 unknown key": (said(403, "UnrecognizedClientException"), MISCONFIGURED),
    "403 token": (said(403, "InvalidClientTokenId"), MISCONFIGURED),
    "403 signature": (said(403, "SignatureDoesNotMatch"), MISCONFIGURED),
    "403 expired": (said(403, "ExpiredTokenException"), MISCONFIGURED),
    "400 expired": (said(400, "ExpiredToken"), MISCONFIGURED),
    "403 clock": (said(403, "InvalidSignatureException", "Signature expired: 1 < 2"), NOT_SENT),
    "403 skew": (said(403, "RequestTimeTooSkewed"), NOT_SENT),
    "400 a name in the body": (
        httpx.Response(400, json={"__type": "com.amazon#SendingPausedException", "Message": "x"}),
        MISCONFIGURED,
    ),
    "500": (said(500, "InternalServiceErrorException"), UNKNOWN),
    "503": (httpx.Response(503), UNKNOWN),
    "502 page": (page(502), UNKNOWN),
    "408": (httpx.Response(408), UNKNOWN),
    "404 page": (page(404), MISCONFIGURED),
    "200 page": (page(200), MISCONFIGURED),
    "301": (httpx.Response(301, headers={"location": "https://x.test"}), MISCONFIGURED),
    "200 no id": (httpx.Response(200, json={}), UNKNOWN),
    "200 no json": (httpx.Response(200, text="ok"), UNKNOWN),
    **{name: (reply, OutcomeKind(kind)) for name, (reply, kind) in NETWORK.items()},
}


def accepting(request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, json={"MessageId": "0102018-1-000000"})


@pytest.fixture(autouse=True)
def right_clock():
    ses_module._AHEAD.clear()


@pytest.fixture
def wire():
    with respx.mock(base_url=API, assert_all_called=False) as router:
        replies = {name: reply for name, (reply, _) in FAILURES.items()}
        yield Wire(router, r"/v2/email/outbound-emails$", accepting, replies)


@pytest.fixture
def ses(wire, http):
    return Ses(KEYS, http)


class TestSes(ProviderContract):
    provider_class = Ses
    failures = {name: kind for name, (_, kind) in FAILURES.items()}
    misfits = {
        "nobody": lambda: a_mail(to=()),
        "fifty-one recipients": lambda: a_mail(to=("a@x.test",) * 50),
        "nothing to read": lambda: a_mail(html=None, text=None),
        "over 40 MB": lambda: a_mail(attachments=(Attachment("a", "A" * 40_000_000),)),
        "a tag that no tag can be": lambda: a_mail(tags=(("with space", "x"),)),
        "fifty tags": lambda: a_mail(tags=tuple((f"t{n}", "x") for n in range(50))),
        "our own tag": lambda: a_mail(tags=(("postroom", "x"),)),
        "our own header": lambda: a_mail(headers={"x-postroom-id": "x"}),
        "a header that is ours": lambda: a_mail(headers={"Content-Type": "x"}),
        "a header that is none": lambda: a_mail(headers={"X A": "x"}),
        "an address beyond ASCII": lambda: a_mail(to=("jäne@x.test",)),
    }

    @pytest.fixture
    def vendor(self, wire):
        return wire

    @pytest.fixture
    def provider(self, ses):
        return ses


# ── The bytes ────────────────────────────────────────────────────────────────────────────────────


async def test_an_ordinary_mail_travels_in_the_simple_form(wire, http):
    wire.accept()
    ses = Ses({**KEYS, "configurationSet": "tls"}, http)
    await ses.send([a_mail(bcc=("Zoë <b@bücher.test>",))], "key")
    ref = a_mail().ref
    assert orjson.loads(wire.last.content) == {
        "FromEmailAddress": "Clinic <hello@clinic.test>",
        "Destination": {
            "ToAddresses": ["Jane Roe <canary@patients.test>"],
            "CcAddresses": ["copy@patients.test"],
            "BccAddresses": ["=?utf-8?q?Zo=C3=AB?= <b@xn--bcher-kva.test>"],
        },
        "ReplyToAddresses": ["desk@clinic.test"],
        "Content": {
            "Simple": {
                "Subject": {"Data": "Biopsy result 1", "Charset": "UTF-8"},
                "Body": {
                    "Text": {"Data": "positive", "Charset": "UTF-8"},
                    "Html": {"Data": "<p>positive &amp; well</p>", "Charset": "UTF-8"},
                },
                "Headers": [
                    {"Name": "List-Unsubscribe", "Value": "<https://clinic.test/u/1>"},
                    {"Name": "X-Ward", "Value": "7"},
                    {"Name": "X-Postroom-Id", "Value": ref},
                ],
            }
        },
        "EmailTags": [{"Name": "kind", "Value": "result"}, {"Name": "postroom", "Value": ref}],
        "ConfigurationSetName": "tls",
    }


@pytest.mark.parametrize(
    "mail",
    [
        with_attachment(),
        a_mail(headers={f"X-{n}": "1" for n in range(15)}),
        a_mail(headers={"X-Name": "Zoë"}),
    ],
    ids=["attachment", "many headers", "header beyond ASCII"],
)
async def test_what_the_simple_form_cannot_say_travels_raw(wire, ses, mail):
    wire.accept()
    await ses.send([mail], "key")
    body = orjson.loads(wire.last.content)
    raw = base64.b64decode(body["Content"]["Raw"]["Data"])
    message = email.message_from_bytes(raw, policy=email.policy.default)
    assert raw.isascii()
    assert message["subject"] == mail.subject
    assert message["x-postroom-id"] == mail.ref
    assert message["bcc"] is None
    assert body["Destination"]["ToAddresses"] == list(mail.to)
    for name, value in mail.headers.items():
        assert message[name] == value


async def test_a_raw_mail_holds_texts_inline_images_and_files(wire, ses):
    wire.accept()
    attachments = (
        Attachment("scan.png", base64.b64encode(b"\x89PNG").decode(), None, "scan-1"),
        Attachment("Bericht Ä.pdf", base64.b64encode(b"%PDF").decode(), "application/pdf"),
    )
    mail = a_mail(attachments=attachments, text="Grüße\n" + "x" * 2000)
    await ses.send([mail], "key")
    raw = base64.b64decode(orjson.loads(wire.last.content)["Content"]["Raw"]["Data"])
    assert max(map(len, raw.split(b"\r\n"))) <= 998
    message = email.message_from_bytes(raw, policy=email.policy.default)
    types = [part.get_content_type() for part in message.walk()]
    assert types == [
        "multipart/mixed",
        "multipart/alternative",
        "text/plain",
        "multipart/related",
        "text/html",
        "image/png",
        "application/pdf",
    ]
    image, file = list(message.walk())[-2:]
    assert (image["content-id"], image.get_content()) == ("<scan-1>", b"\x89PNG")
    assert (file.get_filename(), file.get_content()) == ("Bericht Ä.pdf", b"%PDF")
    assert message.get_body(("plain",)).get_content().startswith("Grüße\r\n")


# ── A server that checks each signature ──────────────────────────────────────────────────────────


@pytest.fixture
async def double():
    async with SesDouble() as running:
        yield running


@pytest.fixture
def account(double, http):
    return Ses({**KEYS, "endpointUrl": double.url}, http)


async def test_a_signed_mail_is_taken(double, account):
    answer = await account.send([a_mail()], "key")
    assert answer.outcomes[0].kind is OutcomeKind.ACCEPTED
    assert [mail.id for mail in double.mails] == [answer.outcomes[0].provider_id]
    assert double.mails[0].ref == a_mail().ref


class Hasty(Ses):
    """SES for callers who wait a moment only."""

    capabilities = replace(Ses.capabilities, call_timeout=0.25)


@pytest.mark.parametrize(
    ("fault", "kind", "taken"),
    [
        ({"drop_after_accept": 1}, "unknown", True),
        ({"drop_before_accept_percent": 100}, "unknown", False),
        ({"hang_percent": 100}, "unknown", True),
        ({"error_after_accept_percent": 100}, "unknown", True),
        ({"error": 1}, "unknown", False),
        ({"throttle": 1}, "throttled", False),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else str(value),
)
async def test_whatever_happens_the_mail_is_sent_once_at_most(double, http, fault, kind, taken):
    double.faults.set(**fault)
    account = Hasty({**KEYS, "endpointUrl": double.url}, http)
    answer = await account.send([a_mail()], "key")
    assert answer.outcomes[0].kind.value == kind
    assert double.calls == 1
    assert len(double.mails) == taken


async def test_a_wrong_clock_is_set_right_by_the_answer(double, account):
    double.clock = timedelta(hours=3)
    first = await account.send([a_mail()], "key")
    assert first.outcomes[0].kind is NOT_SENT
    assert first.outcomes[0].reason == "This server's clock is wrong."
    second = await account.send([a_mail()], "key")
    assert second.outcomes[0].kind is OutcomeKind.ACCEPTED


async def test_a_daily_quota_is_waited_for(double, account):
    double.faults.set(
        answer={"status": 400, "name": "LimitExceededException", "message": "x", "calls": 1}
    )
    assert (await account.send([a_mail()], "key")).pause == 600


# ── The account ──────────────────────────────────────────────────────────────────────────────────


async def test_the_account_is_verified_and_tells_its_rate(account):
    await account.verify()
    assert await account.measure_rate() == 14.0


async def test_a_key_that_may_only_send_passes(double, account):
    double.denied.add("GetAccount")
    await account.verify()
    assert await account.measure_rate() is None


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"secretAccessKey": "wrong"}, 403),
        ({"accessKeyId": "AKIAOTHER"}, 403),
        ({"accessKeyId": ""}, 401),
        ({"region": "nowhere"}, 401),
    ],
)
async def test_a_wrong_key_is_refused(double, http, change, status):
    with pytest.raises(ProviderRefused) as refused:
        await Ses({**KEYS, "endpointUrl": double.url, **change}, http).verify()
    assert refused.value.status == status
    answer = await Ses({**KEYS, "endpointUrl": double.url, **change}, http).send([a_mail()], "key")
    assert answer.outcomes[0].kind is MISCONFIGURED
    assert double.mails == []


async def test_a_paused_account_says_so(double, account):
    double.account["SendingEnabled"] = False
    with pytest.raises(ProviderRefused, match="paused sending"):
        await account.verify()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("tls", None),
        ("loose", "does not require TLS"),
        ("none", "could not be checked"),
        (None, "only with a configuration set"),
    ],
)
async def test_health_data_needs_a_configuration_set_that_requires_tls(double, http, name, said):
    ses = Ses({**KEYS, "endpointUrl": double.url, "configurationSet": name}, http)
    if said is None:
        await ses.check_health_data()
        return
    with pytest.raises(ProviderRefused, match=said):
        await ses.check_health_data()


async def test_a_key_that_cannot_show_the_configuration_set_proves_nothing(double, http):
    double.denied.add("GetConfigurationSet")
    ses = Ses({**KEYS, "endpointUrl": double.url, "configurationSet": "tls"}, http)
    with pytest.raises(ProviderRefused, match="not authorized"):
        await ses.check_health_data()


async def test_a_vendor_that_is_away_or_slow_is_named_so(monkeypatch, mute, http):
    with pytest.raises(ProviderUnreachable):
        await Ses({**KEYS, "endpointUrl": "http://127.0.0.1:1"}, http).verify()
    monkeypatch.setattr(ses_module, "ASK_SECONDS", 0.1)
    with pytest.raises(ProviderSlow):
        await Ses({**KEYS, "endpointUrl": mute.url}, http).verify()


@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("us-gov-west-1", "email.us-gov-west-1.amazonaws.com"),
        ("cn-north-1", "email.cn-north-1.amazonaws.com.cn"),
    ],
)
async def test_the_host_follows_from_the_region(http, region, host):
    with respx.mock() as router:
        router.post(f"https://{host}/v2/email/outbound-emails").mock(side_effect=accepting)
        answer = await Ses({**KEYS, "region": region}, http).send([a_mail()], "key")
    assert answer.outcomes[0].kind is OutcomeKind.ACCEPTED
