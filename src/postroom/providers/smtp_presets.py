"""SMTP servers that are known by name: where they are, who one is there, and what they read in a mail."""

import base64
import binascii
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from postroom.providers.base import OutgoingMail
from postroom.providers.sigv4 import derived_key

REF_HEADER = "X-Postroom-Id"  # our own id, which some vendors return in their events
_SES_VERSION = b"\x04"

Headers = Callable[[OutgoingMail, Mapping[str, Any]], Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Preset:
    host: str
    port: int
    implicit_tls: bool
    username: str | None  # None: the account's own
    rate_per_second: float | None
    headers: Headers
    tags: bool = False


def _ref_only(mail: OutgoingMail, credentials: Mapping[str, Any]) -> Mapping[str, str]:
    return {REF_HEADER: mail.ref}


def _resend(mail: OutgoingMail, credentials: Mapping[str, Any]) -> Mapping[str, str]:
    # Resend takes a mail with a key that it knows for a repeat.
    return {REF_HEADER: mail.ref, "Resend-Idempotency-Key": mail.ref}


def _ses(mail: OutgoingMail, credentials: Mapping[str, Any]) -> Mapping[str, str]:
    tags = ", ".join(f"{name}={value}" for name, value in (*mail.tags, ("postroom", mail.ref)))
    headers = {REF_HEADER: mail.ref, "X-SES-MESSAGE-TAGS": tags}
    if name := credentials.get("configurationSet"):
        headers["X-SES-CONFIGURATION-SET"] = str(name)
    return headers


PRESETS: Mapping[str, Preset] = {
    "resend": Preset("smtp.resend.com", 465, True, "resend", 10.0, _resend),
    # 500 mails a minute and address.
    "paubox": Preset("smtp.paubox.com", 587, False, "apikey", 8.0, _ref_only),
    "ses": Preset("email-smtp.{region}.amazonaws.com", 465, True, None, 14.0, _ses, tags=True),
}
ANY = Preset("", 587, False, None, None, _ref_only)
# Set by us, so that nobody else's may stand beside it.
OURS = frozenset(
    {
        REF_HEADER.lower(),
        "resend-idempotency-key",
        "x-ses-configuration-set",
        "x-ses-message-tags",
    }
)


def ses_password(secret: str, region: str) -> str:
    """The SMTP password of an IAM key, which is good for one region; one that is derived already stays.

    https://docs.aws.amazon.com/ses/latest/dg/smtp-credentials.html
    """
    try:
        raw = base64.b64decode(secret, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) == 33 and raw[:1] == _SES_VERSION:
        return secret
    key = derived_key(secret, "11111111", region, "ses", "aws4_request", "SendRawEmail")
    return base64.b64encode(_SES_VERSION + key).decode()
