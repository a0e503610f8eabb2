"""create_app(): every door and who stands at it."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any
from uuid import UUID

from fastapi import APIRouter, FastAPI, Request, Response
from redis.exceptions import RedisError
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.middleware.cors import CORSMiddleware

from postroom import __version__
from postroom.api import (
    accounts,
    audiences,
    batch,
    broadcasts,
    health,
    imports,
    logs,
    members,
    openapi,
    overview,
    projects,
    providers,
    rehearse,
    repair,
    scheduled,
    send,
    suppressions,
    templates,
    unsubscribe,
    webhook,
)
from postroom.api.envelope import failure, install, unexpected
from postroom.api.shell import BodyLimit, Shell
from postroom.api.short_way import STATE, Desk
from postroom.dashboard import api_pages, mail_view, pages
from postroom.domain import changes, connections, loops, measure
from postroom.domain.accept import Acceptor
from postroom.domain.changes import Change
from postroom.domain.connections import ConnectionBook
from postroom.domain.filling import Filler
from postroom.domain.intake import Intake
from postroom.domain.projects import CallerCache
from postroom.domain.rates import Rates
from postroom.domain.rendering import Renderer
from postroom.domain.tries import Tries
from postroom.errors import Overloaded
from postroom.resources import Resources, open_resources
from postroom.settings import Settings, load_settings

ROUTERS: tuple[APIRouter, ...] = (
    accounts.router,
    projects.router,
    members.router,
    providers.router,
    rehearse.router,
    send.router,
    batch.router,
    templates.router,
    repair.router,
    scheduled.router,
    logs.router,
    overview.router,
    imports.router,
    audiences.router,
    broadcasts.router,
    suppressions.router,
    unsubscribe.router,
    webhook.router,
    health.router,
    api_pages.router,
    pages.router,
    mail_view.router,
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
        # Its own pages would load their scripts from somebody else's network.
        docs_url=None,
        redoc_url=None,
    )
    for router in ROUTERS:
        app.include_router(router)
    openapi.install(app)
    _stand_around(app, known)
    return app


def _lifespan(
    given: Resources | None, settings: Settings
) -> Callable[[FastAPI], AbstractAsyncContextManager[dict[str, Any]]]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        async with AsyncExitStack() as stack:
            if given is not None:
                await _open_doors(app, given, stack)
            else:
                own = await stack.enter_async_context(open_resources(settings))
                await _open_doors(app, own, stack)
            state = app.state
            yield {STATE: Desk(state.callers, state.rates, state.acceptor)}

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
    intake = Intake(resources.pg, resources.sessions, resources.redis)
    state.filler = Filler(resources.sessions, Renderer())
    state.acceptor = Acceptor(resources.keys, state.connections, intake, state.filler)
    tasks = [
        loops.start("intake", intake.write_forever),
        loops.start("changes", lambda: changes.listen(resources, _forgetting(app))),
        loops.start("measure", lambda: measure.flush_forever(resources.redis)),
    ]
    stack.push_async_callback(loops.stop, tasks)
    # Everything that was answered for is written before the writer stops.
    stack.push_async_callback(intake.drain)


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


# ── Around every request ─────────────────────────────────────────────────────────────────────────


def _stand_around(app: FastAPI, settings: Settings) -> None:
    install(app)
    for kind in (DBAPIError, PoolTimeout, RedisError, ConnectionError, TimeoutError):
        app.add_exception_handler(kind, _on_outage)
    app.add_middleware(BodyLimit, files={imports.PATH: imports.MOST_BYTES})
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
