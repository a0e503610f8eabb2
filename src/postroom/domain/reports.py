"""A vendor's webhook on its way to the mails: proven, known, confirmed where it is unsigned, then tracked."""

from collections.abc import Sequence
from dataclasses import replace

from postroom import metrics
from postroom.domain import account_health, pace, track
from postroom.domain.connections import OpenConnection
from postroom.domain.status import EVENT_STATES, State
from postroom.providers.base import DeliveryEvent, EventKind, WebhookRequest
from postroom.queue import BULK
from postroom.resources import RedisError, Resources


async def take_in(resources: Resources, connection: OpenConnection, request: WebhookRequest) -> int:
    """Track what the vendor reports; how many events were new. Raises what `Provider.receive` raises."""
    events: Sequence[DeliveryEvent] = await connection.provider.receive(request)
    number = connection.info.id
    doubted: Sequence[DeliveryEvent] = ()
    if not connection.provider.capabilities.signed_webhooks:
        # Whatever else the vendor's organisation sends is none of this connection's business.
        known = await track.known_among(resources, number, events)
        doubted = await _doubted(resources, connection, known)
        events = [_as_sign(event) if event in doubted else event for event in known]
    fresh = await track.track_events(resources, number, events)
    if doubted:
        ids = [event.provider_id for event in doubted if event.provider_id]
        await track.ask_soon(resources, number, ids)
    await account_health.count(resources.redis, number, account_health.TOLD, fresh)
    return fresh


async def _doubted(
    resources: Resources, connection: OpenConnection, events: Sequence[DeliveryEvent]
) -> list[DeliveryEvent]:
    """The final states that the vendor, asked now if the pace allows it, does not confirm."""
    final = [e for e in events if EVENT_STATES.get(e.kind, State.QUEUED) > State.DEFERRED]
    if not final:
        return []
    confirmed: Sequence[DeliveryEvent] = ()
    if await _may_ask(resources, connection):
        confirmed = await connection.provider.confirm(final)
    left = [event for event in final if event not in confirmed]
    result = "later" if left else "confirmed"
    metrics.CONFIRMATIONS.labels(connection.provider.name, result).inc()
    return left


def _as_sign(event: DeliveryEvent) -> DeliveryEvent:
    """What an unconfirmed event still says: that the vendor has the mail, and under which id."""
    kind = EventKind.ACCEPTED
    return replace(event, event_id=f"sign:{event.event_id}", kind=kind, reason=None, code=None)


async def _may_ask(resources: Resources, connection: OpenConnection) -> bool:
    """Leave for one question; its slot frees itself."""
    try:
        leave = await pace.take(
            resources.redis, connection.info.id, 1, BULK, pace.rate_of(connection)
        )
    except RedisError:
        return False
    return bool(leave.slots)
