"""Valkey (or Redis) as an embedded server: append-only file, password, never evicting."""

import signal
import socket
from pathlib import Path

from postroom.embedded.datadir import kept_port
from postroom.embedded.server import Server, Watch


class Valkey(Server):
    name = "valkey"
    title = "Valkey"
    stop_signal = signal.SIGTERM
    kill_signal = signal.SIGKILL

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    @property
    def home(self) -> Path:
        return self.placement.cluster / "valkey"

    @property
    def pid_file(self) -> Path:
        return self.home / "valkey.pid"

    def is_this(self, command: str) -> bool:
        # It names itself by its address, and its number may be another process's by now.
        return f"127.0.0.1:{kept_port(self.data, self.name)}" in command and "-server" in command

    def prepare(self, watch: Watch) -> None:
        self.home.mkdir(mode=0o700, exist_ok=True)
        self.placement.own(self.home)

    def argv(self) -> list[str | Path]:
        # Written at each launch, because the port may be another one than before.
        config = self.home / "valkey.conf"
        config.unlink(missing_ok=True)
        config.touch(mode=0o600)
        config.write_text("".join(f"{line}\n" for line in self._settings()))
        self.placement.own(config)
        return [self.program, config]

    def is_ready(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=0.25) as connection:
                connection.sendall(f"AUTH {self.password}\r\nPING\r\n".encode())
                return _answers_pong(connection)
        except OSError:
            return False

    def _settings(self) -> list[str]:
        # In a file, because everyone on the machine can read a process's arguments.
        return [
            "bind 127.0.0.1",
            f"port {self.port}",
            f"requirepass {self.password}",
            f'dir "{self.home}"',
            f'pidfile "{self.pid_file}"',
            "daemonize no",
            "loglevel warning",
            # A test suite gives each of its workers a database of its own.
            "databases 64",
            # Bells and quota slots must never be dropped to make room.
            "maxmemory-policy noeviction",
            f"appendonly {'no' if self.fast else 'yes'}",
            "appendfsync everysec",
            'save ""',
        ]


def _answers_pong(connection: socket.socket) -> bool:
    answer = b""
    # Two replies: one to AUTH, one to PING; while the file is being read both say -LOADING.
    while answer.count(b"\r\n") < 2:
        chunk = connection.recv(256)
        if not chunk:
            return False
        answer += chunk
    return answer.endswith(b"+PONG\r\n")
