"""Templates from the files that other platforms export, as drafts of our own."""

import json
from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Any, Literal

from postroom.domain.templates import Draft
from postroom.errors import InvalidPayload

Source = Literal["ses", "paubox"]


def read_drafts(source: Source, file_name: str, data: bytes) -> list[Draft]:
    """The templates in a file. Raises InvalidPayload with a sentence that names the file."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidPayload(f"{file_name} is not UTF-8 text.") from None
    return _READERS[source](file_name, text)


def _json(file_name: str, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise InvalidPayload(f"{file_name} is not valid JSON.") from None


def _several(found: Any) -> list[Any]:
    return found if isinstance(found, list) else [found]


# ── Amazon SES: the answers of GetEmailTemplate (v2) and GetTemplate (v1) ────────────────────────


def _from_ses(file_name: str, text: str) -> list[Draft]:
    return [_ses_draft(file_name, found) for found in _several(_json(file_name, text))]


def _ses_draft(file_name: str, found: Any) -> Draft:
    parts = _mapping(_mapping(found).get("Template", found))
    content = _mapping(parts.get("TemplateContent", parts))
    name = parts.get("TemplateName")
    subject = content.get("Subject", content.get("SubjectPart"))
    html = content.get("Html", content.get("HtmlPart"))
    plain = content.get("Text", content.get("TextPart"))
    if not isinstance(name, str) or not isinstance(subject, str):
        raise InvalidPayload(
            f"{file_name} is no answer of GetEmailTemplate: TemplateName and"
            " TemplateContent.Subject are needed."
        )
    return Draft(name, subject, _text_or_none(html), _text_or_none(plain))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text_or_none(value: Any) -> str | None:
    return value if isinstance(value, str) and value.strip() else None


# ── Paubox: dynamic templates, as the API gives them or as the .hbs files they were made of ──────


def _from_paubox(file_name: str, text: str) -> list[Draft]:
    if PurePath(file_name).suffix.lower() != ".json":
        return [_paubox_draft(PurePath(file_name).stem, text)]
    found = _several(_json(file_name, text))
    for one in found:
        if not isinstance(one, Mapping) or not isinstance(one.get("body"), str):
            raise InvalidPayload(
                f"{file_name} is no dynamic template: name and body are needed. The list of all"
                " templates has no bodies; fetch each one by its id."
            )
    return [_paubox_draft(str(one.get("name") or ""), one["body"]) for one in found]


def _paubox_draft(name: str, body: str) -> Draft:
    """Paubox keeps the subject with each mail: here it is the name, until the request gives another."""
    return Draft(name, name, body, None)


_READERS: dict[Source, Callable[[str, str], list[Draft]]] = {
    "ses": _from_ses,
    "paubox": _from_paubox,
}
