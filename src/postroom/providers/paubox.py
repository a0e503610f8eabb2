"""Paubox: health data by mail, one or up to fifty in a call, receipts and unsigned webhooks.

https://docs.paubox.com/docs/paubox_email_api/introduction
"""

import base64
import hashlib
import mimetypes
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import httpx
import orjson

from postroom.errors import Problem, ProviderRefused
from postroom.outgoing import Http
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
from postroom.providers.network import (
    ASK_SECONDS,
    CALL_ERRORS,
    asking,
    decoded_bytes,
    is_page,
    json_of,
    outcome_of_failure,
    refused,
)
from postroom.providers.paubox_answers import WRONG_ADDRESS, read_answer, read_error
from postroom.providers.paubox_events import POLLED, REF_HEADER, REPORTED, read_pushed, read_receipt
from postroom.providers.paubox_guide import CHECKLIST

BASE_URL = "https://api.paubox.com/v1/email"
OLDER_BASE_URL = "https://api.paubox.net/v1/{endpoint}"

MOST_RECIPIENTS = 100
MOST_ATTACHED = 10_000_000  # bytes before base64; Paubox's own pages say 10 MB and 50 MB
MOST_IN_BULK = 50
# Nobody can say which mails of a lost answer were taken: a small call leaves few in doubt.
IN_BULK_FOR_HEALTH_DATA = 10
_LIST_HEADERS = frozenset({"list-unsubscribe", "list-unsubscribe-post"})
_HEADER = re.compile(r"[A-Za-z0-9-]{1,100}")
_API_KEY = re.compile(r"[\x21-\x7e]+")


class Paubox(Provider):
    """An account at Paubox. It knows no idempotency key: a lost answer stays unknown until it is settled."""

    name = "paubox"
    title = "Paubox"
    wire = "paubox-1"
    capabilities = Capabilities(
        batch_size=MOST_IN_BULK,
        idempotent=False,
        attachments=True,
        attachments_in_batch=True,
        max_mail_bytes=15_000_000,
        call_timeout=30.0,
        batch_timeout=30.0,
        rate_per_second=10.0,  # Paubox names no limit; this many calls carry 500 mails a second
        events=REPORTED,
        receipts=True,
        polled=POLLED,
        signed_webhooks=False,
        any_header=False,
        tags=False,
        inline_images=False,
        health_data=True,
    )
    secret_fields = ("apiKey",)
    checklist = CHECKLIST

    def __init__(self, credentials: Mapping[str, Any], http: Http) -> None:
        super().__init__(credentials, http)
        usual = IN_BULK_FOR_HEALTH_DATA if credentials.get("phiAllowed") else MOST_IN_BULK
        asked = int(credentials.get("bulkSize") or usual)
        size = max(1, min(asked, MOST_IN_BULK))
        self.capabilities = replace(type(self).capabilities, batch_size=size)

    @property
    def fingerprint(self) -> str:
        return f"apiKey={self._api_key}\nbaseUrl={self._base_url}"

    def refuses(self, mail: OutgoingMail) -> str | None:
        recipients = len(mail.to) + len(mail.cc) + len(mail.bcc)
        if not mail.to:
            return "Paubox needs at least one address in to."
        if recipients > MOST_RECIPIENTS:
            return f"Paubox takes at most {MOST_RECIPIENTS} recipients a mail, to, cc and bcc together."
        if mail.html is None and mail.text is None:
            return "Paubox needs html or text."
        return _refused_headers(mail.headers) or _refused_attachments(mail.attachments)

    async def send(self, mails: Sequence[OutgoingMail], key: str) -> Answer:
        path, body = build_call(mails, self.capabilities.batch_size, force=self._force_portal)
        if not _API_KEY.fullmatch(self._api_key):
            reason = "The API key of Paubox is missing or has characters that no key has."
            keyless = Outcome(OutcomeKind.MISCONFIGURED, reason=reason, code="missing_api_key")
            return Answer.all(len(mails), keyless)
        single = len(mails) == 1
        seconds = self.capabilities.call_timeout if single else self.capabilities.batch_timeout
        try:
            response = await self._call("POST", path, seconds, content=body)
        except CALL_ERRORS as failure:
            return Answer.all(len(mails), outcome_of_failure(self.title, failure))
        return read_answer(response, [mail.ref for mail in mails])

    async def verify(self) -> None:
        # There is no question that costs nothing; of this one only the refusal of the key matters.
        response = await self._ask("/messages")
        if is_page(response) or response.is_redirect:
            raise refused(502, WRONG_ADDRESS.format(status=response.status_code), "base_url")
        if response.status_code in (401, 403):
            raise refused(response.status_code, "Paubox does not accept this API key.")
        if response.status_code >= 500 or response.status_code == 429:
            raise refused(response.status_code, read_error(response).message)

    async def fetch_status(self, provider_id: str) -> LiveStatus:
        response = await self._ask("/message_receipt", {"sourceTrackingId": provider_id})
        error = read_error(response)
        if is_page(response) or not response.is_success or error.named:
            raise refused(error.status, error.message)
        body = json_of(response)
        if not isinstance(body, dict):
            raise ProviderRefused(502, "Paubox's answer could not be read.")
        return read_receipt(body, provider_id, self._digest)

    def read_webhook(self, request: WebhookRequest) -> list[DeliveryEvent]:
        return read_pushed(request, self._digest)

    async def confirm(self, events: Sequence[DeliveryEvent]) -> list[DeliveryEvent]:
        """Anybody who knows the path could send these; those count of which the receipt says the same."""
        ids = {event.provider_id for event in events if event.provider_id}
        receipts = {provider_id: await self._receipt_of(provider_id) for provider_id in ids}
        return [
            event for event in events if _says(receipts.get(event.provider_id or "", ()), event)
        ]

    async def _receipt_of(self, provider_id: str) -> tuple[DeliveryEvent, ...]:
        try:
            return (await self.fetch_status(provider_id)).events
        except Problem:
            # Unconfirmed is no harm: the mail is asked for again later.
            return ()

    def _digest(self, value: str) -> str:
        """Tells recipients apart in an event's id without naming them."""
        key = hashlib.sha256(self._api_key.encode()).digest()
        return hashlib.blake2b(value.strip().lower().encode(), key=key, digest_size=8).hexdigest()

    @property
    def _api_key(self) -> str:
        return str(self.credentials.get("apiKey") or "").strip()

    @property
    def _base_url(self) -> str:
        if endpoint := str(self.credentials.get("endpoint") or "").strip().strip("/"):
            return OLDER_BASE_URL.format(endpoint=endpoint)
        return str(self.credentials.get("baseUrl") or BASE_URL).strip().rstrip("/")

    @property
    def _force_portal(self) -> bool:
        return bool(self.credentials.get("forceSecureNotification"))

    async def _ask(self, path: str, params: Mapping[str, str] | None = None) -> httpx.Response:
        """A GET that somebody waits for; raises what they can read."""
        if not _API_KEY.fullmatch(self._api_key):
            raise ProviderRefused(401, "The API key of Paubox is missing.", code="missing_api_key")
        with asking(self.title):
            return await self._call("GET", path, ASK_SECONDS, params=params)

    async def _call(
        self,
        method: str,
        path: str,
        seconds: float,
        *,
        params: Mapping[str, str] | None = None,
        content: bytes | None = None,
    ) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self._api_key}"}
        if content is not None:
            headers["Content-Type"] = "application/json"
        query = f"?{urlencode(params)}" if params else ""
        return await self.http.call(
            method, self._base_url + path + query, seconds, headers=headers, content=content
        )


