"""One data directory: its private files, its locks, and what is remembered between two starts."""

import fcntl
import json
import os
import secrets
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from postroom.embedded.command import CommandFailed

# Below the range from which Linux and macOS take the local ports of outgoing connections:
# there, a port that was free a moment ago may be somebody's connection now.
_PORTS = range(20000, 32768)
_TRIES_FOR_A_PORT = 200


@dataclass(frozen=True)
class DataDir:
    """Where the files are; the servers' own files may lie elsewhere (see `placement`)."""

    root: Path

    @property
    def servers_lock(self) -> Path:
        return self.root / "servers.lock"

    @property
    def launcher_lock(self) -> Path:
        return self.root / "launcher.lock"

    @property
    def ports(self) -> Path:
        return self.root / "ports.json"

    @property
    def password(self) -> Path:
        return self.root / "servers.json"

    @property
    def state(self) -> Path:
        """The URLs of running servers; there only while they run."""
        return self.root / "state.json"

    @property
    def dev_env(self) -> Path:
        return self.root / "dev.env"

    @property
    def guardian_log(self) -> Path:
        return self.root / "guardian.log"


def open_data_dir(path: Path) -> DataDir:
    """Makes the directory when it is not there, and proves that this process may use it."""
    data = DataDir(path.absolute())
    try:
        if not data.root.is_dir():
            _make(data.root)
        for private in (data.servers_lock, data.launcher_lock, data.guardian_log):
            private.touch(mode=0o600)
            _give_to_owner_of(data.root, private)
    except OSError as error:
        raise CommandFailed(
            f"The data directory {data.root} cannot be used: {error.strerror}."
            " Choose another one with --data-dir."
        ) from error
    return data


def _make(root: Path) -> None:
    root.mkdir(parents=True)
    if os.geteuid() == 0:
        # The servers' user must be able to pass through; every secret in here is a 0600 file.
        root.chmod(0o711)
        # Under sudo the person is the owner, so that the next start works without it.
        person = [int(os.environ.get(name, "0")) for name in ("SUDO_UID", "SUDO_GID")]
        os.chown(root, *person)
    else:
        root.chmod(0o700)
    write_private(root, root / ".gitignore", "*\n")


def write_private(root: Path, path: Path, text: str) -> None:
    """Writes a file of mode 0600 in one step: a reader sees the old or the new one, whole."""
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    _give_to_owner_of(root, fresh)
    fresh.replace(path)


def _give_to_owner_of(root: Path, path: Path) -> None:
    if os.geteuid() == 0:
        owner = root.stat()
        os.chown(path, owner.st_uid, owner.st_gid)


def remembered(
    data: DataDir, path: Path, generators: Mapping[str, Callable[[], str]]
) -> dict[str, str]:
    """What `path` holds under these names; what is missing is generated once and kept."""
    kept = read_json(path)
    missing = {name: make() for name, make in generators.items() if name not in kept}
    if missing:
        kept = {**kept, **missing}
        write_private(data.root, path, json.dumps(kept, indent=2) + "\n")
    return {name: str(kept[name]) for name in generators}


def password_of(data: DataDir) -> str:
    return remembered(data, data.password, {"password": lambda: secrets.token_urlsafe(24)})[
        "password"
    ]


def is_own_url(data: DataDir, url: str) -> bool:
    """Whether it names a server of this data directory, of this start or of an earlier one."""
    password = read_json(data.password).get("password")
    return bool(password) and f":{password}@" in url


def port_of(data: DataDir, server: str) -> int:
    """The port this server had last time when it is still free, otherwise a new one."""
    kept = kept_port(data, server)
    return kept if kept and port_is_free(kept) else new_port_of(data, server)


def kept_port(data: DataDir, server: str) -> int | None:
    kept = read_json(data.ports).get(server)
    return kept if isinstance(kept, int) else None


def new_port_of(data: DataDir, server: str) -> int:
    kept = read_json(data.ports)
    port = _free_port(taken=set(kept.values()))
    write_private(data.root, data.ports, json.dumps({**kept, server: port}) + "\n")
    return port


def port_is_free(port: int) -> bool:
    return why_port_is_taken(port) is None


def why_port_is_taken(port: int) -> str | None:
    """The system's reason for refusing this port on the loopback address, if it does."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As the servers do: connections that are still fading out are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            return error.strerror
    return None


def _free_port(taken: set[Any]) -> int:
    for _ in range(_TRIES_FOR_A_PORT):
        port = secrets.choice(_PORTS)
        if port not in taken and port_is_free(port):
            return port
    raise CommandFailed(f"No free port was found between {_PORTS.start} and {_PORTS.stop}.")


def read_state(data: DataDir) -> dict[str, Any]:
    return read_json(data.state)


def write_state(data: DataDir, state: Mapping[str, Any]) -> None:
    write_private(data.root, data.state, json.dumps(state) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise CommandFailed(f"{path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise CommandFailed(f"{path} is damaged; delete it and start again.") from error
    if not isinstance(content, dict):
        raise CommandFailed(f"{path} is damaged; delete it and start again.")
    return content


@contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Yields whether the lock was free; it is held until the end, or until this process dies."""
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def is_locked(path: Path) -> bool:
    try:
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
