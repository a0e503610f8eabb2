"""A mail as the bytes of a message: 7-bit, the same mail always the same bytes, Bcc never in it."""

import base64
import hashlib
import mimetypes
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, formataddr, parseaddr
from uuid import UUID

from postroom.ids import time_of
from postroom.lines import breaks_line
from postroom.providers.base import Attachment, OutgoingMail

_POLICY = SMTP.clone(cte_type="7bit", max_line_length=76)
_HEADER = re.compile(r"[\x21-\x39\x3b-\x7e]{1,126}")
# What Python's mail library raises, beside ValueError, for input that it does not like.
_FAULTS = (ValueError, LookupError, TypeError, AttributeError, MessageError)
# The message's own structure and envelope; whoever sets these by hand would forge or break it.
RESERVED = frozenset(
    {
        "from",
        "to",
        "cc",
        "bcc",
        "subject",
        "sender",
        "reply-to",
        "date",
        "message-id",
        "mime-version",
        "content-type",
        "content-transfer-encoding",
        "content-disposition",
        "return-path",
        "dkim-signature",
        "received",
    }
)


class Unbuildable(Exception):
    """No message can be made of this mail: it was not sent, and never will be."""


def refused_headers(title: str, mail: OutgoingMail, ours: frozenset[str]) -> str | None:
    """A sentence about headers that no message of ours may carry."""
    for name, value in mail.headers.items():
        if not _HEADER.fullmatch(name) or len(value) > 8_000:
            return f"{title} takes headers with names of printable ASCII and values up to 8,000 characters."
        if name.lower() in RESERVED or name.lower() in ours:
            return f"Headers that Postroom sets itself cannot be given for {title}."
    return None


def refused_addresses(title: str, mail: OutgoingMail) -> str | None:
    """A sentence when an address needs SMTPUTF8, which hardly a server takes, or fits into no header."""
    for address in (mail.sender, *mail.to, *mail.cc, *mail.bcc, *mail.reply_to):
        if not bare(address).isascii():
            return f"{title} takes only addresses whose part before the @ is ASCII."
        try:
            _address(address)
        except _FAULTS:
            return f"{title} cannot carry one of the addresses as it is written."
    return None


def bare(address: str) -> str:
    """The address inside `Name <address>`, its domain as DNS knows it."""
    local, at, domain = (parseaddr(address)[1] or address).rpartition("@")
    if domain.isascii():
        return f"{local}{at}{domain}"
    try:
        return f"{local}{at}{domain.encode('idna').decode()}"
    except UnicodeError:
        return f"{local}{at}{domain}"


def shown(address: str) -> str:
    """`Name <address>` in ASCII, for a header."""
    return formataddr((parseaddr(address)[0], bare(address)))


def build(mail: OutgoingMail, extra: Mapping[str, str]) -> bytes:
    """The message with our own headers added. Raises Unbuildable for what no message can carry."""
    try:
        return _build(mail, extra)
    except _FAULTS:
        raise Unbuildable("The mail cannot be written as a message.") from None


def _build(mail: OutgoingMail, extra: Mapping[str, str]) -> bytes:
    message = EmailMessage(policy=_POLICY)
    message["From"] = _address(mail.sender)
    message["To"] = [_address(to) for to in mail.to]
    if mail.cc:
        message["Cc"] = [_address(cc) for cc in mail.cc]
    if mail.reply_to:
        message["Reply-To"] = [_address(to) for to in mail.reply_to]
    message["Subject"] = mail.subject
    message["Date"] = format_datetime(_made_at(mail.ref))
    for name, value in sorted(mail.headers.items()):
        message[name] = value
    for name, value in extra.items():
        message[name] = value
    _fill(message, mail)
    _name_boundaries(message, mail.ref)
    _require_whole_lines(message)
    return message.as_bytes()


def _require_whole_lines(message: EmailMessage) -> None:
    """The library decodes encoded words, and would write the line breaks out that some of them hide."""
    for part in message.walk():
        for value in part.values():
            if breaks_line(str(value)):
                raise ValueError("A header would not be one line.")


def _address(address: str) -> Address:
    return Address(parseaddr(address)[0], addr_spec=bare(address))


def _made_at(ref: str) -> datetime:
    """When the mail was made, out of its own id: a repeat carries the same date."""
    try:
        made = UUID(hex=ref.replace("-", "")[-32:])
    except ValueError:
        return datetime.now(UTC)
    return time_of(made) if made.version == 7 else datetime.now(UTC)


def _fill(message: EmailMessage, mail: OutgoingMail) -> None:
    inline = [a for a in mail.attachments if a.content_id and mail.html is not None]
    if mail.text is not None or mail.html is None:
        message.set_content(mail.text or "", cte="quoted-printable")
        if mail.html is not None:
            message.add_alternative(mail.html, subtype="html", cte="quoted-printable")
    else:
        message.set_content(mail.html, subtype="html", cte="quoted-printable")
    holder = message
    if inline and message.get_content_type() == "multipart/alternative":
        holder = list(message.iter_parts())[-1]  # type: ignore[assignment]  # EmailMessages all
    for attachment in inline:
        holder.add_related(
            base64.b64decode(attachment.content),
            *_type(attachment),
            cid=f"<{attachment.content_id}>",
            filename=attachment.filename,
            disposition="inline",
        )
    for attachment in mail.attachments:
        if attachment not in inline:
            message.add_attachment(
                base64.b64decode(attachment.content),
                *_type(attachment),
                filename=attachment.filename,
            )


def _type(attachment: Attachment) -> tuple[str, str]:
    guessed = attachment.content_type or mimetypes.guess_type(attachment.filename)[0]
    main, _, sub = (guessed or "application/octet-stream").partition(";")[0].strip().partition("/")
    # A message inside a message may not be encoded; as plain bytes it may.
    return (
        (main, sub)
        if sub and main not in ("message", "multipart")
        else ("application", "octet-stream")
    )


def _name_boundaries(message: EmailMessage, ref: str) -> None:
    for number, part in enumerate(_multiparts(message)):
        part.set_boundary(f"=_{hashlib.sha256(f'{ref}:{number}'.encode()).hexdigest()[:32]}")


def _multiparts(message: EmailMessage) -> Iterator[EmailMessage]:
    for part in message.walk():
        if part.is_multipart() and isinstance(part, EmailMessage):
            yield part
