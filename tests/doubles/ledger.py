"""What was handed to a double: each mail once, each key with its bytes and answer, calls by time; journalled."""

import os
from collections import Counter, OrderedDict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from time import time
from typing import Any

import orjson

_MAILS_KEPT = 50_000
_DUPLICATES_SHOWN = 20


@dataclass(slots=True)
class Kept:
    """What a double remembers of a key: the bytes that came first, and the answer once there is one."""

    digest: bytes
    answer: bytes | None = None
    running: bool = False


@dataclass(slots=True)
class Accepted:
    """One mail that was taken."""

    ref: str
    id: str
    mail: dict[str, Any]
    at: float
    index: int = 0


@dataclass(slots=True)
class SlidingSecond:
    """The most arrivals in any one second."""

    most: int = 0
    _arrivals: deque[float] = field(default_factory=deque)

    def add(self, at: float) -> None:
        arrivals = self._arrivals
        while arrivals and arrivals[0] <= at - 1.0:
            arrivals.popleft()
        arrivals.append(at)
        self.most = max(self.most, len(arrivals))


class Ledger:
    """Counts, keys and mails. With a journal, a double that is killed and started again knows what it took."""

    def __init__(self, journal: Path | None = None) -> None:
        self.keys: dict[str, Kept] = {}
        self.refs: dict[str, str | None] = {}  # ref -> the key under which it was taken first
        self.offered: dict[str, str] = {}  # ref -> the key of the call that may have taken it
        self.mails: OrderedDict[str, Accepted] = OrderedDict()  # the latest ones, by id
        self.duplicates: list[dict[str, Any]] = []
        self.counts: Counter[str] = Counter()
        self.calls_by_size: Counter[int] = Counter()
        self.calls_by_status: Counter[int] = Counter()
        self.seconds: dict[str, SlidingSecond] = {}
        self.all_seconds = SlidingSecond()
        self.first_at: float | None = None
        self.last_at: float | None = None
        self._journal: int | None = None
        if journal is not None:
            self._read(journal)
            self._journal = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def close(self) -> None:
        if self._journal is not None:
            os.close(self._journal)
            self._journal = None

    def arrive(self, team: str, at: float) -> None:
        """A call of a team came in at this (monotonic) moment."""
        self.seconds.setdefault(team, SlidingSecond()).add(at)
        self.all_seconds.add(at)

    def open_key(self, scope: str, body: bytes) -> tuple[Kept, bool]:
        """What is remembered of a key, and whether these bytes are those that came first."""
        digest = blake2b(body, digest_size=16).digest()
        kept = self.keys.get(scope)
        if kept is None:
            kept = self.keys[scope] = Kept(digest)
            return kept, True
        self.counts["repeated_keys"] += 1
        same = kept.digest == digest
        self.counts["repeated_key_bytes_differ"] += not same
        if kept.answer is None and not kept.running:
            # Nothing came of the first call, so that the vendor holds nothing against other bytes.
            kept.digest, same = digest, True
        return kept, same

    def offer(self, refs: Iterable[str], key: str) -> None:
        """A call that took its mails, or of which its caller cannot know whether it did.

        Whoever hands such a mail over again does so blindly, unless it is under the same key.
        """
        for ref in refs:
            before = self.offered.get(ref)
            self.counts["blind_repeats"] += before is not None and (not key or before != key)
            self.offered[ref] = key

    def accept(self, mails: Sequence[Accepted], key: str, scope: str, of: int) -> None:
        """Take the mails of a call: on disk first, then in the counts."""
        digest = self.keys[scope].digest.hex() if key else ""
        if self._journal is not None:
            lines = [_line(mail, key, scope, of, digest) for mail in mails]
            os.write(self._journal, b"".join(lines))
        for mail in mails:
            self._count(mail, key)

    def report(self) -> dict[str, Any]:
        return {
            "mails_accepted": self.counts["mails_accepted"],
            "distinct_refs": len(self.refs),
            "duplicates": self.counts["duplicates"],
            "duplicate_refs": self.duplicates,
            "blind_repeats": self.counts["blind_repeats"],
            "calls": self.counts["calls"],
            "calls_by_size": {str(size): n for size, n in sorted(self.calls_by_size.items())},
            "calls_by_status": {str(code): n for code, n in sorted(self.calls_by_status.items())},
            "calls_dropped": self.counts["dropped"],
            "calls_hung": self.counts["hung"],
            "other_calls": self.counts["other_calls"],
            "max_calls_in_a_second": max((s.most for s in self.seconds.values()), default=0),
            "max_calls_in_a_second_all_teams": self.all_seconds.most,
            "teams": len(self.seconds),
            "repeated_keys": self.counts["repeated_keys"],
            "repeated_key_bytes_differ": self.counts["repeated_key_bytes_differ"],
            "attachments_dropped": self.counts["attachments_dropped"],
            "first_at": self.first_at,
            "last_at": self.last_at,
        }

    def _count(self, mail: Accepted, key: str | None) -> None:
        self.counts["mails_accepted"] += 1
        if mail.ref in self.refs:
            self.counts["duplicates"] += 1
            if len(self.duplicates) < _DUPLICATES_SHOWN:
                keys = [self.refs[mail.ref], key]
                self.duplicates.append({"ref": mail.ref, "keys": keys})
        self.refs.setdefault(mail.ref, key)
        self.first_at = self.first_at or mail.at
        self.last_at = mail.at
        self.mails[mail.id] = mail
        if len(self.mails) > _MAILS_KEPT:
            self.mails.popitem(last=False)

    def _read(self, journal: Path) -> None:
        """Know again what an earlier life took; a line cut by a kill was never answered."""
        if not journal.exists():
            return
        written = journal.read_bytes()
        whole = written[: written.rfind(b"\n") + 1]
        os.truncate(journal, len(whole))
        calls: dict[str, list[dict[str, Any]]] = {}
        for line in whole.splitlines():
            entry = orjson.loads(line)
            self._count(Accepted(entry["ref"], entry["id"], {}, entry["at"]), entry["key"])
            if entry["key"]:
                calls.setdefault(entry["scope"], []).append(entry)
        for scope, entries in calls.items():
            digest = bytes.fromhex(entries[0]["bytes"])
            self.keys[scope] = Kept(digest, _answer_again(entries))


def _line(mail: Accepted, key: str, scope: str, of: int, digest: str) -> bytes:
    entry = {
        "ref": mail.ref,
        "key": key,
        "at": mail.at,
        "id": mail.id,
        "scope": scope,
        "index": mail.index,
        "of": of,
        "bytes": digest,
    }
    return orjson.dumps(entry, option=orjson.OPT_APPEND_NEWLINE)


def _answer_again(entries: list[dict[str, Any]]) -> bytes:
    """The first answer of a call, made from its journal lines."""
    if not entries[0]["scope"].startswith("/emails/batch "):
        return orjson.dumps({"id": entries[0]["id"]})
    by_index = {entry["index"]: entry["id"] for entry in entries}
    missing = [index for index in range(entries[0]["of"]) if index not in by_index]
    answer: dict[str, Any] = {"data": [{"id": by_index[index]} for index in sorted(by_index)]}
    if missing:
        answer["errors"] = [{"index": index, "message": "Invalid mail."} for index in missing]
    return orjson.dumps(answer)


def wall_clock() -> float:
    return round(time(), 6)
