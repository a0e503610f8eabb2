"""What is accepted becomes rows: the log, the outbox and the month's counter, in one statement."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any, NamedTuple
from uuid import UUID

import orjson

from postroom.ids import seconds_of
from postroom.queue import Lane
from postroom.resources import PgConnection


class NewMail(NamedTuple):
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


# A project without room for all of its mails gets none of them written, and is missing from the answer.
# Arrays of arrays do not unnest: who has several recipients says them as JSON.
_WRITE = """
with i as (
  select * from unnest(
      $1::uuid[], $2::uuid[], $3::int[], $4::smallint[], $5::bigint[], $6::smallint[], $7::bytea[],
      $8::timestamptz[], $9::bigint[], $10::text[], $11::text[], $12::text[], $13::smallint[],
      $14::text[], $15::text[], $16::bytea[], $17::text[], $18::text[], $19::float8[])
    as i(project_id, id, connection_id, stream, turn, pack_max, content,
         waits_until, recipient_key, recipient, more, more_keys, to_count,
         subject, sender, sealed, template, tags, created)),
c as (select * from unnest($20::uuid[], $21::int[]) c(project_id, most)),
q as (
  insert into quota_months as q (project_id, month, used)
    select project_id, $22::date, count(*) from i join c using (project_id)
    group by project_id, c.most having count(*) <= c.most order by project_id
  on conflict (project_id, month) do update set used = q.used + excluded.used
    where q.used::bigint + excluded.used <= (select most from c where c.project_id = q.project_id)
  returning project_id, used),
m as (
  insert into mail_logs (project_id, id, connection_id, stream, paid_month, recipient_key, recipients,
      to_count, subject, sender, sealed, template, tags, created_at, scheduled_at)
    select i.project_id, id, connection_id, stream, $22::date, recipient_key,
      case when more is null then case when recipient is null then '{}' else array[recipient] end
        else array(select jsonb_array_elements_text(more::jsonb)) end,
      to_count, subject, sender, sealed, template::jsonb, tags::jsonb, to_timestamp(created),
      waits_until
    from i join q using (project_id)),
o as (
  insert into outbox (id, project_id, connection_id, stream, turn, waits_until, pack_max, size,
      recipient_keys, content)
    select id, i.project_id, connection_id, stream, turn, waits_until, pack_max, length(content),
      case when more_keys is null then array[recipient_key]
        else array(select jsonb_array_elements_text(more_keys::jsonb)::bigint) end, content
    from i join q using (project_id))
select project_id, used from q
"""

_WRITTEN = """
select m.id from mail_logs m join unnest($1::uuid[], $2::uuid[]) i(project_id, id) using (project_id, id)
"""

Row = tuple[UUID, NewMail]  # a project's mail


def _json(value: Any) -> str | None:
    return None if value is None else orjson.dumps(value).decode()


def _columns(rows: Sequence[Row]) -> list[list[Any]]:
    """The mails as one array a column."""
    mails = [mail for _, mail in rows]
    several = [len(mail.recipient_keys) > 1 for mail in mails]
    return [
        [project_id for project_id, _ in rows],
        [mail.id for mail in mails],
        [mail.connection_id for mail in mails],
        [mail.stream for mail in mails],
        [mail.turn for mail in mails],
        [mail.pack_max for mail in mails],
        [mail.content for mail in mails],
        [mail.waits_until for mail in mails],
        [mail.recipient_keys[0] for mail in mails],
        [mail.recipients[0] if mail.recipients else None for mail in mails],
        [
            _json(m.recipients) if more and m.recipients else None
            for m, more in zip(mails, several, strict=True)
        ],
        [_json(m.recipient_keys) if more else None for m, more in zip(mails, several, strict=True)],
        [mail.to_count for mail in mails],
        [mail.subject for mail in mails],
        [mail.sender for mail in mails],
        [mail.sealed for mail in mails],
        [_json(mail.template) for mail in mails],
        [_json(mail.tags) for mail in mails],
        # From the id, so that the order of ids is the order of times.
        [seconds_of(mail.id) for mail in mails],
    ]


async def write(
    connection: PgConnection, rows: Sequence[Row], most: dict[UUID, int], month: date
) -> dict[UUID, int]:
    """Write mails and count them, each project's all or none; what those that had room have used now.

    Outside of a transaction that is one commit. `most` is each project's limit for the month.
    """
    limits = (list(most), list(most.values()))
    found = await connection.fetch(_WRITE, *_columns(rows), *limits, month)
    return {row["project_id"]: row["used"] for row in found}


async def written(connection: PgConnection, rows: Sequence[Row]) -> set[UUID]:
    """Which of these mails are on disk."""
    projects, ids = [project_id for project_id, _ in rows], [mail.id for _, mail in rows]
    return {row["id"] for row in await connection.fetch(_WRITTEN, projects, ids)}
