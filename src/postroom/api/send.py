"""Sending: one mail is checked, handed to the domain, and answered when it is on disk."""

import asyncio
import hashlib
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.alias_generators import to_camel

from postroom.api.body import (
    parse_json,
    read_bytes,
    refuse_too_many_values,
    repeatable,
    takes,
    validate,
)
from postroom.api.deps import AsAdmin, ByKey
from postroom.api.envelope import BODY, Success, errors, json_response
from postroom.api.mail_body import SendRequest, letter_of
from postroom.domain.accept import Acceptor, Composed, Letter
from postroom.domain.idempotency import Keyed
from postroom.domain.projects import Caller
from postroom.domain.submissions import Accepted
from postroom.errors import InvalidPayload

router = APIRouter(tags=["Sending"])

_SEND: TypeAdapter[SendRequest] = TypeAdapter(SendRequest)
LARGE_BODY = 262_144
QUEUED = "Mail queued successfully."
STATUSES = (*BODY, 401, 403, 409, 429)


class TemplateUsed(BaseModel):
    """The template that a mail was made of."""

    id: str
    scope: Literal["project", "global"]
    key: str
    name: str


class Queued(BaseModel):
    """A mail that is on disk; `id` works in every route of the log."""

    id: str
    provider: Literal["byok", "default"]
    monthly_usage: int
    monthly_limit: Annotated[int, Field(description="-1: unlimited.")]
    sender: Annotated[str, Field(alias="from")]
    template_used: TemplateUsed | None = None

    model_config = ConfigDict(alias_generator=to_camel)


def keyed(key: str | None, route: str, data: Any) -> Keyed | None:
    """The client's Idempotency-Key, with a hash of what it stands for."""
    if key is None:
        return None
    if not 1 <= len(key) <= 256:
        raise InvalidPayload(
            "Idempotency-Key must have 1 to 256 characters.", code="invalid_idempotency_key"
        )
    plain = orjson.dumps(data, option=orjson.OPT_SORT_KEYS)
    return Keyed(f"{route}:{key}", hashlib.sha256(plain).digest())


def replayed(accepted: Accepted) -> dict[str, str]:
    """What a repeat's answer says of itself."""
    return {"Idempotent-Replayed": "true"} if accepted.replayed else {}


def queued(caller: Caller, composed: Composed, letter: Letter, usage: int) -> dict[str, Any]:
    """The documented data of an accepted mail."""
    data: dict[str, Any] = {
        "id": str(composed.mail.id),
        "provider": "byok" if caller.connection and caller.connection.own else "default",
        "monthlyUsage": usage,
        "monthlyLimit": caller.plan.monthly_limit,
        "from": composed.sender,
    }
    if letter.template is not None:
        data["templateUsed"] = letter.template
    return data


def parse(body: bytes) -> SendRequest:
    """A request's bytes as a mail: one pass over them, and a second one only to say what is wrong."""
    refuse_too_many_values(body)
    if b"\\u0000" not in body:
        try:
            return _SEND.validate_json(body)
        except ValidationError:
            pass  # the second pass finds the same, and the words for it
    return validate(_SEND, parse_json(body), no_object="Invalid mail payload.")


def checked(body: SendRequest) -> Letter | SendRequest:
    """The mail, or the request as it is when a template has to be filled first."""
    return body if body.must_be_filled else letter_of(body)


async def letter_from(acceptor: Acceptor, caller: Caller, body: bytes) -> Letter:
    """Check a mail and fill it; a large one away from the event loop."""
    if len(body) > LARGE_BODY:
        found = await asyncio.to_thread(lambda: checked(parse(body)))
    else:
        found = checked(parse(body))
    return found if isinstance(found, Letter) else await filled(acceptor, caller, found)


async def filled(acceptor: Acceptor, caller: Caller, body: SendRequest) -> Letter:
    """The mail that a template or variables have a part in."""
    texts = await acceptor.fill(caller, body.wish)
    if body.attachments:
        return await asyncio.to_thread(letter_of, body, texts)
    return letter_of(body, texts)


async def accept(acceptor: Acceptor, caller: Caller, body: bytes, key: str | None) -> Accepted:
    """Check a mail and write it down."""
    letter = await letter_from(acceptor, caller, body)
    sending = await acceptor.sending(caller)
    composed = await acceptor.compose(caller, sending, letter)
    return await _put(acceptor, caller, letter, composed, _named(key, body))


def accept_now(
    acceptor: Acceptor, caller: Caller, body: bytes, key: str | None
) -> asyncio.Future[Accepted]:
    """The same for a small body, without a task where nothing has to be waited for but the disk.

    Raises what is wrong with the mail; cancelling drops a mail that was not taken up yet.
    """
    found = checked(parse(body))
    sending = acceptor.sending_now(caller)
    if sending is None or not isinstance(found, Letter):
        return asyncio.ensure_future(accept(acceptor, caller, body, key))
    composed = acceptor.compose_now(caller, sending, found)
    return _put(acceptor, caller, found, composed, _named(key, body))


def _put(
    acceptor: Acceptor, caller: Caller, letter: Letter, composed: Composed, named: Keyed | None
) -> asyncio.Future[Accepted]:
    def full_answer(usage: int) -> dict[str, Any]:
        data = queued(caller, composed, letter, usage)
        return {"success": True, "data": data, "message": QUEUED}

    return acceptor.put(caller, [composed.mail], full_answer, named)


def _named(key: str | None, body: bytes) -> Keyed | None:
    return None if key is None else keyed(key, "send", parse_json(body))


async def _send(request: Request, caller: Caller) -> Response:
    key = request.headers.get("idempotency-key")
    accepted = await accept(request.app.state.acceptor, caller, await read_bytes(request), key)
    return json_response(accepted.answer, 200, replayed(accepted))


@router.post(
    "/api/mail/send",
    summary="Send a mail",
    response_model=Success[Queued],
    responses=errors(*STATUSES),
    openapi_extra=repeatable(takes(SendRequest)),
)
async def send_mail(request: Request, caller: ByKey) -> Response:
    """Write a mail down and answer; it is handed to the provider within moments."""
    return await _send(request, caller)


@router.post(
    "/api/projects/{projectId}/mail/send",
    summary="Send a mail from the dashboard",
    response_model=Success[Queued],
    responses=errors(*STATUSES, 404),
    openapi_extra=repeatable(takes(SendRequest)),
)
async def send_from_dashboard(request: Request, caller: AsAdmin) -> Response:
    """The same as `POST /api/mail/send`, for members of the project."""
    return await _send(request, caller)