def _says(told: Sequence[DeliveryEvent], event: DeliveryEvent) -> bool:
    """Whether a receipt tells of the same event."""
    recipients = [known.recipient for known in told if known.kind is event.kind]
    return event.recipient in recipients or (event.recipient is None and bool(recipients))


# ── The bytes of a call: change them, and `wire` must change ─────────────────────────────────────


def build_call(mails: Sequence[OutgoingMail], most: int, *, force: bool) -> tuple[str, bytes]:
    """Path and body; the same mails in the same order give the same bytes."""
    if not 1 <= len(mails) <= most:
        raise ValueError(f"a call carries 1 to {most} mails, not {len(mails)}")
    messages = [_message(mail, force=force) for mail in mails]
    if len(messages) == 1:
        return "/messages", orjson.dumps({"data": {"message": messages[0]}})
    return "/bulk_messages", orjson.dumps({"data": {"messages": messages}})


def _message(mail: OutgoingMail, *, force: bool) -> dict[str, Any]:
    content: dict[str, str] = {}
    if mail.text is not None:
        content["text/plain"] = mail.text
    if mail.html is not None:
        content["text/html"] = base64.b64encode(mail.html.encode()).decode()
    fields: dict[str, Any] = {
        "recipients": mail.to,
        "cc": mail.cc or None,
        "bcc": mail.bcc or None,
        "headers": _headers(mail),
        "content": content,
        "attachments": [_attachment(attachment) for attachment in mail.attachments] or None,
        # Never in clear text: where TLS is not offered, the mail waits in the portal.
        "allowNonTLS": False,
        "forceSecureNotification": force,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _headers(mail: OutgoingMail) -> dict[str, str]:
    headers = {"subject": mail.subject, "from": mail.sender}
    if mail.reply_to:
        headers["reply-to"] = ", ".join(mail.reply_to)
    return headers | dict(sorted(mail.headers.items())) | {REF_HEADER: mail.ref}


def _attachment(attachment: Attachment) -> dict[str, str]:
    guessed = mimetypes.guess_type(attachment.filename)[0] or "application/octet-stream"
    return {
        "fileName": attachment.filename,
        "contentType": attachment.content_type or guessed,
        "content": attachment.content,
    }


# ── What Paubox could never carry ────────────────────────────────────────────────────────────────


def _refused_headers(headers: Mapping[str, str]) -> str | None:
    for name in headers:
        known = name.lower() in _LIST_HEADERS or name.lower().startswith("x-")
        if not known or not _HEADER.fullmatch(name):
            return "Paubox carries only headers whose names begin with X-, and List-Unsubscribe."
        if name.lower() == REF_HEADER.lower():
            return f"The header {REF_HEADER} is taken: it carries Postroom's own id."
    return None


def _refused_attachments(attachments: Sequence[Attachment]) -> str | None:
    if any(not attachment.filename or not attachment.content for attachment in attachments):
        return "Attachments at Paubox need a filename and content."
    if any(attachment.content_id for attachment in attachments):
        return "Paubox carries no inline images: leave contentId out, or link to the image."
    if sum(decoded_bytes(attachment) for attachment in attachments) > MOST_ATTACHED:
        return "Paubox takes at most 10 MB of attachments a mail."
    return None
