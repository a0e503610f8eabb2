"""Data directories that every user may reach, and what is left of the processes on them."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from postroom import embedded


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Unlike pytest's own folders, one that the servers' user can pass through."""
    folder = Path(tempfile.mkdtemp(prefix="postroom-embedded-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def used_data_dir() -> Iterator[Path]:
    """A data directory whose servers have run once: what follows is a warm start."""
    folder = Path(tempfile.mkdtemp(prefix="postroom-embedded-"))
    folder.chmod(0o755)
    with embedded.servers(folder / "data", fast=True):
        pass
    yield folder / "data"
    assert _processes_on(folder) == []
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def processes_on() -> Callable[[Path], list[psutil.Process]]:
    """Finds every living process that works in a folder, or was given it by name."""
    return _processes_on


def _processes_on(folder: Path) -> list[psutil.Process]:
    return [
        process
        for process in psutil.process_iter(["cmdline", "cwd", "status"])
        if process.info["status"] != psutil.STATUS_ZOMBIE
        and (
            str(folder) in " ".join(process.info["cmdline"] or [])
            or (process.info["cwd"] or "").startswith(str(folder))
        )
    ]
