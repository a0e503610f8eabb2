"""Text that goes on one line of a mail's head must not end that line, openly or in disguise."""

import re
from email.errors import HeaderParseError
from email.header import decode_header

# What some reader or other takes for the end of a line, and what no line has in it.
_BREAKS = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")
_DISGUISE = re.compile(r"=\?[^?]*\?[bq]\?", re.IGNORECASE)
_HEX = re.compile(r"=(0[0-8a-f]|1[0-9a-f]|7f)", re.IGNORECASE)


def breaks_line(text: str) -> bool:
    """Whether it has a line break or another control character in it, or an encoded word (RFC 2047) that has."""
    return bool(_BREAKS.search(text)) or (_DISGUISE.search(text) is not None and _hides(text))


def on_one_line(text: str) -> str:
    """The same text with spaces for what would end the line."""
    plain = _BREAKS.sub(" ", text.replace("\r\n", "\n").replace("\t", " "))
    # Without its first two characters together an encoded word is a word like any other.
    return plain.replace("=?", "= ?") if breaks_line(plain) else plain


def _hides(text: str) -> bool:
    # Mail libraries do not agree on where an encoded word ends: what any of them may decode counts.
    return _HEX.search(text) is not None or _BREAKS.search(_decoded(text)) is not None


def _decoded(text: str) -> str:
    try:
        found = decode_header(text)
    except (HeaderParseError, ValueError):
        return "\x00"
    return "".join(_as_text(part, charset) for part, charset in found)


def _as_text(part: bytes | str, charset: str | None) -> str:
    if isinstance(part, str):
        return part
    try:
        return part.decode(charset or "utf-8", "replace")
    except LookupError:
        return "\x00"
