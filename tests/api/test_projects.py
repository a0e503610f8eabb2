"""Projects: their keys, their settings, and who may touch them."""

import re
from dataclasses import replace

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import select, text

from postroom.crypto import hash_key
from postroom.domain import projects
from postroom.domain.projects import CallerCache, NewProject
from postroom.errors import Forbidden, NotAuthenticated
from postroom.models import AuditEvent, Project
from postroom.resources import Resources
from tests.api.test_envelope import assert_failure
from tests.factories import make_account, make_connection, make_member, make_project

KEY = re.compile(r"[sp]k_live_[A-Za-z0-9_-]{43}")


async def test_a_new_project_shows_its_keys_once_and_keeps_only_their_hashes(
    client: httpx.AsyncClient, resources: Resources
) -> None:
    ann = await make_account(resources)
    made = await client.post("/api/projects", json={"name": " Shop "}, headers=ann.bearer)
    assert made.status_code == 201
    data = made.json()["data"]
    assert KEY.fullmatch(data["secretKey"])
    assert KEY.fullmatch(data["publishableKey"])
    project = data["project"]
    assert project == {
        "id": project["id"],
        "name": "Shop",
        "plan": "free",
        "role": "owner",
        "hasResendApiKey": False,
        "resendFromEmail": None,
        "mailProvider": None,
        "failoverProvider": None,
        "phi": False,
        "ambiguousPolicy": "park",
        "contentRetentionDays": 0,
        "createdAt": project["createdAt"],
    }
    again = await client.get(f"/api/projects/{project['id']}", headers=ann.bearer)
    assert again.json()["data"] == project
    async with resources.sessions() as session:
        row = await session.get_one(Project, project["id"])
    assert row.secret_hash == hash_key(data["secretKey"])
    assert data["secretKey"] not in str(vars(row))


async def test_a_project_needs_a_name(client: httpx.AsyncClient, resources: Resources) -> None:
    ann = await make_account(resources)
    for name in ("", "  ", 7, None, "x" * 101):
        answer = await client.post("/api/projects", json={"name": name}, headers=ann.bearer)
        assert_failure(answer, 400, "invalid_payload")


async def test_one_sees_the_projects_one_is_a_member_of_newest_first(
    client: httpx.AsyncClient, resources: Resources
) -> None:
    ann = await make_account(resources)
    await make_project(resources)
    first = await make_project(resources, owner=ann)
    foreign = await make_project(resources)
    second = await make_project(resources, owner=ann)
    listed = await client.get("/api/projects", headers=ann.bearer)
    assert [p["id"] for p in listed.json()["data"]] == [str(second.id), str(first.id)]
    viewer = await make_member(resources, foreign, "viewer")
    listed = await client.get("/api/projects", headers=viewer.bearer)
    assert [(p["id"], p["role"]) for p in listed.json()["data"]] == [(str(foreign.id), "viewer")]


@pytest.mark.parametrize(
    "project_id", ["nonsense", "0198a1b2-0000-7000-8000-000000000000", "{foreign}", "{braces}"]
)
async def test_a_foreign_an_unknown_and_a_malformed_project_answer_alike(
    client: httpx.AsyncClient, resources: Resources, project_id: str
) -> None:
    foreign = await make_project(resources)
    ann = await make_account(resources)
    path = project_id.format(foreign=foreign.id, braces=f"{{{foreign.id}}}")
    for method in ("GET", "PATCH", "DELETE"):
        answer = await client.request(method, f"/api/projects/{path}", json={}, headers=ann.bearer)
        body = assert_failure(answer, 404, "project_not_found")
        assert body["message"] == "Project not found or access denied."


async def test_the_free_plan_has_its_number_of_projects(resources: Resources) -> None:
    ann = await make_account(resources)
    settings = resources.settings.model_copy(update={"free_max_projects": 2})
    async with resources.sessions() as session:
        for _ in range(2):
            await projects.create(session, settings, NewProject("x", ann.id))
        await projects.create(session, settings, NewProject("x", ann.id, plan="pro"))
        with pytest.raises(Forbidden, match=r"Project limit reached \(2\)"):
            await projects.create(session, settings, NewProject("x", ann.id))


# ── Keys ─────────────────────────────────────────────────────────────────────────────────────────


