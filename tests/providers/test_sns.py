"""What Amazon SNS must prove: signature, topic, freshness; and that no message makes us call a stranger."""

import base64
from datetime import UTC, datetime, timedelta

import httpx
import pytest
import respx
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

from postroom.errors import ProviderUnreachable
from postroom.providers import sns as sns_module
from postroom.providers.base import WebhookNotConfigured, WebhookRefused, WebhookRequest
from postroom.providers.ses import Ses
from tests.providers.sns_signing import CERTIFICATE, HOST, TOPIC, Sns, make_certificate, request_of

SEND = {
    "eventType": "Send",
    "mail": {"messageId": "ses-1", "timestamp": "2026-11-20T10:00:00.000Z", "destination": []},
    "send": {},
}


@pytest.fixture(scope="module")
def aws():
    return Sns()


@pytest.fixture(scope="module")
def stranger():
    return Sns()


@pytest.fixture
def network(aws):
    """AWS's SNS, and nobody else, is reachable; what was called is counted."""
    sns_module._KEYS.clear()
    with respx.mock(assert_all_called=False) as router:
        router.get(CERTIFICATE).mock(return_value=httpx.Response(200, content=aws.pem))
        router.get(url__startswith=f"https://{HOST}/?Action=").mock(
            return_value=httpx.Response(200, text="<ConfirmSubscriptionResponse/>")
        )
        yield router


@pytest.fixture
def ses(http):
    return Ses({"region": "eu-west-1", "topicArns": [TOPIC]}, http)


# ── What is proven ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize("subject", [None, "Amazon SES Email Event Notification"])
async def test_a_signed_message_of_an_allowed_topic_is_read(network, aws, ses, version, subject):
    message = aws.notification(SEND, SignatureVersion=version, Subject=subject)
    (event,) = await ses.receive(request_of(message))
    assert event.provider_id == "ses-1"


async def test_the_certificate_is_fetched_once(network, aws, ses):
    for _ in range(3):
        await ses.receive(request_of(aws.notification(SEND)))
    assert [str(call.request.url) for call in network.calls] == [CERTIFICATE]


async def test_the_headers_may_repeat_what_the_body_says(network, aws, ses):
    message = aws.notification(SEND)
    request = request_of(
        message,
        x_amz_sns_message_type="Notification",
        x_amz_sns_message_id=message["MessageId"],
        x_amz_sns_topic_arn=TOPIC,
    )
    assert len(await ses.receive(request)) == 1


@pytest.mark.parametrize("text", ["Successfully validated SNS topic for Amazon SES.", "[]", "7"])
async def test_a_message_that_is_no_event_tells_nothing(network, aws, ses, text):
    assert await ses.receive(request_of(aws.notification(text))) == []


async def test_a_subscription_of_an_allowed_topic_is_confirmed_once(network, aws, ses):
    assert await ses.receive(request_of(aws.confirmation())) == []
    confirmed = [call.request.url for call in network.calls if call.request.url.path == "/"]
    assert [url.host for url in confirmed] == [HOST]
    assert confirmed[0].params["Action"] == "ConfirmSubscription"
    assert confirmed[0].params["TopicArn"] == TOPIC


async def test_the_end_of_a_subscription_is_no_news(network, aws, ses):
    message = aws.confirmation(Type="UnsubscribeConfirmation")
    assert await ses.receive(request_of(message)) == []
    assert [call.request.url.path for call in network.calls] != ["/"]


# ── What is refused, without a call to anybody ───────────────────────────────────────────────────

NOW = datetime.now(UTC)
EVIL = "https://evil.test/SimpleNotificationService-1.pem"
FORGED = {
    "another topic": {"TopicArn": TOPIC.replace("mail-events", "other")},
    "another account's topic": {"TopicArn": TOPIC.replace("123456789012", "999999999999")},
    "a topic that is none": {"TopicArn": "mail-events"},
    "a certificate of a stranger": {"SigningCertURL": EVIL},
    "a certificate in a bucket": {
        "SigningCertURL": "https://s3.amazonaws.com/b/SimpleNotificationService-1.pem"
    },
    "a certificate of another region": {
        "SigningCertURL": CERTIFICATE.replace("eu-west-1", "us-east-1")
    },
    "a certificate without TLS": {"SigningCertURL": CERTIFICATE.replace("https", "http")},
    "a certificate at a port": {"SigningCertURL": CERTIFICATE.replace(".com/", ".com:8443/")},
    "a certificate behind a user": {"SigningCertURL": CERTIFICATE.replace("//", "//a@")},
    "a certificate of a longer host": {
        "SigningCertURL": CERTIFICATE.replace(".com/", ".com.evil.test/")
    },
    "a certificate with a query": {"SigningCertURL": f"{CERTIFICATE}?x=1"},
    "a certificate up the path": {
        "SigningCertURL": f"https://{HOST}/../SimpleNotificationService-1.pem"
    },
    "a file that is no certificate": {"SigningCertURL": f"https://{HOST}/passwd"},
    "a certificate on a line of its own": {"SigningCertURL": f"{CERTIFICATE}\n"},
    "an unknown version": {"SignatureVersion": "3", "Signature": "QQ=="},
    "no version": {"SignatureVersion": None, "Signature": "QQ=="},
    "no signature": {"Signature": ""},
    "a signature that is no base64": {"Signature": "*"},
    "a short signature": {"Signature": "QUFB"},
    "an old message": {"Timestamp": (NOW - timedelta(hours=2)).isoformat()},
    "a message of tomorrow": {"Timestamp": (NOW + timedelta(days=1)).isoformat()},
    "a message of no time": {"Timestamp": "soon"},
    "an unknown type": {"Type": "Invitation"},
    "no type": {"Type": None},
    "a message that is an object": {"Message": {"eventType": "Bounce"}, "Signature": "QQ=="},
    "a subject that is a number": {"Subject": 7, "Signature": "QQ=="},
}


