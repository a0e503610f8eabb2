"""A project's own provider accounts."""

from typing import Any

import httpx
import pytest
import respx
from fastapi import FastAPI
from sqlalchemy import select

from postroom.domain import addresses, connections
from postroom.errors import NotFound
from postroom.models import AuditEvent, Connection
from postroom.outgoing import Dialer
from postroom.resources import Resources
from tests.api.test_envelope import assert_failure
from tests.factories import MadeProject, make_member, make_project

KEY = "re_secret_0123456789"
RESEND = {"apiKey": KEY, "webhookSecret": "whsec_aGVsbG8=", "fromEmail": "App <a@b.cd>"}


async def put(
    client: httpx.AsyncClient, project: MadeProject, name: str, body: Any, query: str = ""
) -> httpx.Response:
    path = f"{project.path}/mail/providers/{name}{query}"
    return await client.put(path, json=body, headers=project.owner.bearer)


async def row_of(resources: Resources, project: MadeProject, name: str) -> Connection:
    async with resources.sessions() as session:
        return (
            await session.scalars(
                select(Connection).where(
                    Connection.project_id == project.id, Connection.provider == name
                )
            )
        ).one()


async def test_a_connection_is_set_up_and_its_credentials_are_never_shown(
    client: httpx.AsyncClient, resources: Resources
) -> None:
    project = await make_project(resources)
    answer = await put(client, project, "resend", RESEND | {"ratePerSecond": 5})
    assert answer.status_code == 200
    data = answer.json()["data"]
    assert data["provider"] == "resend"
    assert data["configured"] is True
    assert data["keyHint"] == "6789"
    assert data["verifiedAt"] is None
    assert data["fromEmail"] == "App <a@b.cd>"
    assert data["ratePerSecond"] == 5
    assert data["capabilities"]["batchSize"] == 100
    listed = await client.get(f"{project.path}/mail/providers", headers=project.owner.bearer)
    assert data in listed.json()["data"]
    for text in (answer.text, listed.text):
        assert KEY not in text
        assert "whsec" not in text


async def test_credentials_are_sealed_and_open_in_their_own_row_only(
    app: FastAPI, client: httpx.AsyncClient, resources: Resources
) -> None:
    project = await make_project(resources)
    await put(client, project, "resend", RESEND)
    row = await row_of(resources, project, "resend")
    assert row.sealed is not None
    assert KEY.encode() not in row.sealed
    assert KEY not in str(row.options)
    opened = await app.state.connections.get(row.id)
    assert opened.provider.credentials["apiKey"] == KEY
    assert opened.info.from_email == "App <a@b.cd>"
    assert KEY not in repr(opened)


async def test_the_first_connection_becomes_the_one_that_sends_and_a_second_does_not(
    client: httpx.AsyncClient, resources: Resources
) -> None:
    project = await make_project(resources)
    await put(client, project, "sandbox", {})
    await put(client, project, "resend", RESEND)
    seen = (await client.get(project.path, headers=project.owner.bearer)).json()["data"]
    assert seen["mailProvider"] == "sandbox"
    path = f"{project.path}/mail/providers/sandbox"
    assert (await client.delete(path, headers=project.owner.bearer)).status_code == 200
    seen = (await client.get(project.path, headers=project.owner.bearer)).json()["data"]
    assert (seen["mailProvider"], seen["hasResendApiKey"]) == (None, True)


async def test_a_removed_connection_keeps_its_row_without_the_secret_and_revives(
    app: FastAPI, client: httpx.AsyncClient, resources: Resources
) -> None:
    project = await make_project(resources)
    await put(client, project, "resend", RESEND)
    row = await row_of(resources, project, "resend")
    await app.state.connections.get(row.id)
    path = f"{project.path}/mail/providers/resend"
    await client.delete(path, headers=project.owner.bearer)
    removed = await row_of(resources, project, "resend")
    assert (removed.id, removed.sealed, removed.key_hint) == (row.id, None, None)
    with pytest.raises(connections.ConnectionGone):
        await app.state.connections.get(row.id)
    again = await client.delete(path, headers=project.owner.bearer)
    assert_failure(again, 404, "not_found")
    await put(client, project, "resend", RESEND)
    assert (await app.state.connections.get(row.id)).info.id == row.id


