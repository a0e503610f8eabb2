"""A project with a sandbox of its own on the rig, and what the two scripts about lists measure with."""

import asyncio
import contextlib
import statistics
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import httpx
import psutil

from bench.rig import PASSWORD, Rig

MB = 1_000_000


@dataclass
class Memory:
    """The resident memory of processes, sampled for as long as the block lasts."""

    pids: Callable[[], Sequence[int]]
    first: int = 0
    peak: int = 0
    samples: list[int] = field(default_factory=list)

    def look(self) -> None:
        found = []
        for pid in self.pids():
            with contextlib.suppress(psutil.NoSuchProcess):
                found.append(psutil.Process(pid).memory_info().rss)
        if found:
            self.samples.append(max(found))
            self.first = self.first or max(found)
            self.peak = max(self.peak, *found)

    @asynccontextmanager
    async def sampled(self) -> AsyncIterator[None]:
        async def forever() -> None:
            while True:
                self.look()
                await asyncio.sleep(0.2)

        self.look()
        task = asyncio.create_task(forever())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def __str__(self) -> str:
        return (
            f"idle {self.first / MB:.0f} MB, peak {self.peak / MB:.0f} MB"
            f" (+{(self.peak - self.first) / MB:.0f})"
        )


@dataclass
class Client:
    """A project by its key."""

    http: httpx.AsyncClient
    project_id: str

    async def call(self, method: str, path: str, **more: Any) -> Any:
        answer = await self.http.request(method, f"/api/mail{path}", **more)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    async def import_rows(self, audience: str, rows: AsyncIterator[bytes]) -> dict[str, Any]:
        """Import a file as it is made, and wait until the worker has done it."""
        path = f"/audiences/{audience}"
        made = await self.call(
            "POST",
            f"{path}/contacts/import",
            content=rows,
            headers={"content-type": "text/csv"},
            timeout=300,
        )
        while True:
            found = await self.call("GET", f"{path}/imports/{made['id']}")
            if found["status"] == "completed":
                return dict(found)
            await asyncio.sleep(0.5)


@asynccontextmanager
async def project(rig: Rig) -> AsyncIterator[Client]:
    """A pro project that sends by its own sandbox."""
    async with httpx.AsyncClient(base_url=rig.url, trust_env=False, timeout=60) as http:
        who = {"email": f"lists-{uuid4().hex[:8]}@example.com", "password": PASSWORD}
        (await http.post("/api/auth/register", json=who)).raise_for_status()
        token = (await http.post("/api/auth/login", json=who)).json()["data"]["token"]
        bearer = {"Authorization": f"Bearer {token}"}
        made = (await http.post("/api/projects", json={"name": "Lists"}, headers=bearer)).json()
        project_id = made["data"]["project"]["id"]
        path = f"/api/projects/{project_id}/mail/providers/sandbox"
        body = {"fromEmail": "Lists <lists@postroom.test>"}
        (await http.put(path, json=body, headers=bearer)).raise_for_status()
        await rig.sql("update projects set plan = 'pro' where id = $1::uuid", project_id)
        http.headers["x-api-key"] = made["data"]["secretKey"]
        yield Client(http, project_id)


def spread(values: Sequence[float]) -> str:
    """Median, 95th percentile and maximum, in milliseconds."""
    ordered = sorted(values)
    p95 = ordered[int(len(ordered) * 0.95)]
    return (
        f"median {statistics.median(ordered) * 1e3:.0f} ms, p95 {p95 * 1e3:.0f} ms,"
        f" max {ordered[-1] * 1e3:.0f} ms (n = {len(ordered)})"
    )
