"""Contacts as a file: in, how far it is, and out again."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path as FilePath
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.datastructures import UploadFile

from postroom.api.audiences import AudienceId
from postroom.api.deps import Res
from postroom.api.doors import Shape, both
from postroom.api.envelope import BODY, Success, ok
from postroom.domain import audiences, contact_export, imports
from postroom.domain.audiences import BAD_ID, NO_CONTACTS, check_ids
from postroom.domain.projects import Caller
from postroom.errors import InvalidPayload, WrongContentType
from postroom.resources import Resources

router = APIRouter(tags=["Audiences and contacts"])

PATH = "/contacts/import"
MOST_BYTES = 100_000_000
PART = 262_144
_CSV = {"text/csv", "application/csv", "text/plain", "application/octet-stream"}


class ImportQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")
    on_conflict: Annotated[
        Literal["upsert", "skip"],
        Field(alias="onConflict", description="What happens to contacts that are known."),
    ] = "upsert"


class ImportCounts(BaseModel):
    total: int
    created: int
    updated: int
    skipped: int
    failed: int


class RefusedRow(BaseModel):
    line: int
    value: str
    reason: str


class ImportOut(BaseModel):
    """How far an import is; `refused` names the first thousand rows that are no contacts."""

    object: str = "contact_import"
    id: str
    audience_id: str | None = None
    status: Literal["queued", "in_progress", "completed", "failed"] | None = None
    rows: int | None = None
    counts: ImportCounts | None = None
    rows_per_second: float | None = None
    created_at: datetime | None = None
    finished_at: datetime | None = None
    refused: list[RefusedRow] | None = None


class ImportList(BaseModel):
    object: str = "list"
    has_more: bool = False
    data: list[ImportOut]


_FILE: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "text/csv": {"schema": {"type": "string"}},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"file": {"type": "string", "format": "binary"}},
                }
            },
        },
    }
}


def _gate(resources: Resources, caller: Caller, *ids: str) -> None:
    check_ids(BAD_ID, *ids)
    audiences.own_audiences(resources, caller, audiences.own_connection(caller, NO_CONTACTS))


@both(
    router,
    "POST",
    "/audiences/{audienceId}" + PATH,
    Shape("Import contacts", Success[ImportOut], (*BODY, 404, 422), _FILE),
)
async def import_contacts(
    request: Request,
    resources: Res,
    caller: Caller,
    audience: AudienceId,
    asked: Annotated[ImportQuery, Query()],
) -> Response:
    """A CSV file whose first line names its columns; nobody is ever subscribed again."""
    _gate(resources, caller, audience)
    async with _on_disk(request) as path:
        overwrite = asked.on_conflict == "upsert"
        made = await imports.receive(resources, caller.project_id, audience, path, overwrite)
    return ok(made, "Import queued successfully.")


@both(
    router,
    "GET",
    "/audiences/{audienceId}/imports",
    Shape("List imports", Success[ImportList], (400, 404, 422)),
)
async def list_imports(resources: Res, caller: Caller, audience: AudienceId) -> Response:
    """The newest hundred."""
    _gate(resources, caller, audience)
    async with resources.sessions() as session:
        return ok(await imports.list_imports(session, caller.project_id, audience, 100))


@both(
    router,
    "GET",
    "/audiences/{audienceId}/imports/{importId}",
    Shape("One import", Success[ImportOut], (400, 404, 422)),
)
async def get_import(
    resources: Res,
    caller: Caller,
    audience: AudienceId,
    import_id: Annotated[str, Path(alias="importId")],
) -> Response:
    """How far it is, how fast, and which rows it refused."""
    _gate(resources, caller, audience, import_id)
    async with resources.sessions() as session:
        return ok(await imports.get(session, caller.project_id, audience, import_id))


@both(
    router,
    "GET",
    "/audiences/{audienceId}/contacts/export",
    Shape(
        "Export contacts",
        str,
        (400, 404, 422),
        more={"response_class": StreamingResponse},
    ),
)
async def export_contacts(resources: Res, caller: Caller, audience: AudienceId) -> Response:
    """All of an audience as CSV, without anything that a spreadsheet would run."""
    _gate(resources, caller, audience)
    lines = await contact_export.export(resources, caller.project_id, audience)
    return StreamingResponse(
        lines,
        media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": 'attachment; filename="contacts.csv"'},
    )


@asynccontextmanager
async def _on_disk(request: Request) -> AsyncIterator[FilePath]:
    """The request's file on disk for as long as it is read; never in memory as a whole."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    with tempfile.NamedTemporaryFile(prefix="postroom-import-", suffix=".csv") as file:
        if kind == "multipart/form-data":
            await _copy(_uploaded(request), file)
        elif kind in _CSV:
            await _copy(request.stream(), file)
        else:
            raise WrongContentType("Send the file as text/csv or as multipart/form-data.")
        await asyncio.to_thread(file.flush)
        yield FilePath(file.name)


async def _uploaded(request: Request) -> AsyncIterator[bytes]:
    async with request.form(max_files=1, max_fields=10) as form:
        upload = form.get("file")
        if not isinstance(upload, UploadFile):
            raise InvalidPayload.at("file", '"file" is required.')
        while part := await upload.read(PART):
            yield part


async def _copy(parts: AsyncIterator[bytes], file: Any) -> None:
    waiting: list[bytes] = []
    size = 0
    async for part in parts:
        waiting.append(part)
        size += len(part)
        if size >= PART:
            await asyncio.to_thread(file.writelines, waiting)
            waiting, size = [], 0
    await asyncio.to_thread(file.writelines, waiting)
