"""The month's slots: Redis reserves early and cheaply, Postgres proves.

The truth is `quota_months.used`, moved in the transaction that writes or refunds a mail. The gate in Redis
only spares Postgres the requests that have no chance; it may be lost, too low or (for a moment) too high.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from time import monotonic
from typing import Any
from uuid import UUID

from sqlalchemy import text

from postroom.resources import Pipeline, Redis, RedisError, Session, Sessions

UNLIMITED = -1
# What "unlimited" is to the guard of the statement that counts.
MOST = 2_147_483_647

_RESERVE = """
local missing, used = {}, {}
for i, key in ipairs(KEYS) do
  local value = redis.call('GET', key)
  if value then used[i] = tonumber(value) else missing[#missing + 1] = i end
end
if #missing > 0 then return {0, missing} end
local granted, taken = {}, {}
for i = 1, #ARGV, 3 do
  local key, slots, most = tonumber(ARGV[i]), tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2])
  if used[key] + slots <= most then
    used[key] = used[key] + slots
    taken[key] = (taken[key] or 0) + slots
    granted[#granted + 1] = 1
  else
    granted[#granted + 1] = 0
  end
end
for key, slots in pairs(taken) do redis.call('INCRBY', KEYS[key], slots) end
return {1, granted}
"""

_REFUND = """
for i, key in ipairs(KEYS) do
  local value = redis.call('GET', key)
  if value then
    local back = math.min(tonumber(value), tonumber(ARGV[i]))
    if back > 0 then redis.call('DECRBY', key, back) end
  end
end
return 1
"""


_COUNT = """
for i, key in ipairs(KEYS) do
  if redis.call('EXISTS', key) == 1 then redis.call('INCRBY', key, ARGV[i]) end
end
return 1
"""

PLENTY = 20_000  # slots left of which nobody can have taken the last one within a second
FRESH = 1.0  # seconds for which what the ledger said is relied on


class Room:
    """What this process knows of the room under each project's limit, from what the ledger last said.

    A project with plenty of it is not asked for at the gate first, only counted there afterwards: the gate
    could not refuse it, and the guard beside the mail decides in any case.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._used: dict[UUID, tuple[float, date, int]] = {}

    def learn(self, used: Mapping[UUID, int], month: date) -> None:
        if len(self._used) > 50_000:
            self._used.clear()
        now = self._clock()
        for project_id, count in used.items():
            self._used[project_id] = (now, month, count)

    def is_plenty(self, project_id: UUID, limit: int, month: date) -> bool:
        if limit == UNLIMITED:
            return True
        said_at, of, used = self._used.get(project_id, (-FRESH, month, 0))
        fresh = of == month and self._clock() - said_at < FRESH
        return fresh and limit - used > PLENTY


def count_in(pipe: Pipeline, slots: Mapping[tuple[UUID, date], int]) -> None:
    """Count slots that were paid past the gate, at the gates that exist."""
    if slots:
        keys = [gate_key(project_id, month) for project_id, month in slots]
        pipe.eval(_COUNT, len(keys), *keys, *map(str, slots.values()))


@dataclass(frozen=True, slots=True)
class Wish:
    """Slots that one request needs, all or none."""

    project_id: UUID
    slots: int
    limit: int  # -1: unlimited


def this_month() -> date:
    """The month that pays now: the UTC calendar month."""
    return datetime.now(UTC).date().replace(day=1)


def month_after(month: date) -> datetime:
    """When the month's counter turns."""
    year, number = divmod(month.year * 12 + month.month, 12)
    return datetime(year, number + 1, 1, tzinfo=UTC)


def seconds_to_turn(now: datetime | None = None) -> float:
    """Seconds until the UTC month turns: what a 429 tells the client to wait."""
    moment = now or datetime.now(UTC)
    return (month_after(moment.date().replace(day=1)) - moment).total_seconds()


def most(limit: int) -> int:
    """A limit as a number that a guard can compare with."""
    return MOST if limit == UNLIMITED else limit


def gate_key(project_id: UUID, month: date) -> str:
    return f"project:mail:count:{project_id}:{month:%Y-%m}"


async def _seed(session: Session, redis: Redis, project_ids: Sequence[UUID], month: date) -> None:
    used = await read_used(session, project_ids, month)
    turn = int(month_after(month).timestamp())
    for project_id in project_ids:
        # NX: a counter that another process seeded meanwhile has already moved on.
        await redis.set(gate_key(project_id, month), used.get(project_id, 0), nx=True, exat=turn)


async def read_used(session: Session, project_ids: Sequence[UUID], month: date) -> dict[UUID, int]:
    """What each project has used of the month, by the ledger."""
    rows = await session.execute(
        text(
            "select project_id, used from quota_months"
            " where project_id = any(:projects) and month = :month"
        ),
        {"projects": list(project_ids), "month": month},
    )
    return {row.project_id: row.used for row in rows}


async def _ask_gate(
    sessions: Sessions, redis: Redis, wishes: Sequence[Wish], month: date
) -> list[bool]:
    projects = list(dict.fromkeys(wish.project_id for wish in wishes))
    place = {project_id: i for i, project_id in enumerate(projects, start=1)}
    keys = [gate_key(project_id, month) for project_id in projects]
    args = [v for w in wishes for v in (place[w.project_id], w.slots, most(w.limit))]
    script = redis.register_script(_RESERVE)
    for _ in range(3):
        answered, values = await script(keys=keys, args=args)
        if answered:
            return [bool(v) for v in values]
        async with sessions() as session:
            await _seed(session, redis, [projects[int(i) - 1] for i in values], month)
    raise RedisError("The gate lost its counters faster than they could be seeded.")


@asynccontextmanager
async def reserved(
    sessions: Sessions, redis: Redis, wishes: Sequence[Wish], month: date
) -> AsyncIterator[list[bool]]:
    """Reserve a whole group's slots in one call; which wishes were granted, in order of arrival.

    Whatever ends the block early, cancellation included, gives the slots back to the gate. Without Redis
    everything is granted: the guard in Postgres decides alone.
    """
    if not wishes:
        yield []
        return
    try:
        granted = await _ask_gate(sessions, redis, wishes, month)
        gated = True
    except RedisError:
        granted, gated = [True] * len(wishes), False
    try:
        yield granted
    except BaseException:
        if gated:
            back: dict[UUID, int] = {}
            for wish, was_granted in zip(wishes, granted, strict=True):
                if was_granted:
                    back[wish.project_id] = back.get(wish.project_id, 0) + wish.slots
            await give_back(redis, {(project_id, month): n for project_id, n in back.items()})
        raise


async def give_back(redis: Redis, slots: Mapping[tuple[UUID, date], int]) -> None:
    """Give slots back to the gate; it is never moved below zero, and only while it exists.

    A gate that cannot be reached stays too high until the minute's correction: it can only refuse.
    """
    if not slots:
        return
    try:
        await redis.register_script(_REFUND)(
            keys=[gate_key(project_id, month) for project_id, month in slots],
            args=list(slots.values()),
        )
    except RedisError:
        return


async def set_gates(redis: Redis, used: Mapping[UUID, int], month: date) -> None:
    """Set gates that exist to what the ledger says. Raises RedisError."""
    pipe: Any = redis.pipeline(transaction=False)
    for project_id, count in used.items():
        pipe.set(gate_key(project_id, month), count, xx=True, keepttl=True)
    await pipe.execute()


async def correct_gates(session: Session, redis: Redis) -> None:
    """Set each gate of this month to the ledger; run each minute. Raises RedisError."""
    month = this_month()
    prefix = "project:mail:count:"
    names = [key.decode() async for key in redis.scan_iter(f"{prefix}*:{month:%Y-%m}", count=1000)]
    projects = [UUID(name.removeprefix(prefix)[:36]) for name in names]
    for start in range(0, len(projects), 500):
        step = projects[start : start + 500]
        used = await read_used(session, step, month)
        await set_gates(redis, {p: used.get(p, 0) for p in step}, month)


@dataclass(frozen=True, slots=True)
class Ask:
    """Slots that must all be had, under this limit (-1: none)."""

    slots: int
    limit: int


async def take(session: Session, project_id: UUID, month: date, ask: Ask) -> bool:
    """Pay slots in the caller's transaction, past the gate: the ledger alone decides."""
    found = await session.scalar(
        text(
            "insert into quota_months as q (project_id, month, used)"
            " select :project, :month, cast(:slots as int) where cast(:slots as int) <= :most"
            " on conflict (project_id, month) do update set used = q.used + excluded.used"
            " where q.used::bigint + excluded.used <= :most returning used"
        ),
        {"project": project_id, "month": month, "slots": ask.slots, "most": most(ask.limit)},
    )
    return found is not None


async def give_slots_back(session: Session, project_id: UUID, month: date, slots: int) -> None:
    """Refund slots that no mail stands for; the caller commits."""
    await session.execute(
        text(
            "update quota_months set used = used - :slots"
            " where project_id = :project and month = :month"
        ),
        {"project": project_id, "month": month, "slots": slots},
    )


@dataclass(frozen=True, slots=True)
class Difference:
    """A ledger that does not equal the sum over its mails: a bug, to be alarmed about."""

    project_id: UUID
    month: date
    used: int
    mails: int


async def check_ledger(session: Session, month: date) -> list[Difference]:
    """Compare each project's counter of a month with its mails; an exact ledger gives an empty list."""
    rows = await session.execute(
        text(
            "select project_id, coalesce(q.used, 0) used, coalesce(m.mails, 0) mails"
            " from (select project_id, used from quota_months where month = :month) q"
            " full join (select project_id, count(*) mails from (select project_id from mail_logs"
            "   where paid_month = :month and not refunded union all select project_id"
            "   from vendor_sends where paid_month = :month and not refunded) paid"
            "  group by 1) m using (project_id)"
            " where coalesce(q.used, 0) <> coalesce(m.mails, 0)"
        ),
        {"month": month},
    )
    return [Difference(r.project_id, month, r.used, r.mails) for r in rows]
