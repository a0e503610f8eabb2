"""Providers report here: verified over the raw bytes, answered at once, never limited by rate."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response

from postroom import metrics
from postroom.api.deps import Res
from postroom.api.envelope import Nothing, Success, errors, ok
from postroom.domain import connections, reports
from postroom.domain.connections import ConnectionBook, ConnectionGone
from postroom.errors import InvalidPayload, NotFound, Unsealable, Unsupported
from postroom.providers.base import WebhookNotConfigured, WebhookRefused, WebhookRequest
from postroom.resources import Resources

router = APIRouter(tags=["Webhooks"])

PROCESSED = "Webhook processed."
IGNORED = "Webhook ignored: secret not configured."
REFUSED = "Webhook signature verification failed."
GONE = "This webhook address does not exist."


async def _read(request: Request) -> WebhookRequest:
    return WebhookRequest(dict(request.headers), await request.body(), dict(request.query_params))


async def _track(
    request: Request, resources: Resources, connection_id: int, provider: str
) -> Response:
    book: ConnectionBook = request.app.state.connections
    try:
        connection = await book.get(connection_id)
        if connection.provider.name != provider:
            raise NotFound(GONE)
        await reports.take_in(resources, connection, await _read(request))
    except (ConnectionGone, Unsupported):
        raise NotFound(GONE) from None
    except WebhookRefused:
        metrics.WEBHOOK_REFUSALS.labels(provider).inc()
        raise InvalidPayload(REFUSED, code="webhook_refused") from None
    except (WebhookNotConfigured, Unsealable):
        metrics.WEBHOOKS_NOT_CONFIGURED.labels(provider).inc()
        return ok({}, IGNORED)
    return ok({}, PROCESSED)


_ANSWERS: dict[str, Any] = {"response_model": Success[Nothing], "responses": errors(400, 413, 415)}


@router.post("/api/mail/webhook", summary="Events of the shared Resend account", **_ANSWERS)
async def shared_webhook(request: Request, resources: Res) -> Response:
    """Svix signature with RESEND_WEBHOOK_SECRET over the raw bytes."""
    book: ConnectionBook = request.app.state.connections
    shared = await book.shared("resend")
    if not shared:
        metrics.WEBHOOKS_NOT_CONFIGURED.labels("resend").inc()
        return ok({}, IGNORED)
    return await _track(request, resources, shared[0], "resend")


@router.post(
    "/api/mail/webhook/{provider}/{token}",
    summary="Events of one provider connection",
    response_model=Success[Nothing],
    responses=errors(400, 404, 413, 415, 502, 504),
)
async def connection_webhook(
    request: Request,
    resources: Res,
    provider: Annotated[str, Path(max_length=32)],
    token: Annotated[str, Path(max_length=128)],
) -> Response:
    """The address is `webhookUrl` of the connection; each provider proves itself in its own way."""
    book: ConnectionBook = request.app.state.connections
    connection_id = await connections.by_shared_token(resources.settings, book, provider, token)
    if connection_id is None:
        connection_id = connections.by_webhook_token(resources.keys, token)
    return await _track(request, resources, connection_id, provider)
