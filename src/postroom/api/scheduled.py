"""Mails that wait for their time, over HTTP."""

from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Path, Request, Response
from pydantic import BaseModel, ConfigDict, TypeAdapter
from pydantic.alias_generators import to_camel

from postroom.api.body import read, takes
from postroom.api.deps import AsAdmin, ByKey, Db, Res
from postroom.api.envelope import BODY, Nothing, Success, errors, ok
from postroom.api.mail_body import Moment, moment_ahead
from postroom.domain import schedule
from postroom.domain.projects import Caller
from postroom.errors import NotFound
from postroom.resources import Resources, Session

router = APIRouter(tags=["Scheduling"])


class Reschedule(BaseModel):
    """Another time for a scheduled mail; a past one means now."""

    model_config = ConfigDict(extra="forbid", alias_generator=to_camel)
    scheduled_at: Moment


_MOVE: TypeAdapter[Reschedule] = TypeAdapter(Reschedule)


def _mail_id(value: str) -> UUID:
    try:
        return UUID(value)
    except ValueError:
        raise NotFound("Mail log entry not found for this project.") from None


MailId = Annotated[str, Path(alias="id")]
_CANCEL: dict[str, Any] = {
    "response_model": Success[Nothing],
    "responses": errors(401, 403, 404, 409, 429),
}
_CHANGE: dict[str, Any] = {
    "response_model": Success[Nothing],
    "responses": errors(*BODY, 401, 403, 404, 409, 429),
    "openapi_extra": takes(Reschedule),
}


async def _cancel(resources: Resources, session: Session, caller: Caller, mail: str) -> Response:
    await schedule.cancel(session, resources.redis, caller.project_id, _mail_id(mail))
    return ok({}, "Mail canceled.")


async def _move(request: Request, session: Session, caller: Caller, mail: str) -> Response:
    body = await read(request, _MOVE)
    until = moment_ahead(body.scheduled_at) or datetime.now(UTC)
    await schedule.move(session, caller.project_id, _mail_id(mail), until)
    return ok({}, "Mail rescheduled.")


@router.delete("/api/mail/scheduled/{id}", summary="Cancel a mail", **_CANCEL)
async def cancel(resources: Res, session: Db, caller: ByKey, mail: MailId) -> Response:
    """Cancel a mail that was not handed over yet; its slot comes back."""
    return await _cancel(resources, session, caller, mail)


@router.delete("/api/projects/{projectId}/mail/scheduled/{id}", summary="Cancel a mail", **_CANCEL)
async def cancel_in_project(resources: Res, session: Db, caller: AsAdmin, mail: MailId) -> Response:
    """Cancel a mail that was not handed over yet; its slot comes back."""
    return await _cancel(resources, session, caller, mail)


@router.patch("/api/mail/scheduled/{id}", summary="Move a mail to another time", **_CHANGE)
async def move(request: Request, session: Db, caller: ByKey, mail: MailId) -> Response:
    """Give a mail that was not handed over yet another time."""
    return await _move(request, session, caller, mail)


@router.patch(
    "/api/projects/{projectId}/mail/scheduled/{id}",
    summary="Move a mail to another time",
    **_CHANGE,
)
async def move_in_project(request: Request, session: Db, caller: AsAdmin, mail: MailId) -> Response:
    """Give a mail that was not handed over yet another time."""
    return await _move(request, session, caller, mail)
