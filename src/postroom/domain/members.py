"""Who else works on a project, and as what."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import Row, func, select

from postroom.domain import accounts, audit, projects
from postroom.domain.projects import Role
from postroom.errors import Conflict, NotFound
from postroom.models import Account, Membership
from postroom.resources import Session

Member = Row[Account, Membership]


async def of_project(session: Session, project_id: UUID) -> Sequence[Member]:
    """Each member's account and membership, in the order in which they came."""
    rows = await session.execute(
        select(Account, Membership)
        .join(Membership, Membership.account_id == Account.id)
        .where(Membership.project_id == project_id)
        .order_by(Membership.created_at, Account.id)
    )
    return rows.all()


async def one(session: Session, project_id: UUID, account_id: UUID | None) -> Member:
    for row in await of_project(session, project_id):
        if row.Account.id == account_id:
            return row
    raise NotFound("This person is not a member of the project.", code="member_not_found")


async def invite(session: Session, who: audit.Who, email: str, role: Role) -> Member:
    """Let an existing account into the project."""
    await projects.locked(session, who.project_id)
    account = await accounts.find(session, accounts.normal_email(email))
    if account is None:
        raise NotFound(
            "There is no account with this email. Ask them to register first.",
            code="account_not_found",
        )
    if await session.get(Membership, (who.project_id, account.id)) is not None:
        raise Conflict("This person is a member already.", code="already_member")
    session.add(Membership(project_id=who.project_id, account_id=account.id, role=role))
    audit.note(session, who, "member.added", str(account.id))
    # From here they see the project.
    await session.commit()
    return await one(session, who.project_id, account.id)


async def set_role(session: Session, who: audit.Who, account_id: UUID | None, role: Role) -> Member:
    await projects.locked(session, who.project_id)
    membership = (await one(session, who.project_id, account_id)).Membership
    if role != "owner":
        await _require_other_owner(session, membership)
    membership.role = role
    audit.note(session, who, "member.changed", str(account_id))
    # From here the new role decides.
    await session.commit()
    return await one(session, who.project_id, account_id)


async def remove(session: Session, who: audit.Who, account_id: UUID | None) -> None:
    await projects.locked(session, who.project_id)
    membership = (await one(session, who.project_id, account_id)).Membership
    await _require_other_owner(session, membership)
    await session.delete(membership)
    audit.note(session, who, "member.removed", str(account_id))
    # From here the project is not theirs to see.
    await session.commit()


async def _require_other_owner(session: Session, membership: Membership) -> None:
    """A project without an owner could never be changed again."""
    if membership.role != "owner":
        return
    owners = await session.scalar(
        select(func.count())
        .select_from(Membership)
        .where(Membership.project_id == membership.project_id, Membership.role == "owner")
    )
    if owners == 1:
        raise Conflict("The last owner cannot leave the project.", code="last_owner")
