"""Group commit: what arrives together is written together.

A request puts its mails into a queue; one writer takes what is there, writes it with one statement and one
commit, and answers everybody. Meanwhile the next group gathers. A lone request waits for nothing.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import date
from time import monotonic, time
from typing import Any
from uuid import UUID

from postroom import metrics
from postroom.domain import idempotency, new_mails, quota
from postroom.domain.idempotency import AnotherWasFirst
from postroom.domain.submissions import (
    Accepted,
    Submission,
    busy,
    mismatch,
    refuse_over_limit,
    refused_alone,
    that_fit,
    unsure,
    usage_of_each,
)
from postroom.errors import Overloaded
from postroom.queue import Lane, put_bells
from postroom.resources import (
    Pg,
    PgConnection,
    PgError,
    PgMisuse,
    Redis,
    RedisError,
    Sessions,
)

log = logging.getLogger(__name__)

GROUP_MAILS = 500
GROUP_BYTES = 4_000_000
MAX_WAITING = 5_000  # mails in the queue before new ones are asked to come back
MAX_WAITING_BYTES = 256_000_000
LATE = 0.5  # seconds that the first in line may wait before new ones are asked to come back
INSIST_FOR = 8.0  # seconds for which an unsure write is repeated
RING_REST = 1.0  # seconds without bells after Redis failed; the sweep rings meanwhile
RING_EVERY = 0.005  # seconds from a ring to the next: what is written meanwhile rings together


Answers = list[tuple[Submission, dict[str, Any]]]


def _sqlstate(error: Exception) -> str:
    return str(getattr(error, "sqlstate", None) or "")


def _is_passing(error: Exception) -> bool:
    """Whether the same group may be written again: the connection broke, the server restarts, a deadlock."""
    state = _sqlstate(error)
    # The driver calls a connection that broke while nobody used it misused; 0A000 is a stale plan.
    broken = isinstance(error, OSError | TimeoutError | PgMisuse)
    return broken or state.startswith(("08", "57P0")) or state in {"40P01", "0A000"}


class Intake:
    """The queue of one process and its one writer."""

    def __init__(self, pg: Pg, sessions: Sessions, redis: Redis) -> None:
        self._pg = pg
        self._sessions = sessions
        self._redis = redis
        self._room = quota.Room()
        self._queue: deque[Submission] = deque()
        self._mails = 0
        self._bytes = 0
        self._arrived = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        # To ring for, and to count at the gate with the next ring.
        self._lanes: set[Lane] = set()
        self._past_gate: dict[tuple[UUID, date], int] = {}
        self._ringing: asyncio.Task[None] | None = None
        self._no_bells_until = 0.0

    async def submit(self, submission: Submission) -> Accepted:
        """Write a request's mails down; when this returns, they are on disk. Raises what `put` raises."""
        return await self.put(submission)

    def put(self, submission: Submission) -> asyncio.Future[Accepted]:
        """Have a request's mails written; when the future is done, they are on disk.

        It ends in QuotaExceeded, Conflict (idempotency), InvalidPayload for what the database refuses, and
        Overloaded, after which an Idempotency-Key tells whether the mails exist. Cancelled before the
        writer takes it up, nothing is written. Raises Overloaded when too much waits already.
        """
        self._mails += len(submission.mails)
        self._bytes += submission.size
        if self._mails > MAX_WAITING or self._bytes > MAX_WAITING_BYTES or self.is_late:
            self._leave(submission)
            raise busy()
        self._queue.append(submission)
        self._arrived.set()
        return submission.done

    @property
    def is_late(self) -> bool:
        """Whether those who wait have waited for so long that nobody else should line up behind them.

        What fits into one group is written in one step, however long the writer was held up: it is never late.
        """
        crowded = bool(self._queue) and self._mails > GROUP_MAILS
        return crowded and self._queue[0].since < monotonic() - LATE

    def _leave(self, submission: Submission) -> None:
        self._mails -= len(submission.mails)
        self._bytes -= submission.size

    async def write_forever(self) -> None:
        """The writer: one group at a time, for as long as the process lives."""
        while True:
            if not self._queue:
                self._idle.set()
                self._arrived.clear()
                await self._arrived.wait()
            self._idle.clear()
            await self._write_and_answer(self._take_group())

    async def drain(self) -> None:
        """Wait until everything that was submitted is written and its bells are rung."""
        while self._queue or not self._idle.is_set():
            await self._idle.wait()
            # The writer wakes before we look again.
            await asyncio.sleep(0)
        if self._ringing is not None:
            await self._ringing

    def _take_group(self) -> list[Submission]:
        """What waits now, bounded, without those whose client has gone; a key at most once."""
        group: list[Submission] = []
        later: list[Submission] = []
        keys: set[tuple[UUID, str]] = set()
        mails = size = 0
        while self._queue and mails < GROUP_MAILS and size < GROUP_BYTES:
            submission = self._queue.popleft()
            if submission.done.done():
                self._leave(submission)
                continue
            if submission.keyed:
                # The second of two equal keys meets the first one's answer in the next group.
                key = (submission.project_id, submission.keyed.key)
                if key in keys:
                    later.append(submission)
                    continue
                keys.add(key)
            group.append(submission)
            mails += len(submission.mails)
            size += submission.size
        self._queue.extendleft(reversed(later))
        return group

    async def _write_and_answer(self, group: list[Submission]) -> None:
        try:
            await self._write(group)
        except asyncio.CancelledError:
            for submission in group:
                submission.refuse(Overloaded("The server is stopping.", retry_after=1))
            raise
        except Exception:
            log.exception("group not written", extra={"requests": len(group)})
            for submission in group:
                submission.refuse(unsure())
        finally:
            for submission in group:
                self._leave(submission)

    async def _write(self, group: list[Submission]) -> None:
        """Reserve, write, commit, ring; halve the group around what the database refuses."""
        month = quota.this_month()
        # A group that comes back here was answered in part.
        group = await self._answer_known([s for s in group if not s.done.done()])
        if not group:
            return
        # Who is far from their limit is counted at the gate afterwards, with the bells.
        for submission in group:
            submission.gated = not self._room.is_plenty(
                submission.project_id, submission.limit, month
            )
        near = [s for s in group if s.gated]
        try:
            async with quota.reserved(
                self._sessions, self._redis, [s.wish for s in near], month
            ) as granted:
                refused = [s for s, ok in zip(near, granted, strict=True) if not ok]
                refuse_over_limit(refused)
                may = [s for s in group if s not in refused] if refused else group
                written = await self._insist(may, month)
        except AnotherWasFirst:
            await self._write(group)
            return
        except PgError as error:
            await self._apart(group, error)
            return
        await self._settle_gate([s for s in may if s.gated], written, month)

    async def _answer_known(self, group: list[Submission]) -> list[Submission]:
        """Answer repeats of a key with the first answer; the rest goes on."""
        names = [(s.project_id, s.keyed.key) for s in group if s.keyed]
        if not names:
            return group
        async with self._pg.acquire() as connection:
            known = await idempotency.known(connection, names)
        rest = []
        for submission in group:
            keyed = submission.keyed
            kept = known.get((submission.project_id, keyed.key)) if keyed else None
            if keyed is None or kept is None:
                rest.append(submission)
            elif kept.body_hash == keyed.body_hash:
                submission.accept(Accepted(kept.answer, replayed=True))
            else:
                submission.refuse(mismatch())
        return rest

    async def _insist(self, group: list[Submission], month: date) -> list[Submission]:
        """Write the group; repeat the same ids while nobody can say whether they were written."""
        give_up = asyncio.get_running_loop().time() + INSIST_FOR
        delay, is_unsure = 0.05, False
        done: list[Submission] = []
        while rest := [s for s in group if not s.done.done()]:
            try:
                await self._write_all(rest, month, done)
            except (PgError, PgMisuse, OSError, TimeoutError) as error:
                # An earlier try may have committed: then its rows are there, and this count was rolled back.
                clash = is_unsure and _sqlstate(error) == "23505"
                if clash and await self._answer_as_written(rest, month, done):
                    continue
                if not _is_passing(error) or asyncio.get_running_loop().time() + delay > give_up:
                    raise
                is_unsure = True
                log.warning("group is written again", extra={"requests": len(rest)})
                await asyncio.sleep(delay)
                delay = min(delay * 2, 1.0)
        return done

    async def _write_all(
        self, group: list[Submission], month: date, done: list[Submission]
    ) -> None:
        """Write and answer what fits (it is added to `done`); those over their limit are answered 429."""
        rest = group
        while rest:
            async with self._pg.acquire() as connection:
                used, answers = await _commit(connection, rest, month)
            # From here the mails are ours.
            self._room.learn(used, month)
            self._tell(answers, month)
            done += [submission for submission, _ in answers]
            if len(answers) == len(rest):
                return
            written = {id(submission) for submission, _ in answers}
            rest = await self._choose([s for s in rest if id(s) not in written], month)

    def _tell(self, answers: Answers, month: date) -> None:
        """Ring for what is on disk, and answer."""
        count = 0
        for submission, answer in answers:
            count += len(submission.mails)
            self._lanes.update([mail.lane for mail in submission.mails if mail.waits_until is None])
            if not submission.gated and submission.limit != quota.UNLIMITED:
                slot = (submission.project_id, month)
                self._past_gate[slot] = self._past_gate.get(slot, 0) + len(submission.mails)
            submission.accept(Accepted(answer))
        metrics.ACCEPTED.inc(count)
        if self._ringing is None:
            self._ringing = asyncio.create_task(self._ring())

    async def _choose(self, group: list[Submission], month: date) -> list[Submission]:
        """The gate was low or away: the ledger chooses, in order of arrival."""
        async with self._sessions() as session:
            used = await quota.read_used(session, list({s.project_id for s in group}), month)
        chosen = that_fit(group, used)
        refuse_over_limit([s for s in group if s not in chosen])
        with contextlib.suppress(RedisError):  # the minute's correction sets it otherwise
            await quota.set_gates(self._redis, used, month)
        return chosen

    async def _answer_as_written(
        self, group: list[Submission], month: date, done: list[Submission]
    ) -> bool:
        """Answer those of the group that an earlier try has written; whether there were any."""
        async with self._pg.acquire() as connection:
            there = await new_mails.written(connection, _rows(group))
        found = [s for s in group if s.mails[0].id in there]
        async with self._sessions() as session:
            used = await quota.read_used(session, [s.project_id for s in found], month)
        self._tell([(s, s.answer(used[s.project_id])) for s in found], month)
        done += found
        return bool(found)

    async def _settle_gate(
        self, reserved: Sequence[Submission], written: Sequence[Submission], month: date
    ) -> None:
        """Give back what was reserved for requests that the ledger then refused."""
        back: dict[tuple[UUID, date], int] = {}
        there = {id(submission) for submission in written}
        for submission in reserved:
            if id(submission) not in there:
                slot = (submission.project_id, month)
                back[slot] = back.get(slot, 0) + len(submission.mails)
        await quota.give_back(self._redis, back)

    async def _apart(self, group: list[Submission], error: PgError) -> None:
        """The database refused the group: halve it until the one that it refuses stands alone."""
        state = _sqlstate(error)
        if state not in {"55P03"} and not state.startswith(("22", "23", "54")):
            raise error
        if len(group) > 1:
            middle = len(group) // 2
            await self._write(group[:middle])
            await self._write(group[middle:])
            return
        log.warning("request refused by the database", extra={"sqlstate": state})
        group[0].refuse(refused_alone(group[0], state))

    async def _ring(self) -> None:
        """Ring for what is written, together for what comes within a moment of it.

        Nobody waits for it; when Redis is away the sweep finds the mails, and the minute's correction counts them.
        """
        try:
            while self._lanes or self._past_gate:
                lanes, self._lanes = self._lanes, set()
                past_gate, self._past_gate = self._past_gate, {}
                if time() >= self._no_bells_until:
                    await self._ring_for(lanes, past_gate)
                await asyncio.sleep(RING_EVERY)
        finally:
            self._ringing = None

    async def _ring_for(self, lanes: set[Lane], past_gate: Mapping[tuple[UUID, date], int]) -> None:
        try:
            pipe = self._redis.pipeline(transaction=False)
            put_bells(pipe, lanes, time())
            quota.count_in(pipe, past_gate)
            await pipe.execute()
            metrics.BELLS_RUNG.inc(len(lanes))
        except RedisError:
            self._no_bells_until = time() + RING_REST


