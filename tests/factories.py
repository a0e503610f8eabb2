"""Accounts, projects and connections for tests, made as the platform makes them."""

import itertools
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from postroom.domain import accounts, byok, credentials, projects
from postroom.domain.audit import Who
from postroom.domain.byok import Wanted
from postroom.domain.projects import NewProject
from postroom.ids import new_id
from postroom.models import Account, Membership, Project
from postroom.resources import Resources

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class MadeAccount:
    id: UUID
    email: str
    token: str
    password: str | None = None

    @property
    def bearer(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.token}"}


@dataclass(frozen=True, slots=True)
class MadeProject:
    id: UUID
    owner: MadeAccount
    secret_key: str
    publishable_key: str
    connection_id: int | None  # its own, if it has one

    @property
    def key(self) -> dict[str, str]:
        return {"x-api-key": self.secret_key}

    @property
    def path(self) -> str:
        return f"/api/projects/{self.id}"


async def make_account(
    resources: Resources, *, email: str | None = None, password: str | None = None
) -> MadeAccount:
    """An account and a token for it; one without a password cannot sign in, but costs no hashing."""
    email = email or f"person-{next(_numbers)}-{new_id().hex[-6:]}@postroom.test"
    async with resources.sessions() as session:
        if password is not None:
            account = await accounts.create(session, email, password)
        else:
            account = Account(id=new_id(), email=email, password_hash="none")
            session.add(account)
            await session.commit()
            await session.refresh(account)
    token = accounts.issue_token(resources.settings, account)
    return MadeAccount(account.id, email, token.text, password)


async def make_project(
    resources: Resources,
    *,
    owner: MadeAccount | None = None,
    plan: str = "pro",
    provider: str | None = None,
    **columns: Any,
) -> MadeProject:
    """A project, with a connection of its own at `provider` if one is named; `columns` are set as they are."""
    owner = owner or await make_account(resources)
    async with resources.sessions() as session:
        wanted = NewProject(f"Project {next(_numbers)}", owner.id, plan)
        fresh = await projects.create(session, resources.settings, wanted)
        project_id = fresh.view.project.id
    own = await make_connection(resources, project_id, provider) if provider else None
    await set_columns(resources, project_id, **columns)
    return MadeProject(project_id, owner, fresh.secret_key, fresh.publishable_key, own)


async def make_connection(
    resources: Resources, project_id: UUID, provider: str = "sandbox", **fields: Any
) -> int:
    """A project's own account at a provider; the first one becomes the one that sends."""
    if provider == "resend":
        fields = {"apiKey": "re_test_0123456789abcdef"} | fields
    given = credentials.FIELDS[provider].model_validate(fields)
    async with resources.sessions() as session:
        row = await byok.put(
            session, resources.redis, resources.keys, Who(project_id), Wanted(provider, given)
        )
    return row.id


async def make_member(resources: Resources, project: MadeProject, role: str) -> MadeAccount:
    account = await make_account(resources)
    async with resources.sessions() as session:
        session.add(Membership(project_id=project.id, account_id=account.id, role=role))
        await session.commit()
    return account


async def set_columns(resources: Resources, project_id: UUID, **columns: Any) -> None:
    """Set columns of a project directly; its callers may hold the old ones for up to ten seconds."""
    async with resources.sessions() as session:
        project = await session.get_one(Project, project_id)
        for name, value in columns.items():
            setattr(project, name, value)
        await session.commit()
