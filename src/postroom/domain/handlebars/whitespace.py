"""Whitespace control: `{{~ ~}}`, and tags that stand alone on their line leave no line behind.

Follows handlebars.js step by step, its peculiarities included; the looks go to what was written, the cuts
to what is left.
"""

from postroom.domain.handlebars.tree import Block, Comment, Content, Node, Program, Strip

# What JavaScript calls whitespace.
SPACE = (
    "\t\n\v\f\r \xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000\ufeff"
)


def control_whitespace(program: Program, root: bool = True) -> None:
    """Cut the whitespace around the tags of a program and of all programs in it."""
    body = program.body
    for i, node in enumerate(body):
        if isinstance(node, Content):
            continue
        before, after = _blank_before(body, i, root), _blank_after(body, i, root)
        if isinstance(node, Block):
            _around_block(body, i, node, before, after)
            continue
        _cut_as_told(body, i, node.strip)
        if isinstance(node, Comment) and before and after:
            _cut_after(body, i)
            _cut_before(body, i)


def _cut_as_told(body: list[Node], i: int, strip: Strip) -> None:
    if strip.after:
        _cut_after(body, i, everything=True)
    if strip.before:
        _cut_before(body, i, everything=True)


def _around_block(body: list[Node], i: int, block: Block, before: bool, after: bool) -> None:
    for inner in (block.program, block.inverse):
        if inner is not None:
            control_whitespace(inner, root=False)
    first, last = _first_and_last(block)
    opens_alone, closes_alone = _inside_block(block)
    _cut_as_told(body, i, Strip(block.open_strip.before, block.close_strip.after))
    if opens_alone and before:
        _cut_after(first.body, -1)
        _cut_before(body, i)
    if closes_alone and after:
        _cut_after(body, i)
        _cut_before(last.body, len(last.body))


def _first_and_last(block: Block) -> tuple[Program, Program]:
    """The program behind the opening tag and the one before the closing tag."""
    first, last = block.program or block.inverse, block.inverse or block.program
    assert first is not None  # noqa: S101 - a block has one or the other
    assert last is not None  # noqa: S101 - likewise
    return first, last


def _inside_block(block: Block) -> tuple[bool, bool]:
    """Cut around the tags between opening and closing; whether those two may stand alone on their lines."""
    main, _ = _first_and_last(block)
    inverse = block.inverse if block.program else None
    first_inverse, last_inverse = _ends_of_chain(inverse)
    end = (first_inverse or main).body
    alone = _blank_after(main.body, -1), _blank_before(end, len(end))
    if block.open_strip.after:
        _cut_after(main.body, -1, everything=True)
    if first_inverse is None or last_inverse is None:
        if block.close_strip.before:
            _cut_before(main.body, len(main.body), everything=True)
        return alone
    if block.inverse_strip.before:
        _cut_before(main.body, len(main.body), everything=True)
    if block.inverse_strip.after:
        _cut_after(first_inverse.body, -1, everything=True)
    if block.close_strip.before:
        _cut_before(last_inverse.body, len(last_inverse.body), everything=True)
    if _blank_before(main.body, len(main.body)) and _blank_after(first_inverse.body, -1):
        _cut_before(main.body, len(main.body))
        _cut_after(first_inverse.body, -1)
    return alone


def _ends_of_chain(inverse: Program | None) -> tuple[Program | None, Program | None]:
    """The programs behind the first `{{else}}` and before the closing tag, through `{{else if}}`s."""
    if inverse is None:
        return None, None
    first = last = inverse
    if inverse.chained:
        first = _program_of(inverse.body[0])
    while last.chained:
        last = _program_of(last.body[-1])
    return first, last


def _program_of(node: Node) -> Program:
    assert isinstance(node, Block)  # noqa: S101 - a chain is made of blocks
    assert node.program is not None  # noqa: S101 - and those have a program
    return node.program


def _content(body: list[Node], i: int) -> Content | None:
    node = body[i] if 0 <= i < len(body) else None
    return node if isinstance(node, Content) else None


def _blank_before(body: list[Node], i: int, root: bool = False) -> bool:
    """Whether only whitespace stands between the line's beginning and node `i`."""
    if i <= 0:
        return root
    content = _content(body, i - 1)
    if content is None:
        return False
    kept = content.original.rstrip(SPACE)
    return "\n" in content.original[len(kept) :] or (not kept and root and i < 2)


def _blank_after(body: list[Node], i: int, root: bool = False) -> bool:
    """Whether only whitespace stands between node `i` and the line's end."""
    if i + 1 >= len(body):
        return root
    content = _content(body, i + 1)
    if content is None:
        return False
    kept = content.original.lstrip(SPACE)
    blank = content.original[: len(content.original) - len(kept)]
    return "\n" in blank or (not kept and root and i + 2 >= len(body))


def _cut_after(body: list[Node], i: int, everything: bool = False) -> None:
    content = _content(body, i + 1)
    if content is None or (content.right_stripped and not everything):
        return
    value = content.value
    if everything:
        content.value = value.lstrip(SPACE)
    else:
        rest = value.lstrip(" \t")
        content.value = rest.removeprefix("\r\n" if rest.startswith("\r\n") else "\n")
    content.right_stripped = content.value != value


def _cut_before(body: list[Node], i: int, everything: bool = False) -> None:
    content = _content(body, i - 1)
    if content is None or (content.left_stripped and not everything):
        return
    value = content.value
    content.value = value.rstrip(SPACE) if everything else value.rstrip(" \t")
    content.left_stripped = content.value != value
