"""How a command is run and how it fails: alike from the command line and as a launcher's child."""

import argparse
import sys
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import NoReturn

from postroom.errors import SettingsMissing


class CommandFailed(Exception):
    """Carries the one sentence that the person at the terminal gets to read."""

    def __init__(self, sentence: str, exit_code: int = 1) -> None:
        super().__init__(sentence)
        self.exit_code = exit_code


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaint is one line, without the usage in front of it."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def run_command(
    parser: argparse.ArgumentParser,
    configure: Callable[[argparse.ArgumentParser], None],
    run: Callable[[argparse.Namespace], int],
    argv: Sequence[str] | None = None,
) -> int:
    """Parses, runs, and answers with the exit code; a failure is one line on stderr."""
    sys.excepthook = say_the_unexpected_in_one_line
    configure(parser)
    args = parser.parse_args(argv)
    try:
        return run(args)
    except CommandFailed as failure:
        print(f"{parser.prog}: {failure}", file=sys.stderr)
        return failure.exit_code
    except SettingsMissing as missing:
        print(f"{parser.prog}: {missing}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def say_the_unexpected_in_one_line(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    # Python's own development mode (python -X dev) is for those who want the traceback.
    if sys.flags.dev_mode:
        sys.__excepthook__(kind, error, trace)
        return
    # Further lines of an error may quote statements and their parameters: mail content.
    first_line = (str(error).splitlines() or ["no further words"])[0]
    print(f"postroom: unexpected {kind.__name__}: {first_line}", file=sys.stderr)
