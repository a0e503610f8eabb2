"""Another provider is a setting: new mails go there at once, and mails under way finish where they were."""

import pytest

from postroom.domain import pace
from tests.doubles.paubox import PauboxDouble
from tests.factories import make_connection
from tests.journeys.conftest import World
from tests.journeys.test_vendors import at_paubox, hook_path, pushed

pytestmark = pytest.mark.journey


async def switch(world: World, project, provider: str | None) -> None:
    answer = await world.client.patch(
        project.path, json={"mailProvider": provider}, headers=project.owner.bearer
    )
    assert answer.status_code == 200, answer.text


async def test_new_mails_go_to_the_new_provider_and_old_ones_finish_at_theirs(world, office):
    async with PauboxDouble() as paubox:
        project = await at_paubox(world, paubox)
        await make_connection(world.resources, project.id, "sandbox", fromEmail="New <n@x.test>")
        sent = await world.sent(project)
        row = await world.until_status(project, sent, "sent")
        await pace.pause(world.resources.redis, project.connection_id, 2)
        waiting = await world.sent(project)
        await switch(world, project, "sandbox")
        fresh = await world.sent(project)
        found = await world.until_status(project, fresh, "delivered")
        assert (found["provider"], found["from"]) == ("sandbox", "New <n@x.test>")
        assert (await world.mail(project, waiting))["status"] == "queued"
        finished = await world.until_status(project, waiting, "sent")
        assert (finished["provider"], len(paubox.mails)) == ("paubox", 2)
        # What the old vendor reports still counts.
        known = {"source_tracking_id": row["resendEmailId"], "to": "ann@example.com"}
        path = hook_path(world, project, "paubox")
        await world.client.post(path, json=pushed("delivered", **known))
        await world.until_status(project, sent, "delivered")


async def test_a_switch_is_audited_with_who_did_it(world):
    async with PauboxDouble() as paubox:
        project = await at_paubox(world, paubox)
        await make_connection(world.resources, project.id, "sandbox")
        await switch(world, project, "sandbox")
    rows = await world.sql(
        "select account_id, target from audit_events where project_id = :p and action = :a",
        p=project.id,
        a="project.changed",
    )
    assert [(row.account_id, row.target) for row in rows] == [(project.owner.id, "mail_provider")]
