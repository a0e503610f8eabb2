"""Contacts as CSV: what a file's columns mean, its rows in bounded chunks, and a file made of an audience."""

import csv
import io
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from postroom.errors import InvalidPayload

CHUNK_ROWS = 500
CHUNK_BYTES = 1_000_000
MOST_COLUMNS = 60
SKIP = ""  # a column without a name
_KNOWN = {
    "email": "email",
    "emailaddress": "email",
    "mail": "email",
    "firstname": "first_name",
    "givenname": "first_name",
    "lastname": "last_name",
    "surname": "last_name",
    "familyname": "last_name",
    "unsubscribed": "unsubscribed",
    # An export says when; a contact that comes in is new.
    "createdat": SKIP,
}
# A spreadsheet takes a cell that begins so for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_TRUE = frozenset({"true", "t", "yes", "y", "1", "x", "unsubscribed"})
_FALSE = frozenset({"", "false", "f", "no", "n", "0", "subscribed"})

Row = tuple[int, list[str]]  # the line where it ends, and its cells


def columns_of(header: Sequence[str]) -> list[str]:
    """What each column is: email, first_name, last_name, unsubscribed, or a property's name."""
    columns = [_column(name) for name in header]
    if "email" not in columns:
        raise InvalidPayload(
            "The first line must name the columns, and one of them must be email.",
            code="no_email_column",
        )
    if len(columns) > MOST_COLUMNS:
        raise InvalidPayload(f"A file has at most {MOST_COLUMNS} columns.")
    twice = next((c for c in columns if c != SKIP and columns.count(c) > 1), None)
    if twice is not None:
        raise InvalidPayload(f'Two columns of the file are both "{twice}".')
    return columns


def _column(name: str) -> str:
    plain = "".join(c for c in name.lower() if c.isalnum())
    if plain in _KNOWN:
        return _KNOWN[plain]
    cleaned = "".join(c if c.isascii() and c.isalnum() else "_" for c in name.strip())
    return cleaned.strip("_")[:50]


class ContactFile:
    """A CSV file on disk, read row by row."""

    def __init__(self, path: Path) -> None:
        self._file = path.open(encoding="utf-8-sig", newline="")
        self._rows = self._read()
        self.columns: list[str] = []

    def read_header(self) -> list[str]:
        """What the columns are. Raises InvalidPayload."""
        first = next(self._rows, None)
        if first is None:
            raise InvalidPayload("The file is empty.", code="empty_file")
        self.columns = columns_of(first[1])
        return self.columns

    def next_chunk(self) -> list[Row]:
        """Some more rows, bounded in number and size; none at the end. Raises InvalidPayload."""
        chunk: list[Row] = []
        size = 0
        for row in islice(self._rows, CHUNK_ROWS):
            chunk.append(row)
            size += sum(map(len, row[1]))
            if size > CHUNK_BYTES:
                break
        return chunk

    def close(self) -> None:
        self._file.close()

    def _read(self) -> Iterator[Row]:
        try:
            sample = self._file.readline(100_000)
            self._file.seek(0)
            reader = csv.reader(self._file, delimiter=_delimiter(sample))
            for cells in reader:
                if any(cells):
                    # PostgreSQL cannot keep this character.
                    yield reader.line_num, [cell.replace("\x00", "") for cell in cells]
        except UnicodeDecodeError:
            raise InvalidPayload("The file must be UTF-8 text.", code="not_utf8") from None
        except csv.Error:
            raise InvalidPayload("The file is not CSV that can be read.", code="not_csv") from None


def _delimiter(header: str) -> str:
    return max(",;\t", key=header.count)


def fields_of(columns: Sequence[str], cells: Sequence[str]) -> dict[str, str]:
    """A row's cells by column; a cell that an export had guarded is itself again."""
    given = {}
    for name, cell in zip(columns, cells, strict=False):
        value = cell.strip()
        if value[:1] == "'" and value[1:].startswith(_FORMULA):
            value = value[1:]
        if name != SKIP and value:
            given[name] = value
    return given


def read_flag(value: str) -> bool:
    """What a cell of the column `unsubscribed` says; raises ValueError."""
    said = value.strip().lower()
    if said in _TRUE:
        return True
    if said in _FALSE:
        return False
    raise ValueError('"unsubscribed" must be true or false.')


def csv_lines(rows: Sequence[Sequence[Any]]) -> bytes:
    """Rows as CSV that a spreadsheet shows and does not run."""
    out = io.StringIO()
    csv.writer(out).writerows([[_guarded(cell) for cell in row] for row in rows])
    return out.getvalue().encode()


def _guarded(cell: Any) -> str:
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "true" if cell else "false"
    said = str(cell)
    return f"'{said}" if isinstance(cell, str) and said.startswith(_FORMULA) else said
