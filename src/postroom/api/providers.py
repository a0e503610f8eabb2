"""A project's own provider accounts (BYOK)."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import TypeAdapter

from postroom.api.body import read, takes
from postroom.api.deps import AsAdmin, AsViewer, Db, Res
from postroom.api.envelope import BODY, Nothing, Success, errors, ok
from postroom.api.shapes import Told
from postroom.domain import addresses, byok, connections, credentials
from postroom.domain.byok import Wanted
from postroom.domain.connections import ConnectionBook
from postroom.models import Connection
from postroom.providers import BY_NAME
from postroom.providers.base import Capabilities
from postroom.resources import Resources

router = APIRouter(prefix="/api/projects/{projectId}/mail/providers", tags=["Providers"])

ADAPTERS: Mapping[str, TypeAdapter[Any]] = {
    name: TypeAdapter(fields) for name, fields in credentials.FIELDS.items()
}
Name = Annotated[str, Path(alias="provider", description="resend, paubox, ses, smtp or sandbox")]


class CapabilitiesOut(Told):
    batch_size: int
    idempotent: bool
    attachments: bool
    attachments_in_batch: bool
    max_mail_bytes: int
    audiences: bool
    receipts: bool
    health_data: bool
    keeps_content: bool
    events: list[str]

    @classmethod
    def of(cls, can: Capabilities) -> "CapabilitiesOut":
        values = {name: getattr(can, name) for name in cls.model_fields if name != "events"}
        return cls(**values, events=sorted(can.events))


class ConnectionOut(Told):
    """A provider account as its project reads it; credentials are write-only."""

    provider: str
    configured: bool
    key_hint: str | None = None
    verified_at: datetime | None = None
    webhook_url: str | None = None
    capabilities: CapabilitiesOut
    from_email: str | None = None
    rate_per_second: float | None = None
    phi_allowed: bool = False
    stopped_at: datetime | None = None
    stopped_reason: str | None = None
    options: dict[str, Any] = {}


def connection_out(res: Resources, row: Connection) -> ConnectionOut:
    return ConnectionOut(
        provider=row.provider,
        configured=True,
        key_hint=row.key_hint,
        verified_at=row.verified_at,
        webhook_url=connections.webhook_url(res.settings, res.keys, row),
        capabilities=CapabilitiesOut.of(BY_NAME[row.provider].capabilities),
        from_email=row.from_email,
        rate_per_second=row.rate_per_second,
        phi_allowed=row.phi_allowed,
        stopped_at=row.stopped_at,
        stopped_reason=row.stopped_reason,
        options=row.options,
    )


def _not_set_up(name: str) -> ConnectionOut:
    can = CapabilitiesOut.of(BY_NAME[name].capabilities)
    return ConnectionOut(provider=name, configured=False, capabilities=can)


@router.get("", response_model=Success[list[ConnectionOut]], responses=errors(401, 404))
async def list_all(caller: AsViewer, session: Db, res: Res) -> Response:
    """Every provider there is, and how this project has it set up."""
    rows = await byok.own_connections(session, caller.project_id)
    own = {row.provider: row for row in rows}
    return ok(
        [connection_out(res, own[name]) if name in own else _not_set_up(name) for name in BY_NAME]
    )


@router.put(
    "/{provider}",
    response_model=Success[ConnectionOut],
    responses=errors(*BODY, 401, 403, 404, 422, 502, 504),
    openapi_extra=takes(*credentials.FIELDS.values()),
)
async def put(
    request: Request,
    name: Name,
    caller: AsAdmin,
    res: Res,
    verify: Annotated[bool, Query(description="Try the credentials before keeping them.")] = False,
) -> Response:
    """Set up, or replace, the project's account at a provider."""
    byok.vendor_named(name)
    fields: credentials.Fields = await read(request, ADAPTERS[name])
    await addresses.check(res.http.dialer, fields.addresses())
    await byok.verify_health_data(res.http, res.settings, name, fields)
    if verify:
        await byok.verify(res.http, res.settings, name, fields)
    async with res.sessions() as session:
        wanted = Wanted(name, fields, verified=verify)
        row = await byok.put(session, res.redis, res.keys, caller.who, wanted)
    _forget(request, row)
    return ok(connection_out(res, row), "Provider connected.")


@router.delete("/{provider}", response_model=Success[Nothing], responses=errors(401, 403, 404, 422))
async def remove(request: Request, name: Name, caller: AsAdmin, session: Db, res: Res) -> Response:
    """Take the account out; mails that wait for it wait for it to be set up again."""
    byok.vendor_named(name)
    row = await byok.remove(session, res.redis, caller.who, name)
    _forget(request, row)
    return ok({}, "Provider removed.")


def _forget(request: Request, row: Connection) -> None:
    """Here at once; the other processes hear of it."""
    book: ConnectionBook = request.app.state.connections
    book.forget(row.id)
    request.app.state.callers.forget(row.project_id)
