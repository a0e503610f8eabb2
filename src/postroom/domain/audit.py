"""Who changed what: ids only, in the transaction that changes it."""

from typing import NamedTuple
from uuid import UUID

from postroom.ids import new_id
from postroom.models import AuditEvent
from postroom.resources import Session


class Who(NamedTuple):
    """A project and, where a person acts, their account."""

    project_id: UUID
    account_id: UUID | None = None


def note(session: Session, who: Who, action: str, target: str | None = None) -> None:
    """Add a line to the project's audit trail; the caller commits."""
    session.add(
        AuditEvent(
            id=new_id(),
            project_id=who.project_id,
            account_id=who.account_id,
            action=action,
            target=target,
        )
    )
