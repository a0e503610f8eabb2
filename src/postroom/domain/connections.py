"""Provider accounts: a project's own and the shared ones of the environment."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import case, func, select, update
from sqlalchemy.dialects.postgresql import insert

from postroom.crypto import keyed_token, same
from postroom.domain import audit, changes, credentials, stopped
from postroom.errors import InvalidPayload, NotFound, Problem, ProviderRefused
from postroom.models import Connection, Project
from postroom.providers import BY_NAME
from postroom.providers.base import Provider
from postroom.resources import Http, Keys, Redis, Resources, Session
from postroom.settings import Settings

_HOLD_SECONDS = 30.0


class ConnectionGone(Exception):
    """The connection was removed, or its provider account is no longer in the environment."""


class UnknownProvider(Problem):
    status = 422
    code = "unknown_provider"


@dataclass(frozen=True, slots=True)
class ConnectionInfo:
    """A snapshot of one provider account, without secrets."""

    id: int
    project_id: UUID | None
    provider: str
    from_email: str | None  # already falling back to EMAIL_FROM
    own: bool
    phi_allowed: bool
    rate_per_second: float | None
    stopped: bool
    removed: bool
    options: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class OpenConnection:
    """An account ready to be called. The fingerprint tells one credential from another, and no more."""

    info: ConnectionInfo
    provider: Provider
    fingerprint: bytes


def info_of(row: Connection, settings: Settings) -> ConnectionInfo:
    return ConnectionInfo(
        id=row.id,
        project_id=row.project_id,
        provider=row.provider,
        from_email=row.from_email or settings.email_from,
        own=row.project_id is not None,
        phi_allowed=row.phi_allowed,
        rate_per_second=row.rate_per_second,
        stopped=row.stopped_at is not None,
        removed=row.removed_at is not None,
        options=row.options,
    )


# ── Opening ──────────────────────────────────────────────────────────────────────────────────────


class ConnectionBook:
    """The opened accounts of this process, by id; forgotten by message, and in any case after 30 s."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._open: dict[int, tuple[float, OpenConnection]] = {}
        self._shared: dict[str, tuple[float, tuple[int, ...]]] = {}
        self._forgotten = 0  # counts, so that what was read before a change is not kept after it

    async def get(self, connection_id: int) -> OpenConnection:
        """The account, ready to be called. Raises ConnectionGone, or Unsealable when its secret is lost."""
        until, held = self._open.get(connection_id, (0.0, None))
        if held is not None and until > time.monotonic():
            return held
        forgotten = self._forgotten
        opened = await self._load(connection_id)
        if forgotten == self._forgotten:
            self._open[connection_id] = (time.monotonic() + _HOLD_SECONDS, opened)
        return opened

    def forget(self, connection_id: int | None) -> None:
        """Read this account again when it is next needed; None means all of them."""
        self._forgotten += 1
        self._shared.clear()
        if connection_id is None:
            self._open.clear()
        else:
            self._open.pop(connection_id, None)

    async def shared(self, provider: str) -> tuple[int, ...]:
        """The environment's accounts at this provider, the preferred one first."""
        until, held = self._shared.get(provider, (0.0, ()))
        if until > time.monotonic():
            return held
        async with self._resources.sessions() as session:
            rows = await shared_accounts(session, provider)
        found = tuple(row.id for row in rows)
        self._shared[provider] = (time.monotonic() + _HOLD_SECONDS, found)
        return found

    async def shared_fallback(self, connection_id: int) -> int | None:
        """The other key of the same shared provider, if there is one."""
        for provider in {slot[0] for slot in credentials.of_environment(self._resources.settings)}:
            accounts = await self.shared(provider)
            if connection_id in accounts:
                return next((other for other in accounts if other != connection_id), None)
        return None

    async def _load(self, connection_id: int) -> OpenConnection:
        async with self._resources.sessions() as session:
            row = await session.get(Connection, connection_id)
        if row is None or row.removed_at is not None or row.provider not in BY_NAME:
            raise ConnectionGone(f"Connection {connection_id} is gone.")
        settings, keys = self._resources.settings, self._resources.keys
        given = {**_secrets(row, settings, keys), "ratePerSecond": row.rate_per_second}
        provider = open_provider(self._resources.http, settings, row.provider, given)
        token = keyed_token(keys.index, f"credential:{provider.fingerprint}")
        return OpenConnection(info_of(row, settings), provider, bytes.fromhex(token))


def open_provider(http: Http, settings: Settings, name: str, given: Mapping[str, Any]) -> Provider:
    """The vendor's account with what was given, and the environment's addresses for the rest."""
    known = {k: v for k, v in given.items() if v is not None}
    return BY_NAME[name](credentials.defaults(settings, name) | known, http)


