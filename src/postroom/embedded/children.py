"""The launcher's own children: started at a gate, started again when they die, stopped in order."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Any

from postroom.embedded.command import CommandFailed
from postroom.embedded.gate import GO, WAIT_FOR_GO

STOP_SECONDS = 25.0

_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 10.0
# Who lived this long is not dying in a circle.
_PROVEN_SECONDS = 30.0


def spawn(
    argv: Sequence[str], env: Mapping[str, str], stdout: IO[Any] | None = None
) -> subprocess.Popen[bytes]:
    """A process that imports and then waits at its gate (`gate.wait_for_go`)."""
    return subprocess.Popen(  # noqa: S603
        argv,
        bufsize=0,
        env={**env, WAIT_FOR_GO: "1"},
        stdin=subprocess.PIPE,
        stdout=stdout,
        # Ctrl-C goes to the launcher alone, which stops them in the right order.
        start_new_session=True,
    )


def open_gate(process: subprocess.Popen[bytes]) -> None:
    # One that died already cannot read it; its end is noticed where it is watched.
    with contextlib.suppress(BrokenPipeError):
        if process.stdin:
            process.stdin.write(GO)


def stop(process: subprocess.Popen[bytes], hurry: Callable[[], bool] = lambda: False) -> None:
    """Asks politely, waits as long as a graceful stop may take, and leaves nobody behind."""
    if process.poll() is None:
        process.terminate()
    deadline = time.monotonic() + STOP_SECONDS
    while process.poll() is None and time.monotonic() < deadline and not hurry():
        time.sleep(0.01)
    # Its own children are in its group, and stay there when it dies before them.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdin:
        process.stdin.close()


class KeptAlive:
    """A child that is started again when it dies, each time after a longer pause."""

    def __init__(self, name: str, argv: Sequence[str], env: Mapping[str, str]) -> None:
        self.name = name
        self._argv = argv
        self._env = env
        self._pause = _FIRST_PAUSE
        self._due: float | None = None
        self._launch()

    def open_gate(self) -> None:
        open_gate(self.process)

    def has_ended(self) -> bool:
        return self.process.poll() is not None

    def tend(self, say: Callable[[str], None]) -> None:
        """To be called again and again."""
        if not self.has_ended():
            return
        if self._due is None:
            self._plan_restart(say)
        elif time.monotonic() >= self._due:
            self._launch()
            self.open_gate()

    def stop(self, hurry: Callable[[], bool] = lambda: False) -> None:
        stop(self.process, hurry)

    def _launch(self) -> None:
        self.process = spawn(self._argv, self._env)
        self._started = time.monotonic()
        self._due = None

    def _plan_restart(self, say: Callable[[str], None]) -> None:
        code = self.process.returncode
        stop(self.process)
        if time.monotonic() - self._started > _PROVEN_SECONDS:
            self._pause = _FIRST_PAUSE
        say(f"The {self.name} ended (exit code {code}); it starts again in {self._pause:g} s.")
        self._due = time.monotonic() + self._pause
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)


class Crew:
    """Preparation, API and worker: all import at once, and start in that order."""

    def __init__(self, env: Mapping[str, str], answer: IO[bytes]) -> None:
        self.env = env
        # A file, because nobody would empty a pipe while the preparation runs.
        self._answer = answer
        self.preparation = spawn(_python("postroom.commands.prepare"), env, stdout=answer)
        self.api = KeptAlive("API", _python("postroom.cli", "api", "--port", env["PORT"]), env)
        self.worker = KeptAlive("worker", _python("postroom.cli", "worker"), env)

    def prepare(self, watch: Callable[[], None], say: Callable[[str], None]) -> dict[str, Any]:
        """Lets the preparation run, and returns the JSON object on its last line."""
        open_gate(self.preparation)
        while self.preparation.poll() is None:
            watch()
            time.sleep(0.01)
        self._answer.seek(0)
        lines = self._answer.read().decode().splitlines()
        failed = self.preparation.returncode != 0
        for line in lines if failed else lines[:-1]:
            say(line)
        if failed or not lines:
            raise CommandFailed("The database could not be prepared, for the reason given above.")
        answer: dict[str, Any] = json.loads(lines[-1])
        return answer

    def go(self) -> None:
        self.api.open_gate()
        self.worker.open_gate()

    def tend(self, say: Callable[[str], None]) -> None:
        self.api.tend(say)
        self.worker.tend(say)

    def stop(self, hurry: Callable[[], bool] = lambda: False) -> None:
        # No new mails first; then the worker finishes or gives back what it holds.
        stop(self.preparation, hurry)
        self.api.stop(hurry)
        self.worker.stop(hurry)


def _python(module: str, *args: str) -> list[str]:
    # -P: a file in the person's folder must not take a library's place.
    return [sys.executable, "-P", "-m", module, *args]
