"""The `postroom` command: a table of commands, each loaded only when it is the one that was asked for."""

import difflib
import gc
import importlib
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence
from typing import Protocol, cast

from postroom import __version__
from postroom.embedded.command import Parser, run_command, say_the_unexpected_in_one_line

# name -> (what `postroom --help` says, the module with `configure` and `run`)
COMMANDS: dict[str, tuple[str, str]] = {
    "dev": (
        "run everything on this machine, with its own PostgreSQL and Valkey",
        "postroom.commands.dev",
    ),
    "api": ("serve the HTTP API and the dashboard", "postroom.commands.api"),
    "worker": ("hand mails over to the providers", "postroom.commands.worker"),
    "migrate": ("bring the database to the newest schema", "postroom.commands.migrate"),
    "account": ("create an account", "postroom.commands.account"),
    "project": (
        "create a project, set its plan, rotate its keys",
        "postroom.commands.project",
    ),
    "templates": ("bring templates along from another platform", "postroom.commands.templates"),
    "audiences": ("copy audiences from a vendor", "postroom.commands.audiences"),
    "provider": ("rehearse a move to another provider", "postroom.commands.provider"),
    "reseal": ("encrypt everything anew under the first key", "postroom.commands.reseal"),
    "doctor": ("check the set-up and say what to mend", "postroom.commands.doctor"),
}


class Command(Protocol):
    """What each module of the table offers."""

    def configure(self, parser: ArgumentParser) -> None: ...

    def run(self, args: Namespace) -> int: ...


def main(argv: Sequence[str] | None = None) -> int:
    sys.excepthook = say_the_unexpected_in_one_line
    name, *rest = (sys.argv[1:] if argv is None else list(argv)) or ["--help"]
    overview = _overview()
    if name.startswith("-"):
        # Answers --help and --version and refuses anything else, by leaving.
        overview.parse_args([name])
    if name not in COMMANDS:
        overview.error(f"there is no command {name!r}{_nearest(name)}")
    summary, module = COMMANDS[name]
    command = _load(module)
    parser = Parser(prog=f"postroom {name}", description=f"{summary[0].upper()}{summary[1:]}.")
    return run_command(parser, command.configure, command.run, rest)


def _load(module: str) -> Command:
    # Nothing of what is being loaded is garbage, and looking through it again and again takes a tenth of the time.
    gc.disable()
    try:
        return cast(Command, importlib.import_module(module))
    finally:
        gc.enable()


def _overview() -> Parser:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {summary}" for name, (summary, _) in COMMANDS.items()]
    parser = Parser(
        prog="postroom",
        usage="postroom COMMAND ...",
        description="Postroom: a self-hosted, asynchronous mail platform.",
        epilog="\n".join(["commands:", *lines, "", "`postroom COMMAND --help` says more."]),
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"postroom {__version__}")
    return parser


def _nearest(name: str) -> str:
    near = difflib.get_close_matches(name, COMMANDS, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


if __name__ == "__main__":
    sys.exit(main())
