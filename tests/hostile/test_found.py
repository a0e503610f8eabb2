"""What the fuzzer has found, one test each."""

from collections.abc import AsyncIterator

import httpx
import pytest

from postroom.app import create_app
from postroom.resources import Resources
from tests.factories import MadeProject, make_project


@pytest.fixture
async def project(resources: Resources) -> MadeProject:
    return await make_project(resources, provider="sandbox")


@pytest.fixture
async def client(resources: Resources) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(resources)
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://t") as http:
            yield http


async def test_a_carriage_return_in_a_list_of_suppressions_is_a_line_that_is_no_address(
    client: httpx.AsyncClient, project: MadeProject
) -> None:
    answer = await client.post(
        "/api/mail/suppressions/import",
        content="ann@example.com\nU\rÛ@x\nbob@example.com\n".encode(),
        headers=project.key | {"content-type": "text/csv"},
    )
    assert answer.status_code == 200
    data = answer.json()["data"]
    assert (data["added"], data["failed"], data["refused"][0]["line"]) == (2, 1, 2)


@pytest.mark.parametrize("thing", ["audiences", "broadcasts"])
async def test_a_cursor_that_is_none_is_a_wrong_request_on_every_list(
    client: httpx.AsyncClient, project: MadeProject, thing: str
) -> None:
    answer = await client.get(f"/api/mail/{thing}?after=nobody", headers=project.key)
    assert (answer.status_code, answer.json()["issues"][0]["path"]) == (400, "after")


async def test_a_spoiled_unsubscribe_link_of_any_length_gets_the_page(
    client: httpx.AsyncClient,
) -> None:
    answer = await client.get(f"/unsubscribe/{'x' * 5000}")
    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("text/html")


def test_failures_are_documented_as_json_on_routes_that_answer_with_a_page_or_a_file(
    resources: Resources,
) -> None:
    paths = create_app(resources).openapi()["paths"]
    for path in ("/unsubscribe/{token}", "/api/mail/audiences/{audienceId}/contacts/export"):
        content = paths[path]["get"]["responses"]["503"]["content"]
        assert list(content) == ["application/json"], path
