"""Sending: one mail is checked, handed to the domain, and answered when it is on disk."""

import asyncio
import hashlib
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from pydantic.alias_generators import to_camel

from postroom.api.body import read_json, takes, validate
from postroom.api.deps import AsAdmin, ByKey
from postroom.api.envelope import BODY, Success, errors, json_response
from postroom.api.mail_body import SendRequest, letter_of
from postroom.domain.accept import Acceptor, Composed, Letter
from postroom.domain.intake import Accepted, Keyed
from postroom.domain.projects import Caller
from postroom.errors import InvalidPayload

router = APIRouter(tags=["Sending"])

_SEND: TypeAdapter[SendRequest] = TypeAdapter(SendRequest)
LARGE_BODY = 262_144
QUEUED = "Mail queued successfully."
STATUSES = (*BODY, 401, 403, 409, 429)


class Queued(BaseModel):
    """A mail that is on disk; `id` works in every route of the log."""

    id: str
    provider: Literal["byok", "default"]
    monthly_usage: int
    monthly_limit: Annotated[int, Field(description="-1: unlimited.")]
    sender: Annotated[str, Field(alias="from")]

    model_config = ConfigDict(alias_generator=to_camel)


def idempotency(request: Request, route: str, data: Any) -> Keyed | None:
    """The client's Idempotency-Key, with a hash of what it stands for."""
    key = request.headers.get("idempotency-key")
    if key is None:
        return None
    if not 1 <= len(key) <= 256:
        raise InvalidPayload(
            "Idempotency-Key must have 1 to 256 characters.", code="invalid_idempotency_key"
        )
    plain = orjson.dumps(data, option=orjson.OPT_SORT_KEYS)
    return Keyed(f"{route}:{key}", hashlib.sha256(plain).digest())


def answer(accepted: Accepted) -> Response:
    """The envelope that was kept with the mail; a repeat says that it is one."""
    headers = {"Idempotent-Replayed": "true"} if accepted.replayed else None
    return json_response({"success": True, **accepted.answer}, 200, headers)


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


async def parse(data: Any, size: int) -> Letter:
    """Check a mail; a large one away from the event loop."""

    def check() -> Letter:
        return letter_of(validate(_SEND, data, no_object="Invalid mail payload."))

    return await asyncio.to_thread(check) if size > LARGE_BODY else check()


async def _send(request: Request, caller: Caller) -> Response:
    data = await read_json(request)
    letter = await parse(data, int(request.headers.get("content-length") or LARGE_BODY + 1))
    acceptor: Acceptor = request.app.state.acceptor
    sending = await acceptor.sending(caller)
    composed = await acceptor.compose(caller, sending, letter)

    def full_answer(usage: int) -> dict[str, Any]:
        return {"data": queued(caller, composed, letter, usage), "message": QUEUED}

    keyed = idempotency(request, "send", data)
    return answer(await acceptor.submit(caller, [composed.mail], full_answer, keyed))


@router.post(
    "/api/mail/send",
    summary="Send a mail",
    response_model=Success[Queued],
    responses=errors(*STATUSES),
    openapi_extra=takes(SendRequest),
)
async def send_mail(request: Request, caller: ByKey) -> Response:
    """Write a mail down and answer; it is handed to the provider within moments."""
    return await _send(request, caller)


@router.post(
    "/api/projects/{projectId}/mail/send",
    summary="Send a mail from the dashboard",
    response_model=Success[Queued],
    responses=errors(*STATUSES, 404),
    openapi_extra=takes(SendRequest),
)
async def send_from_dashboard(request: Request, caller: AsAdmin) -> Response:
    """The same as `POST /api/mail/send`, for members of the project."""
    return await _send(request, caller)
