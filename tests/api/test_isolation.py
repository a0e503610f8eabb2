"""Tenants do not see or touch each other: every route of the table, with another project's ids and keys.

The matrix is made from the OpenAPI document, so a new route is in it the day it exists.
"""

import re
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from postroom.resources import Resources
from tests.factories import MadeProject, make_project
from tests.hostile.victims import state

CANARY = "canary-7f3a"
# What a body says does not matter where nothing may happen.
BODY: dict[str, Any] = {"name": CANARY}


@dataclass
class Owned:
    """A project with one of everything, and what each is called in a path."""

    project: MadeProject
    ids: dict[str, str]

    def fill(self, path: str) -> str:
        """The path with this project's ids in its holes."""

        def value(found: re.Match[str]) -> str:
            before, name = found[1], found[2]
            if name == "projectId":
                return f"{before}/{self.project.id}"
            return f"{before}/{self.ids.get(f'{before}/{name}', self.ids.get(before, 'unknown'))}"

        return re.sub(r"([^/]+)/\{(\w+)\}", value, path)


def operations(app: FastAPI) -> list[tuple[str, str, dict[str, Any]]]:
    document = app.openapi()
    return [
        (method.upper(), path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


def schemes(operation: dict[str, Any]) -> set[str]:
    return {name for way in operation.get("security", []) for name in way}


async def _made(answer: httpx.Response) -> str:
    assert answer.status_code in {200, 201}, answer.text
    data = answer.json()["data"]
    return str(data.get("id") or data.get("template", {}).get("id"))


@pytest.fixture
async def victim(client: httpx.AsyncClient, resources: Resources, app: FastAPI) -> Owned:
    project = await make_project(resources, provider="sandbox")
    bearer, base = project.owner.bearer, f"{project.path}/mail"
    mail = {"to": f"{CANARY}@example.com", "subject": CANARY, "text": CANARY}
    ids = {"logs": await _made(await client.post("/api/mail/send", json=mail, headers=project.key))}
    ids["scheduled"] = ids["logs"]
    ids["members"] = str(project.owner.id)
    ids["providers"] = "sandbox"
    known = {path for _, path, _ in operations(app)}
    makers: list[tuple[str, str, dict[str, Any]]] = [
        ("templates", f"{base}/templates", {"name": CANARY, "subject": CANARY, "text": CANARY}),
        ("audiences", f"{base}/audiences", {"name": CANARY}),
        (
            "contacts",
            f"{base}/audiences/{{audiences}}/contacts",
            {"email": f"{CANARY}@example.com"},
        ),
        (
            "broadcasts",
            f"{base}/broadcasts",
            {"audienceId": "{audiences}", "subject": CANARY, "html": CANARY},
        ),
    ]
    for name, path, body in makers:
        if f"/api/projects/{{projectId}}/mail/{name}" not in known and name != "contacts":
            continue
        filled = {k: v.format(**ids) if v.startswith("{") else v for k, v in body.items()}
        answer = await client.post(path.format(**ids), json=filled, headers=bearer)
        ids[name] = await _made(answer)
    ids["suppressions"] = f"{CANARY}@example.com"
    address = {"address": ids["suppressions"]}
    suppressed = await client.post(f"{base}/suppressions", json=address, headers=bearer)
    assert suppressed.status_code == 200
    ids["imports"] = await _made(
        await client.post(
            f"{base}/audiences/{ids['audiences']}/contacts/import",
            content=f"email\nimported-{CANARY}@example.com\n".encode(),
            headers=bearer | {"content-type": "text/csv"},
        )
    )
    return Owned(project, ids)


async def ask(
    client: httpx.AsyncClient, method: str, path: str, headers: dict[str, str]
) -> httpx.Response:
    body = BODY if method in {"POST", "PUT", "PATCH"} else None
    return await client.request(method, path, json=body, headers=headers)


def test_every_hole_in_every_path_is_filled_with_something_that_exists(app, victim) -> None:
    """A route with a new kind of id must bring one of the victim's into this matrix."""
    # What a stranger holds of these is a secret of its own, tried in tests/hostile.
    secret = {"/api/mail/webhook/{provider}/{token}", "/unsubscribe/{token}"}
    unknown = [path for _, path, _ in operations(app) if "unknown" in victim.fill(path)]
    assert set(unknown) == secret


async def test_no_route_shows_or_changes_anything_of_another_project(
    app, client, resources, victim
) -> None:
    thief = await make_project(resources, provider="sandbox")
    before = await state(resources, victim.project.id)
    asked = 0
    for method, path, operation in operations(app):
        ways = schemes(operation)
        where = f"{method} {path}"
        if "bearer" in ways and "{projectId}" in path:
            answer = await ask(client, method, victim.fill(path), thief.owner.bearer)
            assert answer.status_code == 404, where
            own_door = victim.fill(path).replace(str(victim.project.id), str(thief.id))
            if own_door != thief.path and "members" not in path and method != "DELETE":
                answer = await ask(client, method, own_door, thief.owner.bearer)
                assert CANARY not in answer.text.replace(f'"{CANARY}"', ""), where
        elif ways and "{projectId}" not in path:
            headers = thief.key if "apiKey" in ways else thief.owner.bearer
            answer = await ask(client, method, victim.fill(path), headers)
            assert f"{CANARY}@" not in answer.text, where
            if re.search(r"/\{(id|contactId|importId)\}", path):
                assert answer.status_code >= 400, where
        else:
            assert not ways, f"{where} is at a door that this matrix does not know"
        asked += 1
    assert asked == len(operations(app))
    assert await state(resources, victim.project.id) == before


async def test_no_route_lets_anybody_in_without_a_key_or_token(app, client, victim) -> None:
    before_the_door = set()
    for method, path, operation in operations(app):
        if not schemes(operation):
            before_the_door.add(path)
            continue
        answer = await ask(client, method, victim.fill(path), {})
        assert answer.status_code == 401, f"{method} {path}"
        answer = await ask(
            client,
            method,
            victim.fill(path),
            {"x-api-key": "sk_live_" + "x" * 43, "authorization": "Bearer x.y.z"},
        )
        assert answer.status_code == 401, f"{method} {path}"
    # What stays open is named here, so that nothing opens by accident.
    assert before_the_door <= {
        "/api/auth/register",
        "/api/auth/login",
        "/api/mail/webhook",
        "/api/mail/webhook/{provider}/{token}",
        "/health/live",
        "/health/ready",
        "/metrics",
        "/unsubscribe/{token}",
    }


async def test_a_publishable_key_opens_no_door(app, client, victim) -> None:
    key = {"x-api-key": victim.project.publishable_key}
    for method, path, operation in operations(app):
        if "apiKey" in schemes(operation):
            answer = await ask(client, method, victim.fill(path), key)
            assert answer.status_code == 403, f"{method} {path}"
            assert "requires a Secret Key" in answer.json()["message"]


# Each is tried with a body that is right but for whose things it names.
THEFTS: list[tuple[str, str, dict[str, Any]]] = [
    ("POST", "/api/mail/send", {"to": "t@example.com", "templateId": "{templates}"}),
    ("POST", "/api/mail/send-batch", {"to": "t@example.com", "templateId": "{templates}"}),
    ("POST", "/api/mail/broadcasts", {"audienceId": "{audiences}", "subject": "x", "html": "y"}),
    ("POST", "/api/mail/broadcasts", {"segmentId": "{audiences}", "subject": "x", "html": "y"}),
    ("POST", "/api/mail/audiences/{audiences}/contacts", {"email": "t@example.com"}),
    ("PATCH", "/api/mail/audiences/{audiences}/contacts/{contacts}", {"unsubscribed": True}),
    ("PATCH", "/api/mail/broadcasts/{broadcasts}", {"subject": "stolen"}),
    ("POST", "/api/mail/broadcasts/{broadcasts}/send", {}),
    ("POST", "/api/mail/broadcasts/{broadcasts}/test", {"to": "t@example.com"}),
    ("POST", "/api/mail/logs/{logs}/resend", {}),
    ("POST", "/api/mail/logs/{logs}/resolve", {"as": "sent"}),
    ("PATCH", "/api/mail/scheduled/{logs}", {"scheduledAt": "2099-01-01T00:00:00Z"}),
    ("DELETE", "/api/mail/scheduled/{logs}", {}),
    ("DELETE", "/api/mail/suppressions/{suppressions}", {}),
]


@pytest.mark.parametrize(("method", "path", "body"), THEFTS, ids=lambda part: str(part)[:50])
async def test_a_sound_request_that_names_anothers_things_takes_nothing(
    client, resources, victim, method, path, body
) -> None:
    thief = await make_project(resources, provider="sandbox")
    before = await state(resources, victim.project.id)
    filled = {k: v.format(**victim.ids) if isinstance(v, str) else v for k, v in body.items()}
    sent: Any = [filled] if path.endswith("batch") else filled
    answer = await client.request(method, path.format(**victim.ids), json=sent, headers=thief.key)
    assert answer.status_code in {400, 404, 409}, answer.text
    assert f"{CANARY}@" not in answer.text
    assert await state(resources, victim.project.id) == before


async def test_no_project_moves_another_by_the_ids_of_its_members(
    client, resources, victim
) -> None:
    thief = await make_project(resources, provider="sandbox")
    before = await state(resources, victim.project.id)
    member = f"{thief.path}/members/{victim.project.owner.id}"
    for method, body in (("PATCH", {"role": "viewer"}), ("DELETE", None)):
        answer = await client.request(method, member, json=body, headers=thief.owner.bearer)
        assert answer.status_code == 404
    assert await state(resources, victim.project.id) == before


async def test_the_same_idempotency_key_of_two_projects_is_two_keys(client, resources) -> None:
    first, second = (
        await make_project(resources, provider="sandbox"),
        await make_project(resources, provider="sandbox"),
    )
    body = {"to": "ann@example.com", "subject": "x", "text": "y"}
    ids = set()
    for project in (first, second):
        answer = await client.post(
            "/api/mail/send", json=body, headers=project.key | {"Idempotency-Key": "same"}
        )
        ids.add(answer.json()["data"]["id"])
    assert len(ids) == 2