async def test_setting_a_stopped_connection_anew_lets_it_be_called_again(
    app: FastAPI, client: httpx.AsyncClient, resources: Resources
) -> None:
    project = await make_project(resources)
    await put(client, project, "resend", RESEND)
    row = await row_of(resources, project, "resend")
    async with resources.sessions() as session:
        stopped = await session.get_one(Connection, row.id)
        stopped.stopped_at, stopped.stopped_reason = row.created_at, "The key is not valid."
        await session.commit()
    app.state.connections.forget(row.id)
    listed = await client.get(f"{project.path}/mail/providers", headers=project.owner.bearer)
    shown = next(p for p in listed.json()["data"] if p["provider"] == "resend")
    assert shown["stoppedReason"] == "The key is not valid."
    assert (await app.state.connections.get(row.id)).info.stopped is True
    await put(client, project, "resend", RESEND)
    assert (await app.state.connections.get(row.id)).info.stopped is False


async def test_a_provider_that_is_not_there_is_refused_with_those_that_are(
    client: httpx.AsyncClient, resources: Resources
) -> None:
    project = await make_project(resources)
    body = assert_failure(await put(client, project, "pigeon", {}), 422, "unknown_provider")
    assert "resend" in body["message"]
    assert "sandbox" in body["message"]


@pytest.mark.parametrize(
    ("name", "body", "sentence"),
    [
        ("resend", {}, '"apiKey" is required.'),
        ("resend", {"apiKey": "xx"}, "Invalid Resend API Key format."),
        (
            "resend",
            {"apiKey": KEY, "webhokSecret": "x"},
            'Unknown field "webhokSecret". Did you mean "webhookSecret"?',
        ),
        (
            "sandbox",
            {"fromEmail": "me"},
            '"fromEmail" must be an address such as me@domain.com or App <me@domain.com>.',
        ),
        ("sandbox", {"ratePerSecond": 0}, '"ratePerSecond" must be greater than 0.'),
        (
            "sandbox",
            {"faults": {"latency": 3}},
            'Unknown field "latency". Did you mean "latencyMs"?',
        ),
        ("sandbox", [], "The body must be an object."),
    ],
)
async def test_wrong_fields_have_their_sentences(
    client: httpx.AsyncClient, resources: Resources, name: str, body: Any, sentence: str
) -> None:
    project = await make_project(resources)
    answer = await put(client, project, name, body)
    assert assert_failure(answer, 400, "invalid_payload")["message"] == sentence
    assert KEY not in answer.text


async def test_resend_never_carries_health_data(
    client: httpx.AsyncClient, resources: Resources
) -> None:
    project = await make_project(resources)
    answer = await put(client, project, "resend", RESEND | {"phiAllowed": True})
    body = assert_failure(answer, 400, "health_data_not_allowed")
    assert body["message"] == "Resend may not carry health data."


async def test_a_health_data_project_keeps_its_connection_allowed(
    client: httpx.AsyncClient, resources: Resources
) -> None:
    project = await make_project(resources)
    await put(client, project, "sandbox", {"phiAllowed": True})
    await client.patch(project.path, json={"phi": True}, headers=project.owner.bearer)
    answer = await put(client, project, "sandbox", {"phiAllowed": False})
    assert_failure(answer, 400, "health_data_not_allowed")


async def test_faults_of_the_sandbox_reach_it(
    app: FastAPI, client: httpx.AsyncClient, resources: Resources
) -> None:
    project = await make_project(resources)
    answer = await put(client, project, "sandbox", {"faults": {"latencyMs": 5}})
    assert answer.json()["data"]["options"]["faults"]["latencyMs"] == 5
    row = await row_of(resources, project, "sandbox")
    opened = await app.state.connections.get(row.id)
    assert opened.provider.credentials["faults"]["latencyMs"] == 5


