"""Requests made out of the OpenAPI document, sound and unsound; every answer is held to the document.

What the document cannot know is put in by chance: ids that exist, addresses that are some, keys that repeat.
"""

import random
import string
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.specs.openapi import checks as documented

from tests.hostile.world import PASSWORD, World, new_world, tomorrow

CHECKS = [
    documented.status_code_conformance,
    documented.content_type_conformance,
    documented.response_headers_conformance,
    documented.response_schema_conformance,
]
# A provider may be away or slow, and then the answer says so; anything else is our own failure.
FORESEEN = {502, 504}
Promote = Callable[[str], None]


@dataclass
class Found:
    """What a run saw."""

    asked: Counter[str] = field(default_factory=Counter)  # by operation
    statuses: Counter[int] = field(default_factory=Counter)
    succeeded: set[str] = field(default_factory=set)
    failures: dict[tuple[str, str], str] = field(default_factory=dict)  # how to see each again

    @property
    def total(self) -> int:
        return sum(self.asked.values())

    @property
    def never_succeeded(self) -> list[str]:
        return sorted(set(self.asked) - self.succeeded)

    def report(self) -> str:
        """A line for each failure, with the request that shows it."""
        return "\n\n".join(
            f"{where}: {what}\n{shown}" for (where, what), shown in self.failures.items()
        )


def fuzz(url: str, promote: Promote, each: int, number: int) -> Found:
    """Ask every operation of the document at `url` `each` times; the same number asks the same."""
    schema = schemathesis.openapi.from_dict(_document(url))
    world, found = new_world(url, promote), Found()
    with requests.Session() as session:
        session.trust_env = False
        for operation in _operations(schema):
            attack = _Attack(world, url, session, found, operation)
            # Most requests are as the document wants them: the others hardly get beyond the first check.
            wrong = each // 3 if _can_be_wrong(operation) else 0
            attack.run(GenerationMode.POSITIVE, each - wrong, number)
            if wrong:
                attack.run(GenerationMode.NEGATIVE, wrong, number)
    world.http.close()
    return found


def _document(url: str) -> dict[str, Any]:
    """Postroom's own document; who may come in is for us to say, in the headers of each request."""
    document: dict[str, Any] = requests.get(f"{url}/openapi.json", timeout=30).json()
    for methods in document["paths"].values():
        for operation in methods.values():
            operation.pop("security", None)
    return document


def _operations(schema: Any) -> Iterator[Any]:
    for result in schema.get_all_operations():
        yield result.ok()


def _can_be_wrong(operation: Any) -> bool:
    """Whether it takes more than names in its path, which may be any text."""
    return bool(operation.body) or bool(operation.query)


