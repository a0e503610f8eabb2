"""The table of a benchmark: rows of medians, their goals, and how they get into a document."""

import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

HEAD = "| part | what | Postroom | against | it | ratio | goal | | on |"
RULE = "|---|---|---|---|---|---|---|---|---|"


@dataclass(frozen=True)
class Goal:
    """A bound for the ratio, or for our own figure."""

    bound: float
    most: bool = False  # at most, instead of at least
    own: bool = False  # of our own figure, instead of the ratio

    def is_met(self, ours: float, ratio: float | None) -> bool:
        value = ours if self.own or ratio is None else ratio
        return value <= self.bound if self.most else value >= self.bound

    def words(self, unit: str) -> str:
        sign = "≤" if self.most else "≥"
        return f"{sign} {self.bound:,g} {unit}".strip() if self.own else f"{sign} {self.bound:g}x"


@dataclass(frozen=True)
class Row:
    """One line of the table: what was measured in each round, and what it is held against."""

    what: str
    ours: Sequence[float]
    goal: Goal | None = None
    against: str = ""
    theirs: Sequence[float] = ()
    unit: str = "/s"
    our_note: str = ""
    their_note: str = ""

    @property
    def ratio(self) -> float | None:
        return (
            statistics.median(self.ours) / statistics.median(self.theirs) if self.theirs else None
        )

    @property
    def is_met(self) -> bool | None:
        return self.goal and self.goal.is_met(statistics.median(self.ours), self.ratio)

    def line(self, part: str) -> str:
        ratio = "" if self.ratio is None else f"**{self.ratio:.2f}x**"
        goal = self.goal.words(self.unit) if self.goal else "reported"
        met = {True: "met", False: "missed", None: ""}[self.is_met]
        cells = [
            part,
            self.what,
            self._figures(self.ours, self.our_note),
            self.against,
            self._figures(self.theirs, self.their_note),
            ratio,
            goal,
            met,
            f"{datetime.now(UTC):%Y-%m-%d}",
        ]
        return f"| {' | '.join(cells)} |"

    def _figures(self, values: Sequence[float], note: str) -> str:
        """The median, the spread where there is one, and what is to be said of it."""
        if not values:
            return note
        text = f"{self._number(statistics.median(values))} {self.unit}".strip()
        if len(values) > 1:
            text += f" ({self._number(min(values))} to {self._number(max(values))})"
        return f"{text}; {note}" if note else text

    def _number(self, value: float) -> str:
        digits = 0 if abs(value) >= 100 or self.unit == "/s" else 1 if abs(value) >= 10 else 2
        return f"{value:,.{digits}f}"


def machine() -> str:
    return f"{_machine()}, {datetime.now(UTC):%Y-%m-%d}"


def _machine() -> str:
    return (
        f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()} {platform.release()},"
        f" Python {platform.python_version()}"
    )


def table(measured: dict[str, list[Row]], before: str, order: Sequence[str], rounds: int) -> str:
    """The whole table: rows measured now, and of the table before those of the parts that were not.

    Figures of two machines do not stand in one table.
    """
    kept: dict[str, list[str]] = {}
    same = f"Measured on {_machine()};" in before
    for line in before.splitlines() if same else ():
        part = line.removeprefix("| ").partition(" |")[0]
        if part in order and part not in measured:
            kept.setdefault(part, []).append(line)
    lines = [
        f"Measured on {_machine()}; medians of {rounds} alternating rounds, spread in brackets. The load"
        " generator, the vendor's double, PostgreSQL and Valkey share the machine's cores.",
        "",
        HEAD,
        RULE,
    ]
    for part in order:
        lines += [row.line(part) for row in measured.get(part, ())] + kept.get(part, [])
    return "\n".join(lines)


@dataclass(frozen=True)
class Place:
    """A part of a document that a measurement writes, between marks."""

    page: Path
    name: str

    @property
    def _marks(self) -> tuple[str, str]:
        return f"<!-- {self.name}:begin -->", f"<!-- {self.name}:end -->"

    def read(self) -> str:
        begin, end = self._marks
        return self.page.read_text().partition(begin)[2].partition(end)[0]

    def write(self, text: str) -> None:
        begin, end = self._marks
        head, found, rest = self.page.read_text().partition(begin)
        tail = rest.partition(end)[2]
        if not found:
            raise SystemExit(f"{self.page} has no {begin}")
        self.page.write_text(f"{head}{begin}\n{text}\n{end}{tail}")
