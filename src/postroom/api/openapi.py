"""The OpenAPI document: FastAPI's own, completed and corrected to what we really answer."""

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI
from pydantic.json_schema import models_json_schema

from postroom.api.body import DOCUMENTED
from postroom.api.envelope import Failure

_SCHEMAS = "#/components/schemas/"
# FastAPI documents its own answer to a wrong parameter; ours is a 400 in the envelope.
_NOT_OURS = ("HTTPValidationError", "ValidationError")

Document = dict[str, Any]


def install(app: FastAPI) -> None:
    """Serve the completed document at /openapi.json."""
    made = app.openapi
    app.openapi = lambda: _complete(app, made)  # type: ignore[method-assign]  # FastAPI's own way


def _complete(app: FastAPI, made: Callable[[], Document]) -> Document:
    if app.openapi_schema is None:
        document = made()
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        _add_models(schemas)
        for methods in document["paths"].values():
            for route in methods.values():
                _drop_foreign_answer(route["responses"])
                _put_failures_in_json(route["responses"])
        for name in _NOT_OURS:
            schemas.pop(name, None)
        app.openapi_schema = document
    return app.openapi_schema


def _add_models(schemas: dict[str, Any]) -> None:
    """The models of bodies that our routes read themselves, and of every refusal."""
    models = [(model, "validation") for model in DOCUMENTED.values()]
    models.append((Failure, "serialization"))
    _, extra = models_json_schema(models, ref_template=_SCHEMAS + "{model}")  # type: ignore[arg-type]  # a list is invariant
    for name, schema in extra.get("$defs", {}).items():
        schemas.setdefault(name, schema)


def _drop_foreign_answer(responses: dict[str, Any]) -> None:
    if "HTTPValidationError" in str(responses.get("422")):
        del responses["422"]


def _put_failures_in_json(responses: dict[str, Any]) -> None:
    """A failure is JSON on every route, those that answer with a page or a file included."""
    for response in responses.values():
        content = response.get("content", {})
        for kind in [kind for kind, media in content.items() if _is_failure(media)]:
            content["application/json"] = content.pop(kind)


def _is_failure(media: dict[str, Any]) -> bool:
    return bool(media.get("schema", {}).get("$ref") == f"{_SCHEMAS}Failure")
