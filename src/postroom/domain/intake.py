"""Group commit: what arrives together is written together.

A request puts its mails into a queue; one writer takes what is there, writes it with one statement and one
commit, and answers everybody. Meanwhile the next group gathers. A lone request waits for nothing.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from time import time
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from postroom import metrics
from postroom.domain import quota
from postroom.errors import Conflict, InvalidPayload, Overloaded, Problem, QuotaExceeded
from postroom.ids import time_of
from postroom.queue import Lane, ring
from postroom.resources import Redis, RedisError, Session, Sessions

log = logging.getLogger(__name__)

GROUP_MAILS = 200
GROUP_BYTES = 4_000_000
MAX_WAITING = 5_000  # mails in the queue before new ones are asked to come back
MAX_WAITING_BYTES = 256_000_000
INSIST_FOR = 8.0  # seconds for which an unsure write is repeated
RING_REST = 1.0  # seconds without bells after Redis failed; the sweep rings meanwhile


@dataclass(frozen=True, slots=True)
class NewMail:
    """One mail, checked, filled and sealed: the two rows that it becomes."""

    id: UUID
    connection_id: int
    stream: int
    turn: int
    pack_max: int
    content: bytes
    recipients: tuple[str, ...]
    recipient_keys: tuple[int, ...]
    to_count: int
    subject: str | None
    sender: str | None
    sealed: bytes | None = None  # recipients and subject of a health-data project
    template: dict[str, Any] | None = None
    tags: list[dict[str, str]] | None = None
    waits_until: datetime | None = None

    @property
    def lane(self) -> Lane:
        return Lane(self.connection_id, self.stream)


@dataclass(frozen=True, slots=True)
class Keyed:
    """A client's Idempotency-Key with what it stands for."""

    key: str  # "<route>:<key>"
    body_hash: bytes


@dataclass(frozen=True, slots=True)
class Accepted:
    """The answer to a request whose mails are on disk."""

    answer: dict[str, Any]
    replayed: bool = False


@dataclass(eq=False, slots=True)
class Submission:
    """One request: its mails are written all or none."""

    project_id: UUID
    limit: int
    mails: Sequence[NewMail]
    answer: Callable[[int], dict[str, Any]]  # from the month's usage after these mails
    keyed: Keyed | None = None
    done: asyncio.Future[Accepted] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    @property
    def size(self) -> int:
        return sum(len(mail.content) for mail in self.mails)

    @property
    def wish(self) -> quota.Wish:
        return quota.Wish(self.project_id, len(self.mails), self.limit)

    def refuse(self, problem: Problem) -> None:
        if not self.done.done():
            self.done.set_exception(problem)

    def accept(self, accepted: Accepted) -> None:
        if not self.done.done():
            self.done.set_result(accepted)


_WRITE = text(
    """
with i as (
  select * from unnest(
      cast(:project as uuid[]), cast(:id as uuid[]), cast(:connection as int[]),
      cast(:stream as smallint[]), cast(:turn as bigint[]), cast(:pack as smallint[]),
      cast(:content as bytea[]), cast(:waits as timestamptz[]), cast(:first_key as bigint[]),
      cast(:recipient as text[]), cast(:more as text[]), cast(:to_count as smallint[]),
      cast(:subject as text[]), cast(:sender as text[]), cast(:sealed as bytea[]),
      cast(:template as text[]), cast(:tags as text[]), cast(:created as timestamptz[]))
    as i(project_id, id, connection_id, stream, turn, pack_max, content, waits_until, recipient_key,
         recipient, more, to_count, subject, sender, sealed, template, tags,
         created_at)),
c as (select * from unnest(cast(:limited as uuid[]), cast(:most as int[])) c(project_id, most)),
q as (
  insert into quota_months as q (project_id, month, used)
    select project_id, :month, count(*) from i join c using (project_id)
    group by project_id, c.most having count(*) <= c.most order by project_id
  on conflict (project_id, month) do update set used = q.used + excluded.used
    where q.used::bigint + excluded.used <= (select most from c where c.project_id = q.project_id)
  returning project_id, used),
m as (
  insert into mail_logs (project_id, id, connection_id, stream, paid_month, recipient_key, recipients,
      to_count, subject, sender, sealed, template, tags, created_at, scheduled_at)
    select i.project_id, id, connection_id, stream, :month, recipient_key,
      case when more is null then case when recipient is null then '{}' else array[recipient] end
        else array(select jsonb_array_elements_text(more::jsonb)) end,
      to_count, subject, sender, sealed, template::jsonb, tags::jsonb, created_at,
      waits_until
    from i join q using (project_id)),
o as (
  insert into outbox (id, project_id, connection_id, stream, turn, waits_until, pack_max, size,
      recipient_keys, content)
    select id, i.project_id, connection_id, stream, turn, waits_until, pack_max, length(content),
      case when more is null then array[recipient_key]
        else array(select jsonb_array_elements_text(more_keys::jsonb)::bigint) end, content
    from (select i.*, k.more_keys from i
          left join unnest(cast(:many as uuid[]), cast(:many_keys as text[])) k(id, more_keys) using (id)) i
    join q using (project_id))
select project_id, used from q
"""
)

