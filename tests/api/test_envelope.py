"""Every answer has the one shape, whatever went wrong."""

import logging
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Response
from fastapi.routing import APIRoute
from pydantic import TypeAdapter

from postroom.api.body import parse_json, validate
from postroom.api.body_limit import STRANGERS
from postroom.api.envelope import ok
from postroom.api.shapes import Asked
from postroom.app import create_app
from postroom.errors import InvalidPayload, RateLimited
from postroom.resources import Resources
from tests.factories import make_account

REGISTER = "/api/auth/register"
LIMIT = STRANGERS["/api/auth/"]


def assert_failure(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    body: dict[str, Any] = response.json()
    assert response.status_code == status
    assert body["success"] is False
    assert body["data"] == {}
    assert body["code"] == code
    assert body["message"].endswith((".", "?"))
    assert "error" not in body
    assert response.headers["x-request-id"]
    return body


@pytest.mark.parametrize("path", ["/api/nothing", "/health/nothing", "/nothing", "/api/projects/"])
async def test_an_unknown_path_answers_404_in_the_envelope(
    client: httpx.AsyncClient, path: str
) -> None:
    assert_failure(await client.get(path), 404, "not_found")


@pytest.mark.parametrize("path", ["/api/auth/login", "/health/live"])
async def test_a_wrong_method_answers_405_and_says_which_are_allowed(
    client: httpx.AsyncClient, path: str
) -> None:
    response = await client.delete(path)
    assert_failure(response, 405, "method_not_allowed")
    assert response.headers["allow"]


async def test_malformed_json_answers_400(client: httpx.AsyncClient) -> None:
    headers = {"content-type": "application/json"}
    for body in (b"{", b"", b'{"email": "\xff"}', b'{"a": NaN}', b'{"a": "\\ud800"}'):
        response = await client.post(REGISTER, content=body, headers=headers)
        assert_failure(response, 400, "malformed_json")


async def test_another_content_type_answers_415(client: httpx.AsyncClient) -> None:
    assert_failure(await client.post(REGISTER, data={"a": "b"}), 415, "unsupported_media_type")
    assert_failure(await client.post(REGISTER, content=b"{}"), 415, "unsupported_media_type")


async def test_a_charset_behind_the_content_type_is_welcome(client: httpx.AsyncClient) -> None:
    response = await client.post(
        REGISTER, content=b"{}", headers={"content-type": "application/json; charset=utf-8"}
    )
    assert_failure(response, 400, "invalid_payload")


async def test_a_nul_character_in_any_string_answers_400(client: httpx.AsyncClient) -> None:
    for body in ({"email": "a\x00@b.c"}, {"deep": [{"x": "\x00"}]}, {"na\x00me": 1}):
        assert_failure(await client.post(REGISTER, json=body), 400, "nul_character")


def test_an_escaped_backslash_before_u0000_is_no_nul_character() -> None:
    assert parse_json(rb'{"a": "\\u0000"}') == {"a": "\\u0000"}


async def test_an_announced_body_over_the_limit_answers_413(client: httpx.AsyncClient) -> None:
    headers = {"content-type": "application/json", "content-length": str(LIMIT + 1)}
    response = await client.post(REGISTER, content=b"{}", headers=headers)
    assert_failure(response, 413, "payload_too_large")


async def test_a_streamed_body_is_stopped_when_it_passes_the_limit(
    client: httpx.AsyncClient,
) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 100 * LIMIT:
            sent += 1_000
            yield b"x" * 1_000

    headers = {"content-type": "application/json"}
    response = await client.post(REGISTER, content=endless(), headers=headers)
    assert_failure(response, 413, "payload_too_large")
    assert sent < LIMIT + 3_000


async def test_an_unknown_field_names_the_nearest_known_one(client: httpx.AsyncClient) -> None:
    response = await client.post(
        REGISTER, json={"emial": "a@b.cd", "email": "a@b.cd", "password": "x" * 12}
    )
    body = assert_failure(response, 400, "invalid_payload")
    assert body["message"] == 'Unknown field "emial". Did you mean "email"?'
    assert body["issues"] == [{"path": "emial", "message": body["message"]}]


async def test_each_thing_that_is_wrong_is_an_issue_and_the_first_is_the_message(
    client: httpx.AsyncClient,
) -> None:
    response = await client.post(REGISTER, json={"password": "short"})
    body = assert_failure(response, 400, "invalid_payload")
    assert body["issues"] == [
        {"path": "email", "message": '"email" is required.'},
        {"path": "password", "message": '"password" must have at least 12 characters.'},
    ]
    assert body["message"] == body["issues"][0]["message"]


class _Person(Asked):
    first_name: str


class _Party(Asked):
    to: str | list[str]
    guests: list[_Person] = []
    host: _Person | None = None


_PARTY = TypeAdapter(_Party)


def issues_of(data: Any) -> dict[str, str]:
    with pytest.raises(InvalidPayload) as caught:
        validate(_PARTY, data)
    return {issue.path: issue.message for issue in caught.value.issues}


def test_paths_of_issues_are_dotted_and_name_no_types() -> None:
    assert set(issues_of({"to": ["a", 1]})) == {"to", "to.1"}
    assert issues_of({"to": "a", "guests": [{"firstName": 3}]}) == {
        "guests.0.firstName": '"guests.0.firstName" must be a string.'
    }
    assert issues_of({"to": "a", "host": {}}) == {"host.firstName": '"host.firstName" is required.'}


def test_unknown_fields_inside_are_compared_with_the_fields_there() -> None:
    assert issues_of({"to": "a", "guests": [{"firstName": "x", "first_nam": 1}]}) == {
        "guests.0.first_nam": 'Unknown field "first_nam". Did you mean "firstName"?'
    }
    assert issues_of({"to": "a", "zzzzzz": 1}) == {"zzzzzz": 'Unknown field "zzzzzz".'}


def test_a_body_that_is_no_object_is_told_in_the_routes_own_words() -> None:
    with pytest.raises(InvalidPayload, match=r"^Invalid mail payload\.$"):
        validate(_PARTY, [], no_object="Invalid mail payload.")
    assert issues_of([]) == {"": "The body must be an object."}


async def test_a_sane_request_id_is_kept_and_any_other_replaced(client: httpx.AsyncClient) -> None:
    kept = await client.get("/health/live", headers={"x-request-id": "trace-1.a_B"})
    assert kept.headers["x-request-id"] == "trace-1.a_B"
    for odd in ("a b", "x" * 129, "<script>"):
        made = await client.get("/health/live", headers={"x-request-id": odd})
        assert re.fullmatch(r"[0-9a-f]{32}", made.headers["x-request-id"])


async def test_every_answer_carries_careful_headers(client: httpx.AsyncClient) -> None:
    for path in ("/health/live", "/api/nothing"):
        response = await client.get(path)
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["referrer-policy"] == "same-origin"


@pytest.fixture(scope="module")
async def broken(resources: Resources) -> AsyncIterator[httpx.AsyncClient]:
    """An app with routes that go wrong."""
    app = create_app(resources)

    @app.get("/api/broken")
    async def fail() -> Response:
        raise ValueError("the secret is ann@example.com")

    @app.get("/api/away")
    async def away() -> Response:
        raise ConnectionRefusedError("postgres")

    @app.get("/api/slow-down")
    async def slow_down() -> Response:
        raise RateLimited("Too fast.", retry_after=11.2)

    @app.get("/api/extra")
    async def extra() -> Response:
        return ok([1], pagination={"limit": 50})

    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://t") as client:
            yield client


@pytest.fixture
def heard(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.ERROR):
        yield caplog


async def test_the_unexpected_answers_500_without_details(
    broken: httpx.AsyncClient, heard: pytest.LogCaptureFixture
) -> None:
    response = await broken.get("/api/broken")
    assert_failure(response, 500, "internal_error")
    assert "ann@example.com" not in response.text
    assert [record.getMessage() for record in heard.records] == ["unexpected error"]


async def test_an_outage_of_the_database_answers_503_with_retry_after(
    broken: httpx.AsyncClient,
) -> None:
    response = await broken.get("/api/away")
    assert_failure(response, 503, "overloaded")
    assert int(response.headers["retry-after"]) >= 1


async def test_retry_after_is_rounded_up(broken: httpx.AsyncClient) -> None:
    response = await broken.get("/api/slow-down")
    assert_failure(response, 429, "rate_limited")
    assert response.headers["retry-after"] == "12"


async def test_what_belongs_beside_the_data_stands_beside_it(broken: httpx.AsyncClient) -> None:
    assert (await broken.get("/api/extra")).json() == {
        "success": True,
        "data": [1],
        "message": "Success",
        "pagination": {"limit": 50},
    }


def _routes(app: FastAPI) -> list[APIRoute]:
    return [route for route in app.routes if isinstance(route, APIRoute)]


async def test_every_route_answers_a_stranger_in_the_envelope(
    app: FastAPI, client: httpx.AsyncClient
) -> None:
    stranger = await make_account(app.state.resources)
    for route in _routes(app):
        if route.path == "/metrics":
            continue
        path = re.sub(r"\{[^}]+\}", "0-none", route.path)
        for headers in ({}, stranger.bearer):
            for method in route.methods:
                answer = (await client.request(method, path, headers=headers, json={})).json()
                assert set(answer) >= {"success", "data", "message"}, (method, path)
                assert answer["success"] or answer["code"], (method, path)


def test_every_route_documents_what_it_answers(app: FastAPI) -> None:
    document = app.openapi()
    for path, methods in document["paths"].items():
        for method, route in methods.items():
            where = f"{method.upper()} {path}"
            assert route["tags"], where
            good = [s for s in route["responses"] if s.startswith("2")]
            assert good, where
            assert {"500", "503"} <= set(route["responses"]), where
            assert "422" not in route["responses"] or "Failure" in str(route["responses"]["422"]), (
                where
            )
            if method in {"post", "put", "patch"} and "requestBody" in route:
                assert {"400", "413", "415"} <= set(route["responses"]), where
            if "security" in route:
                assert "401" in route["responses"], where


def test_every_reference_of_the_document_leads_somewhere(app: FastAPI) -> None:
    document = app.openapi()
    known = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    found = set(re.findall(r"'\$ref': '([^']+)'", str(document)))
    assert found <= known
    assert set(document["components"]["securitySchemes"]) >= {"bearer"}
