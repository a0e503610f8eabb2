"""Whether this process lives, whether it can work, and the figures that operators watch."""

from typing import Literal

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST
from prometheus_client.samples import Sample

from postroom import metrics
from postroom.api import figures
from postroom.api.deps import Res, bearer_token
from postroom.api.envelope import Nothing, Success, errors, ok
from postroom.api.shapes import Told
from postroom.crypto import same
from postroom.domain import account_health, backlog, measure
from postroom.errors import NotAuthenticated
from postroom.resources import RedisError, Resources

router = APIRouter(tags=["Operations"])


class Ready(Told):
    postgres: Literal["ok"]
    redis: Literal["ok", "away"]
    oldest_due_seconds: float


@router.head("/health/live", include_in_schema=False)
@router.get("/health/live", response_model=Success[Nothing], responses=errors())
async def live() -> Response:
    """This process answers."""
    return ok({}, "Alive.")


@router.head("/health/ready", include_in_schema=False)
@router.get("/health/ready", response_model=Success[Ready], responses=errors())
async def ready(res: Res) -> Response:
    """This process can accept mail: Postgres answers. Without Redis it still can, and says so."""
    async with res.sessions() as session:
        oldest = await backlog.oldest_due_seconds(session)
    redis = await _redis_state(res)
    data = Ready(postgres="ok", redis=redis, oldest_due_seconds=oldest)
    return ok(data, "Ready." if redis == "ok" else "Ready, but Redis is away.")


async def _redis_state(res: Resources) -> Literal["ok", "away"]:
    try:
        await res.redis.ping()
    except RedisError:
        return "away"
    return "ok"


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}}, **errors(401)},
)
async def prometheus(request: Request, res: Res) -> Response:
    """The figures of all processes together, for Prometheus: scrape one API process."""
    token = res.settings.metrics_token
    if token is not None and not same(bearer_token(request), token.get_secret_value()):
        raise NotAuthenticated("The metrics need their bearer token.", code="token_invalid")
    await _look_at_backlog(res)
    await _look_at_reports(res)
    return Response(figures.render(await _totals(res)), media_type=CONTENT_TYPE_LATEST)


async def _totals(res: Resources) -> list[Sample]:
    """The counters of all processes; without Redis those of this one must do."""
    try:
        return await measure.totals(res.redis)
    except RedisError:
        return []


async def _look_at_reports(res: Resources) -> None:
    try:
        metrics.SILENT_ACCOUNTS.set(await account_health.silent_accounts(res.redis))
    except RedisError:
        # Without Redis nobody knows; the figure stays what it was.
        return


async def _look_at_backlog(res: Resources) -> None:
    seen = await backlog.look(res.sessions)
    metrics.OLDEST_DUE_SECONDS.set(seen.oldest_seconds)
    metrics.DUE_MAILS.labels("transactional").set(seen.transactional)
    metrics.DUE_MAILS.labels("bulk").set(seen.bulk)
