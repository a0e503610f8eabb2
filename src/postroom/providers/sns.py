"""Amazon SNS: a message is from AWS, from an allowed topic and fresh, before anything acts on it.

https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html
Nothing is fetched but the certificate and the confirmation, both from an address made by us from the topic's
region; what the message says must merely be that same address.
"""

import base64
import binascii
import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import orjson
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA1, SHA256, HashAlgorithm

from postroom.errors import ProviderUnreachable
from postroom.outgoing import Http
from postroom.providers.base import WebhookNotConfigured, WebhookRefused, WebhookRequest
from postroom.providers.network import CALL_ERRORS, moment_of

_ARN = re.compile(r"arn:(aws|aws-cn|aws-us-gov):sns:([a-z]{2}(?:-[a-z]+)+-\d):\d{12}:[\w.-]{1,256}")
_CERTIFICATE = re.compile(r"/SimpleNotificationService-[A-Za-z0-9]+\.pem")
_TOKEN = re.compile(r"[A-Za-z0-9]{1,1024}")
_NOTIFICATION = ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type")
_CONFIRMATION = (
    "Message",
    "MessageId",
    "SubscribeURL",
    "Timestamp",
    "Token",
    "TopicArn",
    "Type",
)
_SIGNED: Mapping[str, Sequence[str]] = {
    "Notification": _NOTIFICATION,
    "SubscriptionConfirmation": _CONFIRMATION,
    "UnsubscribeConfirmation": _CONFIRMATION,
}
_HASHES: Mapping[str, HashAlgorithm] = {"1": SHA1(), "2": SHA256()}  # noqa: S303 - AWS's version 1
_OLDEST = timedelta(hours=1)
_AHEAD = timedelta(minutes=5)
_SECONDS = 5.0
_LARGEST_CERTIFICATE = 16_384
_CACHED_KEYS = 64

_KEYS: OrderedDict[str, RSAPublicKey] = OrderedDict()

Message = Mapping[str, str]


async def receive(http: Http, request: WebhookRequest, topics: Sequence[str]) -> Message | None:
    """A proven notification; None for what is proven and no news. Raises WebhookRefused or ProviderUnreachable."""
    if not topics:
        raise WebhookNotConfigured("No SNS topic is allowed to report to this connection.")
    message = _read(request)
    _require(message["TopicArn"] in topics)
    _require_fresh(message)
    await _require_signed(http, message)
    if message["Type"] == "SubscriptionConfirmation":
        await _confirm(http, message)
    return message if message["Type"] == "Notification" else None


def _require(holds: object) -> None:
    if not holds:
        raise WebhookRefused("Webhook signature verification failed.")


# ── What it must look like ───────────────────────────────────────────────────────────────────────


def _read(request: WebhookRequest) -> Message:
    # Raw delivery carries no signature: anybody could have sent it.
    _require(request.headers.get("x-amz-sns-rawdelivery", "").lower() != "true")
    try:
        body = orjson.loads(request.body)
    except orjson.JSONDecodeError:
        body = None
    _require(isinstance(body, dict) and body.get("Type") in _SIGNED)
    message: dict[str, Any] = body
    needed = set(_SIGNED[message["Type"]]) - {"Subject"}
    needed |= {"Signature", "SignatureVersion", "SigningCertURL"}
    _require(all(isinstance(message.get(name), str) for name in needed))
    _require(message.get("Subject") is None or isinstance(message["Subject"], str))
    for header, name in (("message-type", "Type"), ("message-id", "MessageId")):
        _require(request.headers.get(f"x-amz-sns-{header}", message[name]) == message[name])
    topic = request.headers.get("x-amz-sns-topic-arn", message["TopicArn"])
    _require(topic == message["TopicArn"] and _ARN.fullmatch(topic))
    return message


def _require_fresh(message: Message) -> None:
    at, now = moment_of(message["Timestamp"]), datetime.now(UTC)
    _require(at is not None and now - _OLDEST <= at <= now + _AHEAD)


def _host(message: Message) -> str:
    """The one host that speaks for this message's topic."""
    arn = _ARN.fullmatch(message["TopicArn"])
    assert arn is not None  # noqa: S101 - `_read` has seen it
    china = ".cn" if arn[1] == "aws-cn" else ""
    return f"sns.{arn[2]}.amazonaws.com{china}"


# ── Signature ────────────────────────────────────────────────────────────────────────────────────


def signed_text(message: Message) -> bytes:
    """What was signed: each name and value on a line of its own, the last one too."""
    names = (n for n in _SIGNED[message["Type"]] if message.get(n) is not None)
    return "".join(f"{name}\n{message[name]}\n" for name in names).encode()


async def _require_signed(http: Http, message: Message) -> None:
    algorithm = _HASHES.get(message["SignatureVersion"])
    _require(algorithm is not None)
    url = _certificate_url(message)
    try:
        signature = base64.b64decode(message["Signature"], validate=True)
    except (binascii.Error, ValueError):
        signature = b""
    _require(128 <= len(signature) <= 1024)
    key = _KEYS.get(url) or await _fetch_key(http, url)
    try:
        key.verify(signature, signed_text(message), PKCS1v15(), algorithm or SHA256())
    except InvalidSignature:
        _require(False)


def _certificate_url(message: Message) -> str:
    """The certificate's address, when it is exactly one of this region's SNS."""
    given = message["SigningCertURL"]
    path = given.removeprefix(f"https://{_host(message)}")
    _require(path != given and _CERTIFICATE.fullmatch(path))
    return given


async def _fetch_key(http: Http, url: str) -> RSAPublicKey:
    try:
        certificate = x509.load_pem_x509_certificate(await _fetch(http, url))
    except ValueError:
        raise ProviderUnreachable("Amazon SNS did not answer with a certificate.") from None
    key = certificate.public_key()
    now = datetime.now(UTC)
    valid = certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc
    _require(valid and isinstance(key, RSAPublicKey) and key.key_size >= 2048)
    assert isinstance(key, RSAPublicKey)  # noqa: S101 - for the type; it was just required
    _KEYS[url] = key
    if len(_KEYS) > _CACHED_KEYS:
        _KEYS.popitem(last=False)
    return key


async def _fetch(http: Http, url: str) -> bytes:
    """A small document from AWS; our own trouble to get it must end in a 5xx, so that SNS tries again."""
    try:
        response = await http.call("GET", url, _SECONDS, headers={})
    except CALL_ERRORS:
        raise ProviderUnreachable("Amazon SNS could not be reached.") from None
    if response.status_code != 200 or len(response.content) > _LARGEST_CERTIFICATE:
        raise ProviderUnreachable("Amazon SNS did not answer as it should.")
    return response.content


# ── Subscription ─────────────────────────────────────────────────────────────────────────────────


async def _confirm(http: Http, message: Message) -> None:
    """Confirm a subscription of an allowed topic, at an address of our own making."""
    topic, token, host = message["TopicArn"], message["Token"], _host(message)
    given = urlsplit(message["SubscribeURL"])
    asked = {name: values for name, values in parse_qs(given.query).items()}
    _require((given.scheme, given.netloc, given.path) == ("https", host, "/"))
    _require(_TOKEN.fullmatch(token))
    wanted = {"Action": "ConfirmSubscription", "TopicArn": topic, "Token": token}
    _require(asked == {name: [value] for name, value in wanted.items()})
    await _fetch(http, f"https://{host}/?{urlencode(wanted)}")
