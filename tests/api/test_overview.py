"""The overview: figures that add up, of one's own project alone, within bounds."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import text

from postroom.domain import overview
from postroom.domain.status import State
from postroom.ids import first_id_at, new_id
from postroom.resources import Resources
from tests.factories import MadeProject, make_account, make_project

_INSERT = text(
    """
insert into mail_logs (project_id, id, connection_id, stream, status, outcome_unknown, paid_month, recipient_key,
    recipients, created_at)
  values (:project, :id, :connection, 0, :status, :unknown, :month, 0, '{}', :at)
"""
)


async def _mail(
    resources: Resources, project: MadeProject, ago: timedelta, state: State, unknown: bool = False
) -> None:
    at = datetime.now(UTC) - ago
    tail = new_id().int & ((1 << 62) - 1)
    made = UUID(int=first_id_at(at).int | (0x7 << 76) | (0b10 << 62) | tail)
    values = {
        "project": project.id,
        "id": made,
        "connection": project.connection_id,
        "status": int(state),
        "unknown": unknown,
        "month": at.date().replace(day=1),
        "at": at,
    }
    async with resources.sessions() as session:
        await session.execute(_INSERT, values)
        await session.commit()


async def _overview(client: httpx.AsyncClient, project: MadeProject, **query: Any) -> Any:
    answer = await client.get(
        f"{project.path}/mail/overview", params=query, headers=project.owner.bearer
    )
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


@pytest.fixture
async def project(resources: Resources) -> MadeProject:
    return await make_project(resources, provider="sandbox")


async def test_bars_and_totals_say_the_same(
    client: httpx.AsyncClient, resources: Resources, project: MadeProject
) -> None:
    hour = timedelta(hours=1)
    for ago, state in (
        (0.5 * hour, State.DELIVERED),
        (2 * hour, State.DELIVERED),
        (2 * hour, State.HARD_BOUNCED),
        (3 * hour, State.COMPLAINED),
        (30 * hour, State.DELIVERED),
    ):
        await _mail(resources, project, ago, state)
    await _mail(resources, project, hour, State.QUEUED, unknown=True)
    data = await _overview(client, project)
    summed = {
        name: sum(bar["counts"][name] for bar in data["buckets"])
        for name in data["totals"]["counts"]
    }
    assert summed == data["totals"]["counts"]
    assert data["bucket"] == "hour"
    assert 24 <= len(data["buckets"]) <= 25
    assert data["totals"]["accepted"] == 5
    assert data["totals"]["counts"]["outcomeUnknown"] == 1
    assert data["totals"]["deliveredRate"] == pytest.approx(0.75)
    assert data["totals"]["bouncedRate"] == pytest.approx(0.25)
    assert data["before"]["accepted"] == 1
    assert data["wholeSince"] is None


async def test_a_project_without_mails_has_no_rates_and_a_whole_quota(
    client: httpx.AsyncClient, project: MadeProject
) -> None:
    data = await _overview(client, project)
    assert data["totals"]["deliveredRate"] is None
    assert data["quota"]["used"] == 0
    assert data["quota"]["limit"] == 50_000
    assert data["quota"]["resetsAt"].endswith("-01T00:00:00Z")
    assert data["waiting"]["due"] == 0
    assert [(p["provider"], p["use"], p["own"]) for p in data["providers"]] == [
        ("sandbox", "sending", True)
    ]


async def test_counting_is_bounded_and_says_so(
    client: httpx.AsyncClient,
    resources: Resources,
    project: MadeProject,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for minutes in (1, 2, 3, 4):
        await _mail(resources, project, timedelta(minutes=minutes), State.SENT)
    monkeypatch.setattr(overview, "MOST", 3)
    data = await _overview(client, project)
    assert data["totals"]["accepted"] == 3
    since = datetime.fromisoformat(data["wholeSince"])
    assert timedelta(minutes=2.5) < datetime.now(UTC) - since < timedelta(minutes=3.5)


async def test_too_many_bars_and_a_time_backwards_are_refused(
    client: httpx.AsyncClient, project: MadeProject
) -> None:
    path, headers = f"{project.path}/mail/overview", project.owner.bearer
    long = {"from": "2026-01-01", "until": "2026-02-01", "bucket": "minute"}
    answer = await client.get(path, params=long, headers=headers)
    assert answer.status_code == 400
    assert "more than 400 minutes" in answer.json()["message"]
    backwards = {"from": "2026-02-01", "until": "2026-01-01"}
    answer = await client.get(path, params=backwards, headers=headers)
    assert answer.json()["message"] == "from must be before until."


async def test_a_stranger_finds_no_project(
    client: httpx.AsyncClient, resources: Resources, project: MadeProject
) -> None:
    stranger = await make_account(resources)
    answer = await client.get(f"{project.path}/mail/overview", headers=stranger.bearer)
    assert answer.status_code == 404


async def test_a_stopped_account_is_shown_with_its_reason(
    client: httpx.AsyncClient, resources: Resources, project: MadeProject
) -> None:
    async with resources.sessions() as session:
        await session.execute(
            text("update connections set stopped_at = now(), stopped_reason = :r where id = :id"),
            {"r": "The key was revoked.", "id": project.connection_id},
        )
        await session.commit()
    data = await _overview(client, project)
    assert data["providers"][0]["stoppedReason"] == "The key was revoked."
