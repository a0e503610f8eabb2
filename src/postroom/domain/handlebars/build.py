"""From the tree to functions that write; what each program costs is known when it is built.

A function gets a `Scope` and writes to its output. Costs are counted for a whole program at once, before it
runs, and for each turn of a loop.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from postroom.domain.handlebars.limits import Budget
from postroom.domain.handlebars.parse import parse
from postroom.domain.handlebars.tree import (
    Block,
    Content,
    Expression,
    Literal,
    Lookup,
    Path,
    Print,
    Program,
)
from postroom.domain.handlebars.values import (
    escaped,
    get,
    is_empty,
    is_falsy,
    keys_in_order,
    same,
    written,
)

# What stands around: the contexts from the inside out, and the `@` data of the loops likewise.
Contexts = tuple[Any, Any] | None
Frames = tuple[dict[str, Any], Any]
_TAG_WEIGHT = 2_000
_NODE_COST, _PART_COST, _TURN_COST = 2, 1, 6


class Scope:
    """Where a program runs."""

    __slots__ = ("around", "budget", "frames", "names", "out", "this")

    def __init__(
        self,
        this: Any,
        around: Contexts,
        frames: Frames,
        names: dict[str, Any],
        out: list[str],
        budget: Budget,
    ) -> None:
        self.this = this
        self.around = around
        self.frames = frames
        self.names = names
        self.out = out
        self.budget = budget

    def inside(
        self, this: Any, frames: Frames | None = None, names: dict[str, Any] | None = None
    ) -> "Scope":
        """The scope of a block with another context; the same context twice is one step of `../`."""
        around = self.around
        if around is None or not same(this, around[0]):
            around = (this, around)
        frames = self.frames if frames is None else frames
        names = self.names if names is None else names
        return Scope(this, around, frames, names, self.out, self.budget)


Write = Callable[[Scope], None]
Read = Callable[[Scope], Any]


@dataclass(frozen=True, slots=True)
class Template:
    """A template ready to be rendered; `weight` is roughly the memory that it takes."""

    write: Write
    weight: int

    def render(self, variables: Mapping[str, Any], budget: Budget) -> str:
        """The text for these variables, which must be `plain_variables`. Raises OverBudget."""
        out: list[str] = []
        root: Any = variables
        self.write(Scope(root, (root, None), ({"root": root}, None), {}, out, budget))
        return "".join(out)


def compile_template(source: str, *, escape: bool) -> Template:
    """Build a template; `escape` makes `{{x}}` safe in HTML. Raises TemplateError."""
    write = _Builder(escape).program(parse(source), frozenset())
    return Template(write, len(source) + _TAG_WEIGHT * source.count("{{"))


class _Builder:
    def __init__(self, escape: bool) -> None:
        self._escape = escape

    def program(self, program: Program | None, known: frozenset[str]) -> Write:
        writers: list[Write] = []
        cost = 1
        for node in program.body if program else ():
            if isinstance(node, Content):
                if node.value:
                    writers.append(_text(node.value))
                    cost += _NODE_COST
            elif isinstance(node, Print):
                writers.append(self._print(node, known))
                cost += _NODE_COST + _cost(node.value)
            elif isinstance(node, Block):
                writers.append(self._block(node, known))
                cost += 2 * _NODE_COST + sum(map(_cost, node.call.params)) + _cost(node.call.name)
        return _in_turn(tuple(writers), cost)

    def _print(self, node: Print, known: frozenset[str]) -> Write:
        read = _reader(node.value, known)
        escape = self._escape and not node.raw
        original = node.value.original

        def write(scope: Scope) -> None:
            value = read(scope)
            if value is None:
                scope.budget.missing[original] = None
                return
            text = written(value, scope.budget)
            scope.budget.write(len(text))
            if escape and (safe := escaped(text)) is not text:
                scope.budget.write(len(safe) - len(text))
                text = safe
            scope.out.append(text)

        return write

    def _block(self, block: Block, known: frozenset[str]) -> Write:
        name = block.call.name.helper_name
        inner = known | frozenset(block.call.gives)
        main = self.program(block.program, inner if block.program else known)
        otherwise = self.program(block.inverse, known)
        if name in ("if", "unless"):
            return _if(block, _reader(block.call.params[0], known), (main, otherwise), known)
        if name == "each":
            return _each(_reader(block.call.params[0], known), block.call.gives, main, otherwise)
        if name == "with":
            return _with(_reader(block.call.params[0], known), block.call.gives, main, otherwise)
        return _section(_reader(block.call.name, known), main, otherwise)


def _in_turn(writers: tuple[Write, ...], cost: int) -> Write:
    def write(scope: Scope) -> None:
        scope.budget.spend(cost)
        for each in writers:
            each(scope)

    return write


def _text(text: str) -> Write:
    def write(scope: Scope) -> None:
        scope.budget.write(len(text))
        scope.out.append(text)

    return write


# ── Blocks ───────────────────────────────────────────────────────────────────────────────────────


def _if(block: Block, read: Read, programs: tuple[Write, Write], known: frozenset[str]) -> Write:
    main, otherwise = programs
    if block.call.name.helper_name == "unless":
        main, otherwise = otherwise, main
    option = block.call.options.get("includeZero")
    include_zero: Read | None = None if option is None else _reader(option, known)

    def write(scope: Scope) -> None:
        value = read(scope)
        no = is_falsy(value)
        if no and include_zero is not None and not is_falsy(include_zero(scope)):
            no = is_empty(value)
        (otherwise if no else main)(scope)

    return write


def _with(read: Read, gives: tuple[str, ...], main: Write, otherwise: Write) -> Write:
    def write(scope: Scope) -> None:
        value = read(scope)
        if is_empty(value):
            otherwise(scope)
            return
        names = scope.names | {gives[0]: value} if gives else None
        main(scope.inside(value, None, names))

    return write


def _each(read: Read, gives: tuple[str, ...], main: Write, otherwise: Write) -> Write:
    def write(scope: Scope) -> None:
        value = read(scope)
        if value and type(value) is list:
            _turns(scope, list(enumerate(value)), gives, main)
        elif value and type(value) is dict:
            scope.budget.spend(len(value))
            _turns(scope, [(key, value[key]) for key in keys_in_order(value)], gives, main)
        else:
            otherwise(scope)

    return write


def _turns(scope: Scope, items: list[tuple[Any, Any]], gives: tuple[str, ...], main: Write) -> None:
    data = scope.frames[0]
    last = len(items) - 1
    for index, (key, item) in enumerate(items):
        scope.budget.spend(_TURN_COST)
        frame = data | {"key": key, "index": index, "first": index == 0, "last": index == last}
        names = scope.names | dict(zip(gives, (item, key), strict=False)) if gives else None
        main(scope.inside(item, (frame, scope.frames), names))


def _section(read: Read, main: Write, otherwise: Write) -> Write:
    """`{{#name}}`: a list is gone through, true stays here, anything else becomes the context."""
    loop = _each(read, (), main, otherwise)

    def write(scope: Scope) -> None:
        value = read(scope)
        if value is None or value is False:
            otherwise(scope)
        elif value is True:
            main(scope)
        elif type(value) is list:
            loop(scope)
        else:
            main(scope.inside(value))

    return write


# ── Values ───────────────────────────────────────────────────────────────────────────────────────


def _cost(expression: Expression) -> int:
    if isinstance(expression, Path):
        return _PART_COST * (1 + len(expression.parts) + expression.depth)
    if isinstance(expression, Lookup):
        return _NODE_COST + _cost(expression.of) + _cost(expression.key)
    return _PART_COST


def _reader(expression: Expression, known: frozenset[str]) -> Read:
    if isinstance(expression, Literal):
        value = expression.value
        return lambda _: value
    if isinstance(expression, Lookup):
        return _lookup(_reader(expression.of, known), _reader(expression.key, known))
    return _path(expression, known)


def _lookup(read: Read, read_key: Read) -> Read:
    def look(scope: Scope) -> Any:
        value = read(scope)
        if not value and type(value) not in (dict, list):
            return value
        key = read_key(scope)
        name = "undefined" if key is None else written(key, scope.budget)
        return get(value, name, scope.budget)

    return look


def _path(path: Path, known: frozenset[str]) -> Read:
    parts = path.parts
    if path.data:
        return _data(parts, path.depth)
    if parts and not path.scoped and not path.depth and parts[0] in known:
        return _given(parts[0], parts[1:])
    if path.depth:
        return _outer(parts, path.depth)
    if not parts:
        return lambda scope: scope.this
    if len(parts) == 1:
        name = parts[0]
        return lambda scope: get(scope.this, name, scope.budget)
    return lambda scope: _follow(scope.this, parts, scope.budget)


def _follow(value: Any, parts: tuple[str, ...], budget: Budget) -> Any:
    for part in parts:
        if value is None:
            return None
        value = get(value, part, budget)
    return value


def _given(name: str, rest: tuple[str, ...]) -> Read:
    return lambda scope: _follow(scope.names.get(name), rest, scope.budget)


def _outer(parts: tuple[str, ...], depth: int) -> Read:
    def look(scope: Scope) -> Any:
        around = scope.around
        for _ in range(depth):
            around = around[1] if around else None
        return _follow(around[0], parts, scope.budget) if around else None

    return look


def _data(parts: tuple[str, ...], depth: int) -> Read:
    def look(scope: Scope) -> Any:
        frames: Frames | None = scope.frames
        for _ in range(depth):
            frames = frames[1] if frames else None
        return _follow(frames[0], parts, scope.budget) if frames else None

    return look
