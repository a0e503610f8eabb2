"""Audiences and contacts, kept by us and by a vendor, at both doors."""

import pytest

from tests.factories import make_member, make_project
from tests.journeys.people import call, make_audience

pytestmark = pytest.mark.journey

BYOK = "This feature requires a BYOK Resend key. Configure it in Project Settings."


async def refused(world, project, method, path, body=None):
    answer = await world.client.request(method, f"/api/mail{path}", headers=project.key, json=body)
    return answer.status_code, answer.json()["message"]


async def test_the_gates_say_what_the_documentation_says(world) -> None:
    shared = await make_project(world.resources)
    assert await refused(world, shared, "GET", "/audiences") == (403, BYOK)
    assert await refused(world, shared, "GET", "/audiences/x/contacts") == (
        403,
        "Contacts require a custom Resend API Key (BYOK).",
    )
    broadcasts = (403, "Broadcasts require both BYOK and Pro plan.")
    assert await refused(world, shared, "GET", "/broadcasts") == broadcasts
    free = await world.project("sandbox", plan="free")
    assert await refused(world, free, "POST", "/broadcasts", {}) == broadcasts
    assert (await call(world, free, "GET", "/audiences"))["data"] == []


async def test_key_then_id_then_gate_then_body(world) -> None:
    shared = await make_project(world.resources)
    answer = await world.client.get("/api/mail/audiences/a.b", headers={"x-api-key": "sk_live_no"})
    assert answer.status_code == 401
    ids = (400, "Invalid audience/contact id format.")
    assert await refused(world, shared, "DELETE", "/audiences/a.b") == ids
    assert await refused(world, shared, "PATCH", "/audiences/x/contacts/a@b.c", {}) == ids
    assert await refused(world, shared, "GET", "/broadcasts/a.b") == (
        400,
        "Invalid broadcast id format.",
    )
    assert (await refused(world, shared, "POST", "/audiences", {"nme": 1}))[0] == 403


async def test_a_body_that_lacks_something_is_told_so(world) -> None:
    project = await world.project("sandbox")
    audience = await make_audience(world, project)
    for body in ({}, {"name": " "}, {"name": None}):
        said = await refused(world, project, "POST", "/audiences", body)
        assert said == (400, "Audience name is required.")
    contacts = f"/audiences/{audience}/contacts"
    said = await refused(world, project, "POST", contacts, {"firstName": "Ann"})
    assert said == (400, "Contact email is required.")
    said = await refused(world, project, "POST", contacts, {"email": "not an address"})
    assert said == (400, "Invalid contact email format.")
    for body in ({}, {"audienceId": audience, "subject": "x"}, {"subject": "x", "html": "y"}):
        said = await refused(world, project, "POST", "/broadcasts", body)
        assert said == (400, "audienceId, subject, and html are required.")


async def test_an_audience_lives_from_making_to_deleting(world) -> None:
    project = await world.project("sandbox", plan="free")
    made = await call(world, project, "POST", "/audiences", json={"name": "Readers"})
    assert made == {"object": "audience", "id": made["id"], "name": "Readers"}
    contacts = f"/audiences/{made['id']}/contacts"
    await call(world, project, "POST", contacts, json={"email": "ann@example.com"})
    listed = await call(world, project, "GET", "/audiences")
    assert (listed["object"], listed["has_more"]) == ("list", False)
    assert [(a["name"], a["contacts"], a["subscribed"]) for a in listed["data"]] == [
        ("Readers", 1, 1)
    ]
    gone = await call(world, project, "DELETE", f"/audiences/{made['id']}")
    assert gone == {"object": "audience", "id": made["id"], "deleted": True}
    await call(world, project, "GET", contacts, 404)
    assert await world.sql("select 1 from contacts where audience_id = :a", a=made["id"]) == []


