"""Any SMTP server that takes mail over TLS: one mail at a time over kept connections.

RFC 5321, RFC 3207 (STARTTLS), RFC 8314 (implicit TLS). A reply of 250 means that the server has the mail, no
more: nothing is ever reported about what became of it.
"""

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import make_msgid
from typing import Any

import aiosmtplib

from postroom.errors import ProviderRefused, ProviderSlow, ProviderUnreachable
from postroom.outgoing import Http
from postroom.providers import mime, smtp_pool
from postroom.providers.base import (
    Answer,
    Capabilities,
    DeliveryEvent,
    Outcome,
    OutcomeKind,
    OutgoingMail,
    Provider,
)
from postroom.providers.network import bytes_of
from postroom.providers.smtp_answers import (
    Reply,
    Stage,
    event_of_recipient,
    outcome_of_failure,
    outcome_of_reply,
    reply_of,
)
from postroom.providers.smtp_guide import CHECKLIST
from postroom.providers.smtp_pool import InvalidCertificate, Line, Server
from postroom.providers.smtp_presets import ANY, OURS, PRESETS, Preset, ses_password

MOST_RECIPIENTS = 50
_CONNECT_SECONDS = 15.0
_LEFT_FOR_US = 5.0  # of the call's time, so that we and not our caller notice its end
_TAG = re.compile(r"[A-Za-z0-9_-]{1,256}")
# `250 Ok 0100018c5e5e1b0a-1a2b3c4d-...-000000`: the id that SES's events carry.
_SES_ID = re.compile(r"^Ok ([0-9a-f]{16}-[0-9a-f-]{36}-\d{6})\b", re.IGNORECASE)
_FAILURES = (aiosmtplib.SMTPException, InvalidCertificate, OSError, ValueError)


@dataclass(slots=True)
class _Try:
    """One mail's way over one connection."""

    stage: Stage = Stage.CONNECT
    stale: bool = False  # lost on a kept connection, before anything of the mail was said
    refused: dict[str, Reply] = field(default_factory=dict)  # recipients, as they were written


