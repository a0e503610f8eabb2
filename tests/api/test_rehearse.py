"""Rehearsing a move: the last mails against the target, what gets lost, and how far the way is done."""

from datetime import UTC, date, datetime
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from postroom.commands.provider import lines_of
from postroom.domain import rehearse
from postroom.domain.content import Content, seal
from postroom.ids import new_id
from postroom.models import MailContent, MailLog
from postroom.providers import BY_NAME
from postroom.providers.base import Attachment, OutgoingMail
from postroom.resources import Resources
from tests.factories import MadeProject, make_connection, make_member, make_project, set_columns


async def put_mail(
    resources: Resources, project: MadeProject, *, kept: bool = True, **fields: Any
) -> None:
    """A mail of the log, with its content where it is kept."""
    mail_id = new_id()
    given: dict[str, Any] = {"ref": "", "sender": "a@clinic.test", "to": ("ann@x.test",)}
    mail = OutgoingMail(**given | {"subject": "Hello", "text": "Hi"} | fields)
    async with resources.sessions() as session:
        session.add(
            MailLog(
                project_id=project.id,
                id=mail_id,
                connection_id=project.connection_id or 1,
                stream=0,
                paid_month=date(2026, 11, 1),
                recipient_key=1,
                recipients=list(mail.to),
                subject=mail.subject,
                sender=mail.sender,
                tags=[{"name": n, "value": v} for n, v in mail.tags] or None,
            )
        )
        if kept:
            sealed = seal(resources.keys.ring, mail_id, Content(mail, default_sender=False))
            until = datetime(2099, 1, 1, tzinfo=UTC)
            session.add(
                MailContent(
                    project_id=project.id, mail_id=mail_id, content=sealed, keep_until=until
                )
            )
        await session.commit()


async def ask(client: httpx.AsyncClient, project: MadeProject, **body: Any) -> httpx.Response:
    return await client.post(
        f"{project.path}/mail/providers/rehearse", json=body, headers=project.owner.bearer
    )


async def test_what_a_move_to_paubox_would_bring(client, resources: Resources) -> None:
    project = await make_project(resources, provider="resend")
    inline = Attachment("a.png", "QQ==", None, "a")
    await put_mail(resources, project, tags=(("kind", "x"),))
    await put_mail(resources, project, html="<img src=cid:a>", attachments=(inline,))
    await put_mail(resources, project, headers={"In-Reply-To": "<1@x>"})
    await put_mail(resources, project, kept=False)
    data = (await ask(client, project, to="paubox")).json()["data"]
    assert (data["current"], data["provider"]) == ("resend", "paubox")
    assert (data["mails"], data["wholeMails"], data["carried"]) == (4, 3, 2)
    reasons = {refusal["reason"].split(":")[0]: refusal["mails"] for refusal in data["refused"]}
    assert reasons == {
        "Paubox carries no inline images": 1,
        "Paubox carries only headers whose names begin with X-, and List-Unsubscribe.": 1,
    }
    assert all(len(refusal["examples"]) == 1 for refusal in data["refused"])
    lost = {loss["what"]: loss["mails"] for loss in data["lost"]}
    assert {"complaints", "clicks", "tags", "inline images", "safe repeats", "signatures"} <= set(
        lost
    )
    assert lost["tags"] == 1
    steps = {step["key"]: step["done"] for step in data["checklist"]}
    assert steps["agreement"] is None
    assert steps["key"] is steps["switch"] is steps["webhook"] is steps["request"] is False
    assert next(iter(steps)) == "agreement"
    assert list(steps)[-2:] == ["dns", "revoke"]


async def test_steps_are_ticked_as_they_are_done(client, resources: Resources) -> None:
    project = await make_project(resources, phi=True)
    await make_connection(resources, project.id, "paubox", apiKey="k" * 20, phiAllowed=True)
    data = (await ask(client, project, to="paubox")).json()["data"]
    steps = {step["key"]: step["done"] for step in data["checklist"]}
    assert steps["health_data"] is steps["switch"] is steps["revoke"] is steps["request"] is True
    assert steps["test_mail"] is False