def _rows(group: Sequence[Submission]) -> list[new_mails.Row]:
    return [(s.project_id, mail) for s in group for mail in s.mails]


class _NoRoom(Exception):
    """A project of a group with keys has too little room: nothing of the group is written."""


async def _commit(
    connection: PgConnection, group: Sequence[Submission], month: date
) -> tuple[Mapping[UUID, int], Answers]:
    """Write what the ledger has room for, in one commit: what is used now, and who is on disk.

    Keys are kept together with all of the group or not at all. Raises AnotherWasFirst.
    """
    most = {s.project_id: quota.most(s.limit) for s in group}
    if not any(s.keyed for s in group):
        used = await new_mails.write(connection, _rows(group), most, month)
        return used, _answers([s for s in group if s.project_id in used], used)
    try:
        async with connection.transaction():
            used = await new_mails.write(connection, _rows(group), most, month)
            _require_all(most, used)
            answers = _answers(group, used)
            kept = [(s.project_id, s.keyed, answer) for s, answer in answers if s.keyed]
            await idempotency.remember(connection, kept)
    except _NoRoom:
        return {}, []
    return used, answers


def _require_all(most: Mapping[UUID, int], used: Mapping[UUID, int]) -> None:
    if len(used) < len(most):
        raise _NoRoom


def _answers(group: Sequence[Submission], used: dict[UUID, int]) -> Answers:
    usage = usage_of_each(group, used)
    return [(s, s.answer(n)) for s, n in zip(group, usage, strict=True)]
