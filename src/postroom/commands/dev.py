"""`postroom dev`: servers, migration, API and worker on this machine, in one foreground process."""

import argparse
import contextlib
import http.client
import json
import os
import signal
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType
from urllib.parse import urlsplit

from postroom.embedded.children import Crew
from postroom.embedded.command import CommandFailed
from postroom.embedded.datadir import (
    DataDir,
    locked,
    open_data_dir,
    read_json,
    why_port_is_taken,
    write_private,
)
from postroom.embedded.devenv import (
    HOST,
    SERVER_URLS,
    child_environment,
    dev_env,
    greeting,
    write_dev_env,
)
from postroom.embedded.launcher import POSTGRES, VALKEY, RunningServers, ServerUrls, start

# A launcher that was killed a moment ago leaves an API that is just closing its port.
_PORT_SECONDS = 2.0
_LIVE_SECONDS = 60.0


class StopAsked(Exception):
    """Ctrl-C, SIGTERM or SIGHUP."""


class Interrupts:
    """Counts the requests to stop: the first is polite, the second is in a hurry."""

    def __init__(self) -> None:
        self._count = 0
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._note)

    def check(self) -> None:
        if self._count:
            raise StopAsked

    def hurry(self) -> bool:
        return self._count > 1

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._count += 1


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--no-embedded",
        dest="embedded",
        action="store_false",
        help="start no PostgreSQL and no Valkey: DATABASE_URL and REDIS_URL must be set",
    )
    parser.add_argument(
        "--port",
        type=_port,
        metavar="PORT",
        default=os.environ.get("PORT") or "8000",
        help="where the API and the dashboard answer (PORT, else 8000)",
    )
    parser.add_argument(
        "--data-dir",
        type=Path,
        default=Path(".postroom"),
        help="keeps the databases, the secrets and dev.env (.postroom)",
    )


def run(args: argparse.Namespace) -> int:
    started = time.monotonic()
    data = open_data_dir(args.data_dir)
    with _only_launcher(data, f"http://{HOST}:{args.port}"):
        env = child_environment(data, os.environ, args.port)
        names = servers_to_start(env, embedded=args.embedded)
        require_free_port(args.port)
        interrupts = Interrupts()
        try:
            _run_everything(data, names, env, interrupts, started)
        except StopAsked:
            _say("Stopped.")
    return 0


def _run_everything(
    data: DataDir, names: list[str], env: dict[str, str], interrupts: Interrupts, started: float
) -> None:
    with _servers(data, names, interrupts) as servers, _crew(servers, env, interrupts) as crew:
        answer = crew.prepare(interrupts.check, _say)
        crew.go()
        _await_live(crew, interrupts)
        values = dev_env(crew.env, answer["project_id"])
        write_dev_env(data, values)
        _say(greeting(data, values, time.monotonic() - started))
        _tend(crew, servers, interrupts)


@contextlib.contextmanager
def _only_launcher(data: DataDir, url: str) -> Iterator[None]:
    note = data.root / "launcher.json"
    with locked(data.launcher_lock) as free:
        if not free:
            at = read_json(note).get("url", "an address it has not told yet")
            raise CommandFailed(f"Postroom is already running on {data.root}, at {at}")
        write_private(data.root, note, json.dumps({"url": url, "pid": os.getpid()}) + "\n")
        yield


def servers_to_start(env: Mapping[str, str], *, embedded: bool) -> list[str]:
    """The embedded servers that take the place of the addresses nobody has given."""
    missing = [name for name in SERVER_URLS if name not in env]
    if missing and not embedded:
        raise CommandFailed(f"With --no-embedded, {' and '.join(missing)} must be set.", 2)
    for name in SERVER_URLS:
        if name in env:
            _require_answer(name, env[name])
    return [{"DATABASE_URL": POSTGRES, "REDIS_URL": VALKEY}[name] for name in reversed(missing)]


def _require_answer(name: str, url: str) -> None:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or {"DATABASE_URL": 5432}.get(name, 6379)
    except ValueError:
        raise CommandFailed(f"{name} is not a URL that can be read.") from None
    # A socket's path, or several hosts: the library that connects knows more than we do.
    if not host or parts.scheme == "unix" or "," in parts.netloc:
        return
    try:
        socket.create_connection((host, port), timeout=5).close()
    except OSError as error:
        raise CommandFailed(
            f"{name} is set, but nothing answers at {host}:{port} ({error});"
            " unset it to let postroom start its own server."
        ) from error


def require_free_port(port: int) -> None:
    deadline = time.monotonic() + _PORT_SECONDS
    while reason := why_port_is_taken(port):
        if time.monotonic() > deadline:
            raise CommandFailed(
                f"Port {port} cannot be used: {reason}."
                " Choose another one with PORT=8001 or --port 8001."
            )
        time.sleep(0.05)


@contextlib.contextmanager
def _servers(
    data: DataDir, names: list[str], interrupts: Interrupts
) -> Iterator[RunningServers | None]:
    if not names:
        yield None
        return
    _say(f"Starting the database servers, with their data in {data.root} ...")
    servers = start(data.root, names)
    try:
        yield servers
    finally:
        servers.stop(interrupts.hurry)


@contextlib.contextmanager
def _crew(
    servers: RunningServers | None, env: dict[str, str], interrupts: Interrupts
) -> Iterator[Crew]:
    """The children, started before their servers are up: importing takes them longer."""
    plan = servers.await_plan(interrupts.check) if servers else None
    with tempfile.TemporaryFile() as answer:
        crew = Crew(_with_urls(env, plan), answer)
        try:
            if servers and (urls := servers.await_ready(interrupts.check)) != plan:
                # A port was lost between plan and start, so the children were told the wrong one.
                crew.stop()
                crew = Crew(_with_urls(env, urls), answer)
            yield crew
        finally:
            crew.stop(interrupts.hurry)


def _with_urls(env: dict[str, str], urls: ServerUrls | None) -> dict[str, str]:
    if not urls:
        return env
    own = {"DATABASE_URL": urls.database_url, "REDIS_URL": urls.redis_url}
    return {**env, **{name: url for name, url in own.items() if url}}


def _await_live(crew: Crew, interrupts: Interrupts) -> None:
    deadline = time.monotonic() + _LIVE_SECONDS
    while not _is_live(int(crew.env["PORT"])):
        interrupts.check()
        if crew.api.has_ended():
            raise CommandFailed("The API ended before it answered, for the reason given above.")
        if time.monotonic() > deadline:
            raise CommandFailed(f"The API did not answer within {_LIVE_SECONDS:g} s.")
        time.sleep(0.02)


def _is_live(port: int) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", "/health/live")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _tend(crew: Crew, servers: RunningServers | None, interrupts: Interrupts) -> None:
    """The long part: until somebody asks for the end, or a server is gone."""
    while True:
        interrupts.check()
        if servers:
            servers.check()
        crew.tend(_say)
        time.sleep(0.1)


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number between 1 and 65535")
    return int(text)


def _say(text: str) -> None:
    print(text, flush=True)