class Smtp(Provider):
    """An account at an SMTP server."""

    name = "smtp"
    title = "SMTP"
    wire = "smtp-1"
    capabilities = Capabilities(
        batch_size=1,
        idempotent=False,
        attachments=True,
        attachments_in_batch=False,
        max_mail_bytes=39_000_000,
        call_timeout=60.0,
        health_data=True,
        tags=False,
        user_given_address=True,
    )
    secret_fields = ("password",)
    checklist = CHECKLIST

    def __init__(self, credentials: Mapping[str, Any], http: Http) -> None:
        super().__init__(credentials, http)
        preset = self._preset
        self.capabilities = replace(
            type(self).capabilities, rate_per_second=preset.rate_per_second, tags=preset.tags
        )

    @property
    def fingerprint(self) -> str:
        server = self._server
        return f"{server.host}:{server.port}\n{server.username}\n{server.password}"

    def refuses(self, mail: OutgoingMail) -> str | None:
        recipients = len(mail.to) + len(mail.cc) + len(mail.bcc)
        if not mail.to:
            return "SMTP needs at least one address in to."
        if recipients > MOST_RECIPIENTS:
            return (
                f"SMTP takes at most {MOST_RECIPIENTS} recipients a mail, to, cc and bcc together."
            )
        if mail.html is None and mail.text is None:
            return "SMTP needs html or text."
        if bytes_of(mail) > self.capabilities.max_mail_bytes:
            return "SMTP takes at most 40 MB a mail, attachments in base64 included."
        if self._preset.tags and not all(
            _TAG.fullmatch(n) and _TAG.fullmatch(v) for n, v in mail.tags
        ):
            return "Names and values of tags at Amazon SES are 1 to 256 letters, digits, _ or -."
        return mime.refused_headers(self.title, mail, OURS) or mime.refused_addresses(
            self.title, mail
        )

    async def send(self, mails: Sequence[OutgoingMail], key: str) -> Answer:
        if len(mails) != 1:
            raise ValueError(f"a call carries 1 mail, not {len(mails)} mails")
        (mail,) = mails
        try:
            message = self._message(mail)
        except mime.Unbuildable as wrong:
            return Answer.all(1, Outcome(OutcomeKind.REJECTED, reason=str(wrong), code="message"))
        attempt = _Try()
        answer = await self._hand_over(mail, message, attempt, reuse=True)
        if attempt.stale:
            # The server had closed a connection that waited; nothing of the mail was said over it.
            answer = await self._hand_over(mail, message, _Try(), reuse=False)
        return answer

    async def verify(self) -> None:
        try:
            async with (
                asyncio.timeout(_CONNECT_SECONDS),
                smtp_pool.line(
                    self._server, self.http.dialer, _CONNECT_SECONDS, reuse=False
                ) as line,
            ):
                await line.client.noop()
        except aiosmtplib.SMTPResponseException as refused:
            raise ProviderRefused(422, reply_of(refused).sentence) from None
        except _FAILURES as failure:
            outcome = outcome_of_failure(self.title, failure, Stage.CONNECT)
            said = outcome.reason or "SMTP could not be reached."
            if outcome.kind is OutcomeKind.MISCONFIGURED:
                raise ProviderRefused(422, said) from None
            if isinstance(failure, TimeoutError):
                raise ProviderSlow(said) from None
            raise ProviderUnreachable(said) from None

    # ── The dialogue ─────────────────────────────────────────────────────────────────────────────

    async def _hand_over(
        self, mail: OutgoingMail, message: bytes, attempt: _Try, *, reuse: bool
    ) -> Answer:
        seconds = self.capabilities.call_timeout - _LEFT_FOR_US
        try:
            async with (
                asyncio.timeout(seconds),
                smtp_pool.line(
                    self._server,
                    self.http.dialer,
                    min(seconds, _CONNECT_SECONDS),
                    reuse=reuse,
                ) as line,
            ):
                return await self._speak(line, mail, message, attempt)
        except aiosmtplib.SMTPResponseException as refused:
            reply = reply_of(refused)
            attempt.stale = attempt.stale and reply.code == 421
            return Answer.all(1, outcome_of_reply(reply, attempt.stage))
        except _FAILURES as failure:
            return Answer.all(1, outcome_of_failure(self.title, failure, attempt.stage))

    async def _speak(self, line: Line, mail: OutgoingMail, message: bytes, attempt: _Try) -> Answer:
        client = line.client
        attempt.stage, attempt.stale = Stage.SENDER, not line.fresh
        size = [f"size={len(message)}"] if client.supports_extension("size") else []
        await client.mail(mime.bare(mail.sender), options=size)
        attempt.stage, attempt.stale = Stage.RECIPIENT, False
        everyone = (*mail.to, *mail.cc, *mail.bcc)
        for recipient in everyone:
            await self._name(client, recipient, attempt)
        if len(attempt.refused) == len(everyone):
            # The connection stays good for the next mail.
            await client.rset()
            return _all_refused(mail, attempt.refused)
        attempt.stage = Stage.DATA
        response = await client.data(message, timeout=self.capabilities.call_timeout)
        return self._accepted(mail, response.message, attempt.refused)

    async def _name(self, client: aiosmtplib.SMTP, recipient: str, attempt: _Try) -> None:
        try:
            await client.rcpt(mime.bare(recipient))
        except aiosmtplib.SMTPRecipientRefused as refused:
            reply = reply_of(refused)
            if outcome_of_reply(reply, Stage.RECIPIENT).kind is OutcomeKind.MISCONFIGURED:
                raise
            attempt.refused[recipient] = reply

    def _accepted(self, mail: OutgoingMail, text: str, refused: Mapping[str, Reply]) -> Answer:
        found = _SES_ID.match(text)
        provider_id = found[1] if found else _own_id(mail)
        outcome = Outcome(OutcomeKind.ACCEPTED, provider_id=provider_id)
        return Answer((outcome,), later=_told(mail, refused, alone=False, provider_id=provider_id))

    # ── The account ──────────────────────────────────────────────────────────────────────────────

    def _text(self, name: str) -> str:
        return str(self.credentials.get(name) or "").strip()

    @property
    def _preset(self) -> Preset:
        return PRESETS.get(self._text("preset"), ANY)

    @property
    def _server(self) -> Server:
        preset, region = self._preset, self._text("region")
        password = self._text("password")
        if self._text("preset") == "ses":
            password = ses_password(password, region)
        security = self._text("security")
        return Server(
            host=self._text("host") or preset.host.format(region=region),
            port=int(self.credentials.get("port") or preset.port),
            implicit_tls=security == "tls" if security else preset.implicit_tls,
            username=self._text("username") or preset.username or "",
            password=password,
            ca_certificate=self._text("caCertificate") or None,
        )

    # ── The bytes of a mail: change them, and `wire` must change ─────────────────────────────────

    def _message(self, mail: OutgoingMail) -> bytes:
        domain = mime.bare(mail.sender).rpartition("@")[2]
        headers = {
            "Message-ID": f"<{_own_id(mail)}@{domain}>" if domain else make_msgid(),
            **self._preset.headers(mail, self.credentials),
        }
        return mime.build(mail, headers)


def _own_id(mail: OutgoingMail) -> str:
    """What stands for the server's id, which most do not tell."""
    return f"smtp-{mail.ref}"


def _all_refused(mail: OutgoingMail, refused: Mapping[str, Reply]) -> Answer:
    """Nobody will get it: for now, when one refusal may pass; else for good."""
    outcomes = [outcome_of_reply(reply, Stage.RECIPIENT) for reply in refused.values()]
    passing = [outcome for outcome in outcomes if outcome.kind is not OutcomeKind.REJECTED]
    if passing:
        return Answer.all(1, passing[0])
    return Answer((outcomes[0],), later=_told(mail, refused, alone=True, provider_id=None))


def _told(
    mail: OutgoingMail, refused: Mapping[str, Reply], *, alone: bool, provider_id: str | None
) -> tuple[tuple[float, DeliveryEvent], ...]:
    """Each refused recipient, as an event that the server would have sent if it sent any."""
    everyone = (*mail.to, *mail.cc, *mail.bcc)
    return tuple(
        (
            0.0,
            DeliveryEvent(
                event_id=f"refused:{mail.ref}:{everyone.index(recipient)}",
                kind=event_of_recipient(reply, alone=alone),
                at=datetime.now(UTC),
                provider_id=provider_id,
                ref=mail.ref,
                recipient=mime.bare(recipient),
                reason=reply.sentence,
                code=reply.word,
            ),
        )
        for recipient, reply in refused.items()
    )
