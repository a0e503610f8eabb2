"""`postroom account create`: an account for somebody, whatever REGISTRATION says."""

import argparse
import getpass
import sys

from postroom.commands.session import run_with_resources
from postroom.domain import accounts
from postroom.embedded.command import CommandFailed
from postroom.resources import Resources

SHORTEST = 12


def configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    create = actions.add_parser("create", help="create an account")
    create.add_argument("email")
    create.add_argument("--name", help="how the dashboard calls them")
    create.epilog = "The password is asked for, or read as one line from standard input."


def run(args: argparse.Namespace) -> int:
    password = _password()

    async def create(resources: Resources) -> str:
        async with resources.sessions() as session:
            account = await accounts.create(session, args.email, password, args.name)
            return account.email

    print(f"Created the account {run_with_resources(create)}.")
    return 0


def _password() -> str:
    if sys.stdin.isatty():
        password = getpass.getpass("Password: ")
        if getpass.getpass("Once more: ") != password:
            raise CommandFailed("The two passwords differ.")
    else:
        password = sys.stdin.readline().rstrip("\n")
    if len(password) < SHORTEST:
        raise CommandFailed(f"The password must have at least {SHORTEST} characters.")
    return password
