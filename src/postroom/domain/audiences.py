"""Who keeps a project's audiences and broadcasts: its vendor, where that has some of its own, or we."""

import asyncio
import logging
import re

from postroom.domain import pace
from postroom.domain.broadcasts import OwnBroadcasts
from postroom.domain.connections import (
    ConnectionBook,
    ConnectionGone,
    ConnectionInfo,
    OpenConnection,
)
from postroom.domain.contacts import OwnAudiences
from postroom.domain.pace import Lesson
from postroom.domain.projects import Caller
from postroom.domain.vendor_broadcasts import VendorBroadcasts
from postroom.errors import Forbidden, InvalidPayload, RateLimited, Unsupported
from postroom.providers import BY_NAME
from postroom.providers.lists import Audiences, Broadcasts
from postroom.queue import TRANSACTIONAL
from postroom.resources import RedisError, Resources

log = logging.getLogger(__name__)

NO_AUDIENCES = "This feature requires a BYOK Resend key. Configure it in Project Settings."
NO_CONTACTS = "Contacts require a custom Resend API Key (BYOK)."
NO_BROADCASTS = "Broadcasts require both BYOK and Pro plan."
BAD_ID = "Invalid audience/contact id format."
BAD_BROADCAST_ID = "Invalid broadcast id format."

_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
_PATIENCE = 5.0  # seconds for which a person's question waits for its turn at the vendor


def check_ids(sentence: str, *ids: str) -> None:
    """Refuse what can be nobody's id."""
    if not all(_ID.fullmatch(one) for one in ids):
        raise InvalidPayload(sentence, code="invalid_id")


def own_connection(caller: Caller, sentence: str) -> ConnectionInfo:
    """The project's own account; on a shared one nobody keeps lists."""
    if caller.connection is None or not caller.connection.own:
        raise Forbidden(sentence, code="byok_required")
    return caller.connection


def may_broadcast(caller: Caller) -> ConnectionInfo:
    """The account of a project that may send broadcasts."""
    info = own_connection(caller, NO_BROADCASTS)
    if not caller.plan.pro:
        raise Forbidden(NO_BROADCASTS, code="pro_required")
    return info


def kept_by_vendor(info: ConnectionInfo) -> bool:
    return BY_NAME[info.provider].capabilities.audiences


async def audiences(
    resources: Resources, book: ConnectionBook, caller: Caller, info: ConnectionInfo
) -> Audiences:
    """Who keeps this project's audiences; for a vendor, with leave for one call."""
    if not kept_by_vendor(info):
        return OwnAudiences(resources, caller.project_id)
    return (await _vendor(resources, book, info)).provider.audiences()


async def broadcasts(
    resources: Resources, book: ConnectionBook, caller: Caller, info: ConnectionInfo
) -> Broadcasts:
    """Who keeps and sends this project's broadcasts; for a vendor, with leave for one call."""
    if not kept_by_vendor(info):
        return OwnBroadcasts(resources, caller, info)
    vendor = await _vendor(resources, book, info)
    return VendorBroadcasts(resources, caller, vendor.provider.broadcasts())


def own_audiences(resources: Resources, caller: Caller, info: ConnectionInfo) -> OwnAudiences:
    """Our own, for what no vendor offers through us."""
    _require_ours(info)
    return OwnAudiences(resources, caller.project_id)


def own_broadcasts(resources: Resources, caller: Caller, info: ConnectionInfo) -> OwnBroadcasts:
    """Our own, for what no vendor offers through us."""
    _require_ours(info)
    return OwnBroadcasts(resources, caller, info)


def _require_ours(info: ConnectionInfo) -> None:
    if kept_by_vendor(info):
        title = BY_NAME[info.provider].title
        raise Unsupported(f"{title} keeps these lists itself; use its dashboard for this.")


async def _vendor(
    resources: Resources, book: ConnectionBook, info: ConnectionInfo
) -> OpenConnection:
    try:
        connection = await book.get(info.id)
    except ConnectionGone:
        raise Forbidden(NO_AUDIENCES, code="byok_required") from None
    await take_leave(resources, connection)
    return connection


async def take_leave(resources: Resources, connection: OpenConnection) -> None:
    """Wait for a turn at the account's pace; a call that a person waits for counts like any other."""
    loop = asyncio.get_running_loop()
    give_up = loop.time() + _PATIENCE
    try:
        while True:
            leave = await pace.take(
                resources.redis, connection.info.id, 1, TRANSACTIONAL, pace.rate_of(connection)
            )
            if leave.slots:
                slot = leave.slots[0]
                await asyncio.sleep(max(0.0, slot.at - loop.time()))
                # Given back as if the call were instant and at its latest: its second counts from here.
                await pace.give(resources.redis, connection.info.id, slot, Lesson(loop.time(), 0.1))
                return
            if loop.time() + leave.wait > give_up:
                raise RateLimited(
                    "The provider account is busy. Please try again in a moment.",
                    retry_after=leave.wait,
                )
            await asyncio.sleep(leave.wait)
    except RedisError:
        # One question more than the account's pace is better than no answer.
        log.warning("vendor asked without the shared pace")
