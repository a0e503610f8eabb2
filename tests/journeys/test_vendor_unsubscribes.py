"""Who unsubscribes at the vendor leaves the audience here: no later broadcast reaches them."""

import pytest

from postroom.domain import poll
from tests.doubles.paubox import PauboxDouble
from tests.journeys.people import call, make_audience, make_broadcast, send, until_counts
from tests.journeys.test_vendors import at_paubox, due_now

pytestmark = pytest.mark.journey


async def unsubscribed(world, project, audience) -> dict[str, bool]:
    page = await call(world, project, "GET", f"/audiences/{audience}/contacts")
    return {person["email"]: person["unsubscribed"] for person in page["data"]}


async def tell_unsubscribed(world, paubox, office, project) -> None:
    """Paubox says in each receipt of a mail to ann that she wants no more."""
    for mail in paubox.mails:
        (recipient,) = mail.mail["recipients"]
        status = {"deliveryStatus": "delivered"}
        deliveries = [{"recipient": recipient, "status": status}]
        message = {"message_deliveries": deliveries, "unsubscribed": "ann" in recipient}
        paubox.receipts[mail.id] = {"data": {"message": message}}
    await due_now(world, project)
    await poll.poll_due(world.resources, office.book)


async def test_an_unsubscribe_that_a_receipt_tells_takes_the_person_out(world, office):
    async with PauboxDouble() as paubox:
        project = await at_paubox(world, paubox)
        people = ["ann@example.com", "bob@example.com"]
        audience, other = [await make_audience(world, project, people) for _ in range(2)]
        broadcast = await make_broadcast(world, project, audience)
        await send(world, project, broadcast)
        await until_counts(world, project, broadcast, sent=2)
        await tell_unsubscribed(world, paubox, office, project)
        assert await unsubscribed(world, project, audience) == {people[0]: True, people[1]: False}
        # She left the audience by whose broadcast she was reached, and no other one.
        assert not any((await unsubscribed(world, project, other)).values())
        again = await make_broadcast(world, project, audience)
        await send(world, project, again)
        await until_counts(world, project, again, sent=1)
        assert len(paubox.mails) == 3


async def test_an_unsubscribe_by_a_mail_of_no_broadcast_takes_nobody_out(world, office):
    async with PauboxDouble() as paubox:
        project = await at_paubox(world, paubox)
        audience = await make_audience(world, project, ["ann@example.com"])
        mail_id = await world.sent(project)
        await world.until_status(project, mail_id, "sent")
        await tell_unsubscribed(world, paubox, office, project)
        answer = await world.client.get(f"/api/mail/logs/{mail_id}", headers=project.key)
        assert "unsubscribed" in [event["type"] for event in answer.json()["data"]["events"]]
        assert await unsubscribed(world, project, audience) == {"ann@example.com": False}
