"""Finds the tags of a template and the words inside them, each character looked at a bounded number of times."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from postroom.domain.handlebars.limits import MAX_SOURCE, MAX_TOKENS, TemplateError, error_at
from postroom.domain.handlebars.tree import Strip

TOO_MANY = f"A template has at most {MAX_TOKENS:,} words in its tags, where a tag counts as two."


class Token(NamedTuple):
    """One word inside a tag."""

    kind: str
    text: str
    offset: int


@dataclass(eq=False, slots=True)
class Tag:
    """`kind` is what stands behind the braces: "", "{", "&", "#", "/", "^", "!", "else", "else if"."""

    kind: str
    strip: Strip
    tokens: tuple[Token, ...]
    offset: int


@dataclass(eq=False, slots=True)
class Text:
    text: str


_OPEN = re.compile(r"\{\{(~?)(!--|!|#>|#\*|[{&>#/^*]|)")
_ELSE = re.compile(r"\s*else(?![^\s~}=/.)\]|])(?P<bare>\s*(?P<after>~?)\}\})?")
_BARE_INVERSE = re.compile(r"\s*(?P<after>~?)\}\}")
_COMMENT_END = {"!--": re.compile(r"--(~?)\}\}"), "!": re.compile(r"(~?)\}\}")}
_NEXT_AFTER_ESCAPE = re.compile(r"\\{0,2}\{\{")
_UNSUPPORTED = {
    ">": "Partials are not supported.",
    "#>": "Partials are not supported.",
    "*": "Decorators are not supported.",
    "#*": "Inline partials and decorators are not supported.",
}
_AHEAD = r"(?=[=~}\s/.)\]|])"
_LITERAL_AHEAD = r"(?=[~}\s)\]])"
# In the order in which handlebars.js tries them.
_TOKEN = re.compile(
    "|".join(
        f"(?P<{kind}>{pattern})"
        for kind, pattern in {
            "space": r"\s+",
            "close_raw": r"\}~?\}\}",
            "close": r"~?\}\}",
            "open_paren": r"\(",
            "close_paren": r"\)",
            "equals": "=",
            "up": r"\.\.",
            "here": rf"\.{_AHEAD}",
            "separator": r"[/.]",
            "string": r""""(?:[^"\\]++|\\"|\\)*+"|'(?:[^'\\]++|\\'|\\)*+'""",
            "at": "@",
            "word": rf"(?:true|false|undefined|null){_LITERAL_AHEAD}",
            "number": rf"-?[0-9]+(?:\.[0-9]+)?{_LITERAL_AHEAD}",
            "gives": r"as\s+\|",
            "pipe": r"\|",
            "id": rf"""[^\s!"#%-,./;->@\[-^`{{-~]+{_AHEAD}""",
            "segment": r"\[(?:[^\]\\]++|\\\]|\\)*+\]",
        }.items()
    )
)


def read_tags(source: str) -> Iterator[Text | Tag]:
    """The texts and tags of a template in order. Raises TemplateError."""
    if len(source) > MAX_SOURCE:
        raise TemplateError(f"A template has at most {MAX_SOURCE:,} characters.")
    place, left = 0, MAX_TOKENS
    while place < len(source):
        start = source.find("{{", place)
        if start < 0:
            yield Text(source[place:])
            return
        backslashes = _backslashes(source, place, start)
        text = source[place : start - (1 if backslashes else 0)]
        if text:
            yield Text(text)
        if left <= 0:
            raise error_at(source, start, TOO_MANY)
        if backslashes == 1:
            place, left = _end_of_escape(source, start), left - 2
            yield Text(source[start:place])
            continue
        tag, place = _read_tag(source, start, left)
        left -= len(tag.tokens) + 2
        yield tag


def _backslashes(source: str, place: int, start: int) -> int:
    """How many of the last two characters before a tag are backslashes: one escapes it, two one another."""
    before = source[max(place, start - 2) : start]
    return len(before) - len(before.rstrip("\\"))


def _end_of_escape(source: str, start: int) -> int:
    found = _NEXT_AFTER_ESCAPE.search(source, start + 2)
    return found.start() if found else len(source)


def _read_tag(source: str, start: int, left: int) -> tuple[Tag, int]:
    if source.startswith("{{{{", start):
        raise error_at(source, start, "Raw blocks ({{{{ }}}}) are not supported.")
    opened = _OPEN.match(source, start)
    assert opened is not None  # noqa: S101 - the caller found the braces
    before, kind, place = bool(opened[1]), opened[2], opened.end()
    if kind in _UNSUPPORTED:
        raise error_at(source, start, _UNSUPPORTED[kind])
    if kind in _COMMENT_END:
        return _comment(source, start, _COMMENT_END[kind].search(source, place), before)
    bare = _BARE_INVERSE.match(source, place) if kind == "^" else None
    if kind == "" and (otherwise := _ELSE.match(source, place)):
        kind, place = "else if", otherwise.end()
        bare = otherwise if otherwise["bare"] else None
    if bare is not None:
        return Tag("else", Strip(before, bool(bare["after"])), (), start), bare.end()
    tokens, closed, end = _read_tokens(source, start, place, left)
    _check_close(source, kind, closed)
    return Tag(kind, Strip(before, "~" in closed.text), tuple(tokens), start), end


def _comment(source: str, start: int, end: re.Match[str] | None, before: bool) -> tuple[Tag, int]:
    if end is None:
        raise error_at(source, start, "This comment is never closed.")
    return Tag("!", Strip(before, bool(end[1])), (), start), end.end()


def _read_tokens(source: str, start: int, place: int, left: int) -> tuple[list[Token], Token, int]:
    """The words up to the closing braces, the braces, and the place behind them."""
    tokens: list[Token] = []
    match = _TOKEN.match
    while found := match(source, place):
        kind, place = str(found.lastgroup), found.end()
        if kind == "space":
            continue
        token = Token(kind, found.group(), found.start())
        if kind in ("close", "close_raw"):
            return tokens, token, place
        tokens.append(token)
        if len(tokens) >= left:
            raise error_at(source, start, TOO_MANY)
    if place >= len(source) or source.find("}}", place) < 0:
        raise error_at(source, start, "This tag is never closed.")
    raise error_at(source, place, f'"{source[place]}" cannot stand here.')


def _check_close(source: str, kind: str, closed: Token) -> None:
    if (kind == "{") != (closed.kind == "close_raw"):
        wanted = "}}}" if kind == "{" else "}}"
        raise error_at(source, closed.offset, f"This tag must be closed by {wanted}.")
