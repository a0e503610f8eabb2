"""What settling costs must not depend on how many mails wait, whatever the planner was told last."""

from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import TextClause, text

from postroom.domain import repair, settle
from postroom.domain.status import State
from postroom.ids import new_id
from postroom.resources import Resources, Session
from tests.factories import make_connection, make_project

_LOGS = text(
    f"""
insert into mail_logs (project_id, id, connection_id, stream, status, paid_month, recipient_key, recipients,
    subject, sender, created_at)
  select :project, gen_random_uuid(), :connection, 0, {State.DELIVERED:d}, '2026-11-01', 1, '{{a@example.com}}',
    'Hello', 'app@example.com', now() from generate_series(1, 20000)
"""
)


async def _where_few_seem_queued(session: Session, project: UUID, connection: int) -> None:
    """Twenty thousand mails that are queued, of a table that held none when it was analyzed."""
    await session.execute(_LOGS, {"project": project, "connection": connection})
    await session.execute(text("analyze mail_logs"))
    await session.execute(
        text(f"update mail_logs set status = {State.QUEUED:d} where project_id = :project"),
        {"project": project},
    )


def _settling(project: UUID) -> dict[str, Any]:
    return {
        "attempt": [new_id()], "fence": [1], "answered": [True], "of": [new_id()], "project": [project],
        "mail": [new_id()], "provider_id": ["x"], "to_status": [1], "reason": [None], "pack": [None],
        "keep": [0], "wait": [None], "ask": [False],
    }  # fmt: skip


def _statements(project: UUID) -> list[tuple[TextClause, dict[str, Any]]]:
    return [
        (settle._SETTLE, _settling(project)),
        (settle._FAIL_FREE, {"project": [project], "mail": [new_id()], "reason": "x"}),
        (settle._MARK_PARKED, {"mails": [new_id()], "reason": "x"}),
        (repair._AS_SENT, {"project": project, "id": new_id()}),
    ]


@pytest.mark.parametrize("number", range(4), ids=["settle", "fail_free", "mark_parked", "as_sent"])
async def test_no_statement_reads_every_mail_that_waits(resources: Resources, number: int) -> None:
    project = await make_project(resources)
    connection = await make_connection(resources, project.id, "sandbox")
    async with resources.sessions() as session:
        await _where_few_seem_queued(session, project.id, connection)
        statement, values = _statements(project.id)[number]
        rows = await session.execute(text(f"explain {statement.text}"), values)
        plan = "\n".join(row[0] for row in rows)
        await session.rollback()
    assert "pk_mail_logs" in plan or "(project_id = " in plan
    assert "Index Cond: (status = 0)" not in plan
    assert "Seq Scan on mail_logs" not in plan
