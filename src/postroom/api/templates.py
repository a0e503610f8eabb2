"""Templates over HTTP: written and tried in the dashboard, read with a key."""

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Request, Response
from pydantic import AfterValidator, Field, StringConstraints, TypeAdapter

from postroom.api.body import read, takes
from postroom.api.deps import AsAdmin, AsViewer, ByKey, Db, Res
from postroom.api.envelope import BODY, Nothing, Success, errors, ok
from postroom.api.mail_body import MAX_SUBJECT
from postroom.api.shapes import Asked, Told
from postroom.domain import templates
from postroom.domain.filling import Filler
from postroom.domain.projects import Caller
from postroom.domain.rendering import Texts
from postroom.domain.templates import Draft
from postroom.errors import InvalidPayload
from postroom.models import MailTemplate
from postroom.resources import Session

router = APIRouter(tags=["Templates"])

_BASE = "/api/projects/{projectId}/mail/templates"


def _blank_is_none(value: str | None) -> str | None:
    return value if value and value.strip() else None


Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100)]
Key = Annotated[str, StringConstraints(strip_whitespace=True, max_length=100)]
Subject = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_SUBJECT)
]
Body = Annotated[str | None, AfterValidator(_blank_is_none)]


class TemplateCreate(Asked):
    """A new template; without a key it gets one made of its name."""

    key: Key | None = None
    name: Name
    subject: Subject
    html: Body = None
    text: Body = None


class TemplateChange(Asked):
    """What is named is changed; `null` removes html or text."""

    key: Key = ""
    name: Name = ""
    subject: Subject = ""
    html: Body = None
    text: Body = None


class TemplateSample(Asked):
    """Variables to try a kept template with."""

    variables: dict[str, Any] = {}


class TemplateTrial(TemplateSample):
    """Texts that are not kept yet, and variables to try them with."""

    subject: Annotated[str | None, Field(max_length=MAX_SUBJECT)] = None
    html: str | None = None
    text: str | None = None


class TemplateOut(Told):
    """A template in a list."""

    id: str
    key: str
    name: str
    subject: str
    scope: Literal["project", "global"]
    shadows: Annotated[bool, Field(description="A global one of its key or name is hidden.")] = (
        False
    )
    updated_at: datetime


class WholeTemplate(Told):
    """A template with its texts."""

    id: str
    key: str
    name: str
    subject: str
    html: str | None
    text: str | None
    scope: Literal["project", "global"]
    is_system: bool
    updated_at: datetime


class TemplateList(Told):
    templates: list[TemplateOut]


class OneTemplate(Told):
    template: WholeTemplate


class PreviewOut(Told):
    """What a mail would say; `missing` are variables that were asked for and not given."""

    subject: str | None
    html: str | None
    text: str | None
    missing: list[str]


_CREATE = TypeAdapter(TemplateCreate)
_CHANGE = TypeAdapter(TemplateChange)
_SAMPLE = TypeAdapter(TemplateSample)
_TRIAL = TypeAdapter(TemplateTrial)

TemplateId = Annotated[str, Path(alias="templateId")]


def _whole(template: MailTemplate) -> OneTemplate:
    scope: Literal["project", "global"] = "global" if template.project_id is None else "project"
    return OneTemplate(
        template=WholeTemplate(
            id=template.id,
            key=template.key,
            name=template.name,
            subject=template.subject,
            html=template.html,
            text=template.text,
            scope=scope,
            is_system=scope == "global",
            updated_at=template.updated_at,
        )
    )


def _listed(views: list[templates.TemplateView]) -> TemplateList:
    return TemplateList(templates=[TemplateOut.model_validate(view) for view in views])


def _filler(request: Request) -> Filler:
    filler: Filler = request.app.state.filler
    return filler


# ── Reading ──────────────────────────────────────────────────────────────────────────────────────


@router.get(
    "/api/mail/templates",
    summary="List the templates that mails can name",
    response_model=Success[TemplateList],
    responses=errors(401, 403, 429),
)
async def list_by_key(session: Db, caller: ByKey) -> Response:
    """The project's own and the global ones that they do not hide."""
    own = await templates.list_own(session, caller.project_id)
    names = {view.key for view in own} | {view.name.lower() for view in own}
    shared = [
        view
        for view in await templates.list_global(session)
        if view.key not in names and view.name.lower() not in names
    ]
    return ok(_listed(own + shared), "Mail templates fetched.")


@router.get(
    "/api/mail/templates/{templateId}",
    summary="One template",
    response_model=Success[OneTemplate],
    responses=errors(400, 401, 403, 404, 429),
)
async def get_by_key(session: Db, caller: ByKey, template_id: TemplateId) -> Response:
    """One of the project's or a global one, with its texts."""
    return await _get(session, caller, template_id)


