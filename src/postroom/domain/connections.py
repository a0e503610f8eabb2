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
from postroom.domain import credentials
from postroom.domain.flights import Flights
from postroom.errors import NotFound
from postroom.models import Connection
from postroom.providers import BY_NAME
from postroom.providers.base import Provider
from postroom.resources import Http, Keys, Resources, Session
from postroom.settings import Settings

_HOLD_SECONDS = 30.0


class ConnectionGone(Exception):
    """The connection was removed, or its provider account is no longer in the environment."""


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
        self._flights: Flights[OpenConnection] = Flights()
        self._forgotten = 0  # counts, so that what was read before a change is not kept after it

    async def get(self, connection_id: int) -> OpenConnection:
        """The account, ready to be called. Raises ConnectionGone, or Unsealable when its secret is lost."""
        if (held := self.peek(connection_id)) is not None:
            return held
        forgotten = self._forgotten
        # What is asked after a change is not answered by what was asked before it.
        question = (connection_id, forgotten)
        opened = await self._flights.share(question, lambda: self._load(connection_id))
        if forgotten == self._forgotten:
            self._open[connection_id] = (time.monotonic() + _HOLD_SECONDS, opened)
        return opened

    def peek(self, connection_id: int) -> OpenConnection | None:
        """The account, if this process has it open."""
        until, held = self._open.get(connection_id, (0.0, None))
        return held if until > time.monotonic() else None

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
        given = {
            **_secrets(row, settings, keys),
            "ratePerSecond": row.rate_per_second,
            "phiAllowed": row.phi_allowed,
        }
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
    if (vendor.read_webhook, vendor.receive) == (Provider.read_webhook, Provider.receive):
        return None
    base = settings.public_url.rstrip("/")
    return f"{base}/api/mail/webhook/{row.provider}/{webhook_token(keys, row.id)}"


def webhook_token(keys: Keys, connection_id: int) -> str:
    return f"{connection_id}-{keyed_token(keys.index, f'webhook:{connection_id}')}"


async def by_shared_token(
    settings: Settings, book: ConnectionBook, provider: str, token: str
) -> int | None:
    """The environment's account whose operator chose this token for its webhook address."""
    for (name, _), given in credentials.of_environment(settings).items():
        chosen = str(given.get("webhookToken") or "")
        if name == provider and chosen and same(chosen.encode(), token.encode()):
            return next(iter(await book.shared(provider)), None)
    return None


def by_webhook_token(keys: Keys, token: str) -> int:
    """The connection that a webhook address belongs to, proven without a look into the database."""
    number, _, _ = token.partition("-")
    plausible = number.isascii() and number.isdigit() and len(number) < 10
    # An implausible token is compared as well, so that nothing is told by the time it takes.
    connection_id = int(number) if plausible else 0
    if not same(token.encode(), webhook_token(keys, connection_id).encode()) or not plausible:
        raise NotFound("This webhook address does not exist.")
    return connection_id
