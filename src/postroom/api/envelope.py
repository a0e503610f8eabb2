"""The one shape of every answer: success with data, or a sentence with a stable code."""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, Literal, TypeVar
from uuid import UUID

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException

from postroom import metrics
from postroom.api.sentences import issues_of
from postroom.errors import InvalidPayload, Issue, Problem

log = logging.getLogger(__name__)

T = TypeVar("T")
_OPTIONS = orjson.OPT_UTC_Z
_CODES = {
    404: ("not_found", "There is nothing at this path."),
    405: ("method_not_allowed", "This path does not take this method."),
}


class Success(BaseModel, Generic[T]):
    """What every successful answer looks like."""

    success: Literal[True] = True
    data: T
    message: str


class IssueOut(BaseModel):
    path: str
    message: str
    line: int | None = None
    column: int | None = None


class Failure(BaseModel):
    """What every other answer looks like."""

    success: Literal[False] = False
    data: dict[str, Any] = {}
    message: str
    code: str
    issues: list[IssueOut] | None = None


class Nothing(BaseModel):
    """An answer whose message says it all."""


# ── Answering ────────────────────────────────────────────────────────────────────────────────────


def _plain(value: Any) -> Any:
    if isinstance(value, UUID):  # the driver's own kind of it, which orjson does not know
        return str(value)
    if isinstance(value, BaseModel):
        return value.model_dump(by_alias=True)
    raise TypeError(f"{type(value).__name__} has no place in an answer")


def json_response(
    content: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    body = orjson.dumps(content, default=_plain, option=_OPTIONS)
    return Response(body, status, headers, media_type="application/json")


def ok(data: Any, message: str = "Success", status: int = 200, **extra: Any) -> Response:
    """A success; `extra` stands beside `data` (such as `pagination`)."""
    return json_response({"success": True, "data": data, "message": message, **extra}, status)


def failure(problem: Problem) -> Response:
    """A problem, as the caller reads it."""
    content: dict[str, Any] = {
        "success": False,
        "data": {},
        "message": problem.message,
        "code": problem.code,
    }
    if problem.issues:
        content["issues"] = [_issue(i) for i in problem.issues]
    return json_response(content, problem.status, problem.headers())


def _issue(issue: Issue) -> dict[str, Any]:
    told: dict[str, Any] = {"path": issue.path, "message": issue.message}
    if issue.line is not None:
        told |= {"line": issue.line, "column": issue.column}
    return told


def unexpected(error: Exception) -> Response:
    """What nobody foresaw: places are logged, texts are not, and the caller learns nothing."""
    metrics.UNEXPECTED.inc()
    log.error("unexpected error", exc_info=error)
    return failure(Problem("Something went wrong on our side. Please try again."))


# ── Documenting ──────────────────────────────────────────────────────────────────────────────────

_MEANINGS = {
    400: "The request is wrong; `issues` says where.",
    401: "Nobody is signed in, or the key is unknown.",
    403: "Known, but not allowed.",
    404: "Not found, or not yours.",
    409: "It clashes with what is there.",
    410: "It was not kept, or not for this long.",
    413: "The body is larger than 40 MB.",
    415: "The body is not `application/json`.",
    422: "The chosen provider cannot do this.",
    429: "Over a limit; `Retry-After` says when to come again.",
    500: "Something went wrong on our side.",
    502: "The provider cannot be reached.",
    503: "Overloaded, or the database is away; `Retry-After` says when to come again.",
    504: "The provider is too slow.",
}
_FAILURE = {"application/json": {"schema": {"$ref": f"#/components/schemas/{Failure.__name__}"}}}
BODY = (400, 413, 415)  # what any route with a JSON body can answer


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses=` of a route: what it can answer besides success.

    They name the model's place in the document (openapi.py puts it there): given the model itself, FastAPI would
    build a serializer for each status of each route, which is a third of the time that the API takes to start.
    """
    every = sorted({*statuses, 500, 503})
    return {s: {"content": _FAILURE, "description": _MEANINGS[s]} for s in every}


# ── Problems on their way out ────────────────────────────────────────────────────────────────────


async def _on_problem(request: Request, error: Problem) -> Response:
    return failure(error)


async def _on_request_validation(request: Request, error: RequestValidationError) -> Response:
    return failure(_invalid(issues_of(error.errors(), None)))


async def _on_validation(request: Request, error: ValidationError) -> Response:
    return failure(_invalid(issues_of(error.errors(include_url=False), None)))


def _invalid(issues: Sequence[Issue]) -> InvalidPayload:
    return InvalidPayload(issues[0].message, issues=issues)


async def _on_http(request: Request, error: HTTPException) -> Response:
    code, sentence = _CODES.get(error.status_code, ("http_error", f"{error.detail}"))
    problem = Problem(sentence, code=code)
    problem.status = error.status_code
    answer = failure(problem)
    answer.headers.update(error.headers or {})
    return answer


Handler = Callable[[Request, Any], Any]
HANDLERS: dict[type[Exception], Handler] = {
    Problem: _on_problem,
    RequestValidationError: _on_request_validation,
    ValidationError: _on_validation,
    HTTPException: _on_http,
}


def install(app: FastAPI) -> None:
    """Let every problem leave in the envelope; the unexpected is caught by the shell."""
    for kind, handler in HANDLERS.items():
        app.add_exception_handler(kind, handler)
