"""A client's Idempotency-Key and the first answer to it, kept in the transaction of the mails it stands for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

import orjson

from postroom.resources import PgConnection


@dataclass(frozen=True, slots=True)
class Keyed:
    """A key with what it stands for."""

    key: str  # "<route>:<key>"
    body_hash: bytes


class Kept(NamedTuple):
    """What a key was first used for, and what was answered."""

    body_hash: bytes
    answer: dict[str, Any]


Name = tuple[UUID, str]  # a project's key


class AnotherWasFirst(Exception):
    """Another process took one of the keys meanwhile."""


_KNOWN = """
select k.project_id, k.key, k.body_hash, k.answer from idempotency_keys k
  join unnest($1::uuid[], $2::text[]) i(project_id, key) using (project_id, key)
  where k.created_at > now() - interval '24 hours'
"""

_FORGET_OLD = """
delete from idempotency_keys k using unnest($1::uuid[], $2::text[]) i(project_id, key)
  where k.project_id = i.project_id and k.key = i.key and k.created_at <= now() - interval '24 hours'
"""

_REMEMBER = """
insert into idempotency_keys (project_id, key, body_hash, status, answer)
  select project_id, key, body_hash, 200, answer::json
  from unnest($1::uuid[], $2::text[], $3::bytea[], $4::text[]) as i(project_id, key, body_hash, answer)
on conflict do nothing returning key
"""


async def known(connection: PgConnection, names: Sequence[Name]) -> Mapping[Name, Kept]:
    """What is kept of these keys; a key is known for 24 hours."""
    rows = await connection.fetch(_KNOWN, *_apart(names))
    return {
        (row["project_id"], row["key"]): Kept(row["body_hash"], orjson.loads(row["answer"]))
        for row in rows
    }


async def remember(
    connection: PgConnection, kept: Sequence[tuple[UUID, Keyed, dict[str, Any]]]
) -> None:
    """Keep each answer; last in the transaction, so that a waiting twin waits for little.

    Raises AnotherWasFirst, after which the transaction must not be committed.
    """
    if not kept:
        return
    names = _apart([(project_id, keyed.key) for project_id, keyed, _ in kept])
    await connection.execute(_FORGET_OLD, *names)
    hashes = [keyed.body_hash for _, keyed, _ in kept]
    answers = [orjson.dumps(answer).decode() for _, _, answer in kept]
    if len(await connection.fetch(_REMEMBER, *names, hashes, answers)) < len(kept):
        raise AnotherWasFirst


def _apart(names: Sequence[Name]) -> tuple[list[UUID], list[str]]:
    return [project_id for project_id, _ in names], [key for _, key in names]
