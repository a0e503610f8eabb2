"""`postroom provider`: rehearse a move to another provider."""

import argparse
from collections.abc import Iterator
from uuid import UUID

from postroom.commands.session import run_with_resources
from postroom.domain import rehearse
from postroom.domain.rehearse import Rehearsal
from postroom.resources import Resources

_MARKS = {True: "x", False: " ", None: "?"}


def configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    move = actions.add_parser(
        "rehearse", help="check a project's last mails against another provider; nothing is sent"
    )
    move.add_argument("--project", type=UUID, required=True, metavar="PROJECT_ID")
    move.add_argument("--to", required=True, metavar="PROVIDER")
    move.add_argument("--last", type=int, default=rehearse.USUAL, metavar="N", help="mails")
    move.set_defaults(act=_rehearse)


def run(args: argparse.Namespace) -> int:
    act = args.act
    print(run_with_resources(lambda resources: act(resources, args)))
    return 0


async def _rehearse(resources: Resources, args: argparse.Namespace) -> str:
    last = max(1, args.last)
    found = await rehearse.rehearse(resources, args.project, args.to, last)
    return "\n".join(lines_of(found))


def lines_of(found: Rehearsal) -> Iterator[str]:
    """A rehearsal as one reads it."""
    yield f"{found.current or 'no provider'} -> {found.provider}; nothing was sent."
    yield f"{found.carried} of {found.mails} mails would be carried ({found.whole_mails} with content)."
    for refusal in found.refused:
        examples = ", ".join(str(example) for example in refusal.examples)
        yield f"  refused {refusal.mails}: {refusal.reason} ({examples})"
    for loss in found.lost:
        share = "" if loss.mails is None else f" ({loss.mails} mails)"
        yield f"  lost: {loss.detail}{share}"
    yield "The way, x = done, ? = only you can tell:"
    for number, step in enumerate(found.checklist, 1):
        yield f"  [{_MARKS[step.done]}] {number}. {step.title}. {step.detail}"
