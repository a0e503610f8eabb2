"""A lane's due mails become attempts: one row, one provider call, ordered ids, a fence and a lease.

One task serves every lane that asks at this moment, in one short transaction.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

import orjson
from sqlalchemy import text

from postroom.crypto import recipient_key
from postroom.domain import content, quota
from postroom.domain.accept import bare_address
from postroom.domain.settle import Refunds, fail_free
from postroom.domain.status import State
from postroom.ids import new_id
from postroom.queue import Lane
from postroom.resources import Keys, Redis, Session, Sessions

TOGETHER = 16  # lanes served by one transaction
PACK_BYTES = 8_000_000


@dataclass(frozen=True, slots=True)
class Terms:
    """How a connection is called: what a pack may be and what its attempt records."""

    batch_size: int
    keyed: bool
    credential: bytes
    wire: str
    lease_alone: float  # seconds
    lease_batch: float


@dataclass(frozen=True, slots=True)
class Row:
    """A free mail as the claim sees it."""

    id: UUID
    project_id: UUID
    size: int
    pack_max: int
    recipient_keys: frozenset[int]
    suppressed: frozenset[int]


@dataclass(frozen=True, slots=True)
class BoundMail:
    project_id: UUID
    id: UUID
    content: bytes
    pack_max: int


@dataclass(frozen=True, slots=True)
class Attempt:
    """One provider call, frozen; `claimed_at` is this process's clock from before the lease began."""

    id: UUID
    lane: Lane
    fence: int
    keyed: bool
    lease: float
    claimed_at: float
    mails: tuple[BoundMail, ...]

    @property
    def is_repeat(self) -> bool:
        """Whether an earlier call of the same attempt may have reached the vendor."""
        return self.fence > 1


@dataclass(eq=False, slots=True)
class _Wanted:
    lane: Lane
    terms: Terms
    packs: int
    done: asyncio.Future[list[Attempt]] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


@dataclass(frozen=True, slots=True)
class _Pack:
    wanted: _Wanted
    id: UUID
    rows: tuple[Row, ...]

    @property
    def lease(self) -> float:
        terms = self.wanted.terms
        return terms.lease_alone if len(self.rows) == 1 else terms.lease_batch


_FREE = text(
    """
select l.ord, o.* from unnest(cast(:connection as int[]), cast(:stream as smallint[]), cast(:want as int[]))
    with ordinality l(connection_id, stream, want, ord), lateral
 (select o.id, o.project_id, o.size, o.pack_max, o.recipient_keys,
    coalesce((select array_agg(s.recipient_key) from suppressions s
      where s.project_id = o.project_id and s.recipient_key = any(o.recipient_keys)), '{}') as suppressed
  from outbox o
  where o.connection_id = l.connection_id and o.stream = l.stream
    and o.attempt_id is null and o.waits_until is null
  order by o.turn limit l.want for update of o skip locked) o
"""
)

_FREEZE = text(
    """
with i as (
  select * from unnest(cast(:attempt as uuid[]), cast(:mail as uuid[]), cast(:connection as int[]),
      cast(:stream as smallint[]), cast(:keyed as bool[]), cast(:credential as bytea[]),
      cast(:wire as text[]), cast(:lease as float8[])) with ordinality
    as i(attempt_id, id, connection_id, stream, keyed, credential, wire, lease, ord)),
a as (
  insert into attempts (id, connection_id, stream, keyed, credential, wire, worker, lease_until, mail_ids)
    select attempt_id, connection_id, stream, keyed, credential, wire, :worker,
      now() + make_interval(secs => lease), array_agg(id order by ord)
    from i group by 1, 2, 3, 4, 5, 6, lease)
update outbox o set attempt_id = i.attempt_id, tries = tries + 1 from i where o.id = i.id
  returning o.attempt_id, i.ord, o.id, o.project_id, o.content, o.pack_max
"""
)

_REWRITE = text(
    """
update outbox set content = cast(:content as bytea), size = length(cast(:content as bytea)),
    recipient_keys = cast(:keys as bigint[])
  where id = :id and project_id = :project
"""
)

_NOTE_SUPPRESSED = text(
    """
update mail_logs set recipient_states = coalesce(recipient_states, '{}') || cast(:states as jsonb)
  where project_id = :project and id = :id
"""
)


def pack(rows: Sequence[Row], batch_size: int, packs: int) -> list[list[Row]]:
    """Divide rows, in their order, into at most `packs` calls.

    A pack is the first row that is left and the rows of the same `pack_max` after it, up to that number, the
    batch size and PACK_BYTES. Rows that get no pack are left out.
    """
    made: list[list[Row]] = []
    left = list(rows)
    while left and len(made) < packs:
        head = left[0]
        most = min(head.pack_max, batch_size)
        chosen: list[Row] = []
        rest: list[Row] = []
        size = 0
        for row in left:
            fits = len(chosen) < most and (not chosen or size + row.size <= PACK_BYTES)
            if row.pack_max == head.pack_max and fits:
                chosen.append(row)
                size += row.size
            else:
                rest.append(row)
        made.append(chosen)
        left = rest
    return made


