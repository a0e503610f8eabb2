"""Asking vendors about silent mails never takes a worker, or an account, from the mails that want to go."""

import asyncio
from bisect import bisect_left
from typing import Any

import pytest

from postroom.domain import poll
from tests.doubles.paubox import PauboxDouble
from tests.factories import MadeProject
from tests.journeys.conftest import World
from tests.journeys.test_vendors import at_paubox, due_now

pytestmark = pytest.mark.journey


@pytest.fixture(autouse=True)
async def nobody_else_is_asked_about(world: World):
    await world.sql("update mail_logs set next_poll_at = null")


@pytest.fixture
async def paubox():
    async with PauboxDouble() as double:
        yield double


async def silent_mails(world: World, double: PauboxDouble, count: int) -> MadeProject:
    """A project with mails that Paubox took and that nothing was heard of; all are to be asked about."""
    project = await at_paubox(world, double)
    accepting = (world.sent(project, to="processing@example.com") for _ in range(count))
    await asyncio.gather(*accepting)

    async def all_sent() -> bool:
        where = "project_id = :p and next_poll_at is not null"
        rows = await world.sql(f"select count(*) n from mail_logs where {where}", p=project.id)
        return bool(rows[0].n == count)

    await world.until(all_sent)
    await due_now(world, project)
    return project


def most_within(seconds: float, moments: list[float]) -> int:
    """The most of these moments in any window of so many seconds."""
    ordered = sorted(moments)
    return max(bisect_left(ordered, at + seconds) - i for i, at in enumerate(ordered))


async def test_all_accounts_together_are_asked_so_many_questions_a_second(world, office, paubox):
    projects = [await silent_mails(world, paubox, 30) for _ in range(2)]
    assert len(projects) == 2
    assert await poll.poll_due(world.resources, office.book) == 60
    # The groups that are under way when a window begins come on top.
    assert most_within(0.5, paubox.asked_at) <= poll.A_SECOND / 2 + 2 * poll.IN_FLIGHT


async def test_while_mails_are_handed_over_questions_are_few(world, office, paubox):
    await silent_mails(world, paubox, 12)
    assert await poll.poll_due(world.resources, office.book, lambda: True) == 12
    took = paubox.asked_at[-1] - paubox.asked_at[0]
    assert took >= (12 - poll.IN_FLIGHT) / poll.A_SECOND_WHILE_BUSY * 0.9


async def test_a_worker_that_hands_over_a_mail_says_so(world, office, paubox):
    paubox.faults.set(latency_ms=300)
    project = await at_paubox(world, paubox)
    assert not office.delivery.is_calling
    mail_id = await world.sent(project)
    await world.until(lambda: _is(office.delivery.is_calling))
    await world.until_status(project, mail_id, "sent")
    await world.until(lambda: _is(not office.delivery.is_calling))


async def _is(held: bool) -> bool:
    return held


async def test_a_slow_vendor_is_asked_few_questions_at_a_time(world, office, paubox):
    paubox.receipt_seconds = 0.2
    await silent_mails(world, paubox, 10)
    assert await poll.poll_due(world.resources, office.book) == 10
    assert paubox.most_asking == poll.IN_FLIGHT


async def test_what_a_pass_does_not_get_to_is_asked_about_in_the_next(
    world, office, paubox, monkeypatch
):
    await silent_mails(world, paubox, 30)
    monkeypatch.setattr(poll, "SECONDS_A_PASS", 0.0)
    assert await poll.poll_due(world.resources, office.book) == 0
    monkeypatch.setattr(poll, "SECONDS_A_PASS", 0.05)
    first = await poll.poll_due(world.resources, office.book)
    monkeypatch.undo()
    assert first + await poll.poll_due(world.resources, office.book) == 30
    assert len(paubox.asked_at) == 30


async def test_what_was_told_before_a_vendor_went_away_is_not_lost(world, office, paubox):
    project = await silent_mails(world, paubox, 10)
    for mail in paubox.mails:
        status = {"deliveryStatus": "delivered"}
        deliveries = [{"recipient": "processing@example.com", "status": status}]
        paubox.receipts[mail.id] = {"data": {"message": {"message_deliveries": deliveries}}}
    looked_up = paubox._look_up

    def goes_away(exchange: Any) -> None:
        if len(paubox.asked_at) >= poll.IN_FLIGHT:
            paubox.page = 503
        looked_up(exchange)

    paubox._look_up = goes_away  # type: ignore[method-assign]
    answered = await poll.poll_due(world.resources, office.book)
    assert poll.IN_FLIGHT <= answered < 2 * poll.IN_FLIGHT
    assert len(await world.mails(project, status="delivered", limit=100)) == answered
    where = "project_id = :p and next_poll_at <= now()"
    left = await world.sql(f"select count(*) n from mail_logs where {where}", p=project.id)
    assert left[0].n == 10 - answered