async def test_a_rotated_key_stops_at_once_and_in_other_processes_too(
    app: FastAPI, client: httpx.AsyncClient, resources: Resources
) -> None:
    project = await make_project(resources)
    here: CallerCache = app.state.callers
    await here.by_key(project.secret_key)
    answer = await client.post(
        f"{project.path}/api-key", json={"keyType": "secret"}, headers=project.owner.bearer
    )
    fresh = answer.json()["data"]["apiKey"]
    assert KEY.fullmatch(fresh)
    assert answer.json()["data"]["keyType"] == "secret"
    assert here.peek(project.secret_key) is None
    with pytest.raises(NotAuthenticated, match="Please use a valid API key"):
        await here.by_key(project.secret_key)
    assert (await here.by_key(fresh)).project_id == project.id


async def test_rotating_the_publishable_key_leaves_the_secret_one(
    app: FastAPI, client: httpx.AsyncClient, resources: Resources
) -> None:
    project = await make_project(resources)
    answer = await client.post(
        f"{project.path}/api-key", json={"keyType": "publishable"}, headers=project.owner.bearer
    )
    assert answer.json()["data"]["apiKey"].startswith("pk_live_")
    assert (await app.state.callers.by_key(project.secret_key)).project_id == project.id


async def test_there_are_two_types_of_keys(client: httpx.AsyncClient, resources: Resources) -> None:
    project = await make_project(resources)
    answer = await client.post(
        f"{project.path}/api-key", json={"keyType": "admin"}, headers=project.owner.bearer
    )
    body = assert_failure(answer, 400, "invalid_payload")
    assert body["message"] == "Invalid keyType. Must be 'publishable' or 'secret'."


async def test_each_wrong_key_has_its_sentence(app: FastAPI, resources: Resources) -> None:
    project = await make_project(resources)
    callers: CallerCache = app.state.callers
    for key, kind, sentence in (
        ("", NotAuthenticated, "API key not found."),
        (
            "sk_live_x",
            NotAuthenticated,
            "Please use a valid API key or regenerate a new one from the dashboard.",
        ),
        (
            project.publishable_key,
            Forbidden,
            "Forbidden. This action requires a Secret Key (sk_live_...).",
        ),
    ):
        with pytest.raises(kind) as caught:
            await callers.by_key(key)
        assert caught.value.message == sentence


# ── Settings ─────────────────────────────────────────────────────────────────────────────────────


async def patch(client: httpx.AsyncClient, project, **changes) -> httpx.Response:
    return await client.patch(project.path, json=changes, headers=project.owner.bearer)


async def test_a_resend_key_is_the_resend_connection_and_becomes_the_one_that_sends(
    client: httpx.AsyncClient, resources: Resources
) -> None:
    project = await make_project(resources, provider="sandbox")
    changed = await patch(
        client, project, resendApiKey="re_0123456789abcdef", resendFromEmail="App <a@b.cd>"
    )
    data = changed.json()["data"]
    assert data["hasResendApiKey"] is True
    assert data["resendFromEmail"] == "App <a@b.cd>"
    assert data["mailProvider"] == "resend"
    listed = await client.get(f"{project.path}/mail/providers", headers=project.owner.bearer)
    resend = next(p for p in listed.json()["data"] if p["provider"] == "resend")
    assert resend["keyHint"] == "cdef"
    assert resend["fromEmail"] == "App <a@b.cd>"
    cleared = await patch(client, project, resendApiKey=None)
    data = cleared.json()["data"]
    assert (data["hasResendApiKey"], data["mailProvider"]) == (False, None)
    assert data["resendFromEmail"] == "App <a@b.cd>"


async def test_a_resend_key_sends_unless_the_same_patch_names_another(
    client: httpx.AsyncClient, resources: Resources
) -> None:
    project = await make_project(resources, provider="sandbox")
    changed = await patch(client, project, resendApiKey="re_0123456789", mailProvider="sandbox")
    data = changed.json()["data"]
    assert (data["hasResendApiKey"], data["mailProvider"]) == (True, "sandbox")


