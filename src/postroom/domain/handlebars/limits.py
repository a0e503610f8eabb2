"""How much a template may be, say and cost; and what is wrong with one.

The numbers keep the worst template under the time that a request may hold the event loop (50 ms) with room
to spare; tests/domain/test_hostile_templates.py measures that.
"""

from dataclasses import dataclass, field

MAX_SOURCE = 262_144  # characters of one template
MAX_TOKENS = 3_000  # words inside the tags of one template; a tag counts as two more
MAX_DEPTH = 48  # blocks in blocks, expressions in expressions
MAX_STEPS = 25_000  # of subject, html and text of one mail together
MAX_OUTPUT = 500_000  # characters, likewise
MAX_VALUES = 10_000  # values in the variables
MAX_VALUE_DEPTH = 32
MAX_TEXT = 500_000  # characters of all texts in the variables


class TemplateError(Exception):
    """A template that cannot be used; `message` ends with a full stop, the place counts from 1."""

    def __init__(self, message: str, line: int = 1, column: int = 1) -> None:
        super().__init__(message)
        self.message = message
        self.line = line
        self.column = column


class OverBudget(TemplateError):
    """A template that asks for more than one mail may cost."""


def error_at(source: str, offset: int, message: str) -> TemplateError:
    """An error with the line and column of its place in the source."""
    line_start = source.rfind("\n", 0, offset) + 1
    return TemplateError(message, source.count("\n", 0, offset) + 1, offset - line_start + 1)


@dataclass(eq=False, slots=True)
class Budget:
    """What one mail may still cost, and the variables that its templates asked for in vain."""

    steps: int = MAX_STEPS
    room: int = MAX_OUTPUT
    missing: dict[str, None] = field(default_factory=dict)

    def spend(self, steps: int) -> None:
        self.steps -= steps
        if self.steps < 0:
            raise OverBudget("This template takes too long to render. Look at the loops.")

    def write(self, characters: int) -> None:
        self.room -= characters
        if self.room < 0:
            raise OverBudget(f"This template renders to more than {MAX_OUTPUT:,} characters.")
