"""The people of a project."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Path, Request, Response
from pydantic import Field, TypeAdapter

from postroom.api.body import read, takes
from postroom.api.deps import AsOwner, AsViewer, Db
from postroom.api.envelope import BODY, Nothing, Success, errors, ok
from postroom.api.shapes import Asked, Told
from postroom.domain import members

router = APIRouter(prefix="/api/projects/{projectId}/members", tags=["Members"])

RoleName = Literal["owner", "admin", "viewer"]
UserId = Annotated[str, Path(alias="userId")]


class Invitation(Asked):
    email: Annotated[str, Field(max_length=254)]
    role: RoleName = "viewer"


class RoleChange(Asked):
    role: RoleName


class Member(Told):
    user_id: UUID
    email: str
    name: str | None
    role: RoleName
    created_at: datetime


INVITATION = TypeAdapter(Invitation)
ROLE_CHANGE = TypeAdapter(RoleChange)


def _member(row: Any) -> Member:
    return Member(
        user_id=row.Account.id,
        email=row.Account.email,
        name=row.Account.name,
        role=row.Membership.role,
        created_at=row.Membership.created_at,
    )


def _user(text: str) -> UUID | None:
    """The id, or None for what is not one: it is nobody's."""
    try:
        return UUID(text)
    except ValueError:
        return None


@router.get("", response_model=Success[list[Member]], responses=errors(401, 404))
async def list_all(caller: AsViewer, session: Db) -> Response:
    """Everybody who works on the project."""
    rows = await members.of_project(session, caller.project_id)
    return ok([_member(row) for row in rows])


@router.post(
    "",
    status_code=201,
    response_model=Success[Member],
    responses=errors(*BODY, 401, 403, 404, 409),
    openapi_extra=takes(Invitation),
)
async def invite(request: Request, caller: AsOwner, session: Db) -> Response:
    """Let somebody with an account in."""
    wanted = await read(request, INVITATION)
    row = await members.invite(session, caller.who, wanted.email, wanted.role)
    return ok(_member(row), "Member added.", 201)


@router.patch(
    "/{userId}",
    response_model=Success[Member],
    responses=errors(*BODY, 401, 403, 404, 409),
    openapi_extra=takes(RoleChange),
)
async def change(request: Request, user_id: UserId, caller: AsOwner, session: Db) -> Response:
    """Give a member another role."""
    wanted = await read(request, ROLE_CHANGE)
    row = await members.set_role(session, caller.who, _user(user_id), wanted.role)
    return ok(_member(row), "Member updated.")


@router.delete("/{userId}", response_model=Success[Nothing], responses=errors(401, 403, 404, 409))
async def remove(user_id: UserId, caller: AsOwner, session: Db) -> Response:
    """Take a member out."""
    await members.remove(session, caller.who, _user(user_id))
    return ok({}, "Member removed.")
