"""The real `postroom` command in a process that lives at another time of day.

    python -m tests.crash.elsewhen 2678400 api --port 8000

The clock is moved before anything of the product is imported, so that all of it believes the clock. Monotonic
clocks stay, and so does the database's.
"""

import datetime
import importlib
import sys
import time
from typing import Any

import asyncpg  # noqa: F401 - its compiled half wants the datetime that it was compiled with

_EARLY = ("postroom", "sqlalchemy", "pydantic", "redis", "fastapi")


def move_clock(seconds: float) -> None:
    """Let this process live so many seconds later."""
    if early := [name for name in _EARLY if name in sys.modules]:
        raise RuntimeError(f"{', '.join(early)} already took the machine's clock")
    real, real_ns, moment = time.time, time.time_ns, datetime.datetime
    shift = datetime.timedelta(seconds=seconds)

    class Kind(type):
        """What libraries make without asking us (the database's values) is a datetime like any other."""

        def __instancecheck__(cls, value: object) -> bool:
            return isinstance(value, moment)

        def __subclasscheck__(cls, kind: type) -> bool:
            return issubclass(kind, moment)

    class Moved(moment, metaclass=Kind):
        """`datetime` with another now; every instance that it makes is a plain one."""

        def __new__(cls, *given: Any, **named: Any) -> Any:
            return moment(*given, **named)

        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Any:
            return moment.now(tz) + shift

        @classmethod
        def utcnow(cls) -> Any:
            return moment.now(datetime.UTC).replace(tzinfo=None) + shift

        fromtimestamp = moment.fromtimestamp
        fromisoformat = moment.fromisoformat
        strptime = moment.strptime
        combine = moment.combine

    time.time = lambda: real() + seconds
    time.time_ns = lambda: real_ns() + int(seconds * 1e9)
    datetime.datetime = Moved  # type: ignore[misc]


def main() -> int:
    seconds, *command = sys.argv[1:]
    move_clock(float(seconds))
    return int(importlib.import_module("postroom.cli").main(command))


if __name__ == "__main__":
    sys.exit(main())
