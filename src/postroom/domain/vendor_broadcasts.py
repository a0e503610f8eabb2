"""Broadcasts that the vendor keeps and sends: passed on, with a slot for each send and the time remembered."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import text

from postroom.domain import quota
from postroom.domain.accept import resolve_sender
from postroom.domain.projects import Caller
from postroom.errors import ProviderRefused, ProviderUnreachable, QuotaExceeded
from postroom.ids import new_id
from postroom.providers.lists import Broadcasts, Draft, Json, PageAsked
from postroom.resources import Resources, Session

_REMEMBER = text(
    """
insert into vendor_broadcasts (project_id, vendor_id, scheduled_at) values (:project, :vendor, :at)
  on conflict (project_id, vendor_id) do update set scheduled_at = excluded.scheduled_at
"""
)
_REMEMBERED = text(
    "select scheduled_at from vendor_broadcasts where project_id = :project and vendor_id = :vendor"
)
_FORGET = text("delete from vendor_broadcasts where project_id = :project and vendor_id = :vendor")
_PAID = text(
    """
insert into vendor_sends (project_id, id, vendor_id, paid_month) values (:project, :id, :vendor, :month)
"""
)
_REFUNDED = text(
    """
update vendor_sends set refunded = true where project_id = :project and id = :id and not refunded
  returning id
"""
)


class VendorBroadcasts(Broadcasts):
    """A project's broadcasts at its vendor."""

    def __init__(self, resources: Resources, caller: Caller, vendor: Broadcasts) -> None:
        self._resources = resources
        self._caller = caller
        self._vendor = vendor

    async def list_broadcasts(self, page: PageAsked) -> Json:
        return await self._vendor.list_broadcasts(page)

    async def create(self, draft: Draft) -> Json:
        made = await self._vendor.create(replace(draft, sender=self._sender(draft.sender)))
        if draft.scheduled_at is not None and isinstance(made.get("id"), str):
            await self._remember(made["id"], draft.scheduled_at)
        return made

    async def get(self, broadcast_id: str) -> Json:
        found = await self._vendor.get(broadcast_id)
        async with self._resources.sessions() as session:
            at = await session.scalar(_REMEMBERED, self._of(broadcast_id))
        if at is not None and not found.get("scheduled_at"):
            # What the vendor will be told when the broadcast is sent.
            found["scheduled_at"] = at
        return found

    async def update(self, broadcast_id: str, changes: Mapping[str, Any]) -> Json:
        given = dict(changes)
        if "sender" in given:
            given["sender"] = self._sender(given["sender"])
        at = given.pop("scheduled_at", None)
        answer = await self._vendor.update(broadcast_id, given) if given else {"id": broadcast_id}
        if at is not None:
            await self._remember(broadcast_id, at)
        return answer

    async def send(self, broadcast_id: str, scheduled_at: datetime | None) -> Json:
        """Pay a slot, then let the vendor send; a refusal gives the slot back."""
        at = scheduled_at or await self._remembered(broadcast_id)
        if at is not None and at <= datetime.now(UTC):
            at = None
        month, paid = quota.this_month(), new_id()
        await self._pay(broadcast_id, month, paid)
        try:
            answer = await self._vendor.send(broadcast_id, at)
        except (ProviderRefused, ProviderUnreachable) as refused:
            # Above 499 nobody can say whether the vendor took it; the slot stays paid.
            if refused.status < 500 or isinstance(refused, ProviderUnreachable):
                await self._refund(month, paid)
            raise
        await self._forget(broadcast_id)
        return answer

    async def cancel(self, broadcast_id: str) -> Json:
        return await self._vendor.cancel(broadcast_id)

    async def delete(self, broadcast_id: str) -> Json:
        answer = await self._vendor.delete(broadcast_id)
        await self._forget(broadcast_id)
        return answer

    def _sender(self, asked: str | None) -> str:
        info = self._caller.connection
        assert info is not None  # noqa: S101 - the gate asked for a connection of the project's own
        return resolve_sender(info, asked)[0]

    def _of(self, broadcast_id: str) -> dict[str, Any]:
        return {"project": self._caller.project_id, "vendor": broadcast_id}

    async def _remember(self, broadcast_id: str, at: datetime) -> None:
        async with self._resources.sessions() as session:
            await session.execute(_REMEMBER, self._of(broadcast_id) | {"at": at})
            # From here a send without a time waits for this one.
            await session.commit()

    async def _remembered(self, broadcast_id: str) -> datetime | None:
        async with self._resources.sessions() as session:
            at: datetime | None = await session.scalar(_REMEMBERED, self._of(broadcast_id))
        return at

    async def _forget(self, broadcast_id: str) -> None:
        async with self._resources.sessions() as session:
            await session.execute(_FORGET, self._of(broadcast_id))
            # The vendor knows the time now, or the broadcast is gone.
            await session.commit()

    async def _pay(self, broadcast_id: str, month: date, paid: UUID) -> None:
        async with self._resources.sessions() as session:
            ask = quota.Ask(1, self._caller.plan.monthly_limit)
            if not await quota.take(session, self._caller.project_id, month, ask):
                raise QuotaExceeded(
                    "Monthly mail limit exceeded.", retry_after=quota.seconds_to_turn()
                )
            await session.execute(_PAID, self._of(broadcast_id) | {"id": paid, "month": month})
            # Paid before the vendor is asked: a crash in between keeps the slot, never sends unpaid.
            await session.commit()

    async def _refund(self, month: date, paid: UUID) -> None:
        async with self._resources.sessions() as session:
            await _refund(session, self._caller.project_id, month, paid)
            # The slot is free again, once.
            await session.commit()


async def _refund(session: Session, project_id: UUID, month: date, paid: UUID) -> None:
    values = {"project": project_id, "id": paid}
    if await session.scalar(_REFUNDED, values) is not None:
        await quota.give_slots_back(session, project_id, month, 1)
