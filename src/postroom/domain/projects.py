"""Projects: who may call in their name, what sends for them, and how they are changed."""

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal
from uuid import UUID

from sqlalchemy import Row, func, or_, select

from postroom.crypto import hash_key
from postroom.domain import accounts, audit, changes, connections, keys
from postroom.domain.connections import ConnectionInfo
from postroom.domain.flights import Flights
from postroom.domain.keys import KeyType
from postroom.domain.plans import UNLIMITED, Plan, plans
from postroom.errors import Forbidden, NotAuthenticated, NotFound
from postroom.ids import new_id
from postroom.models import Account, Connection, Membership, Project
from postroom.resources import Redis, Resources, Session
from postroom.settings import Settings

log = logging.getLogger(__name__)

Role = Literal["viewer", "admin", "owner"]
RANK: dict[str, int] = {"viewer": 0, "admin": 1, "owner": 2}
_HOLD_SECONDS = 10.0
_RENEW_BEFORE = 2.0  # seconds before the end of which a busy caller is read again
_HELD_AT_MOST = 50_000

KEY_MISSING = "API key not found."
KEY_UNKNOWN = "Please use a valid API key or regenerate a new one from the dashboard."
KEY_PUBLISHABLE = "Forbidden. This action requires a Secret Key (sk_live_...)."


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls and what sends for them; no secrets."""

    project_id: UUID
    plan: Plan
    phi: bool
    connection: ConnectionInfo | None
    failover_id: int | None
    content_retention_days: int
    ambiguous_policy: str
    account_id: UUID | None = None
    role: str | None = None

    @property
    def who(self) -> audit.Who:
        return audit.Who(self.project_id, self.account_id)


# ── Who calls ────────────────────────────────────────────────────────────────────────────────────


class CallerCache:
    """The callers of this process by the hash of their key; forgotten by message, and after 10 s at most."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._held: dict[bytes, tuple[float, Caller]] = {}
        self._flights: Flights[Caller] = Flights()
        self._renewals: dict[bytes, asyncio.Task[None]] = {}
        self._forgotten = 0  # counts, so that what was read before a change is not kept after it

    def peek(self, key: str) -> Caller | None:
        """The caller, if this process knows them already; who is asked for all the time is read again in time."""
        hashed = hash_key(key)
        until, caller = self._held.get(hashed, (0.0, None))
        left = until - time.monotonic()
        if left <= 0:
            return None
        if left < _RENEW_BEFORE and hashed not in self._renewals:
            self._renewals[hashed] = asyncio.create_task(self._renew(hashed))
        return caller

    async def by_key(self, key: str) -> Caller:
        """The caller with this secret key, or the sentence that says why not."""
        if not key:
            raise NotAuthenticated(KEY_MISSING, code="api_key_missing")
        if (known := self.peek(key)) is not None:
            return known
        forgotten, hashed = self._forgotten, hash_key(key)
        # What is asked after a change is not answered by what was asked before it.
        caller = await self._flights.share((hashed, forgotten), lambda: self._load(hashed))
        if forgotten == self._forgotten:
            self._hold(hashed, caller)
        return caller

    async def _renew(self, hashed: bytes) -> None:
        """Read a caller again; who cannot be read is asked for anew when what is held has run out."""
        forgotten = self._forgotten
        try:
            caller = await self._load(hashed)
            if forgotten == self._forgotten:
                self._hold(hashed, caller)
        except NotAuthenticated:
            self._held.pop(hashed, None)
        except Exception as error:  # noqa: BLE001 - whatever it is, the request that asks next meets it again
            log.warning("caller not read again", extra={"error": type(error).__name__})
            await asyncio.sleep(_RENEW_BEFORE)
        finally:
            del self._renewals[hashed]

    async def _load(self, hashed: bytes) -> Caller:
        async with self._resources.sessions() as session:
            return await _load_by_key(session, self._resources.settings, hashed)

    async def by_bearer(self, token: str, project_id: str, need: Role) -> Caller:
        """The account with this token, in this project. Never cached: a role that is taken away is gone."""
        account_id, version = accounts.read_token(self._resources.settings, token)
        async with self._resources.sessions() as session:
            row = await _load_member(session, account_id, _as_id(project_id))
            if row is None or row.Account.password_version != version:
                raise accounts.invalid_token()
            if row.Project is None:
                raise not_found()
            require_role(row.role, need)
            caller = await _caller(session, self._resources.settings, row.Project)
        return replace(caller, account_id=account_id, role=row.role)

    def forget(self, project_id: UUID) -> None:
        """Read this project again when its key is next used."""
        self._forgotten += 1
        self._held = {k: v for k, v in self._held.items() if v[1].project_id != project_id}

    def forget_connection(self, connection_id: int) -> None:
        """Read the projects again that send by this account."""
        self._forgotten += 1
        self._held = {k: v for k, v in self._held.items() if connection_id not in _ids(v[1])}

    def forget_all(self) -> None:
        self._forgotten += 1
        self._held.clear()

    def _hold(self, key_hash: bytes, caller: Caller) -> None:
        if len(self._held) >= _HELD_AT_MOST:
            self._held.clear()
        self._held[key_hash] = (time.monotonic() + _HOLD_SECONDS, caller)


