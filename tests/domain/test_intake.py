"""Group commit: what arrives together is written together, and what nobody can be sure of is proven."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from postroom.domain import intake, quota
from postroom.domain.idempotency import Keyed
from postroom.domain.intake import Intake
from postroom.domain.new_mails import NewMail
from postroom.domain.submissions import Submission, that_fit
from postroom.errors import InvalidPayload, Overloaded, QuotaExceeded
from postroom.ids import new_id


def a_mail(**changed: Any) -> NewMail:
    mail = NewMail(
        id=new_id(),
        connection_id=999_999,
        stream=0,
        turn=1,
        pack_max=100,
        content=b"sealed",
        recipients=("ann@example.com",),
        recipient_keys=(7,),
        to_count=1,
        subject="Hello",
        sender="app@example.com",
    )
    return mail._replace(**changed)


def a_submission(project: UUID, *mails: NewMail, limit: int = -1, **more: Any) -> Submission:
    return Submission(project, limit, mails or (a_mail(),), lambda used: {"used": used}, **more)


@pytest.fixture
def opened(resources) -> Callable[..., Any]:
    """An intake over the given connections, writing."""

    @asynccontextmanager
    async def open_intake(pg=None) -> AsyncIterator[Intake]:
        made = Intake(pg or resources.pg, resources.sessions, resources.redis)
        writer = asyncio.create_task(made.write_forever())
        yield made
        await made.drain()
        writer.cancel()

    return open_intake


@pytest.fixture(autouse=True)
async def swept(resources) -> AsyncIterator[None]:
    yield
    async with resources.sessions() as session:
        await session.execute(text("delete from outbox where connection_id = 999999"))
        await session.commit()


async def on_disk(resources, project: UUID) -> tuple[int, int, int]:
    async with resources.sessions() as session:
        logs = await session.scalar(
            text("select count(*) from mail_logs where project_id = :p"), {"p": project}
        )
        outbox = await session.scalar(
            text("select count(*) from outbox where project_id = :p"), {"p": project}
        )
        used = await quota.read_used(session, [project], quota.this_month())
    return logs, outbox, used.get(project, 0)


class Troubled:
    """Connections that break when mails are committed, before or after they reached the disk."""

    def __init__(self, pg, *, after: int = 0, before: int = 0) -> None:
        self._pg, self.after, self.before = pg, after, before

    @asynccontextmanager
    async def acquire(self):
        async with self._pg.acquire() as connection:
            yield TroubledConnection(connection, self)

    @asynccontextmanager
    async def committing(self):
        if self.before:
            self.before -= 1
            raise ConnectionResetError("gone before")
        yield
        if self.after:
            self.after -= 1
            raise ConnectionResetError("gone after")


class TroubledConnection:
    def __init__(self, connection, trouble: Troubled) -> None:
        self._connection, self._trouble, self._in_transaction = connection, trouble, False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    async def fetch(self, statement: str, *values: Any) -> Any:
        if self._in_transaction or "insert into mail_logs" not in statement:
            return await self._connection.fetch(statement, *values)
        async with self._trouble.committing():
            return await self._connection.fetch(statement, *values)

    @asynccontextmanager
    async def transaction(self):
        self._in_transaction = True
        async with self._trouble.committing(), self._connection.transaction():
            yield


@pytest.fixture(params=[None, Keyed("send:troubled", b"h" * 32)], ids=["plain", "keyed"])
def keyed(request) -> Keyed | None:
    return request.param


async def test_a_commit_whose_answer_was_lost_is_proven_and_counted_once(
    resources, opened, keyed
) -> None:
    project = uuid4()
    async with opened(Troubled(resources.pg, after=1)) as made:
        accepted = await made.submit(a_submission(project, a_mail(), a_mail(), keyed=keyed))
    assert accepted.answer == {"used": 2}
    assert await on_disk(resources, project) == (2, 2, 2)


async def test_a_lost_answer_proves_nothing_for_those_who_had_no_room(resources, opened) -> None:
    roomy, full = uuid4(), uuid4()
    async with opened() as made:
        await made.submit(a_submission(full, a_mail(), a_mail(), limit=3))
    async with resources.sessions() as session:
        await quota.give_back(resources.redis, {(full, quota.this_month()): 2})
        assert await quota.read_used(session, [full], quota.this_month()) == {full: 2}
    # The gate is too low now, so both reach the ledger in one group; it has room for one of them.
    async with opened(Troubled(resources.pg, after=1)) as made:
        results = await asyncio.gather(
            made.submit(a_submission(roomy)),
            made.submit(a_submission(full, a_mail(), a_mail(), limit=3)),
            return_exceptions=True,
        )
    assert results[0].answer == {"used": 1}
    assert isinstance(results[1], QuotaExceeded)
    assert await on_disk(resources, roomy) == (1, 1, 1)
    assert await on_disk(resources, full) == (2, 2, 2)


async def test_a_commit_that_failed_is_repeated_with_the_same_ids(resources, opened, keyed) -> None:
    project = uuid4()
    async with opened(Troubled(resources.pg, before=3)) as made:
        accepted = await made.submit(a_submission(project, keyed=keyed))
    assert accepted.answer == {"used": 1}
    assert await on_disk(resources, project) == (1, 1, 1)


async def test_far_from_the_limit_the_gate_is_counted_afterwards_and_stays_right(
    resources, opened
) -> None:
    project, month = uuid4(), quota.this_month()
    async with opened() as made:
        for _ in range(3):
            await made.submit(a_submission(project, limit=1_000_000))
    assert int(await resources.redis.get(quota.gate_key(project, month))) == 3


async def test_room_is_relied_on_for_a_moment_only() -> None:
    now, project, month = 100.0, uuid4(), quota.this_month()
    room = quota.Room(clock=lambda: now)
    limit = quota.PLENTY + 11
    assert not room.is_plenty(project, limit, month)
    room.learn({project: 10}, month)
    assert room.is_plenty(project, limit, month)
    assert not room.is_plenty(project, limit, quota.month_after(month).date())
    room.learn({project: 11}, month)
    assert not room.is_plenty(project, limit, month)
    room.learn({project: 10}, month)
    now += quota.FRESH
    assert not room.is_plenty(project, limit, month)
    assert room.is_plenty(project, quota.UNLIMITED, month)


async def test_when_nobody_can_say_the_client_is_told_how_to_find_out(
    resources, opened, monkeypatch
) -> None:
    monkeypatch.setattr(intake, "INSIST_FOR", 0.2)
    project = uuid4()
    async with opened(Troubled(resources.pg, before=99)) as made:
        with pytest.raises(Overloaded, match="Idempotency-Key"):
            await made.submit(a_submission(project))
    assert await on_disk(resources, project) == (0, 0, 0)


async def test_one_bad_row_stands_alone_and_the_others_go(resources, opened) -> None:
    project = uuid4()
    async with opened() as made:
        bad = a_submission(project, a_mail(pack_max=99_999))
        good = [a_submission(project) for _ in range(7)]
        results = await asyncio.gather(
            *(made.submit(s) for s in [*good[:3], bad, *good[3:]]), return_exceptions=True
        )
    assert [type(r) for r in results].count(InvalidPayload) == 1
    assert isinstance(results[3], InvalidPayload)
    assert (await on_disk(resources, project))[:2] == (7, 7)


async def test_what_arrives_together_is_written_together(resources, opened) -> None:
    project = uuid4()
    async with opened() as made:
        answers = await asyncio.gather(*(made.submit(a_submission(project)) for _ in range(100)))
    assert sorted(a.answer["used"] for a in answers) == list(range(1, 101))
    async with resources.sessions() as session:
        commits = await session.scalar(
            text("select count(distinct xmin::text) from mail_logs where project_id = :p"),
            {"p": project},
        )
    # The first that came, and those that gathered behind it.
    assert commits <= 3


async def test_a_batch_is_taken_whole_or_not_at_all(resources, opened) -> None:
    project = uuid4()
    async with opened() as made:
        three = a_submission(project, a_mail(), a_mail(), a_mail(), limit=4)
        two = a_submission(project, a_mail(), a_mail(), limit=4)
        one = a_submission(project, limit=4)
        results = await asyncio.gather(
            *(made.submit(s) for s in (three, two, one)), return_exceptions=True
        )
    assert [isinstance(r, QuotaExceeded) for r in results] == [False, True, False]
    assert await on_disk(resources, project) == (4, 4, 4)


def test_those_that_fit_are_chosen_in_order_of_arrival() -> None:
    async def choose() -> list[int]:
        project, other = uuid4(), uuid4()
        group = [
            a_submission(project, *(a_mail() for _ in range(n)), limit=5) for n in (2, 4, 1)
        ] + [a_submission(other, limit=1)]
        return [group.index(s) for s in that_fit(group, {project: 1, other: 1})]

    assert asyncio.run(choose()) == [0, 2]


async def test_a_client_that_left_before_the_group_was_taken_writes_nothing(resources) -> None:
    project = uuid4()
    made = Intake(resources.pg, resources.sessions, resources.redis)
    gone = asyncio.create_task(made.submit(a_submission(project)))
    await asyncio.sleep(0)
    gone.cancel()
    stays = asyncio.create_task(made.submit(a_submission(project)))
    await asyncio.sleep(0)
    writer = asyncio.create_task(made.write_forever())
    assert (await stays).answer == {"used": 1}
    await made.drain()
    writer.cancel()
    assert await on_disk(resources, project) == (1, 1, 1)


async def test_too_many_waiting_mails_are_asked_to_come_back(resources, monkeypatch) -> None:
    monkeypatch.setattr(intake, "MAX_WAITING", 2)
    made = Intake(resources.pg, resources.sessions, resources.redis)
    waiting = [asyncio.create_task(made.submit(a_submission(uuid4()))) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await made.submit(a_submission(uuid4()))
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_nobody_lines_up_behind_those_who_wait_for_too_long(resources, monkeypatch) -> None:
    monkeypatch.setattr(intake, "LATE", 0.05)
    monkeypatch.setattr(intake, "GROUP_MAILS", 2)
    made = Intake(resources.pg, resources.sessions, resources.redis)
    waiting = [asyncio.create_task(made.submit(a_submission(uuid4())))]
    await asyncio.sleep(0.1)
    # One that waits for long fits into the next group.
    assert not made.is_late
    waiting.append(asyncio.create_task(made.submit(a_submission(uuid4()))))
    await asyncio.sleep(0.1)
    with pytest.raises(Overloaded) as refused:
        await made.submit(a_submission(uuid4()))
    assert refused.value.retry_after == 1
    writer = asyncio.create_task(made.write_forever())
    await asyncio.gather(*waiting)
    await made.submit(a_submission(uuid4()))
    writer.cancel()


async def test_a_key_that_another_process_holds_is_answered_in_time(resources, opened) -> None:
    project = uuid4()
    keyed = Keyed("send:k", b"h" * 32)
    async with resources.sessions() as other:
        await other.execute(
            text(
                "insert into idempotency_keys (project_id, key, body_hash, status, answer)"
                " values (:p, 'send:k', :h, 200, '{\"first\": true}')"
            ),
            {"p": project, "h": keyed.body_hash},
        )
        async with opened() as made:
            waiting = asyncio.create_task(made.submit(a_submission(project, keyed=keyed)))
            await asyncio.sleep(0.3)
            assert not waiting.done()
            await other.commit()
            accepted = await waiting
    assert accepted.replayed
    assert accepted.answer == {"first": True}
    assert (await on_disk(resources, project))[:2] == (0, 0)
