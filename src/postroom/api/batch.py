"""Sending up to a hundred mails in one request: each is judged for itself, all good ones are taken together."""

import asyncio
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, TypeAdapter

from postroom.api import send
from postroom.api.body import parse_json, read_bytes, repeatable, takes_list, validate
from postroom.api.deps import AsAdmin, ByKey
from postroom.api.envelope import Success, errors, json_response
from postroom.api.mail_body import SendRequest
from postroom.domain.accept import Acceptor, Composed, Letter
from postroom.domain.connections import OpenConnection
from postroom.domain.projects import Caller
from postroom.domain.submissions import Accepted
from postroom.errors import InvalidPayload, Issue

router = APIRouter(tags=["Sending"])

MOST = 100
INVALID = "Invalid batch mail payload."
_BREATHE_EVERY = 10  # mails, after which others have their turn

_ITEM: TypeAdapter[SendRequest] = TypeAdapter(SendRequest)

Checked = Letter | SendRequest | InvalidPayload


class BatchAccepted(BaseModel):
    """A mail that is on disk."""

    id: str


class BatchError(BaseModel):
    code: str
    message: str


class BatchRefused(BaseModel):
    """A mail that was not taken; the others were."""

    error: BatchError


BatchItem = BatchAccepted | BatchRefused


def _check(item: Any) -> Checked:
    try:
        return send.checked(validate(_ITEM, item, no_object="Invalid mail payload."))
    except InvalidPayload as problem:
        return problem


def _check_all(body: bytes) -> list[Checked]:
    data = parse_json(body)
    if not isinstance(data, list) or not 1 <= len(data) <= MOST:
        raise InvalidPayload(INVALID)
    return [_check(item) for item in data]


async def _compose(
    acceptor: Acceptor, caller: Caller, sending: OpenConnection, item: Checked
) -> Composed | InvalidPayload:
    """One item as a mail for the intake, or what is wrong with it."""
    if isinstance(item, InvalidPayload):
        return item
    try:
        letter = item if isinstance(item, Letter) else await send.filled(acceptor, caller, item)
        return await acceptor.compose(caller, sending, letter)
    except InvalidPayload as problem:
        return problem


async def _compose_all(
    acceptor: Acceptor, caller: Caller, items: list[Checked]
) -> list[Composed | InvalidPayload]:
    sending = await acceptor.sending(caller)
    composed = []
    for i, item in enumerate(items, start=1):
        composed.append(await _compose(acceptor, caller, sending, item))
        if i % _BREATHE_EVERY == 0:
            await asyncio.sleep(0)
    return composed


def _all_bad(items: list[Composed | InvalidPayload]) -> InvalidPayload:
    """The batch as a whole is refused, and each item says why."""
    issues = []
    for i, item in enumerate(items):
        if isinstance(item, InvalidPayload):
            found = item.issues or (Issue("", item.message),)
            issues += [Issue(f"{i}.{issue.path}".rstrip("."), issue.message) for issue in found]
    return InvalidPayload(INVALID, issues=issues)


def _told(item: Composed | InvalidPayload) -> dict[str, Any]:
    if isinstance(item, InvalidPayload):
        return {"error": {"code": item.code, "message": item.message}}
    return {"id": str(item.mail.id)}


async def accept_batch(
    acceptor: Acceptor, caller: Caller, body: bytes, key: str | None
) -> Accepted:
    """Check each mail and write all good ones down in one step."""
    if len(body) > send.LARGE_BODY:
        checked = await asyncio.to_thread(_check_all, body)
    else:
        checked = _check_all(body)
    items = await _compose_all(acceptor, caller, checked)
    mails = [item.mail for item in items if isinstance(item, Composed)]
    if not mails:
        raise _all_bad(items)

    def answer(_: int) -> dict[str, Any]:
        said = f"Successfully dispatched batch of {len(mails)} emails."
        return {"success": True, "data": [_told(item) for item in items], "message": said}

    named = send.keyed(key, "send-batch", parse_json(body)) if key is not None else None
    return await acceptor.submit(caller, mails, answer, named)


async def _send_batch(request: Request, caller: Caller) -> Response:
    key = request.headers.get("idempotency-key")
    body = await read_bytes(request)
    accepted = await accept_batch(request.app.state.acceptor, caller, body, key)
    return json_response(accepted.answer, 200, send.replayed(accepted))


@router.post(
    "/api/mail/send-batch",
    summary="Send up to 100 mails",
    response_model=Success[list[BatchItem]],
    responses=errors(*send.STATUSES),
    openapi_extra=repeatable(takes_list(SendRequest, MOST)),
)
async def send_batch(request: Request, caller: ByKey) -> Response:
    """One result for each mail, in order; a bad one does not keep the others back."""
    return await _send_batch(request, caller)


@router.post(
    "/api/projects/{projectId}/mail/send-batch",
    summary="Send up to 100 mails from the dashboard",
    response_model=Success[list[BatchItem]],
    responses=errors(*send.STATUSES, 404),
    openapi_extra=repeatable(takes_list(SendRequest, MOST)),
)
async def send_batch_from_dashboard(request: Request, caller: AsAdmin) -> Response:
    """The same as `POST /api/mail/send-batch`, for members of the project."""
    return await _send_batch(request, caller)
