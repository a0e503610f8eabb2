"""`postroom audiences copy`: move a project's audiences from its vendor to Postroom."""

import argparse
from uuid import UUID

from postroom.commands.session import run_with_resources
from postroom.domain.audience_copy import Progress, copy
from postroom.resources import Resources


def configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    copying = actions.add_parser(
        "copy", help="copy a project's audiences; run it again and it goes on where it stopped"
    )
    copying.add_argument("--project", type=UUID, required=True, metavar="PROJECT_ID")
    copying.add_argument("--from", dest="source", default="resend", choices=("resend",))
    copying.add_argument("--to", dest="target", default="native", choices=("native",))


def run(args: argparse.Namespace) -> int:
    async def work(resources: Resources) -> int:
        return await copy(resources, args.project, args.source, _tell)

    print(f"Copied {run_with_resources(work)} contacts.")
    return 0


def _tell(progress: Progress) -> None:
    refused = f", {progress.refused} without a usable address" if progress.refused else ""
    state = "done" if progress.finished else "..."
    print(f"{progress.name}: {progress.copied} contacts{refused} {state}", flush=True)
