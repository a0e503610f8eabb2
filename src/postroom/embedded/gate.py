"""The child's end of the launcher's pipe: wait until the servers are up, leave when it is gone."""

import os
import signal
import sys
import threading
import time

WAIT_FOR_GO = "POSTROOM_WAIT_FOR_GO"
GO = b"go\n"

_STDIN = 0
# As long as a graceful stop may take; after that nobody is left to wait for.
_GRACE_SECONDS = 25.0


def wait_for_go() -> None:
    """Holds a launched process until its servers are ready; returns at once when nobody launched it.

    Call it after the imports: they then happen while PostgreSQL starts.
    """
    # Taken out of the environment, so that this process's own children do not wait as well.
    if os.environ.pop(WAIT_FOR_GO, None) != "1":
        return
    if _read_line() != GO:
        sys.exit(0)
    exit_with_launcher()


def exit_with_launcher() -> None:
    """Asks this process to stop, as SIGTERM does, once the launcher's end of stdin closes."""
    threading.Thread(target=_stop_at_end_of_stdin, name="launcher-watch", daemon=True).start()


def _read_line() -> bytes:
    # Unbuffered on purpose: a daemon thread inside sys.stdin blocks the interpreter's exit.
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(_STDIN, 1)
        if not byte:
            break
        line += byte
    return line


def _stop_at_end_of_stdin() -> None:
    while os.read(_STDIN, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_GRACE_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)
