"""Broadcasts: one mail to a whole audience, by the vendor or by us."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from pydantic import BaseModel, Field, TypeAdapter

from postroom.api.audiences import VENDOR, DeletedOut, Page, Paging, Told
from postroom.api.body import parse_json, read, read_json, takes, validate
from postroom.api.deps import Res
from postroom.api.doors import Shape, both
from postroom.api.envelope import BODY, Success, ok
from postroom.api.mail_body import MAX_SUBJECT, Mailbox, Mailboxes, Moment, OneLine, moment_ahead
from postroom.api.shapes import Asked
from postroom.domain import audiences, broadcast_preview, broadcast_recipients
from postroom.domain.audiences import BAD_BROADCAST_ID, BAD_ID, check_ids
from postroom.domain.broadcasts import OwnBroadcasts, check_moved
from postroom.domain.projects import Caller
from postroom.errors import InvalidPayload
from postroom.providers.lists import Broadcasts, Draft, PageAsked
from postroom.resources import Resources

router = APIRouter(tags=["Broadcasts"])

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


_BODY: TypeAdapter[BroadcastBody] = TypeAdapter(BroadcastBody)
_SEND: TypeAdapter[SendBody] = TypeAdapter(SendBody)
_PREVIEW: TypeAdapter[PreviewBody] = TypeAdapter(PreviewBody)
_TEST: TypeAdapter[TestBody] = TypeAdapter(TestBody)

Id = Annotated[str, Path(alias="broadcastId")]
ONE = (400, 404, *VENDOR)


async def _keeper(request: Request, resources: Resources, caller: Caller) -> Broadcasts:
    info = audiences.may_broadcast(caller)
    return await audiences.broadcasts(resources, request.app.state.connections, caller, info)


def _own(resources: Resources, caller: Caller, broadcast_id: str) -> OwnBroadcasts:
    """For what only our own broadcasts can do; the vendor's answer a sentence."""
    check_ids(BAD_BROADCAST_ID, broadcast_id)
    return audiences.own_broadcasts(resources, caller, audiences.may_broadcast(caller))


async def _optional_body(request: Request) -> Any:
    """A body that may be missing altogether, whatever its announced type."""
    body = await request.body()
    if not body.strip():
        return {}
    return await read_json(request) if request.headers.get("content-type") else parse_json(body)


@both(
    router, "GET", "/broadcasts", Shape("List broadcasts", Success[BroadcastList], (400, *VENDOR))
)
async def list_broadcasts(
    request: Request, resources: Res, caller: Caller, asked: Page
) -> Response:
    """Newest first, where we keep them."""
    keeper = await _keeper(request, resources, caller)
    return ok(await keeper.list_broadcasts(asked.page()), "Broadcasts retrieved successfully.")


@both(
    router,
    "POST",
    "/broadcasts",
    Shape("Create a broadcast", Success[BroadcastOut], (*BODY, 404, *VENDOR), takes(BroadcastBody)),
)
async def create_broadcast(request: Request, resources: Res, caller: Caller) -> Response:
    """A draft; nothing leaves before it is sent."""
    audiences.may_broadcast(caller)
    draft = _draft(await read(request, _BODY))
    keeper = await _keeper(request, resources, caller)
    return ok(await keeper.create(draft), "Broadcast created successfully.")


@both(
    router,
    "GET",
    "/broadcasts/{broadcastId}",
    Shape("One broadcast", Success[BroadcastOut], ONE),
)
async def get_broadcast(
    request: Request, resources: Res, caller: Caller, broadcast: Id
) -> Response:
    """Where we send it, with counts that add up."""
    check_ids(BAD_BROADCAST_ID, broadcast)
    keeper = await _keeper(request, resources, caller)
    return ok(await keeper.get(broadcast), "Broadcast retrieved successfully.")


@both(
    router,
    "PATCH",
    "/broadcasts/{broadcastId}",
    Shape("Change a draft", Success[BroadcastOut], (*BODY, 404, *VENDOR), takes(BroadcastBody)),
)
async def update_broadcast(
    request: Request, resources: Res, caller: Caller, broadcast: Id
) -> Response:
    """Only what is named changes."""
    check_ids(BAD_BROADCAST_ID, broadcast)
    audiences.may_broadcast(caller)
    changes = _changes(await read(request, _BODY))
    keeper = await _keeper(request, resources, caller)
    return ok(await keeper.update(broadcast, changes), "Broadcast updated successfully.")


@both(
    router,
    "DELETE",
    "/broadcasts/{broadcastId}",
    Shape("Delete a broadcast", Success[DeletedOut], ONE),
)
async def delete_broadcast(
    request: Request, resources: Res, caller: Caller, broadcast: Id
) -> Response:
    """Drafts and scheduled ones."""
    check_ids(BAD_BROADCAST_ID, broadcast)
    keeper = await _keeper(request, resources, caller)
    return ok(await keeper.delete(broadcast), "Broadcast deleted successfully.")


