"""`postroom project`: create one, set its plan, rotate its keys."""

import argparse
from uuid import UUID

from postroom.commands.session import run_with_resources
from postroom.domain import accounts, projects
from postroom.domain.audit import Who
from postroom.domain.projects import Fresh, NewProject
from postroom.errors import NotFound
from postroom.resources import Resources


def configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    create = actions.add_parser("create", help="create a project and print its keys")
    create.add_argument("name")
    create.add_argument("--owner", required=True, metavar="EMAIL", help="an existing account")
    create.add_argument("--plan", choices=("free", "pro"), default="free")
    create.set_defaults(act=_create)
    plan = actions.add_parser("set-plan", help="put a project on a plan")
    plan.add_argument("project", type=UUID, metavar="PROJECT_ID")
    plan.add_argument("plan", choices=("free", "pro"))
    plan.set_defaults(act=_set_plan)
    rotate = actions.add_parser("rotate-key", help="replace a key; the old one stops at once")
    rotate.add_argument("project", type=UUID, metavar="PROJECT_ID")
    rotate.add_argument("--type", choices=("secret", "publishable"), default="secret")
    rotate.set_defaults(act=_rotate)


def run(args: argparse.Namespace) -> int:
    act = args.act
    print(run_with_resources(lambda resources: act(resources, args)))
    return 0


async def _create(resources: Resources, args: argparse.Namespace) -> str:
    async with resources.sessions() as session:
        owner = await accounts.find(session, accounts.normal_email(args.owner))
        if owner is None:
            raise NotFound(f"There is no account {args.owner}. Create it with `postroom account`.")
        wanted = NewProject(args.name, owner.id, args.plan)
        fresh = await projects.create(session, resources.settings, wanted)
    return _keys(fresh)


def _keys(fresh: Fresh) -> str:
    return (
        f"Project          {fresh.view.project.id}\n"
        f"Secret key       {fresh.secret_key}\n"
        f"Publishable key  {fresh.publishable_key}\n"
        "The keys are shown only now."
    )


async def _set_plan(resources: Resources, args: argparse.Namespace) -> str:
    async with resources.sessions() as session:
        await projects.set_plan(session, resources.redis, args.project, args.plan)
    return f"The project {args.project} is on the plan {args.plan}."


async def _rotate(resources: Resources, args: argparse.Namespace) -> str:
    async with resources.sessions() as session:
        return await projects.rotate_key(session, resources.redis, Who(args.project), args.type)
