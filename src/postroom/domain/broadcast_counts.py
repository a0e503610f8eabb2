"""Nine numbers that add up to the audience at every moment: each count moves together with what it counts."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import text

from postroom.domain.status import State
from postroom.errors import NotFound
from postroom.resources import Session

SUPPRESSED, UNSUBSCRIBED = "suppressed", "unsubscribed"

# One statement sees one moment. The first part reads an index alone; the second, the few that failed.
_COUNT = text(
    f"""
with b as (select * from broadcasts where project_id = :project and id = :id),
m as (
  select jsonb_object_agg(state, n) as by_state from (
    select status::text || case when outcome_unknown then '?' else '' end as state, count(*) as n
      from mail_logs where broadcast_id = :id and project_id = :project
      group by status, outcome_unknown) s),
f as (
  select jsonb_object_agg(reason, n) as by_reason from (
    select reason, count(*) as n from mail_logs
      where broadcast_id = :id and project_id = :project and status = {State.FAILED:d}
        and reason in ('{SUPPRESSED}', '{UNSUBSCRIBED}')
      group by reason) s)
select b.*, coalesce(m.by_state, '{{}}') as by_state, coalesce(f.by_reason, '{{}}') as by_reason
  from b, m, f
"""
)


@dataclass(frozen=True, slots=True)
class Counts:
    audience: int
    delivered: int
    sent: int
    bounced: int
    complained: int
    failed: int
    suppressed: int
    unsubscribed: int
    unknown: int
    queued: int


async def read(session: Session, project_id: UUID, broadcast_id: UUID) -> tuple[Any, Counts]:
    """A broadcast's row and its numbers, of one moment. Raises NotFound."""
    row = (await session.execute(_COUNT, {"project": project_id, "id": broadcast_id})).one_or_none()
    if row is None:
        raise NotFound("Broadcast not found.")
    return row, count(row, row.by_state, row.by_reason)


def count(row: Any, by_state: Mapping[str, int], by_reason: Mapping[str, int]) -> Counts:
    """The nine numbers from what the broadcast's row and the log say."""
    unknown = sum(n for state, n in by_state.items() if state.endswith("?"))

    def of(*states: State) -> int:
        return sum(by_state.get(str(int(state)), 0) for state in states)

    waiting = row.audience - row.fed - row.suppressed - row.unsubscribed - row.canceled
    suppressed = by_reason.get(SUPPRESSED, 0)
    unsubscribed = by_reason.get(UNSUBSCRIBED, 0)
    # A mail that the log no longer keeps was handed over once.
    forgotten = max(0, row.fed - sum(by_state.values()))
    return Counts(
        audience=row.audience,
        delivered=of(State.DELIVERED),
        sent=of(State.SENT) + forgotten,
        bounced=of(State.SOFT_BOUNCED, State.HARD_BOUNCED),
        complained=of(State.COMPLAINED),
        failed=of(State.FAILED) - suppressed - unsubscribed + row.canceled,
        suppressed=row.suppressed + suppressed,
        unsubscribed=row.unsubscribed + unsubscribed,
        unknown=unknown,
        queued=waiting + of(State.QUEUED, State.DEFERRED),
    )