async def test_a_viewer_sees_connections_and_sets_up_none(
    client: httpx.AsyncClient, resources: Resources
) -> None:
    project = await make_project(resources)
    viewer = await make_member(resources, project, "viewer")
    path = f"{project.path}/mail/providers"
    listed = await client.get(path, headers=viewer.bearer)
    assert {p["configured"] for p in listed.json()["data"]} == {False}
    refused = await client.put(f"{path}/sandbox", json={}, headers=viewer.bearer)
    assert_failure(refused, 403, "read_only")


async def test_each_change_is_audited(client: httpx.AsyncClient, resources: Resources) -> None:
    project = await make_project(resources)
    await put(client, project, "sandbox", {})
    path = f"{project.path}/mail/providers/sandbox"
    await client.delete(path, headers=project.owner.bearer)
    async with resources.sessions() as session:
        events = await session.scalars(
            select(AuditEvent).where(AuditEvent.project_id == project.id).order_by(AuditEvent.id)
        )
        found = [(e.action, e.target, e.account_id) for e in events]
    assert found == [
        ("provider.set", "sandbox", project.owner.id),
        ("provider.removed", "sandbox", project.owner.id),
    ]


# ── Verifying ────────────────────────────────────────────────────────────────────────────────────


@respx.mock(base_url="https://api.resend.com")
async def test_verified_credentials_say_since_when(
    respx_mock: respx.MockRouter, client: httpx.AsyncClient, resources: Resources
) -> None:
    respx_mock.get(path__startswith="/").respond(200, json={"data": []})
    project = await make_project(resources)
    answer = await put(client, project, "resend", RESEND, "?verify=true")
    assert answer.json()["data"]["verifiedAt"] is not None


@respx.mock(base_url="https://api.resend.com")
async def test_refused_credentials_are_not_kept_and_do_not_end_the_session(
    respx_mock: respx.MockRouter, client: httpx.AsyncClient, resources: Resources
) -> None:
    error = {"statusCode": 401, "name": "validation_error", "message": "API key is invalid"}
    respx_mock.get(path__startswith="/").respond(401, json=error)
    project = await make_project(resources)
    answer = await put(client, project, "resend", RESEND, "?verify=true")
    assert answer.status_code == 422
    assert answer.json()["success"] is False
    assert "API key is invalid" in answer.json()["message"]
    seen = (await client.get(project.path, headers=project.owner.bearer)).json()["data"]
    assert (seen["hasResendApiKey"], seen["mailProvider"]) == (False, None)


# ── Webhook addresses ────────────────────────────────────────────────────────────────────────────


async def test_the_webhook_address_names_the_connection_and_cannot_be_guessed(
    client: httpx.AsyncClient, resources: Resources
) -> None:
    project = await make_project(resources)
    answer = await put(client, project, "resend", RESEND)
    row = await row_of(resources, project, "resend")
    base = f"{resources.settings.public_url}/api/mail/webhook/resend/"
    token = answer.json()["data"]["webhookUrl"].removeprefix(base)
    assert connections.by_webhook_token(resources.keys, token) == row.id
    number, _, secret = token.partition("-")
    for wrong in (
        "",
        number,
        secret,
        f"{int(number) + 1}-{secret}",
        f"{number}-{secret[:-1]}",
        f"0{number}-{secret}",
        "9" * 30 + "-x",
        f"{number}-{secret}é",
    ):
        with pytest.raises(NotFound):
            connections.by_webhook_token(resources.keys, wrong)


# ── Addresses that a person typed ────────────────────────────────────────────────────────────────


async def test_private_addresses_are_refused_unless_the_operator_allows_them(
    resources: Resources,
) -> None:
    strict = Dialer()
    for host in ("127.0.0.1", "10.1.2.3", "169.254.169.254", "::1", "localhost", "0.0.0.0"):  # noqa: S104
        with pytest.raises(Exception, match="private"):
            await addresses.check(strict, {"host": host})
    with pytest.raises(Exception, match="https"):
        await addresses.check(strict, {"baseUrl": "http://93.184.216.34/v1"})
    await addresses.check(strict, {"baseUrl": "https://93.184.216.34/v1"})
    await addresses.check(resources.http.dialer, {"host": "127.0.0.1"})
