"""Projects, their keys and their settings."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Request, Response
from pydantic import BeforeValidator, Field, TypeAdapter

from postroom.api.body import read, takes
from postroom.api.deps import AsAdmin, AsOwner, AsViewer, ByAccount, Callers, Db, Res
from postroom.api.envelope import BODY, Nothing, Success, errors, ok
from postroom.api.shapes import Asked, Told
from postroom.domain import project_settings, projects, schedule
from postroom.domain.project_settings import ProjectPatch
from postroom.domain.projects import NewProject, View

router = APIRouter(prefix="/api/projects", tags=["Projects"])


def _name(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("name must be a non-empty string.")
    return value.strip()


class ProjectCreate(Asked):
    name: Annotated[str, BeforeValidator(_name), Field(max_length=100)]


def _key_type(value: Any) -> str:
    if value not in ("secret", "publishable"):
        raise ValueError("Invalid keyType. Must be 'publishable' or 'secret'.")
    return str(value)


class KeyRotation(Asked):
    key_type: Annotated[Literal["secret", "publishable"], BeforeValidator(_key_type)]


class ProjectOut(Told):
    id: UUID
    name: str
    plan: Literal["free", "pro"]
    role: Literal["owner", "admin", "viewer"]
    has_resend_api_key: bool
    resend_from_email: str | None
    mail_provider: str | None
    failover_provider: str | None
    phi: bool
    ambiguous_policy: Literal["park", "resend"]
    content_retention_days: int
    created_at: datetime


class FreshProject(Told):
    project: ProjectOut
    secret_key: str
    publishable_key: str


class FreshKey(Told):
    api_key: str
    key_type: Literal["secret", "publishable"]
    project: ProjectOut


PROJECT_CREATE = TypeAdapter(ProjectCreate)
PROJECT_PATCH = TypeAdapter(ProjectPatch)
KEY_ROTATION = TypeAdapter(KeyRotation)


def project_out(view: View) -> ProjectOut:
    """A project as its member reads it."""
    project, resend = view.project, view.remembered("resend")
    columns = {
        name: getattr(project, name)
        for name in (
            "id",
            "name",
            "plan",
            "phi",
            "ambiguous_policy",
            "content_retention_days",
            "created_at",
        )
    }
    return ProjectOut(
        **columns,
        role=view.role,
        has_resend_api_key=view.connected("resend") is not None,
        resend_from_email=resend.from_email if resend else None,
        mail_provider=view.provider_of(project.mail_connection_id),
        failover_provider=view.provider_of(project.failover_connection_id),
    )


@router.post(
    "",
    status_code=201,
    response_model=Success[FreshProject],
    responses=errors(*BODY, 401, 403),
    openapi_extra=takes(ProjectCreate),
)
async def create(request: Request, identity: ByAccount, session: Db, res: Res) -> Response:
    """Make a project. Its two keys are shown in this answer and never again."""
    wanted = await read(request, PROJECT_CREATE)
    fresh = await projects.create(session, res.settings, NewProject(wanted.name, identity.id))
    data = FreshProject(
        project=project_out(fresh.view),
        secret_key=fresh.secret_key,
        publishable_key=fresh.publishable_key,
    )
    return ok(data, "Project created.", 201)


@router.get("", response_model=Success[list[ProjectOut]], responses=errors(401))
async def list_all(identity: ByAccount, session: Db) -> Response:
    """The projects that one is a member of, newest first."""
    views = await projects.of_account(session, identity.id)
    return ok([project_out(view) for view in views])


@router.get("/{projectId}", response_model=Success[ProjectOut], responses=errors(401, 404))
async def get(caller: AsViewer, session: Db) -> Response:
    """One project."""
    return ok(project_out(await projects.view(session, caller.project_id, str(caller.role))))


@router.patch(
    "/{projectId}",
    response_model=Success[ProjectOut],
    responses=errors(*BODY, 401, 403, 404),
    openapi_extra=takes(ProjectPatch),
)
async def patch(
    request: Request, caller: AsAdmin, callers: Callers, session: Db, res: Res
) -> Response:
    """Change what is named; the rest stays as it is."""
    wanted = await read(request, PROJECT_PATCH)
    await project_settings.change(session, res.redis, res.keys, caller.who, wanted)
    callers.forget(caller.project_id)
    view = await projects.view(session, caller.project_id, str(caller.role))
    return ok(project_out(view), "Project updated.")


@router.delete("/{projectId}", response_model=Success[Nothing], responses=errors(401, 403, 404))
async def delete(caller: AsOwner, callers: Callers, session: Db, res: Res) -> Response:
    """Stop the keys at once, cancel and refund what is queued, and remove everything in the background."""
    await projects.delete(session, res.redis, caller.who)
    callers.forget(caller.project_id)
    await schedule.cancel_all(session, res.redis, caller.project_id)
    return ok({}, "Project deleted.")


@router.post(
    "/{projectId}/api-key",
    response_model=Success[FreshKey],
    responses=errors(*BODY, 401, 403, 404),
    openapi_extra=takes(KeyRotation),
)
async def rotate_key(
    request: Request, caller: AsAdmin, callers: Callers, session: Db, res: Res
) -> Response:
    """Replace a key; the old one stops at once, in every process."""
    kind = (await read(request, KEY_ROTATION)).key_type
    fresh = await projects.rotate_key(session, res.redis, caller.who, kind)
    callers.forget(caller.project_id)
    view = await projects.view(session, caller.project_id, str(caller.role))
    data = FreshKey(api_key=fresh, key_type=kind, project=project_out(view))
    return ok(data, "API key regenerated.")
