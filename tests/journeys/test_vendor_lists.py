"""Audiences and broadcasts that Resend keeps: asked there, answered as it answers."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import httpx
import orjson
import pytest
import respx

from postroom.app import create_app
from postroom.domain import housekeeping
from postroom.domain.audience_copy import Progress, copy
from postroom.errors import ProviderRefused
from postroom.outgoing import Http
from tests.journeys.conftest import World
from tests.journeys.people import call

pytestmark = pytest.mark.journey

API = "https://resend.test"


@pytest.fixture
async def vendor():
    with respx.mock(base_url=API, assert_all_called=False) as router:
        yield router


@pytest.fixture
async def there(world, vendor):
    """A Postroom whose vendor is the router."""
    async with Http(transport=httpx.MockTransport(vendor.async_handler)) as http:
        settings = world.resources.settings.model_copy(update={"resend_base_url": API})
        resources = replace(world.resources, settings=settings, http=http)
        app = create_app(resources)
        async with app.router.lifespan_context(app):
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://p.test") as client:
                yield World(resources, client, world.double)


def body_of(route) -> dict:
    content = route.calls.last.request.content
    return orjson.loads(content) if content else {}


async def test_audiences_and_contacts_are_asked_of_the_vendor(there, vendor) -> None:
    project = await there.project("resend", plan="free")
    made = vendor.post("/segments").respond(
        201, json={"object": "segment", "id": "s1", "name": "A"}
    )
    answer = await call(there, project, "POST", "/audiences", json={"name": "A"})
    assert answer == {"object": "segment", "id": "s1", "name": "A"}
    assert body_of(made) == {"name": "A"}
    assert made.calls.last.request.headers["authorization"].startswith("Bearer re_")
    page = {"object": "list", "has_more": True, "data": [{"id": "c1", "email": "a@b.cd"}]}
    listed = vendor.get("/contacts").respond(json=page)
    asked = {"limit": 1, "after": "c0"}
    assert await call(there, project, "GET", "/audiences/s1/contacts", params=asked) == page
    assert dict(listed.calls.last.request.url.params) == {
        "limit": "1",
        "after": "c0",
        "segment_id": "s1",
    }
    added = vendor.post("/contacts").respond(201, json={"object": "contact", "id": "c2"})
    contact = {"email": "ann@example.com", "firstName": "Ann", "lastName": ""}
    await call(there, project, "POST", "/audiences/s1/contacts", json=contact)
    assert body_of(added) == {
        "email": "ann@example.com",
        "first_name": "Ann",
        "segments": [{"id": "s1"}],
    }
    changed = vendor.patch("/contacts/c2").respond(json={"object": "contact", "id": "c2"})
    await call(there, project, "PATCH", "/audiences/s1/contacts/c2", json={"unsubscribed": True})
    assert body_of(changed) == {"unsubscribed": True}
    vendor.delete("/contacts/c2").respond(json={"object": "contact", "deleted": True})
    await call(there, project, "DELETE", "/audiences/s1/contacts/c2")


async def test_the_vendors_refusal_passes_through(there, vendor) -> None:
    project = await there.project("resend")
    error = {"statusCode": 404, "name": "not_found", "message": "Audience not found"}
    vendor.get("/segments/s9").respond(404, json=error)
    refused = await call(there, project, "GET", "/audiences/s9", 404)
    assert (refused["message"], refused["code"]) == ("Audience not found.", "provider_error")


@pytest.mark.parametrize(
    ("failure", "status"),
    [(httpx.ConnectError("no"), 502), (httpx.ReadTimeout("slow"), 504)],
)
async def test_a_vendor_that_is_away_or_slow_is_told_apart(there, vendor, failure, status) -> None:
    project = await there.project("resend")
    vendor.get("/segments").mock(side_effect=failure)
    await call(there, project, "GET", "/audiences", status)


async def test_what_the_vendor_does_not_offer_is_refused_with_a_sentence(there) -> None:
    project = await there.project("resend")
    for path in ("pause", "resume", "resend-failed", "preview"):
        refused = await call(there, project, "POST", f"/broadcasts/b1/{path}", 422)
        assert refused["message"].startswith("Resend keeps these lists itself")


async def test_a_broadcast_is_forwarded_with_its_sender_and_its_time(there, vendor) -> None:
    project = await there.project("resend")
    made = vendor.post("/broadcasts").respond(201, json={"id": "b1"})
    later = datetime.now(UTC) + timedelta(hours=1)
    draft = {"audienceId": "s1", "subject": "Hi", "html": "<p>", "scheduledAt": later.isoformat()}
    assert (await call(there, project, "POST", "/broadcasts", json=draft))["id"] == "b1"
    assert body_of(made) == {
        "segment_id": "s1",
        "subject": "Hi",
        "html": "<p>",
        "from": "App <app@example.com>",
    }
    sent = vendor.post("/broadcasts/b1/send").respond(json={"id": "b1"})
    await call(there, project, "POST", "/broadcasts/b1/send")
    assert datetime.fromisoformat(body_of(sent)["scheduled_at"]) == later
    assert await there.used(project) == 1
    # The vendor knows it now; another send is one of its own.
    await call(there, project, "POST", "/broadcasts/b1/send", json={})
    assert body_of(sent) == {}
    assert await there.used(project) == 2
    assert await housekeeping.check(there.resources) >= 0


async def test_the_time_of_the_send_wins_over_the_remembered_one(there, vendor) -> None:
    project = await there.project("resend")
    vendor.post("/broadcasts").respond(201, json={"id": "b2"})
    sent = vendor.post("/broadcasts/b2/send").respond(json={"id": "b2"})
    first, second = (datetime.now(UTC) + timedelta(hours=n) for n in (1, 2))
    draft = {"audienceId": "s1", "subject": "Hi", "html": "x", "scheduledAt": first.isoformat()}
    await call(there, project, "POST", "/broadcasts", json=draft)
    await call(
        there, project, "POST", "/broadcasts/b2/send", json={"scheduledAt": second.isoformat()}
    )
    assert datetime.fromisoformat(body_of(sent)["scheduled_at"]) == second


async def test_a_refused_send_gives_its_slot_back_and_an_unclear_one_keeps_it(
    there, vendor
) -> None:
    project = await there.project("resend")
    refusal = {"statusCode": 422, "name": "validation_error", "message": "No audience."}
    vendor.post("/broadcasts/b3/send").respond(422, json=refusal)
    refused = await call(there, project, "POST", "/broadcasts/b3/send", 422)
    assert refused["message"] == "No audience."
    assert await there.used(project) == 0
    vendor.post("/broadcasts/b4/send").mock(side_effect=httpx.ReadTimeout("slow"))
    await call(there, project, "POST", "/broadcasts/b4/send", 504)
    assert await there.used(project) == 1


async def test_audiences_are_copied_and_a_copy_that_stopped_goes_on(there, vendor) -> None:
    project = await there.project("resend")
    vendor.get("/segments").respond(json=page({"id": "s1", "name": "Readers"}))
    first = page({"id": "c1", "email": "ann@example.com", "first_name": "Ann"}, more=True)
    second = page(
        {"id": "c2", "email": "bob@example.com", "unsubscribed": True},
        {"id": "c3", "email": "nobody"},
    )
    refusal = httpx.Response(403, json={"statusCode": 403, "name": "x", "message": "Suspended."})
    contacts = vendor.get("/contacts")
    contacts.side_effect = [httpx.Response(200, json=first), refusal]
    told: list[Progress] = []
    with pytest.raises(ProviderRefused):
        await copy(there.resources, project.id, "resend", told.append)
    contacts.side_effect = [httpx.Response(200, json=second)]
    assert await copy(there.resources, project.id, "resend", told.append) == 1
    assert contacts.calls.last.request.url.params["after"] == "c1"
    assert told[-1] == Progress("Readers", 2, 1, True)
    rows = await there.sql(
        "select email, first_name, unsubscribed from contacts where project_id = :p order by id",
        p=project.id,
    )
    assert [tuple(row) for row in rows] == [
        ("ann@example.com", "Ann", False),
        ("bob@example.com", None, True),
    ]
    assert await copy(there.resources, project.id, "resend", told.append) == 0


def page(*items: dict, more: bool = False) -> dict:
    return {"object": "list", "has_more": more, "data": list(items)}
