"""Audiences with people in them, and broadcasts to them, as clients make them."""

import asyncio
from collections.abc import Sequence
from typing import Any

import orjson

from postroom.crypto import recipient_key
from postroom.domain.contacts import UPSERT
from postroom.ids import new_id
from tests.factories import MadeProject
from tests.journeys.conftest import World

NUMBERS = (
    "delivered", "sent", "bounced", "complained", "failed", "suppressed", "unsubscribed", "unknown", "queued",
)  # fmt: skip
LETTER = {
    "subject": "Hi {{{FIRST_NAME|there}}}",
    "html": "<p>Hello {{{contact.first_name|there}}}</p>",
}


async def call(
    world: World, project: MadeProject, method: str, path: str, status: int = 200, **more: Any
) -> Any:
    """`data` of a call by key."""
    answer = await world.client.request(
        method, f"/api/mail{path}", headers=project.key | more.pop("headers", {}), **more
    )
    assert answer.status_code == status, answer.text
    return answer.json()["data"] if status == 200 else answer.json()


async def make_audience(world: World, project: MadeProject, emails: Sequence[str] = ()) -> str:
    """An audience of these people."""
    made = await call(world, project, "POST", "/audiences", json={"name": "Readers"})
    index = world.resources.keys.index
    for start in range(0, len(emails), 5000):
        part = emails[start : start + 5000]
        async with world.resources.sessions() as session:
            await session.execute(
                UPSERT,
                {
                    "project": project.id,
                    "audience": made["id"],
                    "id": [new_id() for _ in part],
                    "email": list(part),
                    "key": [recipient_key(index, email) for email in part],
                    "first_name": [None] * len(part),
                    "last_name": [None] * len(part),
                    "properties": [orjson.dumps({}).decode()] * len(part),
                    "unsubscribed": [False] * len(part),
                    "overwrite": True,
                },
            )
            await session.commit()
    # The audience is frozen as of the moment of sending; its people came before that.
    await asyncio.sleep(0.002)
    return str(made["id"])


async def make_broadcast(world: World, project: MadeProject, audience: str, **more: Any) -> str:
    body = {"audienceId": audience} | LETTER | more
    return str((await call(world, project, "POST", "/broadcasts", json=body))["id"])


async def send(world: World, project: MadeProject, broadcast: str, **body: Any) -> None:
    await call(world, project, "POST", f"/broadcasts/{broadcast}/send", json=body)


async def broadcast_of(world: World, project: MadeProject, broadcast: str) -> dict[str, Any]:
    """The broadcast as it is now; its counts add up whenever one looks."""
    found = await call(world, project, "GET", f"/broadcasts/{broadcast}")
    counts = found["counts"]
    assert sum(counts[name] for name in NUMBERS) == counts["audience"], counts
    assert all(counts[name] >= 0 for name in NUMBERS), counts
    return dict(found)


async def until_counts(
    world: World, project: MadeProject, broadcast: str, seconds: float = 20.0, **wanted: int
) -> dict[str, Any]:
    async def look() -> dict[str, Any] | None:
        found = await broadcast_of(world, project, broadcast)
        met = all(found["counts"][name] == n for name, n in wanted.items())
        return found if met else None

    return dict(await world.until(look, seconds))
