"""Moving a project's audiences from a vendor to us: page by page, so that a copy that stopped goes on."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import text

from postroom.crypto import recipient_key
from postroom.domain import audiences, byok
from postroom.domain.connections import ConnectionBook, OpenConnection
from postroom.domain.contacts import UPSERT
from postroom.domain.mailboxes import bare
from postroom.errors import NotFound, ProviderRefused, RateLimited
from postroom.ids import new_id
from postroom.providers.lists import Audiences, Json, PageAsked
from postroom.resources import Resources, Session

PAGE = 100
TRIES = 8

_STARTED = text(
    """
select audience_id, after, copied, finished_at from audience_copies
  where project_id = :project and source = :source
"""
)
_START = text(
    """
with a as (insert into audiences (project_id, id, name) values (:project, :audience, :name))
insert into audience_copies (project_id, source, audience_id) values (:project, :source, :audience)
"""
)
_GO_ON = text(
    """
update audience_copies set after = :after, copied = copied + :copied,
    finished_at = case when :finished then now() end
  where project_id = :project and source = :source
"""
)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the copy of one audience is."""

    name: str
    copied: int
    refused: int
    finished: bool


Tell = Callable[[Progress], None]


async def copy(resources: Resources, project_id: UUID, source: str, tell: Tell) -> int:
    """Copy every audience that the vendor keeps; how many contacts came over now."""
    book = ConnectionBook(resources)
    vendor = await _vendor(resources, book, project_id, source)
    copied = 0
    async for audience in _all(resources, vendor):
        copied += await _copy_one(resources, vendor, project_id, audience, tell)
    return copied


async def _vendor(
    resources: Resources, book: ConnectionBook, project_id: UUID, source: str
) -> OpenConnection:
    if not byok.vendor_named(source).capabilities.audiences:
        raise NotFound(f"{source} keeps no audiences that could be copied.")
    async with resources.sessions() as session:
        own = await byok.own_connections(session, project_id)
    for row in own:
        if row.provider == source:
            return await book.get(row.id)
    raise NotFound(f"The project {project_id} has no connection at {source}.")


async def _copy_one(
    resources: Resources, vendor: OpenConnection, project_id: UUID, audience: Json, tell: Tell
) -> int:
    source = f"{vendor.provider.name}:{audience['id']}"
    of: dict[str, Any] = {"project": project_id, "source": source}
    name = str(audience.get("name") or "Audience")
    async with resources.sessions() as session:
        state = await _state(session, of, name)
    if state.finished_at is not None:
        tell(Progress(name, state.copied, 0, True))
        return 0
    before, total, refused, after = int(state.copied), int(state.copied), 0, state.after
    while True:
        page = await _ask(
            resources,
            vendor,
            _Contacts(audience["id"], PageAsked(PAGE, after)),
        )
        people, wrong = _people(page["data"])
        after = page["data"][-1]["id"] if page["data"] else after
        finished = not page.get("has_more") or not page["data"]
        step = {"after": after, "copied": len(people), "finished": finished}
        async with resources.sessions() as session:
            await _keep(session, resources, project_id, state.audience_id, people)
            await session.execute(_GO_ON, of | step)
            # These people are ours now, and the copy goes on behind them.
            await session.commit()
        total, refused = total + len(people), refused + wrong
        tell(Progress(name, total, refused, finished))
        if finished:
            return total - before


async def _state(session: Session, of: Mapping[str, Any], name: str) -> Any:
    """Where the copy of this audience stands; it begins here when it never did."""
    row = (await session.execute(_STARTED, of)).one_or_none()
    if row is None:
        await session.execute(_START, {**of, "audience": new_id(), "name": name})
        # From here a second run finds the audience that the first one made.
        await session.commit()
        row = (await session.execute(_STARTED, of)).one()
    return row


def _people(items: Sequence[Json]) -> tuple[dict[str, Json], int]:
    """A page's contacts by address, and how many of them have none that could be written to."""
    people: dict[str, Json] = {}
    wrong = 0
    for item in items:
        try:
            people[bare(str(item.get("email", "")).strip())] = item
        except ValueError:
            wrong += 1
    return people, wrong


async def _keep(
    session: Session,
    resources: Resources,
    project_id: UUID,
    audience_id: UUID,
    people: Mapping[str, Json],
) -> None:
    by_key = {recipient_key(resources.keys.index, email): email for email in people}
    found = [people[email] for email in by_key.values()]
    await session.execute(
        UPSERT,
        {
            "project": project_id,
            "audience": audience_id,
            "overwrite": True,
            "id": [new_id() for _ in found],
            "key": list(by_key),
            "email": list(by_key.values()),
            "first_name": [item.get("first_name") or None for item in found],
            "last_name": [item.get("last_name") or None for item in found],
            "properties": [_properties(item.get("properties")) for item in found],
            "unsubscribed": [bool(item.get("unsubscribed")) for item in found],
        },
    )


def _properties(given: Any) -> str:
    """Properties as we keep them: a vendor may say each one's type as well."""
    if not isinstance(given, dict):
        return "{}"
    plain = {k: v.get("value") if isinstance(v, dict) else v for k, v in given.items()}
    return orjson.dumps({k: v for k, v in plain.items() if v is not None}).decode()


# ── Asking the vendor ────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class _Lists:
    """Which audiences there are."""

    page: PageAsked

    async def ask(self, keeper: Audiences) -> Json:
        return await keeper.list_audiences(self.page)


@dataclass(frozen=True, slots=True)
class _Contacts:
    """Who is in one of them."""

    audience_id: str
    page: PageAsked

    async def ask(self, keeper: Audiences) -> Json:
        return await keeper.list_contacts(self.audience_id, self.page)


async def _ask(resources: Resources, vendor: OpenConnection, question: _Lists | _Contacts) -> Json:
    """One page, at the account's pace; a vendor in trouble is asked again for a while."""
    wait = 1.0
    for attempt in range(TRIES):
        try:
            await audiences.take_leave(resources, vendor)
            answer = await question.ask(vendor.provider.audiences())
        except RateLimited as busy:
            wait = busy.retry_after or wait
        except ProviderRefused as refused:
            passing = refused.status == 429 or refused.status >= 500
            if not passing or attempt == TRIES - 1:
                raise
        else:
            return answer
        await asyncio.sleep(wait)
        wait = min(wait * 2, 30.0)
    raise RateLimited("The vendor was busy for too long; run the copy again, and it goes on.")


async def _all(resources: Resources, vendor: OpenConnection) -> AsyncIterator[Json]:
    """Every audience that the vendor keeps."""
    after: str | None = None
    while True:
        page = await _ask(resources, vendor, _Lists(PageAsked(PAGE, after)))
        for item in page["data"]:
            yield item
        if not page.get("has_more") or not page["data"]:
            return
        after = page["data"][-1]["id"]