_REMEMBER = text(
    """
insert into idempotency_keys (project_id, key, body_hash, status, answer)
  select project_id, key, body_hash, 200, answer::json from unnest(
    cast(:project as uuid[]), cast(:key as text[]), cast(:hash as bytea[]), cast(:answer as text[]))
    as i(project_id, key, body_hash, answer)
on conflict do nothing returning key
"""
)

_KNOWN = text(
    """
select k.project_id, k.key, k.body_hash, k.answer from idempotency_keys k
  join unnest(cast(:project as uuid[]), cast(:key as text[])) i(project_id, key) using (project_id, key)
  where k.created_at > now() - interval '24 hours'
"""
)

_FORGET_OLD = text(
    """
delete from idempotency_keys k using unnest(cast(:project as uuid[]), cast(:key as text[])) i(project_id, key)
  where k.project_id = i.project_id and k.key = i.key and k.created_at <= now() - interval '24 hours'
"""
)


class AnotherWasFirst(Exception):
    """Another process took one of the group's idempotency keys meanwhile."""


def _json(value: Any) -> str | None:
    return None if value is None else orjson.dumps(value).decode()


def _columns(group: Sequence[Submission], month: date) -> dict[str, Any]:
    """The group as one array a column."""
    rows = [(s.project_id, mail) for s in group for mail in s.mails]
    several = [mail for _, mail in rows if len(mail.recipient_keys) > 1]
    limits = {s.project_id: quota.most(s.limit) for s in group}
    return {
        "project": [project_id for project_id, _ in rows],
        "id": [mail.id for _, mail in rows],
        "connection": [mail.connection_id for _, mail in rows],
        "stream": [mail.stream for _, mail in rows],
        "turn": [mail.turn for _, mail in rows],
        "pack": [mail.pack_max for _, mail in rows],
        "content": [mail.content for _, mail in rows],
        "waits": [mail.waits_until for _, mail in rows],
        "first_key": [mail.recipient_keys[0] for _, mail in rows],
        "recipient": [mail.recipients[0] if mail.recipients else None for _, mail in rows],
        # Arrays of arrays do not unnest: what has several recipients says them as JSON.
        "more": [
            _json(mail.recipients) if len(mail.recipient_keys) > 1 else None for _, mail in rows
        ],
        "to_count": [mail.to_count for _, mail in rows],
        "subject": [mail.subject for _, mail in rows],
        "sender": [mail.sender for _, mail in rows],
        "sealed": [mail.sealed for _, mail in rows],
        "template": [_json(mail.template) for _, mail in rows],
        "tags": [_json(mail.tags) for _, mail in rows],
        # From the id, so that the order of ids is the order of times.
        "created": [time_of(mail.id) for _, mail in rows],
        "limited": list(limits),
        "most": list(limits.values()),
        "many": [mail.id for mail in several],
        "many_keys": [_json(mail.recipient_keys) for mail in several],
        "month": month,
    }


def _usage_of_each(group: Sequence[Submission], used: dict[UUID, int]) -> list[int]:
    """The month's usage right after each submission, had they come one by one."""
    left = dict(used)
    usage = []
    for submission in reversed(group):
        usage.append(left[submission.project_id])
        left[submission.project_id] -= len(submission.mails)
    return usage[::-1]


def that_fit(group: Sequence[Submission], used: dict[UUID, int]) -> list[Submission]:
    """The submissions that fit under their project's limit, chosen in order of arrival, each whole."""
    taken = dict(used)
    chosen = []
    for submission in group:
        after = taken.get(submission.project_id, 0) + len(submission.mails)
        if after <= quota.most(submission.limit):
            taken[submission.project_id] = after
            chosen.append(submission)
    return chosen


