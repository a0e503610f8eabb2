"""What PostgreSQL and Valkey have in common: an own session, a log, a port, an orderly end."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from postroom.embedded.command import CommandFailed
from postroom.embedded.datadir import DataDir, new_port_of, port_of
from postroom.embedded.placement import Placement

START_SECONDS = 60.0
STOP_SECONDS = 20.0
_TRIES = 20
_ALARMS = ("ERROR", "FATAL", "PANIC")
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None

# Given to every wait: looks at the launcher and at signals, and raises to end the wait.
Watch = Callable[[float], None]


class Server(ABC):
    """One server process of a data directory."""

    name: ClassVar[str]
    title: ClassVar[str]
    stop_signal: ClassVar[signal.Signals]
    kill_signal: ClassVar[signal.Signals]

    def __init__(
        self, data: DataDir, placement: Placement, program: Path, password: str, *, fast: bool
    ) -> None:
        self.data = data
        self.placement = placement
        self.program = program
        self.password = password
        self.fast = fast
        self.log = data.root / f"{self.name}.log"
        # An orphan may hold the port of last time, so it goes first.
        self._stop_orphan()
        self.port = port_of(data, self.name)
        self.process: subprocess.Popen[bytes] | None = None

    @property
    @abstractmethod
    def url(self) -> str:
        """Where the server answers."""

    @property
    @abstractmethod
    def pid_file(self) -> Path:
        """The file in which the running server says its process id."""

    @abstractmethod
    def is_this(self, command: str) -> bool:
        """Whether this command line is that of this data directory's server."""

    @abstractmethod
    def prepare(self, watch: Watch) -> None:
        """Everything that must be there before the first launch."""

    @abstractmethod
    def argv(self) -> list[str | Path]:
        """The command line that launches it."""

    @abstractmethod
    def is_ready(self) -> bool:
        """Whether it answers now."""

    def launch(self) -> None:
        with self.log.open("ab") as log:
            self.process = spawn(
                self.argv(), self.placement, log=log.fileno(), with_parent=self.stop_signal
            )

    def await_ready(self, watch: Watch) -> None:
        """Waits until it answers; moves to another port when its own was taken meanwhile."""
        deadline = time.monotonic() + START_SECONDS
        tries = 0
        while not self.is_ready():
            if self.has_ended():
                tries += 1
                self._react_to_failed_start(give_up=tries == _TRIES)
            if time.monotonic() > deadline:
                raise CommandFailed(f"{self.title} did not get ready in time; see {self.log}.")
            watch(0.005)

    def has_ended(self) -> bool:
        return self.process is not None and self.process.poll() is not None

    def ask_to_stop(self) -> None:
        if self.process and not self.has_ended():
            self.process.send_signal(self.stop_signal)

    def kill(self) -> None:
        if self.process and not self.has_ended():
            self.process.send_signal(self.kill_signal)
            self.process.wait()

    def last_words(self) -> str:
        lines = self._log_tail()
        told = [line for line in lines if any(word in line for word in _ALARMS)] or lines
        return told[-1].strip() if told else "it said nothing"

    def _stop_orphan(self) -> None:
        """Ends what a killed guardian left behind, so that two servers never share their files."""
        try:
            pid = int(self.pid_file.read_text().split()[0])
        except (FileNotFoundError, IndexError, ValueError):
            return
        for with_signal in (self.stop_signal, self.kill_signal):
            if not self.is_this(command_line(pid)):
                break
            os.kill(pid, with_signal)
            _await(lambda: not self.is_this(command_line(pid)), STOP_SECONDS)
        # The number may be another process's by now, and PostgreSQL would wait for that one.
        self.pid_file.unlink(missing_ok=True)

    def _react_to_failed_start(self, *, give_up: bool) -> None:
        said = "\n".join(self._log_tail())
        if "Address already in use" in said and not give_up:
            self.port = new_port_of(self.data, self.name)
        # A killed PostgreSQL's children need a moment to notice that they are alone.
        elif "shared memory block" in said and not give_up:
            time.sleep(0.25)
        else:
            raise CommandFailed(
                f"{self.title} did not start: {self.last_words()} (the whole log: {self.log})"
            )
        start_log_anew(self.log)
        self.launch()

    def _log_tail(self) -> list[str]:
        if not self.log.exists():
            return []
        return self.log.read_text(errors="replace").splitlines()[-20:]


def start_log_anew(log: Path) -> None:
    """Keeps the log of the run before, and no more than that one."""
    if log.exists():
        log.replace(log.with_name(log.name + ".1"))
    log.touch(mode=0o600)


def command_line(pid: int) -> str:
    """Empty for what is not there, zombies included."""
    if sys.platform == "linux":
        try:
            raw = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            return ""
        return raw.replace(b"\0", b" ").decode(errors="replace")
    asked = subprocess.run(  # noqa: S603
        ["/bin/ps", "-ww", "-o", "command=", "-p", str(pid)],
        capture_output=True,
        text=True,
        check=False,
    )
    return asked.stdout


def _await(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)


def spawn(
    argv: list[str | Path],
    placement: Placement,
    log: int,
    with_parent: signal.Signals,
    stdin: int = subprocess.DEVNULL,
) -> subprocess.Popen[bytes]:
    """Starts a program as the servers' user, out of reach of the terminal's Ctrl-C."""
    user = placement.user
    try:
        return subprocess.Popen(  # noqa: S603
            argv,
            stdin=stdin,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd="/",
            env=_environment(placement.cluster),
            start_new_session=True,
            umask=0o077,
            user=user.uid if user else None,
            group=user.gid if user else None,
            extra_groups=[] if user else None,
            preexec_fn=lambda: _end_with_parent(with_parent),  # noqa: PLW1509
        )
    except (OSError, subprocess.SubprocessError) as error:
        whom = f" as the user {user.name}" if user else ""
        raise CommandFailed(f"{argv[0]} could not be started{whom}: {error}.") from error


def _environment(home: Path) -> dict[str, str]:
    # Nothing of the caller's: PGDATA, PGOPTIONS and their like would change the server.
    # The C locale also keeps macOS from loading what makes a postmaster multithreaded.
    return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC", "HOME": str(home)}


def _end_with_parent(with_signal: signal.Signals) -> None:
    # Runs after the change of user, which would clear it. Only Linux has it; elsewhere the next
    # start finds what a killed guardian left.
    if _LIBC:
        _LIBC.prctl(_PR_SET_PDEATHSIG, int(with_signal))
