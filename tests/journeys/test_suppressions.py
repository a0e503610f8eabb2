"""Addresses to which nothing is sent, whoever put them on the list."""

import pytest

from tests.factories import make_member
from tests.journeys.people import call

pytestmark = pytest.mark.journey


async def addresses(world, project) -> list[tuple[str, str]]:
    rows = await call(world, project, "GET", "/suppressions")
    return [(row["address"], row["reason"]) for row in rows]


async def test_an_address_is_added_listed_and_removed(world, office) -> None:
    project = await world.project("sandbox")
    added = await call(world, project, "POST", "/suppressions", json={"address": "Ann@example.com"})
    assert added == {"added": 1}
    assert await addresses(world, project) == [("Ann@example.com", "manual")]
    mail = await world.sent(project, to="ann@EXAMPLE.com")
    failed = await world.until_status(project, mail, "failed")
    assert failed["lastError"] == "suppressed"
    assert await world.used(project) == 0
    await call(world, project, "DELETE", "/suppressions/ann@example.com")
    assert await addresses(world, project) == []
    await call(world, project, "DELETE", "/suppressions/ann@example.com", 404)
    mail = await world.sent(project, to="ann@example.com")
    await world.until_status(project, mail, "delivered")


async def test_an_address_suppressed_after_scheduling_is_not_sent_to(world, office) -> None:
    project = await world.project("sandbox")
    mail = await world.sent(project, to="ann@example.com", scheduledAt="2026-11-30T00:00:00Z")
    await call(world, project, "POST", "/suppressions", json={"addresses": ["ann@example.com"]})
    await world.sql("update outbox set waits_until = now() where id = :i", i=mail)
    failed = await world.until_status(project, mail, "failed")
    assert failed["lastError"] == "suppressed"


async def test_the_list_has_pages_and_stores_no_address_in_clear(world) -> None:
    project = await world.project("sandbox")
    many = [f"p{i}@example.com" for i in range(5)]
    await call(world, project, "POST", "/suppressions", json={"addresses": many})
    seen, cursor = [], None
    while True:
        query = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        answer = await world.client.get("/api/mail/suppressions", params=query, headers=project.key)
        seen += [row["address"] for row in answer.json()["data"]]
        cursor = answer.json()["pagination"]["nextCursor"]
        if cursor is None:
            break
    assert sorted(seen) == many
    rows = await world.sql("select address from suppressions where project_id = :p", p=project.id)
    assert all(b"example.com" not in bytes(row.address) for row in rows)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("text/csv", b"email,reason\na@example.com,x\nnot-one\n\nB@example.com,y\nb@example.com\n"),
        (
            "application/x-ndjson",
            b'{"address": "a@example.com"}\n{"address": "not-one"}\n"B@example.com"\n"b@example.com"',
        ),
    ],
)
async def test_a_list_comes_in_and_says_what_it_could_not_take(world, kind, body) -> None:
    project = await world.project("sandbox")
    report = await call(
        world,
        project,
        "POST",
        "/suppressions/import",
        content=body,
        headers={"content-type": kind},
    )
    assert (report["total"], report["added"], report["known"], report["failed"]) == (4, 2, 1, 1)
    assert report["refused"][0]["reason"] == "This is not an address."
    assert len(await addresses(world, project)) == 2


async def test_a_wrong_address_or_type_is_refused(world) -> None:
    project = await world.project("sandbox")
    await call(world, project, "POST", "/suppressions", 400, json={"address": "nobody"})
    await call(world, project, "POST", "/suppressions", 400, json={})
    await call(world, project, "POST", "/suppressions/import", 415, json={})
    query = {"cursor": "!"}
    await call(world, project, "GET", "/suppressions", 400, params=query)


async def test_a_project_sees_its_own_list_alone_and_viewers_only_look(world) -> None:
    mine, theirs = await world.project("sandbox"), await world.project("sandbox")
    await call(world, theirs, "POST", "/suppressions", json={"address": "a@example.com"})
    assert await addresses(world, mine) == []
    await call(world, mine, "DELETE", "/suppressions/a@example.com", 404)
    viewer = await make_member(world.resources, theirs, "viewer")
    path = f"{theirs.path}/mail/suppressions"
    assert (await world.client.get(path, headers=viewer.bearer)).status_code == 200
    body = {"address": "b@example.com"}
    assert (await world.client.post(path, json=body, headers=viewer.bearer)).status_code == 403