async def test_a_new_resend_key_keeps_the_webhook_secret(
    app: FastAPI, client: httpx.AsyncClient, resources: Resources
) -> None:
    project = await make_project(resources)
    own = await make_connection(resources, project.id, "resend", webhookSecret="whsec_abc")
    await patch(client, project, resendApiKey="re_another_key_123")
    opened = await app.state.connections.get(own)
    assert opened.provider.credentials["apiKey"] == "re_another_key_123"
    assert opened.provider.credentials["webhookSecret"] == "whsec_abc"


async def test_a_sender_without_a_key_is_remembered_for_the_key_to_come(
    client: httpx.AsyncClient, resources: Resources
) -> None:
    project = await make_project(resources)
    data = (await patch(client, project, resendFromEmail="a@b.cd")).json()["data"]
    assert (data["resendFromEmail"], data["hasResendApiKey"]) == ("a@b.cd", False)
    data = (await patch(client, project, resendApiKey="re_0123456789")).json()["data"]
    assert (data["resendFromEmail"], data["mailProvider"]) == ("a@b.cd", "resend")
    data = (await patch(client, project, resendFromEmail="")).json()["data"]
    assert data["resendFromEmail"] is None


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("resendApiKey", "", "resendApiKey must be a non-empty string."),
        ("resendApiKey", 7, "resendApiKey must be a non-empty string."),
        ("resendApiKey", "sk_123", "Invalid Resend API Key format."),
        ("resendFromEmail", 7, "resendFromEmail must be a string."),
        ("resendFromEmail", "x" * 256, "resendFromEmail is too long."),
        (
            "resendFromEmail",
            "nobody",
            "resendFromEmail must be a valid format (e.g., 'me@domain.com' or 'App <me@domain.com>').",
        ),
        ("name", " ", "name must be a non-empty string."),
        ("name", None, "name must be a non-empty string."),
        ("phi", None, '"phi" must be true or false.'),
        ("mailProvider", "paubox", '"paubox" is not set up for this project. Set up: none.'),
        ("ambiguousPolicy", "guess", "\"ambiguousPolicy\" must be 'park' or 'resend'."),
        ("contentRetentionDays", -1, '"contentRetentionDays" must be at least 0.'),
        ("mailProvidr", "x", 'Unknown field "mailProvidr". Did you mean "mailProvider"?'),
    ],
)
async def test_a_wrong_setting_has_its_sentence_and_changes_nothing(
    client: httpx.AsyncClient, resources: Resources, field: str, value: object, sentence: str
) -> None:
    project = await make_project(resources)
    before = (await client.get(project.path, headers=project.owner.bearer)).json()
    answer = await patch(client, project, **{"phi": False, field: value})
    body = assert_failure(answer, 400, body_code(answer))
    assert body["message"] == sentence
    assert body["issues"][0]["path"] == field
    assert (await client.get(project.path, headers=project.owner.bearer)).json() == before


def body_code(answer: httpx.Response) -> str:
    return str(answer.json()["code"])


async def test_plain_settings_change_and_the_rest_stays(
    client: httpx.AsyncClient, resources: Resources
) -> None:
    project = await make_project(resources, provider="sandbox")
    answer = await patch(
        client, project, name="New", ambiguousPolicy="resend", contentRetentionDays=7
    )
    data = answer.json()["data"]
    assert (data["name"], data["ambiguousPolicy"], data["contentRetentionDays"]) == (
        "New",
        "resend",
        7,
    )
    assert data["mailProvider"] == "sandbox"
    shared = (await patch(client, project, mailProvider=None)).json()["data"]
    assert shared["mailProvider"] is None


async def test_each_changed_setting_is_audited_without_its_value(
    client: httpx.AsyncClient, resources: Resources
) -> None:
    project = await make_project(resources)
    await patch(client, project, resendApiKey="re_0123456789", contentRetentionDays=3)
    async with resources.sessions() as session:
        events = await session.scalars(
            select(AuditEvent).where(AuditEvent.project_id == project.id).order_by(AuditEvent.id)
        )
        found = [(e.action, e.target, e.account_id) for e in events]
    assert found == [
        ("project.changed", "content_retention_days", project.owner.id),
        ("project.changed", "resend_api_key", project.owner.id),
    ]


# ── Health data ──────────────────────────────────────────────────────────────────────────────────


