"""Reading a JSON body: the right type, well formed, without NUL characters, as its model says."""

from typing import Any, TypeVar

import orjson
from fastapi import Request
from pydantic import BaseModel, TypeAdapter, ValidationError

from postroom.api.sentences import issues_of
from postroom.errors import InvalidPayload, WrongContentType

T = TypeVar("T")

_TYPES = {"application/json"}
MANY_VALUES = 400_000
DOCUMENTED: dict[str, type[BaseModel]] = {}  # request models, for the OpenAPI document


async def read_json(request: Request) -> Any:
    """The body as JSON. Raises WrongContentType, or InvalidPayload with the code `malformed_json`."""
    return parse_json(await read_bytes(request))


async def read_bytes(request: Request) -> bytes:
    """The bytes of a JSON body, not yet parsed. Raises WrongContentType."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in _TYPES:
        raise WrongContentType("The body must be sent as application/json.")
    return await request.body()


def refuse_too_many_values(body: bytes) -> None:
    """A parser holds the interpreter for as long as it takes, and that goes by the number of values.

    Each value but the first of its kind stands behind a comma, and these are counted in no time.
    """
    if len(body) > MANY_VALUES and body.count(b",") > MANY_VALUES:
        raise InvalidPayload(
            f"The body has more than {MANY_VALUES:,} commas, hence too many values.",
            code="too_many_values",
        )


def parse_json(body: bytes) -> Any:
    refuse_too_many_values(body)
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise InvalidPayload("The body is not valid JSON.", code="malformed_json") from None
    # PostgreSQL cannot keep this character; looking at the parsed strings is only needed where it may be.
    if b"\\u0000" in body and _has_nul(data):
        raise InvalidPayload("The body must not contain NUL characters.", code="nul_character")
    return data


def _has_nul(value: Any) -> bool:
    if isinstance(value, str):
        return "\x00" in value
    if isinstance(value, list):
        return any(_has_nul(item) for item in value)
    if isinstance(value, dict):
        return any(_has_nul(k) or _has_nul(v) for k, v in value.items())
    return False


def validate(adapter: TypeAdapter[T], data: Any, *, no_object: str | None = None) -> T:
    """`data` as the adapter's type, or InvalidPayload with an issue for each thing that is wrong.

    `no_object` is the sentence for data that is no object at all.
    """
    if no_object is not None and not isinstance(data, dict):
        raise InvalidPayload(no_object)
    try:
        return adapter.validate_python(data)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        issues = issues_of(found, adapter, data)
        raise InvalidPayload(issues[0].message, issues=issues) from None


async def read(request: Request, adapter: TypeAdapter[T]) -> T:
    """The body as the adapter's type."""
    return validate(adapter, await read_json(request))


def takes(*models: type[BaseModel], required: bool = True) -> dict[str, Any]:
    """The `openapi_extra=` of a route that reads one of these models from its body."""
    refs = [_ref(model) for model in models]
    return _body(refs[0] if len(refs) == 1 else {"oneOf": refs}, required)


def takes_list(model: type[BaseModel], most: int) -> dict[str, Any]:
    """The same for a route that reads an array of 1 to `most` of these models."""
    return _body({"type": "array", "items": _ref(model), "minItems": 1, "maxItems": most})


_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "A repeat under the same key is answered with the first answer and sends nothing again.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 256},
}


def repeatable(extra: dict[str, Any]) -> dict[str, Any]:
    """The same for a route that takes an Idempotency-Key."""
    return extra | {"parameters": [_KEY]}


def _ref(model: type[BaseModel]) -> dict[str, Any]:
    DOCUMENTED[model.__name__] = model
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def _body(schema: dict[str, Any], required: bool = True) -> dict[str, Any]:
    content = {"application/json": {"schema": schema}}
    return {"requestBody": {"required": required, "content": content}}
