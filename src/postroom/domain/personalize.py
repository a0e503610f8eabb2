"""A broadcast's words for one person: `{{{contact.first_name|there}}}`, or as `{{{FIRST_NAME|there}}}`."""

import html
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from postroom.lines import on_one_line

_MERGE = re.compile(r"\{\{\{\s*(?P<name>[A-Za-z0-9_.]{1,80})\s*(?:\|(?P<other>[^{}]*))?\}\}\}")
_LINK_NAMES = ("url", "uri")
_NAMES = {
    "FIRST_NAME": "first_name",
    "LAST_NAME": "last_name",
    "EMAIL": "email",
    "UNSUBSCRIBE_URL": "unsubscribe_url",
    "RESEND_UNSUBSCRIBE_URL": "unsubscribe_url",
}


@dataclass(frozen=True, slots=True)
class Person:
    """One contact, as far as a mail may speak of it."""

    id: UUID
    email: str
    first_name: str | None
    last_name: str | None
    properties: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Blank:
    """A place that is filled for each person."""

    name: str
    otherwise: str


Parts = tuple[str | _Blank, ...]


@dataclass(frozen=True, slots=True)
class Words:
    """A broadcast's three texts, read once."""

    subject: Parts
    html: Parts
    text: Parts | None

    def subject_for(self, person: Person, link: str) -> str:
        """One line, of a length that every provider takes."""
        filled = _fill(self.subject, values_of(person, link), str)
        return on_one_line(filled).strip()[:998]

    def html_for(self, person: Person, link: str) -> str:
        return _fill(self.html, values_of(person, link), html.escape)

    def text_for(self, person: Person, link: str) -> str | None:
        return None if self.text is None else _fill(self.text, values_of(person, link), str)


def read(subject: str, html_body: str, text_body: str | None) -> Words:
    return Words(
        _parse(subject), _parse(html_body), _parse(text_body) if text_body is not None else None
    )


def mentions_unsubscribe(words: Words) -> bool:
    """Whether a reader finds a way out in the mail itself."""
    parts = words.html + (words.text or ())
    return any(isinstance(p, _Blank) and p.name == "unsubscribe_url" for p in parts)


def values_of(person: Person, link: str) -> dict[str, str]:
    """What the blanks of a mail to this person may hold, by name."""
    values = {
        name: _safe(name, value) for name, value in person.properties.items() if value is not None
    }
    own = {
        "first_name": person.first_name or "",
        "last_name": person.last_name or "",
        "email": person.email,
        "unsubscribe_url": link,
    }
    return values | own


def _safe(name: str, value: Any) -> str:
    """A property as text; one that is named a link is a link, or nothing."""
    said = ("true" if value else "false") if isinstance(value, bool) else str(value)
    is_link = name.lower().endswith(_LINK_NAMES)
    return "" if is_link and not said.lower().startswith(("http://", "https://")) else said


def _parse(source: str) -> Parts:
    parts: list[str | _Blank] = []
    end = 0
    for found in _MERGE.finditer(source):
        parts.append(source[end : found.start()])
        parts.append(_Blank(_name(found["name"]), found["other"] or ""))
        end = found.end()
    return (*parts, source[end:])


def _name(written: str) -> str:
    """The blank's one name, whichever way it was written."""
    plain = written.removeprefix("contact.")
    return _NAMES.get(plain, plain)


def _fill(parts: Parts, values: Mapping[str, str], escape: Callable[[str], str]) -> str:
    return "".join(
        part
        if isinstance(part, str)
        else (escape(values[part.name]) if values.get(part.name) else part.otherwise)
        for part in parts
    )
