"""What a client may say of a mail: `SendRequest`, checked in one pass."""

import base64
import binascii
import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel

from postroom.domain.accept import Letter
from postroom.domain.filling import Filled, Wish
from postroom.domain.mailboxes import INVALID_RECIPIENT, mailbox
from postroom.domain.rendering import Texts
from postroom.errors import InvalidPayload, Issue
from postroom.providers.base import Attachment

MAX_RECIPIENTS = 50
MAX_SUBJECT = 998
MAX_TAGS = 10
MAX_HEADERS = 100
MAX_ATTACHMENTS = 100
SCHEDULE_AHEAD = timedelta(days=30)

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_TAG = r"^[A-Za-z0-9_-]{1,256}$"
_HEADER_NAME = re.compile(r"[!-9;-~]{1,200}")
_MEDIA_TYPE = re.compile(r"[\w!#$&^.+-]{1,127}/[\w!#$&^.+-]{1,127}(?:;[ -~]{0,200})?")
# These are made from fields of their own, or by whoever hands the mail over.
_OWN_HEADERS = frozenset(
    (
        "from", "to", "cc", "bcc", "subject", "reply-to", "sender", "return-path", "received", "date",
        "mime-version", "content-type", "content-transfer-encoding", "dkim-signature",
    )
)  # fmt: skip


def _mailboxes(value: Any) -> Any:
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else value


def _one_line(value: str) -> str:
    if "\r" in value or "\n" in value:
        raise ValueError("Line breaks are not allowed here.")
    return value


def _is_media_type(value: str) -> str:
    if not _MEDIA_TYPE.fullmatch(value):
        raise ValueError('A content type looks like "text/plain".')
    return value


def _iso(value: Any) -> Any:
    if isinstance(value, datetime):
        return value
    if isinstance(value, str) and not value.strip().lstrip("+-").isdigit():
        return value
    raise ValueError("Give an ISO 8601 date and time, such as 2026-12-24T18:00:00Z.")


Mailbox = Annotated[str, AfterValidator(mailbox)]
Mailboxes = Annotated[tuple[Mailbox, ...], BeforeValidator(_mailboxes)]
OneLine = Annotated[str, AfterValidator(_one_line)]
Moment = Annotated[datetime, BeforeValidator(_iso)]


class _Body(BaseModel):
    model_config = ConfigDict(
        extra="forbid", alias_generator=to_camel, frozen=True, validate_by_alias=True
    )


class AttachmentBody(_Body):
    filename: Annotated[str, Field(min_length=1, max_length=255), AfterValidator(_one_line)]
    content: Annotated[str, Field(description="The file, in base64.")]
    content_type: Annotated[str, AfterValidator(_is_media_type)] | None = None
    content_id: (
        Annotated[str, Field(min_length=1, max_length=127), AfterValidator(_one_line)] | None
    ) = None


class TagBody(_Body):
    name: Annotated[str, Field(pattern=_TAG)]
    value: Annotated[str, Field(pattern=_TAG)]


class SendRequest(_Body):
    """One mail."""

    to: Annotated[
        Mailboxes,
        Field(description="One address, `Name <address>`, or an array of them."),
    ] = ()
    subject: Annotated[str, Field(max_length=MAX_SUBJECT), AfterValidator(_one_line)] | None = None
    html: str | None = None
    text: str | None = None
    sender: Annotated[
        Mailbox | None,
        Field(alias="from", description="Used on the project's own provider connection."),
    ] = None
    cc: Mailboxes = ()
    bcc: Mailboxes = ()
    reply_to: Mailboxes = ()
    headers: Annotated[dict[str, OneLine], Field(default_factory=dict, max_length=MAX_HEADERS)]
    attachments: Annotated[tuple[AttachmentBody, ...], Field(max_length=MAX_ATTACHMENTS)] = ()
    tags: Annotated[tuple[TagBody, ...], Field(max_length=MAX_TAGS)] = ()
    template_id: Annotated[
        str | None, Field(max_length=100, description="One of the project's or a global template.")
    ] = None
    template_name: Annotated[
        str | None,
        Field(max_length=200, description="The key or the name of a template, in any case."),
    ] = None
    variables: Annotated[
        dict[str, Any] | None,
        Field(
            description="For the template, and for subject, html and text of this request,"
            " which are rendered only when this is given."
        ),
    ] = None
    scheduled_at: Annotated[
        Moment | None,
        Field(description="ISO 8601; without a zone it is UTC; at most 30 days ahead."),
    ] = None

    @property
    def must_be_filled(self) -> bool:
        """Whether a template or variables have a part in this mail."""
        named = _named(self.template_id) or _named(self.template_name)
        return self.variables is not None or named is not None

    @property
    def wish(self) -> Wish:
        direct = Texts(self.subject, self.html, self.text)
        named = _named(self.template_id), _named(self.template_name)
        return Wish(direct, *named, self.variables)