async def test_an_address_is_in_an_audience_once_and_is_never_subscribed_again(world) -> None:
    project = await world.project("sandbox")
    contacts = f"/audiences/{await make_audience(world, project)}/contacts"
    ann = {"email": "Ann@example.com", "firstName": "Ann", "properties": {"city": "Oslo", "age": 7}}
    first = await call(world, project, "POST", contacts, json=ann | {"unsubscribed": True})
    again = await call(
        world,
        project,
        "POST",
        contacts,
        json={"email": "ann@EXAMPLE.com", "lastName": "Lee", "unsubscribed": False},
    )
    assert again == first
    found = await call(world, project, "GET", f"{contacts}/{first['id']}")
    assert found["unsubscribed"] is True
    assert (found["first_name"], found["last_name"]) == ("Ann", "Lee")
    assert found["properties"] == {
        "city": {"type": "string", "value": "Oslo"},
        "age": {"type": "number", "value": 7},
    }
    same = await call(world, project, "POST", contacts, json={"email": "ann@example.com"})
    assert same == first


async def test_a_patch_changes_what_it_names_and_may_subscribe_again(world) -> None:
    project = await world.project("sandbox")
    contacts = f"/audiences/{await make_audience(world, project)}/contacts"
    ann = {"email": "ann@example.com", "firstName": "Ann", "unsubscribed": True}
    one = f"{contacts}/{(await call(world, project, 'POST', contacts, json=ann))['id']}"
    await call(world, project, "PATCH", one, json={"unsubscribed": False})
    assert (await call(world, project, "GET", one))["first_name"] == "Ann"
    await call(world, project, "PATCH", one, json={"firstName": None, "properties": {"a": "b"}})
    found = await call(world, project, "GET", one)
    assert (found["first_name"], found["unsubscribed"]) == (None, False)
    removed = await call(world, project, "DELETE", one)
    assert removed["deleted"] is True
    await call(world, project, "GET", one, 404)


async def test_contacts_are_listed_by_page_and_found_by_words(world) -> None:
    project = await world.project("sandbox")
    audience = await make_audience(world, project, [f"p{i}@example.com" for i in range(7)])
    contacts = f"/audiences/{audience}/contacts"
    seen, after = [], None
    while True:
        query = {"limit": 3} | ({"after": after} if after else {})
        page = await call(world, project, "GET", contacts, params=query)
        seen += [c["email"] for c in page["data"]]
        if not page["has_more"]:
            break
        after = page["data"][-1]["id"]
    assert seen == [f"p{i}@example.com" for i in reversed(range(7))]
    found = await call(world, project, "GET", contacts, params={"q": "P3@"})
    assert [c["email"] for c in found["data"]] == ["p3@example.com"]
    assert (await call(world, project, "GET", contacts, params={"q": "%"}))["data"] == []


async def test_another_projects_audience_is_not_found(world) -> None:
    mine, theirs = await world.project("sandbox"), await world.project("sandbox")
    audience = await make_audience(world, theirs, ["a@example.com"])
    contact = (await call(world, theirs, "GET", f"/audiences/{audience}/contacts"))["data"][0]["id"]
    for method, path in (
        ("GET", ""),
        ("DELETE", ""),
        ("GET", "/contacts"),
        ("POST", "/contacts"),
        ("GET", f"/contacts/{contact}"),
        ("PATCH", f"/contacts/{contact}"),
        ("DELETE", f"/contacts/{contact}"),
        ("GET", "/contacts/export"),
    ):
        await call(
            world, mine, method, f"/audiences/{audience}{path}", 404, json={"email": "b@example.com"}
            if path == "/contacts"
            else {},
        )  # fmt: skip
    assert len((await call(world, theirs, "GET", f"/audiences/{audience}/contacts"))["data"]) == 1


async def test_members_come_in_by_the_other_door_and_viewers_only_look(world) -> None:
    project = await world.project("sandbox")
    viewer = await make_member(world.resources, project, "viewer")
    path = f"{project.path}/mail/audiences"
    made = await world.client.post(path, json={"name": "Readers"}, headers=project.owner.bearer)
    assert made.status_code == 200
    listed = await world.client.get(path, headers=viewer.bearer)
    assert [a["name"] for a in listed.json()["data"]["data"]] == ["Readers"]
    refused = await world.client.post(path, json={"name": "x"}, headers=viewer.bearer)
    assert refused.status_code == 403
