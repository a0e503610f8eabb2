"""Templates: kept, changed, tried in the dashboard; read with a key."""

from typing import Any

import httpx
import pytest

from postroom.resources import Resources
from tests.factories import MadeProject, make_member, make_project

GLOBAL = ["invite", "otp", "password-reset", "welcome", "welcome-2"]


@pytest.fixture
async def project(resources: Resources) -> MadeProject:
    return await make_project(resources)


class Desk:
    """A project's templates as its owner reaches them."""

    def __init__(self, client: httpx.AsyncClient, project: MadeProject) -> None:
        self._client = client
        self.project = project
        self.headers = project.owner.bearer

    async def __call__(self, method: str, path: str = "", json: Any = None) -> httpx.Response:
        url = f"{self.project.path}/mail/templates{path}"
        return await self._client.request(method, url, json=json, headers=self.headers)

    async def create(self, **fields: Any) -> dict[str, Any]:
        fields = {"name": "Receipt", "subject": "Your receipt", "html": "<p>{{a}}</p>"} | fields
        answer = await self("POST", json=fields)
        assert answer.status_code == 201, answer.text
        return answer.json()["data"]["template"]


@pytest.fixture
async def desk(client: httpx.AsyncClient, project: MadeProject) -> Desk:
    return Desk(client, project)


async def test_the_five_global_templates_are_there_and_can_be_read(desk: Desk) -> None:
    answer = await desk("GET", "/global")
    assert answer.json()["message"] == "Global mail templates fetched."
    listed = answer.json()["data"]["templates"]
    assert [t["key"] for t in listed] == GLOBAL
    assert {t["scope"] for t in listed} == {"global"}
    for each in listed:
        assert len(each["id"]) == 24
        whole = (await desk("GET", f"/{each['id']}")).json()["data"]["template"]
        assert whole["html"].startswith("<!doctype html>")
        assert whole["text"]
        assert whole["isSystem"] is True


@pytest.mark.parametrize("key", GLOBAL)
async def test_a_global_template_says_what_its_variables_say(desk: Desk, key: str) -> None:
    listed = (await desk("GET", "/global")).json()["data"]["templates"]
    template_id = next(t["id"] for t in listed if t["key"] == key)
    variables = {
        "name": "Ada",
        "projectName": "Acme",
        "otp": "493 021",
        "expiresInMinutes": 10,
        "appUrl": "https://acme.test/app",
        "resetUrl": "https://acme.test/reset?t=1",
        "inviteUrl": "https://acme.test/join",
    }
    answer = await desk("POST", f"/{template_id}/preview", {"variables": variables})
    data = answer.json()["data"]
    assert data["missing"] == []
    for part in ("html", "text"):
        assert "Ada" in data[part]
        assert "{{" not in data[part]
    bare = (await desk("POST", f"/{template_id}/preview", {})).json()["data"]
    assert 'href=""' not in bare["html"]
    assert bare["subject"].strip()


async def test_a_template_is_kept_read_changed_and_removed(desk: Desk) -> None:
    made = await desk("POST", json={"name": "My  New!! Tpl", "subject": " Hi {{n}} ", "text": "x"})
    assert made.status_code == 201
    assert made.json()["message"] == "Mail template created."
    template = made.json()["data"]["template"]
    assert template["key"] == "my-new-tpl"
    assert template["subject"] == "Hi {{n}}"
    assert template["scope"] == "project"
    path = f"/{template['id']}"
    assert (await desk("GET", path)).json()["message"] == "Mail template fetched."
    changed = await desk("PATCH", path, {"html": "<b>{{n}}</b>", "text": None})
    assert changed.json()["message"] == "Mail template updated."
    assert changed.json()["data"]["template"]["html"] == "<b>{{n}}</b>"
    assert changed.json()["data"]["template"]["text"] is None
    assert changed.json()["data"]["template"]["key"] == "my-new-tpl"
    listed = (await desk("GET")).json()
    assert [t["id"] for t in listed["data"]["templates"]] == [template["id"]]
    assert listed["message"] == "Mail templates fetched."
    gone = await desk("DELETE", path)
    assert gone.json() == {"success": True, "data": {}, "message": "Mail template deleted."}
    assert (await desk("GET", path)).status_code == 404


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "a", "subject": "s"}, "Provide at least one of html or text."),
        ({"name": "a", "subject": "s", "html": " ", "text": ""}, "Provide at least one of html or text."),
        ({"subject": "s", "html": "x"}, '"name" is required.'),
        ({"name": " ", "subject": "s", "html": "x"}, '"name" must have at least 1 characters.'),
        ({"name": "a", "html": "x"}, '"subject" is required.'),
        ({"name": "!!", "subject": "s", "html": "x"}, "A key needs at least one letter or digit (a-z, 0-9)."),
        ({"name": "a", "subject": "s", "html": "x", "htlm": "y"}, 'Unknown field "htlm". Did you mean "html"?'),
        (
            {"name": "a", "subject": "s", "html": "one\n{{#if x}}"},
            'Line 2, column 1 of html: "{{#if}}" is never closed.',
        ),
    ],
)  # fmt: skip
async def test_what_is_no_template_is_refused(desk: Desk, fields, message) -> None:
    answer = await desk("POST", json=fields)
    assert answer.status_code == 400
    assert answer.json()["message"] == message


