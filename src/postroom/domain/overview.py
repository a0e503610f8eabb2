"""How a project is doing: mails by status over time, rates, the quota, what waits, and its provider accounts.

Every question is a bounded range of an index: a project with more mails than MOST in the range is counted from
its newest mail backwards, and the answer says from when on it is whole.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import text

from postroom.domain import account_health, pace
from postroom.domain.status import SHOWN, State
from postroom.errors import InvalidPayload
from postroom.ids import first_id_at, time_of
from postroom.providers import BY_NAME
from postroom.resources import Redis, RedisError, Session

MOST = 300_000  # mails counted for one answer
MOST_BUCKETS = 400
MOST_WAITING = 10_000
RECENT = 500  # of whose mails the newest event is looked up
UNKNOWN = "outcomeUnknown"
KINDS = ("delivered", "sent", "queued", UNKNOWN, "bounced", "complained", "failed")
STEPS = {
    "minute": timedelta(minutes=1),
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
}

_COUNTS = text(
    """
with r as (
  select id, status, outcome_unknown, created_at from mail_logs
    where project_id = :project and id >= :since and id < :until order by id desc limit :most)
select date_bin(:step, created_at, timestamptz '2000-01-01 00:00Z') at, status, outcome_unknown,
    count(*) mails, min(id::text)::uuid oldest
  from r group by 1, 2, 3
"""
)
_QUOTA = text("select used from quota_months where project_id = :project and month = :month")
_WAITING = text(
    """
with m as (
  select id, connection_id, outcome_unknown, coalesce(scheduled_at, created_at) since from mail_logs
    where project_id = :project and status = 0 order by id limit :most)
select m.connection_id, count(*) mails,
    count(*) filter (where m.outcome_unknown) parked,
    count(*) filter (where o.attempt_id is null and o.waits_until is null) due,
    count(*) filter (where o.waits_until > now()) later,
    min(m.since) filter (where o.attempt_id is null and o.waits_until is null) oldest_due
  from m join outbox o on o.id = m.id group by 1
"""
)
_ACCOUNTS = text(
    """
select c.*, c.id = p.mail_connection_id or (c.project_id is null) sends,
    c.id = p.failover_connection_id fails_over
  from projects p join connections c
    on c.project_id = p.id or (p.mail_connection_id is null and c.project_id is null and c.provider = :shared)
  where p.id = :project and c.removed_at is null order by c.id
"""
)
_LAST_EVENTS = text(
    """
with recent as (
  select id from mail_logs where project_id = :project order by id desc limit :recent)
select e.connection_id, max(e.received_at) at from recent r
  join provider_events e on e.mail_id = r.id and e.project_id = :project group by 1