def _ids(caller: Caller) -> tuple[int | None, ...]:
    return (caller.connection.id if caller.connection else None, caller.failover_id)


async def _load_by_key(session: Session, settings: Settings, key_hash: bytes) -> Caller:
    project = await session.scalar(
        select(Project).where(
            or_(Project.secret_hash == key_hash, Project.publishable_hash == key_hash),
            Project.deleted_at.is_(None),
        )
    )
    if project is None:
        raise NotAuthenticated(KEY_UNKNOWN, code="api_key_invalid")
    if project.secret_hash != key_hash:
        raise Forbidden(KEY_PUBLISHABLE, code="secret_key_required")
    return await _caller(session, settings, project)


async def _load_member(
    session: Session, account_id: UUID, project_id: UUID | None
) -> Row[Account, Project | None, str] | None:
    """The account, and where they are a member of it, the project."""
    joined = (
        select(Account, Project, Membership.role)
        .select_from(Account)
        .outerjoin(
            Membership,
            (Membership.account_id == Account.id) & (Membership.project_id == project_id),
        )
        .outerjoin(Project, (Project.id == Membership.project_id) & Project.deleted_at.is_(None))
        .where(Account.id == account_id)
    )
    return (await session.execute(joined)).one_or_none()


async def _caller(session: Session, settings: Settings, project: Project) -> Caller:
    sending = await _sending(session, settings, project)
    return Caller(
        project_id=project.id,
        plan=plans(settings)[project.plan],
        phi=project.phi,
        connection=connections.info_of(sending[0], settings) if sending else None,
        failover_id=await _failover(session, project, sending),
        content_retention_days=project.content_retention_days,
        ambiguous_policy=project.ambiguous_policy,
    )


async def _sending(session: Session, settings: Settings, project: Project) -> Sequence[Connection]:
    """The account that sends, then (shared accounts only) the one that may take over."""
    if project.mail_connection_id is not None:
        own = await session.get(Connection, project.mail_connection_id)
        return [own] if own is not None else []
    if settings.shared_provider is None:
        return []
    return await connections.shared_accounts(session, settings.shared_provider)


async def _failover(
    session: Session, project: Project, sending: Sequence[Connection]
) -> int | None:
    """Who takes over: never an account that may not carry what the first one may."""
    if project.mail_connection_id is None:
        return sending[1].id if len(sending) > 1 else None
    if project.failover_connection_id is None or not sending:
        return None
    other = await session.get(Connection, project.failover_connection_id)
    if other is None or other.removed_at is not None:
        return None
    return None if sending[0].phi_allowed and not other.phi_allowed else other.id


def require_role(role: str, need: Role) -> None:
    """Raise Forbidden, in the words for what is missing."""
    if RANK[role] >= RANK[need]:
        return
    if need == "owner" and role != "viewer":
        raise Forbidden("Only the project owner can perform this action.", code="owner_required")
    raise Forbidden("Viewers do not have write access to this project.", code="read_only")


def _as_id(text: str) -> UUID | None:
    """The id, or None for what is not one: it matches no project."""
    try:
        found = UUID(text)
    except ValueError:
        return None
    return found if str(found) == text.lower() else None


def not_found() -> NotFound:
    return NotFound("Project not found or access denied.", code="project_not_found")


# ── Making and reading ───────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class View:
    """A project as one of its members sees it."""

    project: Project
    role: str
    own: Sequence[Connection] = ()  # its connections, removed ones too: their sender is remembered

    def provider_of(self, connection_id: int | None) -> str | None:
        return next((c.provider for c in self.own if c.id == connection_id), None)

    def connected(self, provider: str) -> Connection | None:
        """Its own account at this provider, if it is set up."""
        found = self.remembered(provider)
        return found if found is not None and found.removed_at is None else None

    def remembered(self, provider: str) -> Connection | None:
        return next((c for c in self.own if c.provider == provider), None)


@dataclass(frozen=True, slots=True)
class Fresh:
    """A project just made; the only moment at which its keys are known."""

    view: View
    secret_key: str
    publishable_key: str