async def test_a_project_with_health_data_learns_that_it_cannot_move_to_resend(
    client, resources: Resources
) -> None:
    project = await make_project(resources, phi=True)
    await make_connection(resources, project.id, "paubox", apiKey="k" * 20, phiAllowed=True)
    await put_mail(resources, project)
    data = (await ask(client, project, to="resend")).json()["data"]
    (refused,) = data["refused"]
    assert (data["carried"], refused["mails"]) == (0, 1)
    assert refused["reason"] == "This project carries health data, and Resend may not."
    steps = {step["key"]: step["done"] for step in data["checklist"]}
    assert steps["health_data"] is False


# From agreement to revocation, as the vendors' own guides go; each vendor has those that concern it.
THE_WAY = [
    "agreement",
    "domain",
    "production",
    "key",
    "tls",
    "health_data",
    "request",
    "old_sdk",
    "smtp",
    "templates",
    "webhook",
    "old_webhooks",
    "overrides",
    "test_mail",
    "switch",
    "dns",
    "revoke",
]


@pytest.mark.parametrize("to", ["resend", "paubox", "ses", "smtp"])
def test_the_steps_to_every_vendor_go_the_same_way(to: str) -> None:
    keys = [step.key for step in BY_NAME[to].checklist]
    assert keys == [key for key in THE_WAY if key in keys]
    assert {"domain", "key", "request", "old_sdk", "test_mail", "switch", "revoke"} <= set(keys)


async def test_a_sealed_log_is_read_and_a_lost_key_is_survived(
    client, resources: Resources
) -> None:
    project = await make_project(resources, provider="sandbox")
    await put_mail(resources, project, kept=False)
    async with resources.sessions() as session:
        (row,) = (
            await session.scalars(select(MailLog).where(MailLog.project_id == project.id))
        ).all()
        row.sealed, row.recipients, row.subject = b"not to be opened", [], None
        await session.commit()
    data = (await ask(client, project, to="smtp")).json()["data"]
    assert (data["mails"], data["carried"]) == (1, 1)


@pytest.mark.parametrize("to", ["resend", "paubox", "ses", "smtp", "sandbox"])
async def test_every_provider_can_be_rehearsed_without_being_set_up(
    client, resources: Resources, to: str
) -> None:
    project = await make_project(resources, provider="sandbox")
    await put_mail(resources, project)
    answer = await ask(client, project, to=to)
    assert answer.status_code == 200, answer.text
    assert answer.json()["data"]["carried"] == 1


async def test_who_and_what_may_be_asked(client, resources: Resources) -> None:
    project = await make_project(resources)
    viewer = await make_member(resources, project, "viewer")
    path = f"{project.path}/mail/providers/rehearse"
    assert (await client.post(path, json={"to": "ses"})).status_code == 401
    assert (await client.post(path, json={"to": "ses"}, headers=viewer.bearer)).status_code == 403
    assert (await ask(client, project, to="owl")).status_code == 422
    assert (await ask(client, project, to="ses", last=0)).status_code == 400
    assert (await ask(client, project)).status_code == 400


async def test_the_command_says_it_in_lines(resources: Resources) -> None:
    project = await make_project(resources, provider="sandbox")
    await put_mail(resources, project, headers={"In-Reply-To": "<1@x>"})
    lines = list(lines_of(await rehearse.rehearse(resources, project.id, "paubox")))
    assert lines[0] == "sandbox -> paubox; nothing was sent."
    assert lines[1] == "0 of 1 mails would be carried (1 with content)."
    assert "refused 1: Paubox carries only headers" in lines[2]
    assert lines[-1].startswith("  [ ] 15. Revoke the old key.")


async def test_a_mail_of_another_project_is_not_looked_at(client, resources: Resources) -> None:
    mine = await make_project(resources, provider="sandbox")
    other = await make_project(resources, provider="sandbox")
    await put_mail(resources, other)
    await set_columns(resources, mine.id, phi=False)
    assert (await ask(client, mine, to="ses")).json()["data"]["mails"] == 0
