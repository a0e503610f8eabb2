"""A double as a process: `/_report` tells what it took, `/_faults` sets its switches, `/_reset` forgets.

GET /_report  /_refs  /_faults     POST /_faults (switches as JSON)  /_reset  /_forget-keys
"""

import argparse
import asyncio
import signal
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import orjson

from tests.doubles.faults import Faults
from tests.doubles.ledger import Ledger
from tests.doubles.wire import Exchange

try:
    import uvloop
except ImportError:  # it is a matter of speed only
    uvloop = None  # type: ignore[assignment]


class Double(Protocol):
    """What a server must be to be looked into from outside."""

    faults: Faults
    ledger: Ledger

    @property
    def port(self) -> int: ...
    @property
    def url(self) -> str: ...
    def report(self) -> dict[str, Any]: ...
    def reset(self) -> None: ...


def answer(double: Double, exchange: Exchange) -> None:
    """Answer a question or an order that no vendor knows."""
    match exchange.method, exchange.path:
        case "GET", "/_report":
            exchange.answer_json(200, double.report())
        case "GET", "/_refs":
            exchange.answer_json(200, list(double.ledger.refs))
        case "GET", "/_faults":
            exchange.answer_json(200, asdict(double.faults))
        case "POST", "/_faults":
            try:
                double.faults.set(**orjson.loads(exchange.body))
            except (ValueError, TypeError) as error:
                exchange.answer_json(400, {"message": str(error)})
                return
            exchange.answer_json(200, asdict(double.faults))
        case "POST", "/_reset":
            double.reset()
            exchange.answer_json(200, {})
        case "POST", "/_forget-keys":
            # As a vendor does when a key's time is over: under it a mail would now be sent again.
            double.ledger.keys.clear()
            exchange.answer_json(200, {})
        case _:
            exchange.answer_json(404, {"message": "no such control"})


Make = Callable[..., Any]  # a double, entered as a context manager


async def _serve(make: Make, port: int, journal: Path | None, switches: dict[str, Any]) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    running: AbstractAsyncContextManager[Double] = make(port=port, journal=journal, **switches)
    async with running as double:
        sys.stdout.write(orjson.dumps({"port": double.port, "url": double.url}).decode() + "\n")
        sys.stdout.flush()
        await stopped.wait()


def _switch(text: str) -> tuple[str, Any]:
    name, _, value = text.partition("=")
    try:
        return name, orjson.loads(value)
    except orjson.JSONDecodeError:
        return name, value


def main(name: str, make: Make) -> None:
    """Serve until SIGTERM; the first line of output is the address as JSON."""
    parser = argparse.ArgumentParser(prog=f"python -m {name}")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--journal", type=Path)
    parser.add_argument("--set", action="append", default=[], type=_switch, metavar="SWITCH=JSON")
    given = parser.parse_args()
    loops = uvloop.new_event_loop if uvloop is not None else None
    with asyncio.Runner(loop_factory=loops) as runner:
        runner.run(_serve(make, given.port, given.journal, dict(given.set)))
