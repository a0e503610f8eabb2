"""The process that owns the embedded servers: when its launcher goes, however it goes, they go.

It is run as `python -m postroom.embedded.guardian DATA_DIR`, in a session of its own, and speaks
JSON lines on stdout: `planned` (the URLs, before anything runs), `ready`, `failed`.
"""

import argparse
import contextlib
import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from postroom.embedded.binaries import find_postgres, find_redis_server
from postroom.embedded.command import CommandFailed
from postroom.embedded.datadir import (
    DataDir,
    locked,
    open_data_dir,
    password_of,
    read_state,
    write_state,
)
from postroom.embedded.placement import place, reachable_program
from postroom.embedded.postgres import Postgres
from postroom.embedded.server import STOP_SECONDS, Server, start_log_anew
from postroom.embedded.valkey import Valkey

# A guardian that is just about to end still holds the lock.
_LOCK_SECONDS = 0.5
_STOPPING_LOCK_SECONDS = STOP_SECONDS + 5
_KINDS: dict[str, type[Server]] = {kind.name: kind for kind in (Postgres, Valkey)}
_STDIN = 0
_STDOUT = 1


class Ended(Exception):
    """The launcher is gone, or asked for the end."""


class Wakeups:
    """Everything the guardian waits for besides its servers: the launcher's pipe, and signals."""

    def __init__(self) -> None:
        self.asked_to_end = 0
        self._signals, wake = socket.socketpair()
        self._signals.setblocking(False)
        wake.setblocking(False)
        self._wake = wake
        signal.set_wakeup_fd(wake.fileno())
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._count)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        # Its handler has nothing to do: a server that ends only has to interrupt the wait.
        signal.signal(signal.SIGCHLD, lambda number, frame: None)

    def watch(self, seconds: float | None) -> None:
        """Waits for a while, or until something happens; raises when it is time to end."""
        signals = self._signals.fileno()
        readable, _, _ = select.select([_STDIN, signals], [], [], seconds)
        if signals in readable:
            self._signals.recv(4096)
        if self.asked_to_end or (_STDIN in readable and not os.read(_STDIN, 1024)):
            raise Ended

    def _count(self, number: int, frame: FrameType | None) -> None:
        self.asked_to_end += 1


def main() -> int:
    wakeups = Wakeups()
    args = _arguments()
    try:
        guard(open_data_dir(args.data_dir), args.servers.split(","), wakeups, fast=args.fast)
    except CommandFailed as failure:
        _report({"event": "failed", "sentence": str(failure)})
        return 1
    except Ended:
        return 0
    return 0


def guard(data: DataDir, names: list[str], wakeups: Wakeups, *, fast: bool) -> None:
    """Runs these servers until the launcher ends or one of them does."""
    with _own(data):
        servers = _plan(data, names, fast=fast)
        _report({"event": "planned", "urls": _urls(servers)})
        with _stopped_at_the_end(data, servers, wakeups):
            _start(servers, wakeups)
            write_state(data, _urls(servers))
            _report({"event": "ready", "urls": _urls(servers)})
            _wait_for_an_end(servers, wakeups)


@contextlib.contextmanager
def _own(data: DataDir) -> Iterator[None]:
    """Holds the lock; waits for a predecessor that is on its way out."""
    started = time.monotonic()
    while True:
        with locked(data.servers_lock) as free:
            if free:
                data.state.unlink(missing_ok=True)
                yield
                return
        state = read_state(data)
        patience = _STOPPING_LOCK_SECONDS if state.get("stopping") else _LOCK_SECONDS
        if time.monotonic() - started > patience:
            raise CommandFailed(_already_running(data, state))
        time.sleep(0.02)


def _already_running(data: DataDir, state: dict[str, Any]) -> str:
    # Without what stands before the @: this sentence ends up on terminals and in logs.
    addresses = [str(url).rpartition("@")[2] for url in state.values() if isinstance(url, str)]
    at = f" at {' and '.join(addresses)}" if addresses else ""
    return f"The servers of {data.root} are already running{at}."


def _plan(data: DataDir, names: list[str], *, fast: bool) -> list[Server]:
    # Found before anything is written: a machine without them gets its sentence first.
    programs = {name: _find(name) for name in names}
    password = password_of(data)
    placement = place(data, os.environ, password)
    return [
        _KINDS[name](data, placement, reachable_program(program, placement), password, fast=fast)
        for name, program in programs.items()
    ]


def _find(name: str) -> Path:
    if name == Postgres.name:
        return find_postgres(os.environ) / "postgres"
    return find_redis_server(os.environ)


def _urls(servers: list[Server]) -> dict[str, str]:
    return {server.name: server.url for server in servers}


def _start(servers: list[Server], wakeups: Wakeups) -> None:
    # Each is launched before the first is waited for, so that they start side by side.
    for server in servers:
        start_log_anew(server.log)
        server.prepare(wakeups.watch)
        server.launch()
    for server in servers:
        server.await_ready(wakeups.watch)


def _wait_for_an_end(servers: list[Server], wakeups: Wakeups) -> None:
    while True:
        for server in servers:
            # Visible, rather than quietly restarted: the application must notice as well.
            if server.process and server.has_ended():
                code = server.process.returncode
                raise CommandFailed(
                    f"{server.title} ended on its own (exit code {code}); see {server.log}."
                )
        wakeups.watch(None)


@contextlib.contextmanager
def _stopped_at_the_end(data: DataDir, servers: list[Server], wakeups: Wakeups) -> Iterator[None]:
    try:
        yield
    finally:
        # Somebody may have deleted the directory under us; the servers go all the same.
        with contextlib.suppress(FileNotFoundError):
            write_state(data, {"stopping": True})
        _stop(servers, wakeups)
        data.state.unlink(missing_ok=True)


def _stop(servers: list[Server], wakeups: Wakeups) -> None:
    deadline = time.monotonic() + STOP_SECONDS
    asked_before = wakeups.asked_to_end
    for server in servers:
        server.ask_to_stop()
    # A signal that comes now says: do not wait any longer.
    while any(server.process and not server.has_ended() for server in servers):
        if time.monotonic() > deadline or wakeups.asked_to_end > asked_before:
            break
        time.sleep(0.01)
    for server in servers:
        server.kill()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="postroom.embedded.guardian")
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("--servers", required=True)
    parser.add_argument("--fast", action="store_true")
    return parser.parse_args()


def _report(event: dict[str, Any]) -> None:
    # A launcher that is gone reads nothing; its end is noticed at stdin.
    with contextlib.suppress(BrokenPipeError):
        os.write(_STDOUT, json.dumps(event).encode() + b"\n")


if __name__ == "__main__":
    sys.exit(main())