@dataclass(frozen=True, slots=True)
class NewProject:
    """What a project shall be; keys are made unless given."""

    name: str
    owner_id: UUID
    plan: str = "free"
    secret_key: str = field(default_factory=lambda: keys.new_key("secret"))
    publishable_key: str = field(default_factory=lambda: keys.new_key("publishable"))


async def create(session: Session, settings: Settings, wanted: NewProject) -> Fresh:
    """Make a project, as far as its owner's plan allows."""
    await _require_room(session, plans(settings)[wanted.plan], wanted.owner_id)
    project = Project(id=new_id(), name=wanted.name, plan=wanted.plan)
    keys.set_key(project, "secret", wanted.secret_key)
    keys.set_key(project, "publishable", wanted.publishable_key)
    session.add(project)
    await session.flush()
    session.add(Membership(project_id=project.id, account_id=wanted.owner_id, role="owner"))
    # From here the keys work.
    await session.commit()
    await session.refresh(project)
    return Fresh(View(project, "owner"), wanted.secret_key, wanted.publishable_key)


async def _require_room(session: Session, plan: Plan, owner_id: UUID) -> None:
    if plan.max_projects == UNLIMITED:
        return
    # Two projects made at once are counted one after the other.
    await session.execute(select(Account.id).where(Account.id == owner_id).with_for_update())
    owned = await session.scalar(
        select(func.count())
        .select_from(Membership)
        .join(Project, Project.id == Membership.project_id)
        .where(
            Membership.account_id == owner_id,
            Membership.role == "owner",
            Project.plan == plan.name,
            Project.deleted_at.is_(None),
        )
    )
    if (owned or 0) >= plan.max_projects:
        raise Forbidden(
            f"Project limit reached ({plan.max_projects})."
            " Please upgrade your plan to create more projects.",
            code="project_limit_reached",
        )


async def of_account(session: Session, account_id: UUID) -> list[View]:
    """The projects that this account is a member of, newest first."""
    rows = await session.execute(
        select(Project, Membership.role)
        .join(Membership, Membership.project_id == Project.id)
        .where(Membership.account_id == account_id, Project.deleted_at.is_(None))
        .order_by(Project.id.desc())
    )
    found = [(row.Project, row.role) for row in rows]
    own = await _connections_of(session, [project.id for project, _ in found])
    return [View(project, role, own.get(project.id, ())) for project, role in found]


async def view(session: Session, project_id: UUID, role: str) -> View:
    """One project, for somebody whose role is known already."""
    project = await session.get(Project, project_id)
    if project is None or project.deleted_at is not None:
        raise not_found()
    own = await _connections_of(session, [project_id])
    return View(project, role, own.get(project_id, ()))


async def _connections_of(
    session: Session, project_ids: Sequence[UUID]
) -> Mapping[UUID | None, list[Connection]]:
    rows = await session.scalars(
        select(Connection).where(Connection.project_id.in_(project_ids)).order_by(Connection.id)
    )
    found: dict[UUID | None, list[Connection]] = {}
    for row in rows:
        found.setdefault(row.project_id, []).append(row)
    return found


# ── Changing ─────────────────────────────────────────────────────────────────────────────────────


async def rotate_key(session: Session, redis: Redis, who: audit.Who, kind: KeyType) -> str:
    """Replace a key; the old one stops at once."""
    project = await locked(session, who.project_id)
    fresh = keys.new_key(kind)
    keys.set_key(project, kind, fresh)
    audit.note(session, who, "key.rotated", kind)
    # From here the old key is unknown to whoever looks it up.
    await session.commit()
    await changes.publish(redis, "project", who.project_id)
    return fresh


async def set_plan(session: Session, redis: Redis, project_id: UUID, plan: str) -> None:
    project = await locked(session, project_id)
    project.plan = plan
    # From here the new limits hold.
    await session.commit()
    await changes.publish(redis, "project", project_id)


async def delete(session: Session, redis: Redis, who: audit.Who) -> None:
    """Stop the keys and hide the project; its rows go later, in bounded steps (erasing.py)."""
    project = await locked(session, who.project_id)
    project.deleted_at = func.now()
    for kind in keys.PREFIXES:
        # The old keys may be given to another project (a development set-up does so).
        keys.set_key(project, kind, keys.new_key(kind))
    audit.note(session, who, "project.deleted")
    # From here nobody can send in its name.
    await session.commit()
    await changes.publish(redis, "project", who.project_id)


async def locked(session: Session, project_id: UUID) -> Project:
    """The project, held against other changes until the commit."""
    project = await session.scalar(
        select(Project)
        .where(Project.id == project_id, Project.deleted_at.is_(None))
        .with_for_update()
    )
    if project is None:
        raise not_found()
    return project
