"""Templates made to hurt are refused quickly, and nobody else notices them."""

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import orjson
import pytest

from postroom.resources import Resources
from tests.factories import MadeProject, make_project

NUMBERS = list(range(3000))

HOSTILE: dict[str, tuple[str, dict[str, Any]]] = {
    "loops in loops": ("{{#each a}}" * 6 + "x" + "{{/each}}" * 6, {"a": NUMBERS}),
    "a loop over everything in a loop over everything": (
        "{{#each @root}}" * 12 + "{{@key}}" + "{{/each}}" * 12,
        {str(n): n for n in range(1000)},
    ),
    "blocks ten thousand deep": ("{{#if a}}" * 10_000 + "{{/if}}" * 10_000, {"a": 1}),
    "expressions ten thousand deep": (
        "{{#if " + "(lookup a " * 10_000 + "b" + ")" * 10_000 + "}}{{/if}}",
        {},
    ),
    "a chain of ten thousand else ifs": (
        "{{#if a}}" + "{{else if b}}" * 10_000 + "{{/if}}",
        {},
    ),
    "a huge value written again and again": (
        "{{#each a}}{{@root.s}}{{/each}}",
        {"a": NUMBERS, "s": "'" * 400_000},
    ),
    "a huge number of variables": ("x", {"a": [[n] * 50 for n in range(3000)]}),
    "lookups of lookups": (
        "{{#each a}}{{lookup (lookup @root 'a') (lookup ../a @index)}}{{/each}}" * 4,
        {"a": NUMBERS},
    ),
    "lists written out in a loop": ("{{#each a}}{{../a}}{{/each}}", {"a": NUMBERS}),
    "fifty thousand tags": ("{{a}}" * 50_000, {"a": 1}),
    "a path of fifty thousand steps": ("{{" + "a." * 50_000 + "a}}", {"a": 1}),
    "tags that are never closed": ("{{#if a" * 20_000, {}),
    "a comment that is never closed": ("{{!-- " * 40_000, {}),
    "half a megabyte of text": ("a" * 500_000, {}),
    "a text in quotes that never ends": ('{{lookup a "' + '\\"' * 100_000 + "}}", {}),
    "a bracket that never ends": ("{{[" + "a" * 250_000 + "}}", {}),
    "spaces and nothing else": ("{{" + " " * 250_000 + "}}", {}),
    "partials that double themselves": (
        '{{#*inline "a"}}{{> b}}{{> b}}{{/inline}}{{> a}}',
        {},
    ),
}


@dataclass
class Lag:
    """How long the event loop kept somebody waiting, at worst."""

    gaps: list[float] = field(default_factory=list)

    @property
    def worst(self) -> float:
        return max(self.gaps)


@asynccontextmanager
async def loop_watched() -> AsyncIterator[Lag]:
    lag = Lag()

    async def watch() -> None:
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0.001)
            lag.gaps.append(time.perf_counter() - before - 0.001)

    task = asyncio.create_task(watch())
    await asyncio.sleep(0.01)
    yield lag
    await asyncio.sleep(0.01)
    task.cancel()


@pytest.fixture(autouse=True)
def _no_old_garbage() -> Iterator[None]:
    """What the test session has gathered is not looked through while we measure."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


async def best_of_three(measure: Callable[[], Awaitable[float]]) -> float:
    """Another process of this machine may delay us once or twice, but a template would do so each time."""
    return min([await measure() for _ in range(3)])


@pytest.fixture
async def project(resources: Resources) -> MadeProject:
    return await make_project(resources, provider="sandbox")


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_template_is_refused_within_a_second_and_holds_nobody_up(
    client: httpx.AsyncClient, project: MadeProject, name: str
) -> None:
    template, variables = HOSTILE[name]
    mail = {"to": "a@example.com", "subject": "s", "html": template, "variables": variables}
    body = orjson.dumps(mail)
    headers = project.key | {"content-type": "application/json"}

    async def attack() -> float:
        async with loop_watched() as lag:
            started = time.perf_counter()
            answer = await client.post("/api/mail/send", content=body, headers=headers)
            assert time.perf_counter() - started < 1
        assert answer.status_code == 400, answer.text
        assert answer.json()["code"] in ("invalid_template", "template_over_budget")
        return lag.worst

    assert await best_of_three(attack) < 0.05


async def test_a_body_of_millions_of_values_is_refused_before_it_is_read(
    client: httpx.AsyncClient, project: MadeProject
) -> None:
    body = b'{"to": "a@example.com", "subject": "s", "text": "x", "variables": {"a": ['
    body += b"{}," * 5_000_000 + b"1]}}"
    headers = project.key | {"content-type": "application/json"}

    async def attack() -> float:
        async with loop_watched() as lag:
            answer = await client.post("/api/mail/send", content=body, headers=headers)
        assert answer.status_code == 400
        assert answer.json()["code"] == "too_many_values"
        return lag.worst

    assert await best_of_three(attack) < 0.05


async def test_twelve_at_once_do_not_hold_up_the_health_check(
    client: httpx.AsyncClient, resources: Resources
) -> None:
    projects = [await make_project(resources, provider="sandbox") for _ in range(12)]
    bodies = [
        orjson.dumps({"to": "a@example.com", "html": t, "text": t, "variables": v})
        for t, v in list(HOSTILE.values())[:12]
    ]

    async def attack(project: MadeProject, body: bytes) -> int:
        headers = project.key | {"content-type": "application/json"}
        return (await client.post("/api/mail/send", content=body, headers=headers)).status_code

    async def attack_all() -> float:
        pending = [asyncio.create_task(attack(p, b)) for p, b in zip(projects, bodies, strict=True)]
        times = []
        while not all(task.done() for task in pending):
            times.append(await _timed(lambda: client.get("/health/live")))
            await asyncio.sleep(0.001)
        assert [await task for task in pending] == [400] * 12
        return max(times)

    assert await best_of_three(attack_all) < 0.05


async def _timed(call: Callable[[], Any]) -> float:
    started = time.perf_counter()
    assert (await call()).status_code == 200
    return time.perf_counter() - started


async def test_an_ordinary_template_goes_through_beside_hostile_ones(
    client: httpx.AsyncClient, project: MadeProject, resources: Resources
) -> None:
    other = await make_project(resources, provider="sandbox")
    template, variables = HOSTILE["loops in loops"]
    body = {"to": "a@example.com", "subject": "s", "html": template, "variables": variables}
    attacks = [
        asyncio.create_task(client.post("/api/mail/send", json=body, headers=project.key))
        for _ in range(20)
    ]
    mail = {"to": "b@example.com", "templateName": "otp", "variables": {"otp": "123456"}}
    started = time.perf_counter()
    answer = await client.post("/api/mail/send", json=mail, headers=other.key)
    assert answer.status_code == 200
    assert time.perf_counter() - started < 0.5
    for attack in attacks:
        assert (await attack).status_code == 400