@dataclass
class _Attack:
    """One operation under fire."""

    world: World
    url: str
    session: requests.Session
    found: Found
    operation: Any

    def run(self, mode: GenerationMode, count: int, number: int) -> None:
        dice = random.Random(f"{number} {mode} {self.operation.label}")

        @seed(number)
        @settings(
            max_examples=count,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        # The number makes every case a new one: without it little would be asked where little can vary.
        @given(self.operation.as_strategy(mode), st.integers())
        def ask(case: Case, _: int) -> None:
            self.ask(case, dice)

        ask()

    def ask(self, case: Case, dice: random.Random) -> None:
        headers = _touch_up(case, self.world, dice)
        answer = case.call(
            base_url=self.url, session=self.session, headers=headers, allow_redirects=False
        )
        label = self.operation.label
        self.found.asked[label] += 1
        self.found.statuses[answer.status_code] += 1
        if answer.status_code < 300:
            self.found.succeeded.add(label)
            # What this took away, or turned into something else, the next request needs.
            if case.method in {"DELETE", "PATCH", "PUT"} or label.endswith("/api-key"):
                self.world.renew()
        self._check(case, answer)

    def _check(self, case: Case, answer: Any) -> None:
        wrong = []
        if answer.status_code >= 500 and answer.status_code not in FORESEEN:
            wrong.append(f"answered {answer.status_code}")
        if "x-request-id" not in answer.headers:
            wrong.append("no X-Request-Id")
        try:
            case.validate_response(answer, checks=CHECKS)
        except FailureGroup as group:
            wrong += [_told(one) for one in group.exceptions]
        except Failure as one:
            wrong.append(_told(one))
        for what in wrong:
            shown = f"{case.as_curl_command()}\n{answer.status_code} {answer.content[:600]!r}"
            self.found.failures.setdefault((self.operation.label, what), shown)


def _told(failure: Failure) -> str:
    return f"{failure.title}: {failure.message[:300]}"


# ── What the document cannot know ────────────────────────────────────────────────────────────────


def _touch_up(case: Case, world: World, dice: random.Random) -> dict[str, str]:
    """Put in what exists, mostly; and the headers of somebody who may, mostly."""
    for name in case.path_parameters:
        known = world.ids.get(_kind(case.path, name))
        if known is not None and dice.random() < 0.85:
            case.path_parameters[name] = known
    if dice.random() < 0.5:
        case.body = _completed(case, world, dice)
    if dice.random() < 0.85:
        case.body = _sensible(case.body, world, dice)
    _keep_at_home(case)
    return _headers(case, world, dice)


def _kind(path: str, name: str) -> str:
    if name == "id" and path.endswith("/mail/scheduled/{id}"):
        return "scheduled"
    if name == "broadcastId" and path.endswith("/cancel"):
        return "waiting"
    return name


def _completed(case: Case, world: World, dice: random.Random) -> Any:
    """The body with what its route asks of every body, where it lacks it or has something else."""
    given: dict[str, Any] = {"subject": "Hello", "text": "Hi", "html": "<p>Hi</p>"}
    for end, needed in {
        "/send": given | {"to": "ann@example.com"},
        "/send-batch": given | {"to": "ann@example.com"},
        "/templates": given | {"name": "Fuzzed"},
        "/broadcasts": given | {"audienceId": world.ids["audienceId"]},
        "/audiences": {"name": "Fuzzed"},
        "/contacts": {"email": "carl@example.com"},
        "/members": {"email": world.member},
        "/login": {"email": world.email, "password": PASSWORD},
    }.items():
        if case.method == "POST" and case.path.endswith(end) and "{broadcastId}" not in case.path:
            kept = {name: item for name, item in needed.items() if dice.random() < 0.8}
            if isinstance(case.body, list):
                return [one | kept if isinstance(one, dict) else one for one in case.body]
            return case.body | kept if isinstance(case.body, dict) else case.body
    if case.path.endswith("/import"):
        return b"email,first_name\nann@example.com,Ann\n"
    return case.body


def _sensible(value: Any, world: World, dice: random.Random) -> Any:
    if isinstance(value, list):
        return [_sensible(item, world, dice) for item in value]
    if not isinstance(value, dict):
        return value
    known = _known_fields(world, dice)
    return {
        name: known[name] if name in known and dice.random() < 0.8 else _sensible(item, world, dice)
        for name, item in value.items()
    }


def _known_fields(world: World, dice: random.Random) -> dict[str, Any]:
    person = "".join(dice.choices(string.ascii_lowercase, k=12))
    address = dice.choice(["ann@example.com", "bounced@example.com", f"{person}@example.com"])
    return {
        "to": dice.choice([address, [address, f"Ann <{address}>"]]),
        "cc": address,
        "bcc": [address],
        "replyTo": address,
        "from": f"Us <{address}>",
        "email": dice.choice([world.email, world.member, f"{person}@example.com"]),
        "address": address,
        "addresses": [address],
        "audienceId": world.ids["audienceId"],
        "segmentId": world.ids["audienceId"],
        "contactId": world.ids["contactId"],
        "templateId": world.ids["templateId"],
        "templateName": "hello",
        "scheduledAt": tomorrow(),
        "headers": {"X-Campaign": person},
        "attachments": [{"filename": "a.txt", "content": "aGVsbG8="}],
        "tags": [{"name": "kind", "value": person}],
        "resendApiKey": f"re_{person}",
        "resendFromEmail": address,
    }


def _keep_at_home(case: Case) -> None:
    """No connection leads, and is tried, anywhere but on this machine."""
    if "/mail/providers/" not in case.path:
        return
    case.query.pop("verify", None) if isinstance(case.query, dict) else None
    if isinstance(case.body, dict):
        for name in ("baseUrl", "endpointUrl"):
            if name in case.body:
                case.body[name] = "http://127.0.0.1:9"
        if "host" in case.body:
            case.body["host"] = "127.0.0.1"


def _headers(case: Case, world: World, dice: random.Random) -> dict[str, str]:
    # Each request comes from somewhere else, or the limit of sign-ins would answer for all.
    headers = {"x-forwarded-for": ".".join(str(dice.randrange(1, 255)) for _ in range(4))}
    door = dice.random()
    if door < 0.9:
        headers |= world.bearer | world.api_key
    elif door < 0.95:
        headers |= {"authorization": "Bearer a.b.c", "x-api-key": "sk_live_nobody"}
    if case.method == "POST" and dice.random() < 0.25:
        headers["idempotency-key"] = f"key-{dice.randrange(20)}"
    return headers
