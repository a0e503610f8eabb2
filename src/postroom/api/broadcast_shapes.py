"""What requests about broadcasts bring, and what their answers hold."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BaseModel, Field

from postroom.api.audiences import Told
from postroom.api.mail_body import MAX_SUBJECT, Mailbox, Mailboxes, Moment, OneLine, moment_ahead
from postroom.api.shapes import Asked
from postroom.domain.audiences import BAD_ID, check_ids
from postroom.errors import InvalidPayload
from postroom.providers.lists import Draft

MOST_CONTENT = 1_000_000
REQUIRED = "audienceId, subject, and html are required."

Content = Annotated[str, Field(max_length=MOST_CONTENT)]
Subject = Annotated[OneLine, Field(max_length=MAX_SUBJECT)]


class BroadcastBody(Asked):
    """A broadcast; blanks such as {{{contact.first_name|there}}} are filled for each person."""

    audience_id: str | None = None
    segment_id: Annotated[str | None, Field(description="Another name for audienceId.")] = None
    subject: Subject | None = None
    html: Content | None = None
    text: Content | None = None
    name: Annotated[str, Field(max_length=200)] | None = None
    sender: Annotated[Mailbox | None, Field(alias="from")] = None
    reply_to: Annotated[Mailboxes, Field(max_length=10)] = ()
    scheduled_at: Annotated[
        Moment | None,
        Field(description="Remembered; nothing leaves before the broadcast is sent."),
    ] = None


class SendBody(Asked):
    """When to send, and to how many people it was said to go."""

    scheduled_at: Moment | None = None
    expected: Annotated[
        int | None, Field(ge=0, description="409 when the number has moved by more than 1 %.")
    ] = None


class PreviewBody(Asked):
    """Whose mail to show; without one, the audience's first contact's."""

    contact_id: str | None = None


class TestBody(Asked):
    """Whom to send a copy."""

    __test__ = False
    to: Annotated[Mailboxes, Field(min_length=1, max_length=5)]


class CountsOut(BaseModel):
    """Nine numbers that add up to `audience` at every moment."""

    audience: int
    delivered: int
    sent: int
    bounced: int
    complained: int
    failed: int
    suppressed: int
    unsubscribed: int
    unknown: int
    queued: int


class ProgressOut(BaseModel):
    done: int
    total: int


class BroadcastOut(Told):
    name: str | None = None
    audience_id: str | None = None
    segment_id: str | None = None
    sender: Annotated[str | None, Field(alias="from")] = None
    subject: str | None = None
    status: str | None = None
    pause_reason: str | None = None
    created_at: datetime | None = None
    scheduled_at: datetime | None = None
    sent_at: datetime | None = None
    finished_at: datetime | None = None
    html: str | None = None
    text: str | None = None
    reply_to: list[str] | None = None
    progress: ProgressOut | None = None
    counts: CountsOut | None = None


class BroadcastList(BaseModel):
    object: str = "list"
    has_more: bool = False
    data: list[BroadcastOut]


class RecipientOut(BaseModel):
    """One person of the frozen audience; `status` is one of the nine words that are counted."""

    id: str
    email: str | None
    status: str
    reason: str | None
    mail_id: str | None


class RecipientList(BaseModel):
    object: str = "list"
    has_more: bool = False
    data: list[RecipientOut]


class ReachOut(BaseModel):
    audience: int
    unsubscribed: int
    suppressed: int
    recipients: int


class PreviewOut(BaseModel):
    to: str
    sender: Annotated[str, Field(alias="from")]
    subject: str
    html: str
    text: str | None
    unsubscribe_link: Annotated[bool, Field(description="Whether the mail itself offers one.")]


class TestOut(BaseModel):
    __test__ = False
    ids: list[str]


def when(body: SendBody) -> datetime | None:
    """The time that this request names; a past one is now, and still wins over a remembered one."""
    return moment_ahead(body.scheduled_at) or (datetime.now(UTC) if body.scheduled_at else None)


def draft_of(body: BroadcastBody) -> Draft:
    """A new draft; raises InvalidPayload where something is missing."""
    audience = body.audience_id or body.segment_id
    if not audience or not (body.subject or "").strip() or not (body.html or "").strip():
        raise InvalidPayload(REQUIRED)
    check_ids(BAD_ID, audience)
    return Draft(
        audience_id=audience,
        subject=body.subject or "",
        html=body.html or "",
        text=body.text,
        name=body.name,
        sender=body.sender,
        reply_to=body.reply_to,
        scheduled_at=moment_ahead(body.scheduled_at),
    )


def changes_of(body: BroadcastBody) -> Mapping[str, Any]:
    """What a draft shall have instead, by the names of `Draft`."""
    changes = {name: getattr(body, name) for name in body.model_fields_set}
    if "segment_id" in changes:
        changes.setdefault("audience_id", changes.pop("segment_id"))
    for name in ("audience_id", "subject", "html"):
        if name in changes and not (changes[name] or "").strip():
            raise InvalidPayload(REQUIRED)
    if "audience_id" in changes:
        check_ids(BAD_ID, changes["audience_id"])
    if changes.get("scheduled_at") is not None:
        changes["scheduled_at"] = moment_ahead(changes["scheduled_at"])
    return changes
