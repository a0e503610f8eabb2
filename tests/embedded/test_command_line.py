"""The `postroom` command: help, errors of one line, and exit codes."""

import subprocess
import sys
from pathlib import Path

import pytest

from postroom.cli import COMMANDS
from postroom.embedded.command import CommandFailed, Parser, run_command
from postroom.embedded.datadir import locked, open_data_dir, write_private
from postroom.errors import SettingsMissing


def _postroom(*args: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603
        [sys.executable, "-m", "postroom.cli", *args], capture_output=True, text=True, check=False
    )


def _the_line(done: subprocess.CompletedProcess[str]) -> str:
    """The one line on stderr; nothing else may be said there."""
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    return lines[0]


def test_help_lists_every_command() -> None:
    done = _postroom("--help")
    assert done.returncode == 0
    for name, (summary, _) in COMMANDS.items():
        assert any(name in line and summary in line for line in done.stdout.splitlines())
    assert _postroom().stdout == done.stdout


def test_a_command_has_help_of_its_own() -> None:
    done = _postroom("dev", "--help")
    assert done.returncode == 0
    assert all(option in done.stdout for option in ("--no-embedded", "--port", "--data-dir"))


@pytest.mark.parametrize("args", [["--help"], ["dev", "--help"], ["--version"]])
def test_what_needs_no_library_loads_none(args: list[str]) -> None:
    # The launcher answers at once because the heavy imports happen in its children.
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-X", "importtime", "-m", "postroom.cli", *args],
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()}
    assert not loaded & {"pydantic", "sqlalchemy", "fastapi", "httpx", "redis", "asyncio"}


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["mirgate"], "did you mean 'migrate'?"),
        (["--nonsense"], "--nonsense"),
        (["dev", "--nonsense"], "--nonsense"),
        (["dev", "--port", "99999"], "not a number between 1 and 65535"),
        (["dev", "--port", "eighty"], "not a number between 1 and 65535"),
    ],
)
def test_a_wrong_call_is_one_line_and_exit_code_2(args: list[str], words: str) -> None:
    done = _postroom(*args)
    assert done.returncode == 2
    assert words in _the_line(done)


def test_a_second_start_says_where_the_first_one_answers(tmp_path: Path) -> None:
    data = open_data_dir(tmp_path / "data")
    write_private(data.root, data.root / "launcher.json", '{"url": "http://127.0.0.1:8123"}')
    with locked(data.launcher_lock) as free:
        assert free
        done = _postroom("dev", "--data-dir", data.root)
    assert done.returncode == 1
    assert "already running" in _the_line(done)
    assert "http://127.0.0.1:8123" in _the_line(done)


def test_a_data_dir_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = _postroom("dev", "--data-dir", tmp_path / "file/data")
    assert done.returncode == 1
    assert "cannot be used: Not a directory" in _the_line(done)


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (CommandFailed("It rains."), 1),
        (CommandFailed("It rains.", 2), 2),
        (SettingsMissing("It rains."), 2),
    ],
)
def test_a_failure_becomes_its_sentence(
    failure: Exception, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(args: object) -> int:
        raise failure

    hook = sys.excepthook
    try:
        assert run_command(Parser(prog="postroom x"), lambda parser: None, run, []) == code
    finally:
        sys.excepthook = hook
    assert capsys.readouterr().err == "postroom x: It rains.\n"


def test_the_unexpected_is_one_line_that_quotes_no_parameters() -> None:
    code = (
        "from postroom.embedded.command import Parser, run_command\n"
        "def run(args): raise RuntimeError('no such column\\n[parameters: someone@example.com]')\n"
        "run_command(Parser(prog='x'), lambda parser: None, run, [])"
    )
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert _the_line(done) == "postroom: unexpected RuntimeError: no such column"
