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
        for name in _NOT_OURS:
            schemas.pop(name, None)
        app.openapi_schema = document
    return app.openapi_schema


def _add_models(schemas: dict[str, Any]) -> None:
    """The models of bodies that our routes read themselves, and of every refusal."""
    models = [(model, "validation") for model in DOCUMENTED.values()]
    models.append((Failure, "serialization"))
    _, extra = models_json_schema(models, ref_template=_SCHEMAS + "{model}")  # type: ignore[arg-type]
    for name, schema in extra.get("$defs", {}).items():
        schemas.setdefault(name, schema)


def _drop_foreign_answer(responses: dict[str, Any]) -> None:
    if "HTTPValidationError" in str(responses.get("422")):
        del responses["422"]
