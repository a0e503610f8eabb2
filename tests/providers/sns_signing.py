"""An SNS of our own: signs what a test wants said, with a certificate that stands where AWS's would."""

import base64
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from postroom.providers.base import WebhookRequest
from postroom.providers.sns import signed_text

TOPIC = "arn:aws:sns:eu-west-1:123456789012:mail-events"
HOST = "sns.eu-west-1.amazonaws.com"
CERTIFICATE = f"https://{HOST}/SimpleNotificationService-0123456789abcdef.pem"
TOKEN = "a" * 64


def make_certificate(key: RSAPrivateKey, days: int = 30) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(now + timedelta(days=min(0, days) - 1))
        .not_valid_after(now + timedelta(days=days))
        .sign(key, SHA256())
    )
    return made.public_bytes(Encoding.PEM)


class Sns:
    """One key and its certificate."""

    def __init__(self) -> None:
        self.key = generate_private_key(65537, 2048)
        self.pem = make_certificate(self.key)

    def notification(self, message: Any, **changes: Any) -> dict[str, Any]:
        text = message if isinstance(message, str) else orjson.dumps(message).decode()
        return self.signed({"Type": "Notification", "Message": text} | changes)

    def confirmation(self, **changes: Any) -> dict[str, Any]:
        asked = f"Action=ConfirmSubscription&TopicArn={TOPIC}&Token={TOKEN}"
        fields = {
            "Type": "SubscriptionConfirmation",
            "Message": "You have chosen to subscribe",
            "Token": TOKEN,
            "SubscribeURL": f"https://{HOST}/?{asked}",
        }
        return self.signed(fields | changes)

    def signed(self, fields: dict[str, Any]) -> dict[str, Any]:
        """What SNS sends; a field given as None is left out."""
        whole: dict[str, Any] = {
            "MessageId": "b2f1c3a0-0000-5000-8000-000000000001",
            "TopicArn": TOPIC,
            "Timestamp": datetime.now(UTC).isoformat(timespec="milliseconds")[:-6] + "Z",
            "SignatureVersion": "2",
            "SigningCertURL": CERTIFICATE,
            **fields,
        }
        whole = {name: value for name, value in whole.items() if value is not None}
        if "Signature" not in whole and whole.get("Type") in (
            "Notification",
            "SubscriptionConfirmation",
            "UnsubscribeConfirmation",
        ):
            algorithm = SHA1() if whole.get("SignatureVersion") == "1" else SHA256()  # noqa: S303
            made = self.key.sign(signed_text(whole), PKCS1v15(), algorithm)
            whole["Signature"] = base64.b64encode(made).decode()
        return whole


def request_of(message: dict[str, Any], **headers: str) -> WebhookRequest:
    known = {"content-type": "text/plain; charset=UTF-8"}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return WebhookRequest(known | named, orjson.dumps(message))
