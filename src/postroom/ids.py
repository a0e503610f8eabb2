"""Ids that are made in the process and sort by time (UUIDv7, RFC 9562)."""

import os
import threading
import time
from datetime import UTC, datetime, timedelta
from uuid import UUID

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
        _last = now = max(now, _last + 1)
    milliseconds, fraction = divmod(now, 4096)
    tail = int.from_bytes(os.urandom(8), "big") & ((1 << 62) - 1)
    return UUID(int=(milliseconds << 80) | (0x7 << 76) | (fraction << 64) | (0b10 << 62) | tail)


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
