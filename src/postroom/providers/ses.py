"""Amazon SES v2: one mail a call, signed by ourselves, tried once; its events come through SNS.

https://docs.aws.amazon.com/ses/latest/APIReference-V2/Welcome.html
"""

import base64
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any
from urllib.parse import quote

import httpx
import orjson

from postroom.providers import mime, sns
from postroom.providers.base import (
    Answer,
    Capabilities,
    DeliveryEvent,
    Outcome,
    OutcomeKind,
    OutgoingMail,
    Provider,
    WebhookRequest,
)
from postroom.providers.network import (
    ASK_SECONDS,
    CALL_ERRORS,
    asking,
    bytes_of,
    json_of,
    outcome_of_failure,
    refused,
)
from postroom.providers.ses_answers import (
    DENIED,
    clock_of,
    read_answer,
    read_error,
    sentence_of,
)
from postroom.providers.ses_events import REF_HEADER, REF_TAG, REPORTED, read_notification
from postroom.providers.ses_guide import CHECKLIST
from postroom.providers.sigv4 import Signer

MOST_RECIPIENTS = 50
MOST_TAGS = 50 - 1  # one is ours
MOST_SIMPLE_HEADERS = 15 - 1
_TAG = re.compile(r"[A-Za-z0-9_-]{1,256}")
_PRINTABLE = re.compile(r"[\x20-\x7e]{1,870}")
_REGION = re.compile(r"[a-z]{2}(-[a-z]+)+-\d")
_OURS = frozenset({REF_HEADER.lower()})
_SEND = "/v2/email/outbound-emails"

# How far each endpoint's clock is ahead of ours, once it has complained.
_AHEAD: dict[str, float] = {}


class Ses(Provider):
    """An account at Amazon SES in one region. SES knows no idempotency key, so a lost answer stays unknown."""

    name = "ses"
    title = "Amazon SES"
    wire = "ses-1"
    capabilities = Capabilities(
        batch_size=1,
        idempotent=False,
        attachments=True,
        attachments_in_batch=False,
        max_mail_bytes=39_000_000,  # 40 MB on the wire, with what encoding adds to the texts
        call_timeout=30.0,
        rate_per_second=1.0,  # of an account that AWS has not let out of its sandbox
        events=REPORTED,
        health_data=True,
    )
    secret_fields = ("accessKeyId", "secretAccessKey", "sessionToken")
    checklist = CHECKLIST

    @property
    def fingerprint(self) -> str:
        return f"accessKeyId={self._text('accessKeyId')}\nendpoint={self._endpoint}"

    def refuses(self, mail: OutgoingMail) -> str | None:
        recipients = len(mail.to) + len(mail.cc) + len(mail.bcc)
        if not mail.to:
            return "Amazon SES needs at least one address in to."
        if recipients > MOST_RECIPIENTS:
            return f"Amazon SES takes at most {MOST_RECIPIENTS} recipients a mail, to, cc and bcc together."
        if mail.html is None and mail.text is None:
            return "Amazon SES needs html or text."
        if bytes_of(mail) > self.capabilities.max_mail_bytes:
            return "Amazon SES takes at most 40 MB a mail, attachments in base64 included."
        return (
            _refused_tags(mail)
            or mime.refused_headers(self.title, mail, _OURS)
            or mime.refused_addresses(self.title, mail)
        )

    async def send(self, mails: Sequence[OutgoingMail], key: str) -> Answer:
        if len(mails) != 1:
            raise ValueError(f"a call carries 1 mail, not {len(mails)} mails")
        try:
            body = self._body(mails[0])
        except mime.Unbuildable as wrong:
            return Answer.all(1, Outcome(OutcomeKind.REJECTED, reason=str(wrong), code="message"))
        if (missing := self._missing()) is not None:
            return Answer.all(1, Outcome(OutcomeKind.MISCONFIGURED, reason=missing, code="no_key"))
        try:
            # One attempt, ever: whoever repeats a SendEmail sends twice.
            response = await self._call("POST", _SEND, self.capabilities.call_timeout, body)
        except CALL_ERRORS as failure:
            return Answer.all(1, outcome_of_failure(self.title, failure))
        self._learn_clock(response)
        return read_answer(response, mails[0].sender)

    async def verify(self) -> None:
        response = await self._ask("/v2/email/account")
        if response.is_success:
            account = json_of(response)
            if not isinstance(account, dict) or "SendQuota" not in account:
                raise refused(502, "This is not Amazon SES: check region and endpointUrl.")
            if account.get("SendingEnabled") is False:
                raise refused(422, "Amazon SES has paused sending for this account.")
            return
        error = read_error(response)
        # A key that may only send cannot ask for the account, and is told so by name.
        if error.name not in DENIED:
            raise refused(error.status, sentence_of(error))

    async def measure_rate(self) -> float | None:
        response = await self._ask("/v2/email/account")
        account = json_of(response) if response.is_success else None
        quota = account.get("SendQuota") if isinstance(account, dict) else None
        rate = quota.get("MaxSendRate") if isinstance(quota, dict) else None
        return float(rate) if isinstance(rate, int | float) and rate > 0 else None

    async def check_health_data(self) -> None:
        """SES encrypts when it can; only a configuration set can make it refuse to send in clear."""
        name = self._text("configurationSet")
        if not name:
            raise refused(
                422,
                "Amazon SES may carry health data only with a configuration set that requires TLS.",
            )
        response = await self._ask(f"/v2/email/configuration-sets/{quote(name, safe='')}")
        if not response.is_success:
            said = sentence_of(read_error(response))
            raise refused(422, f"The configuration set could not be checked: {said}")
        found = json_of(response)
        options = found.get("DeliveryOptions") if isinstance(found, dict) else None
        if not isinstance(options, dict) or options.get("TlsPolicy") != "REQUIRE":
            raise refused(
                422, "The configuration set does not require TLS: set its TlsPolicy to REQUIRE."
            )

    async def receive(self, request: WebhookRequest) -> list[DeliveryEvent]:
        topics = self.credentials.get("topicArns") or ()
        message = await sns.receive(self.http, request, [str(topic) for topic in topics])
        return read_notification(message["Message"]) if message is not None else []

    # ── Calls ────────────────────────────────────────────────────────────────────────────────────

    def _text(self, name: str) -> str:
        return str(self.credentials.get(name) or "").strip()

    @property
    def _endpoint(self) -> str:
        if given := self._text("endpointUrl"):
            return given.rstrip("/")
        region = self._text("region")
        china = ".cn" if region.startswith("cn-") else ""
        return f"https://email.{region}.amazonaws.com{china}"

    def _missing(self) -> str | None:
        if not _REGION.fullmatch(self._text("region")):
            return "The region of Amazon SES is missing or none."
        if not (self._text("accessKeyId") and self._text("secretAccessKey")):
            return "The access key of Amazon SES is missing."
        return None

    async def _ask(self, path: str) -> httpx.Response:
        """A GET that somebody waits for; raises what they can read."""
        if (missing := self._missing()) is not None:
            raise refused(401, missing, "missing_key")
        with asking(self.title):
            response = await self._call("GET", path, ASK_SECONDS)
        self._learn_clock(response)
        return response

    async def _call(
        self, method: str, path: str, seconds: float, body: bytes = b""
    ) -> httpx.Response:
        url = self._endpoint + path
        signer = Signer(
            self._text("accessKeyId"),
            self._text("secretAccessKey"),
            self._text("sessionToken") or None,
            self._text("region"),
            "ses",
        )
        ahead = timedelta(seconds=_AHEAD.get(self._endpoint, 0.0))
        given = {"content-type": "application/json"} if body else {}
        headers = signer.headers(method, url, given, body, datetime.now(UTC) + ahead)
        return await self.http.call(method, url, seconds, headers=headers, content=body)

    def _learn_clock(self, response: httpx.Response) -> None:
        ahead = clock_of(response)
        if not response.is_success and ahead is not None and read_error(response).about_clock:
            _AHEAD[self._endpoint] = ahead

    # ── The bytes of a call: change them, and `wire` must change ─────────────────────────────────

    def _body(self, mail: OutgoingMail) -> bytes:
        tags = (*mail.tags, (REF_TAG, mail.ref))
        fields: dict[str, Any] = {
            "FromEmailAddress": _shown_sender(mail.sender),
            "Destination": {
                "ToAddresses": [mime.shown(to) for to in mail.to],
                "CcAddresses": [mime.shown(cc) for cc in mail.cc],
                "BccAddresses": [mime.shown(bcc) for bcc in mail.bcc],
            },
            "ReplyToAddresses": [mime.shown(to) for to in mail.reply_to],
            "Content": _raw(mail) if _needs_raw(mail) else _simple(mail),
            "EmailTags": [{"Name": name, "Value": value} for name, value in tags],
        }
        if configuration_set := self._text("configurationSet"):
            fields["ConfigurationSetName"] = configuration_set
        return orjson.dumps(fields)


