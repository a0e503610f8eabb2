"""`postroom templates import`: bring templates along from another platform."""

import argparse
from pathlib import Path
from uuid import UUID

from postroom.commands.session import run_with_resources
from postroom.domain import projects, template_files, templates
from postroom.domain.audit import Who
from postroom.domain.rendering import Renderer
from postroom.domain.templates import Draft
from postroom.embedded.command import CommandFailed
from postroom.errors import InvalidPayload
from postroom.resources import Resources

_NOTES = {
    "ses": "SES did not escape values in html; here {{x}} is escaped and {{{x}}} is not.",
    "paubox": "Paubox templates have no subject: theirs is their name until a mail gives one.",
}


def configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    add = actions.add_parser("import", help="keep templates of another platform in a project")
    add.add_argument(
        "--from",
        dest="source",
        required=True,
        choices=tuple(_NOTES),
        help="ses: answers of GetEmailTemplate; paubox: dynamic templates as JSON or .hbs files",
    )
    add.add_argument("--project", required=True, type=UUID, metavar="PROJECT_ID")
    add.add_argument("files", nargs="+", type=Path, metavar="FILE")


def run(args: argparse.Namespace) -> int:
    drafts = [draft for path in args.files for draft in _read(args.source, path)]
    return run_with_resources(lambda resources: _keep(resources, args, drafts))


def _read(source: template_files.Source, path: Path) -> list[Draft]:
    try:
        return template_files.read_drafts(source, path.name, path.read_bytes())
    except OSError as error:
        raise CommandFailed(f"{path} cannot be read: {error.strerror}.") from error
    except InvalidPayload as problem:
        raise CommandFailed(problem.message) from problem


async def _keep(resources: Resources, args: argparse.Namespace, drafts: list[Draft]) -> int:
    async with resources.sessions() as session:
        await projects.view(session, args.project, "owner")
        results = await templates.keep_each(session, Renderer(), Who(args.project), drafts)
    for draft, refused in results:
        print(
            f"{'skipped' if refused else 'kept':8} {draft.name}{': ' + refused if refused else ''}"
        )
    print(_NOTES[args.source])
    return 1 if any(refused for _, refused in results) else 0
