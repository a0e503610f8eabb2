"""What a template consists of, between reading and building."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Strip(NamedTuple):
    """Whether a tag eats the whitespace before (`{{~`) and after it (`~}}`)."""

    before: bool = False
    after: bool = False


@dataclass(eq=False, slots=True)
class Content:
    """Text between tags; `original` is what was written, `value` what whitespace control left of it."""

    value: str
    original: str
    left_stripped: bool = False
    right_stripped: bool = False


@dataclass(eq=False, slots=True)
class Path:
    """A place to look a value up."""

    parts: tuple[str, ...]
    original: str
    offset: int
    depth: int = 0  # how often `../`
    data: bool = False  # `@index` and its like
    scoped: bool = False  # `this.x`, `./x`: never a helper

    @property
    def helper_name(self) -> str | None:
        simple = len(self.parts) == 1 and not (self.scoped or self.depth or self.data)
        return self.parts[0] if simple else None


@dataclass(eq=False, slots=True)
class Literal:
    value: Any
    offset: int


@dataclass(eq=False, slots=True)
class Lookup:
    """`(lookup object key)`, as a value."""

    of: "Expression"
    key: "Expression"
    original: str


Expression = Path | Literal | Lookup


@dataclass(eq=False, slots=True)
class Call:
    """What stands in a tag: a name, what it is given, and the names that a block gives."""

    name: Path
    params: tuple[Expression, ...] = ()
    options: dict[str, Expression] = field(default_factory=dict)
    gives: tuple[str, ...] = ()


@dataclass(eq=False, slots=True)
class Print:
    value: Path | Lookup
    raw: bool
    strip: Strip


@dataclass(eq=False, slots=True)
class Comment:
    strip: Strip


@dataclass(eq=False, slots=True)
class Program:
    body: list["Node"]
    chained: bool = False  # made of an `{{else if}}`
    gives: tuple[str, ...] = ()


@dataclass(eq=False, slots=True)
class Block:
    """A block; written `{{^x}}` its one program is the inverse."""

    call: Call
    program: Program | None
    inverse: Program | None
    open_strip: Strip
    inverse_strip: Strip
    close_strip: Strip


Node = Content | Print | Comment | Block
