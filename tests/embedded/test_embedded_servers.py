"""Real PostgreSQL and Valkey: they start, ask for the password, and leave nothing behind."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import psutil
import pytest
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError

from postroom import embedded
from postroom.embedded import ServerUrls
from postroom.embedded.binaries import find_postgres, find_redis_server
from postroom.embedded.command import CommandFailed
from postroom.embedded.datadir import DataDir, password_of
from postroom.embedded.placement import moved_home, place
from postroom.embedded.postgres import Postgres
from postroom.embedded.server import Server, start_log_anew
from postroom.embedded.valkey import Valkey

ProcessesOn = Callable[[Path], list[psutil.Process]]

only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has another user to turn into")


async def _remember(urls: ServerUrls, word: str) -> None:
    postgres, redis = await asyncpg.connect(urls.database_url), Redis.from_url(urls.redis_url)
    await postgres.execute("create table if not exists words (word text)")
    await postgres.execute("delete from words")
    await postgres.execute("insert into words values ($1)", word)
    await redis.set("word", word)
    await postgres.close()
    await redis.aclose()


async def _recall(urls: ServerUrls) -> tuple[str, str]:
    postgres, redis = await asyncpg.connect(urls.database_url), Redis.from_url(urls.redis_url)
    kept = await postgres.fetchval("select word from words"), (await redis.get("word") or b"")
    await postgres.close()
    await redis.aclose()
    return kept[0], kept[1].decode()


@contextmanager
def _guardian(data_dir: Path) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """The guardian itself, as a launcher starts it, and the line that says it is ready."""
    module, servers = "postroom.embedded.guardian", "valkey,postgres"
    process = subprocess.Popen(  # noqa: S603
        [sys.executable, "-m", module, data_dir, "--servers", servers, "--fast"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout
        events = [json.loads(process.stdout.readline()) for _ in range(2)]
        assert [event["event"] for event in events] == ["planned", "ready"]
        assert events[0]["urls"] == events[1]["urls"]
        yield process, events[1]


def _until(condition: Callable[[], bool], seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


async def test_what_was_written_is_there_after_a_restart(
    used_data_dir: Path, processes_on: ProcessesOn
) -> None:
    with embedded.servers(used_data_dir) as urls:
        await _remember(urls, "kept")
    assert processes_on(used_data_dir) == []

    started = time.monotonic()
    with embedded.servers(used_data_dir) as again:
        assert time.monotonic() - started < 5
        assert again == urls
        assert await _recall(again) == ("kept", "kept")
    assert processes_on(used_data_dir) == []


async def test_nobody_gets_in_without_the_password(used_data_dir: Path) -> None:
    with embedded.servers(used_data_dir, fast=True) as urls:
        parts = urlsplit(urls.database_url)
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(urls.database_url.replace(parts.password or "", "guess"))
        redis = Redis(host="127.0.0.1", port=urlsplit(urls.redis_url).port or 0)
        with pytest.raises(AuthenticationError):
            await redis.ping()
        await redis.aclose()


async def test_the_servers_are_set_up_to_keep_what_they_are_given(used_data_dir: Path) -> None:
    with embedded.servers(used_data_dir) as urls:
        postgres = await asyncpg.connect(urls.database_url)
        for name in ("fsync", "synchronous_commit", "full_page_writes"):
            assert await postgres.fetchval(f"show {name}") == "on"
        await postgres.close()
        redis = Redis.from_url(urls.redis_url)
        assert await redis.config_get("maxmemory-policy", "appendonly") == {
            "maxmemory-policy": "noeviction",
            "appendonly": "yes",
        }
        await redis.aclose()


def test_secrets_are_readable_by_their_owner_alone(used_data_dir: Path) -> None:
    with embedded.servers(used_data_dir, fast=True) as urls:
        password = urlsplit(urls.database_url).password or ""
        holders = [
            path
            for path in used_data_dir.rglob("*")
            if path.is_file() and password.encode() in path.read_bytes()
        ]
        assert {path.name for path in holders} == {"servers.json", "state.json", "valkey.conf"}
        assert {path.stat().st_mode & 0o777 for path in holders} == {0o600}
        processes = psutil.process_iter(["cmdline"])
        assert not [found for found in processes if password in str(found.info["cmdline"])]


@pytest.fixture
def copied_data_dir(used_data_dir: Path, open_folder: Path) -> Path:
    """As in a copied checkout: it remembers the same ports."""
    subprocess.run(["/bin/cp", "-a", used_data_dir, open_folder / "data"], check=True)  # noqa: S603
    return open_folder / "data"


async def test_two_data_directories_run_side_by_side(
    used_data_dir: Path, copied_data_dir: Path
) -> None:
    with ExitStack() as stack:
        first = stack.enter_context(embedded.servers(used_data_dir, fast=True))
        second = stack.enter_context(embedded.servers(copied_data_dir, fast=True))
        assert {first.database_url, first.redis_url} & {second.database_url, second.redis_url} == (
            set()
        )
        await _remember(first, "first")
        await _remember(second, "second")
        assert await _recall(first) == ("first", "first")
        assert await _recall(second) == ("second", "second")


def test_a_second_start_is_refused_and_others_can_attach(used_data_dir: Path) -> None:
    assert embedded.attach(used_data_dir) is None
    with embedded.servers(used_data_dir, fast=True) as urls:
        address = f"127.0.0.1:{urlsplit(urls.database_url).port}"
        with (
            pytest.raises(CommandFailed, match=f"already running at .*{address}") as refused,
            embedded.servers(used_data_dir, fast=True),
        ):
            pass
        assert urlsplit(urls.database_url).password not in str(refused.value)
        assert embedded.attach(used_data_dir) == urls
        with pytest.raises(CommandFailed, match="stop them first"):
            embedded.remove(used_data_dir)
    assert embedded.attach(used_data_dir) is None


def test_ports_stay_the_same_unless_somebody_took_them(used_data_dir: Path) -> None:
    with embedded.servers(used_data_dir, fast=True) as urls:
        ports = [urlsplit(urls.database_url).port, urlsplit(urls.redis_url).port]
    with ExitStack() as stack:
        for port in ports:
            squatter = stack.enter_context(socket.create_server(("127.0.0.1", port or 0)))
            assert squatter.fileno() > 0
        with embedded.servers(used_data_dir, fast=True) as moved:
            assert urlsplit(moved.database_url).port not in ports
            assert urlsplit(moved.redis_url).port not in ports
    with embedded.servers(used_data_dir, fast=True) as urls:
        assert urls == moved


def test_a_killed_launcher_takes_everything_with_it(
    used_data_dir: Path, processes_on: ProcessesOn
) -> None:
    code = (
        "import sys, time; from pathlib import Path; from postroom import embedded\n"
        "with embedded.servers(Path(sys.argv[1]), fast=True): print('up', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(  # noqa: S603
        [sys.executable, "-c", code, used_data_dir], stdout=subprocess.PIPE, text=True
    ) as launcher:
        assert launcher.stdout
        assert launcher.stdout.readline() == "up\n"
        assert len(processes_on(used_data_dir)) > 3
        launcher.kill()
    assert _until(lambda: processes_on(used_data_dir) == [])
    with embedded.servers(used_data_dir, fast=True):
        pass


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the next start finds them")
def test_a_killed_guardian_takes_the_servers_with_it(
    used_data_dir: Path, processes_on: ProcessesOn
) -> None:
    with _guardian(used_data_dir) as (guardian, _):
        guardian.kill()
    assert _until(lambda: processes_on(used_data_dir) == [])


def test_a_killed_postgres_ends_the_guardian_and_valkey(
    used_data_dir: Path, processes_on: ProcessesOn
) -> None:
    with _guardian(used_data_dir) as (guardian, _):
        pid_file = used_data_dir / "cluster/postgres/postmaster.pid"
        os.kill(int(pid_file.read_text().split()[0]), signal.SIGKILL)
        assert guardian.wait(10) == 1
        assert guardian.stdout
        last = json.loads(guardian.stdout.readline())
        assert last["event"] == "failed"
        assert "PostgreSQL ended on its own" in last["sentence"]
    assert _until(lambda: processes_on(used_data_dir) == [])
    # The start after that recovers, although nothing was shut down.
    with embedded.servers(used_data_dir, fast=True):
        pass


def test_the_launcher_hears_of_a_server_that_died(used_data_dir: Path) -> None:
    running = embedded.start(used_data_dir, fast=True)
    try:
        running.await_ready()
        running.check()
        pid_file = used_data_dir / "cluster/valkey/valkey.pid"
        os.kill(int(pid_file.read_text()), signal.SIGKILL)
        with pytest.raises(CommandFailed, match="Valkey ended on its own"):
            running.await_ready()
    finally:
        running.stop()


def test_orphans_are_stopped_before_the_next_start(used_data_dir: Path) -> None:
    # As a killed guardian leaves them where the kernel does not end them with it.
    cluster = used_data_dir / "cluster"
    ports = json.loads((used_data_dir / "ports.json").read_text())
    flags = ["-c", f"port={ports['postgres']}", "-c", "unix_socket_directories="]
    postgres = [find_postgres(os.environ) / "postgres", "-D", cluster / "postgres", *flags]
    valkey = [find_redis_server(os.environ), cluster / "valkey/valkey.conf"]
    with _as_owner_of(cluster, postgres) as first, _as_owner_of(cluster, valkey) as second:
        pid_file = cluster / "postgres/postmaster.pid"
        assert _until(lambda: pid_file.exists() and "ready" in pid_file.read_text())
        assert _until((cluster / "valkey/valkey.pid").exists)
        with embedded.servers(used_data_dir, fast=True) as urls:
            assert (first.wait(5), second.wait(5)) == (0, 0)
            assert urlsplit(urls.database_url).port == ports["postgres"]
            assert urlsplit(urls.redis_url).port == ports["valkey"]


def _as_owner_of(cluster: Path, argv: list[Any]) -> subprocess.Popen[bytes]:
    owner = cluster.stat()
    root = os.geteuid() == 0
    return subprocess.Popen(  # noqa: S603
        argv,
        cwd="/",
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        user=owner.st_uid if root else None,
        group=owner.st_gid if root else None,
        extra_groups=[] if root else None,
    )


def test_a_pid_file_that_names_somebody_else_is_no_obstacle(used_data_dir: Path) -> None:
    # The numbers of a container's processes are the same after each restart.
    cluster = used_data_dir / "cluster"
    with _as_owner_of(cluster, ["sleep", "60"]) as stranger:
        stale = cluster / "postgres/postmaster.pid"
        stale.write_text(f"{stranger.pid}\n{cluster / 'postgres'}\n0\n1\n\n127.0.0.1\n\n")
        shutil.chown(stale, cluster.owner(), cluster.group())
        with embedded.servers(used_data_dir, fast=True):
            assert stranger.poll() is None
        stranger.kill()


@pytest.mark.parametrize(
    ("kind", "program"),
    [
        (Postgres, find_postgres(os.environ) / "postgres"),
        (Valkey, find_redis_server(os.environ)),
    ],
)
def test_a_port_lost_between_plan_and_start_is_replaced(
    used_data_dir: Path, kind: type[Server], program: Path
) -> None:
    data = DataDir(used_data_dir)
    where = place(data, os.environ, password_of(data))
    server = kind(data, where, program, password_of(data), fast=True)
    planned = server.url
    with socket.create_server(("127.0.0.1", server.port)):
        start_log_anew(server.log)
        server.prepare(time.sleep)
        server.launch()
        try:
            server.await_ready(time.sleep)
            assert server.url != planned
        finally:
            server.kill()


@only_root
def test_root_hands_the_servers_to_an_ordinary_user(
    used_data_dir: Path, processes_on: ProcessesOn
) -> None:
    with embedded.servers(used_data_dir, fast=True):
        users = {
            process.name(): process.uids().real
            for process in processes_on(used_data_dir)
            if process.name() in ("postgres", "valkey-server")
        }
    assert set(users) == {"postgres", "valkey-server"}
    assert 0 not in users.values()


@only_root
async def test_a_data_directory_behind_closed_doors_works_for_root(
    open_folder: Path, processes_on: ProcessesOn
) -> None:
    data_dir = open_folder / "closed/data"
    data_dir.mkdir(parents=True)
    data_dir.parent.chmod(0o700)
    home = moved_home(DataDir(data_dir))
    with embedded.servers(data_dir, fast=True) as urls:
        await _remember(urls, "moved")
        assert (home / "cluster/postgres/PG_VERSION").exists()
        assert not (data_dir / "cluster").exists()
    with embedded.servers(data_dir, fast=True) as again:
        assert (await _recall(again))[0] == "moved"
    assert data_dir.parent.stat().st_mode & 0o777 == 0o700
    embedded.remove(data_dir)
    assert not home.exists()


def test_the_cluster_of_another_major_version_is_refused(open_folder: Path) -> None:
    cluster = open_folder / "data/cluster/postgres"
    cluster.mkdir(parents=True)
    (cluster / "PG_VERSION").write_text("9\n")
    with (
        pytest.raises(CommandFailed, match=r"made by PostgreSQL 9, but .* holds PostgreSQL \d\d"),
        embedded.servers(open_folder / "data", fast=True),
    ):
        pass


def test_a_machine_without_servers_gets_one_sentence(
    open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PG_BIN_DIR", "/nowhere")
    with (
        pytest.raises(CommandFailed, match="PG_BIN_DIR=/nowhere"),
        embedded.servers(open_folder / "data", fast=True),
    ):
        pass
    assert not (open_folder / "data/cluster").exists()
