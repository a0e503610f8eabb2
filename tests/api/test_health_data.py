"""Health data leaves only by accounts that may carry it, whichever door the choice comes through."""

import pytest

from postroom.ids import new_id
from postroom.models import OutboxMail
from tests.doubles.paubox import PauboxDouble
from tests.doubles.ses import SesDouble
from tests.factories import make_connection, make_project, set_columns

SES = {"region": "us-east-1", "accessKeyId": "AKIATEST", "secretAccessKey": "secret-key"}
SMTP = {"host": "smtp.clinic.test", "port": 587, "security": "starttls", "username": "u"}


async def put(client, project, provider, **fields):
    return await client.put(
        f"{project.path}/mail/providers/{provider}", json=fields, headers=project.owner.bearer
    )


@pytest.mark.parametrize(
    ("provider", "fields"),
    [
        ("resend", {"apiKey": "re_test_0123456789"}),
        ("ses", SES),
        ("smtp", {"preset": "resend", "password": "re_x"}),
        ("smtp", {"preset": "ses", "region": "us-east-1", "username": "u", "password": "p"}),
        ("smtp", {**SMTP, "host": "smtp.resend.com", "password": "p"}),
        ("smtp", {**SMTP, "host": "SMTP.Resend.com.", "password": "p"}),
        ("smtp", {**SMTP, "host": "email-smtp.eu-west-1.amazonaws.com", "password": "p"}),
    ],
)
async def test_an_account_that_must_not_carry_health_data_cannot_be_allowed_to(
    client, resources, provider, fields
):
    project = await make_project(resources)
    answer = await put(client, project, provider, phiAllowed=True, **fields)
    assert answer.status_code == 400
    assert answer.json()["code"] == "health_data_not_allowed"


@pytest.mark.parametrize(("name", "status"), [("tls", 200), ("loose", 422), ("missing", 422)])
async def test_amazon_ses_is_asked_whether_tls_is_required(client, resources, name, status):
    async with SesDouble() as double:
        project = await make_project(resources)
        fields = {**SES, "endpointUrl": double.url, "configurationSet": name}
        answer = await put(client, project, "ses", phiAllowed=True, **fields)
    assert answer.status_code == status, answer.text


async def test_clear_text_can_be_asked_for_nowhere(client, resources):
    project = await make_project(resources)
    answer = await put(client, project, "paubox", apiKey="k" * 20, allowNonTLS=True)
    assert answer.status_code == 400
    answer = await put(client, project, "smtp", **SMTP | {"security": "none"}, password="p")
    assert answer.status_code == 400


async def test_an_account_for_which_patients_wait_stays_allowed(client, resources):
    project = await make_project(resources)
    connection = await make_connection(
        resources, project.id, "paubox", apiKey="k" * 20, phiAllowed=True
    )
    await set_columns(resources, project.id, phi=True, mail_connection_id=None)
    async with resources.sessions() as session:
        waiting = {"stream": 0, "turn": 1, "pack_max": 1, "size": 1, "recipient_keys": [1]}
        session.add(
            OutboxMail(
                id=new_id(),
                project_id=project.id,
                connection_id=connection,
                content=b"x",
                **waiting,
            )
        )
        await session.commit()
    refused = await put(client, project, "paubox", apiKey="k" * 20, phiAllowed=False)
    assert (refused.status_code, refused.json()["code"]) == (400, "health_data_not_allowed")
    assert (
        await put(client, project, "paubox", apiKey="k" * 20, phiAllowed=True)
    ).status_code == 200


async def test_credentials_at_paubox_are_tried_before_they_are_kept(client, resources):
    async with PauboxDouble() as double:
        project = await make_project(resources)
        path = f"{project.path}/mail/providers/paubox?verify=true"
        wrong = {"apiKey": "invalid", "baseUrl": double.url}
        refused = await client.put(path, json=wrong, headers=project.owner.bearer)
        assert (refused.status_code, refused.json()["code"]) == (422, "credentials_refused")
        right = {"apiKey": "pb-0123456789abcdef", "baseUrl": double.url, "phiAllowed": True}
        kept = await client.put(path, json=right, headers=project.owner.bearer)
        assert kept.status_code == 200
        assert kept.json()["data"]["verifiedAt"] is not None
        assert kept.json()["data"]["keyHint"] == "cdef"


async def test_the_shared_paubox_account_reports_at_the_operators_own_path(client, resources):
    answer = await client.post("/api/mail/webhook/paubox/not-the-operators-token", json={})
    assert answer.status_code == 404
