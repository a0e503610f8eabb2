"""The server's own AWS role: no project takes it, the operator lends it to those that SES_HOST_ROLE names."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from uuid import UUID

import httpx
import pytest

from postroom.app import create_app
from postroom.domain.connections import ConnectionBook
from postroom.errors import SettingsMissing
from postroom.resources import Resources
from postroom.settings import Settings, load_settings
from tests.factories import MadeProject, make_connection, make_project

ROLE = {"region": "eu-west-1", "credentials": "role"}
KEYS = {"region": "eu-west-1", "accessKeyId": "AKIATEST", "secretAccessKey": "secret"}
Put = Callable[[MadeProject, Any], Awaitable[httpx.Response]]


@asynccontextmanager
async def server(resources: Resources, **changes: Any) -> AsyncIterator[Put]:
    """The app of an operator who set this, and a way to set up Amazon SES there."""
    settings = resources.settings.model_copy(update=changes)
    app = create_app(replace(resources, settings=settings))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://p.test") as client,
    ):

        async def put(project: MadeProject, body: Any) -> httpx.Response:
            path = f"{project.path}/mail/providers/ses"
            return await client.put(path, json=body, headers=project.owner.bearer)

        yield put


async def test_a_project_cannot_take_the_servers_role(resources):
    project = await make_project(resources)
    async with server(resources) as put:
        answer = await put(project, ROLE)
    assert (answer.status_code, answer.json()["code"]) == (400, "host_role_not_allowed")
    assert "SES_HOST_ROLE" in answer.json()["message"]
    assert answer.json()["issues"][0]["path"] == "credentials"


async def test_the_operator_lends_it_to_the_projects_that_are_named(resources):
    ours, other = await make_project(resources), await make_project(resources)
    async with server(resources, ses_host_role=(str(ours.id),)) as put:
        taken, refused = await put(ours, ROLE), await put(other, ROLE)
    assert (taken.status_code, refused.status_code) == (200, 400)
    shown = taken.json()["data"]
    assert (shown["keyHint"], shown["options"]["credentials"]) == (None, "role")


async def test_all_means_every_project(resources):
    async with server(resources, ses_host_role=("all",)) as put:
        assert (await put(await make_project(resources), ROLE)).status_code == 200


async def test_the_roles_token_goes_to_no_address_that_a_person_typed(resources):
    project = await make_project(resources)
    lent = {"ses_host_role": ("all",)}
    body = ROLE | {"endpointUrl": "https://93.184.216.34"}
    async with server(resources, allow_private_addresses=False, **lent) as put:
        answer = await put(project, body)
    assert (answer.status_code, answer.json()["issues"][0]["path"]) == (400, "endpointUrl")


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (KEYS | {"credentials": "role"}, "leave accessKeyId"),
        (ROLE | {"sessionToken": "t"}, "leave accessKeyId"),
        ({"region": "eu-west-1"}, "Provide accessKeyId and secretAccessKey."),
        ({"region": "eu-west-1", "accessKeyId": "A"}, "Provide accessKeyId and secretAccessKey."),
        (KEYS | {"credentials": "anything"}, "credentials"),
    ],
)
async def test_there_is_one_way_in_and_it_is_whole(resources, body, sentence):
    project = await make_project(resources)
    async with server(resources, ses_host_role=("all",)) as put:
        answer = await put(project, body)
    assert answer.status_code == 400
    assert sentence in str(answer.json())


@pytest.mark.parametrize(
    ("lent", "may"),
    [((), False), (("all",), True), (("{id}",), True), ((str(UUID(int=1)),), False)],
)
async def test_what_the_operator_took_back_is_not_used_any_more(resources, lent, may):
    project = await make_project(resources)
    connection = await make_connection(resources, project.id, "ses", **ROLE)
    named = tuple(part.format(id=project.id) for part in lent)
    settings = resources.settings.model_copy(update={"ses_host_role": named})
    opened = await ConnectionBook(replace(resources, settings=settings)).get(connection)
    assert opened.provider.credentials["hostRole"] is may


async def test_an_address_that_was_typed_earlier_does_not_get_the_role_either(resources):
    project = await make_project(resources)
    fields = ROLE | {"endpointUrl": "https://93.184.216.34"}
    connection = await make_connection(resources, project.id, "ses", **fields)
    changes = {"ses_host_role": ("all",), "allow_private_addresses": False}
    settings = resources.settings.model_copy(update=changes)
    opened = await ConnectionBook(replace(resources, settings=settings)).get(connection)
    assert opened.provider.credentials["hostRole"] is False


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("", ()),
        ("all", ("all",)),
        (f"{UUID(int=1)}, {UUID(int=2)}", (str(UUID(int=1)), str(UUID(int=2)))),
        (str(UUID(int=10)).upper(), (str(UUID(int=10)),)),
    ],
)
def test_the_setting_names_projects(resources, monkeypatch, said, meant):
    monkeypatch.setenv("SES_HOST_ROLE", said)
    given = resources.settings.model_dump(exclude={"ses_host_role"})
    assert Settings(**given).ses_host_role == meant


@pytest.mark.parametrize("said", ["true", "all,all", "clinic"])
def test_a_setting_that_names_no_project_stops_the_start(resources, monkeypatch, said):
    for name in ("database_url", "redis_url", "jwt_secret", "encryption_key"):
        secret = getattr(resources.settings, name).get_secret_value()
        monkeypatch.setenv(name.upper(), secret)
    monkeypatch.setenv("SES_HOST_ROLE", said)
    with pytest.raises(SettingsMissing, match="SES_HOST_ROLE is wrong"):
        load_settings()
