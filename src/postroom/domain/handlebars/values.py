"""Values as JavaScript sees them: looked up in plain data only, judged and written as handlebars.js does."""

import math
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from postroom.domain.handlebars.limits import (
    MAX_TEXT,
    MAX_VALUE_DEPTH,
    MAX_VALUES,
    Budget,
    OverBudget,
)

_SPECIAL = re.compile("[&<>\"'`=]")
# The ampersand goes first: the others write one.
_ESCAPES = {
    "&": "&amp;",
    "<": "&lt;",
    ">": "&gt;",
    '"': "&quot;",
    "'": "&#x27;",
    "`": "&#x60;",
    "=": "&#x3D;",
}
_INDEX = re.compile(r"0|[1-9][0-9]{0,8}")
_WEB_ADDRESS = re.compile(r"https?://([^\s/?#\\]{1,300})(?:[/?#].*)?", re.IGNORECASE)
_HOST = re.compile(r"(?:.*@)?(?:\[[0-9a-f:.]+\]|[^@:\[\]<>\"]+)(?::[0-9]{0,5})?", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_HUGE = 10**21
_STEP_CHARACTERS = 500  # of a text that must be read, for one step


def get(value: Any, name: str, budget: Budget) -> Any:
    """A property of plain data: what JavaScript calls an own property, and nothing inherited."""
    if type(value) is dict:
        return value.get(name)
    if type(value) is list:
        if name == "length":
            return len(value)
        return value[int(name)] if _INDEX.fullmatch(name) and int(name) < len(value) else None
    if type(value) is str:
        return _of_text(value, name, budget)
    return None


def _of_text(value: str, name: str, budget: Budget) -> Any:
    """JavaScript counts a text in UTF-16 units; half of a character is none."""
    index = _INDEX.fullmatch(name)
    if name != "length" and index is None:
        return None
    if value.isascii():
        return len(value) if index is None else value[int(name) : int(name) + 1] or None
    budget.spend(len(value) // _STEP_CHARACTERS)
    units = value.encode("utf-16-le")
    if index is None:
        return len(units) // 2
    return units[2 * int(name) : 2 * int(name) + 2].decode("utf-16-le", "ignore") or None


def is_falsy(value: Any) -> bool:
    """What `#if` calls no: false, 0, nothing, an empty text and an empty list, but not an empty object."""
    return not value and type(value) is not dict


def is_empty(value: Any) -> bool:
    """What `#with` calls no: as `#if`, but zero is something."""
    return is_falsy(value) and (value is False or not isinstance(value, int | float))


def same(one: Any, other: Any) -> bool:
    """JavaScript's `==` as far as it matters for `../`: objects by identity, plain values by value."""
    if isinstance(one, dict | list) or isinstance(other, dict | list):
        return one is other
    return bool(one == other)


def keys_in_order(value: dict[str, Any]) -> list[str]:
    """JavaScript lists keys that are whole numbers first."""
    numbers = [key for key in value if _INDEX.fullmatch(key)]
    if not numbers:
        return list(value)
    return sorted(numbers, key=int) + [key for key in value if not _INDEX.fullmatch(key)]


def written(value: Any, budget: Budget) -> str:
    """A value as text."""
    if type(value) is str:
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _number(value)
    if type(value) is list:
        budget.spend(2 * len(value))
        return ",".join([written(item, budget) for item in value])
    return "[object Object]" if type(value) is dict else str(value)


def _number(value: float) -> str:
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "-Infinity" if value < 0 else "Infinity"
    if value == 0:
        return "0"
    if 1e-6 <= abs(value) < 1e21:
        plain = format(Decimal(repr(value)), "f")
        return plain.removesuffix(".0")
    mantissa, _, exponent = repr(value).partition("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent):+d}"


def escaped(text: str) -> str:
    """Text that means itself in HTML."""
    if not _SPECIAL.search(text):
        return text
    for character, entity in _ESCAPES.items():
        text = text.replace(character, entity)
    return text


def plain_variables(variables: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of the variables in which every address is one of the web; raises OverBudget for too many values.

    An address is a text under a key that ends in `url` or `uri`, or in a list under such a key.
    """
    return _Copy().of_object(variables, 0)


class _Copy:
    def __init__(self) -> None:
        self._left = MAX_VALUES
        self._text = MAX_TEXT

    def of_object(self, value: Mapping[str, Any], depth: int) -> dict[str, Any]:
        self._count(len(value), depth)
        return {
            key: self._of(inner, key.lower().endswith(("url", "uri")), depth + 1)
            for key, inner in value.items()
        }

    def _of(self, value: Any, address: bool, depth: int) -> Any:
        if isinstance(value, str):
            self._text -= len(value)
            if self._text < 0:
                raise OverBudget(f"Variables have at most {MAX_TEXT:,} characters of text.")
            return web_address(value) if address else value
        if isinstance(value, dict):
            return self.of_object(value, depth)
        if isinstance(value, list):
            self._count(len(value), depth)
            return [self._of(inner, address, depth + 1) for inner in value]
        # JavaScript knows whole numbers beyond this as floating ones only, and writes them in few digits.
        return _float(value) if isinstance(value, int) and abs(value) >= _HUGE else value

    def _count(self, values: int, depth: int) -> None:
        self._left -= values
        if self._left < 0 or depth > MAX_VALUE_DEPTH:
            raise OverBudget(
                f"Variables have at most {MAX_VALUES:,} values, nested at most {MAX_VALUE_DEPTH} deep."
            )


def _float(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def web_address(value: str) -> str:
    """The address if it leads to the web, else nothing: `javascript:` and its like must not reach a link."""
    trimmed = value.strip()
    found = None if _CONTROL.search(trimmed) else _WEB_ADDRESS.fullmatch(trimmed)
    if found is None or not _HOST.fullmatch(found[1]):
        return ""
    return trimmed.replace(" ", "%20")
