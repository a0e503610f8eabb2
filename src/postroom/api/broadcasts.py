"""Broadcasts: one mail to a whole audience, by the vendor or by us."""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from pydantic import TypeAdapter

from postroom.api.audiences import VENDOR, DeletedOut, Page, Paging
from postroom.api.body import parse_json, read, read_json, takes, validate
from postroom.api.broadcast_shapes import (
    BroadcastBody,
    BroadcastList,
    BroadcastOut,
    PreviewBody,
    PreviewOut,
    ReachOut,
    RecipientList,
    SendBody,
    TestBody,
    TestOut,
    changes_of,
    draft_of,
    when,
)
from postroom.api.deps import Res
from postroom.api.doors import Shape, both
from postroom.api.envelope import BODY, Success, ok
from postroom.domain import audiences, broadcast_preview, broadcast_recipients
from postroom.domain.audiences import BAD_BROADCAST_ID, BAD_ID, check_ids
from postroom.domain.broadcasts import OwnBroadcasts, check_moved
from postroom.domain.projects import Caller
from postroom.providers.lists import Broadcasts, PageAsked
from postroom.resources import Resources

router = APIRouter(tags=["Broadcasts"])

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
    draft = draft_of(await read(request, _BODY))
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
    changes = changes_of(await read(request, _BODY))
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
    return ok(await keeper.send(broadcast, when(body)), "Broadcast dispatched successfully!")


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
