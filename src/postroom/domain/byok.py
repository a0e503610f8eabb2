"""A project's own provider accounts (BYOK): set up, replaced, taken out, and kept from health data."""

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from uuid import UUID

import orjson
from sqlalchemy import func, select, text
from sqlalchemy.dialects.postgresql import insert

from postroom.domain import audit, changes, credentials, stopped
from postroom.domain.connections import open_provider, seal_name
from postroom.errors import InvalidPayload, NotFound, Problem, ProviderRefused
from postroom.models import Connection, Project
from postroom.providers import BY_NAME
from postroom.providers.base import Provider
from postroom.resources import Http, Keys, Redis, Session
from postroom.settings import Settings

_WAITS = text(
    """
select exists (select from outbox o join connections c on c.id = o.connection_id
  where c.project_id = :project and c.provider = :provider and o.project_id = :project)
"""
)


class UnknownProvider(Problem):
    status = 422
    code = "unknown_provider"


def vendor_named(name: str) -> type[Provider]:
    """The provider of this name, or a sentence naming those there are."""
    if name not in BY_NAME:
        there = ", ".join(sorted(BY_NAME)) or "none"
        raise UnknownProvider(f"This provider is not available here. Available: {there}.")
    return BY_NAME[name]


async def own_connections(session: Session, project_id: UUID) -> Sequence[Connection]:
    """The project's own accounts that were not removed, oldest first."""
    found = await session.scalars(
        select(Connection)
        .where(Connection.project_id == project_id, Connection.removed_at.is_(None))
        .order_by(Connection.id)
    )
    return found.all()


async def verify(http: Http, settings: Settings, name: str, fields: credentials.Fields) -> None:
    """Try credentials before they are kept; a refusal carries the vendor's own words."""
    await _asked(_opened(http, settings, name, fields).verify())


async def verify_health_data(
    http: Http, settings: Settings, name: str, fields: credentials.Fields
) -> None:
    """Ask the vendor what stands against health data, where a person says that nothing does."""
    check_health_data(name, fields)
    if fields.phi_allowed:
        await _asked(_opened(http, settings, name, fields).check_health_data())


def _opened(http: Http, settings: Settings, name: str, fields: credentials.Fields) -> Provider:
    # Whether the server's role may be used was asked before, in `check_host_role`.
    given = {**fields.options(), **fields.secrets(), "hostRole": True}
    return open_provider(http, settings, name, given)


def check_host_role(settings: Settings, project_id: UUID, fields: credentials.Fields) -> None:
    """Refuse the server's own credentials where its operator does not lend them to the project."""
    refusal = credentials.host_role_refusal(settings, project_id, fields.options())
    if refusal is not None:
        raise InvalidPayload.at(*refusal, code="host_role_not_allowed")


async def _asked(question: Awaitable[None]) -> None:
    try:
        await question
    except ProviderRefused as refused:
        if refused.status not in {401, 403}:
            raise
        # 401 would tell the client that its own session is over.
        raise ProviderRefused(422, refused.message, code="credentials_refused") from refused


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a project's account at a provider shall be."""

    provider: str
    fields: credentials.Fields
    verified: bool = False


async def put(
    session: Session, redis: Redis, keys: Keys, who: audit.Who, wanted: Wanted
) -> Connection:
    """Set up a project's account at a provider; the first one becomes the one that sends."""
    project = await _locked_project(session, who.project_id)
    row = await write(session, keys, project, wanted)
    audit.note(session, who, "provider.set", wanted.provider)
    # From here mails of this project may name this account.
    await session.commit()
    await stopped.mended(redis, row.id)
    await announce(redis, row)
    return row


async def write(session: Session, keys: Keys, project: Project, wanted: Wanted) -> Connection:
    """The same without the commit, for a project that the caller has locked."""
    check_health_data(wanted.provider, wanted.fields)
    first = not await own_connections(session, project.id)
    await _require_no_patient_waits(session, project, wanted)
    row = await _write_row(session, keys, project.id, wanted)
    if first and may_carry(project, row):
        project.mail_connection_id = row.id
    if row.id in {project.mail_connection_id, project.failover_connection_id}:
        require_may_carry(project, row)
    return row


