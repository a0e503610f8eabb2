"""create_app(): every door and who stands at it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from typing import Any
from uuid import UUID

from fastapi import APIRouter, FastAPI, Request, Response
from pydantic.json_schema import models_json_schema
from redis.exceptions import RedisError
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.middleware.cors import CORSMiddleware

from postroom import __version__
from postroom.api import accounts, health, members, projects, providers
from postroom.api.body import DOCUMENTED
from postroom.api.envelope import failure, install, unexpected
from postroom.api.shell import BodyLimit, Shell
from postroom.domain import changes, connections
from postroom.domain.changes import Change
from postroom.domain.connections import ConnectionBook
from postroom.domain.projects import CallerCache
from postroom.domain.rates import Rates
from postroom.domain.tries import Tries
from postroom.errors import Overloaded
from postroom.resources import Resources, open_resources
from postroom.settings import Settings, load_settings

ROUTERS: tuple[APIRouter, ...] = (
    accounts.router,
    projects.router,
    members.router,
    providers.router,
    health.router,
)


def create_app(resources: Resources | None = None, settings: Settings | None = None) -> FastAPI:
    """The API over the given resources, or over its own for as long as it runs."""
    known = settings or (resources.settings if resources else load_settings())
    app = FastAPI(
        title="Postroom",
        version=__version__,
        summary="One HTTP API in front of Resend, Paubox, Amazon SES and SMTP.",
        lifespan=_lifespan(resources, known),
        redirect_slashes=False,
    )
    for router in ROUTERS:
        app.include_router(router)
    app.openapi = _documented(app, app.openapi)  # type: ignore[method-assign]  # FastAPI's own way
    _stand_around(app, known)
    return app


def _lifespan(
    given: Resources | None, settings: Settings
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            if given is not None:
                await _open_doors(app, given, stack)
            else:
                own = await stack.enter_async_context(open_resources(settings))
                await _open_doors(app, own, stack)
            yield

    return lifespan


async def _open_doors(app: FastAPI, resources: Resources, stack: AsyncExitStack) -> None:
    """What the routes share in this process, in order of need; closed in reverse."""
    state = app.state
    state.resources = resources
    state.connections = ConnectionBook(resources)
    state.callers = CallerCache(resources)
    state.rates = Rates(resources.redis)
    state.tries = Tries(resources.redis)
    async with resources.sessions() as session:
        await connections.ensure_shared(session, resources.settings, resources.keys)
    listener = asyncio.create_task(changes.listen(resources, _forgetting(app)), name="changes")
    stack.push_async_callback(_stopped, listener)


def _forgetting(app: FastAPI) -> changes.OnChange:
    """Forget what changed, whichever process changed it."""
    callers: CallerCache = app.state.callers
    book: ConnectionBook = app.state.connections

    def forget(change: Change) -> None:
        if change.kind == "project":
            callers.forget(UUID(change.id))
        elif change.kind == "connection":
            book.forget(int(change.id))
            callers.forget_connection(int(change.id))
        elif change.kind == "everything":
            book.forget(None)
            callers.forget_all()

    return forget


async def _stopped(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


# ── Around every request ─────────────────────────────────────────────────────────────────────────


def _stand_around(app: FastAPI, settings: Settings) -> None:
    install(app)
    for kind in (DBAPIError, PoolTimeout, RedisError, ConnectionError, TimeoutError):
        app.add_exception_handler(kind, _on_outage)
    app.add_middleware(BodyLimit)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.cors_origins),
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=["X-Request-Id", "Retry-After", "Idempotent-Replayed"],
        )
    app.add_middleware(Shell)


async def _on_outage(request: Request, error: Exception) -> Response:
    """The database or Redis is away: say so and when to come again."""
    if isinstance(error, DBAPIError) and not _is_outage(error):
        return unexpected(error)
    return failure(
        Overloaded("The service is not available at the moment. Please try again.", retry_after=1)
    )


# Connection, resources, operator intervention, lock and statement timeouts, deadlocks.
_OUTAGES = ("08", "53", "57", "55P03", "40")


def _is_outage(error: DBAPIError) -> bool:
    state = str(getattr(error.orig, "sqlstate", None) or "")
    return error.connection_invalidated or state.startswith(_OUTAGES)


# ── The OpenAPI document ─────────────────────────────────────────────────────────────────────────


def _documented(app: FastAPI, made: Callable[[], dict[str, Any]]) -> Callable[[], dict[str, Any]]:
    """The document that FastAPI makes, and the models of bodies that our routes read themselves."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = made()
            _, extra = models_json_schema(
                [(model, "validation") for model in DOCUMENTED.values()],
                ref_template="#/components/schemas/{model}",
            )
            schemas = document.setdefault("components", {}).setdefault("schemas", {})
            for name, schema in extra.get("$defs", {}).items():
                schemas.setdefault(name, schema)
            app.openapi_schema = document
        return app.openapi_schema

    return openapi
