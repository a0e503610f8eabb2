"""Mails go out: leave to call, claim, call, settle.

First leave to call, then the claim, then the call: nothing is held while a worker waits, and what is claimed
is called within milliseconds. Calling and bookkeeping are apart, each with its own handling of errors, so
that a bookkeeping error can never rewrite what a vendor said.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from time import time
from typing import Any

from postroom import metrics
from postroom.domain import account_health, content, failover, pace
from postroom.domain.claim import Attempt, BoundMail, Claimer, Terms
from postroom.domain.connections import ConnectionBook, ConnectionGone, OpenConnection
from postroom.domain.pace import Leave, Lesson, Slot
from postroom.domain.settle import FREE_AGAIN, Result, Settled, Settler
from postroom.domain.stopped import clear_stop, stop
from postroom.domain.verdict import FREED, lesson_of, result_of
from postroom.errors import Unsealable
from postroom.providers.base import (
    Answer,
    DeliveryEvent,
    Outcome,
    OutcomeKind,
    OutgoingMail,
)
from postroom.providers.quoting import unquoted
from postroom.queue import Lane, ring
from postroom.resources import RedisError, Resources

log = logging.getLogger(__name__)

SLICE = 8  # packs after which a task with more to do goes to the end of the line
# Seconds from a call that was not full to the next of the same lane: what comes in meanwhile rides together. The
# first mail after a silence waits for nobody.
GATHER = 0.02
MANY_SLOTS = 64  # asked for at once where a call carries one mail
CALLS_AT_ONCE = 32  # of one connection in one process, and of a fast one at most
MOST_AT_ONCE = 128
SAME_NEWS = 0.05  # seconds for which it need not be told again that an uncounted account answers
COUNT_EVERY = 0.5
LONGEST_SLEEP = 1.5  # a longer wait sets the lane aside
LEASE_BEYOND_CALL = 5.0
LANES_AT_ONCE = 500

Report = Callable[[int, Sequence[DeliveryEvent]], Awaitable[None]]


@dataclass(eq=False, slots=True)
class _Busy:
    """A lane that is being drained here; `again` was set when its bell rang meanwhile."""

    task: asyncio.Task[None] | None = None
    again: bool = True


def terms_of(connection: OpenConnection) -> Terms:
    """How this connection is called."""
    can = connection.provider.capabilities
    return Terms(
        batch_size=can.batch_size,
        keyed=can.idempotent,
        credential=connection.fingerprint,
        wire=connection.provider.wire,
        lease_alone=can.call_timeout + LEASE_BEYOND_CALL,
        lease_batch=can.batch_timeout + LEASE_BEYOND_CALL,
    )


def _is_full(connection: OpenConnection, leave: Leave, attempts: Sequence[Attempt]) -> bool:
    """Whether each call that might be made is made, and carries as many mails as it may."""
    most = connection.provider.capabilities.batch_size
    return len(attempts) == len(leave.slots) and all(
        len(attempt.mails) == min(most, attempt.mails[0].pack_max) for attempt in attempts
    )


class Delivery:
    """What one worker process does with bells: each lane that rings is drained by one task."""

    def __init__(
        self, resources: Resources, book: ConnectionBook, report: Report, worker: str
    ) -> None:
        self._resources = resources
        self._book = book
        self._report = report
        self.claimer = Claimer(resources.sessions, resources.redis, resources.keys, worker)
        self.settler = Settler(resources.sessions, resources.redis)
        self._lanes: dict[Lane, _Busy] = {}
        self._calls: set[asyncio.Task[None]] = set()
        self._on_their_way: dict[int, int] = {}
        self._later: set[asyncio.Task[None]] = set()
        self._handed: Counter[int] = Counter()  # by connection, since Redis was last told
        self._told_well: dict[int, float] = {}  # until when an account is known to answer
        self._timers: dict[Lane, asyncio.TimerHandle] = {}
        self._stopping = False
        self._stop_asked = asyncio.Event()

    # ── hearing ──────────────────────────────────────────────────────────────────────────────────

    @property
    def has_room(self) -> bool:
        return len(self._lanes) < LANES_AT_ONCE and not self._stopping

    @property
    def is_calling(self) -> bool:
        """Whether mails are being handed over at this moment."""
        return bool(self._calls)

    def hear(self, lane: Lane) -> None:
        """A bell: drain the lane, or look again if it is being drained already."""
        if self._stopping:
            return
        busy = self._lanes.get(lane)
        if busy is not None:
            busy.again = True
            return
        busy = self._lanes[lane] = _Busy()
        busy.task = asyncio.create_task(self._drain_and_leave(lane, busy))

    async def _drain_and_leave(self, lane: Lane, busy: _Busy) -> None:
        more = False
        try:
            more = await self.drain_lane(lane, busy)
        except ConnectionGone:
            self._set_aside(lane, 30.0)
        except RedisError:
            # Without the shared pace there are no calls; the sweep rings when Redis is back.
            log.warning("lane waits for redis", extra={"connection": lane.connection_id})
        except Exception:
            log.exception("lane not drained", extra={"connection": lane.connection_id})
            self._set_aside(lane, 5.0)
        finally:
            # First leave, then ring: in the other order the bell finds the lane busy and is lost.
            self._lanes.pop(lane, None)
        if more or busy.again:
            await self._ring(lane)

    async def _ring(self, lane: Lane) -> None:
        try:
            await ring(self._resources.redis, [lane], time())
        except RedisError:
            log.warning("bell not rung", extra={"connection": lane.connection_id})

    def _set_aside(self, lane: Lane, seconds: float) -> None:
        """Look at the lane again after a while, without holding anything meanwhile."""
        if (old := self._timers.pop(lane, None)) is not None:
            old.cancel()
        if self._stopping:
            return

        def look_again() -> None:
            self._timers.pop(lane, None)
            self.hear(lane)

        loop = asyncio.get_running_loop()
        self._timers[lane] = loop.call_later(seconds, look_again)

    # ── draining ─────────────────────────────────────────────────────────────────────────────────

    async def drain_lane(self, lane: Lane, busy: _Busy) -> bool:
        """Call for a lane's due mails until there are none; True when a slice's end left more to do."""
        packs = 0
        while packs < SLICE and not self._stopping:
            busy.again = False
            connection = await self._open(lane)
            if connection is None:
                return False
            leave = await self._leave(connection, lane)
            if leave is None:
                return False
            if not leave.slots:
                continue
            began = asyncio.get_running_loop().time()
            attempts = await self._claim_and_call(connection, lane, leave)
            if not attempts and not busy.again:
                return False
            packs += len(attempts)
            if not _is_full(connection, leave, attempts):
                await self._sleep(began + GATHER - asyncio.get_running_loop().time())
        return not self._stopping

    async def _open(self, lane: Lane) -> OpenConnection | None:
        """The lane's connection; mails of one whose secret is lost fail loudly, never by another account."""
        try:
            return await self._book.get(lane.connection_id)
        except Unsealable:
            log.exception("connection unreadable", extra={"connection": lane.connection_id})
            await failover.fail_lane(
                self._resources,
                lane,
                "The provider connection's secret cannot be opened: ENCRYPTION_KEY lacks its key.",
            )
            return None

    async def _leave(self, connection: OpenConnection, lane: Lane) -> Leave | None:
        """Slots to call with; None when the lane was set aside."""
        while (room := self._room(connection)) == 0:
            await asyncio.wait(self._calls, return_when=asyncio.FIRST_COMPLETED)
        can = connection.provider.capabilities
        want = 1 if can.batch_size > 1 else min(MANY_SLOTS, room)
        leave = await pace.take(
            self._resources.redis, lane.connection_id, want, lane.stream, pace.rate_of(connection)
        )
        if leave.slots:
            return leave
        if leave.wait <= LONGEST_SLEEP and not connection.info.stopped:
            await self._sleep(leave.wait)
            return leave
        if not await failover.move_lane(self._resources, self._book, lane):
            self._set_aside(lane, leave.wait)
            return None
        return None

    def _room(self, connection: OpenConnection) -> int:
        """Calls that may still be under way at once to this connection."""
        rate = connection.info.rate_per_second or connection.provider.capabilities.rate_per_second
        most = min(MOST_AT_ONCE, max(CALLS_AT_ONCE, int(rate * 4))) if rate else CALLS_AT_ONCE
        return max(0, most - self._on_their_way.get(connection.info.id, 0))

    async def _sleep(self, seconds: float) -> None:
        """Sleep, unless the process is asked to stop."""
        try:
            async with asyncio.timeout(seconds):
                await self._stop_asked.wait()
        except TimeoutError:
            return

    async def _claim_and_call(
        self, connection: OpenConnection, lane: Lane, leave: Leave
    ) -> Sequence[Attempt]:
        attempts: list[Attempt] = []
        try:
            attempts = await self.claimer.claim(lane, terms_of(connection), len(leave.slots))
        finally:
            for slot in leave.slots[len(attempts) :]:
                await self._give(connection, slot, Lesson())
        for attempt, slot in zip(attempts, leave.slots, strict=False):
            self.start_call(connection, attempt, slot)
        return attempts

    # ── calling ──────────────────────────────────────────────────────────────────────────────────

    def start_call(self, connection: OpenConnection, attempt: Attempt, slot: Slot) -> None:
        """Make the attempt's call in the background; it settles itself."""
        number = connection.info.id
        self._on_their_way[number] = self._on_their_way.get(number, 0) + 1
        task = asyncio.create_task(self._hand_over(connection, attempt, slot))
        self._calls.add(task)

        def finished(done: asyncio.Task[None]) -> None:
            self._calls.discard(done)
            self._on_their_way[number] -= 1
            if not done.cancelled() and (error := done.exception()) is not None:
                # The lease lapses and the attempt is repeated or parked; nothing is guessed here.
                log.error("call not settled", exc_info=error, extra={"attempt": str(attempt.id)})

        task.add_done_callback(finished)

    async def _hand_over(self, connection: OpenConnection, attempt: Attempt, slot: Slot) -> None:
        answer = await self._call(connection, attempt, slot)
        if answer is None:
            await self._settle_not_called(attempt)
            return
        await self._account(connection, answer)
        result = result_of(attempt, answer, connection.provider.capabilities)
        ours = await self.settler.settle(result)
        accepted = sum(o.kind is OutcomeKind.ACCEPTED for o in answer.outcomes)
        self._count(connection.info.id, accepted)
        for outcome in answer.outcomes:
            metrics.HANDED_OVER.labels(connection.provider.name, outcome.kind.value).inc()
        if ours:
            self._follow_up(connection, attempt, answer)

    async def _call(
        self, connection: OpenConnection, attempt: Attempt, slot: Slot
    ) -> Answer | None:
        """Make the call at the slot's moment; None when too little of the lease is left to make it."""
        loop = asyncio.get_running_loop()
        mails = build(self._resources, attempt)
        if isinstance(mails, Answer):
            await self._give(connection, slot, Lesson())
            return mails
        await asyncio.sleep(max(0.0, slot.at - loop.time()))
        if loop.time() > attempt.claimed_at + LEASE_BEYOND_CALL / 2:
            # A stalled process may not call into the time of whoever takes the attempt over.
            await self._give(connection, slot, Lesson())
            return None
        sent = loop.time()
        try:
            async with asyncio.timeout(attempt.lease - LEASE_BEYOND_CALL):
                answer = await connection.provider.send(mails, str(attempt.id))
        except TimeoutError:
            late = Outcome(OutcomeKind.UNKNOWN, reason="The provider did not answer in time.")
            answer = Answer.all(len(mails), late)
        except Exception:
            log.exception("provider raised", extra={"attempt": str(attempt.id)})
            answer = Answer.all(len(mails), Outcome(OutcomeKind.UNKNOWN, reason="Internal error."))
        await self._give(connection, slot, lesson_of(answer, sent, loop.time() - sent))
        return unquoted(answer, mails)

    def _count(self, number: int, accepted: int) -> None:
        """Keep the account's figure; all calls of a moment are added up before Redis is told."""
        if not accepted:
            return
        if not self._handed:
            self._in_background(self._later, self._tell_counts())
        self._handed[number] += accepted

    async def _tell_counts(self) -> None:
        await self._sleep(COUNT_EVERY)
        handed, self._handed = self._handed, Counter()
        for number, mails in handed.items():
            await account_health.count(self._resources.redis, number, account_health.HANDED, mails)

    async def _give(self, connection: OpenConnection, slot: Slot, lesson: Lesson) -> None:
        number, now = connection.info.id, asyncio.get_running_loop().time()
        if not slot.is_counted and lesson.is_plain:
            if lesson.strike is None or now < self._told_well.get(number, 0.0):
                return
            self._told_well[number] = now + SAME_NEWS
        elif lesson.strike:
            self._told_well.pop(number, None)
        try:
            await pace.give(self._resources.redis, number, slot, lesson)
        except RedisError:
            # The slot frees itself; what the call taught is lost with it.
            log.warning("slot not given back", extra={"connection": connection.info.id})

    async def _settle_not_called(self, attempt: Attempt) -> None:
        if attempt.is_repeat:
            await self.settler.settle(Result(attempt.id, attempt.fence, repeat_in=1.0))
            return
        mails = [Settled(m.project_id, m.id, FREE_AGAIN) for m in attempt.mails]
        await self.settler.settle(Result(attempt.id, attempt.fence, answered=False, mails=mails))

    async def _account(self, connection: OpenConnection, answer: Answer) -> None:
        """Stop an account that its vendor refuses; let one go on that was mended."""
        kinds = {outcome.kind for outcome in answer.outcomes}
        try:
            if OutcomeKind.MISCONFIGURED in kinds:
                reason = next(o.reason for o in answer.outcomes if o.kind in FREED)
                await stop(
                    self._resources, connection.info.id, reason or "Refused by the provider."
                )
                await pace.pause(self._resources.redis, connection.info.id, pace.PROBE_EVERY)
                self._book.forget(connection.info.id)
            elif connection.info.stopped and OutcomeKind.ACCEPTED in kinds:
                await clear_stop(self._resources, connection.info.id)
                await pace.resume(self._resources.redis, connection.info.id)
                self._book.forget(connection.info.id)
        except Exception:
            # What the vendor said of the mails is settled in any case.
            log.exception("account state not written", extra={"connection": connection.info.id})

    def _follow_up(self, connection: OpenConnection, attempt: Attempt, answer: Answer) -> None:
        if any(o.kind in FREED for o in answer.outcomes) or answer.whole_call:
            self.hear(attempt.lane)
        # What happens at the same moment is written together.
        moments: dict[float, list[DeliveryEvent]] = {}
        for delay, event in answer.later:
            moments.setdefault(delay, []).append(event)
        for delay, events in moments.items():
            self._later_report(connection.info.id, delay, events)

    def _later_report(
        self, connection_id: int, delay: float, events: Sequence[DeliveryEvent]
    ) -> None:
        """Let a provider without webhooks (the sandbox) report by itself, after its own delay."""

        async def wait_and_report() -> None:
            await self._sleep(delay)
            await self._report(connection_id, events)

        self._in_background(self._later, wait_and_report())

    def _in_background(
        self, tasks: set[asyncio.Task[None]], work: Coroutine[Any, Any, None]
    ) -> None:
        task = asyncio.create_task(work)
        tasks.add(task)

        def finished(done: asyncio.Task[None]) -> None:
            tasks.discard(done)
            if not done.cancelled() and (error := done.exception()) is not None:
                log.error("background work failed", exc_info=error)

        task.add_done_callback(finished)

    # ── stopping ─────────────────────────────────────────────────────────────────────────────────

    async def stop(self, seconds: float) -> None:
        """Claim no more; finish and settle the calls under way within `seconds`."""
        self._stopping = True
        self._stop_asked.set()
        for timer in self._timers.values():
            timer.cancel()
        open_tasks = [b.task for b in self._lanes.values() if b.task] + [*self._calls]
        if open_tasks:
            await asyncio.wait(open_tasks, timeout=seconds)
        rest = [*self._calls, *self._later]
        if rest:
            await asyncio.wait(rest, timeout=max(1.0, seconds / 5))


def build(resources: Resources, attempt: Attempt) -> list[OutgoingMail] | Answer:
    """The mails of a call, from their sealed content alone; or the answer that they cannot be opened."""
    try:
        return [_open_mail(resources, mail) for mail in attempt.mails]
    except Unsealable:
        log.exception("content unreadable", extra={"attempt": str(attempt.id)})
        lost = "The mail's content cannot be opened: ENCRYPTION_KEY lacks the key that sealed it."
        return Answer.all(len(attempt.mails), Outcome(OutcomeKind.MISCONFIGURED, reason=lost))


def _open_mail(resources: Resources, mail: BoundMail) -> OutgoingMail:
    return content.unseal(resources.keys.ring, mail.project_id, mail.id, mail.content).mail