async def _require_no_patient_waits(session: Session, project: Project, wanted: Wanted) -> None:
    """Mails of a project with health data never leave by an account that lost the right to carry it."""
    if not project.phi or wanted.fields.phi_allowed:
        return
    waiting = {"project": project.id, "provider": wanted.provider}
    if await session.scalar(_WAITS, waiting):
        raise InvalidPayload.at(
            "phiAllowed",
            "Mails with health data wait for this connection: it must stay allowed to carry it.",
            "health_data_not_allowed",
        )


async def announce(redis: Redis, row: Connection) -> None:
    """Tell every process that this account, and what its project sends by, is another one now."""
    await changes.publish(redis, "connection", row.id)
    if row.project_id is not None:
        await changes.publish(redis, "project", row.project_id)


async def _write_row(session: Session, keys: Keys, project_id: UUID, wanted: Wanted) -> Connection:
    row = await row_for(session, project_id, wanted.provider)
    fields = wanted.fields
    secrets = fields.secrets()
    row.sealed = keys.ring.seal(orjson.dumps(secrets), seal_name(row.id)) if secrets else None
    row.options = fields.options()
    row.key_hint = fields.key_hint()
    row.from_email = fields.from_email
    row.phi_allowed = fields.phi_allowed
    row.rate_per_second = fields.rate_per_second
    row.verified_at = func.now() if wanted.verified else None
    row.stopped_at = row.stopped_reason = row.removed_at = None
    await session.flush()
    await session.refresh(row)
    return row


async def row_for(session: Session, project_id: UUID, provider: str) -> Connection:
    """The project's row for this provider, made if there is none: its id is what the secret is bound to."""
    await session.execute(
        insert(Connection)
        .values(project_id=project_id, provider=provider, removed_at=func.now())
        .on_conflict_do_nothing()
    )
    return (
        await session.scalars(
            select(Connection).where(
                Connection.project_id == project_id,
                Connection.provider == provider,
                Connection.slot == 1,
            )
        )
    ).one()


async def remove(session: Session, redis: Redis, who: audit.Who, provider: str) -> Connection:
    """Forget a project's account; mails that were accepted under it wait for another one to be set up."""
    project = await _locked_project(session, who.project_id)
    row = await _row_or_not_found(session, project.id, provider)
    take_out(project, row)
    row.from_email = None
    audit.note(session, who, "provider.removed", provider)
    # From here nothing leaves by this account any more.
    await session.commit()
    await announce(redis, row)
    return row


def take_out(project: Project, row: Connection) -> None:
    """Drop the secret and every choice of this account; the row stays, because waiting mails name it."""
    row.sealed = row.key_hint = row.verified_at = None
    row.options = {}
    row.removed_at = func.now()
    if project.mail_connection_id == row.id:
        project.mail_connection_id = None
    if project.failover_connection_id == row.id:
        project.failover_connection_id = None


async def _row_or_not_found(session: Session, project_id: UUID, provider: str) -> Connection:
    for row in await own_connections(session, project_id):
        if row.provider == provider:
            return row
    raise NotFound("This provider is not set up for this project.")


async def _locked_project(session: Session, project_id: UUID) -> Project:
    return (
        await session.scalars(select(Project).where(Project.id == project_id).with_for_update())
    ).one()


# ── Health data ──────────────────────────────────────────────────────────────────────────────────


def check_health_data(name: str, fields: credentials.Fields) -> None:
    """Refuse `phiAllowed` where the vendor must never see health data."""
    if not fields.phi_allowed:
        return
    vendor = vendor_named(name)
    refusal = fields.health_data_refusal()
    if refusal is None and not vendor.capabilities.health_data:
        refusal = f"{vendor.title} may not carry health data."
    if refusal is not None:
        raise InvalidPayload.at("phiAllowed", refusal, code="health_data_not_allowed")


def may_carry(project: Project, row: Connection) -> bool:
    return row.phi_allowed or not project.phi


def require_may_carry(project: Project, row: Connection) -> None:
    if not may_carry(project, row):
        raise InvalidPayload(
            "This project carries health data: the accounts it sends by must be allowed to (phiAllowed).",
            code="health_data_not_allowed",
        )
