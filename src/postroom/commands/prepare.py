"""What a development start needs: the newest schema, a demo account, and a demo project with known keys."""

import argparse
import json
import os
import sys
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select

from postroom.commands import schema
from postroom.commands.session import run_with_resources
from postroom.crypto import hash_key
from postroom.domain import accounts, byok, keys, projects
from postroom.domain.audit import Who
from postroom.domain.byok import Wanted
from postroom.domain.credentials import SandboxFields
from postroom.domain.projects import NewProject
from postroom.embedded.command import Parser, run_command
from postroom.embedded.gate import wait_for_go
from postroom.errors import SettingsMissing
from postroom.models import Account, Connection, Membership, Project
from postroom.resources import Resources, Session
from postroom.settings import load_settings

PROJECT_NAME = "Demo project"


@dataclass(frozen=True, slots=True)
class Demo:
    """Who may sign in, and the keys that work."""

    email: str
    password: str
    secret_key: str
    publishable_key: str

    @classmethod
    def of_environment(cls) -> "Demo":
        try:
            return cls(*(os.environ[f"POSTROOM_DEMO_{name.upper()}"] for name in cls.__slots__))
        except KeyError as missing:
            raise SettingsMissing(f"{missing.args[0]} is not set.") from None


def configure(parser: argparse.ArgumentParser) -> None:
    parser.description = "Migrate and make the demo project; prints one line of JSON."


def run(args: argparse.Namespace) -> int:
    wait_for_go()
    settings, demo = load_settings(), Demo.of_environment()
    schema.migrate_unless_at_head(settings.database_url.get_secret_value())
    project_id = run_with_resources(lambda resources: make_demo(resources, demo), settings)
    print(json.dumps({"project_id": str(project_id)}))
    return 0


async def make_demo(resources: Resources, demo: Demo) -> UUID:
    """The demo project, made or found; afterwards it has exactly these keys."""
    async with resources.sessions() as session:
        project = await _by_keys(session, demo)
        if project is None:
            owner = await _account(session, demo)
            project = await _by_name(session, owner) or await _new(session, resources, owner, demo)
            keys.set_key(project, "secret", demo.secret_key)
            keys.set_key(project, "publishable", demo.publishable_key)
            # From here exactly these keys work.
            await session.commit()
        await _ensure_sandbox(session, resources, project.id)
        return project.id


async def _by_keys(session: Session, demo: Demo) -> Project | None:
    """Found in every start but the first, and then there is nothing to do."""
    return await session.scalar(
        select(Project).where(
            Project.secret_hash == hash_key(demo.secret_key),
            Project.publishable_hash == hash_key(demo.publishable_key),
            Project.deleted_at.is_(None),
        )
    )


async def _account(session: Session, demo: Demo) -> Account:
    account = await accounts.find(session, accounts.normal_email(demo.email))
    if account is None:
        return await accounts.create(session, demo.email, demo.password, "Demo")
    # The secrets of the data directory were made anew: the password is another one too.
    account.password_hash = await accounts.hash_password(demo.password)
    account.password_version += 1
    # From here one signs in with this password.
    await session.commit()
    return account


async def _by_name(session: Session, owner: Account) -> Project | None:
    return await session.scalar(
        select(Project)
        .join(Membership, Membership.project_id == Project.id)
        .where(
            Membership.account_id == owner.id,
            Membership.role == "owner",
            Project.name == PROJECT_NAME,
            Project.deleted_at.is_(None),
        )
        .order_by(Project.id)
        .limit(1)
    )


async def _new(session: Session, resources: Resources, owner: Account, demo: Demo) -> Project:
    wanted = NewProject(PROJECT_NAME, owner.id, "pro", demo.secret_key, demo.publishable_key)
    return (await projects.create(session, resources.settings, wanted)).view.project


async def _ensure_sandbox(session: Session, resources: Resources, project_id: UUID) -> None:
    """Its own sandbox, unless it ever had a connection: one that was removed by hand stays so."""
    if await session.scalar(select(Connection.id).where(Connection.project_id == project_id)):
        return
    wanted = Wanted("sandbox", SandboxFields())
    await byok.put(session, resources.redis, resources.keys, Who(project_id), wanted)


if __name__ == "__main__":
    sys.exit(run_command(Parser(prog="postroom prepare"), configure, run))