def _sqlstate(error: DBAPIError) -> str:
    return str(getattr(error.orig, "sqlstate", None) or "")


def _is_passing(error: Exception) -> bool:
    """Whether the same group may be written again: the connection broke, the server restarts, a deadlock."""
    if isinstance(error, DBAPIError):
        state = _sqlstate(error)
        return error.connection_invalidated or state.startswith(("08", "57P0")) or state == "40P01"
    return isinstance(error, OSError | TimeoutError)


class Intake:
    """The queue of one process and its one writer."""

    def __init__(self, sessions: Sessions, redis: Redis) -> None:
        self._sessions = sessions
        self._redis = redis
        self._queue: deque[Submission] = deque()
        self._mails = 0
        self._bytes = 0
        self._arrived = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._rings: set[asyncio.Task[None]] = set()
        self._no_bells_until = 0.0

    async def submit(self, submission: Submission) -> Accepted:
        """Write a request's mails down; when this returns, they are on disk.

        Raises QuotaExceeded, Conflict (idempotency), InvalidPayload for what the database refuses, and
        Overloaded, after which an Idempotency-Key tells whether the mails exist.
        """
        self._mails += len(submission.mails)
        self._bytes += submission.size
        if self._mails > MAX_WAITING or self._bytes > MAX_WAITING_BYTES:
            self._leave(submission)
            raise Overloaded("The server is busy. Try again in a moment.", retry_after=1)
        self._queue.append(submission)
        self._arrived.set()
        return await submission.done

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
        await asyncio.gather(*self._rings)

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
                submission.refuse(_unsure())
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
        try:
            async with quota.reserved(
                self._sessions, self._redis, [s.wish for s in group], month
            ) as granted:
                may = [s for s, ok in zip(group, granted, strict=True) if ok]
                _refuse_over_limit([s for s, ok in zip(group, granted, strict=True) if not ok])
                written = await self._insist(may, month)
        except AnotherWasFirst:
            await self._write(group)
            return
        except DBAPIError as error:
            await self._apart(group, error)
            return
        await self._settle_gate(may, written, month)

    async def _answer_known(self, group: list[Submission]) -> list[Submission]:
        """Answer repeats of a key with the first answer; the rest goes on."""
        keyed = [s for s in group if s.keyed]
        if not keyed:
            return group
        names = {
            "project": [s.project_id for s in keyed],
            "key": [s.keyed.key for s in keyed if s.keyed],
        }
        async with self._sessions() as session:
            rows = (await session.execute(_KNOWN, names)).all()
        known = {(row.project_id, row.key): row for row in rows}
        rest = []
        for submission in group:
            row = submission.keyed and known.get((submission.project_id, submission.keyed.key))
            if not row or not submission.keyed:
                rest.append(submission)
            elif bytes(row.body_hash) == submission.keyed.body_hash:
                submission.accept(Accepted(row.answer, replayed=True))
            else:
                submission.refuse(_mismatch())
        return rest

    async def _insist(self, group: list[Submission], month: date) -> list[Submission]:
        """Write the group; repeat the same ids while nobody can say whether they were written."""
        give_up = asyncio.get_running_loop().time() + INSIST_FOR
        delay, unsure = 0.05, False
        while group:
            try:
                return await self._write_once(group, month)
            except (DBAPIError, OSError, TimeoutError) as error:
                if unsure and isinstance(error, DBAPIError) and _sqlstate(error) == "23505":
                    # The first try had committed: its rows are there, and this count was rolled back.
                    await self._answer_as_written(group, month)
                    return group
                if not _is_passing(error) or asyncio.get_running_loop().time() + delay > give_up:
                    raise
                unsure = True
                log.warning("group is written again", extra={"requests": len(group)})
                await asyncio.sleep(delay)
                delay = min(delay * 2, 1.0)
        return []

    async def _write_once(self, group: list[Submission], month: date) -> list[Submission]:
        """One transaction for what fits; those over their limit are answered 429."""
        async with self._sessions() as session:
            rest = list(group)
            while rest:
                rows = await session.execute(_WRITE, _columns(rest, month))
                used = {row.project_id: row.used for row in rows}
                if all(s.project_id in used for s in rest):
                    break
                # The gate was low or away: the ledger chooses, in order of arrival.
                await session.rollback()
                rest = await self._choose(session, rest, month)
            if not rest:
                return []
            answers = [s.answer(n) for s, n in zip(rest, _usage_of_each(rest, used), strict=True)]
            await _remember(session, rest, answers)
            # From here the mails are ours.
            await session.commit()
        self._ring(mail.lane for s in rest for mail in s.mails if mail.waits_until is None)
        for submission, answer in zip(rest, answers, strict=True):
            submission.accept(Accepted(answer))
        metrics.ACCEPTED.inc(sum(len(s.mails) for s in rest))
        return rest

    async def _choose(
        self, session: Session, group: list[Submission], month: date
    ) -> list[Submission]:
        used = await quota.read_used(session, list({s.project_id for s in group}), month)
        chosen = that_fit(group, used)
        _refuse_over_limit([s for s in group if s not in chosen])
        with contextlib.suppress(RedisError):  # the minute's correction sets it otherwise
            await quota.set_gates(self._redis, used, month)
        return chosen

    async def _answer_as_written(self, group: list[Submission], month: date) -> None:
        async with self._sessions() as session:
            used = await quota.read_used(session, [s.project_id for s in group], month)
        self._ring(mail.lane for s in group for mail in s.mails)
        for submission in group:
            submission.accept(Accepted(submission.answer(used[submission.project_id])))
        metrics.ACCEPTED.inc(sum(len(s.mails) for s in group))

    async def _settle_gate(
        self, reserved: Sequence[Submission], written: Sequence[Submission], month: date
    ) -> None:
        """Give back what was reserved for requests that the ledger then refused."""
        back: dict[tuple[UUID, date], int] = {}
        for submission in reserved:
            if submission not in written:
                slot = (submission.project_id, month)
                back[slot] = back.get(slot, 0) + len(submission.mails)
        await quota.give_back(self._redis, back)

    async def _apart(self, group: list[Submission], error: DBAPIError) -> None:
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
        group[0].refuse(_refused_alone(group[0], state))

    def _ring(self, lanes: Iterable[Lane]) -> None:
        """Ring without waiting for it; when Redis is away the sweep finds the mails."""
        due = set(lanes)
        if not due or time() < self._no_bells_until:
            return
        task = asyncio.create_task(self._ring_now(due))
        self._rings.add(task)
        task.add_done_callback(self._rings.discard)

    async def _ring_now(self, lanes: set[Lane]) -> None:
        try:
            await ring(self._redis, lanes, time())
            metrics.BELLS_RUNG.inc(len(lanes))
        except RedisError:
            self._no_bells_until = time() + RING_REST


