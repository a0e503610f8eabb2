"""Addresses to which nothing is sent: list, add, remove, import."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from postroom.api.body import read, takes
from postroom.api.deps import Db, Res
from postroom.api.doors import Shape, both
from postroom.api.envelope import BODY, Nothing, Success, ok
from postroom.api.logs import PaginationOut
from postroom.api.shapes import Asked, Told
from postroom.domain import suppressions
from postroom.domain.mailboxes import bare
from postroom.domain.projects import Caller
from postroom.errors import InvalidPayload, WrongContentType

router = APIRouter(tags=["Suppressions"])

_LISTS = {
    "text/csv",
    "text/plain",
    "application/x-ndjson",
    "application/jsonl",
    "application/json-lines",
}
_FILE = {
    "requestBody": {
        "required": True,
        "content": {
            kind: {"schema": {"type": "string"}} for kind in ("text/csv", "application/x-ndjson")
        },
    }
}


class SuppressBody(Asked):
    """One address, or up to a thousand."""

    address: Annotated[str, Field(max_length=320)] | None = None
    addresses: Annotated[list[str], Field(max_length=1000)] = []


class SuppressionOut(Told):
    address: str
    reason: Annotated[str, Field(description="bounce, complaint, manual or import.")]
    created_at: datetime


class AddedOut(Told):
    added: int


class RefusedOut(Told):
    line: int
    reason: str


class ReportOut(Told):
    """What became of a list; `refused` names the first thousand lines that are no addresses."""

    total: int
    added: int
    known: int
    failed: int
    refused: list[RefusedOut]


class SuppressionPage(Success[list[SuppressionOut]]):
    pagination: PaginationOut


class ListQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")
    limit: Annotated[int, Field(ge=1, le=100)] = 50
    cursor: Annotated[str | None, Field(max_length=64)] = None


_BODY: TypeAdapter[SuppressBody] = TypeAdapter(SuppressBody)


@both(
    router,
    "GET",
    "/suppressions",
    Shape("List suppressed addresses", SuppressionPage, (400,)),
)
async def list_suppressions(
    resources: Res, session: Db, caller: Caller, asked: Annotated[ListQuery, Query()]
) -> Response:
    """Newest first."""
    page = await suppressions.list_suppressions(
        session, resources.keys, caller.project_id, asked.limit, asked.cursor
    )
    pagination = {"nextCursor": page.next_cursor, "limit": asked.limit}
    return ok(page.items, "Suppressions retrieved successfully.", pagination=pagination)


@both(
    router,
    "POST",
    "/suppressions",
    Shape("Suppress addresses", Success[AddedOut], BODY, takes(SuppressBody)),
)
async def suppress(request: Request, resources: Res, session: Db, caller: Caller) -> Response:
    """From now on nothing is sent to them, whatever was accepted before."""
    body = await read(request, _BODY)
    given = [*([body.address] if body.address else []), *body.addresses]
    if not given:
        raise InvalidPayload.at("address", '"address" is required.')
    checked = [_checked(address) for address in given]
    added = await suppressions.suppress(session, resources.keys, caller.project_id, checked)
    return ok({"added": added}, "Addresses suppressed.")


@both(
    router,
    "POST",
    "/suppressions/import",
    Shape("Import suppressed addresses", Success[ReportOut], BODY, _FILE),
)
async def import_suppressions(
    request: Request, resources: Res, session: Db, caller: Caller
) -> Response:
    """A CSV list or JSON lines, read as it arrives."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in _LISTS:
        raise WrongContentType("Send the list as text/csv or application/x-ndjson.")
    report = await suppressions.import_list(
        session, resources.keys, caller.project_id, request.stream()
    )
    return ok(ReportOut.model_validate(report), "Suppressions imported successfully.")


@both(
    router,
    "DELETE",
    "/suppressions/{address}",
    Shape("Remove a suppression", Success[Nothing], (400, 404)),
)
async def unsuppress(
    resources: Res, session: Db, caller: Caller, address: Annotated[str, Path(max_length=320)]
) -> Response:
    """Mail to this address is tried again."""
    await suppressions.remove(session, resources.keys, caller.project_id, address)
    return ok({}, "Suppression removed.")


def _checked(address: str) -> str:
    try:
        return bare(address.strip())
    except ValueError:
        raise InvalidPayload.at("address", "Invalid recipient email format.") from None