def _secrets(row: Connection, settings: Settings, keys: Keys) -> Mapping[str, Any]:
    if row.project_id is None:
        found = credentials.of_environment(settings).get((row.provider, row.slot))
        if found is None:
            raise ConnectionGone(f"Connection {row.id} is no longer in the environment.")
        return found
    sealed = keys.ring.unseal(row.sealed, seal_name(row.id)) if row.sealed else b"{}"
    secrets: dict[str, str] = orjson.loads(sealed)
    return row.options | secrets


def seal_name(connection_id: int) -> bytes:
    """What a connection's credentials are bound to, so that they open in no other row."""
    return f"connection:{connection_id}".encode()


# ── The shared accounts ──────────────────────────────────────────────────────────────────────────


async def ensure_shared(session: Session, settings: Settings, keys: Keys) -> None:
    """Make the rows of `connections` without a project say what the environment says."""
    accounts = credentials.of_environment(settings)
    for (provider, slot), given in accounts.items():
        await session.execute(_upsert_shared(provider, slot, _mark(keys, given)))
    await session.execute(_remove_shared_but(accounts))
    # From here the environment's accounts have ids that mails may name.
    await session.commit()


def _mark(keys: Keys, given: Mapping[str, Any]) -> str:
    """Tells a key from its successor: under a new key a stopped account may be called again."""
    return keyed_token(keys.index, f"environment:{given.get('apiKey')}")


def _upsert_shared(provider: str, slot: int, mark: str) -> Any:
    # Never for health data: a project that carries it names an account of its own.
    values = {"provider": provider, "slot": slot, "options": {"mark": mark}}
    statement = insert(Connection).values(**values)
    same_key = Connection.options["mark"].astext == mark
    return statement.on_conflict_do_update(
        index_elements=["project_id", "provider", "slot"],
        set_={
            "options": statement.excluded.options,
            "removed_at": None,
            "stopped_at": case((same_key, Connection.stopped_at)),
            "stopped_reason": case((same_key, Connection.stopped_reason)),
        },
    )


def _remove_shared_but(accounts: Mapping[tuple[str, int], object]) -> Any:
    gone = [
        ~((Connection.provider == provider) & (Connection.slot == slot))
        for provider, slot in accounts
    ]
    return (
        update(Connection)
        .where(Connection.project_id.is_(None), Connection.removed_at.is_(None), *gone)
        .values(removed_at=func.now())
    )


async def shared_accounts(session: Session, provider: str) -> Sequence[Connection]:
    """The environment's accounts at this provider; slot 2 is preferred where it exists."""
    found = await session.scalars(
        select(Connection)
        .where(
            Connection.project_id.is_(None),
            Connection.provider == provider,
            Connection.removed_at.is_(None),
        )
        .order_by(Connection.slot.desc())
    )
    return found.all()


# ── Webhook addresses ────────────────────────────────────────────────────────────────────────────


def webhook_url(settings: Settings, keys: Keys, row: Connection) -> str | None:
    """Where this account's vendor reports to; None where it reports nothing by HTTP."""
    vendor = BY_NAME[row.provider]
    if vendor.read_webhook is Provider.read_webhook:
        return None
    base = settings.public_url.rstrip("/")
    return f"{base}/api/mail/webhook/{row.provider}/{webhook_token(keys, row.id)}"


def webhook_token(keys: Keys, connection_id: int) -> str:
    return f"{connection_id}-{keyed_token(keys.index, f'webhook:{connection_id}')}"


def by_webhook_token(keys: Keys, token: str) -> int:
    """The connection that a webhook address belongs to, proven without a look into the database."""
    number, _, _ = token.partition("-")
    plausible = number.isascii() and number.isdigit() and len(number) < 10
    # An implausible token is compared as well, so that nothing is told by the time it takes.
    connection_id = int(number) if plausible else 0
    if not same(token.encode(), webhook_token(keys, connection_id).encode()) or not plausible:
        raise NotFound("This webhook address does not exist.")
    return connection_id


# ── A project's own accounts ─────────────────────────────────────────────────────────────────────


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
    provider = open_provider(http, settings, name, fields.options() | fields.secrets())
    try:
        await provider.verify()
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
    row = await _write_row(session, keys, project.id, wanted)
    if first and may_carry(project, row):
        project.mail_connection_id = row.id
    if row.id in {project.mail_connection_id, project.failover_connection_id}:
        require_may_carry(project, row)
    return row


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
