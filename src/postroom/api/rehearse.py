"""Rehearsing a move to another provider, over HTTP."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Request, Response
from pydantic import Field, TypeAdapter

from postroom.api.body import read, takes
from postroom.api.deps import AsAdmin, Res
from postroom.api.envelope import BODY, Success, errors, ok
from postroom.api.shapes import Asked, Told
from postroom.domain import rehearse

router = APIRouter(prefix="/api/projects/{projectId}/mail/providers", tags=["Providers"])


class RehearseRequest(Asked):
    """To which provider, and how many of the last mails are looked at."""

    to: Annotated[str, Field(max_length=32)]
    last: Annotated[int, Field(ge=1, le=rehearse.MOST)] = rehearse.USUAL


class RefusalOut(Told):
    reason: str
    mails: int
    examples: list[UUID]


class LossOut(Told):
    what: str
    detail: str
    mails: int | None


class StepOut(Told):
    key: str
    title: str
    detail: str
    done: bool | None


class RehearsalOut(Told):
    """What a move would bring; nothing was sent."""

    provider: str
    current: str | None
    mails: int
    whole_mails: int
    carried: int
    refused: list[RefusalOut]
    lost: list[LossOut]
    checklist: list[StepOut]


_REQUEST: TypeAdapter[RehearseRequest] = TypeAdapter(RehearseRequest)


@router.post(
    "/rehearse",
    summary="Try a move to another provider without sending",
    response_model=Success[RehearsalOut],
    responses=errors(*BODY, 401, 403, 404, 422),
    openapi_extra=takes(RehearseRequest),
)
async def rehearse_move(request: Request, caller: AsAdmin, res: Res) -> Response:
    """Builds the project's last mails and checks them against the provider's limits."""
    asked = await read(request, _REQUEST)
    found = await rehearse.rehearse(res, caller.project_id, asked.to, asked.last)
    return ok(RehearsalOut.model_validate(found))
