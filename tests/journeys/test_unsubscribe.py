"""The way out of an audience: one click, no cookie, and looking changes nothing."""

import re
from dataclasses import replace
from uuid import UUID

import pytest
from sqlalchemy import text

from postroom.domain import content, unsubscribe
from postroom.domain.broadcast_run import step
from postroom.domain.unsubscribe import NOBODY, Ticket
from postroom.ids import new_id
from postroom.worker import PostOffice
from tests.journeys.people import broadcast_of, call, make_audience, make_broadcast, send

pytestmark = pytest.mark.journey


async def first_mail(world, project, broadcast):
    """A broadcast's mail as it would be handed over."""
    office = PostOffice(world.resources)
    assert await step(world.resources, office.book)
    async with world.resources.sessions() as session:
        row = (
            await session.execute(
                text("select id, content from outbox where project_id = :p"), {"p": project.id}
            )
        ).one()
    ring = world.resources.keys.ring
    return content.unseal(ring, project.id, row.id, bytes(row.content)).mail


async def subscribed(world, project, audience) -> bool:
    page = await call(world, project, "GET", f"/audiences/{audience}/contacts")
    return not page["data"][0]["unsubscribed"]


async def sent_broadcast(world, project):
    audience = await make_audience(world, project, ["ann@example.com"])
    html = '<a href="{{{RESEND_UNSUBSCRIBE_URL}}}">leave</a>'
    broadcast = await make_broadcast(world, project, audience, html=html)
    await send(world, project, broadcast)
    mail = await first_mail(world, project, broadcast)
    link = re.fullmatch(r"<(http[^<>]+)>", mail.headers["List-Unsubscribe"])[1]
    return audience, broadcast, mail, link


async def test_a_mail_carries_both_headers_and_the_same_link_in_its_text(world) -> None:
    project = await world.project("sandbox")
    _, _, mail, link = await sent_broadcast(world, project)
    assert mail.headers["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert mail.html == f'<a href="{link}">leave</a>'
    assert link.startswith(world.resources.settings.public_url)
    assert "ann" not in link


async def test_looking_at_the_page_changes_nothing_and_its_button_unsubscribes(world) -> None:
    project = await world.project("sandbox")
    audience, broadcast, _, link = await sent_broadcast(world, project)
    path = link[link.index("/unsubscribe/") :]
    page = await world.client.get(path)
    assert page.status_code == 200
    assert '<form method="post">' in page.text
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "<script" not in page.text
    assert "ann@" not in page.text
    assert await subscribed(world, project, audience)
    await world.client.head(path)
    assert await subscribed(world, project, audience)
    left = await world.client.post(path)
    assert left.status_code == 200
    assert "set-cookie" not in left.headers
    assert not await subscribed(world, project, audience)
    # The mail that still waited is taken back, and its slot with it.
    assert await world.sql("select 1 from outbox where project_id = :p", p=project.id) == []
    assert (await broadcast_of(world, project, broadcast))["counts"]["unsubscribed"] == 1
    assert await world.used(project) == 0


async def test_a_mail_programs_one_click_works_without_a_cookie_and_twice(world) -> None:
    project = await world.project("sandbox")
    audience, _, _, link = await sent_broadcast(world, project)
    path = link[link.index("/unsubscribe/") :]
    for _ in range(2):
        answer = await world.client.post(
            path,
            content=b"List-Unsubscribe=One-Click",
            headers={"content-type": "application/x-www-form-urlencoded"},
        )
        assert answer.status_code == 200
    assert not await subscribed(world, project, audience)


async def test_a_link_that_we_did_not_make_opens_nothing(world) -> None:
    keys = world.resources.keys
    ticket = Ticket(new_id(), new_id())
    token = unsubscribe.token_of(keys, ticket)
    assert unsubscribe.read_token(keys, token) == ticket
    foreign = unsubscribe.token_of(replace(keys, index=b"another" * 4), ticket)
    flipped = ("A" if token[0] != "A" else "B") + token[1:]
    for wrong in (foreign, flipped, token[:-4], "x", "%00", "é" * 10):
        for method in ("GET", "POST"):
            answer = await world.client.request(method, f"/unsubscribe/{wrong}")
            assert answer.status_code == 404, wrong
            assert answer.headers["content-type"].startswith("text/html")


async def test_the_link_of_a_test_mail_takes_nobody_out(world) -> None:
    project = await world.project("sandbox")
    audience, broadcast, _, _ = await sent_broadcast(world, project)
    token = unsubscribe.token_of(world.resources.keys, Ticket(UUID(broadcast), NOBODY))
    assert (await world.client.post(f"/unsubscribe/{token}")).status_code == 200
    assert await subscribed(world, project, audience)
