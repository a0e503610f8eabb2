"""`postroom api` with group commit switched off: its writer takes one request at a time."""

import sys

from postroom import cli
from postroom.domain import intake


def main() -> int:
    if not hasattr(intake, "GROUP_MAILS"):
        raise SystemExit("The intake has no GROUP_MAILS any more: groups cannot be switched off.")
    intake.GROUP_MAILS = 1
    return cli.main(["api", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
