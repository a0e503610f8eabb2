"""The log over HTTP: lists and single mails, by key and by bearer."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from postroom.api.deps import AsViewer, ByKey, Res
from postroom.api.envelope import Success, errors, ok
from postroom.domain import logs
from postroom.domain.logs import STREAMS, Filters
from postroom.domain.projects import Caller
from postroom.domain.status import STATES_SHOWN_AS, State
from postroom.errors import InvalidPayload
from postroom.resources import Resources

router = APIRouter(tags=["Logs"])

RETRIEVED = "Mail logs retrieved successfully."
STATUS_RETRIEVED = "Mail status retrieved successfully."


class _Out(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel)


class RecipientOut(_Out):
    address: str
    status: str
    reason: str | None


class MailOut(_Out):
    """One mail of the log."""

    id: str
    resend_email_id: Annotated[str | None, Field(description="The provider's id, whichever it is.")]
    provider: str | None
    to: list[str]
    sender: Annotated[str | None, Field(alias="from")]
    subject: str | None
    status: str
    outcome_unknown: bool
    using_byok: bool
    template_used: dict[str, Any] | None
    sent_at: datetime | None
    created_at: datetime
    scheduled_at: datetime | None
    last_error: str | None
    attempts: int
    tags: list[dict[str, str]]
    stream: str
    recipients: list[RecipientOut]


class EventOut(_Out):
    type: str
    at: datetime
    recipient: str | None
    reason: str | None
    code: str | None
    source: str


class LiveOut(BaseModel):
    """One mail with its timeline and the provider's own answer."""

    dbLog: MailOut  # noqa: N815 - documented name
    last_event: str
    resendStatus: dict[str, Any] | None  # noqa: N815 - documented name
    events: list[EventOut]


class PaginationOut(_Out):
    next_cursor: str | None
    limit: int


class MailPage(Success[list[MailOut]]):
    pagination: PaginationOut


class LogQuery(BaseModel):
    """Which mails are asked for."""

    model_config = ConfigDict(extra="forbid", alias_generator=to_camel)
    status: Annotated[
        list[str],
        Field(
            description="queued, sent, delivered, bounced, complained, failed; repeat for several."
        ),
    ] = []
    to: Annotated[str | None, Field(max_length=320, description="A whole address.")] = None
    q: Annotated[str | None, Field(max_length=200, description="Words of the subject.")] = None
    since: Annotated[datetime | None, Field(alias="from")] = None
    until: datetime | None = None
    stream: Literal["transactional", "bulk"] | None = None
    outcome_unknown: bool | None = None
    limit: Annotated[int, Field(ge=1, le=100)] = 50
    cursor: Annotated[
        str | None, Field(max_length=64, description="`nextCursor` of the page before.")
    ] = None

    def filters(self) -> Filters:
        return Filters(
            states=_states(self.status),
            to=self.to,
            subject=self.q,
            since=with_zone(self.since),
            until=with_zone(self.until),
            stream=None if self.stream is None else STREAMS[self.stream],
            outcome_unknown=self.outcome_unknown,
        )


def with_zone(moment: datetime | None) -> datetime | None:
    """A time without a zone is UTC."""
    return moment.replace(tzinfo=UTC) if moment and moment.tzinfo is None else moment


def _states(names: list[str]) -> tuple[State, ...]:
    states: list[State] = []
    for name in [part for value in names for part in value.split(",")]:
        if name not in STATES_SHOWN_AS:
            known = ", ".join(STATES_SHOWN_AS)
            raise InvalidPayload.at("status", f"status must be one of {known}.")
        states += STATES_SHOWN_AS[name]
    return tuple(dict.fromkeys(states))


Asked = Annotated[LogQuery, Query()]


async def _list(resources: Resources, caller: Caller, asked: LogQuery) -> Response:
    async with resources.sessions() as session:
        page = await logs.list_mails(
            session, resources.keys, caller.project_id, asked.filters(), asked.limit, asked.cursor
        )
    pagination = {"nextCursor": page.next_cursor, "limit": asked.limit}
    return ok(page.items, RETRIEVED, pagination=pagination)


async def _one(request: Request, resources: Resources, caller: Caller, any_id: str) -> Response:
    async with resources.sessions() as session:
        row = await logs.find(session, caller.project_id, any_id)
    # Without a transaction open: a vendor may take its time.
    live = await logs.live_status(resources, request.app.state.connections, row)
    async with resources.sessions() as session:
        row = await logs.find(session, caller.project_id, str(row.id))
        events = await logs.timeline(session, resources.keys, row)
    mail = logs.item(resources.keys, row)
    data = {
        "dbLog": mail,
        "last_event": (live.last_event if live else None) or mail["status"],
        "resendStatus": live.raw if live else None,
        "events": events,
    }
    return ok(data, STATUS_RETRIEVED)


@router.get(
    "/api/mail/logs",
    summary="List mails, newest first",
    response_model=MailPage,
    responses=errors(400, 401, 403, 429),
)
async def list_logs(resources: Res, caller: ByKey, asked: Asked) -> Response:
    """50 by default; filters combine."""
    return await _list(resources, caller, asked)


@router.get(
    "/api/projects/{projectId}/mail/logs",
    summary="List mails, newest first",
    response_model=MailPage,
    responses=errors(400, 401, 403, 404),
)
async def list_logs_of_project(resources: Res, caller: AsViewer, asked: Asked) -> Response:
    """50 by default; filters combine."""
    return await _list(resources, caller, asked)


_ONE: dict[str, Any] = {
    "response_model": Success[LiveOut],
    "responses": errors(400, 401, 403, 404, 429, 502, 504),
}


@router.get("/api/mail/logs/{id}", summary="One mail with its live status", **_ONE)
@router.get("/api/mail/logs/{id}/live", summary="One mail with its live status", **_ONE)
async def get_log(
    request: Request, resources: Res, caller: ByKey, any_id: Annotated[str, Path(alias="id")]
) -> Response:
    """By our id or the provider's; the log is brought up to date with what the provider says."""
    return await _one(request, resources, caller, any_id)


@router.get(
    "/api/projects/{projectId}/mail/logs/{id}", summary="One mail with its live status", **_ONE
)
@router.get(
    "/api/projects/{projectId}/mail/logs/{id}/live", summary="One mail with its live status", **_ONE
)
async def get_log_of_project(
    request: Request, resources: Res, caller: AsViewer, any_id: Annotated[str, Path(alias="id")]
) -> Response:
    """By our id or the provider's; the log is brought up to date with what the provider says."""
    return await _one(request, resources, caller, any_id)
