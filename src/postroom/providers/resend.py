"""Resend: one mail or a hundred in a call, its status call and its webhooks; https://resend.com/docs/api-reference."""

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import httpx
import orjson

from postroom.errors import ProviderRefused
from postroom.providers.base import (
    Answer,
    Attachment,
    Capabilities,
    DeliveryEvent,
    LiveStatus,
    Outcome,
    OutcomeKind,
    OutgoingMail,
    Provider,
    WebhookRequest,
)
from postroom.providers.lists import Audiences, Broadcasts, Json
from postroom.providers.network import (
    ASK_SECONDS,
    CALL_ERRORS,
    asking,
    bytes_of,
    is_page,
    json_of,
    outcome_of_failure,
    refused,
)
from postroom.providers.resend_answers import (
    read_answer,
    read_error,
    refusal,
)
from postroom.providers.resend_events import REF_TAG, REPORTED, read_signed, read_status
from postroom.providers.resend_lists import ResendAudiences, ResendBroadcasts

BASE_URL = "https://api.resend.com"

# https://resend.com/docs/api-reference/emails/send-email
MOST_RECIPIENTS = 50
MOST_TAGS = 75 - 1  # one is ours
LONGEST_CONTENT_ID = 127
_TAG = re.compile(r"[A-Za-z0-9_-]{1,256}")
_API_KEY = re.compile(r"[\x21-\x7e]+")


