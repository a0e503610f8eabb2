"""From tags to the tree, by the grammar of handlebars.js."""

from postroom.domain.handlebars.limits import MAX_DEPTH, TemplateError, error_at
from postroom.domain.handlebars.tags import Tag, Text, Token, read_tags
from postroom.domain.handlebars.tree import (
    Block,
    Call,
    Comment,
    Content,
    Expression,
    Literal,
    Lookup,
    Path,
    Print,
    Program,
    Strip,
)
from postroom.domain.handlebars.whitespace import control_whitespace

# Each with the number of values that it takes.
BLOCK_HELPERS = {"if": 1, "unless": 1, "each": 1, "with": 1}
GIVING = ("each", "with")
HELPERS = {*BLOCK_HELPERS, "lookup", "log"}
_WORDS = {"true": True, "false": False, "null": None, "undefined": None}
_HERE = (".", "..", "this")


def parse(source: str) -> Program:
    """The tree of a template, whitespace control done. Raises TemplateError."""
    program = _Parser(source).whole()
    control_whitespace(program)
    return program


class _Parser:
    def __init__(self, source: str) -> None:
        self._source = source
        self._pieces = list(read_tags(source))
        self._place = 0

    def whole(self) -> Program:
        program = self._program(0)
        if (tag := self._ahead()) is not None:
            said = '"{{else}}"' if tag.kind.startswith("else") else "This closing tag"
            raise self._error(tag.offset, f"{said} belongs to no open block.")
        return program

    def _error(self, offset: int, message: str) -> TemplateError:
        return error_at(self._source, offset, message)

    def _ahead(self) -> Tag | None:
        """The tag that ended a program, if any."""
        piece = self._pieces[self._place] if self._place < len(self._pieces) else None
        return piece if isinstance(piece, Tag) else None

    # ── Programs and blocks ──────────────────────────────────────────────────────────────────────

    def _program(self, depth: int) -> Program:
        """Everything up to a tag that belongs to the block around it."""
        program = Program([])
        while self._place < len(self._pieces):
            piece = self._pieces[self._place]
            if isinstance(piece, Tag) and piece.kind in ("/", "else", "else if"):
                break
            self._place += 1
            if isinstance(piece, Text):
                program.body.append(Content(piece.text, piece.text))
            elif piece.kind == "!":
                program.body.append(Comment(piece.strip))
            elif piece.kind in ("#", "^"):
                program.body.append(self._block(piece, depth + 1))
            else:
                program.body.append(self._print(piece))
        return program

    def _block(self, opening: Tag, depth: int) -> Block:
        call = self._call_of_block(opening, depth)
        main = self._program(depth)
        main.gives = call.gives
        middle = self._ahead()
        inverse, inverse_strip = None, Strip()
        if middle is not None and middle.kind != "/":
            if opening.kind == "^" and middle.kind == "else if":
                raise self._error(middle.offset, '"{{else if}}" cannot follow "{{^".')
            inverse, inverse_strip = self._inverse(depth)
        closing = self._closing(opening, call)
        _close_chain(inverse, closing.strip)
        both: tuple[Program | None, Program | None] = (main, inverse)
        if opening.kind == "^":
            both = (inverse, main)
        return Block(call, *both, opening.strip, inverse_strip, closing.strip)

    def _inverse(self, depth: int) -> tuple[Program, Strip]:
        """What stands behind an `{{else}}`; an `{{else if}}` is a program of one block."""
        tag = self._ahead()
        assert tag is not None  # noqa: S101 - the caller looked
        self._place += 1
        if tag.kind == "else":
            return self._program(depth), tag.strip
        call = self._call_of_block(tag, depth + 1)
        main = self._program(depth + 1)
        main.gives = call.gives
        inverse, inverse_strip, close_strip = None, Strip(), Strip()
        following = self._ahead()
        if following is not None and following.kind != "/":
            inverse, inverse_strip = self._inverse(depth + 1)
            close_strip = inverse_strip
            # handlebars.js closes each further link of a chain with the strip of its own opening.
            _close_chain(inverse, inverse_strip)
        block = Block(call, main, inverse, tag.strip, inverse_strip, close_strip)
        return Program([block], chained=True), tag.strip

    def _closing(self, opening: Tag, call: Call) -> Tag:
        tag = self._ahead()
        opened = call.name.original
        if tag is None:
            raise self._error(opening.offset, f'"{{{{{opening.kind}{opened}}}}}" is never closed.')
        if tag.kind != "/":
            raise self._error(tag.offset, 'A block has one "{{else}}" at most.')
        closed, place = self._path(tag.tokens, 0, tag)
        if place != len(tag.tokens):
            raise self._error(tag.tokens[place].offset, "A closing tag has just the block's name.")
        if closed.original != opened:
            raise self._error(
                tag.offset, f'"{{{{/{closed.original}}}}}" does not match "{{{{#{opened}}}}}".'
            )
        self._place += 1
        return tag

    def _call_of_block(self, tag: Tag, depth: int) -> Call:
        if depth > MAX_DEPTH:
            raise self._error(tag.offset, f"Blocks are nested at most {MAX_DEPTH} deep.")
        call = self._call(tag)
        name = call.name.helper_name
        if name in BLOCK_HELPERS:
            if len(call.params) != BLOCK_HELPERS[name]:
                raise self._error(tag.offset, f"#{name} takes exactly one value.")
        elif name in HELPERS or call.params or call.options:
            raise self._unknown_helper(call.name)
        if call.gives and name not in GIVING:
            raise self._error(tag.offset, 'Only #each and #with can say "as |name|".')
        return call

    def _unknown_helper(self, path: Path) -> TemplateError:
        return self._error(path.offset, f'There is no helper "{path.original}".')

    # ── What stands in a tag ─────────────────────────────────────────────────────────────────────

    def _print(self, tag: Tag) -> Print:
        call = self._call(tag)
        if call.gives:
            raise self._error(tag.offset, 'Only a block can say "as |name|".')
        value: Path | Lookup = call.name
        if call.name.helper_name in HELPERS or call.params or call.options:
            value = self._lookup(call)
        return Print(value, tag.kind in ("{", "&"), tag.strip)

    def _lookup(self, call: Call) -> Lookup:
        """The one helper that is a value."""
        name = call.name.helper_name
        if name != "lookup":
            if name in BLOCK_HELPERS:
                raise self._error(call.name.offset, f'"{name}" is a block: write {{{{#{name}}}}}.')
            raise self._unknown_helper(call.name)
        if len(call.params) != 2:
            raise self._error(call.name.offset, "lookup takes exactly two values.")
        return Lookup(*call.params, call.name.original)

    def _call(self, tag: Tag) -> Call:
        call, place = self._call_in(tag.tokens, 0, tag, 0)
        if place == len(tag.tokens):
            return call
        token = tag.tokens[place]
        if token.kind != "gives":
            raise self._unexpected(token)
        gives, place = self._names(tag.tokens, place + 1, tag)
        if place != len(tag.tokens):
            raise self._unexpected(tag.tokens[place])
        return Call(call.name, call.params, call.options, gives)

    def _call_in(
        self, tokens: tuple[Token, ...], place: int, tag: Tag, depth: int
    ) -> tuple[Call, int]:
        if depth > MAX_DEPTH:
            raise self._error(tag.offset, f"Expressions are nested at most {MAX_DEPTH} deep.")
        name, place = self._name(tokens, place, tag)
        params: list[Expression] = []
        options: dict[str, Expression] = {}
        while place < len(tokens) and tokens[place].kind not in ("gives", "close_paren"):
            token = tokens[place]
            if token.kind == "id" and _kind(tokens, place + 1) == "equals":
                options[token.text], place = self._value(tokens, place + 2, tag, depth)
                continue
            if options:
                raise self._unexpected(token)
            value, place = self._value(tokens, place, tag, depth)
            params.append(value)
        return Call(name, tuple(params), options), place

    def _name(self, tokens: tuple[Token, ...], place: int, tag: Tag) -> tuple[Path, int]:
        """What a tag calls or prints; a literal stands for the variable of its name."""
        if (literal := self._literal(tokens, place)) is None:
            return self._path(tokens, place, tag)
        token = tokens[place]
        text = str(literal.value) if token.kind == "string" else token.text
        return Path((text,), text, token.offset), place + 1

    def _value(
        self, tokens: tuple[Token, ...], place: int, tag: Tag, depth: int
    ) -> tuple[Expression, int]:
        if (literal := self._literal(tokens, place)) is not None:
            return literal, place + 1
        if _kind(tokens, place) != "open_paren":
            return self._path(tokens, place, tag)
        call, place = self._call_in(tokens, place + 1, tag, depth + 1)
        if _kind(tokens, place) != "close_paren":
            raise self._error(tag.offset, "A parenthesis is never closed.")
        return self._lookup(call), place + 1

    def _literal(self, tokens: tuple[Token, ...], place: int) -> Literal | None:
        kind = _kind(tokens, place)
        if kind not in ("string", "number", "word"):
            return None
        token = tokens[place]
        if kind == "string":
            quote = token.text[0]
            return Literal(token.text[1:-1].replace(f"\\{quote}", quote), token.offset)
        if kind == "word":
            return Literal(_WORDS[token.text], token.offset)
        whole = "." not in token.text and len(token.text) < 16
        return Literal(int(token.text) if whole else float(token.text), token.offset)

    def _names(
        self, tokens: tuple[Token, ...], place: int, tag: Tag
    ) -> tuple[tuple[str, ...], int]:
        names = []
        while _kind(tokens, place) == "id":
            names.append(tokens[place].text)
            place += 1
        if not names or _kind(tokens, place) != "pipe":
            raise self._error(tag.offset, 'Names are given as in "as |item index|".')
        return tuple(names), place + 1

    # ── Paths ────────────────────────────────────────────────────────────────────────────────────

    def _path(self, tokens: tuple[Token, ...], place: int, tag: Tag) -> tuple[Path, int]:
        start, data = place, _kind(tokens, place) == "at"
        place += data
        segments: list[Token] = []
        while place < len(tokens):
            self._must_be_segment(tokens[place], first=not segments)
            segments.append(tokens[place])
            place += 1
            if _kind(tokens, place) != "separator":
                break
            place += 1
        if not segments or tokens[place - 1].kind == "separator":
            raise self._error(tag.offset, "A name is missing here.")
        original = "".join(token.text for token in tokens[start:place])
        return self._path_of(segments, original, data), place

    def _must_be_segment(self, token: Token, first: bool) -> None:
        allowed = {"id", "segment", "up", "here"} | (set() if first else {"number", "word"})
        if token.kind not in allowed:
            raise self._unexpected(token)

    def _path_of(self, segments: list[Token], original: str, data: bool) -> Path:
        parts: list[str] = []
        depth = 0
        for token in segments:
            if token.kind == "segment":
                parts.append(token.text[1:-1].replace("\\]", "]"))
            elif token.text not in _HERE:
                parts.append(token.text)
            elif parts:
                raise self._error(token.offset, f'"{token.text}" can only begin a path.')
            elif token.text == "..":
                depth += 1
        scoped = segments[0].kind != "segment" and segments[0].text in _HERE
        return Path(tuple(parts), original, segments[0].offset, depth, data, scoped)

    def _unexpected(self, token: Token) -> TemplateError:
        return self._error(token.offset, f'"{token.text[:40]}" cannot stand here.')


def _close_chain(inverse: Program | None, strip: Strip) -> None:
    if inverse is not None and inverse.chained:
        first = inverse.body[0]
        assert isinstance(first, Block)  # noqa: S101 - a chain is made of blocks
        first.close_strip = strip


def _kind(tokens: tuple[Token, ...], place: int) -> str | None:
    return tokens[place].kind if place < len(tokens) else None