class Claimer:
    """Serves every lane that asks at this moment with one transaction."""

    def __init__(self, sessions: Sessions, redis: Redis, keys: Keys, worker: str) -> None:
        self._sessions = sessions
        self._redis = redis
        self._keys = keys
        self._worker = worker
        self._waiting: deque[_Wanted] = deque()
        self._arrived = asyncio.Event()

    async def claim(self, lane: Lane, terms: Terms, packs: int) -> list[Attempt]:
        """At most `packs` attempts of a lane's next mails; each is ours for its lease."""
        wanted = _Wanted(lane, terms, packs)
        self._waiting.append(wanted)
        self._arrived.set()
        return await wanted.done

    async def claim_forever(self) -> None:
        """The claimer; a claim that fails tells the lanes that asked, and the sweep rings them again."""
        while True:
            if not self._waiting:
                self._arrived.clear()
                await self._arrived.wait()
            together = [self._waiting.popleft() for _ in range(min(TOGETHER, len(self._waiting)))]
            try:
                await self._claim(together)
            except Exception as error:  # noqa: BLE001 - it goes to those who asked
                for wanted in together:
                    if not wanted.done.done():
                        wanted.done.set_exception(error)

    async def _claim(self, together: list[_Wanted]) -> None:
        claimed_at = asyncio.get_running_loop().time()
        refunds: Refunds = {}
        packs: list[_Pack] = []
        async with self._sessions() as session:
            for wanted, rows in zip(together, await self._find(session, together), strict=True):
                free, refunded = await self._without_suppressed(session, rows)
                refunds |= refunded
                chosen = pack(free, wanted.terms.batch_size, wanted.packs)
                packs += [_Pack(wanted, new_id(), tuple(rows)) for rows in chosen]
            attempts = await self._freeze(session, packs, claimed_at)
            # From here each pack is bound to its call.
            await session.commit()
        for wanted in together:
            if not wanted.done.done():
                wanted.done.set_result(attempts.get(wanted, []))
        await quota.give_back(self._redis, refunds)

    async def _find(self, session: Session, together: list[_Wanted]) -> list[list[Row]]:
        rows = await session.execute(
            _FREE,
            {
                "connection": [w.lane.connection_id for w in together],
                "stream": [w.lane.stream for w in together],
                "want": [w.packs * w.terms.batch_size for w in together],
            },
        )
        found: list[list[Row]] = [[] for _ in together]
        for r in rows:
            found[r.ord - 1].append(
                Row(
                    r.id,
                    r.project_id,
                    r.size,
                    r.pack_max,
                    frozenset(r.recipient_keys),
                    frozenset(r.suppressed),
                )
            )
        return found

    async def _without_suppressed(
        self, session: Session, rows: Sequence[Row]
    ) -> tuple[list[Row], Refunds]:
        """Drop suppressed recipients before the content is frozen; fail mails that have none left."""
        free = []
        dead = [r for r in rows if r.suppressed >= r.recipient_keys]
        for row in rows:
            if not row.suppressed:
                free.append(row)
            elif row not in dead:
                if await self._drop_recipients(session, row):
                    free.append(row)
                else:
                    dead.append(row)
        _, refunds = await fail_free(session, [(r.project_id, r.id) for r in dead], "suppressed")
        return free, refunds

    async def _drop_recipients(self, session: Session, row: Row) -> bool:
        """Write the mail anew without its suppressed recipients; False when nobody is left in `to`."""
        sealed = await session.scalar(
            text("select content from outbox where id = :id and project_id = :project"),
            {"id": row.id, "project": row.project_id},
        )
        whole = content.unseal(self._keys.ring, row.project_id, row.id, bytes(sealed))

        def suppressed(address: str) -> bool:
            return recipient_key(self._keys.index, bare_address(address)) in row.suppressed

        fewer = content.without(whole, suppressed)
        if not fewer.mail.to:
            return False
        everyone = whole.mail.to + whole.mail.cc + whole.mail.bcc
        states = {
            str(i): [State.HARD_BOUNCED, "suppressed"]
            for i, address in enumerate(everyone)
            if suppressed(address)
        }
        where = {"id": row.id, "project": row.project_id}
        await session.execute(
            _REWRITE,
            where
            | {
                "content": content.seal(self._keys.ring, row.id, fewer),
                "keys": list(row.recipient_keys - row.suppressed),
            },
        )
        await session.execute(_NOTE_SUPPRESSED, where | {"states": orjson.dumps(states).decode()})
        return True

    async def _freeze(
        self, session: Session, packs: Sequence[_Pack], claimed_at: float
    ) -> dict[_Wanted, list[Attempt]]:
        """Bind each pack to an attempt of its own; the order of its mails is part of the attempt."""
        bound = await self._bind(session, packs)
        made: dict[_Wanted, list[Attempt]] = {}
        for p in packs:
            attempt = Attempt(
                id=p.id,
                lane=p.wanted.lane,
                fence=1,
                keyed=p.wanted.terms.keyed,
                lease=p.lease,
                claimed_at=claimed_at,
                mails=tuple(bound[p.id]),
            )
            made.setdefault(p.wanted, []).append(attempt)
        return made

    async def _bind(self, session: Session, packs: Sequence[_Pack]) -> dict[UUID, list[BoundMail]]:
        if not packs:
            return {}
        lines = [(p, row.id) for p in packs for row in p.rows]
        rows = await session.execute(
            _FREEZE,
            {
                "attempt": [p.id for p, _ in lines],
                "mail": [mail_id for _, mail_id in lines],
                "connection": [p.wanted.lane.connection_id for p, _ in lines],
                "stream": [p.wanted.lane.stream for p, _ in lines],
                "keyed": [p.wanted.terms.keyed for p, _ in lines],
                "credential": [p.wanted.terms.credential for p, _ in lines],
                "wire": [p.wanted.terms.wire for p, _ in lines],
                "lease": [p.lease for p, _ in lines],
                "worker": self._worker,
            },
        )
        bound: dict[UUID, list[BoundMail]] = {}
        for r in sorted(rows, key=lambda r: int(r.ord)):
            mail = BoundMail(r.project_id, r.id, bytes(r.content), r.pack_max)
            bound.setdefault(r.attempt_id, []).append(mail)
        return bound