@pytest.mark.parametrize("forgery", sorted(FORGED))
async def test_a_forged_or_odd_message_is_refused_without_a_call(network, aws, ses, forgery):
    given = FORGED[forgery]
    message = aws.notification(SEND) | {k: v for k, v in given.items() if v is not None}
    for name, value in given.items():
        if value is None:
            message.pop(name)
    if "Signature" not in given and given.keys() & {"TopicArn", "Timestamp"}:
        message = aws.notification(SEND, **given)  # well signed, and refused all the same
    with pytest.raises(WebhookRefused):
        await ses.receive(request_of(message))
    assert not network.calls


@pytest.mark.parametrize(
    "headers",
    [
        {"x_amz_sns_rawdelivery": "true"},
        {"x_amz_sns_message_type": "SubscriptionConfirmation"},
        {"x_amz_sns_message_id": "another"},
        {"x_amz_sns_topic_arn": TOPIC.replace("mail", "other")},
    ],
)
async def test_headers_that_contradict_the_body_are_refused(network, aws, ses, headers):
    with pytest.raises(WebhookRefused):
        await ses.receive(request_of(aws.notification(SEND), **headers))
    assert not network.calls


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"7", b'"Notification"'])
async def test_a_body_that_is_no_message_is_refused(network, ses, body):
    with pytest.raises(WebhookRefused):
        await ses.receive(WebhookRequest({}, body))
    assert not network.calls


@pytest.mark.parametrize("field", ["Message", "MessageId", "Timestamp", "TopicArn", "Subject"])
async def test_a_changed_field_breaks_the_signature(network, aws, ses, field):
    message = aws.notification(SEND, Subject="as it was")
    message[field] = {
        "TopicArn": TOPIC,
        "Timestamp": datetime.now(UTC).isoformat(),
    }.get(field, "changed")
    if field == "TopicArn":
        message["Signature"] = base64.b64encode(b"\x01" * 256).decode()
    with pytest.raises(WebhookRefused):
        await ses.receive(request_of(message))


async def test_a_signature_of_somebody_else_is_refused(network, stranger, ses):
    with pytest.raises(WebhookRefused):
        await ses.receive(request_of(stranger.notification(SEND)))


@pytest.mark.parametrize(
    "url",
    [
        f"https://evil.test/?Action=ConfirmSubscription&TopicArn={TOPIC}&Token={'a' * 64}",
        f"http://{HOST}/?Action=ConfirmSubscription&TopicArn={TOPIC}&Token={'a' * 64}",
        f"https://{HOST}/?Action=DeleteTopic&TopicArn={TOPIC}&Token={'a' * 64}",
        f"https://{HOST}/?Action=ConfirmSubscription&TopicArn=other&Token={'a' * 64}",
        f"https://{HOST}/x?Action=ConfirmSubscription&TopicArn={TOPIC}&Token={'a' * 64}",
        f"https://{HOST}/?Action=ConfirmSubscription&TopicArn={TOPIC}&Token={'a' * 64}&x=1",
        "http://169.254.169.254/latest/meta-data/",
        "file:///etc/passwd",
    ],
)
async def test_a_confirmation_that_leads_elsewhere_is_not_followed(network, aws, ses, url):
    with pytest.raises(WebhookRefused):
        await ses.receive(request_of(aws.confirmation(SubscribeURL=url)))
    assert {call.request.url.path for call in network.calls} <= {
        CERTIFICATE.removeprefix(f"https://{HOST}")
    }


async def test_without_an_allowed_topic_nothing_is_processed(network, aws, http):
    ses = Ses({"region": "eu-west-1"}, http)
    with pytest.raises(WebhookNotConfigured):
        await ses.receive(request_of(aws.confirmation()))
    assert not network.calls


# ── AWS's own trouble, which SNS shall try again ─────────────────────────────────────────────────


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(503),
        httpx.Response(302, headers={"location": "http://169.254.169.254/"}),
        httpx.Response(200, text="no certificate"),
        httpx.Response(200, content=b"x" * 100_000),
        httpx.ConnectError("refused"),
        httpx.ReadTimeout("slow"),
    ],
    ids=["503", "redirect", "no certificate", "endless", "refused", "slow"],
)
async def test_a_certificate_that_cannot_be_had_is_asked_for_again(aws, ses, answer):
    sns_module._KEYS.clear()
    with respx.mock() as router:
        router.get(CERTIFICATE).mock(side_effect=[answer])
        with pytest.raises(ProviderUnreachable):
            await ses.receive(request_of(aws.notification(SEND)))


@pytest.mark.parametrize("fault", ["expired", "weak"])
async def test_a_bad_certificate_proves_nothing(aws, ses, fault):
    sns_module._KEYS.clear()
    key = aws.key if fault == "expired" else generate_private_key(65537, 1024)  # noqa: S505
    pem = make_certificate(key, days=-1 if fault == "expired" else 30)
    with respx.mock() as router:
        router.get(CERTIFICATE).mock(return_value=httpx.Response(200, content=pem))
        with pytest.raises(WebhookRefused):
            await ses.receive(request_of(aws.notification(SEND)))