"""
)


@dataclass(frozen=True, slots=True)
class Range:
    """From when to when, in steps of what."""

    since: datetime
    until: datetime
    step: str

    @property
    def length(self) -> timedelta:
        return self.until - self.since

    def before(self) -> "Range":
        """The period just before, of the same length."""
        return Range(self.since - self.length, self.since, self.step)


def range_of(since: datetime | None, until: datetime | None, step: str | None) -> Range:
    """What was asked for, completed: the last 24 hours, in steps that give a readable number of bars."""
    last = until or datetime.now(UTC)
    first = since or last - timedelta(days=1)
    if first >= last:
        raise InvalidPayload.at("from", "from must be before until.")
    name = step or _fitting(last - first)
    if (last - first) / STEPS[name] > MOST_BUCKETS:
        raise InvalidPayload.at("bucket", f"This range has more than {MOST_BUCKETS} {name}s.")
    return Range(first, last, name)


def _fitting(length: timedelta) -> str:
    if length <= timedelta(hours=2):
        return "minute"
    return "hour" if length <= timedelta(days=4) else "day"


# ── Mails by status ──────────────────────────────────────────────────────────────────────────────


@dataclass(slots=True)
class Counted:
    """Mails of a range by what is shown of them, whole from `whole_since` on."""

    by_bucket: dict[datetime, Counter[str]] = field(default_factory=dict)
    totals: Counter[str] = field(default_factory=Counter)
    whole_since: datetime | None = None  # None: all of the range was counted


async def count(session: Session, project_id: UUID, asked: Range) -> Counted:
    """Count the mails accepted in a range, by bucket and by what is shown of them."""
    rows = await session.execute(
        _COUNTS,
        {
            "project": project_id,
            "since": first_id_at(asked.since),
            "until": first_id_at(asked.until),
            "step": STEPS[asked.step],
            "most": MOST,
        },
    )
    counted, oldest = Counted(), None
    for row in rows:
        kind = _kind(row.status, row.outcome_unknown)
        counted.by_bucket.setdefault(row.at, Counter())[kind] += row.mails
        counted.totals[kind] += row.mails
        oldest = row.oldest if oldest is None else min(oldest, row.oldest)
    if counted.totals.total() >= MOST and oldest is not None:
        counted.whole_since = time_of(oldest)
    return counted


def _kind(status: int, unknown: bool) -> str:
    shown = SHOWN[State(status)]
    return UNKNOWN if unknown and shown == "queued" else shown


def buckets(asked: Range, counted: Counted) -> list[dict[str, Any]]:
    """Every bar of the range in order, the empty ones too."""
    step = STEPS[asked.step]
    at = _floor(asked.since, step)
    bars = []
    while at < asked.until:
        found = counted.by_bucket.get(at, Counter())
        bars.append({"at": at, "counts": _counts(found)})
        at += step
    return bars


def _floor(moment: datetime, step: timedelta) -> datetime:
    start = datetime(2000, 1, 1, tzinfo=UTC)
    return start + (moment - start) // step * step


def _counts(found: Mapping[str, int]) -> dict[str, int]:
    return {kind: found.get(kind, 0) for kind in KINDS}


def totals(counted: Counted) -> dict[str, Any]:
    """Sums and rates; a rate is of the mails whose fate was reported, and None without any."""
    counts = _counts(counted.totals)
    reported = counts["delivered"] + counts["bounced"] + counts["complained"]

    def rate(mails: int) -> float | None:
        return round(mails / reported, 6) if reported else None

    return {
        "accepted": counted.totals.total(),
        "counts": counts,
        # Somebody who complained has got the mail.
        "deliveredRate": rate(counts["delivered"] + counts["complained"]),
        "bouncedRate": rate(counts["bounced"]),
        "complainedRate": rate(counts["complained"]),
    }


# ── The month's quota ────────────────────────────────────────────────────────────────────────────


async def quota(session: Session, project_id: UUID, limit: int) -> dict[str, Any]:
    """What the month has cost so far, and when the next one begins."""
    month = datetime.now(UTC).date().replace(day=1)
    used = await session.scalar(_QUOTA, {"project": project_id, "month": month})
    return {"used": used or 0, "limit": limit, "resetsAt": _midnight(_next_month(month))}


def _next_month(month: date) -> date:
    return (month + timedelta(days=32)).replace(day=1)


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


# ── What waits ───────────────────────────────────────────────────────────────────────────────────


async def waiting(session: Session, project_id: UUID) -> Sequence[Any]:
    """Mails that were not handed over, for each account; the oldest MOST_WAITING of them."""
    rows = await session.execute(_WAITING, {"project": project_id, "most": MOST_WAITING})
    return rows.all()


def summed(rows: Sequence[Any]) -> dict[str, Any]:
    """The same for the project as a whole."""
    oldest = min((row.oldest_due for row in rows if row.oldest_due), default=None)
    age = (datetime.now(UTC) - oldest).total_seconds() if oldest else 0.0
    return {
        "due": sum(row.due for row in rows),
        "scheduled": sum(row.later for row in rows),
        "outcomeUnknown": sum(row.parked for row in rows),
        "oldestDueSeconds": round(max(0.0, age), 3),
        "atLeast": sum(row.mails for row in rows) >= MOST_WAITING,
    }


# ── Provider accounts ────────────────────────────────────────────────────────────────────────────


async def accounts(
    session: Session, redis: Redis, project_id: UUID, shared: str | None, queue: Sequence[Any]
) -> list[dict[str, Any]]:
    """The accounts a project may send by: their use, state, pace, and the last word of their vendor."""
    rows = (await session.execute(_ACCOUNTS, {"project": project_id, "shared": shared})).all()
    last = {
        row.connection_id: row.at
        for row in await session.execute(_LAST_EVENTS, {"project": project_id, "recent": RECENT})
    }
    silent = await _silent(redis)
    waits = {row.connection_id: row.mails - row.parked - row.later for row in queue}
    return [
        _account(row, waits.get(row.id, 0), last.get(row.id), await _pace(redis, row))
        | {"silent": row.id in silent}
        for row in rows
        if row.provider in BY_NAME
    ]


def _account(row: Any, waits: int, last: datetime | None, now: pace.Seen) -> dict[str, Any]:
    can = BY_NAME[row.provider].capabilities
    own = row.project_id is not None
    return {
        "provider": row.provider,
        "title": BY_NAME[row.provider].title,
        "own": own,
        "use": "sending" if row.sends else "failover" if row.fails_over else "ready",
        "stoppedAt": row.stopped_at,
        "stoppedReason": row.stopped_reason,
        "waiting": waits,
        "lastEventAt": last,
        "reports": bool(can.events),
        # How busy a shared account is tells of other projects.
        "ratePerSecond": now.limit if own else None,
        "callsLastSecond": now.calls if own else None,
        "pausedSeconds": now.paused,
    }


async def _silent(redis: Redis) -> frozenset[int]:
    try:
        return await account_health.silent_ids(redis)
    except RedisError:
        return frozenset()


async def _pace(redis: Redis, row: Any) -> pace.Seen:
    usual = BY_NAME[row.provider].capabilities.rate_per_second
    rate = pace.Rate(row.rate_per_second, usual)
    try:
        return await pace.seen(redis, row.id, rate)
    except RedisError:
        return pace.Seen(row.rate_per_second or usual, None, 0.0)