class Resend(Provider):
    """An account at Resend. Its key sends; the webhook secret, where there is one, verifies what it reports."""

    name = "resend"
    title = "Resend"
    wire = "resend-1"
    capabilities = Capabilities(
        batch_size=100,
        idempotent=True,
        key_life_hours=24,
        attachments=True,
        attachments_in_batch=False,
        max_mail_bytes=40_000_000,
        call_timeout=30.0,
        batch_timeout=10.0,
        rate_per_second=10.0,
        audiences=True,
        events=REPORTED,
        receipts=True,
        health_data=False,
    )
    secret_fields = ("apiKey", "webhookSecret")

    @property
    def fingerprint(self) -> str:
        """The key and where it is known; the webhook secret has no part in sending."""
        return f"apiKey={self._api_key}\nbaseUrl={self._base_url}"

    def refuses(self, mail: OutgoingMail) -> str | None:
        recipients = len(mail.to) + len(mail.cc) + len(mail.bcc)
        if not mail.to:
            return "Resend needs at least one address in to."
        if recipients > MOST_RECIPIENTS:
            return f"Resend takes at most {MOST_RECIPIENTS} recipients a mail, to, cc and bcc together."
        if mail.html is None and mail.text is None:
            return "Resend needs html or text."
        if bytes_of(mail) > self.capabilities.max_mail_bytes:
            return "Resend takes at most 40 MB a mail, attachments in base64 included."
        return _refused_tags(mail.tags) or _refused_attachments(mail.attachments)

    async def send(self, mails: Sequence[OutgoingMail], key: str) -> Answer:
        path, body = build_call(mails, self.capabilities.batch_size)
        if not _API_KEY.fullmatch(self._api_key):
            reason = "The API key of Resend is missing or has characters that no key has."
            keyless = Outcome(OutcomeKind.MISCONFIGURED, reason=reason, code="missing_api_key")
            return Answer.all(len(mails), keyless)
        single = len(mails) == 1
        seconds = self.capabilities.call_timeout if single else self.capabilities.batch_timeout
        headers = {"Content-Type": "application/json", "Idempotency-Key": key}
        if not single:
            headers["x-batch-validation"] = "permissive"
        try:
            response = await self._call("POST", path, seconds, headers=headers, content=body)
        except CALL_ERRORS as failure:
            return Answer.all(len(mails), outcome_of_failure(self.title, failure))
        return read_answer(response, len(mails))

    async def verify(self) -> None:
        response = await self._ask("/domains")
        if response.is_success and not is_page(response):
            return
        error = read_error(response)
        # A key that may only send cannot list domains, and says so; a key that is not active answers 403.
        if error.status == 401 and error.name == "restricted_api_key":
            return
        raise refused(error.status, refusal(error).reason or error.message)

    async def fetch_status(self, provider_id: str) -> LiveStatus:
        return read_status(
            await self._ask_json("GET", f"/emails/{quote(provider_id, safe='')}"), provider_id
        )

    def read_webhook(self, request: WebhookRequest) -> list[DeliveryEvent]:
        return read_signed(request, self.credentials.get("webhookSecret"))

    def audiences(self) -> Audiences:
        return ResendAudiences(self._ask_json)

    def broadcasts(self) -> Broadcasts:
        return ResendBroadcasts(self._ask_json)

    async def _ask_json(
        self, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> Json:
        """A call that somebody waits for; Resend's own object, or its status and sentence."""
        content = None if body is None else orjson.dumps(body)
        response = await self._ask(path, method, content)
        if not response.is_success or is_page(response):
            error = read_error(response)
            raise refused(error.status, error.message)
        found = json_of(response)
        if not isinstance(found, dict):
            raise ProviderRefused(502, "Resend's answer could not be read.")
        return found

    @property
    def _api_key(self) -> str:
        return str(self.credentials.get("apiKey") or "").strip()

    @property
    def _base_url(self) -> str:
        return str(self.credentials.get("baseUrl") or BASE_URL).strip().rstrip("/")

    async def _ask(
        self, path: str, method: str = "GET", content: bytes | None = None
    ) -> httpx.Response:
        """A call that somebody waits for; raises what they can read."""
        if not _API_KEY.fullmatch(self._api_key):
            raise ProviderRefused(401, "The API key of Resend is missing.", code="missing_api_key")
        kind = None if content is None else {"Content-Type": "application/json"}
        with asking(self.title):
            return await self._call(method, path, ASK_SECONDS, headers=kind, content=content)

    async def _call(
        self,
        method: str,
        path: str,
        seconds: float,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
    ) -> httpx.Response:
        proof = {"Authorization": f"Bearer {self._api_key}"}
        return await self.http.call(
            method,
            self._base_url + path,
            seconds,
            headers=proof | dict(headers or {}),
            content=content,
        )


# ── The bytes of a call: change them, and `wire` must change ─────────────────────────────────────


def build_call(mails: Sequence[OutgoingMail], most: int) -> tuple[str, bytes]:
    """Path and body; the same mails in the same order give the same bytes."""
    if not 1 <= len(mails) <= most:
        raise ValueError(f"a call carries 1 to {most} mails, not {len(mails)}")
    if len(mails) == 1:
        return "/emails", orjson.dumps(_payload(mails[0]))
    if any(mail.attachments for mail in mails):
        raise ValueError("a mail with attachments travels alone: a batch call would drop them")
    return "/emails/batch", orjson.dumps([_payload(mail) for mail in mails])


def _payload(mail: OutgoingMail) -> dict[str, Any]:
    tags = (*mail.tags, (REF_TAG, mail.ref))
    fields: dict[str, Any] = {
        "from": mail.sender,
        "to": mail.to,
        "subject": mail.subject,
        "html": mail.html,
        "text": mail.text,  # an empty one asks Resend to make none from the html
        "cc": mail.cc or None,
        "bcc": mail.bcc or None,
        "reply_to": mail.reply_to or None,
        "headers": dict(sorted(mail.headers.items())) or None,
        "attachments": [_attachment(attachment) for attachment in mail.attachments] or None,
        "tags": [{"name": name, "value": value} for name, value in tags],
    }
    return {name: value for name, value in fields.items() if value is not None}


def _attachment(attachment: Attachment) -> dict[str, str]:
    fields = {"filename": attachment.filename, "content": attachment.content}
    if attachment.content_type is not None:
        fields["content_type"] = attachment.content_type
    if attachment.content_id is not None:
        fields["content_id"] = attachment.content_id
    return fields


# ── What Resend could never carry ────────────────────────────────────────────────────────────────


def _refused_tags(tags: Sequence[tuple[str, str]]) -> str | None:
    if len(tags) > MOST_TAGS:
        return f"Resend takes at most {MOST_TAGS} tags a mail."
    for name, value in tags:
        if not (_TAG.fullmatch(name) and _TAG.fullmatch(value)):
            return "Names and values of tags at Resend are 1 to 256 letters, digits, _ or -."
        if name == REF_TAG:
            return f"The tag {REF_TAG} is taken: it carries Postroom's own id."
    return None


def _refused_attachments(attachments: Sequence[Attachment]) -> str | None:
    if any(not attachment.filename for attachment in attachments):
        return "Attachments at Resend need a filename."
    if any(len(attachment.content_id or "") > LONGEST_CONTENT_ID for attachment in attachments):
        return f"Content ids of attachments at Resend have at most {LONGEST_CONTENT_ID} characters."
    return None
