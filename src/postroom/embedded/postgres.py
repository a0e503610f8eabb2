"""PostgreSQL as an embedded server: one cluster, one role, one database, loopback with a password."""

import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

from postroom.embedded.command import CommandFailed
from postroom.embedded.placement import forget_lost_homes
from postroom.embedded.server import START_SECONDS, Server, Watch, spawn

OLDEST_MAJOR = 15
# From here on, collation and case mapping need no operating-system locale.
_BUILTIN_LOCALE_MAJOR = 17
# From here on, reading ahead has worker processes of its own, which a small machine can spare.
_IO_METHOD_MAJOR = 18

_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    # Socket paths have a limit of about 100 bytes, which a checkout's path may exceed.
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "effective_cache_size": "1GB",
    "random_page_cost": "1.1",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    # No replica and no archive ever reads this log.
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_logical_replication_workers": "0",
    # The outbox turns over many times a minute; between two looks its dead rows pile up.
    "autovacuum_naptime": "10s",
    # Two cores are better spent on many small statements than on one parallel one.
    "max_parallel_workers_per_gather": "0",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # A failing statement and the row that made it fail may hold a recipient or a subject.
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_checkpoints": "off",
}
_FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class Postgres(Server):
    name = "postgres"
    title = "PostgreSQL"
    # "Fast shutdown": it does not wait for clients to leave. The other one is "immediate".
    stop_signal = signal.SIGINT
    kill_signal = signal.SIGQUIT

    @property
    def url(self) -> str:
        return f"postgresql://postroom:{self.password}@127.0.0.1:{self.port}/postroom"

    @property
    def home(self) -> Path:
        return self.placement.cluster / "postgres"

    @property
    def pid_file(self) -> Path:
        return self.home / "postmaster.pid"

    def is_this(self, command: str) -> bool:
        return f"-D {self.home} " in command

    def prepare(self, watch: Watch) -> None:
        self.major = major_of(self.program)
        if self.home.exists():
            self._require_same_major()
        else:
            forget_lost_homes()
            self._make_cluster(watch)

    def argv(self) -> list[str | Path]:
        settings = {**_SETTINGS, **(_FAST if self.fast else {}), "port": str(self.port)}
        if self.major >= _IO_METHOD_MAJOR:
            settings["io_method"] = "sync"
        flags = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [self.program, "-D", self.home, *flags]

    def is_ready(self) -> bool:
        """Line 8 of the pid file says so (as pg_ctl reads it); line 1 says whether it is ours."""
        try:
            lines = self.pid_file.read_text().splitlines()
        except FileNotFoundError:
            return False
        ours = self.process is not None and lines[:1] == [str(self.process.pid)]
        return ours and len(lines) > 7 and lines[7].strip() == "ready"

    def _require_same_major(self) -> None:
        made_by = (self.home / "PG_VERSION").read_text().strip()
        if made_by != str(self.major):
            raise CommandFailed(
                f"The cluster in {self.home} was made by PostgreSQL {made_by}, but {self.program.parent}"
                f" holds PostgreSQL {self.major}: point PG_BIN_DIR at a PostgreSQL {made_by},"
                " or delete the cluster to start empty."
            )

    def _make_cluster(self, watch: Watch) -> None:
        # Under another name until it is whole: a start that is killed half-way leaves no cluster.
        unfinished = self.home.with_name("postgres.unfinished")
        if unfinished.exists():
            shutil.rmtree(unfinished)
        password_file = self._write_password_file()
        try:
            self._finish(self._initdb(unfinished, password_file), None, watch)
        finally:
            password_file.unlink()
        # Single-user mode: the only way to run a statement without a client library.
        self._finish(
            [self.program, "--single", "-D", unfinished, "postgres"],
            "CREATE DATABASE postroom\n",
            watch,
        )
        unfinished.rename(self.home)

    def _write_password_file(self) -> Path:
        password_file = self.placement.cluster / "password"
        password_file.unlink(missing_ok=True)
        password_file.touch(mode=0o600)
        password_file.write_text(self.password)
        self.placement.own(password_file)
        return password_file

    def _initdb(self, home: Path, password_file: Path) -> list[str | Path]:
        argv: list[str | Path] = [self.program.with_name("initdb"), "-D", home, "-U", "postroom"]
        argv += ["-A", "scram-sha-256", f"--pwfile={password_file}", "-E", "UTF8", "--locale=C"]
        if self.major >= _BUILTIN_LOCALE_MAJOR:
            # The same order of words and the same lower case on every operating system.
            argv += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        return [*argv, "--no-sync"] if self.fast else argv

    def _finish(self, argv: list[str | Path], statement: str | None, watch: Watch) -> None:
        with self.log.open("ab") as log:
            stdin = subprocess.PIPE if statement else subprocess.DEVNULL
            process = spawn(argv, self.placement, log.fileno(), signal.SIGKILL, stdin)
        try:
            if process.stdin and statement:
                with process.stdin:
                    process.stdin.write(statement.encode())
            self._await_success(process, watch)
        finally:
            process.kill()
            process.wait()

    def _await_success(self, process: subprocess.Popen[bytes], watch: Watch) -> None:
        deadline = time.monotonic() + START_SECONDS
        while process.poll() is None:
            if time.monotonic() > deadline:
                raise CommandFailed(f"The cluster was not made in time; see {self.log}.")
            watch(0.01)
        # Single-user mode ends well after a statement that failed, too.
        if process.returncode or "ERROR" in self.last_words():
            raise CommandFailed(
                f"The cluster could not be made: {self.last_words()} (the whole log: {self.log})"
            )


def major_of(program: Path) -> int:
    try:
        said = subprocess.run(  # noqa: S603
            [program, "--version"], capture_output=True, text=True, check=True, timeout=30
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise CommandFailed(f"{program} does not run on this machine: {error}.") from error
    found = re.search(r"\d+", said)
    major = int(found.group()) if found else 0
    if major < OLDEST_MAJOR:
        raise CommandFailed(
            f"{program} is PostgreSQL {major}; Postroom needs {OLDEST_MAJOR} or newer."
        )
    return major