@both(
    router,
    "POST",
    "/broadcasts/{broadcastId}/send",
    Shape("Send a broadcast", Success[BroadcastOut], (*BODY, 404, *VENDOR), takes(SendBody)),
)
async def send_broadcast(
    request: Request, resources: Res, caller: Caller, broadcast: Id
) -> Response:
    """Now, at `scheduledAt`, or at the time that was given when it was created."""
    check_ids(BAD_BROADCAST_ID, broadcast)
    info = audiences.may_broadcast(caller)
    body = validate(_SEND, await _optional_body(request))
    if body.expected is not None and not audiences.kept_by_vendor(info):
        async with resources.sessions() as session:
            reach = await broadcast_preview.reach(session, caller, broadcast)
        check_moved(body.expected, reach.recipients)
    keeper = await _keeper(request, resources, caller)
    return ok(await keeper.send(broadcast, _when(body)), "Broadcast dispatched successfully!")


@both(
    router,
    "POST",
    "/broadcasts/{broadcastId}/cancel",
    Shape("Cancel a broadcast", Success[BroadcastOut], ONE),
)
async def cancel_broadcast(
    request: Request, resources: Res, caller: Caller, broadcast: Id
) -> Response:
    """A scheduled one becomes a draft; one under way stops before its next call, and slots come back."""
    check_ids(BAD_BROADCAST_ID, broadcast)
    keeper = await _keeper(request, resources, caller)
    return ok(await keeper.cancel(broadcast), "Broadcast canceled.")


# ── What only our own can do ─────────────────────────────────────────────────────────────────────


@both(
    router,
    "POST",
    "/broadcasts/{broadcastId}/pause",
    Shape("Pause a broadcast", Success[BroadcastOut], (400, 404, 409, 422)),
)
async def pause_broadcast(resources: Res, caller: Caller, broadcast: Id) -> Response:
    """No call begins any more that carries a mail of it; those under way end."""
    return ok(await _own(resources, caller, broadcast).pause(broadcast), "Broadcast paused.")


@both(
    router,
    "POST",
    "/broadcasts/{broadcastId}/resume",
    Shape("Resume a broadcast", Success[BroadcastOut], (400, 404, 409, 422)),
)
async def resume_broadcast(resources: Res, caller: Caller, broadcast: Id) -> Response:
    """It goes on where it stopped."""
    return ok(await _own(resources, caller, broadcast).resume(broadcast), "Broadcast resumed.")


@both(
    router,
    "POST",
    "/broadcasts/{broadcastId}/resend-failed",
    Shape("Send again to those that failed", Success[BroadcastOut], (400, 404, 409, 422)),
)
async def resend_failed(resources: Res, caller: Caller, broadcast: Id) -> Response:
    """New mails for those whose mail failed, a slot each; everybody else is left alone."""
    own = _own(resources, caller, broadcast)
    return ok(await own.resend_failed(broadcast), "Failed mails are sent again.")


@both(
    router,
    "GET",
    "/broadcasts/{broadcastId}/count",
    Shape("How many people", Success[ReachOut], (400, 404, 422)),
)
async def count_people(resources: Res, caller: Caller, broadcast: Id) -> Response:
    """As if it were sent now."""
    _own(resources, caller, broadcast)
    async with resources.sessions() as session:
        reach = await broadcast_preview.reach(session, caller, broadcast)
    return ok(asdict(reach) | {"recipients": reach.recipients})


@both(
    router,
    "GET",
    "/broadcasts/{broadcastId}/recipients",
    Shape("What became of each person", Success[RecipientList], (400, 404, 422)),
)
async def list_recipients(resources: Res, caller: Caller, broadcast: Id, asked: Paging) -> Response:
    """In the order of sending."""
    _own(resources, caller, broadcast)
    page = PageAsked(asked.limit, asked.after)
    async with resources.sessions() as session:
        return ok(
            await broadcast_recipients.list_recipients(session, caller.project_id, broadcast, page)
        )


@both(
    router,
    "POST",
    "/broadcasts/{broadcastId}/preview",
    Shape("Show one person's mail", Success[PreviewOut], (*BODY, 404, 422), takes(PreviewBody)),
)
async def preview_broadcast(
    request: Request, resources: Res, caller: Caller, broadcast: Id
) -> Response:
    """Filled for a contact; its link takes nobody out."""
    _own(resources, caller, broadcast)
    body = validate(_PREVIEW, await _optional_body(request))
    if body.contact_id is not None:
        check_ids(BAD_ID, body.contact_id)
    return ok(await broadcast_preview.preview(resources, caller, broadcast, body.contact_id))


@both(
    router,
    "POST",
    "/broadcasts/{broadcastId}/test",
    Shape("Send a copy to oneself", Success[TestOut], (*BODY, 404, 422), takes(TestBody)),
)
async def test_broadcast(
    request: Request, resources: Res, caller: Caller, broadcast: Id
) -> Response:
    """To at most five addresses, a slot each."""
    _own(resources, caller, broadcast)
    body = await read(request, _TEST)
    ids = await broadcast_preview.send_test(
        resources, request.app.state.acceptor, caller, broadcast, body.to
    )
    return ok({"ids": ids}, "Test mail queued successfully.")


def _when(body: SendBody) -> datetime | None:
    """The time that this request names; a past one is now, and still wins over a remembered one."""
    return moment_ahead(body.scheduled_at) or (datetime.now(UTC) if body.scheduled_at else None)


def _draft(body: BroadcastBody) -> Draft:
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


def _changes(body: BroadcastBody) -> Mapping[str, Any]:
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