async def _get(session: Session, caller: Caller, template_id: str) -> Response:
    template = await templates.get(session, caller.project_id, template_id)
    return ok(_whole(template), "Mail template fetched.")


@router.get(
    _BASE,
    summary="List the project's own templates",
    response_model=Success[TemplateList],
    responses=errors(401, 403, 404),
)
async def list_own(session: Db, caller: AsViewer) -> Response:
    """The one changed last first."""
    return ok(
        _listed(await templates.list_own(session, caller.project_id)), "Mail templates fetched."
    )


@router.get(
    f"{_BASE}/global",
    summary="List the global templates",
    response_model=Success[TemplateList],
    responses=errors(401, 403, 404),
)
async def list_global(session: Db, caller: AsViewer) -> Response:
    """Those that every project has."""
    return ok(_listed(await templates.list_global(session)), "Global mail templates fetched.")


@router.get(
    f"{_BASE}/{{templateId}}",
    summary="One template",
    response_model=Success[OneTemplate],
    responses=errors(400, 401, 403, 404),
)
async def get(session: Db, caller: AsViewer, template_id: TemplateId) -> Response:
    """One of the project's or a global one, with its texts."""
    return await _get(session, caller, template_id)


# ── Changing ─────────────────────────────────────────────────────────────────────────────────────


@router.post(
    _BASE,
    status_code=201,
    summary="Keep a new template",
    response_model=Success[OneTemplate],
    responses=errors(*BODY, 401, 403, 404, 409),
    openapi_extra=takes(TemplateCreate),
)
async def create(request: Request, session: Db, caller: AsAdmin) -> Response:
    """A template that cannot be read is refused, with the line and column of what is wrong."""
    wanted = await read(request, _CREATE)
    draft = Draft(wanted.name, wanted.subject, wanted.html, wanted.text, wanted.key)
    template = await templates.create(session, _filler(request).renderer, caller.who, draft)
    return ok(_whole(template), "Mail template created.", 201)


@router.patch(
    f"{_BASE}/{{templateId}}",
    summary="Change a template",
    response_model=Success[OneTemplate],
    responses=errors(*BODY, 401, 403, 404, 409),
    openapi_extra=takes(TemplateChange),
)
async def change(
    request: Request, session: Db, caller: AsAdmin, template_id: TemplateId
) -> Response:
    """Mails accepted from now on use what it says then."""
    wanted = await read(request, _CHANGE)
    changes = {name: getattr(wanted, name) for name in wanted.model_fields_set}
    if not changes:
        raise InvalidPayload("At least one field must be provided.")
    renderer = _filler(request).renderer
    template = await templates.change(session, renderer, caller.who, template_id, changes)
    return ok(_whole(template), "Mail template updated.")


@router.delete(
    f"{_BASE}/{{templateId}}",
    summary="Remove a template",
    response_model=Success[Nothing],
    responses=errors(400, 401, 403, 404),
)
async def delete(session: Db, caller: AsAdmin, template_id: TemplateId) -> Response:
    """Mails that were accepted with it are sent as they are."""
    await templates.delete(session, caller.who, template_id)
    return ok({}, "Mail template deleted.")


# ── Trying ───────────────────────────────────────────────────────────────────────────────────────


async def _preview(
    request: Request, caller: Caller, texts: Texts, variables: dict[str, Any]
) -> Response:
    renderer = _filler(request).renderer
    rendered = await renderer.render(caller.project_id, texts, variables)
    shown = rendered.texts
    out = PreviewOut(
        subject=shown.subject, html=shown.html, text=shown.text, missing=list(rendered.missing)
    )
    return ok(out, "Mail template rendered.")


@router.post(
    f"{_BASE}/preview",
    summary="Try texts that are not kept yet",
    response_model=Success[PreviewOut],
    responses=errors(*BODY, 401, 403, 404),
    openapi_extra=takes(TemplateTrial),
)
async def preview_unsaved(request: Request, caller: AsViewer) -> Response:
    """Each part that cannot be read is an issue with its line and column."""
    wanted = await read(request, _TRIAL)
    texts = Texts(wanted.subject, wanted.html, wanted.text)
    return await _preview(request, caller, texts, wanted.variables)


@router.post(
    f"{_BASE}/{{templateId}}/preview",
    summary="Try a template",
    response_model=Success[PreviewOut],
    responses=errors(*BODY, 401, 403, 404),
    openapi_extra=takes(TemplateSample),
)
async def preview(
    request: Request, resources: Res, caller: AsViewer, template_id: TemplateId
) -> Response:
    """A mail as it would be with these variables; nothing is sent."""
    wanted = await read(request, _SAMPLE)
    async with resources.sessions() as session:
        template = await templates.get(session, caller.project_id, template_id)
    texts = Texts(template.subject, template.html, template.text)
    return await _preview(request, caller, texts, wanted.variables)
