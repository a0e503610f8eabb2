"""Starts, finds and stops the embedded servers of a data directory."""

import contextlib
import json
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from postroom.embedded.command import CommandFailed
from postroom.embedded.datadir import DataDir, is_locked, open_data_dir, read_state
from postroom.embedded.placement import moved_home

POSTGRES = "postgres"
VALKEY = "valkey"

_PLAN_SECONDS = 60.0
_READY_SECONDS = 150.0
_STOP_SECONDS = 30.0


@dataclass(frozen=True)
class ServerUrls:
    """Where the servers answer; an empty string for one that was not asked for."""

    database_url: str
    redis_url: str


class RunningServers:
    """The launcher's hold on its guardian: while this process lives and does not stop it, it runs."""

    def __init__(self, guardian: subprocess.Popen[bytes], log: Path) -> None:
        self._guardian = guardian
        self._stdin = cast(IO[bytes], guardian.stdin)
        self._stdout = cast(IO[bytes], guardian.stdout)
        self._log = log
        self._unread = b""
        self.urls = ServerUrls("", "")

    def await_plan(self, watch: Callable[[], None] = lambda: None) -> ServerUrls:
        """The URLs that the servers are going to have; nothing answers there yet."""
        return self._await_event("planned", _PLAN_SECONDS, watch)

    def await_ready(self, watch: Callable[[], None] = lambda: None) -> ServerUrls:
        """The URLs, now that both answer; different from the plan when a port was lost meanwhile."""
        return self._await_event("ready", _READY_SECONDS, watch)

    def check(self) -> None:
        """Raises when the guardian ended: its servers are gone with it."""
        self._next_event(wait_seconds=0)

    def stop(self, hurry: Callable[[], bool] = lambda: False) -> None:
        """Returns when the servers are gone."""
        with self._stdin, self._stdout:
            self._guardian.terminate()
            hurried = False
            deadline = time.monotonic() + _STOP_SECONDS
            while self._guardian.poll() is None and time.monotonic() < deadline:
                if hurry() and not hurried:
                    hurried = True
                    self._guardian.terminate()
                time.sleep(0.005)
            self._guardian.kill()
            self._guardian.wait()

    def _await_event(self, name: str, seconds: float, watch: Callable[[], None]) -> ServerUrls:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            watch()
            event = self._next_event(wait_seconds=0.05)
            if event and event["event"] == name:
                self.urls = _server_urls(event["urls"])
                return self.urls
        raise CommandFailed(f"The servers were not {name} in time; see {self._log}.")

    def _next_event(self, wait_seconds: float) -> dict[str, Any] | None:
        if b"\n" not in self._unread and select.select([self._stdout], [], [], wait_seconds)[0]:
            chunk = self._stdout.read(65536)
            if not chunk:
                raise CommandFailed(f"The servers' guardian ended; see {self._log}.")
            self._unread += chunk
        line, newline, rest = self._unread.partition(b"\n")
        if not newline:
            return None
        self._unread = rest
        event: dict[str, Any] = json.loads(line)
        if event["event"] == "failed":
            raise CommandFailed(event["sentence"])
        return event


@contextlib.contextmanager
def servers(data_dir: Path, *, fast: bool = False) -> Iterator[ServerUrls]:
    """PostgreSQL and Valkey, answering, for as long as the block lasts.

    `fast` gives up what protects data against a crash of the machine: for tests.
    """
    running = start(data_dir, fast=fast)
    try:
        yield running.await_ready()
    finally:
        running.stop()


def start(
    data_dir: Path, names: Sequence[str] = (VALKEY, POSTGRES), *, fast: bool = False
) -> RunningServers:
    """Starts the guardian and returns at once; `await_plan` and `await_ready` follow."""
    data = open_data_dir(data_dir)
    # Its own session keeps the terminal's Ctrl-C away; -P keeps the caller's folder off its path.
    argv = [sys.executable, "-P", "-m", "postroom.embedded.guardian", str(data.root)]
    argv += ["--servers", ",".join(names), *(["--fast"] if fast else [])]
    with data.guardian_log.open("wb") as log:
        guardian = subprocess.Popen(  # noqa: S603
            argv,
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        )
    return RunningServers(guardian, data.guardian_log)


def attach(data_dir: Path) -> ServerUrls | None:
    """The URLs of servers that somebody else runs on this data directory, once they are ready."""
    data = DataDir(data_dir.absolute())
    if not is_locked(data.servers_lock):
        return None
    state = read_state(data)
    return _server_urls(state) if POSTGRES in state or VALKEY in state else None


def remove(data_dir: Path) -> None:
    """Deletes a data directory, with what lies elsewhere because its user could not reach it."""
    data = DataDir(data_dir.absolute())
    if is_locked(data.servers_lock):
        raise CommandFailed(f"The servers of {data.root} are running: stop them first.")
    for folder in (moved_home(data), data.root):
        if folder.exists():
            shutil.rmtree(folder)


def _server_urls(urls: dict[str, Any]) -> ServerUrls:
    return ServerUrls(urls.get(POSTGRES, ""), urls.get(VALKEY, ""))