# An account has a few senders, and each of its mails names one.
_shown_sender = lru_cache(maxsize=256)(mime.shown)


def _needs_raw(mail: OutgoingMail) -> bool:
    """Attachments, and headers that the simple form does not take."""
    if mail.attachments or len(mail.headers) > MOST_SIMPLE_HEADERS:
        return True
    return not all(_PRINTABLE.fullmatch(value) for value in mail.headers.values())


def _raw(mail: OutgoingMail) -> dict[str, Any]:
    data = base64.b64encode(mime.build(mail, {REF_HEADER: mail.ref})).decode()
    return {"Raw": {"Data": data}}


def _simple(mail: OutgoingMail) -> dict[str, Any]:
    headers: Mapping[str, str] = dict(sorted(mail.headers.items())) | {REF_HEADER: mail.ref}
    body = {
        name: {"Data": part, "Charset": "UTF-8"}
        for name, part in (("Text", mail.text), ("Html", mail.html))
        if part is not None
    }
    return {
        "Simple": {
            "Subject": {"Data": mail.subject, "Charset": "UTF-8"},
            "Body": body,
            "Headers": [{"Name": name, "Value": value} for name, value in headers.items()],
        }
    }


def _refused_tags(mail: OutgoingMail) -> str | None:
    if len(mail.tags) > MOST_TAGS:
        return f"Amazon SES takes at most {MOST_TAGS} tags a mail."
    for name, value in mail.tags:
        if not (_TAG.fullmatch(name) and _TAG.fullmatch(value)):
            return "Names and values of tags at Amazon SES are 1 to 256 letters, digits, _ or -."
        if name == REF_TAG:
            return f"The tag {REF_TAG} is taken: it carries Postroom's own id."
    return None
