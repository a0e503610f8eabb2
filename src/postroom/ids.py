"""Ids that are made in the process and sort by time (UUIDv7, RFC 9562)."""

import os
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

from asyncpg.pgproto import pgproto

# The driver's own kind of UUID: a UUID in every way, made and written in a fraction of the time.
_Uuid: Callable[[bytes], UUID] = pgproto.UUID

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_lock = threading.Lock()
_last = 0


def new_id() -> UUID:
    """A UUIDv7; two ids of one process never share their time, so they sort in the order of making.

    The 12 bits after the milliseconds carry its fraction in steps of 1/4096 ms.
    """
    global _last  # noqa: PLW0603 - the clock of this process is one thing, and it must not stand still
    with _lock:
        now = time.time_ns() * 4096 // 1_000_000
        if now <= _last:
            now = _last + 1
        _last = now
    head = (now >> 12) << 16 | 0x7000 | (now & 0xFFF)
    tail = os.urandom(8)
    return _Uuid(b"%b%c%b" % (head.to_bytes(8, "big"), 0x80 | (tail[0] & 0x3F), tail[1:]))


def seconds_of(made: UUID) -> float:
    """When an id was made, in seconds since 1970; ids in order have times in order."""
    number = made.int
    # Whole microseconds, so that the database's rounding keeps that order.
    return ((number >> 80) * 1000 + ((number >> 64) & 0xFFF) * 1000 // 4096) / 1e6


def time_of(made: UUID) -> datetime:
    """The same as a moment."""
    return datetime.fromtimestamp(seconds_of(made), UTC)


def first_id_at(moment: datetime) -> UUID:
    """The lowest id that could be made at a moment: the bound of a range of time."""
    milliseconds = int((moment - _EPOCH) / timedelta(milliseconds=1))
    return UUID(int=max(0, milliseconds) << 80)