async def _remember(
    session: Session, group: Sequence[Submission], answers: Sequence[dict[str, Any]]
) -> None:
    """Keep each keyed answer; last in the transaction, so that a waiting twin waits for little."""
    keyed = [(s, s.keyed, a) for s, a in zip(group, answers, strict=True) if s.keyed]
    if not keyed:
        return
    names = {"project": [s.project_id for s, _, _ in keyed], "key": [k.key for _, k, _ in keyed]}
    await session.execute(_FORGET_OLD, names)
    rows = await session.execute(
        _REMEMBER,
        names
        | {
            "hash": [k.body_hash for _, k, _ in keyed],
            "answer": [_json(answer) for _, _, answer in keyed],
        },
    )
    if len(rows.all()) < len(keyed):
        await session.rollback()
        raise AnotherWasFirst


def _refuse_over_limit(submissions: Iterable[Submission]) -> None:
    for submission in submissions:
        metrics.QUOTA_REFUSALS.inc()
        submission.refuse(
            QuotaExceeded("Monthly mail limit exceeded.", retry_after=quota.seconds_to_turn())
        )


def _mismatch() -> Conflict:
    return Conflict(
        "This Idempotency-Key was already used with a different body.", code="idempotency_mismatch"
    )


def _refused_alone(submission: Submission, state: str) -> Problem:
    if state != "55P03":
        return InvalidPayload("Invalid mail payload.")
    if submission.keyed is None:
        return _unsure()
    return Conflict(
        "A request with this Idempotency-Key is still running.",
        code="idempotency_in_progress",
        retry_after=1,
    )


def _unsure() -> Overloaded:
    return Overloaded(
        "The mail could not be stored just now. Repeat the request with an Idempotency-Key to be sure"
        " that it is accepted once.",
        retry_after=2,
    )
