"""Repair over HTTP: send a failed mail again, settle one whose outcome is unknown, read what was sent."""

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Request, Response
from pydantic import Field, TypeAdapter

from postroom.api import send
from postroom.api.body import read, repeatable, takes
from postroom.api.deps import AsAdmin, AsViewer, ByKey, Db, Res
from postroom.api.envelope import BODY, Success, errors, json_response, ok
from postroom.api.mail_body import MAX_RECIPIENTS, Mailboxes
from postroom.api.send import Queued
from postroom.api.shapes import Asked, Told
from postroom.domain import repair
from postroom.domain.accept import Acceptor
from postroom.domain.projects import Caller
from postroom.resources import Resources

router = APIRouter(tags=["Logs"])

AnyId = Annotated[str, Path(alias="id")]


class Resolution(Asked):
    """What became of the mail, or what shall become of it."""

    outcome: Literal["sent", "resend", "failed"]


class Again(Asked):
    """Whom the new mail goes to; without it, to those of the failed one."""

    to: Annotated[Mailboxes, Field(max_length=MAX_RECIPIENTS)] = ()


class ResolvedOut(Told):
    id: str
    outcome: Literal["sent", "resend", "failed"]


class AttachmentOut(Told):
    """An attachment without its content."""

    filename: str
    content_type: str | None
    content_id: str | None
    size: Annotated[int, Field(description="Bytes.")]


class ContentOut(Told):
    """A mail as it was, or will be, handed over."""

    sender: Annotated[str, Field(alias="from")]
    to: list[str]
    cc: list[str]
    bcc: list[str]
    reply_to: list[str]
    subject: str
    html: str | None
    text: str | None
    headers: dict[str, str]
    attachments: list[AttachmentOut]
    kept_until: Annotated[
        datetime | None, Field(description="null: for as long as the mail waits.")
    ]


_AGAIN = TypeAdapter(Again)
_RESOLUTION = TypeAdapter(Resolution)

_RESEND: dict[str, Any] = {
    "summary": "Send a failed mail again",
    "response_model": Success[Queued],
    "responses": errors(*BODY, 401, 403, 404, 409, 429),
    "openapi_extra": repeatable(takes(Again, required=False)),
}
_RESOLVE: dict[str, Any] = {
    "summary": "Settle a mail whose outcome is unknown",
    "response_model": Success[ResolvedOut],
    "responses": errors(*BODY, 401, 403, 404, 409, 429),
    "openapi_extra": takes(Resolution),
}


async def _resend(request: Request, resources: Resources, caller: Caller, any_id: str) -> Response:
    async with resources.sessions() as session:
        letter = await repair.letter_again(session, resources.keys, caller.project_id, any_id)
    wanted = await read(request, _AGAIN) if await request.body() else Again()
    if wanted.to:
        letter = letter._replace(to=wanted.to, cc=(), bcc=())
    acceptor: Acceptor = request.app.state.acceptor
    sending = await acceptor.sending(caller)
    composed = await acceptor.compose(caller, sending, letter)

    def full_answer(usage: int) -> dict[str, Any]:
        data = send.queued(caller, composed, letter, usage)
        return {"success": True, "data": data, "message": send.QUEUED}

    # A key makes a second click the same click.
    key = request.headers.get("idempotency-key")
    named = send.keyed(key, "resend", [any_id, wanted.to])
    accepted = await acceptor.submit(caller, [composed.mail], full_answer, named)
    return json_response(accepted.answer, 200, send.replayed(accepted))


async def _resolve(request: Request, resources: Resources, caller: Caller, any_id: str) -> Response:
    outcome = (await read(request, _RESOLUTION)).outcome
    mail_id = await repair.resolve(resources, caller.who, any_id, outcome)
    return ok(ResolvedOut(id=str(mail_id), outcome=outcome), "Mail settled.")


@router.post("/api/mail/logs/{id}/resend", **_RESEND)
async def resend(request: Request, resources: Res, caller: ByKey, any_id: AnyId) -> Response:
    """As a new mail with a slot of its own; the failed one stays as it is."""
    return await _resend(request, resources, caller, any_id)


@router.post("/api/projects/{projectId}/mail/logs/{id}/resend", **_RESEND)
async def resend_in_project(
    request: Request, resources: Res, caller: AsAdmin, any_id: AnyId
) -> Response:
    """As a new mail with a slot of its own; the failed one stays as it is."""
    return await _resend(request, resources, caller, any_id)


@router.post("/api/mail/logs/{id}/resolve", **_RESOLVE)
async def resolve(request: Request, resources: Res, caller: ByKey, any_id: AnyId) -> Response:
    """`sent`: it arrived. `failed`: it did not, and its slot comes back. `resend`: hand it over anew."""
    return await _resolve(request, resources, caller, any_id)


@router.post("/api/projects/{projectId}/mail/logs/{id}/resolve", **_RESOLVE)
async def resolve_in_project(
    request: Request, resources: Res, caller: AsAdmin, any_id: AnyId
) -> Response:
    """`sent`: it arrived. `failed`: it did not, and its slot comes back. `resend`: hand it over anew."""
    return await _resolve(request, resources, caller, any_id)


@router.get(
    "/api/projects/{projectId}/mail/logs/{id}/content",
    summary="What a mail says",
    response_model=Success[ContentOut],
    responses=errors(400, 401, 403, 404, 409, 410),
)
async def content(resources: Res, session: Db, caller: AsViewer, any_id: AnyId) -> Response:
    """While the mail waits, and then for as long as `contentRetentionDays` says; each reading is noted."""
    kept = await repair.read_content(session, resources.keys, caller.who, any_id)
    mail = kept.mail
    out = ContentOut(
        sender=mail.sender,
        to=list(mail.to),
        cc=list(mail.cc),
        bcc=list(mail.bcc),
        reply_to=list(mail.reply_to),
        subject=mail.subject,
        html=mail.html,
        text=mail.text,
        headers=dict(mail.headers),
        attachments=[
            AttachmentOut(
                filename=a.filename,
                content_type=a.content_type,
                content_id=a.content_id,
                size=len(a.content.rstrip("=")) * 3 // 4,
            )
            for a in mail.attachments
        ],
        kept_until=kept.kept_until,
    )
    return ok(out, "Mail content retrieved.")
