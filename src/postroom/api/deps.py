"""Who may come in, and what a route needs at hand."""

import ipaddress
from collections.abc import AsyncIterator
from functools import cache
from typing import Annotated, Any

from fastapi import Depends, Path, Request, Security
from fastapi.openapi.models import APIKey, APIKeyIn, HTTPBearer
from fastapi.security.base import SecurityBase

from postroom.domain import accounts
from postroom.domain.accounts import Identity
from postroom.domain.projects import Caller, CallerCache, Role
from postroom.domain.rates import Rates
from postroom.resources import Resources, Session

# ── What is at hand ──────────────────────────────────────────────────────────────────────────────


async def _resources(request: Request) -> Resources:
    return request.app.state.resources  # type: ignore[no-any-return]  # Starlette's state is untyped


async def _session(request: Request) -> AsyncIterator[Session]:
    async with request.app.state.resources.sessions() as session:
        yield session


async def _callers(request: Request) -> CallerCache:
    return request.app.state.callers  # type: ignore[no-any-return]  # as above


Res = Annotated[Resources, Depends(_resources)]
Db = Annotated[Session, Depends(_session)]
Callers = Annotated[CallerCache, Depends(_callers)]


# ── Who comes in ─────────────────────────────────────────────────────────────────────────────────


class KeyDoor(SecurityBase):
    """Lets a project in by its secret key, as often as its plan says."""

    def __init__(self) -> None:
        self.model = APIKey(
            **{"in": APIKeyIn.header}, name="x-api-key", description="A project's secret key."
        )
        self.scheme_name = "apiKey"

    async def __call__(self, request: Request) -> Caller:
        callers: CallerCache = request.app.state.callers
        rates: Rates = request.app.state.rates
        key = request.headers.get("x-api-key", "")
        caller = callers.peek(key) or await callers.by_key(key)
        await rates.admit(caller.project_id, caller.plan.rate_per_minute)
        return caller


class _BearerScheme(SecurityBase):
    def __init__(self) -> None:
        self.model = HTTPBearer(bearerFormat="JWT", description="The token of a sign-in.")
        self.scheme_name = "bearer"


class BearerDoor(_BearerScheme):
    """Lets an account into a project in which it has at least the role."""

    def __init__(self, need: Role) -> None:
        super().__init__()
        self._need = need

    async def __call__(
        self, request: Request, project_id: Annotated[str, Path(alias="projectId")]
    ) -> Caller:
        callers: CallerCache = request.app.state.callers
        return await callers.by_bearer(bearer_token(request), project_id, self._need)


class AccountDoor(_BearerScheme):
    """Lets an account in."""

    async def __call__(self, request: Request) -> Identity:
        resources: Resources = request.app.state.resources
        async with resources.sessions() as session:
            return await accounts.by_token(session, resources.settings, bearer_token(request))


def ByBearer(need: Role) -> Any:  # noqa: N802 - it stands where a type stands
    """`Annotated[Caller, ByBearer("admin")]`"""
    return Security(BearerDoor(need))


ByKey = Annotated[Caller, Security(KeyDoor())]
ByAccount = Annotated[Identity, Security(AccountDoor())]
AsViewer = Annotated[Caller, ByBearer("viewer")]
AsAdmin = Annotated[Caller, ByBearer("admin")]
AsOwner = Annotated[Caller, ByBearer("owner")]


def bearer_token(request: Request) -> str:
    """The token of the Authorization header, or nothing."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


# ── Where they come from ─────────────────────────────────────────────────────────────────────────

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@cache
def _networks(trusted: str) -> tuple[Network, ...]:
    parts = (part.strip() for part in trusted.split(","))
    return tuple(ipaddress.ip_network(part, strict=False) for part in parts if part)


def _is_trusted(address: str, networks: tuple[Network, ...]) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(parsed in network for network in networks)


def client_address(request: Request, trusted: str) -> str:
    """The caller's address: X-Forwarded-For counts only as far as it was written by TRUSTED_PROXIES."""
    networks = _networks(trusted)
    address = request.client.host if request.client else ""
    hops = [hop.strip() for hop in request.headers.get("x-forwarded-for", "").split(",")]
    while hops and _is_trusted(address, networks):
        nearer = hops.pop()
        if not nearer:
            break
        address = nearer
    return address