def _named(name: str | None) -> str | None:
    """A name that says something; a blank one counts as absent."""
    return (name or "").strip() or None


def letter_of(body: SendRequest, filled: Filled | None = None) -> Letter:
    """The mail that the domain accepts, with its texts if they had to be filled.

    Raises InvalidPayload for what no single field can tell.
    """
    texts = body if filled is None else filled.texts
    _check_recipients(body)
    _check_headers(body.headers)
    if not (texts.subject or "").strip():
        raise InvalidPayload.at("subject", "Subject is required.")
    if not (texts.html or "").strip() and not (texts.text or "").strip():
        raise InvalidPayload.at("html", "Provide at least one of html or text content.")
    return Letter(
        to=body.to,
        subject=texts.subject or "",
        html=texts.html or None,
        text=texts.text,
        sender=body.sender,
        cc=body.cc,
        bcc=body.bcc,
        reply_to=body.reply_to,
        headers=body.headers,
        attachments=tuple([_attachment(i, a) for i, a in enumerate(body.attachments)]),
        tags=tuple([(tag.name, tag.value) for tag in body.tags]),
        scheduled_at=moment_ahead(body.scheduled_at),
        template=filled.used if filled else None,
    )


def _check_recipients(body: SendRequest) -> None:
    if not body.to:
        raise InvalidPayload.at("to", INVALID_RECIPIENT)
    count = len(body.to) + len(body.cc) + len(body.bcc)
    if count > MAX_RECIPIENTS:
        raise InvalidPayload.at(
            "to",
            f"A mail has at most {MAX_RECIPIENTS} recipients in to, cc and bcc; this one has {count}.",
        )


def _check_headers(headers: dict[str, str]) -> None:
    for name, value in headers.items():
        path = f"headers.{name}"
        if not _HEADER_NAME.fullmatch(name):
            raise InvalidPayload.at(
                "headers", "A header name has only visible ASCII characters and no colon."
            )
        if name.lower() in _OWN_HEADERS:
            raise InvalidPayload.at(
                path, f'The header "{name}" is made from its own field or by the provider.'
            )
        if len(value) > 2000 or _CONTROL.search(value):
            raise InvalidPayload.at(
                path, "A header value has at most 2000 characters and no control characters."
            )


def _attachment(index: int, body: AttachmentBody) -> Attachment:
    try:
        base64.b64decode(body.content, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidPayload.at(
            f"attachments.{index}.content",
            "Attachment content must be plain base64, without a data: prefix.",
        ) from None
    if _CONTROL.search(body.filename):
        raise InvalidPayload.at(
            f"attachments.{index}.filename", "A file name has no control characters."
        )
    return Attachment(body.filename, body.content, body.content_type, body.content_id)


def moment_ahead(moment: datetime | None) -> datetime | None:
    """A time to wait for: none when it is past, refused when it is too far ahead."""
    if moment is None:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    now = datetime.now(UTC)
    if moment <= now:
        return None
    if moment > now + SCHEDULE_AHEAD:
        issue = Issue("scheduledAt", "scheduledAt is at most 30 days ahead.")
        raise InvalidPayload(issue.message, issues=[issue])
    return moment