async def test_health_data_needs_accounts_that_may_carry_it(
    client: httpx.AsyncClient, resources: Resources
) -> None:
    project = await make_project(resources)
    refused = await patch(client, project, phi=True)
    assert_failure(refused, 400, "health_data_not_allowed")
    await make_connection(resources, project.id, "sandbox")
    assert_failure(await patch(client, project, phi=True), 400, "health_data_not_allowed")
    await make_connection(resources, project.id, "sandbox", phiAllowed=True)
    assert (await patch(client, project, phi=True)).json()["data"]["phi"] is True
    for changes in (
        {"mailProvider": None},
        {"resendApiKey": "re_0123456789"},
        {"resendApiKey": "re_0123456789", "mailProvider": "sandbox", "failoverProvider": "resend"},
    ):
        refused = await patch(client, project, **changes)
        assert_failure(refused, 400, "health_data_not_allowed")


async def test_an_account_for_health_data_never_fails_over_to_one_that_is_not(
    client: httpx.AsyncClient, resources: Resources
) -> None:
    project = await make_project(resources)
    await make_connection(resources, project.id, "sandbox", phiAllowed=True)
    await make_connection(resources, project.id, "resend")
    refused = await patch(client, project, failoverProvider="resend")
    assert_failure(refused, 400, "health_data_not_allowed")
    await make_connection(resources, project.id, "sandbox", phiAllowed=False)
    allowed = await patch(client, project, failoverProvider="resend")
    assert allowed.json()["data"]["failoverProvider"] == "resend"
    same = await patch(client, project, failoverProvider="sandbox")
    assert_failure(same, 400, "invalid_payload")


# ── What sends ───────────────────────────────────────────────────────────────────────────────────


async def test_a_caller_sends_by_the_own_connection_else_by_the_shared_one(
    app: FastAPI, resources: Resources
) -> None:
    callers: CallerCache = app.state.callers
    own = await make_project(resources, provider="sandbox")
    caller = await callers.by_key(own.secret_key)
    assert caller.connection is not None
    assert (caller.connection.id, caller.connection.own) == (own.connection_id, True)
    shared = await make_project(resources)
    caller = await callers.by_key(shared.secret_key)
    assert caller.connection is not None
    assert (caller.connection.provider, caller.connection.own) == ("sandbox", False)
    assert caller.connection.from_email == "Postroom <dev@postroom.test>"


async def test_without_any_account_a_caller_has_no_connection(resources: Resources) -> None:
    project = await make_project(resources)
    settings = resources.settings.model_copy(update={"mail_provider": None})
    callers = CallerCache(replace(resources, settings=settings))
    assert (await callers.by_key(project.secret_key)).connection is None


# ── Roles ────────────────────────────────────────────────────────────────────────────────────────


async def test_a_viewer_changes_nothing_and_an_admin_does_not_delete(
    client: httpx.AsyncClient, resources: Resources
) -> None:
    project = await make_project(resources)
    viewer = await make_member(resources, project, "viewer")
    admin = await make_member(resources, project, "admin")
    assert (await client.get(project.path, headers=viewer.bearer)).status_code == 200
    refused = await client.patch(project.path, json={"name": "x"}, headers=viewer.bearer)
    body = assert_failure(refused, 403, "read_only")
    assert body["message"] == "Viewers do not have write access to this project."
    assert_failure(await client.delete(project.path, headers=viewer.bearer), 403, "read_only")
    assert (
        await client.patch(project.path, json={"name": "x"}, headers=admin.bearer)
    ).status_code == 200
    refused = await client.delete(project.path, headers=admin.bearer)
    body = assert_failure(refused, 403, "owner_required")
    assert body["message"] == "Only the project owner can perform this action."


async def test_a_deleted_project_is_gone_for_its_key_and_its_members(
    app: FastAPI, client: httpx.AsyncClient, resources: Resources
) -> None:
    project = await make_project(resources)
    callers: CallerCache = app.state.callers
    await callers.by_key(project.secret_key)
    assert (await client.delete(project.path, headers=project.owner.bearer)).status_code == 200
    with pytest.raises(NotAuthenticated):
        await callers.by_key(project.secret_key)
    assert (await client.get(project.path, headers=project.owner.bearer)).status_code == 404
    async with resources.sessions() as session:
        still = await session.scalar(
            text("select count(*) from projects where id = :id"), {"id": project.id}
        )
    assert still == 1  # its rows go later, in bounded steps