async def test_names_and_keys_are_taken_once_in_a_project(desk: Desk) -> None:
    first = await desk.create(name="Receipt")
    for again in ({"name": "RECEIPT", "key": "other"}, {"name": "Other", "key": "receipt"}):
        answer = await desk("POST", json=again | {"subject": "s", "text": "x"})
        assert answer.status_code == 409
        assert answer.json()["message"] == "Template name/key already exists."
    second = await desk.create(name="Second")
    answer = await desk("PATCH", f"/{second['id']}", {"key": first["key"]})
    assert answer.status_code == 409
    assert answer.json()["code"] == "template_exists"


async def test_a_change_must_say_something_and_leave_content(desk: Desk) -> None:
    template = await desk.create()
    nothing = await desk("PATCH", f"/{template['id']}", {})
    assert nothing.status_code == 400
    assert nothing.json()["message"] == "At least one field must be provided."
    empty = await desk("PATCH", f"/{template['id']}", {"html": None})
    assert empty.json()["message"] == "Template must contain at least one of html or text."
    broken = await desk("PATCH", f"/{template['id']}", {"subject": "{{#each}}"})
    assert broken.json()["issues"][0]["path"] == "subject"


async def test_ids_are_checked_and_strangers_find_nothing(
    desk: Desk, client: httpx.AsyncClient, resources: Resources
) -> None:
    template = await desk.create()
    assert (await desk("GET", "/nonsense")).json()["message"] == "Invalid template id."
    assert (await desk("GET", "/nonsense")).status_code == 400
    assert (await desk("GET", f"/{'a' * 24}")).json()["message"] == "Template not found."
    other = Desk(client, await make_project(resources))
    for method, path, body in [
        ("GET", "", None),
        ("PATCH", "", {"name": "x"}),
        ("DELETE", "", None),
        ("POST", "/preview", {}),
    ]:
        answer = await other(method, f"/{template['id']}{path}", body)
        assert answer.status_code == 404, method
        assert answer.json()["message"] == "Template not found."
    key = other.project.key
    assert (
        await client.get(f"/api/mail/templates/{template['id']}", headers=key)
    ).status_code == 404


async def test_a_global_template_can_be_read_and_tried_but_not_changed(desk: Desk) -> None:
    otp = next(
        t for t in (await desk("GET", "/global")).json()["data"]["templates"] if t["key"] == "otp"
    )
    assert (await desk("PATCH", f"/{otp['id']}", {"name": "mine"})).status_code == 404
    assert (await desk("DELETE", f"/{otp['id']}")).status_code == 404


async def test_a_viewer_reads_and_tries_but_changes_nothing(
    desk: Desk, resources: Resources
) -> None:
    template = await desk.create()
    desk.headers = (await make_member(resources, desk.project, "viewer")).bearer
    assert (await desk("GET")).status_code == 200
    assert (await desk("POST", f"/{template['id']}/preview", {})).status_code == 200
    assert (await desk("POST", json={"name": "x", "subject": "s", "text": "t"})).status_code == 403
    assert (await desk("PATCH", f"/{template['id']}", {"name": "x"})).status_code == 403
    assert (await desk("DELETE", f"/{template['id']}")).status_code == 403


async def test_a_key_reads_all_that_its_mails_can_name(
    desk: Desk, client: httpx.AsyncClient
) -> None:
    own = await desk.create(name="OTP", key="otp")
    assert (await desk("GET")).json()["data"]["templates"][0]["shadows"] is True
    answer = await client.get("/api/mail/templates", headers=desk.project.key)
    listed = answer.json()["data"]["templates"]
    assert [t["key"] for t in listed if t["scope"] == "global"] == [k for k in GLOBAL if k != "otp"]
    assert [t["id"] for t in listed if t["scope"] == "project"] == [own["id"]]
    one = await client.get(f"/api/mail/templates/{own['id']}", headers=desk.project.key)
    assert one.json()["data"]["template"]["html"] == "<p>{{a}}</p>"


async def test_a_preview_shows_the_mail_and_what_was_missing(desk: Desk) -> None:
    answer = await desk(
        "POST",
        "/preview",
        {
            "subject": "Hi {{name}}\r\nBcc: x@example.com",
            "html": "<a href='{{link_url}}'>{{name}}</a>{{nobody}}",
            "text": "{{name}} {{nobody}} {{not.there}}",
            "variables": {"name": "<Ada>", "link_url": "javascript:x"},
        },
    )
    assert answer.json()["message"] == "Mail template rendered."
    assert answer.json()["data"] == {
        "subject": "Hi <Ada> Bcc: x@example.com",
        "html": "<a href=''>&lt;Ada&gt;</a>",
        "text": "<Ada>  ",
        "missing": ["nobody", "not.there"],
    }


async def test_a_preview_tells_each_error_with_its_line_and_column(desk: Desk) -> None:
    answer = await desk(
        "POST", "/preview", {"subject": "{{", "html": "a\n  {{#if x}}", "text": "{{x}}"}
    )
    assert answer.status_code == 400
    assert answer.json()["code"] == "invalid_template"
    assert answer.json()["issues"] == [
        {
            "path": "subject",
            "message": "Line 1, column 1 of subject: This tag is never closed.",
            "line": 1,
            "column": 1,
        },
        {
            "path": "html",
            "message": 'Line 2, column 3 of html: "{{#if}}" is never closed.',
            "line": 2,
            "column": 3,
        },
    ]
