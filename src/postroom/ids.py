"""Ids that are made in the process and sort by time (UUIDv7, RFC 9562)."""

import os
import threading
import time
from uuid import UUID

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
