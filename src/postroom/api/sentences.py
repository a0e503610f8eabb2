"""What is wrong with a body, in sentences a person understands."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from pydantic import TypeAdapter

from postroom.errors import Issue

_SENTENCES = {
    "missing": '"{field}" is required.',
    "string_type": '"{field}" must be a string.',
    "string_too_short": '"{field}" must have at least {min_length} characters.',
    "string_too_long": '"{field}" must have at most {max_length} characters.',
    "string_pattern_mismatch": '"{field}" does not have the right form.',
    "bool_type": '"{field}" must be true or false.',
    "bool_parsing": '"{field}" must be true or false.',
    "int_type": '"{field}" must be a whole number.',
    "int_parsing": '"{field}" must be a whole number.',
    "int_from_float": '"{field}" must be a whole number.',
    "float_type": '"{field}" must be a number.',
    "float_parsing": '"{field}" must be a number.',
    "dict_type": '"{field}" must be an object.',
    "model_type": '"{field}" must be an object.',
    "model_attributes_type": '"{field}" must be an object.',
    "list_type": '"{field}" must be an array.',
    "tuple_type": '"{field}" must be an array.',
    "too_short": '"{field}" must have at least {min_length} items.',
    "too_long": '"{field}" must have at most {max_length} items.',
    "literal_error": '"{field}" must be {expected}.',
    "enum": '"{field}" must be {expected}.',
    "greater_than": '"{field}" must be greater than {gt}.',
    "greater_than_equal": '"{field}" must be at least {ge}.',
    "less_than": '"{field}" must be less than {lt}.',
    "less_than_equal": '"{field}" must be at most {le}.',
    "datetime_parsing": '"{field}" must be an ISO 8601 date and time.',
    "datetime_from_date_parsing": '"{field}" must be an ISO 8601 date and time.',
    "uuid_parsing": '"{field}" must be an id.',
}
_ROOMS = {"body", "query", "path", "header", "cookie"}


def issues_of(
    errors: Sequence[Any], adapter: TypeAdapter[Any] | None, data: Any = None
) -> list[Issue]:
    """Each error of pydantic as a dotted path and a sentence."""
    return [_issue(error, adapter, data) for error in errors]


def _issue(error: Mapping[str, Any], adapter: TypeAdapter[Any] | None, data: Any) -> Issue:
    if adapter is None:
        parts = [p for i, p in enumerate(error["loc"]) if i or p not in _ROOMS]
    else:
        parts = _real_parts(error["loc"], error["type"], data)
    path = ".".join(str(part) for part in parts)
    if error["type"] == "extra_forbidden":
        return Issue(path, _unknown(parts, adapter))
    return Issue(path, _sentence(error, path))


def _real_parts(loc: Sequence[int | str], kind: str, data: Any) -> list[int | str]:
    """The path without the names of types that pydantic puts in where it tried several."""
    parts: list[int | str] = []
    for place, part in enumerate(loc):
        last_of_missing = kind == "missing" and place == len(loc) - 1
        if isinstance(data, dict) and (part in data or last_of_missing):
            data = data.get(part)
        elif isinstance(data, list) and isinstance(part, int) and part < len(data):
            data = data[part]
        else:
            continue
        parts.append(part)
    return parts


def _sentence(error: Mapping[str, Any], path: str) -> str:
    said = str(error["msg"]).removeprefix("Value error, ").removeprefix("Assertion failed, ")
    if error["type"] in {"value_error", "assertion_error"}:
        return _stopped(said)
    wanted = _SENTENCES.get(error["type"], '"{field}": ' + _stopped(said).replace("{", "{{"))
    limits = {name: _number(value) for name, value in error.get("ctx", {}).items()}
    return wanted.format(field=path, **limits).replace('"" must', "The body must")


def _number(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _stopped(sentence: str) -> str:
    return sentence if sentence.endswith((".", "?", ")")) else sentence + "."


# ── Unknown fields ───────────────────────────────────────────────────────────────────────────────


def _unknown(parts: Sequence[int | str], adapter: TypeAdapter[Any] | None) -> str:
    name = str(parts[-1]) if parts else "?"
    known = _fields_at(adapter, parts[:-1]) if adapter is not None else []
    nearest = _nearest(name, known)
    return f'Unknown field "{name}".' + (f' Did you mean "{nearest}"?' if nearest else "")


def _nearest(name: str, known: Sequence[str]) -> str | None:
    flat = {_flat(field): field for field in known}
    found = difflib.get_close_matches(_flat(name), flat, n=1, cutoff=0.5)
    return flat[found[0]] if found else None


def _flat(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")


def _fields_at(adapter: TypeAdapter[Any], parts: Sequence[int | str]) -> list[str]:
    schema = _schema(adapter)
    shapes: list[Mapping[str, Any]] = [schema]
    for part in parts:
        shapes = [inner for shape in shapes for inner in _step(schema, shape, part)]
    return [
        name
        for shape in shapes
        for flat in _branches(schema, shape)
        for name in flat.get("properties", ())
    ]


@cache
def _schema(adapter: TypeAdapter[Any]) -> dict[str, Any]:
    return adapter.json_schema(by_alias=True)


def _branches(root: Mapping[str, Any], shape: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The shape itself, where it points to, and each of its alternatives."""
    if "$ref" in shape:
        yield from _branches(root, root["$defs"][shape["$ref"].rsplit("/", 1)[-1]])
        return
    yield shape
    for word in ("anyOf", "oneOf", "allOf"):
        for inner in shape.get(word, ()):
            yield from _branches(root, inner)


def _step(
    root: Mapping[str, Any], shape: Mapping[str, Any], part: int | str
) -> Iterator[Mapping[str, Any]]:
    for branch in _branches(root, shape):
        named: dict[str, Any] = branch.get("properties", {})
        inner = branch.get("items") if isinstance(part, int) else named.get(part)
        if isinstance(inner, Mapping):
            yield inner
